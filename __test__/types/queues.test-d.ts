// Compiled, never run: every @ts-expect-error is a use that must not compile.
import {
  adoptQueue,
  type Batch,
  connect,
  type DescriptorBatch,
  type KeptFrame,
  type PortStats,
  pinThread,
  type Queue,
  type QueueStats,
  type QueueToken,
} from 'xsknet'
import { arp } from 'xsknet/headers'
import { exactly } from './exactly.js'

const net = await connect()
const port = await net.openPort({
  uplink: 'eth0',
  addresses: ['192.0.2.10/24'],
  queues: 2,
  maxKept: 64,
  busyPoll: { spinMicroseconds: 50 },
  coalesceMicroseconds: 20,
})
// @ts-expect-error a number
await net.openPort({ uplink: 'eth0', addresses: [], queues: '2' })
// @ts-expect-error it is called spinMicroseconds
await net.openPort({ uplink: 'eth0', addresses: [], busyPoll: { microseconds: 50 } })
await net.openPort({ uplink: 'eth0', addresses: ['192.0.2.11/24'], umemOf: port })
// @ts-expect-error a port, not its number
await net.openPort({ uplink: 'eth0', addresses: [], umemOf: port.info.port })

exactly<readonly Queue[]>()(port.queues)
const queue = port.queue(1)
exactly<Queue>()(queue)
exactly<number>()(queue.index)
// @ts-expect-error a port keeps its queues
port.queues.pop()
// @ts-expect-error by number
port.queue('1')

const batch = queue.batch(64)
exactly<DescriptorBatch>()(batch)
exactly<Uint32Array>()(batch.descriptors)
exactly<number>()(queue.receive(batch))
exactly<number>()(queue.receive(batch, 100_000))
exactly<number>()(queue.recycleAndReceive(batch, 100_000))
// @ts-expect-error microseconds
queue.receive(batch, '1')
exactly<number>()(queue.allocate(batch))
exactly<number>()(queue.transmit(batch))
exactly<number>()(queue.recycle(batch))
exactly<void>()(queue.kick())
batch.length = 0
// @ts-expect-error it has as much room as it was made with
batch.capacity = 128
// @ts-expect-error a batch of descriptors, not a table
queue.transmit(batch.descriptors)
exactly<Promise<boolean>>()(queue.readable({ signal: AbortSignal.timeout(1000) }))

for await (const frames of queue.batches({ max: 32 })) {
  exactly<Batch>()(frames)
  for (const frame of frames) {
    exactly<boolean>()(arp.answer(frame, queue))
    exactly<boolean>()(frame.forward(port))
    exactly<boolean>()(frame.forward(queue))
    // @ts-expect-error something that has a ring
    frame.forward(port.info)
    exactly<KeptFrame | undefined>()(frame.keep())
  }
}
exactly<boolean>()(queue.trySend(new Uint8Array(60)))
exactly<Promise<void>>()(queue.send(new Uint8Array(60)))
exactly<QueueStats>()(queue.stats())
exactly<Promise<PortStats>>()(port.stats())
exactly<(QueueStats | undefined)[]>()((await port.stats()).queues)

const token = queue.token()
exactly<QueueToken>()(token)
exactly<Queue>()(adoptQueue(token))
// @ts-expect-error the token, not what stands in it
adoptQueue(token.key)
exactly<Queue>()(queue.unref().ref())
exactly<Promise<void>>()(queue.close())
exactly<Promise<void>>()(queue.destroy(new Error('enough')))
exactly<Promise<void>>()(queue.closed)
pinThread([0, 1])
// @ts-expect-error a list
pinThread(0)

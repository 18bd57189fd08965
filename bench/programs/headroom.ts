// What reading costs beside the kernel: the rings of a socket in plain memory, which a thread keeps full. Not part of
// any release: the binding is built with the feature `loopback`, and the queue on it is made as a port would make it.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { PortInfo, Queue } from 'xsknet'
import { serve } from '../../__test__/helpers/programs/serve.js'
import { Seen } from './parse.js'
import { BATCH, Rings, readBatch } from './rings.js'
import { mark, type Order, type Result } from './watch.js'

interface Loopback {
  socket(): unknown
  delivered(): number
}

type NewQueue = new (socket: unknown, info: Partial<PortInfo>, index: number, owner: object, settings: object) => Queue

/** Frames that are there before the clock runs; bench/peer has the same. */
const LAP = 1024

const [binding = '', packages = ''] = process.argv.slice(2)
let rings: Rings
/** Held, because its thread ends with it. */
let loopback: Loopback
let taken = 0

serve({
  open: async ({ packet, slots }: { packet: string; slots: number }) => {
    const { Loopback } = createRequire(import.meta.url)(binding) as {
      Loopback: new (packet: Uint8Array, slots: number) => Loopback
    }
    const { Queue } = (await import(pathToFileURL(`${packages}/xsknet/dist/queue/queue.js`).href)) as {
      Queue: NewQueue
    }
    loopback = new Loopback(Buffer.from(packet, 'hex'), slots)
    const owner = { lost() {}, starved() {} }
    const queue = new Queue(loopback.socket(), { name: 'loopback', uplink: 'memory', mtu: 1500 }, 0, owner, {
      spinMicroseconds: 0,
    })
    rings = new Rings(queue)
    taken = readBatch(rings, new Seen(), 0) // which also fills FILL
  },
  headroom: laps,
})

/**
 * The clock stands while the ring fills up, so that it is never found empty: the thread may be slower than the reader.
 */
function laps({
  seconds = Number.POSITIVE_INFINITY,
  frames = Number.POSITIVE_INFINITY,
  mark: at = Number.POSITIVE_INFINITY,
  port = 9,
}: Order): Partial<Result> {
  const seen = new Seen()
  const end = performance.now() + seconds * 1000
  let [time, calls, empty, marked] = [0, 0, 0, 0]
  while (seen.frames < frames && performance.now() < end) {
    while (loopback.delivered() - taken < LAP);
    if (seen.frames >= at && marked === 0) {
      marked = seen.frames
      mark()
    }
    const began = performance.now()
    for (let batch = 0; batch < LAP / BATCH; batch++) {
      const received = readBatch(rings, seen, port)
      taken += received
      calls++
      if (received === 0) empty++
    }
    time += (performance.now() - began) / 1000
  }
  if (marked > 0) mark()
  return { ...seen, corrupt: 0, marked, calls, empty, seconds: time }
}

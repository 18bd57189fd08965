// A thread that adopts a queue, and sends back what comes.
import { parentPort, workerData } from 'node:worker_threads'
import { adoptQueue, pinThread, type QueueToken } from 'xsknet'
import { arp, udp } from 'xsknet/headers'
import { Checker, turnAround } from './numbered.js'

const { token, how } = workerData as { token: QueueToken; how: string }
const say = (what: string, told: unknown = null) => parentPort?.postMessage({ what, told })
const codeOf = (error: unknown) => (error as { code?: string }).code ?? String(error)

const queue = (() => {
  try {
    return adoptQueue(token)
  } catch (error) {
    say('adopted', codeOf(error))
    process.exit(0)
  }
})()

parentPort?.on('message', async (what: string) => {
  if (what === 'close') await queue.close()
  if (what === 'destroy') await queue.destroy(new Error('by the thread'))
  if (what === 'exit') process.exit(3)
  if (what === 'throw') throw new Error('by the thread')
  if (what === 'pin') pinThread([0])
  if (what === 'seen') say('seen', checker.seen)
  if (what === 'hang') {
    say('hanging')
    for (const end = Date.now() + 4000; Date.now() < end; );
  }
  if (what === 'go') parentPort?.unref()
})

async function echo(): Promise<void> {
  for await (const frames of queue.batches()) {
    for (const frame of frames) {
      if (arp.answer(frame, queue)) frame.send()
      else {
        const datagram = udp(frame)
        if (!datagram || datagram.destinationPort === 9) continue
        if (udp.answer(frame, queue, datagram.payloadLength)) frame.send()
      }
    }
    if (how === 'held') {
      say('holding')
      await new Promise((resolve) => setTimeout(resolve, 60_000).unref())
    }
  }
}

const checker = new Checker()

/** Checks numbered frames and sends them back, by leases. */
async function numbered(): Promise<void> {
  for await (const batch of queue.batches()) {
    const { memory } = batch
    for (const frame of batch) {
      if (!checker.check(memory, frame.offset, frame.length)) continue
      turnAround(memory, frame.offset)
      if (!frame.send()) checker.seen.unsent++
    }
  }
}

/** The same by descriptors. */
async function explicit(): Promise<void> {
  const [batch, others] = [queue.batch(64), queue.batch(64)]
  const { descriptors, memory } = batch
  while (await queue.readable()) {
    let end = batch.length
    const received = queue.receive(batch)
    for (let place = end; place < batch.length; place++) {
      const [offset, length] = [descriptors[2 * place] as number, descriptors[2 * place + 1] as number]
      if (checker.check(memory, offset, length)) {
        turnAround(memory, offset)
        descriptors[2 * end] = offset
        descriptors[2 * end++ + 1] = length
      } else {
        others.descriptors[2 * others.length] = offset
        others.descriptors[2 * others.length + 1] = length
        others.length++
      }
    }
    batch.length = end
    queue.recycle(others)
    queue.transmit(batch)
    if (received > 0) checker.seen.batches++
  }
}

const ways: Record<string, () => Promise<void>> = { echo, held: echo, numbered, explicit }

say('adopted')
if (how !== 'idle') {
  ways[how]?.().then(
    () => say('ended'),
    (error) => say('ended', codeOf(error)),
  )
}
queue.closed.then(
  () => say('closed'),
  (error) => say('closed', codeOf(error)),
)

// A thread that adopts a queue, and sends back what comes.
import { parentPort, workerData } from 'node:worker_threads'
import { adoptQueue, pinThread, type QueueToken } from 'xsknet'
import { arp, udp } from 'xsknet/headers'

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
        udp.turn(frame, datagram.payloadLength)
        frame.send()
      }
    }
    if (how === 'held') {
      say('holding')
      await new Promise((resolve) => setTimeout(resolve, 60_000).unref())
    }
  }
}

say('adopted')
if (how !== 'idle') {
  echo().then(
    () => say('ended'),
    (error) => say('ended', codeOf(error)),
  )
}
queue.closed.then(
  () => say('closed'),
  (error) => say('closed', codeOf(error)),
)

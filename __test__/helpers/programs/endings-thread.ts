// A thread that tells how far it has come, and ends itself there if it is to.
import { parentPort, workerData } from 'node:worker_threads'
import type { PortOptions } from 'xsknet'

const { options, stage, how } = workerData as { options: PortOptions; stage: string; how: string }

/** True: it is over. */
function reached(now: string): boolean {
  parentPort?.postMessage(now)
  if (now !== stage) return false
  if (how === 'exit') process.exit(0)
  return how === 'close'
}

async function live(): Promise<void> {
  if (reached('importing')) return
  const { connect } = await import('xsknet')
  const connecting = connect()
  const early = reached('connecting')
  const net = await connecting
  if (early || reached('connected')) return net.close()
  const opening = net.openPort(options)
  const open = reached('opening')
  const port = await opening
  if (open || reached('open')) return net.close()
  for await (const batch of port.batches()) {
    batch.at(0).uint8(0)
    if (reached('reading')) void net.close()
  }
}

void live()

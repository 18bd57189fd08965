// A thread with a daemon and a client of its own, which tells how far it has come, and ends itself there if it is to.
import { parentPort, workerData } from 'node:worker_threads'
import { connect } from 'xsknet'
import { openPinned, startDaemon } from 'xsknetd'
import type { Thread } from './embedding.js'

const { options, socket, pinned = false, port: wanted, stage, how } = workerData as Thread

/** True: it is over. */
function reached(now: string): boolean {
  parentPort?.postMessage(now)
  if (now !== stage) return false
  if (how === 'exit') process.exit(0)
  if (how === 'throw') throw new Error('nobody caught this')
  return how === 'fall off'
}

const starting = options && startDaemon(options)
reached('starting')
const daemon = await starting
const network = await connect({ socket: daemon?.socket ?? socket })
reached('connected')
const opening = pinned ? openPinned({ port: wanted, network }) : network.openPort(wanted)
reached('opening')
const port = await opening
daemon?.unref()
for await (const batch of port.batches()) {
  batch.at(0).uint8(0)
  if (reached('reading')) break
}
await network.close()

// A thread with a queue of its own.
import { parentPort, workerData } from 'node:worker_threads'
import { adoptQueue, pinThread, type QueueToken } from 'xsknet'
import { Rings, rxdrop } from './rings.js'
import type { Order } from './watch.js'

const { token, processor } = workerData as { token: QueueToken; processor: number }
pinThread([processor])
const rings = new Rings(adoptQueue(token))
parentPort?.on('message', (order: Order) => parentPort?.postMessage(rxdrop(rings, order)))

// A reader that knows what it allocates. Run it with a nursery so large that nothing is collected while it reads.
import { PerformanceObserver } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Batch, connect, type Port, type PortOptions } from 'xsknet'
import { ethernet, ipv4, udp } from 'xsknet/headers'
import { serve } from './serve.js'

/** What reading a number of frames came to. */
export interface Reading {
  frames: number
  batches: number
  /** Bytes that were put on the heap, garbage included. */
  allocated: number
  /** Bytes that are still there after garbage was collected. */
  kept: number
  /** Collections meanwhile: there must be none, or `allocated` is too small. */
  collections: number
  /** So that no header is read in vain. */
  payload: number
}

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void
/** When each collection began, in milliseconds since this process did. They are told late, but in order. */
const collections: number[] = []
new PerformanceObserver((list) => {
  for (const { startTime } of list.getEntries()) collections.push(startTime)
}).observe({ entryTypes: ['gc'] })

let port: Port
let payload = 0
/** Waiting on it gives frames the time to pile up. */
const pause = new Int32Array(new SharedArrayBuffer(4))

function headers(frames: Batch): void {
  for (const frame of frames) {
    const packet = ipv4(frame)
    if (ethernet(frame)?.etherType !== 0x0800 || packet?.protocol !== 17 || packet.ttl === 0) continue
    const datagram = udp(frame)
    if (datagram?.destinationPort === 9) payload += datagram.payloadLength
  }
}

/** What nobody should do: an object a frame. */
function views(frames: Batch): void {
  for (const frame of frames) payload += frames.memory.subarray(frame.offset, frame.offset + frame.length).length
}

/** Collects garbage, and waits until all collections so far are told. */
async function collect(): Promise<void> {
  const asked = performance.now()
  gc()
  while (!collections.some((began) => began >= asked)) await turn()
}

async function read(frames: number, max: number, treat: (frames: Batch) => void): Promise<Reading> {
  let [left, batches] = [frames, 0]
  payload = 0
  await collect()
  const before = process.memoryUsage().heapUsed
  const began = performance.now()
  for await (const batch of port.batches({ max })) {
    treat(batch)
    batches++
    left -= batch.length
    if (left <= 0) break
    if (batch.length < max) Atomics.wait(pause, 0, 0, 1)
  }
  const ended = performance.now()
  const allocated = process.memoryUsage().heapUsed - before
  await collect()
  return {
    frames: frames - left,
    batches,
    allocated,
    kept: process.memoryUsage().heapUsed - before,
    collections: collections.filter((at) => at >= began && at <= ended).length,
    payload,
  }
}

serve({
  open: async ({ id: _, do: __, ...options }: PortOptions & { id: number; do: string }) => {
    port = await (await connect()).openPort(options)
    return port.info
  },
  /** Reads so many frames, up to `max` a batch. */
  read: ({ frames, max, as }: { frames: number; max: number; as: 'headers' | 'views' }) =>
    read(frames, max, as === 'headers' ? headers : views),
})

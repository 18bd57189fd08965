// A loop that knows what it allocates. It takes a nursery so large that nothing is collected meanwhile.
import { PerformanceObserver } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Result } from './watch.js'

/** What a loop over some frames put on the heap. */
export interface Garbage {
  frames: number
  batches: number
  /** Bytes, garbage included. */
  allocated: number
  /** Collections meanwhile: there must be none, or `allocated` is too small. */
  collections: number
}

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void
/** When each collection began, in milliseconds since this process did. They are told late, but in order. */
const collections: number[] = []
new PerformanceObserver((list) => {
  for (const { startTime } of list.getEntries()) collections.push(startTime)
}).observe({ entryTypes: ['gc'] })

/** Collects garbage, and waits until all collections so far are told. */
async function collect(): Promise<void> {
  const asked = performance.now()
  gc()
  while (!collections.some((began) => began >= asked)) await turn()
}

export async function garbageOf(loop: () => Result | Promise<Result>): Promise<Garbage> {
  await collect()
  const [first, before] = [process.memoryUsage().heapUsed, process.memoryUsage().heapUsed]
  const began = performance.now()
  const { frames, calls } = await loop()
  const ended = performance.now()
  // What asking costs is not the loop's.
  const allocated = process.memoryUsage().heapUsed - before - (before - first)
  await collect()
  return { frames, batches: calls, allocated, collections: collections.filter((at) => at >= began && at <= ended).length }
}

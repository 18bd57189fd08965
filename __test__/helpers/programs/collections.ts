// What a program puts on its heap. It takes a nursery so large that nothing is collected meanwhile.
import { PerformanceObserver } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void
/** When each collection began, in milliseconds since this process did. They are told late, but in order. */
const collections: number[] = []
new PerformanceObserver((list) => {
  for (const { startTime } of list.getEntries()) collections.push(startTime)
}).observe({ entryTypes: ['gc'] })

/** Collects garbage, and waits until all collections so far are told. */
export async function collect(): Promise<void> {
  const asked = performance.now()
  gc()
  while (!collections.some((began) => began >= asked)) await turn()
}

/** Collections that began between two times; after a {@link collect}. */
export const collectionsBetween = (began: number, ended: number) =>
  collections.filter((at) => at >= began && at <= ended).length

export const heapUsed = () => process.memoryUsage().heapUsed

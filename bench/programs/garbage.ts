// A loop that knows what it allocates. It takes a nursery so large that nothing is collected meanwhile.
import { collect, collectionsBetween, heapUsed } from '../../__test__/helpers/programs/collections.js'
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

export async function garbageOf(loop: () => Result | Promise<Result>): Promise<Garbage> {
  await collect()
  const [first, before] = [heapUsed(), heapUsed()]
  const began = performance.now()
  const { frames, calls } = await loop()
  const ended = performance.now()
  // What asking costs is not the loop's.
  const allocated = heapUsed() - before - (before - first)
  await collect()
  return { frames, batches: calls, allocated, collections: collectionsBetween(began, ended) }
}

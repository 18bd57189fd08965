// A loop that knows what it allocates. It takes a nursery so large that nothing is collected meanwhile.
import { collect, collectionsBetween, heapUsed } from '../../__test__/helpers/programs/collections.js'
import type { Result } from './watch.js'

/** What a loop over some frames put on the heap, in each of its stretches. */
export interface Garbage {
  frames: number
  batches: number
  /** Bytes, garbage included. */
  allocated: number[]
  /** Collections meanwhile: where there was one, `allocated` is too small. */
  collections: number[]
}

/** Frames of a run that costs next to nothing but what any run does. */
const FEW = 64

/**
 * Runs a loop over so many frames several times. What a run costs that has next to none, clocks and all, is not the
 * loop's.
 */
export async function garbageOf(
  stretches: number,
  frames: number,
  loop: (frames: number) => Result | Promise<Result>,
): Promise<Garbage> {
  const garbage: Garbage = { frames: 0, batches: 0, allocated: [], collections: [] }
  const times: [number, number][] = []
  const run = async (frames: number) => {
    const [before, began] = [heapUsed(), performance.now()]
    const { frames: came, calls } = await loop(frames)
    times.push([began, performance.now()])
    return { allocated: heapUsed() - before, came, calls }
  }
  await collect()
  let beside = Number.POSITIVE_INFINITY
  for (let n = 0; n < stretches; n++) beside = Math.min(beside, (await run(FEW)).allocated)
  times.length = 0
  for (let stretch = 0; stretch < stretches; stretch++) {
    const { allocated, came, calls } = await run(frames)
    garbage.allocated.push(allocated - beside)
    garbage.frames += came
    garbage.batches += calls
  }
  await collect()
  garbage.collections = times.map(([began, ended]) => collectionsBetween(began, ended))
  return garbage
}

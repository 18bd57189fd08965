// What reading puts on the heap.
import type { Check } from '../comparison.js'
import { Place, PORT, target } from '../place.js'
import type { Garbage } from '../programs/garbage.js'

const FRAMES = 10_000_000
/** So much that nothing is collected. */
const NURSERY = ['--min-semi-space-size=512', '--max-semi-space-size=512']

export const garbage: Check = {
  name: 'garbage',
  async measure({ undo }) {
    const place = await Place.open(undo)
    const client = await place.client(0, {}, NURSERY)
    const read = (frames: number) =>
      place.flooding(target(client), () => client.ask<Garbage>({ do: 'garbage', level: 'batches', port: PORT, frames }))
    await read(100_000) // compiles
    const { frames, batches, allocated, collections } = await read(FRAMES)
    return [
      { name: 'garbage of batches', value: allocated / batches, unit: `bytes a batch, over ${frames} packets` },
      { name: 'collections meanwhile', value: collections, unit: 'collections', most: 0 },
    ]
  },
}

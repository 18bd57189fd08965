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
    const read = (level: 'rings' | 'batches', frames: number) =>
      place.flooding(target(client), () => client.ask<Garbage>({ do: 'garbage', level, port: PORT, frames }))
    const claims = []
    for (const level of ['rings', 'batches'] as const) {
      await read(level, 1_000_000) // compiles
      // What a compiler keeps comes once; what a packet or a batch costs would come each time.
      const runs = [await read(level, FRAMES), await read(level, FRAMES)] as const
      const [one, other] = runs
      const { frames, batches, allocated } = one.allocated < other.allocated ? one : other
      const collections = one.collections + other.collections
      if (level === 'rings')
        claims.push({ name: 'garbage, explicit rings', value: allocated, unit: `bytes in ${frames} packets`, most: 0 })
      else claims.push({ name: 'garbage, batches', value: allocated / batches, unit: `bytes a batch, over ${frames} packets` })
      claims.push({ name: `collections, ${level}`, value: collections, unit: 'collections', most: 0 })
    }
    return claims
  },
}

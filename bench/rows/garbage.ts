// What reading puts on the heap.
import type { Check } from '../comparison.js'
import { Place, PORT, target } from '../place.js'
import type { Garbage } from '../programs/garbage.js'

const FRAMES = 10_000_000
const STRETCHES = 10
/** So much that nothing is collected. */
const NURSERY = ['--min-semi-space-size=512', '--max-semi-space-size=512']

export const garbage: Check = {
  name: 'garbage',
  async measure(settings) {
    const place = await Place.open(settings)
    const client = await place.client(0, {}, NURSERY)
    const read = (level: 'rings' | 'batches', frames: number) =>
      place.flooding(target(client), () =>
        client.ask<Garbage>({ do: 'garbage', level, port: PORT, frames: frames / STRETCHES, stretches: STRETCHES }),
      )
    const claims = []
    for (const level of ['rings', 'batches'] as const) {
      await read(level, 1_000_000) // compiles
      const { frames, batches, allocated, collections } = await read(level, FRAMES)
      const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number)
      const all = `${sum(allocated)} bytes and ${sum(collections)} collections in all`
      if (level === 'rings') {
        // What a compiler keeps comes once; what packets cost would come in each stretch.
        const unit = `bytes in the quietest of ${STRETCHES} stretches of ${frames} packets; ${all}`
        claims.push({ name: 'garbage, explicit rings', value: Math.max(0, Math.min(...allocated)), unit, most: 0 })
        claims.push({
          name: 'collections, rings',
          value: Math.min(...collections),
          unit: 'in the quietest stretch',
          most: 0,
        })
      } else {
        claims.push({
          name: 'garbage, batches',
          value: sum(allocated) / batches,
          unit: `bytes a batch, over ${frames} packets; ${all}`,
        })
      }
    }
    return claims
  },
}

// Frames as fast as the kernel delivers them: their headers are read, and they go back.
import type { Family } from '../comparison.js'
import { Place, PORT, type Side, target } from '../place.js'
import { costs, perSecond, whole } from './frames.js'

const NAME = 'rxdrop'

export const rxdrop: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more', bound: { least: 0.95, goal: 1 } }],
  async prepare({ undo, seconds }) {
    const place = await Place.open(undo)
    const sides = { ours: await place.client(0), peer: await place.peer(1) }
    const run = (side: Side, what: string, order: object) =>
      place.flooding(target(side), () => side.order(what, { port: PORT, ...order }))
    for (const [name, side] of Object.entries(sides)) whole(`rxdrop, ${name}`, await run(side, 'verify', { frames: 200_000 }))
    const read = async (side: Side) => {
      const result = await run(side, 'rxdrop', { seconds })
      whole('rxdrop', result)
      return perSecond(NAME, result.datagrams, result)
    }
    return {
      ours: () => read(sides.ours),
      peer: () => read(sides.peer),
      afterwards: () => costs(sides, (side, order) => run(side, 'rxdrop', order)),
    }
  },
}

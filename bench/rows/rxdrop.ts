// Frames as fast as the kernel delivers them: their headers are read, and they go back.
import type { Family } from '../comparison.js'
import { Place, PORT, type Side, target, turn } from '../place.js'
import { costs, perSecond, type Sides, verified, whole } from './frames.js'

const NAME = 'rxdrop'

export const rxdrop: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more', bound: { least: 0.95, goal: 1 } }],
  async prepare({ seconds, ...setting }) {
    const place = await Place.open(setting)
    const sides: Sides = { ours: () => place.client(0), peer: () => place.peer(1) }
    const run = (side: Side, what: string, order: object) =>
      place.flooding(target(side), () => side.order(what, { port: PORT, ...order }))
    await verified(NAME, sides, run)
    const read = async (side: Side, seconds: number) => {
      const result = await run(side, 'rxdrop', { seconds })
      whole(NAME, result)
      return perSecond(NAME, result.datagrams, result)
    }
    return {
      ours: () => turn(sides.ours, seconds, read),
      peer: () => turn(sides.peer, seconds, read),
      afterwards: () => costs(sides, (side, order) => run(side, 'rxdrop', order)),
    }
  },
}

// An unprivileged client in its own process, against the same program as root with the daemon inside it.

import { Lab } from '../../__test__/helpers/lab.js'
import type { Family } from '../comparison.js'
import { flooding, Place, PORT, type Side, TypeScript, target, turn } from '../place.js'
import { costs, perSecond, type Sides, verified, whole } from './frames.js'

const NAME = 'brokered'

export const brokered: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more', bound: { least: 0.95, goal: 1 } }],
  async prepare({ seconds, ...setting }) {
    const [place, lab] = [await Place.open(setting), await Lab.create(setting.undo)]
    const labs = new WeakMap<Side, Lab>()
    const within = async (lab: Lab, start: Promise<Side>) => {
      const side = await start
      labs.set(side, lab)
      return side
    }
    const sides: Sides = {
      ours: () => within(place.lab, place.client(0)),
      peer: () => within(lab, TypeScript.embedded(lab, 0, setting.ringSize)),
    }
    const run = (side: Side, what: string, order: object) =>
      flooding(labs.get(side) as Lab, target(side), () => side.order(what, { port: PORT, ...order }))
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

// A client without any right in a process of its own, against the same program as root with the daemon inside it.

import { Lab } from '../../__test__/helpers/lab.js'
import type { Family } from '../comparison.js'
import { flooding, Place, PORT, type Side, TypeScript, target } from '../place.js'
import { costs, perSecond, whole } from './frames.js'

const NAME = 'brokered'

export const brokered: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more', bound: { least: 0.95, goal: 1 } }],
  async prepare({ undo, seconds }) {
    const [place, lab] = [await Place.open(undo), await Lab.create(undo)]
    const labs = new Map<Side, Lab>()
    const sides = { ours: await place.client(0), peer: await TypeScript.embedded(lab, 0) }
    labs.set(sides.ours, place.lab).set(sides.peer, lab)
    const run = (side: Side, what: string, order: object) =>
      flooding(labs.get(side) as Lab, target(side), () => side.order(what, { port: PORT, ...order }))
    for (const [name, side] of Object.entries(sides)) whole(`${NAME}, ${name}`, await run(side, 'verify', { frames: 200_000 }))
    const read = async (side: Side) => {
      const result = await run(side, 'rxdrop', { seconds })
      whole(NAME, result)
      return perSecond(NAME, result.datagrams, result)
    }
    return {
      ours: () => read(sides.ours),
      peer: () => read(sides.peer),
      afterwards: () => costs(sides, (side, order) => run(side, 'rxdrop', order)),
    }
  },
}

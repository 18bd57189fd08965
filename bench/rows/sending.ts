// Frames out of user space, counted and checked at the wire's far end.
import type { Contest, Family, Settings } from '../comparison.js'
import { Place, PORT, type Side, target } from '../place.js'
import type { Order } from '../programs/watch.js'
import { costs, perSecond } from './frames.js'

/** MACs change places, and the frame leaves by the port that it came by. */
export const l2fwd: Family = {
  rows: [{ name: 'l2fwd', unit: 'packets/s', better: 'more', bound: { least: 0.9, goal: 1 } }],
  async prepare({ undo, seconds }) {
    const place = await Place.open(undo)
    const sides = { ours: await place.client(0), peer: await place.peer(1) }
    return sending('l2fwd', place, sides, seconds, (side, order) => forwarding(place, side, 'l2fwd', order))
  },
}

/** Frames with a number each, that the side makes. */
export const txonly = (length: number): Family => {
  const name = `txonly ${length}`
  return {
    rows: [{ name, unit: 'packets/s', better: 'more', bound: { least: 0.95, goal: 1 } }],
    async prepare({ undo, seconds }) {
      const place = await Place.open(undo)
      const sides = { ours: await place.client(0), peer: await place.peer(1) }
      return sending(name, place, sides, seconds, (side, order) =>
        side.order('txonly', { ...place.frames(side, length), ...order }),
      )
    },
  }
}

/** They come from the port's own address, so that the guard lets them pass with nothing but their MACs changed. */
export function forwarding(place: Place, side: Side, what: string, order: Order) {
  return place.flooding(target(side), () => side.order(what, { port: PORT, ...order }), { from: side.address })
}

type Sides = Record<'ours' | 'peer', Side>

async function sending(
  name: string,
  place: Place,
  sides: Sides,
  seconds: Settings['seconds'],
  run: (side: Side, order: Order) => ReturnType<Side['order']>,
): Promise<Contest> {
  const read = async (side: Side) => {
    const { came, result } = await place.arriving(side, () => run(side, { seconds }))
    if (came === 0) throw new Error(`${name}: of ${result.sent} frames sent none came`)
    const reading = perSecond(name, came, result)
    return { ...reading, aside: { ...reading.aside, 'part of those sent that came': came / result.sent } }
  }
  return {
    ours: () => read(sides.ours),
    peer: () => read(sides.peer),
    afterwards: () => costs(sides, run),
  }
}

// Frames out of user space, counted and checked at the wire's far end.
import type { Contest, Family, Settings } from '../comparison.js'
import { Place, PORT, type Side, target, turn } from '../place.js'
import type { Order } from '../programs/watch.js'
import { costs, perSecond, type Sides } from './frames.js'

/** MACs change places, and the frame leaves by the port that it came by. */
export const l2fwd: Family = {
  rows: [{ name: 'l2fwd', unit: 'packets/s', better: 'more', bound: { least: 0.9, goal: 1 } }],
  async prepare({ seconds, ...setting }) {
    const place = await Place.open(setting)
    return sending('l2fwd', place, seconds, (side, order) => forwarding(place, side, 'l2fwd', order))
  },
}

/** Frames with a number each, that the side makes. */
export const txonly = (length: number): Family => {
  const name = `txonly ${length}`
  return {
    rows: [{ name, unit: 'packets/s', better: 'more', bound: { least: 0.95, goal: 1 } }],
    async prepare({ seconds, ...setting }) {
      const place = await Place.open(setting)
      return sending(name, place, seconds, (side, order) =>
        side.order('txonly', { ...place.frames(side, length), ...order }),
      )
    },
  }
}

/** They come from the port's own address, so that the guard lets them pass with nothing but their MACs changed. */
export function forwarding(place: Place, side: Side, what: string, order: Order) {
  return place.flooding(target(side), () => side.order(what, { port: PORT, ...order }), { from: side.address })
}

async function sending(
  name: string,
  place: Place,
  seconds: Settings['seconds'],
  run: (side: Side, order: Order) => ReturnType<Side['order']>,
): Promise<Contest> {
  const sides: Sides = { ours: () => place.client(0), peer: () => place.peer(1) }
  const read = async (side: Side, seconds: number) => {
    const { came, result } = await place.arriving(side, () => run(side, { seconds }))
    if (came === 0) throw new Error(`${name}: of ${result.sent} frames sent none came`)
    const reading = perSecond(name, came, result)
    return { ...reading, aside: { ...reading.aside, 'part of those sent that came': came / result.sent } }
  }
  return {
    ours: () => turn(sides.ours, seconds, read),
    peer: () => turn(sides.peer, seconds, read),
    afterwards: () => costs(sides, run),
  }
}

// Frames out of user space, counted and checked at the wire's far end.
import type { PortOptions } from 'xsknet'
import type { Bound, Contest, Family, Reading, Settings } from '../comparison.js'
import { Place, PORT, type Side, target, turn, Wire } from '../place.js'
import type { Order } from '../programs/watch.js'
import { costs, perSecond, type Sides } from './frames.js'

/** Ours on BPF rings, the peer on an AF_XDP port as ever. */
const RINGS: Partial<PortOptions> = { rings: 'bpf' }

/** MACs change places, and the frame leaves by the port that it came by. */
export const l2fwd = forwardingFamily('l2fwd', {}, { least: 0.9, goal: 1 })
export const ringsL2fwd = forwardingFamily('rings l2fwd', RINGS, { least: 4, goal: 8 })

/** Frames with a number each, that the side makes. */
export const txonly = (length: number) => makingFamily(`txonly ${length}`, length, {}, { least: 0.95, goal: 1 })
export const ringsTxonly = (length: number, bound: Bound) =>
  makingFamily(`rings txonly ${length}`, length, RINGS, bound)

/** Ours as those, the peer on the wire's near end itself, without a port. */
export const ringsTxonlyWire: Family = {
  rows: [{ name: 'rings txonly wire', unit: 'packets/s', better: 'more', bound: { least: 1.5, goal: 3 } }],
  async prepare({ seconds, ...setting }) {
    const [place, wire] = [
      await Place.open({ ...setting, isFarEndCheap: true }),
      await Wire.open({ ...setting, isFarEndCheap: true }),
    ]
    const read = (on: Place | Wire) =>
      readingAtTheFarEnd('rings txonly wire', on, (side, order) =>
        side.order('txonly', { ...on.frames(side, 64), ...order }),
      )
    return {
      ours: () => turn(() => place.client(0, RINGS), seconds, read(place)),
      peer: () => turn(() => wire.peer(), seconds, read(wire)),
    }
  },
}

function forwardingFamily(name: string, options: Partial<PortOptions>, bound: Bound): Family {
  return family(name, options, bound, (place, side, order) => forwarding(place, side, 'l2fwd', order))
}

function makingFamily(name: string, length: number, options: Partial<PortOptions>, bound: Bound): Family {
  return family(name, options, bound, (place, side, order) =>
    side.order('txonly', { ...place.frames(side, length), ...order }),
  )
}

function family(
  name: string,
  options: Partial<PortOptions>,
  bound: Bound,
  run: (place: Place, side: Side, order: Order) => ReturnType<Side['order']>,
): Family {
  return {
    rows: [{ name, unit: 'packets/s', better: 'more', bound }],
    async prepare({ seconds, ...setting }) {
      // Else what the far end does with a frame would cost more than all before it, of both sides.
      const place = await Place.open({ ...setting, isFarEndCheap: options === RINGS })
      return sending(name, place, options, seconds, (side, order) => run(place, side, order))
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
  options: Partial<PortOptions>,
  seconds: Settings['seconds'],
  run: (side: Side, order: Order) => ReturnType<Side['order']>,
): Promise<Contest> {
  const sides: Sides = { ours: () => place.client(0, options), peer: () => place.peer(1) }
  const read = readingAtTheFarEnd(name, place, run)
  return {
    ours: () => turn(sides.ours, seconds, read),
    peer: () => turn(sides.peer, seconds, read),
    afterwards: () => costs(sides, run),
  }
}

function readingAtTheFarEnd(
  name: string,
  on: Place | Wire,
  run: (side: Side, order: Order) => ReturnType<Side['order']>,
) {
  return async (side: Side, seconds: number): Promise<Reading> => {
    const { came, result } = await on.arriving(side, () => run(side, { seconds }))
    if (came === 0) throw new Error(`${name}: of ${result.sent} frames sent none came`)
    const reading = perSecond(name, came, result)
    return { ...reading, aside: { ...reading.aside, 'part of those sent that came': came / result.sent } }
  }
}

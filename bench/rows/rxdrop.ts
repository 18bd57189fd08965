// Frames as fast as the kernel delivers them: their headers are read, and they go back.
import type { PortOptions } from 'xsknet'
import type { Bound, Family } from '../comparison.js'
import { Place, PORT, type Side, target, turn, Wire } from '../place.js'
import { costs, perSecond, type Sides, verified, whole } from './frames.js'

export const rxdrop = reading('rxdrop', {}, { least: 0.95, goal: 1 })
/** Ours on BPF rings, the peer on an AF_XDP port as ever. */
export const ringsRxdrop = reading('rings rxdrop', { rings: 'bpf' }, { least: 1.7, goal: 2.2 })

/** Ours as that, the peer on the wire's near end itself, without a port. */
export const ringsRxdropWire: Family = {
  rows: [{ name: 'rings rxdrop wire', unit: 'packets/s', better: 'more', bound: { least: 1.3, goal: 1.7 } }],
  async prepare({ seconds, ...setting }) {
    const [place, wire] = [await Place.open(setting), await Wire.open(setting)]
    const read = (on: Place | Wire) => async (side: Side, seconds: number) => {
      const result = await on.flooding(target(side), () => side.order('rxdrop', { port: PORT, seconds }))
      // An uplink hears what its host says by itself, too.
      if (result.datagrams < 0.999 * result.frames)
        throw new Error(`rings rxdrop wire: of ${result.frames} frames ${result.datagrams} came`)
      return perSecond('rings rxdrop wire', result.datagrams, result)
    }
    return {
      ours: () => turn(() => place.client(0, { rings: 'bpf' }), seconds, read(place)),
      peer: () => turn(() => wire.peer(), seconds, read(wire)),
    }
  },
}

function reading(name: string, options: Partial<PortOptions>, bound: Bound): Family {
  return {
    rows: [{ name: name, unit: 'packets/s', better: 'more', bound }],
    async prepare({ seconds, ...setting }) {
      const place = await Place.open(setting)
      const sides: Sides = { ours: () => place.client(0, options), peer: () => place.peer(1) }
      const run = (side: Side, what: string, order: object) =>
        place.flooding(target(side), () => side.order(what, { port: PORT, ...order }))
      await verified(name, sides, run)
      const read = async (side: Side, seconds: number) => {
        const result = await run(side, 'rxdrop', { seconds })
        whole(name, result)
        return perSecond(name, result.datagrams, result)
      }
      return {
        ours: () => turn(sides.ours, seconds, read),
        peer: () => turn(sides.peer, seconds, read),
        afterwards: () => costs(sides, (side, order) => run(side, 'rxdrop', order)),
      }
    },
  }
}

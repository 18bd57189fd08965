// What ports cost: the peer in C behind a port, against the same program on the wire's near end itself.
import type { Family, Reading } from '../comparison.js'
import { Place, PORT, type Side, target, turn, Wire } from '../place.js'

const LENGTH = 64

export const isolation: Family = {
  rows: [
    { name: 'isolation', unit: 'packets/s', better: 'more' },
    { name: 'isolation tx', unit: 'packets/s', better: 'more' },
  ],
  async prepare({ seconds, ...setting }) {
    const [place, wire] = [await Place.open(setting), await Wire.open(setting)]
    const read =
      (on: Place | Wire) =>
      async (side: Side, seconds: number): Promise<Reading> => {
        const received = await on.flooding(target(side), () => side.order('rxdrop', { port: PORT, seconds }))
        // An uplink hears what its host says by itself, too.
        if (received.datagrams < 0.999 * received.frames)
          throw new Error(`isolation: of ${received.frames} frames ${received.datagrams} came`)
        const { came, result } = await on.arriving(side, () =>
          side.order('txonly', { ...on.frames(side, LENGTH), seconds }),
        )
        return {
          figures: { isolation: received.datagrams / received.seconds, 'isolation tx': came / result.seconds },
          aside: { 'part of those sent that came': came / result.sent },
        }
      }
    return {
      ours: () => turn(() => place.peer(0), seconds, read(place)),
      peer: () => turn(() => wire.peer(), seconds, read(wire)),
    }
  },
}

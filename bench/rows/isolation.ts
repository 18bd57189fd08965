// What ports cost: the peer in C behind a port, against the same program on the wire's near end itself.
import { Lab } from '../../__test__/helpers/lab.js'
import type { Family, Reading } from '../comparison.js'
import { arriving, C, FLOW, flooding, framesOf, Place, PORT, type Side, target, turn } from '../place.js'
import type { Result } from '../programs/watch.js'

const LENGTH = 64

export const isolation: Family = {
  rows: [
    { name: 'isolation', unit: 'packets/s', better: 'more' },
    { name: 'isolation tx', unit: 'packets/s', better: 'more' },
  ],
  async prepare({ seconds, ...setting }) {
    const [place, lab] = [await Place.open(setting), await Lab.create(setting.undo)]
    await lab.sink(PORT, FLOW)
    const read =
      (lab: Lab) =>
      async (side: Side, seconds: number): Promise<Reading> => {
        const received: Result = await flooding(lab, target(side), () => side.order('rxdrop', { port: PORT, seconds }))
        // An uplink hears what its host says by itself, too.
        if (received.datagrams < 0.999 * received.frames)
          throw new Error(`isolation: of ${received.frames} frames ${received.datagrams} came`)
        const { came, result } = await arriving(lab, side, () =>
          side.order('txonly', { ...framesOf(lab, side, LENGTH), seconds }),
        )
        return {
          figures: { isolation: received.datagrams / received.seconds, 'isolation tx': came / result.seconds },
          aside: { 'part of those sent that came': came / result.sent },
        }
      }
    return {
      ours: () => turn(() => place.peer(0), seconds, read(place.lab)),
      peer: () => turn(() => C.bare(lab, setting.ringSize), seconds, read(lab)),
    }
  },
}

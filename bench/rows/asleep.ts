// What a packet costs at a rate at which everybody sleeps between batches: 300,000 a second, in bursts of some ten.
import type { Family, Reading } from '../comparison.js'
import { Place, PORT, type Side, target } from '../place.js'
import { whole } from './frames.js'

const RATE = 300_000

export const asleep: Family = {
  // At most 1.1 times what it costs the peer.
  rows: [{ name: 'asleep', unit: 'ns/packet', better: 'less', bound: { least: 0.909, goal: 1 } }],
  async prepare({ undo, seconds }) {
    const place = await Place.open(undo)
    const [ours, peer] = [await place.client(0), await place.peer(1)]
    const read = async (side: Side): Promise<Reading> => {
      const result = await place.flooding(target(side), () => side.order('asleep', { port: PORT, seconds }), { rate: RATE })
      whole('asleep', result)
      return {
        figures: { asleep: (result.processor / result.frames) * 1e9 },
        aside: { 'packets/s': result.frames / result.seconds, 'packets a batch': result.frames / (result.calls - result.empty) },
      }
    }
    return { ours: () => read(ours), peer: () => read(peer) }
  },
}

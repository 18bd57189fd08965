// What a packet costs at a rate at which everybody sleeps between batches: 300,000 a second, one every 3.3 us.
import type { PortOptions } from 'xsknet'
import type { Family, Reading } from '../comparison.js'
import { Place, PORT, type Side, target, turn } from '../place.js'
import { whole } from './frames.js'

const RATE = 300_000

/** Both in a thread that does nothing else: ours sleeps in `receive()`, the peer in `poll()`. */
export const asleep = family('asleep', 'asleep', {}, { least: 0.909, goal: 1 })
/** Ours sleeps in Node's loop, where everything else has its turn. */
export const asleepInLoop = family('asleep in the loop', 'asleep in the loop', {})
/** The same, and packets gather for both. */
export const gathered = family('gathered', 'asleep in the loop', { coalesceMicroseconds: 50 })
/** Ours in Node's loop on BPF rings, the peer in `poll()` on an AF_XDP port. */
export const ringsAsleep = family('rings asleep', 'asleep in the loop', {}, { least: 1, goal: 2 }, { rings: 'bpf' })

function family(
  name: string,
  order: 'asleep' | 'asleep in the loop',
  options: Partial<PortOptions>,
  bound?: { least: number; goal: number },
  own: Partial<PortOptions> = {},
): Family {
  return {
    rows: [{ name, unit: 'ns/packet', better: 'less', ...(bound && { bound }) }],
    async prepare({ seconds, ...setting }) {
      const place = await Place.open(setting)
      const read =
        (what: typeof order) =>
        async (side: Side, seconds: number): Promise<Reading> => {
          const result = await place.flooding(target(side), () => side.order(what, { port: PORT, seconds }), {
            rate: RATE,
          })
          whole(name, result)
          return {
            figures: { [name]: (result.processor / result.frames) * 1e9 },
            aside: {
              'packets/s': result.frames / result.seconds,
              'packets a batch': result.frames / (result.calls - result.empty),
            },
          }
        }
      return {
        ours: () => turn(() => place.client(0, { ...options, ...own }), seconds, read(order)),
        peer: () => turn(() => place.peer(1, options), seconds, read('asleep')),
      }
    },
  }
}

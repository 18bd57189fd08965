// A port of two queues with a thread each, against one of one queue with one thread. Eight flows; the generator shares
// its core with one of the two threads, because there is no third core.
import { cpus } from 'node:os'
import type { Family, Reading } from '../comparison.js'
import { Place, PORT, type TypeScript, target, turn } from '../place.js'
import type { Result } from '../programs/watch.js'

const NAME = 'queues'
const FLOWS = 8

export const queues: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more' }],
  async prepare({ seconds, ...setting }) {
    const place = await Place.open(setting)
    const side = async (n: number, queues: number) => {
      const client = await place.client(n, { queues })
      const processors = Array.from({ length: queues }, (_, queue) => cpus().length - 1 - queue)
      await client.ask({ do: 'hand over', processors })
      return client
    }
    const read = async (client: TypeScript, seconds: number): Promise<Reading> => {
      const order = { do: 'read in threads', port: PORT, seconds }
      const results = await place.flooding(target(client), () => client.ask<Result[]>(order), { flows: FLOWS })
      const came = results.filter(({ frames }) => frames > 0)
      if (came.length === 0) throw new Error(`${NAME}: no frame came`)
      const rates = came.map(({ datagrams, seconds }) => datagrams / seconds)
      return {
        figures: { [NAME]: rates.reduce((sum, rate) => sum + rate, 0) },
        aside: {
          'queues that had frames': came.length,
          'part of the busiest': Math.max(...rates) / rates.reduce((sum, rate) => sum + rate, 0),
        },
      }
    }
    return { ours: () => turn(() => side(0, 2), seconds, read), peer: () => turn(() => side(1, 1), seconds, read) }
  },
}

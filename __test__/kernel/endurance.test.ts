import test from 'ava'
import { type EnduranceOptions, endure, shown } from '../helpers/endurance.js'

const all = Number(process.env.XSKNET_PACKETS ?? 500_000)

const runs: readonly EnduranceOptions[] = [
  { mode: 'native', level: 'batches', queues: 1, packets: all },
  { mode: 'native', level: 'descriptors', queues: 1, packets: all },
  { mode: 'native', level: 'batches', queues: 2, packets: Math.ceil(all / 4) },
  { mode: 'native', level: 'batches', queues: 1, packets: all, rings: 'bpf' },
  { mode: 'native', level: 'descriptors', queues: 1, packets: all, rings: 'bpf' },
  { mode: 'skb', level: 'batches', queues: 1, packets: all },
]

for (const run of runs) {
  const { mode, level, queues, packets, rings = 'xsk' } = run
  test.serial(
    `${mode}, ${level}, ${rings} rings, queues: ${queues}: ${packets.toLocaleString('en')} numbered frames into a ` +
      'client, out of it and through it: none altered, repeated, out of turn or unaccounted',
    async (t) => {
      t.timeout(120_000 + packets / 20)
      for (const endured of await endure(t, run)) {
        t.log(shown(endured))
        t.deepEqual(endured.faults, [], endured.stage)
      }
    },
  )
}

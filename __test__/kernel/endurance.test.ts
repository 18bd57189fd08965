import test from 'ava'
import { endure, shown } from '../helpers/endurance.js'

const packets = Number(process.env.XSKNET_PACKETS ?? 1_000_000)

const runs = [
  { mode: 'native', level: 'batches' },
  { mode: 'native', level: 'descriptors' },
  { mode: 'skb', level: 'batches' },
] as const

for (const { mode, level } of runs) {
  test.serial(
    `${mode}, ${level}: ${packets.toLocaleString('en')} numbered frames into a client, out of it and through it: none altered, repeated, out of turn or unaccounted`,
    async (t) => {
      t.timeout(120_000 + packets / 20)
      for (const endured of await endure(t, { mode, level, packets })) {
        t.log(shown(endured))
        t.deepEqual(endured.faults, [], endured.stage)
      }
    },
  )
}

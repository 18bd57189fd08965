import test from 'ava'
import { endure, shown } from '../helpers/endurance.js'

const packets = Number(process.env.XSKNET_PACKETS ?? 1_000_000)

for (const mode of ['native', 'skb'] as const) {
  test.serial(
    `${mode}: ${packets.toLocaleString('en')} numbered frames into a client, out of it and through it: none altered, repeated, out of turn or unaccounted`,
    async (t) => {
      t.timeout(120_000 + packets / 20)
      for (const endured of await endure(t, { mode, packets })) {
        t.log(shown(endured))
        t.deepEqual(endured.faults, [], endured.stage)
      }
    },
  )
}

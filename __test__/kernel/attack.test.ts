import test from 'ava'
import { perform, shown } from '../helpers/attack/attack.js'
import { attacks } from '../helpers/attack/attacks.js'
import { Lab } from '../helpers/lab.js'

const seed = Number(process.env.XSKNET_SEED ?? 1)
/** `npm run attack` goes on. */
const VARIANTS = 2

let lab: Lab
const undo: (() => Promise<void>)[] = []

test.before('a lab', async () => {
  lab = await Lab.create({ teardown: (step) => void undo.unshift(step) })
})

test.after.always('the lab goes', async () => {
  for (const step of undo) await step()
})

for (const attack of attacks) {
  test.serial(`${attack.name} is held: ${attack.defence}`, async (t) => {
    const outcome = await perform(t, attack, seed, attack.variants ?? VARIANTS, lab)
    t.log(shown(outcome))
    t.deepEqual(outcome.faults, [])
  })
}

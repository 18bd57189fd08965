import test from 'ava'
import { type Amount, perform, shown } from '../helpers/attack/attack.js'
import { attacks } from '../helpers/attack/attacks.js'
import { Lab } from '../helpers/lab.js'

const seed = Number(process.env.XSKNET_SEED ?? 1)
/** Each attack is tried in so many ways; `npm run attack` goes on. */
const amount: Amount = { variants: Number(process.env.XSKNET_VARIANTS ?? 2) }

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
    const outcome = await perform(t, attack, seed, amount, lab)
    t.log(shown(outcome))
    t.deepEqual(outcome.faults, [])
  })
}

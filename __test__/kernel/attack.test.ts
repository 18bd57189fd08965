import test from 'ava'
import { perform, shown } from '../helpers/attack/attack.js'
import { attacks } from '../helpers/attack/attacks.js'
import { AttackLab } from '../helpers/attack/field.js'
import { Lab } from '../helpers/lab.js'

/** `npm run attack` goes on with others. */
const seed = Number(process.env.XSKNET_SEED ?? 1)

let attackLab: AttackLab
const undo: (() => Promise<void>)[] = []

test.before('a lab', async () => {
  attackLab = new AttackLab(await Lab.create({ teardown: (step) => void undo.unshift(step) }))
})

test.after.always('the lab goes', async () => {
  for (const step of undo) await step()
})

for (const attack of attacks.filter(({ isLong }) => !isLong)) {
  test.serial(`${attack.name} is held: ${attack.defence}`, async (t) => {
    const outcome = await perform(attackLab, attack, seed)
    t.log(shown(outcome))
    t.deepEqual(outcome.faults, [])
  })
}

test.serial('the machine is as before', async (t) => {
  t.deepEqual(await attackLab.end(), [])
})

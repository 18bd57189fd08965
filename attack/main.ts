// npm run attack: all that an unprivileged client may try, beside a good client, judged at the victim:
// `-- [--seconds 3600] [--seed 1] [NAME…]`. With seconds, it goes on with new variants until they are over, the attacks
// in turn; else each is tried a few times.
import { parseArgs } from 'node:util'
import { type Outcome, perform, shown } from '../__test__/helpers/attack/attack.js'
import { attacks } from '../__test__/helpers/attack/attacks.js'
import { AttackLab } from '../__test__/helpers/attack/field.js'
import { Lab } from '../__test__/helpers/lab.js'

/** Variants of each attack in a turn; where seconds are given, turns go on until they are over. */
const VARIANTS = 6

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '0' }, seed: { type: 'string', default: `${Date.now() % 2 ** 31}` } },
})
const [seconds, seed] = [Number(values.seconds), Number(values.seed)]
if (!Number.isInteger(seed)) throw new Error(`--seed takes an integer, not ${values.seed}`)
if (!(seconds >= 0)) throw new Error(`--seconds takes a number from 0 on, not ${values.seconds}`)
const unknown = positionals.filter((name) => !attacks.some((attack) => attack.name === name))
if (unknown.length > 0) {
  throw new Error(`unknown attack ${unknown.join(', ')}; there are ${attacks.map(({ name }) => name).join(', ')}`)
}
const chosen = positionals.length === 0 ? attacks : attacks.filter(({ name }) => positionals.includes(name))
console.log(`seed ${seed}, ${seconds > 0 ? `${seconds} s` : 'a turn each'}`)

const undo: (() => Promise<void>)[] = []
const owner = { teardown: (step: () => Promise<void>) => void undo.unshift(step) }
try {
  const attackLab = new AttackLab(await Lab.create(owner), { isThorough: true })
  const until = performance.now() + seconds * 1000
  for (let turn = 0; turn === 0 || performance.now() < until; turn++) {
    for (const attack of chosen) {
      if (turn > 0 && performance.now() > until) break
      // That of a run of its own, which begins with the same.
      const own = (seed + turn) >>> 0
      tell(attack.name, own, await perform(attackLab, attack, own, VARIANTS).catch((error: Error) => error))
    }
  }
  const left = await attackLab.end()
  for (const fault of left) console.error(`left over: ${fault}`)
  if (left.length > 0) process.exitCode = 1
} finally {
  for (const step of undo) await step()
}

function tell(name: string, own: number, outcome: Outcome | Error): void {
  const faults = outcome instanceof Error ? [outcome.message] : outcome.faults
  console.log(outcome instanceof Error ? `NOT HELD  ${name}: it could not be performed` : shown(outcome))
  for (const fault of faults) console.error(`${name}: ${fault}`)
  if (faults.length === 0) return
  console.error(`again: npm run attack -- --seed ${own} ${name}`)
  process.exitCode = 1
}

// npm run claims: clients that claim and release the same flows at random under full traffic, each frame judged by who
// held its flow: `-- [--clients 50] [--seconds 60] [--seed 7]`. The same seed makes the same requests; when they are
// carried out is up to the machine.
import { parseArgs } from 'node:util'
import { contend, shown } from '../__test__/helpers/claims.js'

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: `${Date.now() % 2 ** 31}` },
  },
})
const [clients, seconds, seed] = [Number(values.clients), Number(values.seconds), Number(values.seed)]
if (!Number.isInteger(clients) || clients < 1 || clients > 100)
  throw new Error(`--clients takes an integer from 1 to 100, not ${values.clients}`)
if (!(seconds > 0)) throw new Error(`--seconds takes a number above 0, not ${values.seconds}`)
if (!Number.isInteger(seed)) throw new Error(`--seed takes an integer, not ${values.seed}`)
console.log(`seed ${seed}, ${clients} clients, ${seconds} s`)

const undo: (() => Promise<void>)[] = []
try {
  const owner = { teardown: (step: () => Promise<void>) => void undo.unshift(step) }
  const contended = await contend(owner, { clients, seconds, seed, tell: console.log })
  console.log(shown(contended))
  if (contended.faults.length > 0) {
    console.error(`again: npm run claims -- --clients ${clients} --seconds ${seconds} --seed ${seed}`)
    process.exitCode = 1
  }
} finally {
  for (const step of undo) await step()
}

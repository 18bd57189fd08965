// npm run fuzz: clients without manners against a daemon on a lab, for as long as you like: `-- --seconds 3600 --seed
// 1`.
import { parseArgs } from 'node:util'
import { fuzz, shown } from '../__test__/helpers/fuzz.js'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string', default: `${Date.now() % 2 ** 31}` } },
})
const [seconds, seed] = [Number(values.seconds), Number(values.seed)]
console.log(`seed ${seed}, ${seconds} s`)

const undo: (() => Promise<void>)[] = []
try {
  const report = await fuzz({ teardown: (step) => void undo.unshift(step) }, { seconds, seed })
  for (const line of shown(seed, report)) console.log(line)
  for (const fault of report.faults) console.error(fault)
  if (report.faults.length > 0) process.exitCode = 1
} finally {
  for (const step of undo) await step()
}

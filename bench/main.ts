// npm run bench: both sides alternately, in one run, and the ratio of their medians with its interval.
//
//   npm run bench -- [NAME …] [--rounds 9] [--seconds 2] [--ring-size SLOTS] [--json FILE] [--markdown FILE]
//     [--no-costs]
//
// NAME chooses all rows whose name is it or begins with it. Instructions and system calls are counted behind the
// rounds, unless `--no-costs` is set. Nothing else must run meanwhile: it would move every figure.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { contest } from './comparison.js'
import { lines, machine } from './machine.js'
import { LEAST_RING, RING_SIZE } from './place.js'
import { claimLine, figure, head, line, markdown, type Report, rowOf } from './report.js'
import { checks, families } from './rows/index.js'
import { Undo } from './undo.js'

const { values, positionals } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '2' },
    'ring-size': { type: 'string' },
    json: { type: 'string' },
    markdown: { type: 'string' },
    'no-costs': { type: 'boolean', default: false },
  },
  allowPositionals: true,
})
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)]
if (!Number.isInteger(rounds) || rounds < 1 || !(seconds > 0))
  throw new Error('--rounds and --seconds are numbers above 0')
const ringSize = values['ring-size'] === undefined ? undefined : Number(values['ring-size'])
if (ringSize !== undefined && !(ringSize >= LEAST_RING && Number.isInteger(Math.log2(ringSize))))
  throw new Error(`--ring-size is a power of two, ${LEAST_RING} at least`)
const settings = { rounds, seconds, ...(ringSize !== undefined && { ringSize }) }

const isChosen = (name: string) =>
  positionals.length === 0 || positionals.some((word) => name === word || name.startsWith(`${word} `))
const names = [...families.flatMap(({ rows }) => rows.map(({ name }) => name)), ...checks.map(({ name }) => name)]
for (const word of positionals) {
  if (!names.some((name) => name === word || name.startsWith(`${word} `)))
    throw new Error(`unknown row ${word}; there are ${names.join(', ')}`)
}

const report: Report = { benchmark: 'xsknet', rows: [], claims: [], machine: machine() }
for (const text of lines(report.machine)) console.log(text)
console.log(
  `${rounds} rounds of ${seconds} s a side, rings of ${ringSize ?? RING_SIZE}; the ratio ` +
    `of the medians, above 1 where ours is better\n\n${head()}`,
)

const undo = new Undo()
const failed: string[] = []
try {
  for (const family of families) {
    if (!family.rows.some(({ name }) => isChosen(name))) continue
    await attempt(family.rows[0]?.name ?? '', async () => {
      const prepared = await family.prepare({ ...settings, undo })
      const { measured, aside } = await contest(family, prepared, rounds, progress)
      for (const each of measured) {
        console.log(line(each))
        report.rows.push(rowOf(each))
      }
      for (const name of Object.keys(aside.ours))
        console.log(
          `    ${name}: ${figure(aside.ours[name] as number)}, peer ${figure(aside.peer[name] ?? Number.NaN)}`,
        )
      if (values['no-costs']) return
      for (const text of (await prepared.afterwards?.()) ?? []) console.log(`    ${text}`)
    })
  }
  for (const { name, measure } of checks) {
    if (!isChosen(name)) continue
    await attempt(name, async () => {
      for (const claim of await measure({ ...settings, undo })) {
        console.log(claimLine(claim))
        report.claims.push(claim)
      }
    })
  }
} finally {
  await undo.now()
}
if (values.json) writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
if (values.markdown)
  writeFileSync(
    values.markdown,
    markdown(
      report,
      families.flatMap(({ rows }) => rows),
    ),
  )
if (failed.length > 0) {
  console.error(`\nnot measured: ${failed.join(', ')}`)
  process.exitCode = 1
}

/** What cannot be measured here must not keep the rest from it. */
async function attempt(name: string, measure: () => Promise<void>): Promise<void> {
  try {
    await measure()
  } catch (error) {
    failed.push(name)
    console.error(`${name}: ${error instanceof Error ? error.stack : error}`)
  }
  await undo.now()
}

function progress(round: number): void {
  if (process.stderr.isTTY)
    process.stderr.write(`\r${round === rounds ? ' '.repeat(20) : `round ${round} of ${rounds}`}\r`)
}

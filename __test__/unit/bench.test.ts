import test from 'ava'
import { type Contest, contest, type Family, type Reading } from '../../bench/comparison.js'
import { turn } from '../../bench/place.js'
import { line, markdown, type Report, rowOf } from '../../bench/report.js'
import { checks, families } from '../../bench/rows/index.js'
import { compare, median, quantile, spread } from '../../bench/statistics.js'

test('the median is the middle one, or the mean of the two in the middle', (t) => {
  t.is(median([9, 1, 5]), 5)
  t.is(median([4, 1, 2, 9]), 3)
  t.is(median([10, 9, 100]), 10)
  t.is(median([]), Number.NaN)
})

test('a quantile is one of the values', (t) => {
  const values = Array.from({ length: 1000 }, (_, n) => 1000 - n)
  t.is(quantile(values, 0.5), 501)
  t.is(quantile(values, 0.99), 991)
  t.is(quantile(values, 1), 1000)
  t.is(spread([90, 100, 110]), 0.2)
})

test('a ratio is above 1 where ours is better, whichever way that is', (t) => {
  const pairs = { ours: [20, 20, 20], peer: [10, 10, 10] }
  t.deepEqual(compare(pairs, 'more'), { ratio: 2, low: 2, high: 2 })
  t.deepEqual(compare(pairs, 'less'), { ratio: 0.5, low: 0.5, high: 0.5 })
})

test('what disturbs both sides of a round widens no interval', (t) => {
  const speeds = [1, 3, 0.5, 2, 1, 1, 4, 1, 2]
  const { ratio, low, high } = compare({ ours: speeds.map((speed) => 2 * speed), peer: speeds }, 'more')
  t.deepEqual({ ratio, low, high }, { ratio: 2, low: 2, high: 2 })
})

test('the interval holds what was drawn from, nearly always', (t) => {
  let state = 1
  const random = () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
  const draw = () => 100 * (1 + (random() + random() + random() - 1.5) / 5)
  let held = 0
  for (let run = 0; run < 100; run++) {
    const [ours, peer] = [Array.from({ length: 15 }, draw), Array.from({ length: 15 }, draw)]
    const { ratio, low, high } = compare({ ours, peer }, 'more', 500)
    t.true(low <= ratio && ratio <= high)
    if (low <= 1 && 1 <= high) held++
  }
  t.true(held >= 85, `${held} of 100`)
})

const family: Family = {
  rows: [
    { name: 'speed', unit: 'packets/s', better: 'more', bound: { least: 1.5, goal: 3 } },
    { name: 'time', unit: 'µs', better: 'less' },
  ],
  prepare: () => Promise.reject(new Error('prepared by hand')),
}

function rigged(log: string[]): Contest {
  const side = (name: string, speed: number) => async (): Promise<Reading> => {
    log.push(name)
    return { figures: { speed, time: 1 / speed }, aside: { rounds: log.length } }
  }
  return { ours: side('ours', 2), peer: side('peer', 1) }
}

test('both sides take turns in beginning a round, and one round before does not count', async (t) => {
  const log: string[] = []
  const { measured, aside } = await contest(family, rigged(log), 3, () => {})
  t.deepEqual(log, ['peer', 'ours', 'ours', 'peer', 'peer', 'ours', 'ours', 'peer'])
  t.deepEqual(
    measured.map(({ ours, peer }) => [ours, peer]),
    [
      [
        [2, 2, 2],
        [1, 1, 1],
      ],
      [
        [0.5, 0.5, 0.5],
        [1, 1, 1],
      ],
    ],
  )
  t.deepEqual(aside, { ours: { rounds: 6 }, peer: { rounds: 5 } })
})

test('each turn starts a process, lets it warm up, and ends it, even if it fails', async (t) => {
  const log: string[] = []
  let started = 0
  const start = async () => {
    const number = ++started
    log.push(`start ${number}`)
    return { number, end: async () => log.push(`end ${number}`) }
  }
  const run = async ({ number }: { number: number }, seconds: number) => {
    if (seconds === 5) throw new Error('it broke')
    log.push(`run ${number}`)
    return seconds
  }
  t.is(await turn(start, 3, run), 3)
  t.is(await turn(start, 4, run), 4)
  await t.throwsAsync(turn(start, 5, run), { message: 'it broke' })
  t.deepEqual(log, [
    'start 1',
    'run 1',
    'run 1',
    'end 1',
    'start 2',
    'run 2',
    'run 2',
    'end 2',
    'start 3',
    'run 3',
    'end 3',
  ])
})

test('a report has a row each, with the fields that others read', async (t) => {
  const { measured } = await contest(family, rigged([]), 9, () => {})
  const rows = measured.map(rowOf)
  t.deepEqual(rows, [
    { name: 'speed', ours: 2, peer: 1, unit: 'packets/s', ratio: 2, low: 2, high: 2, rounds: 9 },
    { name: 'time', ours: 0.5, peer: 1, unit: 'µs', ratio: 2, low: 2, high: 2, rounds: 9 },
  ])
  t.regex(line(measured[0] as never), /^speed +2 +1 +packets\/s +2\.000 /)
  const machine = {
    kernel: '6.18',
    processor: 'one',
    cores: 2,
    memory: '4 GiB',
    node: '20',
    mitigations: [],
    commandLine: [],
    compiler: 'gcc',
    counters: false,
  }
  const report: Report = {
    benchmark: 'xsknet',
    rows,
    claims: [{ name: 'idle', value: 2, unit: '% of a core', most: 1 }],
    machine,
  }
  const text = markdown(report, family.rows)
  t.true(text.includes('| speed | 2 | 1 | packets/s | 2.00 | 2.00 – 2.00 | 1.5 / 3 |'))
  t.true(text.includes('- idle: 2 % of a core (at most 1)  MISSED'))
})

test('a row that has a regime says which', async (t) => {
  const rows = [{ name: 'speed', regime: 'busy', unit: 'packets/s', better: 'more' }] as const
  const { measured } = await contest({ ...family, rows }, rigged([]), 3, () => {})
  t.regex(line(measured[0] as never), /^speed \(busy\) +2 /)
  t.is(rowOf(measured[0] as never).regime, 'busy')
  const regimes = families.flatMap(({ rows }) =>
    rows.flatMap(({ name, regime }) => (regime ? [`${name}: ${regime}`] : [])),
  )
  const known = ['latency p50: busy', 'latency p99: busy', 'wake-up p50: asleep', 'rings latency p50: busy']
  t.deepEqual(regimes, known)
})

test('rows have the names by which they are known', (t) => {
  const names = families.flatMap(({ rows }) => rows.map(({ name }) => name))
  t.is(new Set([...names, ...checks.map(({ name }) => name)]).size, names.length + checks.length)
  const known = [
    'rxdrop',
    'headroom',
    'l2fwd',
    'txonly 64',
    'txonly 1400',
    'brokered',
    'testpmd rxdrop',
    'testpmd macswap',
  ]
  for (const name of [...known, 'latency p50', 'latency p99', 'wake-up p50', 'asleep', 'isolation'])
    t.true(names.includes(name), name)
})

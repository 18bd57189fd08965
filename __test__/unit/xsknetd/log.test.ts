import test from 'ava'
import { type LogFields, lineLog } from '../../../packages/xsknetd/src/log/log.js'
import { LogLimiter } from '../../../packages/xsknetd/src/log/log-limiter.js'

const at = () => new Date('2026-11-22T12:00:00.000Z')
function written(format: 'text' | 'json', event: string, fields: LogFields): string {
  const lines: string[] = []
  lineLog(format, (line) => lines.push(line), at)(event, fields)
  return lines.join('')
}

test('a line of text has time, event and fields; what is undefined is left out', (t) => {
  const fields = { port: 3, name: 'my port', mac: '02:00:00:00:00:01', addresses: ['192.0.2.1/24'], cause: undefined }
  t.is(
    written('text', 'port-opened', fields),
    '2026-11-22T12:00:00.000Z port-opened port=3 name="my port" mac=02:00:00:00:00:01 addresses=["192.0.2.1/24"]\n',
  )
})

test('a line of JSON has the same', (t) => {
  t.is(
    written('json', 'ready', { socket: '/run/x', grants: 2 }),
    '{"time":"2026-11-22T12:00:00.000Z","event":"ready","socket":"/run/x","grants":2}\n',
  )
})

const hostile = [
  'a\nfake ready',
  'a" name=b',
  '\u001b[2J',
  '\u202egnp',
  '\u2028',
  '\ud800',
  '\u0000',
  '\u009b31m',
  '\u{e0001}',
  'ä=ö',
  '',
]
for (const format of ['text', 'json'] as const) {
  test(`what a client chose stays in its field, as ${format}`, (t) => {
    for (const name of hostile) {
      const line = written(format, 'client-connected', { client: name })
      t.is(line.split('\n').length, 2)
      t.notRegex(line.trimEnd(), /[\p{C}\p{Zl}\p{Zp}]/u)
      const value = format === 'json' ? JSON.parse(line).client : /client=(.*)\n$/.exec(line)?.[1]
      t.is(format === 'json' ? value : value.startsWith('"') ? JSON.parse(value) : value, name)
    }
  })

  test(`what is long is cut, as ${format}`, (t) => {
    t.true(written(format, 'client-connected', { client: 'x'.repeat(100_000) }).length < 1000)
  })
}

test('a user is limited to 20 lines at once and one a second, and the number of suppressed lines is logged', (t) => {
  let now = 0
  const limiter = new LogLimiter(() => now)
  const passed = (uid: string, times: number) =>
    Array.from({ length: times }, () => limiter.pass(uid)).filter((suppressed) => suppressed !== undefined)
  t.deepEqual(passed('a', 50), Array(20).fill(0))
  t.deepEqual(passed('b', 1), [0])
  now = 999
  t.is(limiter.pass('a'), undefined)
  now = 1000
  t.is(limiter.pass('a'), 31)
  t.is(limiter.pass('a'), undefined)
  now = 1_000_000
  t.deepEqual(passed('a', 50), [1, ...Array(19).fill(0)])
})

test('a source with a full bucket is forgotten, and its suppressed lines are counted all the same', (t) => {
  let now = 0
  const limiter = new LogLimiter(() => now)
  for (let line = 0; line < 25; line++) limiter.pass('talker')
  let told = 0
  for (let speaker = 0; speaker < 100_000; speaker++) {
    now += 1
    told += limiter.pass(`speaker ${speaker}`) ?? 0
  }
  // Each is remembered for the second until its line is given back.
  t.true(limiter.size < 4000, `${limiter.size} are remembered`)
  t.is(told, 5)
})

import { existsSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { Program, run, waitUntil } from '../helpers/program.js'
import { root } from '../helpers/workspace.js'

const demo = (...words: string[]) => [
  process.execPath,
  '--import=@oxc-node/core/register',
  `${root}scripts/demo/main.ts`,
  ...words,
]

for (const mode of ['native', 'skb']) {
  test.serial(`the demo ends well in ${mode} mode`, async (t) => {
    const { code, stdout, stderr } = await run(demo('--mode', mode, '--seconds', '1'))
    t.is(code, 0, `${stdout}${stderr}`)
    t.regex(stdout, new RegExp(`card0 runs the uplink program in ${mode} mode`))
    t.is([...stdout.matchAll(/ok [\d,]+ of [\d,]+ answers came back/g)].length, 2)
    t.regex(stdout, mode === 'native' ? /to right \(BPF rings\)/ : /to right \(AF_XDP\)/)
    t.regex(stdout, /ok is as before/)
    t.notRegex(stdout, /^ {2}NO /m)
  })
}

test('the demo refuses what it does not know', async (t) => {
  for (const words of [['--mood'], ['--mode', 'sideways'], ['--seconds', 'few']]) {
    const { code, stderr } = await run(demo(...words))
    t.is(code, 2)
    t.regex(stderr, /--mood|sideways|few/)
    t.regex(stderr, /npm start --/)
  }
})

test.serial('a demo that is told to end puts everything back', async (t) => {
  const { program } = await kept(t)
  const { code } = await program.stop('SIGTERM', 30_000)
  t.is(code, 0, program.lines.join('\n'))
  t.true(program.lines.some((line) => line.includes('ok is as before')))
})

test.serial('a demo that is killed leaves no instance and no daemon behind', async (t) => {
  const { program, daemon, socket } = await kept(t)
  await program.kill()
  const folder = socket.replace(/\.sock$/, '')
  const left = () =>
    [`/proc/${daemon}`, socket, folder, `${folder}.lock`, `${folder}.journal`].filter((path) => existsSync(path))
  await waitUntil('swept by its lab', () => left().length === 0)
  t.deepEqual(left(), [])
})

async function kept(t: ExecutionContext) {
  const program = new Program(demo('--seconds', '0', '--keep'))
  t.teardown(async () => {
    if (program.running) await program.stop('SIGTERM', 30_000)
  })
  const line = await program.waitFor(/xsknetd, process \d+, listens on/, 60_000)
  const [, daemon, socket] = /process (\d+), listens on (\S+)/.exec(line) ?? []
  t.truthy(daemon && socket)
  await program.waitFor(/^Kept running/, 60_000)
  return { program, daemon, socket: socket as string }
}

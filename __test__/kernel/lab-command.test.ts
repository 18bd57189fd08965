/**
 * `xsknetd lab`. Most of it on a machine as if just started, where its names are free and whatever a failed test leaves
 * is gone with the machine.
 *
 * @module
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { FreshMachine } from '../helpers/fresh.js'
import { nodes } from '../helpers/installed.js'
import { type Finished, Program, run } from '../helpers/program.js'
import { root } from '../helpers/workspace.js'

const cli = [process.execPath, `${root}packages/xsknetd/dist/cli.js`]
const HOST = '/run/netns/xsknet-lab-host'
const REMOTE = '/run/netns/xsknet-lab-remote'

/** A fresh machine, and what is done on it. */
class Bench {
  readonly machine: FreshMachine

  private constructor(machine: FreshMachine) {
    this.machine = machine
  }

  static async start(t: ExecutionContext): Promise<Bench> {
    return new Bench(await FreshMachine.start(t))
  }

  run(...command: string[]): Promise<Finished> {
    return run(this.machine.inside(command))
  }

  /** What a command wrote that succeeded. */
  async output(...command: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...command)
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
    return stdout
  }

  /** `xsknetd lab`, which must succeed; the first line that it writes. */
  async lab(...words: string[]): Promise<string> {
    return (await this.output(...cli, 'lab', ...words)).split('\n', 1).join()
  }

  /** `xsknetd lab`, which must fail with this code and say this. */
  async refused(t: ExecutionContext, words: string[], code: string, says: RegExp, front: string[] = []): Promise<void> {
    const { code: status, stdout, stderr } = await this.run(...front, ...cli, 'lab', ...words)
    t.is(status, 1, stdout)
    t.regex(stderr, new RegExp(`\\(${code}\\)`))
    t.regex(stderr, says)
  }

  /** Devices, names and mounts of the machine, without those that come with each process. */
  look(): Promise<string> {
    return this.output('sh', '-c', 'ip -o link; find /run; cut -d" " -f2 /proc/self/mounts')
  }

  /** Whether the far end reaches the host over the wire. */
  async assertCarries(t: ExecutionContext): Promise<void> {
    for (const host of ['192.0.2.1', '2001:db8::1']) {
      const { code, stdout } = await this.run('nsenter', `--net=${REMOTE}`, '--', 'ping', '-c', '1', '-W', '2', host)
      t.is(code, 0, stdout)
    }
  }
}

test.serial(
  'on this machine, a lab is built once, can be entered by its names, and is gone with all that it made',
  async (t) => {
    const name = `test-${process.pid}`
    const lab = async (...words: string[]) =>
      execFileSync(cli[0] as string, [...cli.slice(1), 'lab', '--name', name, ...words])
    const look = () => [
      execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }).replace(/state \w+/g, ''),
      readFileSync('/proc/self/mounts', 'utf8'),
      existsSync('/run/netns'),
      existsSync('/run/xsknet'),
    ]
    const before = look()
    t.teardown(async () => void (await lab('--down')))
    const paths = ['host', 'remote'].map((machine) => `/run/netns/xsknet-${name}-${machine}`)
    const identities = () => paths.map((path) => statSync(path).ino)

    t.regex(`${await lab()}`, new RegExp(`^The lab \`${name}\` was built: `))
    const built = identities()
    const named = execFileSync('ip', ['netns'], { encoding: 'utf8' })
    for (const path of paths) t.regex(named, new RegExp(`^${path.replace(/.*\//, '')}\\b`, 'm'))
    const [, remote] = paths
    execFileSync('nsenter', [`--net=${remote}`, '--', 'ping', '-c', '1', '-W', '2', '192.0.2.1'])
    t.regex(`${await lab()}`, new RegExp(`^The lab \`${name}\` already exists: `))
    t.deepEqual(identities(), built)

    t.is(`${await lab('--down')}`, `The lab \`${name}\` was removed: ${paths.join(', ')}, with all devices in them.\n`)
    t.deepEqual(look(), before)
    t.is(`${await lab('--down')}`, `There is no lab \`${name}\`.\n`)
  },
)

test.serial('what it tells to try works, in that order', async (t) => {
  const bench = await Bench.start(t)
  const told = await bench.output(...cli, 'lab')
  const indented = [...told.matchAll(/^ {4}(\S.*)$/gm)].map(([, command]) => command as string)
  const commands = indented.slice(1) // behind the picture
  t.is(commands.length, 7, told)
  const [daemon, program, capture, ping4, ping6, stats, down] = commands as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ]
  const node = dirname(nodes().find(([version]) => version.startsWith('22.'))?.[1] as string)
  const shell = (command: string) => ['env', `PATH=${node}:${process.env.PATH}`, 'sh', '-c', command]
  const stay = async (command: string, begun: RegExp) => {
    const terminal = new Program(bench.machine.inside(shell(command)))
    await terminal.waitFor(begun, 20_000)
    return terminal
  }
  const terminals = [
    await stay(daemon, /\bready\b/),
    await stay(program, /^answering ping on card0/),
    await stay(capture, /^listening on far0/),
  ]
  for (const command of [ping4, ping6]) t.regex(await bench.output(...shell(command)), /3 received, 0% packet loss/)
  await terminals[2]?.waitFor(/192\.0\.2\.10 > 192\.0\.2\.2: ICMP echo reply/)
  t.regex(await bench.output(...shell(stats)), /to application [1-9]/)

  // Where somebody works it stays, whole.
  await bench.refused(
    t,
    ['--down'],
    'ERR_XSKNET_LAB_BUSY',
    /^xsknetd: 2 processes run in the lab `lab`: \d+ \(\S+\), \d+ \(\S+\)$/m,
  )
  t.regex(await bench.output(...shell(ping4)), /3 received, 0% packet loss/)
  for (const terminal of terminals.reverse()) {
    process.kill(-terminal.pid, 'SIGINT') // as Ctrl-C does
    await terminal.end()
  }
  t.is(terminals[1]?.lines.at(-1)?.replace(/\d+/, 'some'), 'some frames answered')
  t.regex(await bench.output(...shell(down)), /^The lab `lab` was removed: /)
})

test.serial('a lab that is not whole is built anew', async (t) => {
  const bench = await Bench.start(t)
  const before = await bench.look()
  const damages = [
    `umount ${REMOTE} && rm ${REMOTE}`, // the builder was killed between two names
    `umount ${HOST}`, // or between a name and what it stands for
    `umount ${HOST} ${REMOTE}`, // or the machine was started again, and /run is on a disk
    `nsenter --net=${HOST} ip link delete card0`,
    `nsenter --net=${REMOTE} ip address flush dev far0`,
    `nsenter --net=${HOST} ip link set card0 down`,
  ]
  await bench.lab()
  for (const damage of damages) {
    await bench.output('sh', '-c', damage)
    t.regex(await bench.lab(), /^The lab `lab` was incomplete and has been rebuilt: /, damage)
    await bench.assertCarries(t)
    t.regex(await bench.lab(), /^The lab `lab` already exists: /, damage)
  }
  t.regex(await bench.lab('--down'), / was removed: /)
  t.is(await bench.look(), before)

  await bench.lab()
  await bench.output('sh', '-c', damages[0] as string)
  t.regex(await bench.lab('--down'), /^The lab `lab` was removed: \/run\/netns\/xsknet-lab-host, /)
  t.is(await bench.look(), before)
})

test.serial('a lab command that is killed at any moment is completed by the next one', async (t) => {
  const bench = await Bench.start(t)
  const before = await bench.look()
  const began = performance.now()
  await bench.lab()
  const whole = performance.now() - began
  const steps = 12
  for (const words of [[], ['--down']]) {
    for (let step = 1; step <= steps; step++) {
      if (words.length > 0) await bench.lab()
      const victim = new Program(bench.machine.inside([...cli, 'lab', ...words]))
      const late = setTimeout(() => killGroup(victim), (whole * step) / steps)
      await victim.ended
      clearTimeout(late)
      t.regex(await bench.lab(), /^The lab `lab` (was built|was incomplete and has been rebuilt|already exists): /)
      await bench.assertCarries(t)
      await bench.lab('--down')
      t.is(await bench.look(), before)
    }
  }
})

/** It may have ended a moment ago. */
function killGroup({ pid }: Program): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

test.serial('of several at once one builds it', async (t) => {
  const bench = await Bench.start(t)
  const told = await Promise.all([1, 2, 3, 4].map(() => bench.lab()))
  t.deepEqual(told.map((line) => /was built|already exists/.exec(line)?.[0]).sort(), [
    ...Array(3).fill('already exists'),
    'was built',
  ])
  await bench.assertCarries(t)
})

test.serial('labs of different names stand side by side', async (t) => {
  const bench = await Bench.start(t)
  const other = await bench.output(...cli, 'lab', '--name', 'other')
  t.regex(other, /run --uplink card0 --instance other$/m)
  t.regex(other, /^ {4}export XSKNET_SOCKET=\/run\/xsknet\/other\.sock; node /m)
  t.regex(other, /stats --instance other$/m)
  t.regex(other, /lab --down --name other$/m)
  await bench.lab()
  await bench.lab('--down', '--name', 'other')
  await bench.assertCarries(t)
})

test.serial('what no lab made is not touched', async (t) => {
  const bench = await Bench.start(t)
  const rows: [make: string, undo: string, says: RegExp][] = [
    [
      `ip netns add xsknet-lab-host`,
      `ip netns delete xsknet-lab-host`,
      /xsknet-lab-host is a network namespace that is not a lab's/,
    ],
    [`echo mine > ${REMOTE}`, `rm ${REMOTE}`, /xsknet-lab-remote is no network namespace/],
    [`mkdir ${HOST}`, `rmdir ${HOST}`, /xsknet-lab-host is no network namespace/],
  ]
  await bench.output('ip', 'netns', 'add', 'somebodys')
  for (const [make, undo, says] of rows) {
    await bench.output('sh', '-c', make)
    const before = await bench.look()
    for (const words of [[], ['--down']]) {
      await bench.refused(t, words, 'ERR_XSKNET_LAB_FOREIGN', says)
      t.is(await bench.look(), before)
    }
    await bench.output('sh', '-c', undo)
  }
  await bench.lab()
  // One of another lab with a name of ours.
  const before = await bench.look()
  await bench.output('sh', '-c', `touch /run/netns/xsknet-x-host && mount --bind ${HOST} /run/netns/xsknet-x-host`)
  await bench.refused(
    t,
    ['--down', '--name', 'x'],
    'ERR_XSKNET_LAB_FOREIGN',
    /xsknet-x-host is a network namespace that is not a lab's/,
  )
  await bench.output('sh', '-c', 'umount /run/netns/xsknet-x-host && rm /run/netns/xsknet-x-host')
  t.is(await bench.look(), before)

  await bench.lab('--down')
  t.is(await bench.output('ip', 'netns'), 'somebodys\n')
})

test.serial('names that others make while a lab stands outlive it, and can be removed', async (t) => {
  const bench = await Bench.start(t)
  const before = await bench.look()
  await bench.lab()
  await bench.output('ip', 'netns', 'add', 'somebodys')
  await bench.lab('--down')
  t.is(await bench.output('ip', 'netns'), 'somebodys\n')
  await bench.output('ip', 'netns', 'delete', 'somebodys')
  await bench.lab()
  await bench.lab('--down')
  t.is(await bench.look(), before)
})

test.serial('a lab in use is neither removed nor rebuilt', async (t) => {
  const bench = await Bench.start(t)
  await bench.lab()
  const guest = new Program(
    bench.machine.inside(['nsenter', `--net=${REMOTE}`, '--', 'sh', '-c', 'echo here; exec sleep infinity']),
  )
  await guest.waitFor(/^here$/)
  await bench.output('nsenter', `--net=${HOST}`, 'ip', 'link', 'delete', 'card0')
  for (const words of [[], ['--down']]) {
    const before = await bench.look()
    await bench.refused(
      t,
      words,
      'ERR_XSKNET_LAB_BUSY',
      /^xsknetd: a process runs in the lab `lab`: \d+ \(sleep\)\n {2}hint: .*`kill \d+`/,
    )
    t.is(await bench.look(), before)
  }
  const [, pid] = /\bkill (\d+)/.exec((await bench.run(...cli, 'lab', '--down')).stderr) ?? []
  await bench.output('kill', pid as string)
  await guest.end()
  t.regex(await bench.lab('--down'), / was removed: /)
})

test.serial('it says where no lab can be built, and with which right missing', async (t) => {
  const bench = await Bench.start(t)
  const before = await bench.look()
  // As under `ip netns exec`.
  const hidden = ['unshare', '--mount', '--propagation', 'private', '--']
  await bench.refused(
    t,
    [],
    'ERR_XSKNET_MOUNTS_HIDDEN',
    /^xsknetd: process 1 does not see the mount at \/run\/netns\/xsknet-lab-host:/,
    hidden,
  )
  // Nor can it when the kernel gives no namespace.
  const without = ['setpriv', '--bounding-set=-sys_admin', '--inh-caps=-sys_admin', '--']
  await bench.refused(
    t,
    [],
    'ERR_XSKNET_KERNEL_REFUSED',
    /cannot create a network namespace\n.*\n {2}hint: Needs CAP_SYS_ADMIN/,
    without,
  )
  t.is(await bench.look(), before)
})

import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { DaemonStatus, PortEntry, PortInfo, PortStatistics, UplinkStatistics } from 'xsknet'
import { Daemon, NOBODY, STATE } from '../helpers/daemon.js'
import { CARD, Lab, portPrefixes } from '../helpers/lab.js'
import { inside, Program, run, waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import { npmManifest, root } from '../helpers/workspace.js'

const cli = `${root}packages/xsknetd/dist/cli.js`

async function setUp(t: ExecutionContext): Promise<Lab> {
  const lab = await Lab.create(t)
  await lab.snapshot()
  return lab
}

/** The daemon must not start; how it ended, and what it said. */
async function refused(lab: Lab, options: Parameters<typeof Daemon.launch>[1]) {
  const { program } = Daemon.launch(lab, options)
  const { code } = await program.ended
  return { code, said: program.lines.join('\n') }
}

const asBefore = async (t: ExecutionContext, lab: Lab) => t.deepEqual(await lab.compare(), [])

/** Somebody without rights, but for reading this clone, which may be closed to others. */
const readsAll = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
const asNobody = ['setpriv', `--reuid=${NOBODY}`, '--clear-groups', ...readsAll, '--', process.execPath, cli]

for (const mode of ['native', 'skb'] as const) {
  test.serial(`${mode}: it starts, tells its state, and leaves nothing at SIGTERM`, async (t) => {
    const lab = await setUp(t)
    const daemon = await Daemon.start(lab, { mode })
    const status = await daemon.ask<DaemonStatus>('status')
    t.like(status, { instance: daemon.instance, pid: daemon.program.pid, clients: 1, ports: 0 })
    t.is(status.daemon, `xsknetd ${npmManifest('packages/xsknetd').version}`)
    t.like(status.uplinks[0], { uplink: CARD, mode, mac: lab.cardMac, mtu: 1500 })
    t.deepEqual(await daemon.stop(), { code: 0, signal: null })
    t.false(existsSync(daemon.socket))
    await asBefore(t, lab)
  })
}

test.serial('SIGINT ends it as well, and a second one, or SIGHUP, breaks nothing off', async (t) => {
  const lab = await setUp(t)
  const daemon = await Daemon.start(lab)
  daemon.program.signal('SIGINT')
  await daemon.program.waitFor(/ closing$/)
  for (let again = 0; again < 5; again++)
    for (const signal of ['SIGINT', 'SIGHUP'] as const) daemon.program.signal(signal)
  t.deepEqual(await daemon.program.ended, { code: 0, signal: null })
  await asBefore(t, lab)
})

test.serial('SIGHUP has it read the grants again: a bad file changes nothing, and ports stay open', async (t) => {
  const scene = await Scene.open(t)
  const { lab, daemon } = scene
  const file = `${lab.folder}/${daemon.instance}.toml`
  const good = readFileSync(file, 'utf8')
  const first = await scene.answering(0, {}, { name: 'first' })
  const client = await scene.client()
  const open = (at: number) => client.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(at) })
  const reload = async (toml: string, told: RegExp) => {
    writeFileSync(file, toml)
    daemon.program.signal('SIGHUP')
    return daemon.program.waitFor(told)
  }

  t.regex(await reload(`${good}x = 1\n`, / reload-refused /), /unknown key/)
  await open(1)
  t.regex(await reload('', / reloaded /), /grants=0/)
  await t.throwsAsync(open(2), { code: 'ERR_XSKNET_NOT_PERMITTED' })
  t.deepEqual((await lab.remote.run('ping', '-c', '3', '-i', '0.01', '192.0.2.10')).code, 0)
  t.is(first.info.name, 'first')
  await reload(good, / reloaded grants=1/)
  const after = await scene.client()
  await after.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(2) })
  await scene.end(t)
})

test.serial('the end of its terminal ends it', async (t) => {
  const lab = await setUp(t)
  const instance = `${lab.instances}t`
  // `script` gives it a terminal, which goes when that is killed.
  const daemon = `exec ${process.execPath} ${cli} run --uplink ${CARD} --instance ${instance} > ${lab.folder}/log`
  const env = { STATE_DIRECTORY: `${lab.folder}/${STATE}` }
  const terminal = new Program(inside(lab.host.namespace, ['script', '--quiet', '--command', daemon, '/dev/null']), {
    env,
  })
  t.teardown(() => terminal.kill())
  const log = () => (existsSync(`${lab.folder}/log`) ? readFileSync(`${lab.folder}/log`, 'utf8') : '')
  await waitUntil('the daemon is ready', () => log().includes(' ready '))
  await terminal.kill()
  await waitUntil('the daemon has ended', () => log().endsWith(' closed\n'))
  t.regex(log(), / signal signal=SIGHUP\n/)
  await asBefore(t, lab)
})

test.serial('under `ip netns exec` it says which command works instead, and that works', async (t) => {
  const lab = await setUp(t)
  const name = `${lab.instances}n`
  const other = await Daemon.start(lab, { suffix: 'b' })
  const folder = '/run/netns'
  const wasThere = existsSync(folder)
  const wasMounted = readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${folder} `)
  t.like(await run(['ip', 'netns', 'attach', name, `${other.program.pid}`]), { code: 0 })
  t.teardown(async () => {
    await run(['ip', 'netns', 'delete', name])
    // `ip` mounts the folder on itself for the first one that it names.
    if (!wasMounted) await run(['umount', folder])
    if (!wasThere) rmdirSync(folder)
  })
  await other.stop()

  const { code, said } = await refused(lab, { command: ['ip', 'netns', 'exec', name, process.execPath, cli] })
  t.is(code, 1)
  t.regex(said, /\(ERR_XSKNET_MOUNTS_HIDDEN\)$/)
  const [, advice = ''] = /\n {2}hint: .*`ip netns exec`.*: `(nsenter [^`]*)`\.\n/.exec(said) ?? []
  t.true(advice.startsWith(`nsenter --net=/run/netns/${name} -- `), said)
  const program = new Program(['sh', '-c', `exec ${advice}`], { env: { STATE_DIRECTORY: `${lab.folder}/${STATE}` } })
  t.teardown(() => program.kill())
  await program.waitFor(/\bready\b/, 20_000)
  t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null })
  await asBefore(t, lab)
})

test.serial('a signal while it starts is obeyed as soon as it can be', async (t) => {
  const lab = await setUp(t)
  const daemon = Daemon.launch(lab)
  // The instance's folder is made before the uplink is managed.
  await waitUntil('under way', () => existsSync(`/run/xsknet/${daemon.instance}.journal`))
  t.deepEqual(await daemon.stop(), { code: 0, signal: null })
  await asBefore(t, lab)
})

test.serial('a second daemon of the instance is refused, and the first goes on', async (t) => {
  const lab = await setUp(t)
  const first = await Daemon.start(lab)
  const { code, said } = await refused(lab, {})
  t.is(code, 1)
  t.regex(said, /ERR_XSKNET_INSTANCE_RUNNING/)
  t.regex(said, /\n {2}hint: /)
  t.is((await first.ask<DaemonStatus>('status')).pid, first.program.pid)
  await first.stop()
  await asBefore(t, lab)
})

test.serial('an uplink that is not there is named, and the one that is there is given back', async (t) => {
  const lab = await setUp(t)
  const { code, said } = await refused(lab, { uplinks: [CARD, 'card9'] })
  t.is(code, 1)
  t.regex(said, /card9/)
  t.regex(said, /ERR_XSKNET_DEVICE_MISSING/)
  await asBefore(t, lab)
})

test.serial('an uplink that another program has is left to it', async (t) => {
  const lab = await setUp(t)
  const source = `${lab.folder}/foreign.c`
  writeFileSync(source, 'int pass(void *frame) __attribute__((section("xdp"))); int pass(void *frame) { return 2; }\n')
  await lab.host.output('clang', '-O2', '-target', 'bpf', '-c', source, '-o', `${lab.folder}/foreign.o`)
  // iproute2 mounts a bpffs where there is none, and leaves folders in it: among mounts of its own.
  const attach = ['ip', 'link', 'set', CARD, 'xdpgeneric', 'obj', `${lab.folder}/foreign.o`, 'sec', 'xdp']
  await lab.host.output('unshare', '--mount', ...attach)
  const attached = async () => /prog\/xdp id \d+/.exec(await lab.host.output('ip', '-d', 'link', 'show', CARD))?.[0]
  const before = await attached()
  t.truthy(before)
  await lab.snapshot()

  const { code, said } = await refused(lab, {})
  t.is(code, 1)
  t.regex(said, /ERR_XSKNET_DEVICE_FOREIGN_PROGRAM/)
  t.true(said.includes(before?.replace(/\D+/, '') ?? '?'), said)
  t.is(await attached(), before)
  await asBefore(t, lab)
})

test.serial('a configuration that cannot be followed ends it with 2 before anything is touched', async (t) => {
  const lab = await setUp(t)
  const { code, said } = await refused(lab, {
    config: '[[grant]]\nuser = "nobody"\nuplinks = ["card0"]\naddresses = ["192.0.2.9/29"]\n',
  })
  t.is(code, 2)
  t.regex(said, /\.toml:4: `addresses\[0\]` of the 1st \[\[grant\]\]: .*192\.0\.2\.8\/29/)
  await asBefore(t, lab)
})

test.serial('a socket that cannot be made undoes everything', async (t) => {
  const lab = await setUp(t)
  const { code, said } = await refused(lab, { args: ['--socket', `${lab.folder}/not/there.sock`] })
  t.is(code, 1)
  t.regex(said, /not\/there\.sock/)
  await asBefore(t, lab)
})

test.serial('a state folder that other users own or can write to is refused and left as it is', async (t) => {
  const lab = await setUp(t)
  const state = `${lab.folder}/${STATE}`
  mkdirSync(state)
  for (const [mode, uid, says] of [
    [0o777, 0, /the state folder .* is writable by other users \(mode 777\)\n {2}hint: .*`chmod go-w /],
    [0o770, 0, /\(mode 770\)\n/],
    [0o700, NOBODY, /the state folder .* is owned by user 65534, not by user 0\n {2}hint: .*`chown 0 /],
  ] as const) {
    chownSync(state, uid, 0)
    chmodSync(state, mode)
    const { code, said } = await refused(lab, {})
    t.is(code, 1)
    t.regex(said, says)
    t.regex(said, /\(ERR_XSKNET_SECRET_INVALID\)$/)
    t.deepEqual(readdirSync(state), [])
    await asBefore(t, lab)
  }
  chownSync(state, 0, 0)
  chmodSync(state, 0o755)
  await (await Daemon.start(lab)).stop()
})

test.serial('without root it says so', async (t) => {
  const { code, stderr } = await run([...asNobody, 'run', '--uplink', CARD])
  t.is(code, 1)
  t.regex(stderr, /the daemon needs root privileges; this is user 65534/)
})

test.serial('after a kill -9 the next start cleans up, and SIGTERM leaves nothing', async (t) => {
  const scene = await Scene.open(t)
  const client = await scene.client()
  await client.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(0) })
  await scene.daemon.kill()
  t.true(existsSync(scene.daemon.socket))
  const next = await Daemon.start(scene.lab)
  t.deepEqual(await next.ask<PortEntry[]>('ports'), [])
  await next.stop()
  await client.kill()
  await asBefore(t, scene.lab)
})

test.serial('an unexpected error is logged, everything is undone, and the exit code is 1', async (t) => {
  const lab = await setUp(t)
  const bug = `${lab.folder}/bug.mjs`
  writeFileSync(bug, "process.on('SIGUSR2', () => { Promise.reject(new TypeError('provoked')) })\n")
  const daemon = Daemon.launch(lab, { command: [process.execPath, `--import=${bug}`, cli] })
  await daemon.program.waitFor(/ ready /)
  daemon.program.signal('SIGUSR2')
  t.deepEqual(await daemon.program.ended, { code: 1, signal: null })
  t.true(daemon.program.lines.some((line) => / uncaught .*provoked.*bug\.mjs/.test(line)))
  await asBefore(t, lab)
})

test.serial('SIGUSR1 opens no inspector, and what steers Node does not reach it', async (t) => {
  const lab = await setUp(t)
  const node = [
    '/usr/bin/env',
    'NODE_OPTIONS=--no-warnings',
    'OPENSSL_CONF=/dev/null',
    'UV_THREADPOOL_SIZE=3',
    process.execPath,
  ]
  const daemon = await Daemon.start(lab, { command: [...node, cli] })
  const { pid } = daemon.program
  t.notRegex(readFileSync(`/proc/${pid}/environ`, 'utf8'), /NODE_OPTIONS|OPENSSL_CONF|UV_/)
  for (let times = 0; times < 3; times++) daemon.program.signal('SIGUSR1')
  await daemon.program.waitFor(/ signal-ignored signal=SIGUSR1$/)
  t.like(await daemon.ask<DaemonStatus>('status'), { pid })
  // Of the namespace that it lives in: nobody else listens there.
  t.is(readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').length, 1)
  t.deepEqual(await daemon.stop(), { code: 0, signal: null })
  t.notRegex(daemon.program.lines.join('\n'), /Debugger/)
  await asBefore(t, lab)
})

test.serial('it outlives the reader of its log', async (t) => {
  const lab = await setUp(t)
  const instance = `${lab.instances}log`
  const daemon = `setpriv --pdeathsig KILL -- ${process.execPath} ${cli} run --uplink ${CARD} --instance ${instance}`
  // `head` ends with the line that says ready; what is logged then finds nobody.
  const program = lab.host.spawn('sh', '-c', 'sh -c "$0" | head -n 3', `echo $$; exec ${daemon}`)
  await program.waitFor(/ ready /)
  const pid = Number(program.lines[0])
  t.like(await run([process.execPath, cli, 'status', '--instance', instance]), { code: 0 })
  t.true(existsSync(`/proc/${pid}`))
  process.kill(pid, 'SIGTERM')
  await program.ended
  await asBefore(t, lab)
})

test.serial('its log as JSON is one object a line', async (t) => {
  const lab = await setUp(t)
  const daemon = await Daemon.start(lab, { args: ['--log', 'json'] })
  await daemon.ask('status')
  await daemon.stop()
  const events = daemon.program.lines.map((line) => JSON.parse(line) as { time: string; event: string })
  t.deepEqual(
    events.map(({ event }) => event),
    ['uplink-managed', 'ready', 'signal', 'closing', 'uplink-released', 'closed'],
    'who only asks writes nothing',
  )
})

test.serial('ports and stats show what is open, each user its own', async (t) => {
  const scene = await Scene.open(t)
  const port = await scene.answering(0, {}, { name: 'dns' })
  const root = await scene.client({ uid: 0 })
  await root.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(1), vlan: 42 })
  t.deepEqual((await scene.lab.remote.run('ping', '-c', '3', '-i', '0.01', '192.0.2.10')).code, 0)

  const ports = await scene.daemon.ask<PortEntry[]>('ports')
  t.deepEqual(
    ports.map(({ name, uplink, uid, vlan }) => [name, uplink, uid, vlan]),
    [
      ['dns', CARD, NOBODY, null],
      [ports[1]?.name, CARD, 0, 42],
    ],
  )
  t.is(ports[0]?.addresses[0], '192.0.2.10/24')
  t.regex(ports[0]?.addresses.at(-1) ?? '', /^fe80::.*\/64$/)
  const seen = await run([...asNobody, 'ports', '--json', '--socket', scene.daemon.socket])
  t.deepEqual(
    (JSON.parse(seen.stdout) as PortEntry[]).map(({ name }) => name),
    ['dns'],
  )

  interface Stats {
    uplinks: { uplink: string; statistics: UplinkStatistics }[]
    ports: (PortEntry & { statistics: PortStatistics })[]
  }
  const stats = await scene.daemon.ask<Stats>('stats')
  t.is(stats.uplinks[0]?.uplink, CARD)
  t.true((stats.ports[0]?.statistics.program.toSocket ?? 0) >= 3)
  const one = await scene.daemon.ask<Stats>('stats', `${ports[0]?.port}`)
  t.deepEqual([one.uplinks.length, one.ports.length], [0, 1])
  t.like(await scene.daemon.cli('stats', '99'), { code: 1, stdout: '' })
  const named = await scene.daemon.ask<Stats>('stats', 'dns')
  t.deepEqual([named.uplinks, named.ports.map(({ name }) => name)], [[], ['dns']])
  const unknown = await scene.daemon.cli('stats', 'dnss')
  t.is(unknown.code, 1)
  t.regex(
    unknown.stderr,
    new RegExp(
      '^xsknetd: `dnss` is not an uplink or an open port that you may query; did you mean `dns`\\?\n' +
        ' {2}hint: .*xsknetd ports',
    ),
  )
  t.regex((await scene.daemon.cli('stats')).stdout, /^uplink card0\n(.*\n)+port \d+ `dns` on card0, user 65534/)
  t.regex((await scene.daemon.cli('ports')).stdout, /dns +card0 +- /)
  const strange = await run([...asNobody, 'stats', '2', '--socket', scene.daemon.socket])
  t.is(strange.code, 1)
  t.regex(strange.stderr, /ERR_XSKNET_PORT_UNKNOWN/)
  await root.kill()
  await scene.daemon.stop()
  await port.client.kill()
  await asBefore(t, scene.lab)
})

test.serial('a grant is what a user gets: addresses, VLANs, ports, memory, and other cards stay unknown', async (t) => {
  const config = `
[[grant]]
user = ${NOBODY}
uplinks = ["card0"]
addresses = ["192.0.2.10", "192.0.2.11"]
vlans = ["untagged", 7]
ports = 2
memory = "24MiB"
`
  const scene = await Scene.open(t, { config })
  const client = await scene.client()
  const open = (options: object) =>
    client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: ['192.0.2.10'], ...options })
  const code = async (opening: Promise<unknown>) => {
    const error = (await t.throwsAsync(opening)) as Error & { code: string; details: unknown }
    return [error.code, error.details]
  }
  const NOT_PERMITTED = 'ERR_XSKNET_NOT_PERMITTED'
  t.is((await code(open({ addresses: ['192.0.2.12'] })))[0], NOT_PERMITTED)
  t.is((await code(open({ addresses: ['192.0.2.10', '2001:db8::10'] })))[0], NOT_PERMITTED)
  t.is((await code(open({ vlan: 8 })))[0], NOT_PERMITTED)
  t.is((await code(open({ uplink: 'lo' })))[0], NOT_PERMITTED)
  t.is((await code(open({ addresses: ['::ffff:192.0.2.10'] })))[0], 'ERR_XSKNET_ADDRESS_INVALID')
  t.deepEqual(await code(open({ frames: 16_384 })), [
    'ERR_XSKNET_LIMIT_REACHED',
    { uid: NOBODY, limit: 'memory', has: 0, asked: 2 ** 25, most: 24 * 2 ** 20 },
  ])

  await open({ as: 'a' })
  // A second connection shares the first one's limits.
  const second = await scene.client()
  t.is((await code(second.ask({ do: 'open', uplink: CARD, addresses: ['192.0.2.11'] })))[0], 'ERR_XSKNET_LIMIT_REACHED')
  await open({ as: 'b', addresses: ['192.0.2.11'], vlan: 7, ringSize: 512 })
  t.deepEqual(await code(open({ ringSize: 64 })), [
    'ERR_XSKNET_LIMIT_REACHED',
    { uid: NOBODY, limit: 'ports', has: 2, asked: 1, most: 2 },
  ])
  await client.kill()
  // What the dead one had is free as soon as the daemon has heard of it, which it may after the next request.
  await waitUntil('free', async () => {
    const opening = second.ask({ do: 'open', uplink: CARD, addresses: ['192.0.2.10'] })
    return opening.then(
      () => true,
      (error: { code: string }) => {
        if (error.code !== 'ERR_XSKNET_LIMIT_REACHED') throw error
        return false
      },
    )
  })
  await second.kill()
  await scene.daemon.stop()
  await asBefore(t, scene.lab)
})

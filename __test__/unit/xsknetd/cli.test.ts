import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { type UplinkStatistics, XsknetError } from 'xsknet'
import { PROTOCOL_VERSION } from 'xsknet/protocol'
import { type Command, readCommandLine } from '../../../packages/xsknetd/src/cli/command-line.js'
import { portsReport, statisticsReport, statusReport } from '../../../packages/xsknetd/src/cli/report.js'
import { bpfObjects } from '../../../packages/xsknetd/src/platform/native.js'
import { nodeVariables } from '../../../packages/xsknetd/src/runtime/node-environment.js'
import { npmManifest, root } from '../../helpers/workspace.js'
import { noStatistics } from './fakes.js'

const settings = { uplinks: undefined, mode: undefined, instance: undefined, socket: undefined, log: undefined }
const asking = { socket: undefined, json: false }
const good: [line: string, command: Command][] = [
  ['', { command: 'help' }],
  ['help', { command: 'help' }],
  ['--help', { command: 'help' }],
  ['-h', { command: 'help' }],
  ['run --uplink eth0 --help', { command: 'help' }],
  ['--version', { command: 'version' }],
  ['run', { command: 'run', config: undefined, settings }],
  [
    'run --uplink eth0 --uplink=eth1',
    { command: 'run', config: undefined, settings: { ...settings, uplinks: ['eth0', 'eth1'] } },
  ],
  [
    'run --config x.toml --mode skb --instance a --socket /tmp/a --log json',
    {
      command: 'run',
      config: 'x.toml',
      settings: { ...settings, mode: 'skb', instance: 'a', socket: '/tmp/a', log: 'json' },
    },
  ],
  ['lab', { command: 'lab', name: 'lab', down: false }],
  ['lab --down --name a-b_7', { command: 'lab', name: 'a-b_7', down: true }],
  ['status', { command: 'status', ...asking }],
  ['status --json --socket /tmp/a', { command: 'status', socket: '/tmp/a', json: true }],
  ['ports --instance lab', { command: 'ports', socket: '/run/xsknet/lab.sock', json: false }],
  ['stats', { command: 'stats', ...asking, target: undefined }],
  ['stats 7', { command: 'stats', ...asking, target: { port: 7 } }],
  ['stats --json eth0', { command: 'stats', socket: undefined, json: true, target: { name: 'eth0' } }],
]
for (const [line, command] of good) {
  test(`xsknetd ${line}`, (t) => t.deepEqual(readCommandLine(line.split(' ').filter(Boolean)), command))
}

const bad: [line: string, says: RegExp][] = [
  ['start', /unknown command `start`/],
  ['stat', /unknown command `stat`; did you mean `stat(us|s)`\?$/],
  ['constructor', /unknown command `constructor`/],
  ['--uplink eth0', /option '--uplink'/],
  ['run --card eth0', /unknown option '--card' for `run`$/],
  ['run --uplnik eth0', /unknown option '--uplnik' for `run`; did you mean `--uplink`\?$/],
  ['status --jsno', /unknown option '--jsno' for `status`; did you mean `--json`\?$/],
  ['run --json', /option '--json' for `run`/],
  ['run --uplink', /'--uplink <value>' argument missing/],
  ['run eth0', /unexpected argument `eth0` for `run`/],
  ['lab eth0', /unexpected argument `eth0` for `lab`/],
  ['lab --name a/b', /invalid lab name `a\/b`: it must be 1 to 32/],
  ['lab --name=', /invalid lab name ``/],
  ['lab --up', /unknown option '--up' for `lab`/],
  ['status eth0', /unexpected argument `eth0` for `status`/],
  ['status --uplink eth0', /option '--uplink' for `status`/],
  ['stats 1 2', /unexpected argument `2` for `stats`/],
  ['ports --json=yes', /'--json' does not take an argument/],
  ['ports --socket /a --instance b', /--socket and --instance cannot be used together/],
]
for (const [line, says] of bad) {
  test(`refused: xsknetd ${line}`, (t) => {
    const error = t.throws(() => readCommandLine(line.split(' ')), { instanceOf: XsknetError, message: says })
    t.is(error?.code, 'ERR_XSKNET_CONFIGURATION_INVALID')
    t.truthy(error?.hint)
  })
}

const cli = (words: string[], env: NodeJS.ProcessEnv = {}) =>
  spawnSync(process.execPath, [`${root}packages/xsknetd/dist/cli.js`, ...words], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 20_000,
  })

const { version } = npmManifest('packages/xsknetd')

test('the executable tells the versions of program, protocol and Node, and which BPF objects it carries', (t) => {
  const objects = bpfObjects()
  t.deepEqual(
    objects.map(({ name }) => name),
    ['datapath', 'explain', 'port', 'ring', 'umem', 'inject', 'link_guard'],
  )
  const rows = objects.map(({ name, bytes }) => {
    t.is(Buffer.from(bytes).readUInt16LE(18), 247, 'its ELF header says BPF')
    return `  ${name.padEnd(12)}${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}\n`
  })
  t.is(new Set(rows).size, objects.length)
  const head = `xsknetd ${version}\nprotocol ${PROTOCOL_VERSION}\nnode ${process.versions.node}\n`
  t.like(cli(['--version']), { status: 0, stdout: `${head}BPF objects   SHA-256\n${rows.join('')}`, stderr: '' })
})

test('without a binding it tells its version all the same', (t) => {
  const modules = join(mkdtempSync(join(tmpdir(), 'xsknetd-cli-')), 'node_modules')
  t.teardown(() => rmSync(join(modules, '..'), { recursive: true }))
  for (const name of ['xsknet', 'xsknetd']) {
    for (const part of ['package.json', 'dist']) {
      cpSync(`${root}packages/${name}/${part}`, join(modules, name, part), { recursive: true })
    }
  }
  for (const name of ['valibot', 'smol-toml']) {
    cpSync(realpathSync(`${root}packages/xsknetd/node_modules/${name}`), join(modules, name), { recursive: true })
  }
  const told = spawnSync(process.execPath, [join(modules, 'xsknetd/dist/cli.js'), '--version'], { encoding: 'utf8' })
  t.like(told, { status: 0, stderr: '' })
  t.true(told.stdout.startsWith(`xsknetd ${version}\nprotocol ${PROTOCOL_VERSION}\nnode `), told.stdout)
  t.regex(told.stdout, /\nBPF objects unavailable: .*is not installed\n$/)
})

test('the executable tells how it is used', (t) => {
  t.regex(cli(['--help']).stdout, /xsknetd run --uplink/)
})

test('a slip on the command line ends it with 2, and says what is right', (t) => {
  const { status, stdout, stderr } = cli(['run', '--uplnik', 'eth0'])
  t.is(status, 2)
  t.is(stdout, '')
  t.regex(stderr, /^xsknetd: unknown option '--uplnik' for `run`; did you mean `--uplink`\?\n {2}hint: .*--help/)
})

test('a slip in the configuration ends it with 2, and names file, line and key', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xsknetd-cli-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'x.toml')
  writeFileSync(file, '[daemon]\nuplinks = ["eth0"]\nmode = "fast"\n')
  const { status, stderr } = cli(['run', '--config', file])
  t.is(status, 2)
  t.true(stderr.includes(`${file}:3: \`daemon.mode\``), stderr)
})

test('a missing daemon is named with a remedy, and the exit code is 1', (t) => {
  const { status, stderr } = cli(['status', '--socket', '/nowhere/x.sock'])
  t.is(status, 1)
  t.regex(stderr, /^xsknetd: no daemon listens on \/nowhere\/x\.sock\n/)
  t.regex(stderr, /\n {2}hint: .*xsknetd run/)
  t.regex(stderr, /\(ERR_XSKNET_DAEMON_ABSENT\)\n$/)
  t.regex(cli(['ports'], { XSKNET_SOCKET: '/nowhere/y.sock' }).stderr, /\/nowhere\/y\.sock/)
})

const uplink = {
  uplink: 'eth0',
  device: 'eth0',
  index: 3,
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  link: 'up' as const,
  mode: 'native' as const,
  attempts: [],
}
const entry = {
  port: 12,
  name: 'dns',
  uplink: 'eth0',
  mac: '02:00:00:00:00:10',
  addresses: ['192.0.2.10/24', 'fe80::1/64'],
  vlan: null,
  queues: 4,
  rings: 'xsk' as const,
  groups: ['ff02::1'],
  uid: 65_534,
  pid: 77,
}

test('the status is a sentence and a table', (t) => {
  const refused = { hook: 'uplink', step: 'hw', code: 'EOPNOTSUPP', why: '' }
  const status = {
    daemon: 'xsknetd 1.2.3',
    instance: 'lab',
    pid: 5,
    uptimeSeconds: 93_784,
    clients: 1,
    ports: 2,
    gone: [{ uplink: 'eth1', seconds: 125 }],
    uplinks: [
      uplink,
      { ...uplink, uplink: 'enp1s0', device: 'wan0', link: 'no-carrier' as const, attempts: [refused] },
    ],
  }
  t.is(
    statusReport(status),
    [
      'xsknetd 1.2.3, instance lab, process 5, up 1 d 2 h: 1 client, 2 ports',
      'uplink             link        mac                mtu   mode    refused',
      'eth0               up          02:00:00:00:00:01  1500  native',
      'enp1s0 (now wan0)  no-carrier  02:00:00:00:00:01  1500  native  hw EOPNOTSUPP',
      'eth1 has been gone for 2 min 5 s: restart the daemon once the interface is back',
    ].join('\n'),
  )
  const lines = (changed: Partial<typeof status>) =>
    statusReport({ ...status, ...changed })
      .split('\n')
      .slice(1)
  t.deepEqual(lines({ uplinks: [] }), [
    'eth1 has been gone for 2 min 5 s: restart the daemon once the interface is back',
  ])
  t.deepEqual(lines({ uplinks: [], gone: [] }), ['no uplinks that you may use'])
})

test('ports are a table', (t) => {
  t.is(portsReport([]), 'no open ports')
  t.is(
    portsReport([entry]),
    [
      'port  name  uplink  vlan  queues  rings  mac                  uid  pid  addresses                 groups',
      '  12  dns   eth0       -       4  xsk    02:00:00:00:00:10  65534   77  192.0.2.10/24 fe80::1/64  ff02::1',
    ].join('\n'),
  )
})

test('statistics are told hop by hop: what came, what went on, what was lost and why', (t) => {
  const counters = noStatistics.program
  const statistics = {
    ...noStatistics.closed,
    program: { ...counters, seen: 105, toSocket: 103, dropped: { no_socket: 2, too_long: 0 } },
    guard: { ...counters, seen: 50, toPort: 1, toUplink: 40, dropped: { source_ip: 7, vlan: 2 } },
    socket: { ...noStatistics.closed.socket, rxRingFull: 3 },
    innerTransmitDrops: 4,
  }
  const report = statisticsReport({ uplinks: [], ports: [{ ...entry, statistics }] })
  t.is(
    report,
    [
      'port 12 `dns` on eth0, user 65534, process 77',
      '  hop                seen  onward  lost  of these',
      '  pair, inward                        0',
      '  port program        105     103     2  to socket 103, no_socket 2',
      '  socket receives     103     100     3  to application 100, rx_ring_full 3',
      '  socket sends                        0',
      '  pair, outward                       4  no_room 4',
      '  guard                50      41     9  to port 1, to uplink 40, source_ip 7, vlan 2',
      '  redirect by guard                   0',
    ].join('\n'),
  )
})

test('of a port with BPF rings, what its rings took and gave is told, too', (t) => {
  const rings = { received: 90, noChunk: 4, invalidChunk: 1, sent: 50 }
  const statistics = { ...noStatistics.closed, rings }
  const report = statisticsReport({ uplinks: [], ports: [{ ...entry, rings: 'bpf', statistics }] }).split('\n')
  t.deepEqual(
    report.filter((line) => line.includes('rings')),
    [
      '  rings receive        94      89     5  to application 89, no_chunk 4, invalid_chunk 1',
      '  rings send           50      50     0  to guard 50',
    ],
  )
})

test('of a pinned port whose socket is not shared, nothing is said of the socket', (t) => {
  const statistics = { ...noStatistics.closed, socket: null }
  const report = statisticsReport({ uplinks: [], ports: [{ ...entry, statistics }] })
  t.notRegex(report, /socket (receives|sends)/)
  t.regex(report, /port program/)
})

test('the statistics of an uplink hold those of its closed ports, once those had a frame', (t) => {
  const of = (closed: UplinkStatistics['closed']) => {
    const statistics = { ...noStatistics, transmitDrops: 5, closed }
    return statisticsReport({ uplinks: [{ uplink: 'eth0', statistics }], ports: [] })
  }
  t.notRegex(of(noStatistics.closed), /closed:/)
  t.regex(of({ ...noStatistics.closed, innerTransmitDrops: 1 }), /\n {2}closed: guard /)
  const counters = { ...noStatistics.program, seen: 3, toUplink: 3 }
  const report = of({ ...noStatistics.closed, guard: counters })
  t.regex(report, /^uplink eth0\n/)
  t.regex(report, /\n {2}uplink transmits +5 {2}no_room 5\n/)
  const hidden = { ...noStatistics, transmitDrops: null, refusedRedirects: null }
  const untold = statisticsReport({ uplinks: [{ uplink: 'eth0', statistics: hidden }], ports: [] })
  t.regex(untold, /\n {2}redirect to ports +0 {2}refused not counted\n {2}uplink transmits +0 {2}no_room not counted\n/)
  t.regex(report, /\n {2}closed: guard/)
})

test('what steers Node is known by its name, and nothing else is', (t) => {
  const steers = [
    'NODE_OPTIONS',
    'NODE_REPL_EXTERNAL_MODULE',
    'NODE_EXTRA_CA_CERTS',
    'NODE_V8_COVERAGE',
    'NODE_PATH',
    'NODE_NEW',
  ]
  const others = [
    'OPENSSL_CONF',
    'OPENSSL_MODULES',
    'SSL_CERT_FILE',
    'SSL_CERT_DIR',
    'SSLKEYLOGFILE',
    'UV_THREADPOOL_SIZE',
  ]
  const harmless = ['NODE', 'NODE_ENV', 'PATH', 'HOME', 'XSKNET_SOCKET', 'STATE_DIRECTORY', 'MY_NODE_OPTIONS', 'LANG']
  const environment = Object.fromEntries([...steers, ...others, ...harmless].map((name) => [name, 'x']))
  t.deepEqual(nodeVariables(environment).sort(), [...steers, ...others].sort())
})

test('the daemon starts anew without what steers Node, with its words and all else as it was', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xsknetd-cli-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [steer, look] = [join(folder, 'steer.cjs'), join(folder, 'look.cjs')]
  writeFileSync(steer, 'console.log("steered", process.pid)')
  writeFileSync(look, 'console.log(JSON.stringify([process.pid, process.argv.slice(2), process.env]))')
  const words = ['run', '--config', join(folder, 'none.toml')]
  const env = {
    PATH: process.env.PATH,
    KEPT: 'a=b \n c',
    NODE_ENV: 'test',
    OPENSSL_CONF: '/dev/null',
    NODE_OPTIONS: `--require=${steer}`,
  }
  const command = ['--require', look, `${root}packages/xsknetd/dist/cli.js`, ...words]
  const { status, stdout, stderr, pid } = spawnSync(process.execPath, command, {
    encoding: 'utf8',
    env,
    timeout: 20_000,
  })
  t.is(status, 2)
  t.regex(stderr, /^xsknetd: cannot read the configuration file .*none\.toml\n/)
  const [steered, first = '', second = '', ...more] = stdout.trim().split('\n')
  t.deepEqual([steered, more], [`steered ${pid}`, []])
  t.deepEqual(JSON.parse(first), [pid, words, env])
  const { PATH, KEPT, NODE_ENV } = env
  t.deepEqual(JSON.parse(second), [pid, words, { PATH, KEPT, NODE_ENV }])
})

test('the daemon does not run while Node’s inspector is open', (t) => {
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--inspect=0', `${root}packages/xsknetd/dist/cli.js`, 'run'],
    {
      encoding: 'utf8',
      timeout: 20_000,
    },
  )
  t.is(status, 2)
  t.regex(stderr, /xsknetd: the daemon does not run while Node's inspector is open at ws:\/\/127\.0\.0\.1:\d+/)
  t.regex(stderr, /\n {2}hint: `--inspect=0` opens it: start Node without this option\.\n/)
})

test('where NODE_OPTIONS opens the inspector, the refusal names that', (t) => {
  const { status, stderr } = cli(['run'], { NODE_OPTIONS: '--no-warnings --inspect=0' })
  t.is(status, 2)
  t.regex(stderr, /\n {2}hint: NODE_OPTIONS \(`--no-warnings --inspect=0`\) opens it: unset it, .*\.\n/)
})

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { XsknetError } from 'xsknet'
import { exampleConfiguration, usage } from '../../../packages/xsknetd/src/cli/help.js'
import { systemAccounts } from '../../../packages/xsknetd/src/configuration/accounts.js'
import { checkConfiguration, readConfiguration } from '../../../packages/xsknetd/src/configuration/configuration.js'
import type { DaemonSettings } from '../../../packages/xsknetd/src/configuration/daemon-settings.js'
import { root } from '../../helpers/workspace.js'
import { RATES } from './fakes.js'

const folder = mkdtempSync(join(tmpdir(), 'xsknetd-config-'))
writeFileSync(
  join(folder, 'passwd'),
  'root:x:0:0::/root:/bin/sh\n+@nis\nbad:x:seven:7::/:\nalice:x:1001:1001:Alice,,,:/home/alice:/bin/sh\n',
)
writeFileSync(join(folder, 'group'), 'root:x:0:\nnetops:x:50:alice,bob\n')
test.after.always(() => rmSync(folder, { recursive: true }))
const accounts = systemAccounts(folder)

const GRANT = '[[grant]]\nuser = "alice"\nuplinks = ["eth0"]\naddresses = ["192.0.2.8/29"]\n'
let files = 0
function read(toml: string, above: DaemonSettings = { uplinks: ['eth0'] }) {
  const file = join(folder, `${files++}.toml`)
  writeFileSync(file, toml)
  return readConfiguration(above, file, accounts)
}

test('flags alone are a configuration, with defaults', (t) => {
  t.deepEqual(readConfiguration({ uplinks: ['eth0'] }), {
    uplinks: ['eth0'],
    mode: 'unspecified',
    instance: 'default',
    socket: '/run/xsknet/default.sock',
    log: 'text',
    memory: { key: '`memory` under [daemon] of the configuration' },
    grants: [],
  })
})

test('the socket follows the name of the instance', (t) => {
  t.is(readConfiguration({ uplinks: ['eth0'], instance: 'lab-1' }).socket, '/run/xsknet/lab-1.sock')
  t.is(readConfiguration({ uplinks: ['eth0'], instance: 'lab-1', socket: '/tmp/x' }).socket, '/tmp/x')
})

test('a file says it all, and flags count more', (t) => {
  const toml =
    '[daemon]\nuplinks = ["eth1", "eth2"]\nmode = "skb"\nsocket = "/tmp/a"\n' +
    'instance = "a"\nlog = "json"\nmemory = "8GiB"\n'
  const all = {
    uplinks: ['eth1', 'eth2'],
    mode: 'skb',
    socket: '/tmp/a',
    instance: 'a',
    log: 'json',
    memory: { bytes: 2 ** 33, key: '`memory` under [daemon] of the configuration' },
    grants: [],
  }
  t.deepEqual(read(toml, {}), all as never)
  t.deepEqual(read(toml, { uplinks: ['eth9'], mode: 'native', log: undefined }), {
    ...all,
    uplinks: ['eth9'],
    mode: 'native',
  } as never)
})

test('grants get numbers for names, ranges for texts, and defaults', (t) => {
  const toml = [
    `${GRANT}[[grant]]`,
    'group = "netops"',
    'uplinks = ["eth0", "eth1"]',
    'addresses = ["2001:db8::/64", "192.0.2.1"]',
    'vlans = [42, "untagged"]',
    'ports = 4',
    'queues = 8',
    'memory = "64MiB"\n',
  ].join('\n')
  const { grants } = read(toml)
  t.like(grants[0], { holder: { uid: 1001 }, vlans: [null], ports: 1, queues: 1, memory: 16 * 2 ** 20 })
  t.like(grants[1], {
    holder: { gid: 50 },
    uplinks: ['eth0', 'eth1'],
    vlans: [42, null],
    ports: 4,
    queues: 8,
    memory: 64 * 2 ** 20,
  })
  t.deepEqual(grants[1]?.addresses.map(String), ['2001:db8::/64', '192.0.2.1'])
  t.regex(grants[1]?.origin ?? '', /^the 2nd \[\[grant\]\] of \/.*\.toml$/)
})

test('the defaults of rights and rates are restrictive', (t) => {
  t.like(read(GRANT).grants[0], {
    pinned: false,
    innerTags: false,
    routing: false,
    busyPoll: false,
    hugePages: false,
    bpfRings: false,
    uplinkMac: false,
    flows: [],
    overrideHost: false,
    groups: [],
    tap: false,
    promiscuous: false,
    rates: RATES,
  })
})

const KINDS = ['broadcast', 'multicast', 'unknownUnicast', 'copies', 'frames', 'bits']
const of = (perSecond: number, burst = perSecond) => ({ perSecond, burst })
const { unknownUnicast: _, ...knownUnicast } = RATES
for (const [toml, rates] of [
  ['rates = {}', RATES],
  ['rates = { broadcast = 0 }', { ...RATES, broadcast: of(0) }],
  [
    'rates = { multicast = 4294967295, unknownUnicast = "unlimited" }',
    { ...knownUnicast, multicast: of(4_294_967_295) },
  ],
  ['rates = { frames = 100000, bits = 1000000000000 }', { ...RATES, frames: of(100_000), bits: of(10 ** 12) }],
  [
    '[grant.rates]\nframes = { perSecond = 5 }\nbits = { perSecond = 8000, burst = 0 }\n' +
      'copies = { perSecond = 1, burst = 9 }',
    { ...RATES, frames: of(5), bits: of(8000, 0), copies: of(1, 9) },
  ],
  [`[grant.rates]\n${KINDS.map((kind) => `${kind} = "unlimited"`).join('\n')}`, {}],
] as const) {
  test(`${toml} are ${JSON.stringify(rates)}`, (t) => t.deepEqual(read(`${GRANT}${toml}\n`).grants[0]?.rates, rates))
}

test('rights are read', (t) => {
  const costs = { busyPoll: true, hugePages: true, bpfRings: true, uplinkMac: true }
  const all = { pinned: true, innerTags: true, routing: true, ...costs }
  const toml = Object.keys(all).map((key) => `${key} = true\n`)
  t.like(read(`${GRANT}${toml.join('')}`).grants[0], all)
})

for (const [memory, bytes] of [
  ['4096', 4096],
  ['"1GiB"', 2 ** 30],
  ['"3 KiB"', 3072],
  ['"7B"', 7],
] as const) {
  test(`memory = ${memory} is ${bytes} bytes`, (t) =>
    t.is(read(`${GRANT}memory = ${memory}\n`).grants[0]?.memory, bytes))
}

const bad: [what: string, toml: string, says: RegExp, details?: object][] = [
  ['no TOML', '[daemon]\nuplinks = [eth0]\n', /\.toml:2 is not valid TOML: /, { line: 2 }],
  ['a key twice', '[daemon]\nlog = "text"\nlog = "json"\n', /\.toml:3 is not valid TOML/, { line: 3 }],
  ['an unknown table', '[deamon]\n', /:1: `deamon`: unknown key; did you mean `daemon`\?$/, { key: 'deamon', line: 1 }],
  [
    'an unknown key',
    '[daemon]\n\nuplink = ["eth0"]\n',
    /:3: `daemon.uplink`: unknown key; did you mean `uplinks`\?$/,
    { line: 3 },
  ],
  ['an unknown key of a grant', `${GRANT}port = 3\n`, /:5: `port` of the 1st \[\[grant\]\]: unknown key/],
  [
    'a misspelt key that has to be there',
    GRANT.replace('addresses', 'adresses'),
    /:4: `adresses` of the 1st \[\[grant\]\]: unknown key; did you mean `addresses`\?$/,
    { key: 'grant[0].adresses', line: 4 },
  ],
  ['a key in other letters', `${GRANT}innertags = true\n`, /:5: `innertags` of .*; did you mean `innerTags`\?$/],
  ['a key that resembles none', `${GRANT}colour = "red"\n`, /:5: `colour` of the 1st \[\[grant\]\]: unknown key$/],
  [
    'an uplink twice',
    '[daemon]\nuplinks = ["eth0", "eth1", "eth0"]\n',
    /:2: `daemon.uplinks`: lists the interface eth0 twice$/,
  ],
  [
    'no memory',
    `${GRANT}memory = 0\n`,
    /:5: `memory` of .*: must be a positive number of bytes, or a size such as "64MiB"/,
  ],
  ...(
    [
      ['127.0.0.1', 'loopback'],
      ['127.8.0.0/16', 'loopback'],
      ['::1', 'loopback'],
      ['224.0.0.5', 'multicast'],
      ['ff02::/16', 'multicast'],
      ['0.0.0.0', 'unspecified'],
      ['::', 'unspecified'],
      ['255.255.255.255', 'broadcast'],
    ] as const
  ).map(([address, what]): (typeof bad)[number] => [
    `${address}, which no port may have`,
    GRANT.replace('192.0.2.8/29', address),
    new RegExp(`:4: \`addresses\\[0\\]\` of the 1st [^:]*: \`${address}\` is ${what}, which no port can use: grant`),
  ]),
  [
    'no list of cards',
    '[daemon]\nuplinks = "eth0"\n',
    /:2: `daemon.uplinks`: must be a list of interfaces, such as \["eth0"\]/,
  ],
  ['an empty list of cards', '[daemon]\nuplinks = []\n', /`daemon.uplinks`: .* not empty/],
  [
    'an uplink that is none',
    '[daemon]\nuplinks = ["eth0", "eth0/1"]\n',
    /:2: `daemon.uplinks\[1\]`: must be an interface name/,
  ],
  ['a mode', '[daemon]\nmode = "fast"\n', /:2: `daemon.mode`: must be "unspecified" or "native" or "skb" or "hw"/],
  ['a format', '[daemon]\nlog = "xml"\n', /`daemon.log`: must be "text" or "json"/],
  [
    'memory in words',
    '[daemon]\nmemory = "much"\n',
    /:2: `daemon.memory`: must be a positive number of bytes, or a size such as "64MiB"/,
  ],
  ['a relative socket', '[daemon]\nsocket = "x.sock"\n', /`daemon.socket`: must be an absolute path/],
  ['an instance', '[daemon]\ninstance = "../x"\n', /`daemon.instance`: must be 1 to 32 letters/],
  ['a grant as a table', '[grant]\nuser = "alice"\n', /:1: `grant`: /],
  [
    'nobody',
    '[[grant]]\nuplinks = ["eth0"]\naddresses = ["192.0.2.1"]\n',
    /:1: the 1st \[\[grant\]\]: must have either `user` or `group`/,
  ],
  ['user and group', `${GRANT}group = 7\n`, /must have either `user` or `group`/],
  [
    'an unknown user',
    GRANT.replace('alice', 'eve'),
    /:2: `user` of the 1st \[\[grant\]\]: unknown user `eve`: it is not in \/etc\/passwd; use the numeric ID/,
  ],
  [
    'an unknown group',
    GRANT.replace('user = "alice"', 'group = "eves"'),
    /:2: `group` of the 1st \[\[grant\]\]: unknown group `eves`: it is not in \/etc\/group/,
  ],
  [
    'a negative user',
    GRANT.replace('"alice"', '-1'),
    /`user` of the 1st \[\[grant\]\]: must be a name in quotes or a numeric ID/,
  ],
  [
    'no uplinks',
    GRANT.replace('uplinks = ["eth0"]\n', ''),
    /:1: `uplinks` of the 1st \[\[grant\]\]: missing/,
    { key: 'grant[0].uplinks' },
  ],
  [
    'no uplinks in the first of two grants',
    `${GRANT.replace('uplinks = ["eth0"]\n', '')}${GRANT}`,
    /:1: `uplinks` of the 1st \[\[grant\]\]/,
    { line: 1 },
  ],
  [
    'no addresses',
    GRANT.replace(/addresses.*\n/, ''),
    /:1: the 1st \[\[grant\]\]: must have `addresses`, or `flows` or `tap = true` for ports without an address/,
  ],
  ['all addresses', GRANT.replace('["192.0.2.8/29"]', '[]'), /`addresses` of the 1st \[\[grant\]\]: .* not empty/],
  [
    'no address',
    GRANT.replace('192.0.2.8/29', '192.0.2'),
    /:4: `addresses\[0\]` of the 1st \[\[grant\]\]: invalid address `192.0.2`: it is not an IP address/,
  ],
  ['a crooked range', GRANT.replace('192.0.2.8/29', '192.0.2.9/29'), /Did you mean 192.0.2.8\/29\?/],
  [
    'a VLAN',
    `${GRANT}vlans = [4095]\n`,
    /:5: `vlans\[0\]` of the 1st \[\[grant\]\]: must be "untagged" or a VLAN ID from 1 to 4094/,
  ],
  ['no port', `${GRANT}ports = 0\n`, /:5: `ports` of the 1st \[\[grant\]\]: must be a number from 1 to 65535/],
  ['no queue', `${GRANT}queues = 0\n`, /:5: `queues` of the 1st \[\[grant\]\]: must be a number from 1 to 8/],
  ['nine queues', `${GRANT}queues = 9\n`, /`queues` of the 1st \[\[grant\]\]: must be a number from 1 to 8/],
  ['half a port', `${GRANT}ports = 1.5\n`, /`ports` of the 1st \[\[grant\]\]: must be a number from 1/],
  [
    'megabytes',
    `${GRANT}memory = "64MB"\n`,
    /:5: `memory` of the 1st \[\[grant\]\]: must be a positive number of bytes, or a size such as "64MiB"/,
  ],
  ['more memory than there is', `${GRANT}memory = "999999999999GiB"\n`, /`memory` of the 1st \[\[grant\]\]/],
  ['half a right', `${GRANT}routing = 1\n`, /:5: `routing` of the 1st \[\[grant\]\]: must be true or false/],
  ['tags by name', `${GRANT}innerTags = "yes"\n`, /:5: `innerTags` of the 1st \[\[grant\]\]: must be true or false/],
  ['a wait', `${GRANT}busyPoll = 50\n`, /:5: `busyPoll` of the 1st \[\[grant\]\]: must be true or false/],
  ['rings by name', `${GRANT}bpfRings = "auto"\n`, /:5: `bpfRings` of the 1st \[\[grant\]\]: must be true or false/],
  ['pages', `${GRANT}hugePages = "prefer"\n`, /:5: `hugePages` of the 1st \[\[grant\]\]: must be true or false/],
  [
    'one rate',
    `${GRANT}rates = 1000\n`,
    /:5: `rates` of the 1st \[\[grant\]\]: must be a table, such as \{ broadcast = 1000 \}/,
  ],
  [
    'a rate below none',
    `${GRANT}rates = { broadcast = -1 }\n`,
    /`rates.broadcast` of the 1st [^:]*: must be a number of frames per second from 0 to 4294967295, "unlimited"/,
    { line: 5 },
  ],
  [
    'a rate too high',
    `${GRANT}rates = { multicast = 4294967296 }\n`,
    /`rates.multicast` of the 1st \[\[grant\]\]: must be/,
  ],
  [
    'more bits than there are',
    `${GRANT}rates = { bits = 1000000000001 }\n`,
    /`rates.bits` of the 1st \[\[grant\]\]: must be a number of bits per second from 0 to 1000000000000, /,
  ],
  [
    'a burst alone',
    `${GRANT}rates = { frames = { burst = 5 } }\n`,
    /:5: `rates.frames.perSecond` of the 1st \[\[grant\]\]: missing/,
  ],
  [
    'a burst without end',
    `${GRANT}rates = { frames = { perSecond = 5, burst = "unlimited" } }\n`,
    /`rates.frames.burst` of the 1st \[\[grant\]\]: must be a number of frames from 0 to 4294967295$/,
  ],
  [
    'a burst of something else',
    `${GRANT}rates = { bits = { perSecond = 5, bust = 5 } }\n`,
    /`rates.bits.bust` of the 1st \[\[grant\]\]: unknown key; did you mean `burst`\?$/,
  ],
  ['half a frame', `${GRANT}rates = { multicast = 0.5 }\n`, /`rates.multicast` of the 1st \[\[grant\]\]: must be/],
  [
    'a rate in words',
    `${GRANT}rates = { unknownUnicast = "all" }\n`,
    /`rates.unknownUnicast` of the 1st \[\[grant\]\]: must be/,
  ],
  [
    'a rate of nothing',
    `${GRANT}rates = { unicast = 5 }\n`,
    /:5: `rates.unicast` of the 1st \[\[grant\]\]: unknown key; did you mean `unknownUnicast`\?$/,
  ],
  [
    'the second of two grants',
    `${GRANT}ports = 2\n\n  [[ grant ]] # another\nuser = 5\nuplinks = [\n  "eth0",\n]\n` +
      'addresses = [\n  "192.0.2.1",\n  "192.0.2.300",\n]\n',
    /:12: `addresses\[1\]` of the 2nd \[\[grant\]\]/,
    { line: 12 },
  ],
]
for (const [what, toml, says, details] of bad) {
  test(`refused: ${what}`, (t) => {
    const error = t.throws(() => read(toml), { instanceOf: XsknetError, message: says })
    t.is(error?.code, 'ERR_XSKNET_CONFIGURATION_INVALID')
    t.regex(error?.hint ?? '', /^([A-Z].*)?`xsknetd --help` shows a complete configuration\.$/)
    t.regex(String(error?.details.file), /\.toml$/)
    if (details) t.like(error?.details, details)
  })
}

test('refused: no uplink at all', (t) => {
  const error = t.throws(() => read(GRANT, {}), { instanceOf: XsknetError, message: /^no uplink was given/ })
  t.regex(error?.hint ?? '', /--uplink/)
})

test('refused: a file that is not there', (t) => {
  const error = t.throws(() => readConfiguration({}, '/nowhere/x.toml'), {
    instanceOf: XsknetError,
    message: /\/nowhere\/x\.toml/,
  })
  t.is((error?.cause as NodeJS.ErrnoException | undefined)?.code, 'ENOENT')
  t.regex(error?.hint ?? '', /^The file does not exist/)
  t.regex(t.throws(() => readConfiguration({}, folder), { instanceOf: XsknetError })?.hint ?? '', /^It is a directory/)
})

test('the error for an unknown key lists all valid keys', (t) => {
  const error = t.throws(() => read(`${GRANT}rates = { unicast = 5 }\n`), { instanceOf: XsknetError })
  t.regex(error?.hint ?? '', /^Known keys: broadcast, multicast, unknownUnicast, copies, frames, bits\. /)
})

test('a grant with flows needs no addresses', (t) => {
  const [grant] = read(`${GRANT.replace(/addresses.*\n/, '')}flows = ["udp dst port 53"]\n`).grants
  t.deepEqual([grant?.addresses, grant?.flows], [[], ['udp dst port 53']])
})

test('a range that contains the addresses of ports may be granted', (t) => {
  const [grant] = read(GRANT.replace('"192.0.2.8/29"', '"0.0.0.0/0", "::/0"')).grants
  t.deepEqual(grant?.addresses.map(String), ['0.0.0.0/0', '::/0'])
})

test('the usage shows a configuration with every key, and what it shows as a default is the default', (t) => {
  t.true(usage.includes(exampleConfiguration.trimEnd().replace(/^(?=.)/gm, '  ')))
  const numbered = exampleConfiguration.replace('"nobody"', '65534')
  // The default of `memory` is the machine's.
  const { grants, memory, ...shown } = read(numbered, {})
  t.is(memory?.bytes, 8 * 2 ** 30)
  const short = '[[grant]]\nuser = 65534\nuplinks = ["eth0"]\naddresses = ["192.0.2.8/29", "2001:db8::10/124"]\n'
  const { grants: defaults, memory: usual, ...rest } = read(short)
  t.is(usual?.bytes, undefined)
  t.deepEqual(shown, rest)
  t.deepEqual({ ...grants[0], origin: '' }, { ...defaults[0], origin: '' } as never)
  const keys = (text: string) => text.match(/^\w+(?= = )/gm)
  const all = (toml: string) =>
    t.throws(() => read(toml), { instanceOf: XsknetError })?.hint?.match(/Known keys: ([^.]*)/)?.[1]
  const [daemon = '', grant = ''] = exampleConfiguration.split('[[grant]]')
  t.is(all('[daemon]\nx = 1\n'), keys(daemon)?.join(', '))
  t.deepEqual(
    all(`${GRANT}xyz = 1\n`)
      ?.split(', ')
      .filter((key) => key !== 'group'),
    keys(grant),
  )
})

for (const [flag, above, says] of [
  ['--mode', { mode: 'fast' }, /^`--mode`: must be "unspecified" or/],
  ['--uplink', { uplinks: ['eth0', 'an uplink'] }, /^`--uplink`: must be an interface name/],
  ['--uplink', { uplinks: ['eth0', 'eth0'] }, /^`--uplink`: lists the interface eth0 twice$/],
  ['--socket', { socket: 'x.sock' }, /^`--socket`: must be an absolute path/],
  ['--log', { log: 'xml' }, /^`--log`: /],
  ['--instance', { instance: '../x' }, /^`--instance`: /],
] as const) {
  test(`refused: ${flag} of ${JSON.stringify(above)}, which has no line`, (t) => {
    const error = t.throws(() => read(GRANT, { uplinks: ['eth0'], ...above } as never), {
      instanceOf: XsknetError,
      message: says,
    })
    t.deepEqual(error?.details, { key: flag })
  })
}

test('a program gives the same as objects, and gets the same errors', (t) => {
  const { grants } = checkConfiguration(
    { uplinks: ['eth0'], grants: [{ user: 'alice', uplinks: ['eth0'], addresses: ['192.0.2.1'] }] },
    accounts,
  )
  t.like(grants[0], { holder: { uid: 1001 }, ports: 1, origin: '`grants[0]`' })
  t.is(grants[0]?.pinned, false)
  const wrong = { user: 'alice', uplinks: ['eth0'], addresses: ['192.0.2.1'], port: 3 }
  t.throws(() => checkConfiguration({ uplinks: ['eth0'], mode: 'fast' as never }), { message: /^`mode`: must be/ })
  t.throws(() => checkConfiguration({ uplinks: ['eth0'], port: 3 } as never), {
    message: /^`port`: unknown key/,
  })
  t.throws(() => checkConfiguration({ uplinks: ['eth0'], grants: [wrong] }, accounts), {
    message: /`grants\[0\].port`: unknown key/,
  })
})

test('the example is a good configuration', (t) => {
  const text = readFileSync(`${root}examples/xsknetd.toml`, 'utf8')
  t.true(read(text, {}).grants.length > 0)
  // What stands in comments there must be right too.
  const uncommented = text.replace(/^# ?(?=\[|\w+ = )/gm, '')
  t.not(uncommented, text)
  t.notThrows(() => read(uncommented.replaceAll('"netops"', '50').replaceAll('"nobody"', '65534'), {}))
})

// Requests that no decent client would send, beside some that it would.
import { Buffer } from 'node:buffer'
import type { Random } from './random.js'

/** A request of docs/protocol/, or what has become of it. */
export type Request = Record<string, unknown>

/** What requests are about, so that not all of them fail at the first name. */
export interface Subject {
  uplink: string
  /** Addresses that whoever asks may have. */
  addresses: readonly string[]
  /** Ports that may be open. */
  ports: readonly number[]
}

/** The longest message that can be sent. */
const LONGEST = 65_536

const tower = (height: number, inside = '0') => `${'['.repeat(height)}${inside}${']'.repeat(height)}`

/** As JSON, because some of them have no other form. */
const VALUES = [
  ...[
    'null',
    'true',
    'false',
    '0',
    '-0',
    '1',
    '-1',
    '1.5',
    '255',
    '256',
    '4095',
    '65535',
    '65536',
    '1048577',
    '2147483648',
  ],
  ...[
    '4294967295',
    '4294967296',
    '9007199254740991',
    '9007199254740992',
    '1e21',
    '1e308',
    '1e999',
    '-1e999',
    '0.1e-400',
  ],
  ...[
    '""',
    '" "',
    '"0"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\ufeff"',
    '"__proto__"',
    '"constructor"',
    '"../../etc/passwd"',
  ],
  ...[15, 16, 64, 65, 4097, 60_000].map((length) => `"${'x'.repeat(length)}"`),
  ...['"\\u001b[2J\\n\\r"', '"%s%n%x"', '"\u{1f980}"', '"hello"', '"openPort"'],
  ...[
    '[]',
    '{}',
    '[[]]',
    '{"":{}}',
    '{"__proto__":{"version":1}}',
    '{"length":4294967295}',
    '{"toJSON":1}',
    '[null,null]',
  ],
  ...[tower(15), tower(16), tower(17), tower(20_000), `${'{"a":'.repeat(9000)}0${'}'.repeat(9000)}`],
  `[${'0,'.repeat(20_000)}0]`,
  `{${Array.from({ length: 4000 }, (_, i) => `"k${i}":0`).join()}}`,
]

/** What a field of a port could be, were it not for its meaning. */
const ABSURD: Record<string, readonly unknown[]> = {
  uplink: ['lo', 'card0 ', 'CARD0', 'far0', '.', '..', '/', 'a'.repeat(15), 'card0\n', '\u0000'],
  name: [
    '.',
    '..',
    '../../..',
    '/',
    '-',
    '-rf',
    'a'.repeat(64),
    'a'.repeat(65),
    ' ',
    'nom\u00e9',
    'port-1',
    'netns',
    '\u0000',
    '%',
  ],
  mac: ['own', 'uplink', 'OWN'],
  vlan: [0, 1, 42, 4094, 4095, 4096, 4_294_967_295],
  mtu: [0, 1, 67, 68, 575, 1279, 1280, 1500, 1501, 1792, 9000, 65_535, 4_294_967_295],
  frames: [0, 1, 2, 3, 64, 65, 4095, 4096, 8192, 1_048_576, 1_048_577, 4_294_967_295],
  frameSize: [0, 1, 2, 2047, 2048, 2049, 4096, 8192, 65_536, 2_147_483_648, 4_294_967_295],
  headroom: [0, 1, 2, 64, 255, 256, 1535, 1536, 1791, 1792, 2048, 4096, 4_294_967_040, 4_294_967_295],
  ringSize: [0, 1, 2, 3, 63, 64, 65, 2048, 4096, 16_384, 65_536, 131_072, 2_147_483_648, 4_294_967_295],
  hugePages: ['require', 'prefer', 'never'],
  multiBuffer: [true, false],
  zeroCopy: ['require', 'prefer', 'never'],
  rings: ['xsk', 'bpf', 'auto'],
  busyPoll: [
    { spinMicroseconds: 0, budget: 0 },
    { spinMicroseconds: 20, budget: 64 },
    { spinMicroseconds: 4_294_967_295, budget: 4_294_967_295 },
  ],
  coalesceMicroseconds: [0, 1, 20, 1000, 1001, 4_294_967_295],
  flows: [
    [],
    ['udp'],
    ['udp dst port 53 and dst host 192.0.2.1', 'arp'],
    ['udp dst port domain'],
    ['('.repeat(1024)],
    [`udp dst port 1${' or 2'.repeat(200)}`],
    [`(${'port 1 or '.repeat(45)}port 2) and (${'port 3 or '.repeat(45)}port 4)`],
    Array.from({ length: 256 }, (_, i) => `tcp dst port ${i + 1}`),
    Array(257).fill('udp'),
    ['u'.repeat(1025)],
  ],
  overrideHost: [true, false],
  port: [0, 1, 2, 3, 65_535, 4_294_967_295],
  after: [0, 1, 4_294_967_295],
  client: ['x', 'x'.repeat(64), '\n', '\u001b]0;title\u0007'],
  addresses: [
    [],
    ['0.0.0.0'],
    ['255.255.255.255'],
    ['192.0.2.1'], // the host's own
    ['192.0.2.255', '224.0.0.1'],
    ['127.0.0.1', '::1'],
    ['::'],
    ['::ffff:192.0.2.10'],
    ['fe80::1'],
    ['fe80::1%card0'],
    ['ff02::1'],
    ['192.0.2.10/0'],
    ['192.0.2.10/33'],
    ['192.0.2.10/-1', '192.0.2.10/1e1'],
    ['192.0.2.010'],
    ['0xc000020a'],
    ['3221225994'],
    ['192.0.2.10', '192.0.2.10/24'],
    ['2001:db8::10/129', '2001:0db8:0000:0000:0000:0000:0000:0010'],
    ['2001:db8::1:2:3:4:5:6:7'],
    ['x'.repeat(64)],
    Array.from({ length: 64 }, (_, i) => `2001:db8::1:${i.toString(16)}`),
    Array.from({ length: 65 }, (_, i) => `2001:db8::1:${i.toString(16)}`),
  ],
}

/** A request as a decent client sends it. */
export function decent(random: Random, examples: readonly Request[], subject: Subject, id: number): Request {
  // Ports, most of the time: the longest way through the daemon.
  const [opening, numbered] = [
    examples.filter(({ port }) => typeof port === 'object'),
    examples.filter(({ port }) => typeof port === 'number'),
  ]
  const known = random.chance(0.5) && subject.ports.length > 0
  const request = structuredClone(random.pick(known ? numbered : random.chance(0.3) ? opening : examples))
  request.id = id
  if ('uplink' in request) request.uplink = subject.uplink
  if (typeof request.port === 'number' && subject.ports.length > 0 && random.chance(0.8))
    request.port = random.pick(subject.ports)
  if (typeof request.port === 'object') {
    const port = request.port as Request
    port.uplink = subject.uplink
    port.addresses = [random.pick(subject.addresses), ...(random.chance(0.3) ? [random.pick(subject.addresses)] : [])]
    delete port.vlan
    if (random.chance(0.8)) delete port.name
  }
  return request
}

/** The same, with fields that mean nothing good. */
export function absurd(random: Random, request: Request): Request {
  const holder = typeof request.port === 'object' ? (request.port as Request) : request
  for (let times = 1 + random.below(3); times > 0; times--) {
    const field = random.pick(random.chance(0.7) ? Object.keys(holder) : Object.keys(ABSURD))
    const values = ABSURD[field]
    if (values) holder[field] = random.pick(values)
  }
  return request
}

/** The same, broken in its text or in its bytes. */
export function broken(random: Random, request: Request, other: Request): Uint8Array {
  let text = JSON.stringify(request)
  const inText = random.chance(0.6)
  if (inText) for (let times = 1 + random.below(2); times > 0; times--) text = random.pick(TEXTS)(random, text)
  let bytes: Uint8Array = Buffer.from(text)
  if (!inText || random.chance(0.2)) {
    const spliced = Buffer.from(JSON.stringify(other))
    for (let times = 1 + random.below(4); times > 0; times--) bytes = random.pick(BYTES)(random, bytes, spliced)
  }
  return bytes.subarray(0, LONGEST)
}

/** Places where a value of a text in JSON stands, as far as a pattern can tell. */
const VALUE = /(?<=[:[,])("[^"]*"|-?\d+|true|false|null)/g
/** Keys with their values. */
const PAIR = /"\w+":("[^"]*"|-?\d+)/g

const TEXTS: readonly ((random: Random, text: string) => string)[] = [
  // another value
  (random, text) => replace(random, text, VALUE, () => random.pick(VALUES)),
  (random, text) => replace(random, text, VALUE, () => random.pick(VALUES)),
  // a key twice, with another value or the same
  (random, text) => replace(random, text, PAIR, (pair) => `${pair},${pair}`),
  (random, text) => replace(random, text, PAIR, (pair) => `${pair},${pair.replace(/:.*/s, ':')}${random.pick(VALUES)}`),
  // a key too many, or one missing
  (random, text) =>
    replace(
      random,
      text,
      PAIR,
      (pair) => `${pair},"${random.pick(['x', '__proto__', 'toString', ''])}":${random.pick(VALUES)}`,
    ),
  (random, text) => replace(random, text, PAIR, () => '"x":0'),
  // something around it
  (random, text) => tower(1 + random.below(3), text),
  (_, text) => tower(32_000, text),
  (_, text) => `\ufeff${text}`,
  (_, text) => `${text}${text}`,
  (random, text) => `${text}${random.pick([' ', '\u0000', ',', '}', '//', '\n'])}`,
  (_, text) => text.padEnd(LONGEST, ' '),
  (_, text) => text.replace(/\}$/, `,"x":"${'\u{1f980}'.repeat(16_000)}"}`),
]

const BYTES: readonly ((random: Random, bytes: Uint8Array, other: Uint8Array) => Uint8Array)[] = [
  (random, bytes) => {
    const flipped = Buffer.from(bytes)
    const at = random.below(flipped.length)
    flipped[at] = (flipped[at] as number) ^ (1 << random.below(8))
    return flipped
  },
  (random, bytes) => bytes.subarray(0, random.below(bytes.length)),
  (random, bytes) => bytes.subarray(random.below(bytes.length)),
  (random, bytes) => {
    const at = random.below(bytes.length)
    return Buffer.concat([bytes.subarray(0, at), noise(random, 1 + random.below(8)), bytes.subarray(at)])
  },
  (random, bytes) => {
    const [from, to] = [random.below(bytes.length), random.below(bytes.length)]
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
  },
  (random, bytes, other) =>
    Buffer.concat([bytes.subarray(0, random.below(bytes.length)), other.subarray(random.below(other.length))]),
  (random) => noise(random, random.chance(0.1) ? LONGEST : 1 + random.below(64)),
]

function replace(random: Random, text: string, pattern: RegExp, by: (found: string) => string): string {
  const found = [...text.matchAll(pattern)]
  if (found.length === 0) return text
  const { 0: old, index } = random.pick(found)
  return `${text.slice(0, index)}${by(old)}${text.slice(index + old.length)}`
}

function noise(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256))
}

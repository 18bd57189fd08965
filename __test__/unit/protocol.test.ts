import { readFileSync } from 'node:fs'
import test from 'ava'
import { XsknetError } from 'xsknet'
import {
  type Answer,
  descriptorsBeside,
  descriptorsOf,
  encode,
  type Failure,
  faultIn,
  fromFailure,
  MESSAGE_LIMIT,
  NESTING_LIMIT,
  type Operation,
  RELEASE,
  type Request,
  readReply,
  readRequest,
  readResult,
  requestId,
  toFailure,
} from 'xsknet/protocol'
import { type Example, example, examples } from '../helpers/examples.js'
import { npmManifest, root } from '../helpers/workspace.js'

const bytesOf = (message: unknown) =>
  new TextEncoder().encode(typeof message === 'string' ? message : JSON.stringify(message))

/** Every operation, as the error for an unknown one lists them, so that this list cannot fall behind. */
const operations = (() => {
  try {
    readRequest(bytesOf({ version: 2, id: 1, operation: '' }))
  } catch (error) {
    return ((error as XsknetError).hint ?? '').replace(/^Operations are |\.$/g, '').split(', ') as Operation[]
  }
  throw new Error('an unknown operation was accepted')
})()
const events = ['portLost', 'uplinkGone', 'uplinkChanged', 'addressConflict']

const readers: Record<Example['direction'], (bytes: Uint8Array, of: Example) => unknown> = {
  request: readRequest,
  answer: (bytes, { operation }) => {
    const reply = readReply(bytes)
    return 'result' in reply ? { ...reply, result: readResult(operation as Operation, reply.result) } : reply
  },
  event: readReply,
}

for (const [file, of] of examples) {
  test(`docs/protocol/${file} is what the schema says, and its name and the document say what it is`, (t) => {
    t.deepEqual(readers[of.direction](bytesOf(of.message), of), of.message)
    t.true(file.endsWith(`.${of.direction}.json`))
    t.is(of.message.operation, of.direction === 'request' ? of.operation : undefined)
    t.is(of.message.event, of.event)
    t.true(readFileSync(`${root}docs/protocol.md`, 'utf8').includes(`(protocol/${file})`), 'docs/protocol.md links it')
  })
}

test('each operation, answer and event has an example, and a place in the document', (t) => {
  const all = [...examples.values()]
  const text = readFileSync(`${root}docs/protocol.md`, 'utf8')
  t.is(operations.length, 18)
  for (const operation of operations) {
    t.true(
      all.some((of) => of.direction === 'request' && of.operation === operation),
      operation,
    )
    t.true(
      all.some((of) => of.operation === operation && of.direction === 'answer' && 'result' in of.message),
      operation,
    )
    t.true(text.includes(`\n### \`${operation}\`\n`), operation)
  }
  for (const event of events) {
    t.true(
      all.some((of) => of.event === event),
      event,
    )
    t.true(text.includes(`\n### \`${event}\`\n`), event)
  }
})

test('the document names every field of every example', (t) => {
  const text = readFileSync(`${root}docs/protocol.md`, 'utf8')
  const missing = new Set<string>()
  const look = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return
    for (const [key, held] of Object.entries(value)) {
      if (!Array.isArray(value) && !text.includes(`\`${key}\``)) missing.add(key)
      if (key !== 'details' && key !== 'dropped') look(held)
    }
  }
  for (const { message } of examples.values()) look(message)
  t.deepEqual([...missing], [])
})

const open = example('open-port.request') as { port: Record<string, unknown> }
const openPinned = example('open-pinned-port.request') as { port: Record<string, unknown> }
const portWith = (fields: object) => ({ ...open, port: { ...open.port, ...fields } })
const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)])

test('a key that the protocol does not have is named, with the one that was meant', (t) => {
  const told = (message: unknown) => {
    const read = () => readRequest(new TextEncoder().encode(JSON.stringify(message)))
    const { message: what, hint } = t.throws(read, { instanceOf: XsknetError }) as XsknetError
    return [what, hint]
  }
  const { addresses, ...rest } = open.port
  const [what, hint = ''] = told({ ...open, port: { ...rest, adresses: addresses } })
  t.is(what, '`port.adresses` of the message is not in the protocol; did you mean `addresses`?')
  t.regex(hint, /^The protocol has the keys uplink, addresses, name, .* there\.$/)
  t.deepEqual(told({ version: 2, id: 1, operation: 'status', verbose: true }), [
    '`verbose` of the message is not in the protocol',
    'The protocol has the keys version, id, operation there.',
  ])
  const { uplink, ...nowhere } = open.port
  t.is(told({ ...open, port: nowhere })[0], '`port.uplink` of the message is missing')
})

const MALFORMED = 'ERR_XSKNET_MESSAGE_MALFORMED'
const explain = (packet: unknown) => ({ version: 2, id: 1, operation: 'explainArrival', uplink: 'eth0', packet })
const badRequests: [title: string, message: unknown, code?: string, path?: string][] = [
  ['nothing', ''],
  ['no JSON', '{'],
  ['two messages', '{"version":2}{"version":2}'],
  ['a byte order mark', `\ufeff${JSON.stringify(open)}`],
  ['a number', 7],
  ['null', 'null'],
  ['a list', [1]],
  ['no version', { id: 1, operation: 'status' }, MALFORMED, 'version'],
  ['a version in text', { ...open, version: '1' }, MALFORMED, 'version'],
  ['half a version', { ...open, version: 1.5 }, MALFORMED, 'version'],
  ['an infinite version', '{"version":1e999}', MALFORMED, 'version'],
  ['version 3', { ...open, version: 3 }, 'ERR_XSKNET_PROTOCOL_VERSION'],
  ['version 1', { ...open, version: 1 }, 'ERR_XSKNET_PROTOCOL_VERSION'],
  ['version 3 with an unknown operation', { version: 3, id: {}, operation: 3 }, 'ERR_XSKNET_PROTOCOL_VERSION'],
  ['no id', { version: 2, operation: 'status' }, MALFORMED, 'id'],
  ['an id of null', { version: 2, id: null, operation: 'status' }, MALFORMED, 'id'],
  ['a negative id', { version: 2, id: -1, operation: 'status' }, MALFORMED, 'id'],
  ['an id of 2 ** 32', { version: 2, id: 2 ** 32, operation: 'status' }, MALFORMED, 'id'],
  ['half an id', { version: 2, id: 0.5, operation: 'status' }, MALFORMED, 'id'],
  ['no operation', { version: 2, id: 1 }, MALFORMED, 'operation'],
  ['an operation that is none', { version: 2, id: 1, operation: 'destroy' }, 'ERR_XSKNET_OPERATION_UNKNOWN'],
  ['an operation that every object has', { version: 2, id: 1, operation: 'toString' }, 'ERR_XSKNET_OPERATION_UNKNOWN'],
  ['__proto__ as an operation', { version: 2, id: 1, operation: '__proto__' }, 'ERR_XSKNET_OPERATION_UNKNOWN'],
  ['an extra key', { version: 2, id: 1, operation: 'status', verbose: true }, MALFORMED, 'verbose'],
  [
    'an extra key that every object has',
    '{"version":2,"id":1,"operation":"status","constructor":1}',
    MALFORMED,
    'constructor',
  ],
  ['__proto__ as a key', '{"version":2,"id":1,"operation":"status","__proto__":{}}', MALFORMED, '__proto__'],
  ['an extra key of the port', portWith({ rings: 2 }), MALFORMED, 'port.rings'],
  ['no queue', portWith({ queues: 0 }), MALFORMED, 'port.queues'],
  ['nine queues', portWith({ queues: 9 }), MALFORMED, 'port.queues'],
  ['half a queue', portWith({ queues: 1.5 }), MALFORMED, 'port.queues'],
  ['queues for a pinned port', { ...openPinned, port: { ...openPinned.port, queues: 2 } }, MALFORMED, 'port.queues'],
  ['hello without a client', { version: 2, id: 1, operation: 'hello' }, MALFORMED, 'client'],
  ['hello of an empty client', { version: 2, id: 1, operation: 'hello', client: '' }, MALFORMED, 'client'],
  ['hello of a long client', { version: 2, id: 1, operation: 'hello', client: 'x'.repeat(65) }, MALFORMED, 'client'],
  ['a port of null', { ...open, port: null }, MALFORMED, 'port'],
  ['257 flows', portWith({ flows: Array(257).fill('udp') }), MALFORMED, 'port.flows'],
  ['a flow of 1025 characters', portWith({ flows: ['u'.repeat(1025)] }), MALFORMED, 'port.flows.0'],
  ['an empty flow', portWith({ flows: [''] }), MALFORMED, 'port.flows.0'],
  ['a host overridden by a number', portWith({ overrideHost: 1 }), MALFORMED, 'port.overrideHost'],
  ['an uplink of 16 characters', portWith({ uplink: 'e'.repeat(16) }), MALFORMED, 'port.uplink'],
  ['an address that is a number', portWith({ addresses: ['192.0.2.1', 1] }), MALFORMED, 'port.addresses.1'],
  ['65 addresses', portWith({ addresses: Array(65).fill('::1') }), MALFORMED, 'port.addresses'],
  ['a long address', portWith({ addresses: ['1'.repeat(65)] }), MALFORMED, 'port.addresses.0'],
  ['a MAC', portWith({ mac: '02:00:00:00:00:01' }), MALFORMED, 'port.mac'],
  ['a VLAN in text', portWith({ vlan: '42' }), MALFORMED, 'port.vlan'],
  ['an MTU of null', portWith({ mtu: null }), MALFORMED, 'port.mtu'],
  [
    'more frames than 2 ** 53',
    '{"version":2,"id":1,"operation":"openPort","port":{"uplink":"a","addresses":[],"frames":9007199254740993}}',
    MALFORMED,
    'port.frames',
  ],
  [
    'an infinite number',
    '{"version":2,"id":1,"operation":"openPort","port":{"uplink":"a","addresses":[],"frames":1e999}}',
    MALFORMED,
    'port.frames',
  ],
  ['frames for a pinned port', { ...openPinned, port: { ...openPinned.port, frames: 64 } }, MALFORMED, 'port.frames'],
  ['a pinned port without its uplink', { ...openPinned, port: { addresses: [] } }, MALFORMED, 'port.uplink'],
  ['a namespace in words', { ...openPinned, namespace: '/proc/1/ns/net' }, MALFORMED, 'namespace'],
  ['a socket of no port', { version: 2, id: 1, operation: 'shareSocket' }, MALFORMED, 'port'],
  ['a socket by its number', { version: 2, id: 1, operation: 'shareSocket', port: 1, socket: 7 }, MALFORMED, 'socket'],
  ['a packet of 13 bytes', explain('00'.repeat(13)), MALFORMED, 'packet'],
  ['a packet of 32,001 bytes', explain('00'.repeat(32_001)), MALFORMED, 'packet'],
  ['half a byte in a packet', explain(`${'00'.repeat(14)}0`), MALFORMED, 'packet'],
  ['a packet in capital letters', explain('AB'.repeat(14)), MALFORMED, 'packet'],
  ['a packet in a list', explain([0, 0]), MALFORMED, 'packet'],
  ['half of busyPoll', portWith({ busyPoll: { budget: 1 } }), MALFORMED, 'port.busyPoll.spinMicroseconds'],
  ['frames that gather for ever', portWith({ coalesceMicroseconds: 1001 }), MALFORMED, 'port.coalesceMicroseconds'],
  ['rings: true', portWith({ rings: true }), MALFORMED, 'port.rings'],
  ['rings of another kind', portWith({ rings: 'af_xdp' }), MALFORMED, 'port.rings'],
  ['zeroCopy: true', portWith({ zeroCopy: true }), MALFORMED, 'port.zeroCopy'],
  ['half a character', portWith({ name: 'a\ud800' }), MALFORMED, 'port.name'],
  ['half a character in a key', portWith({ '\udc00': 1 }), MALFORMED, 'port'],
  ['halves in the wrong order', portWith({ name: '\udc00\ud800' }), MALFORMED, 'port.name'],
  ['a tower of lists', portWith({ name: nested(NESTING_LIMIT) }), MALFORMED],
  [
    'as many brackets as fit',
    `{"version":2,"id":1,"operation":"status","x":${'['.repeat(32_000)}${']'.repeat(32_000)}}`,
    MALFORMED,
  ],
  ['as many braces as fit', `{"version":2,"x":${'{"a":'.repeat(9000)}1${'}'.repeat(9000)}}`, MALFORMED],
]
for (const [title, message, code = MALFORMED, path] of badRequests) {
  test(`a request with ${title} is refused with ${code}`, (t) => {
    const error = t.throws(() => readRequest(bytesOf(message)), { instanceOf: XsknetError, code }) as XsknetError
    if (path !== undefined) t.is(error.details.path, path)
    t.true(error.message.length <= 512)
    t.truthy(error.hint)
    t.deepEqual(
      readReply(encode({ version: 2, id: null, error: toFailure(error) })),
      { version: 2, id: null, error: toFailure(error) },
      'the refusal can be sent, and read at the other side',
    )
  })
}

test('bytes that are no UTF-8 are refused', (t) => {
  const bytes = bytesOf(open)
  bytes[bytes.indexOf('e'.charCodeAt(0))] = 0xc3
  t.throws(() => readRequest(bytes), { code: MALFORMED })
})

const error: Failure = { code: 'ERR_XSKNET_INTERNAL', message: 'a bug' }
const badReplies: [title: string, message: unknown, code?: string][] = [
  ['no JSON', 'no'],
  ['neither result nor error', { version: 2, id: 1 }],
  ['both', { version: 2, id: 1, result: {}, error }],
  ['an event and an id', { version: 2, id: 1, event: 'portLost', port: 1, error }],
  ['a result for nobody', { version: 2, id: null, result: {} }],
  ['no id', { version: 2, error }],
  ['version 3', { version: 3, id: 1, result: {} }, 'ERR_XSKNET_PROTOCOL_VERSION'],
  ['an unknown event', { version: 2, event: 'rain' }],
  ['an event without its port', { version: 2, event: 'portLost', error }],
  ['an event with more than it has', { version: 2, event: 'portLost', port: 1, uplink: 'eth0', error }],
  ['an error that is a text', { version: 2, id: 1, error: 'no' }],
  ['a code of somebody else', { version: 2, id: 1, error: { ...error, code: 'EPERM' } }],
  ['an error without a message', { version: 2, id: 1, error: { ...error, message: '' } }],
  ['a stack', { version: 2, id: 1, error: { ...error, stack: 'at …' } }],
  ['a positive errno', { version: 2, id: 1, error: { ...error, cause: { message: 'no', errno: 16 } } }],
  ['details in a list', { version: 2, id: 1, error: { ...error, details: [1] } }],
  ['a tower in details', { version: 2, id: 1, error: { ...error, details: { tower: nested(NESTING_LIMIT - 2) } } }],
  ['half a character in details', { version: 2, id: 1, error: { ...error, details: { of: ['\ud83d'] } } }],
  [
    'an infinite number in details',
    '{"version":2,"id":1,"error":{"code":"ERR_XSKNET_INTERNAL","message":"x","details":{"n":-1e999}}}',
  ],
]
for (const [title, message, code = MALFORMED] of badReplies) {
  test(`a reply with ${title} is refused with ${code}`, (t) => {
    t.throws(() => readReply(bytesOf(message)), { instanceOf: XsknetError, code })
  })
}

test('details may be nested as deep as the limit', (t) => {
  const message = { version: 2, id: 1, error: { ...error, details: { tower: nested(NESTING_LIMIT - 3) } } }
  t.deepEqual(readReply(bytesOf(message)) as unknown, message)
})

test('a result is read by what was asked', (t) => {
  const { result } = example('uplinks.answer')
  t.deepEqual(readResult('uplinks', result) as unknown, result)
  for (const operation of operations)
    if (operation !== 'uplinks') t.throws(() => readResult(operation, result), { code: MALFORMED })
  t.throws(() => readResult('closePort', null), { code: MALFORMED })
  t.throws(() => readResult('closePort', []), { code: MALFORMED })
  t.throws(() => readResult('closePort', { extra: 1 }), { code: MALFORMED })
})

test('the result of each operation is validated by the schema of that operation only', (t) => {
  const [brokered, pinned] = [example('open-port.answer').result, example('open-pinned-port.answer').result]
  t.throws(() => readResult('openPinnedPort', brokered), { code: MALFORMED })
  t.throws(() => readResult('openPort', pinned), { code: MALFORMED })
})

test('statistics without a socket are a port’s, not an uplink’s', (t) => {
  const { statistics } = example('port-statistics.answer').result as { statistics: object }
  t.notThrows(() => readResult('portStatistics', { statistics: { ...statistics, socket: null } }))
  const of = (example('uplink-statistics.answer').result as { statistics: { closed: object } }).statistics
  const closed = { ...of.closed, socket: null }
  t.throws(() => readResult('uplinkStatistics', { statistics: { ...of, closed } }), { code: MALFORMED })
})

test('descriptors go with few messages', (t) => {
  const requests = operations.map((operation) => [operation, descriptorsOf(operation)] as const)
  t.deepEqual(
    requests.filter(([, count]) => count > 0),
    [
      ['openPinnedPort', 1],
      ['shareSocket', 1],
    ],
  )
  const beside = (name: string, operation: Operation) => descriptorsBeside(readResult(operation, example(name).result))
  t.is(beside('open-port.answer', 'openPort'), 2)
  t.is(beside('open-port-queues.answer', 'openPort'), 4)
  t.is(beside('open-port-shared.answer', 'openPort'), 1)
  t.is(beside('open-port-rings.answer', 'openPort'), 5)
  t.is(beside('open-pinned-port.answer', 'openPinnedPort'), 0)
  t.is(beside('share-socket.answer', 'shareSocket'), 0)
  t.is(beside('ports.answer', 'ports'), 0)
})

test('the release is that of the packages', (t) => {
  for (const name of ['xsknet', 'xsknetd']) t.is(npmManifest(`packages/${name}`).version, RELEASE)
})

const versions: [title: string, reply: object, older: string, hint: string][] = [
  [
    'a newer daemon that says its release',
    refusalOf(3, { release: '0.3.0' }),
    'client',
    'Update the package xsknet to release 0.3.0 or a later one.',
  ],
  [
    'a newer daemon of a release that is none',
    refusalOf(3, { release: 'new!' }),
    'client',
    'Update the package xsknet to the release of the daemon.',
  ],
  [
    'a newer daemon that says nothing',
    { version: 3, error: null },
    'client',
    'Update the package xsknet to the release of the daemon.',
  ],
  [
    'an older daemon',
    refusalOf(1, { release: '0.0.1' }),
    'daemon',
    `Update the package xsknetd to release ${RELEASE} or a later one.`,
  ],
]
for (const [title, reply, older, hint] of versions) {
  test(`a client that reads ${title} is told that the ${older} is older, and what to update`, (t) => {
    const error = t.throws(() => readReply(bytesOf(reply)), { code: 'ERR_XSKNET_PROTOCOL_VERSION' }) as XsknetError
    const { version } = reply as { version: number }
    t.regex(
      error.message,
      new RegExp(`^the daemon speaks version ${version} .* this client .* version 2: the ${older} is`),
    )
    t.is(error.hint, hint)
    t.deepEqual(error.details, { theirs: version, ours: 2, older, release: RELEASE })
  })
}
function refusalOf(version: number, details: object): object {
  return { version, id: null, error: { code: 'ERR_XSKNET_PROTOCOL_VERSION', message: 'no', details } }
}

test('the id of a bad request is found where it can be', (t) => {
  t.is(requestId(bytesOf({ version: 2, id: 7, operation: 'destroy' })), 7)
  for (const message of ['{', '7', '{"version":2}', '{"version":2,"id":-1}', '{"version":3,"id":1}'])
    t.is(requestId(bytesOf(message)), null)
})

test('a message that is too long is not sent', (t) => {
  const client = (length: number): Request => ({ version: 2, id: 1, operation: 'hello', client: 'x'.repeat(length) })
  const frame = encode(client(0)).length
  t.is(encode(client(MESSAGE_LIMIT - frame)).length, MESSAGE_LIMIT)
  t.throws(() => encode(client(MESSAGE_LIMIT - frame + 1)), {
    code: 'ERR_XSKNET_MESSAGE_TOO_LONG',
    message: /65537 bytes/,
  })
})

test('an error arrives as it was, with its hint, details and cause', (t) => {
  const cause = Object.assign(new Error('bind: Device or resource busy'), {
    errno: -16,
    code: 'EBUSY',
    syscall: 'bind',
  })
  const before = new XsknetError('ERR_XSKNET_SOCKET_REFUSED', 'no socket', {
    hint: 'retry',
    details: { queue: 0 },
    cause,
  })
  const { error } = readReply(encode({ version: 2, id: 1, error: toFailure(before) })) as { error: Failure }
  const after = fromFailure(error)
  t.deepEqual([after.code, after.message, after.hint, after.details], [before.code, 'no socket', 'retry', { queue: 0 }])
  t.like(after.cause, { message: 'bind: Device or resource busy', errno: -16, code: 'EBUSY', syscall: 'bind' })
  t.true(after.cause instanceof Error)
})

const awkward: [title: string, error: XsknetError][] = [
  ['no message', new XsknetError('ERR_XSKNET_INTERNAL', '')],
  ['an empty hint', new XsknetError('ERR_XSKNET_INTERNAL', 'x', { hint: '' })],
  ['a very long message', new XsknetError('ERR_XSKNET_INTERNAL', 'x'.repeat(100_000), { hint: 'y'.repeat(100_000) })],
  ['a message that is cut inside a character', new XsknetError('ERR_XSKNET_INTERNAL', `${'x'.repeat(4095)}🦀`)],
  ['half a character', new XsknetError('ERR_XSKNET_INTERNAL', 'a\udc00b')],
  ['a cause that is no error', new XsknetError('ERR_XSKNET_INTERNAL', 'x', { cause: 'because' })],
  [
    'a cause of its own kind',
    new XsknetError('ERR_XSKNET_INTERNAL', 'x', { cause: new XsknetError('ERR_XSKNET_DEVICE_FOREIGN_PROGRAM', 'y') }),
  ],
  [
    'a cause with a positive errno',
    new XsknetError('ERR_XSKNET_INTERNAL', 'x', { cause: Object.assign(new Error('y'), { errno: 5 }) }),
  ],
  [
    'a cause with a long system call',
    new XsknetError('ERR_XSKNET_INTERNAL', 'x', {
      cause: Object.assign(new Error('y'.repeat(9000)), { syscall: 'z'.repeat(99) }),
    }),
  ],
]
for (const [title, error] of awkward) {
  test(`an error with ${title} can be sent and read`, (t) => {
    const reply = readReply(encode({ version: 2, id: 1, error: toFailure(error) })) as Extract<
      Answer,
      { error: unknown }
    >
    t.is(fromFailure(reply.error).code, error.code)
  })
}

test('a VLAN of null is a request for untagged frames, as in the answer', (t) => {
  const request = readRequest(bytesOf(portWith({ vlan: null })))
  t.is(request.operation === 'openPort' && request.port.vlan, null)
})

test('parameters are judged before they are sent exactly as the daemon would', (t) => {
  t.is(faultIn('openPort', { port: open.port }), undefined)
  for (const [, message, code = MALFORMED] of badRequests) {
    const { operation, port } = (typeof message === 'object' && message !== null ? message : {}) as Record<
      string,
      unknown
    >
    if (operation !== 'openPort' || code !== MALFORMED || port === open.port) continue
    t.truthy(faultIn('openPort', { port }), JSON.stringify(port))
  }
})

/** xorshift32: the same mutations in every run. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

const seeds = [...examples.values()].map(({ message }) => bytesOf(message))
/** What JSON is made of, so that mutations get past its parser. */
const words = [
  '"',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  'null',
  'true',
  '-1',
  '1e999',
  '4294967296',
  '""',
  '{}',
  '[]',
  '"\\ud800"',
  '"__proto__":1,',
  '\\u0000',
].map((word) => bytesOf(word))
const join = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts))

const mutations: ((bytes: Uint8Array, below: (n: number) => number) => Uint8Array)[] = [
  (bytes, below) => bytes.with(below(bytes.length), below(256)),
  (bytes, below) => bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ (1 << below(8)) : byte)),
  (bytes, below) => bytes.subarray(0, below(bytes.length)),
  (bytes, below) => {
    const at = below(bytes.length)
    return join(bytes.subarray(0, at), bytes.subarray(at + 1 + below(8)))
  },
  (bytes, below) => {
    const at = below(bytes.length)
    return join(bytes.subarray(0, at), words[below(words.length)] as Uint8Array, bytes.subarray(at + below(3)))
  },
  (bytes, below) => {
    const at = below(bytes.length)
    const to = at + below(bytes.length - at)
    return join(bytes.subarray(0, to), bytes.subarray(at))
  },
  (bytes, below) => {
    const other = seeds[below(seeds.length)] as Uint8Array
    return join(bytes.subarray(0, below(bytes.length)), other.subarray(below(other.length)))
  },
]

/** A mutation that moves values about, so that what comes out is JSON and only the schema can refuse it. */
function reshaped(bytes: Uint8Array, below: (n: number) => number): Uint8Array {
  const odd = [null, true, -1, 0.5, 2 ** 32, 2 ** 53, '', 'x'.repeat(5000), '\ud800', [], {}, [[]], nested(20)]
  const change = (value: unknown): unknown => {
    if (below(6) === 0) return odd[below(odd.length)]
    if (Array.isArray(value)) return value.map((held) => (below(3) === 0 ? change(held) : held))
    if (typeof value !== 'object' || value === null) return value
    const entries = Object.entries(value).map(([key, held]) => [
      below(20) === 0 ? `${key}_` : key,
      below(3) === 0 ? change(held) : held,
    ])
    return Object.fromEntries(entries.filter(() => below(20) !== 0))
  }
  return bytesOf(change(JSON.parse(new TextDecoder().decode(bytes))))
}

test(
  'whatever 200,000 mutated messages say, they are read or refused with ' +
    'the documented codes, and nothing else happens',
  (t) => {
    t.timeout(120_000)
    const below = random(0x5eed)
    const codes = [MALFORMED, 'ERR_XSKNET_PROTOCOL_VERSION', 'ERR_XSKNET_OPERATION_UNKNOWN']
    const seen = new Map<string, number>()
    const attempt = (bytes: Uint8Array, read: () => unknown) => {
      let outcome = 'read'
      try {
        read()
      } catch (error) {
        if (!(error instanceof XsknetError) || !codes.includes(error.code)) {
          t.log(Buffer.from(bytes).toString('latin1'))
          throw error
        }
        outcome = error.code
      }
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
    }
    for (let round = 0; round < 200_000; round++) {
      let bytes = seeds[below(seeds.length)] as Uint8Array
      if (below(4) === 0) bytes = reshaped(bytes, below)
      else
        for (let times = 1 + below(3); times > 0 && bytes.length > 0; times--)
          bytes = mutations[below(mutations.length)]?.(bytes, below) as Uint8Array
      if (round % 2 === 0) attempt(bytes, () => readRequest(bytes))
      else {
        attempt(bytes, () => {
          const reply = readReply(bytes)
          if ('result' in reply) readResult(operations[below(operations.length)] as Operation, reply.result)
        })
      }
    }
    t.log(Object.fromEntries(seen))
    for (const outcome of ['read', ...codes])
      t.true((seen.get(outcome) ?? 0) > 100, `${outcome} was provoked: ${seen.get(outcome)}`)
  },
)

import { mock } from 'node:test'
import test from 'ava'
import { type Failure, RELEASE, type Result, readReply } from 'xsknet/protocol'
import type { Credentials } from '../../../packages/xsknetd/src/policy/credentials.js'
import { logSourceOf, trustedUsers } from '../../../packages/xsknetd/src/policy/trusted-users.js'
import { PortManager } from '../../../packages/xsknetd/src/ports/port-manager.js'
import { connectionLimits, Server } from '../../../packages/xsknetd/src/server/server.js'
import { ALICE, FakeConnection, FakeInstance, grant, MiB, PLENTY, Record, ROOT, refusal, until, user } from './fakes.js'

async function setUp() {
  const instance = new FakeInstance()
  const record = new Record()
  const portManager = new PortManager(
    instance,
    [grant({ ports: 500, memory: 2 ** 40, pinned: true })],
    PLENTY,
    record.log,
  )
  await portManager.manage(['eth0'], 'unspecified')
  const server = new Server(portManager, { daemon: 'xsknetd 9.9.9', instance: 'lab' }, record.log)
  const connect = (who: Credentials) => {
    const connection = new FakeConnection(who)
    server.accept(connection)
    return connection
  }
  const greeted = async (who: Credentials) => {
    const connection = connect(who)
    await connection.result('hello', { client: 'test' })
    return connection
  }
  return { instance, record, portManager, server, connect, greeted }
}

const port = { uplink: 'eth0', addresses: ['192.0.2.10/24'] }

test('hello identifies the client and the daemon', async (t) => {
  const { connect } = await setUp()
  t.deepEqual(await connect(ALICE).result('hello', { client: 'test' }), {
    daemon: 'xsknetd 9.9.9',
    instance: 'lab',
    uid: 1001,
    gid: 1001,
  })
})

test('a port of several queues comes with two descriptors for each, and is listed with them', async (t) => {
  const { instance, greeted } = await setUp()
  const connection = await greeted(ROOT)
  const { info, sockets } = await connection.result<Result<'openPort'>>('openPort', { port: { ...port, queues: 8 } })
  t.is(instance.requests[0]?.queues, 8)
  t.deepEqual([info.queuePairs.length, sockets.length], [8, 8])
  t.is(connection.descriptors.at(-1)?.length, 16)
  t.is((await connection.result<Result<'ports'>>('ports')).ports[0]?.queues, 8)
})

test('every operation is answered', async (t) => {
  const { instance, greeted } = await setUp()
  const connection = await greeted(ALICE)
  const { info, sockets } = await connection.result<Result<'openPort'>>('openPort', { port })
  t.like(info, { port: 1, addresses: ['192.0.2.10/24'] })
  t.is(sockets.length, 1)
  t.like(sockets[0], { frames: 8192, frameSize: 2048 })
  t.is(connection.descriptors.at(-1)?.length, 2)
  t.like(await connection.result('status'), { instance: 'lab', pid: process.pid, clients: 1, ports: 1 })
  t.is((await connection.result<Result<'uplinks'>>('uplinks')).uplinks[0]?.uplink, 'eth0')
  t.is((await connection.result<Result<'ports'>>('ports')).ports.length, 1)
  t.deepEqual((await connection.result<Result<'ports'>>('ports', { after: 1 })).ports, [])
  t.is((await connection.result<Result<'portStatistics'>>('portStatistics', { port: 1 })).statistics.guard.seen, 0)
  t.is(
    (await connection.result<Result<'uplinkStatistics'>>('uplinkStatistics', { uplink: 'eth0' })).statistics.program
      .seen,
    0,
  )
  const packet = '00'.repeat(14)
  const elsewhere = { uplink: 'eth0', counter: null, rule: null, target: null, steps: [] }
  t.deepEqual(await connection.result('explainArrival', { uplink: 'eth0', packet }), { explanation: elsewhere })
  t.like(await connection.result('explainSending', { port: 1, packet }), { explanation: { rule: 'unclaimed' } })
  t.true(instance.did.includes('explainSending 1 14'), 'the digits were read')
  t.deepEqual(await connection.result('refusals', { port: 1 }), { refusals: instance.refused })
  t.deepEqual(await connection.result('closePort', { port: 1 }), {})
  const pinned = await connection.result<Result<'openPinnedPort'>>('openPinnedPort', { port }, 1)
  t.like(pinned, { info: { port: 2 }, pinned: { device: 'i2', queue: 0 } })
  t.is(connection.descriptors.at(-1), undefined)
  t.deepEqual(await connection.result('shareSocket', { port: 2 }, 1), {})
  t.deepEqual(instance.shared, [2])
  t.is(connection.dealtWith, connection.replies.length)
})

const utf8 = new TextEncoder()
const UNEXPECTED = 'ERR_XSKNET_UNEXPECTED_DESCRIPTORS'
const pinnedRequest =
  '{"version":2,"id":7,"operation":"openPinnedPort","port":{"uplink":"eth0","addresses":["192.0.2.10"]}}'
const violations: [
  what: string,
  message: string | Uint8Array | null,
  code: string,
  id: number | null,
  descriptors?: number,
][] = [
  ['no JSON', '{', 'ERR_XSKNET_MESSAGE_MALFORMED', null],
  ['no UTF-8', Uint8Array.of(0xff, 0xfe), 'ERR_XSKNET_MESSAGE_MALFORMED', null],
  ['no object', '[1]', 'ERR_XSKNET_MESSAGE_MALFORMED', null],
  ['no operation', '{"version":2,"id":7}', 'ERR_XSKNET_MESSAGE_MALFORMED', 7],
  ['a number that is none', '{"version":2,"id":-7,"operation":"status"}', 'ERR_XSKNET_MESSAGE_MALFORMED', null],
  ['a key too many', '{"version":2,"id":7,"operation":"status","more":1}', 'ERR_XSKNET_MESSAGE_MALFORMED', 7],
  ['another version', '{"version":3,"id":7,"operation":"status"}', 'ERR_XSKNET_PROTOCOL_VERSION', null],
  ['too long', null, 'ERR_XSKNET_MESSAGE_TOO_LONG', null],
  ['descriptors', '{"version":2,"id":7,"operation":"status"}', UNEXPECTED, 7, 1],
  ['a socket without its descriptor', '{"version":2,"id":7,"operation":"shareSocket","port":1}', UNEXPECTED, 7],
  ['a socket with two', '{"version":2,"id":7,"operation":"shareSocket","port":1}', UNEXPECTED, 7, 2],
  ['a pinned port without its namespace', pinnedRequest, UNEXPECTED, 7],
  ['a pinned port with two', pinnedRequest, UNEXPECTED, 7, 2],
  ['a pinned port with all that fit', pinnedRequest, UNEXPECTED, 7, 253],
  [
    'a port with one',
    '{"version":2,"id":7,"operation":"openPort","port":{"uplink":"eth0","addresses":[]}}',
    UNEXPECTED,
    7,
    1,
  ],
  ['too long, with a descriptor', null, 'ERR_XSKNET_MESSAGE_TOO_LONG', null, 1],
  ['no JSON, with a descriptor', '{', 'ERR_XSKNET_MESSAGE_MALFORMED', null, 1],
  ['a second hello', '{"version":2,"id":7,"operation":"hello","client":"x"}', 'ERR_XSKNET_HELLO_MISSING', 7],
  ['a nameless operation that nobody knows', '{"version":2,"operation":"fly"}', 'ERR_XSKNET_OPERATION_UNKNOWN', null],
]
for (const [what, message, code, id, descriptors = 0] of violations) {
  test(`${what}: ${code}, and the connection ends with its ports`, async (t) => {
    const { instance, greeted } = await setUp()
    const connection = await greeted(ALICE)
    await connection.result('openPort', { port })
    connection.deliver(message, message === null ? 65_537 : utf8.encode('x').length, descriptors)
    connection.ask('status')
    const answer = await connection.answer(id)
    t.is('error' in answer && answer.error.code, code)
    t.true(connection.closed)
    await until('the end of the port', () => instance.open.size === 0)
    await until('the end of the queue', () => connection.dealtWith === 4)
    // The request behind it was not answered any more.
    t.is(connection.replies.length, 3)
    t.true(connection.brought.every((brought) => brought.closed))
    t.is(connection.brought.length, descriptors > 0 ? 1 : 0)
  })
}

test('only root sees connections and ports of other users', async (t) => {
  const { greeted } = await setUp()
  const [alice, root, stranger] = [await greeted(ALICE), await greeted(ROOT), await greeted(user(7))]
  await greeted(ALICE)
  await alice.result('openPort', { port })
  await root.result('openPort', { port: { ...port, addresses: ['192.0.2.11'] } })
  t.like(await root.result('status'), { clients: 4, ports: 2 })
  t.like(await alice.result('status'), { clients: 2, ports: 1 })
  t.like(await stranger.result('status'), { clients: 1, ports: 0, uplinks: [] })
})

test('an operation of a later version is refused, and the connection goes on', async (t) => {
  const { greeted } = await setUp()
  const connection = await greeted(ALICE)
  t.is(await connection.refusal('fly', { height: 3 }), 'ERR_XSKNET_OPERATION_UNKNOWN')
  t.like(await connection.result('status'), { instance: 'lab' })
})

for (const operation of ['status', 'openPort', 'fly']) {
  test(`${operation} before hello ends the connection`, async (t) => {
    const { instance, connect } = await setUp()
    const connection = connect(ROOT)
    const code = await connection.refusal(operation, operation === 'openPort' ? { port } : {})
    t.is(code, operation === 'fly' ? 'ERR_XSKNET_OPERATION_UNKNOWN' : 'ERR_XSKNET_HELLO_MISSING')
    t.true(connection.closed)
    t.deepEqual(instance.requests, [])
  })
}

test('refusals of the policy and of the kernel leave the connection open', async (t) => {
  const { instance, greeted, record } = await setUp()
  const connection = await greeted(ALICE)
  t.is(await connection.refusal('openPort', { port: { ...port, uplink: 'eth1' } }), 'ERR_XSKNET_NOT_PERMITTED')
  t.is(await connection.refusal('closePort', { port: 9 }), 'ERR_XSKNET_PORT_UNKNOWN')
  instance.failures.set('openPort', refusal('ERR_XSKNET_ADDRESS_TAKEN'))
  t.is(await connection.refusal('openPort', { port }), 'ERR_XSKNET_ADDRESS_TAKEN')
  instance.failures.set('uplinkStatistics', refusal('ERR_XSKNET_UPLINK_MISSING'))
  t.is(await connection.refusal('uplinkStatistics', { uplink: 'eth0' }), 'ERR_XSKNET_UPLINK_MISSING')
  t.false(connection.closed)
  t.like(record.of('client-refused')[0], { uid: 1001, operation: 'openPort', code: 'ERR_XSKNET_NOT_PERMITTED' })
})

test('a bug of the daemon is told as one, and the connection goes on', async (t) => {
  const { instance, greeted, record } = await setUp()
  const connection = await greeted(ALICE)
  instance.failures.set('uplinkStatistics', new TypeError('x is undefined'))
  t.is(await connection.refusal('uplinkStatistics', { uplink: 'eth0' }), 'ERR_XSKNET_INTERNAL')
  t.like(record.of('client-refused')[0], { cause: 'x is undefined' })
  t.like(await connection.result('status'), { instance: 'lab' })
})

test('requests of one client wait for each other, those of another do not', async (t) => {
  const { instance, greeted } = await setUp()
  const [alice, root] = [await greeted(ALICE), await greeted(ROOT)]
  const letGo = instance.hold()
  const first = alice.ask('openPort', { port })
  const second = alice.ask('uplinks')
  await until('the opening', () => instance.waiting === 1)
  t.like(await root.result('status'), { clients: 2 })
  t.is(alice.dealtWith, 1)
  letGo()
  await alice.answer(second)
  t.deepEqual(
    alice.replies.slice(1).map((reply) => 'id' in reply && reply.id),
    [first, second],
  )
})

test('a client that dies while its port is being opened leaves nothing', async (t) => {
  const { instance, greeted, portManager } = await setUp()
  const connection = await greeted(ALICE)
  const letGo = instance.hold()
  connection.ask('openPort', { port })
  connection.ask('openPort', { port })
  await until('the opening', () => instance.waiting === 1)
  connection.end()
  letGo()
  await until('all to be dealt with', () => connection.dealtWith === 3)
  t.is(instance.requests.length, 1)
  t.deepEqual([...instance.open], [])
  t.true(instance.handedOut[0]?.closed)
  t.is(portManager.portCountFor(ROOT), 0)
  t.is(connection.replies.length, 1)
})

test('a client that is disconnected when its port is handed over: descriptors and port are closed', async (t) => {
  const { instance, greeted } = await setUp()
  const connection = await greeted(ALICE)
  connection.takes = false
  connection.ask('openPort', { port })
  await until('the answer', () => connection.dealtWith === 2)
  t.true(instance.handedOut[0]?.closed)
  connection.end({ kind: 'not-reading', reason: 'the client does not read' })
  await until('the end of the port', () => instance.open.size === 0)
})

test('descriptors that came are closed or handed down, whatever becomes of their request', async (t) => {
  const { instance, greeted } = await setUp()
  const connection = await greeted(ALICE)
  t.is(await connection.refusal('openPinnedPort', { port: { ...port, uplink: 'eth1' } }, 1), 'ERR_XSKNET_NOT_PERMITTED')
  t.is(await connection.refusal('shareSocket', { port: 9 }, 1), 'ERR_XSKNET_PORT_UNKNOWN')
  instance.failures.set('openPinnedPort', refusal('ERR_XSKNET_NAMESPACE_INVALID'))
  t.is(await connection.refusal('openPinnedPort', { port }, 1), 'ERR_XSKNET_NAMESPACE_INVALID')
  await connection.result('openPinnedPort', { port }, 1)
  t.is(await connection.refusal('fly', {}, 1), 'ERR_XSKNET_OPERATION_UNKNOWN')
  await until('all to be dealt with', () => connection.dealtWith === connection.replies.length)
  t.deepEqual(
    connection.brought.map(({ fate }) => fate),
    ['closed', 'closed', 'taken', 'taken', 'closed'],
  )
  t.false(connection.closed)
})

test('descriptors that wait their turn are closed when their client goes, and too many at once', async (t) => {
  const { instance, greeted } = await setUp()
  const connection = await greeted(ALICE)
  const letGo = instance.hold()
  connection.ask('openPinnedPort', { port }, 1)
  for (let at = 0; at < 6; at++) connection.ask('openPinnedPort', { port }, 1)
  connection.ask('openPinnedPort', { port }, 16)
  t.is(connection.brought.at(-1)?.fate, 'closed')
  await until('the opening', () => instance.waiting === 1)
  connection.end()
  letGo()
  await until('all to be dealt with', () => connection.dealtWith === 9)
  t.deepEqual(
    connection.brought.map(({ fate }) => fate),
    ['taken', ...Array(7).fill('closed')],
  )
  t.deepEqual([...instance.open], [])
})

for (const [theirs, client, older, update] of [
  [3, 'xsknet/0.9.3 node/30.0.0', 'daemon', `Update the package xsknetd to release 0.9.3 or a later one.`],
  [3, 'my own program', 'daemon', 'Update the package xsknetd to the release of the client.'],
  [1, 'xsknet/0.0.9 node/20.19.0', 'client', `Update the package xsknet to release ${RELEASE} or a later one.`],
] as const) {
  test(`a client of version ${theirs}, ${client}, is told that the ${older} is older`, async (t) => {
    const { connect } = await setUp()
    const connection = connect(ALICE)
    connection.deliver(JSON.stringify({ version: theirs, id: 1, operation: 'hello', client, news: true }))
    const answer = await connection.answer(null)
    const { code, message, hint, details } = ('error' in answer ? answer.error : {}) as Failure
    t.is(code, 'ERR_XSKNET_PROTOCOL_VERSION')
    t.regex(
      message,
      new RegExp(
        `^the client speaks version ${theirs} .* this daemon \\(release ${RELEASE}\\) version 2: the ${older} is`,
      ),
    )
    t.is(hint, update)
    t.deepEqual(details, { theirs, ours: 2, older, release: RELEASE })
    t.true(connection.closed)
  })
}

test('an end is counted once, however it comes', async (t) => {
  const { greeted, instance } = await setUp()
  const [connection, other] = [await greeted(ALICE), await greeted(ROOT)]
  await connection.result('openPort', { port })
  connection.end()
  connection.end()
  t.like(await other.result('status'), { clients: 1 })
  await until('the end of the port', () => instance.open.size === 0)
})

test('losses reach their owner as events', async (t) => {
  const { instance, greeted } = await setUp()
  const [alice, root] = [await greeted(ALICE), await greeted(ROOT)]
  await alice.result('openPort', { port })
  instance.lose({ uplink: 'eth0', port: 1 })
  instance.lose({ uplink: 'eth0' })
  t.like(alice.events, [
    { event: 'portLost', port: 1, error: { code: 'ERR_XSKNET_PORT_LOST' } },
    { event: 'uplinkGone', uplink: 'eth0' },
  ] as never)
  t.deepEqual(
    root.events.map(({ event }) => event),
    ['uplinkGone'],
  )
})

test('a client that has not said hello hears of nothing', async (t) => {
  const { instance, connect } = await setUp()
  const connection = connect(ROOT)
  instance.lose({ uplink: 'eth0' })
  t.deepEqual(connection.replies, [])
})

test('a list of ports too long for a message comes in pages, complete and in order', async (t) => {
  const { greeted } = await setUp()
  const connection = await greeted(user(0))
  // 64 long addresses and a long name a port: each takes about 3 kB of the 64 KiB.
  const addresses = Array.from(
    { length: 64 },
    (_, at) => `2001:db8:1111:2222:3333:4444:5555:${(0x1000 + at).toString(16)}`,
  )
  for (let at = 0; at < 60; at++)
    await connection.result('openPort', { port: { uplink: 'eth0', addresses, name: `${at}`.padEnd(64, '-') } })
  const seen: number[] = []
  let pages = 0
  for (let more = true; more; pages++) {
    const page = await connection.result<Result<'ports'>>('ports', seen.length > 0 ? { after: seen.at(-1) } : {})
    seen.push(...page.ports.map(({ port }) => port))
    more = page.more
  }
  t.deepEqual(
    seen,
    Array.from({ length: 60 }, (_, at) => at + 1),
  )
  t.true(pages > 2 && pages < 10, `${pages} pages`)
})

test('a refused connection is told the reason', (t) => {
  const answer = readReply(connectionLimits.refusal)
  t.like(answer, { id: null, error: { code: 'ERR_XSKNET_LIMIT_REACHED', details: { limit: 'connections' } } } as never)
})

test('queries are not logged; changes, refusals and disconnections are', async (t) => {
  const { greeted, record } = await setUp()
  const events = () => record.lines.map(({ event }) => event)
  record.lines.length = 0
  const connection = await greeted(ALICE)
  for (const operation of ['status', 'uplinks', 'ports']) await connection.result(operation)
  connection.end()
  t.deepEqual(events(), [])

  const opener = await greeted(ALICE)
  await opener.result('openPort', { port })
  opener.end()
  t.deepEqual(events().slice(0, 3), ['client-connected', 'port-opened', 'client-ended'])
  t.like(record.of('client-connected')[0], { uid: ALICE.uid, client: 'test' })
  await until('the end of its port', () => record.of('port-closed').length > 0)

  record.lines.length = 0
  const refused = await greeted(ALICE)
  await refused.refusal('portStatistics', { port: 99 })
  await refused.refusal('portStatistics', { port: 99 })
  t.deepEqual(events(), ['client-connected', 'client-refused', 'client-refused'])

  record.lines.length = 0
  const slow = await greeted(ALICE)
  slow.end({ kind: 'not-reading', reason: 'the client does not read' })
  t.like(record.of('client-ended')[0], { reason: 'the client does not read' })
})

test('one user cannot fill the log', async (t) => {
  const { greeted, record } = await setUp()
  const connection = await greeted(ALICE)
  for (let at = 0; at < 100; at++) await connection.refusal('closePort', { port: 9 })
  t.true(record.lines.length < 30, `${record.lines.length} lines`)
})

test('memory is given back with the connection', async (t) => {
  const portManager = new PortManager(new FakeInstance(), [grant({ ports: 1, memory: 16 * MiB })], PLENTY, () => {})
  await portManager.manage(['eth0'], 'unspecified')
  const server = new Server(portManager, { daemon: 'x', instance: 'lab' }, () => {})
  for (let round = 0; round < 3; round++) {
    const connection = new FakeConnection(ALICE)
    server.accept(connection)
    await connection.result('hello', { client: 'test' })
    await t.notThrowsAsync(connection.result('openPort', { port }))
    connection.end()
  }
})

test('the daemon’s own words for those from whom nothing comes are an answer of the protocol', (t) => {
  const answer = readReply(connectionLimits.silenceRefusal)
  t.like(answer, { id: null, error: { code: 'ERR_XSKNET_HELLO_MISSING' } } as never)
})

// The clock is one for all tests of this file.
test.serial('a busy daemon does not mistake a client for silent: its own delays end no connection', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { connect } = await setUp()
  const connection = connect(ALICE)
  mock.timers.tick(60_000)
  t.deepEqual([connection.replies.length, connection.closed], [0, false])
})

test('the error for an oversized message names the client’s limit', async (t) => {
  const { connect } = await setUp()
  const connection = connect(user(4000))
  connection.longest = 4096
  connection.deliver(null, 5000)
  const answer = await connection.answer(null)
  t.like('error' in answer && answer.error, {
    code: 'ERR_XSKNET_MESSAGE_TOO_LONG',
    details: { length: 5000, most: 4096 },
  })
  t.true(connection.closed)
})

test('whose descriptors the kernel keeps away hears from the policy what is missing, and stays', async (t) => {
  const portManager = new PortManager(new FakeInstance(), [grant()], PLENTY, () => {})
  await portManager.manage(['eth0'], 'unspecified')
  const server = new Server(portManager, { daemon: 'x', instance: 'lab' }, () => {})
  const connection = new FakeConnection(ALICE)
  connection.sendsDescriptors = false
  server.accept(connection)
  await connection.result('hello', { client: 'test' })
  const answer = await connection.answer(connection.ask('openPinnedPort', { port }))
  t.like('error' in answer && answer.error, { code: 'ERR_XSKNET_NOT_PERMITTED' })
  t.regex(('error' in answer && answer.error.hint) || '', /pinned = true/)
  t.is(await connection.refusal('shareSocket', { port: 1 }), 'ERR_XSKNET_PORT_UNKNOWN')
  t.like(await connection.result('status'), { instance: 'lab' })
  t.false(connection.closed)
})

test('a thousand users without a grant write no more lines than one; those with a grant have their own', async (t) => {
  const grants = [grant(), grant({ holder: { gid: 70 } })]
  const record = new Record()
  const portManager = new PortManager(new FakeInstance(), grants, PLENTY, record.log)
  await portManager.manage(['eth0'], 'unspecified')
  const server = new Server(portManager, { daemon: 'x', instance: 'lab' }, record.log, trustedUsers(grants))
  const speak = async (who: Credentials) => {
    const connection = new FakeConnection(who)
    server.accept(connection)
    await connection.result('hello', { client: 'test' })
    await connection.refusal('closePort', { port: 9 })
  }
  record.lines.length = 0
  for (let uid = 2000; uid < 3000; uid++) await speak(user(uid))
  t.true(record.lines.length <= 21, `${record.lines.length} lines of strangers`)
  record.lines.length = 0
  for (let uid = 2000; uid < 2500; uid++) await speak(user(uid, uid, [70]))
  t.true(record.lines.length > 0 && record.lines.length <= 21, `${record.lines.length} lines of a group`)
  for (const who of [ALICE, ROOT]) {
    record.lines.length = 0
    await speak(who)
    t.like(record.lines[0], { event: 'client-connected', fields: { uid: who.uid } })
  }
})

for (const [who, speaker] of [
  [ROOT, 'user 0'],
  [ALICE, 'user 1001'],
  [user(1001, 70), 'user 1001'],
  [user(5000, 70), 'group 70'],
  [user(5000, 5000, [3, 71, 70]), 'group 71'],
  [user(70, 5000, [1001]), 'strangers'],
] as const) {
  test(`lines of user ${who.uid} of groups ${[who.gid, ...who.groups]} are counted as those of ${speaker}`, (t) => {
    const grants = [
      grant(),
      grant({ holder: { gid: 70 }, pinned: true }),
      grant({ holder: { gid: 71 } }),
      grant({ pinned: true }),
    ]
    t.is(logSourceOf(trustedUsers(grants), who), speaker)
    t.deepEqual(trustedUsers(grants), {
      trusted: { uids: [1001], gids: [70, 71] },
      descriptors: { uids: [1001], gids: [70] },
    })
  })
}

import { mock } from 'node:test'
import test from 'ava'
import { type Failure, RELEASE, type Result, readReply } from 'xsknet/protocol'
import { Estate } from '../../../packages/xsknetd/src/estate.js'
import { Server, wireLimits } from '../../../packages/xsknetd/src/server.js'
import { speakerOf, trustOf } from '../../../packages/xsknetd/src/trust.js'
import type { Credentials } from '../../../packages/xsknetd/src/wire.js'
import { ALICE, FakeGround, FakeWire, grant, MiB, PLENTY, Record, ROOT, refusal, until, user } from './fakes.js'

async function setUp() {
  const ground = new FakeGround()
  const record = new Record()
  const estate = new Estate(ground, [grant({ ports: 500, memory: 2 ** 40, pinned: true })], PLENTY, record.log)
  await estate.manage(['eth0'], 'unspecified')
  const server = new Server(estate, { daemon: 'xsknetd 9.9.9', instance: 'lab' }, record.log)
  const connect = (who: Credentials) => {
    const wire = new FakeWire(who)
    server.accept(wire)
    return wire
  }
  const greeted = async (who: Credentials) => {
    const wire = connect(who)
    await wire.result('hello', { client: 'test' })
    return wire
  }
  return { ground, record, estate, server, connect, greeted }
}

const port = { uplink: 'eth0', addresses: ['192.0.2.10/24'] }

test('hello says who the client is and what the daemon is', async (t) => {
  const { connect } = await setUp()
  t.deepEqual(await connect(ALICE).result('hello', { client: 'test' }), {
    daemon: 'xsknetd 9.9.9',
    instance: 'lab',
    uid: 1001,
    gid: 1001,
  })
})

test('a port of several queues comes with two descriptors for each, and is listed with them', async (t) => {
  const { ground, greeted } = await setUp()
  const wire = await greeted(ROOT)
  const { info, sockets } = await wire.result<Result<'openPort'>>('openPort', { port: { ...port, queues: 8 } })
  t.is(ground.requests[0]?.queues, 8)
  t.deepEqual([info.queuePairs.length, sockets.length], [8, 8])
  t.is(wire.descriptors.at(-1)?.length, 16)
  t.is((await wire.result<Result<'ports'>>('ports')).ports[0]?.queues, 8)
})

test('every operation is answered', async (t) => {
  const { ground, greeted } = await setUp()
  const wire = await greeted(ALICE)
  const { info, sockets } = await wire.result<Result<'openPort'>>('openPort', { port })
  t.like(info, { port: 1, addresses: ['192.0.2.10/24'] })
  t.is(sockets.length, 1)
  t.like(sockets[0], { frames: 8192, frameSize: 2048 })
  t.is(wire.descriptors.at(-1)?.length, 2)
  t.like(await wire.result('status'), { instance: 'lab', pid: process.pid, clients: 1, ports: 1 })
  t.is((await wire.result<Result<'uplinks'>>('uplinks')).uplinks[0]?.uplink, 'eth0')
  t.is((await wire.result<Result<'ports'>>('ports')).ports.length, 1)
  t.deepEqual((await wire.result<Result<'ports'>>('ports', { after: 1 })).ports, [])
  t.is((await wire.result<Result<'portStatistics'>>('portStatistics', { port: 1 })).statistics.guard.seen, 0)
  t.is((await wire.result<Result<'uplinkStatistics'>>('uplinkStatistics', { uplink: 'eth0' })).statistics.program.seen, 0)
  t.deepEqual(await wire.result('closePort', { port: 1 }), {})
  const pinned = await wire.result<Result<'openPinnedPort'>>('openPinnedPort', { port }, 1)
  t.like(pinned, { info: { port: 2 }, pinned: { device: 'i2', queue: 0 } })
  t.is(wire.descriptors.at(-1), undefined)
  t.deepEqual(await wire.result('shareSocket', { port: 2 }, 1), {})
  t.deepEqual(ground.shared, [2])
  t.is(wire.dealtWith, wire.replies.length)
})

const utf8 = new TextEncoder()
const UNEXPECTED = 'ERR_XSKNET_UNEXPECTED_DESCRIPTORS'
const pinnedRequest = '{"version":2,"id":7,"operation":"openPinnedPort","port":{"uplink":"eth0","addresses":["192.0.2.10"]}}'
const violations: [what: string, message: string | Uint8Array | null, code: string, id: number | null, descriptors?: number][] = [
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
  ['a port with one', '{"version":2,"id":7,"operation":"openPort","port":{"uplink":"eth0","addresses":[]}}', UNEXPECTED, 7, 1],
  ['too long, with a descriptor', null, 'ERR_XSKNET_MESSAGE_TOO_LONG', null, 1],
  ['no JSON, with a descriptor', '{', 'ERR_XSKNET_MESSAGE_MALFORMED', null, 1],
  ['a second hello', '{"version":2,"id":7,"operation":"hello","client":"x"}', 'ERR_XSKNET_HELLO_MISSING', 7],
  ['a nameless operation that nobody knows', '{"version":2,"operation":"fly"}', 'ERR_XSKNET_OPERATION_UNKNOWN', null],
]
for (const [what, message, code, id, descriptors = 0] of violations) {
  test(`${what}: ${code}, and the connection ends with its ports`, async (t) => {
    const { ground, greeted } = await setUp()
    const wire = await greeted(ALICE)
    await wire.result('openPort', { port })
    wire.deliver(message, message === null ? 65_537 : utf8.encode('x').length, descriptors)
    wire.ask('status')
    const answer = await wire.answer(id)
    t.is('error' in answer && answer.error.code, code)
    t.true(wire.closed)
    await until('the end of the port', () => ground.open.size === 0)
    await until('the end of the queue', () => wire.dealtWith === 4)
    // The request behind it was not answered any more.
    t.is(wire.replies.length, 3)
    t.true(wire.brought.every((brought) => brought.closed))
    t.is(wire.brought.length, descriptors > 0 ? 1 : 0)
  })
}

test('of connections and ports of others nobody but root is told', async (t) => {
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
  const wire = await greeted(ALICE)
  t.is(await wire.refusal('fly', { height: 3 }), 'ERR_XSKNET_OPERATION_UNKNOWN')
  t.like(await wire.result('status'), { instance: 'lab' })
})

for (const operation of ['status', 'openPort', 'fly']) {
  test(`${operation} before hello ends the connection`, async (t) => {
    const { ground, connect } = await setUp()
    const wire = connect(ROOT)
    const code = await wire.refusal(operation, operation === 'openPort' ? { port } : {})
    t.is(code, operation === 'fly' ? 'ERR_XSKNET_OPERATION_UNKNOWN' : 'ERR_XSKNET_HELLO_MISSING')
    t.true(wire.closed)
    t.deepEqual(ground.requests, [])
  })
}

test('refusals of the policy and of the kernel leave the connection open', async (t) => {
  const { ground, greeted, record } = await setUp()
  const wire = await greeted(ALICE)
  t.is(await wire.refusal('openPort', { port: { ...port, uplink: 'eth1' } }), 'ERR_XSKNET_NOT_PERMITTED')
  t.is(await wire.refusal('closePort', { port: 9 }), 'ERR_XSKNET_PORT_UNKNOWN')
  ground.failures.set('openPort', refusal('ERR_XSKNET_ADDRESS_TAKEN'))
  t.is(await wire.refusal('openPort', { port }), 'ERR_XSKNET_ADDRESS_TAKEN')
  ground.failures.set('uplinkStatistics', refusal('ERR_XSKNET_UPLINK_MISSING'))
  t.is(await wire.refusal('uplinkStatistics', { uplink: 'eth0' }), 'ERR_XSKNET_UPLINK_MISSING')
  t.false(wire.closed)
  t.like(record.of('client-refused')[0], { uid: 1001, operation: 'openPort', code: 'ERR_XSKNET_NOT_PERMITTED' })
})

test('a bug of the daemon is told as one, and the connection goes on', async (t) => {
  const { ground, greeted, record } = await setUp()
  const wire = await greeted(ALICE)
  ground.failures.set('uplinkStatistics', new TypeError('x is undefined'))
  t.is(await wire.refusal('uplinkStatistics', { uplink: 'eth0' }), 'ERR_XSKNET_INTERNAL')
  t.like(record.of('client-refused')[0], { because: 'x is undefined' })
  t.like(await wire.result('status'), { instance: 'lab' })
})

test('requests of one client wait for each other, those of another do not', async (t) => {
  const { ground, greeted } = await setUp()
  const [alice, root] = [await greeted(ALICE), await greeted(ROOT)]
  const letGo = ground.hold()
  const first = alice.ask('openPort', { port })
  const second = alice.ask('uplinks')
  await until('the opening', () => ground.waiting === 1)
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
  const { ground, greeted, estate } = await setUp()
  const wire = await greeted(ALICE)
  const letGo = ground.hold()
  wire.ask('openPort', { port })
  wire.ask('openPort', { port })
  await until('the opening', () => ground.waiting === 1)
  wire.end()
  letGo()
  await until('all to be dealt with', () => wire.dealtWith === 3)
  t.is(ground.requests.length, 1)
  t.deepEqual([...ground.open], [])
  t.true(ground.handedOut[0]?.closed)
  t.is(estate.portCountFor(ROOT), 0)
  t.is(wire.replies.length, 1)
})

test('a client that is cut off when its port is handed over: descriptors are closed, the port at its end', async (t) => {
  const { ground, greeted } = await setUp()
  const wire = await greeted(ALICE)
  wire.takes = false
  wire.ask('openPort', { port })
  await until('the answer', () => wire.dealtWith === 2)
  t.true(ground.handedOut[0]?.closed)
  wire.end('the client does not read')
  await until('the end of the port', () => ground.open.size === 0)
})

test('descriptors that came are closed or handed down, whatever becomes of their request', async (t) => {
  const { ground, greeted } = await setUp()
  const wire = await greeted(ALICE)
  t.is(await wire.refusal('openPinnedPort', { port: { ...port, uplink: 'eth1' } }, 1), 'ERR_XSKNET_NOT_PERMITTED')
  t.is(await wire.refusal('shareSocket', { port: 9 }, 1), 'ERR_XSKNET_PORT_UNKNOWN')
  ground.failures.set('openPinnedPort', refusal('ERR_XSKNET_NAMESPACE_INVALID'))
  t.is(await wire.refusal('openPinnedPort', { port }, 1), 'ERR_XSKNET_NAMESPACE_INVALID')
  await wire.result('openPinnedPort', { port }, 1)
  t.is(await wire.refusal('fly', {}, 1), 'ERR_XSKNET_OPERATION_UNKNOWN')
  await until('all to be dealt with', () => wire.dealtWith === wire.replies.length)
  t.deepEqual(
    wire.brought.map(({ fate }) => fate),
    ['closed', 'closed', 'taken', 'taken', 'closed'],
  )
  t.false(wire.closed)
})

test('descriptors that wait their turn are closed when their client goes, and too many at once', async (t) => {
  const { ground, greeted } = await setUp()
  const wire = await greeted(ALICE)
  const letGo = ground.hold()
  wire.ask('openPinnedPort', { port }, 1)
  for (let at = 0; at < 6; at++) wire.ask('openPinnedPort', { port }, 1)
  wire.ask('openPinnedPort', { port }, 16)
  t.is(wire.brought.at(-1)?.fate, 'closed')
  await until('the opening', () => ground.waiting === 1)
  wire.end()
  letGo()
  await until('all to be dealt with', () => wire.dealtWith === 9)
  t.deepEqual(
    wire.brought.map(({ fate }) => fate),
    ['taken', ...Array(7).fill('closed')],
  )
  t.deepEqual([...ground.open], [])
})

for (const [theirs, client, older, update] of [
  [3, 'xsknet/0.9.3 node/30.0.0', 'daemon', `Update the package xsknetd to release 0.9.3 or a later one.`],
  [3, 'my own program', 'daemon', 'Update the package xsknetd to the release of the client.'],
  [1, 'xsknet/0.0.9 node/20.19.0', 'client', `Update the package xsknet to release ${RELEASE} or a later one.`],
] as const) {
  test(`a client of version ${theirs}, ${client}, is told that the ${older} is older, and what to update`, async (t) => {
    const { connect } = await setUp()
    const wire = connect(ALICE)
    wire.deliver(JSON.stringify({ version: theirs, id: 1, operation: 'hello', client, news: true }))
    const answer = await wire.answer(null)
    const { code, message, hint, details } = ('error' in answer ? answer.error : {}) as Failure
    t.is(code, 'ERR_XSKNET_PROTOCOL_VERSION')
    t.regex(
      message,
      new RegExp(`^the client speaks version ${theirs} .* this daemon \\(release ${RELEASE}\\) version 2: the ${older} is`),
    )
    t.is(hint, update)
    t.deepEqual(details, { theirs, ours: 2, older, release: RELEASE })
    t.true(wire.closed)
  })
}

test('an end is counted once, however it comes', async (t) => {
  const { greeted, ground } = await setUp()
  const [wire, other] = [await greeted(ALICE), await greeted(ROOT)]
  await wire.result('openPort', { port })
  wire.end()
  wire.end()
  t.like(await other.result('status'), { clients: 1 })
  await until('the end of the port', () => ground.open.size === 0)
})

test('losses reach their owner as events', async (t) => {
  const { ground, greeted } = await setUp()
  const [alice, root] = [await greeted(ALICE), await greeted(ROOT)]
  await alice.result('openPort', { port })
  ground.lose({ uplink: 'eth0', port: 1 })
  ground.lose({ uplink: 'eth0' })
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
  const { ground, connect } = await setUp()
  const wire = connect(ROOT)
  ground.lose({ uplink: 'eth0' })
  t.deepEqual(wire.replies, [])
})

test('a list of ports too long for a message comes in pages, complete and in order', async (t) => {
  const { greeted } = await setUp()
  const wire = await greeted(user(0))
  // 64 long addresses and a long name a port: each takes about 3 kB of the 64 KiB.
  const addresses = Array.from({ length: 64 }, (_, at) => `2001:db8:1111:2222:3333:4444:5555:${(0x1000 + at).toString(16)}`)
  for (let at = 0; at < 60; at++)
    await wire.result('openPort', { port: { uplink: 'eth0', addresses, name: `${at}`.padEnd(64, '-') } })
  const seen: number[] = []
  let pages = 0
  for (let more = true; more; pages++) {
    const page = await wire.result<Result<'ports'>>('ports', seen.length > 0 ? { after: seen.at(-1) } : {})
    seen.push(...page.ports.map(({ port }) => port))
    more = page.more
  }
  t.deepEqual(
    seen,
    Array.from({ length: 60 }, (_, at) => at + 1),
  )
  t.true(pages > 2 && pages < 10, `${pages} pages`)
})

test('who is turned away hears why', (t) => {
  const answer = readReply(wireLimits.refusal)
  t.like(answer, { id: null, error: { code: 'ERR_XSKNET_LIMIT_REACHED', details: { limit: 'connections' } } } as never)
})

test('who only asks is not in the log; who does more, or is refused or cut off, is', async (t) => {
  const { greeted, record } = await setUp()
  const events = () => record.lines.map(({ event }) => event)
  record.lines.length = 0
  const wire = await greeted(ALICE)
  for (const operation of ['status', 'uplinks', 'ports']) await wire.result(operation)
  wire.end()
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
  slow.end('the client does not read')
  t.like(record.of('client-ended')[0], { reason: 'the client does not read' })
})

test('one user cannot fill the log', async (t) => {
  const { greeted, record } = await setUp()
  const wire = await greeted(ALICE)
  for (let at = 0; at < 100; at++) await wire.refusal('closePort', { port: 9 })
  t.true(record.lines.length < 30, `${record.lines.length} lines`)
})

test('memory is given back with the connection', async (t) => {
  const estate = new Estate(new FakeGround(), [grant({ ports: 1, memory: 16 * MiB })], PLENTY, () => {})
  await estate.manage(['eth0'], 'unspecified')
  const server = new Server(estate, { daemon: 'x', instance: 'lab' }, () => {})
  for (let round = 0; round < 3; round++) {
    const wire = new FakeWire(ALICE)
    server.accept(wire)
    await wire.result('hello', { client: 'test' })
    await t.notThrowsAsync(wire.result('openPort', { port }))
    wire.end()
  }
})

test('the daemon’s own words for those from whom nothing comes are an answer of the protocol', (t) => {
  const answer = readReply(wireLimits.silenceRefusal)
  t.like(answer, { id: null, error: { code: 'ERR_XSKNET_HELLO_MISSING' } } as never)
})

// The clock is one for all tests of this file.
test.serial('a busy daemon takes nobody for silent: no timer of its own ends a connection', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { connect } = await setUp()
  const wire = connect(ALICE)
  mock.timers.tick(60_000)
  t.deepEqual([wire.replies.length, wire.closed], [0, false])
})

test('of a message that is too long, the most is told that this client may send', async (t) => {
  const { connect } = await setUp()
  const wire = connect(user(4000))
  wire.longest = 4096
  wire.deliver(null, 5000)
  const answer = await wire.answer(null)
  t.like('error' in answer && answer.error, { code: 'ERR_XSKNET_MESSAGE_TOO_LONG', details: { length: 5000, most: 4096 } })
  t.true(wire.closed)
})

test('whose descriptors the kernel keeps away hears from the policy what is missing, and stays', async (t) => {
  const estate = new Estate(new FakeGround(), [grant()], PLENTY, () => {})
  await estate.manage(['eth0'], 'unspecified')
  const server = new Server(estate, { daemon: 'x', instance: 'lab' }, () => {})
  const wire = new FakeWire(ALICE)
  wire.sendsDescriptors = false
  server.accept(wire)
  await wire.result('hello', { client: 'test' })
  const answer = await wire.answer(wire.ask('openPinnedPort', { port }))
  t.like('error' in answer && answer.error, { code: 'ERR_XSKNET_NOT_PERMITTED' })
  t.regex(('error' in answer && answer.error.hint) || '', /pinned = true/)
  t.is(await wire.refusal('shareSocket', { port: 1 }), 'ERR_XSKNET_PORT_UNKNOWN')
  t.like(await wire.result('status'), { instance: 'lab' })
  t.false(wire.closed)
})

test('a thousand users without a grant write no more lines than one; those with a grant have their own', async (t) => {
  const grants = [grant(), grant({ holder: { gid: 70 } })]
  const record = new Record()
  const estate = new Estate(new FakeGround(), grants, PLENTY, record.log)
  await estate.manage(['eth0'], 'unspecified')
  const server = new Server(estate, { daemon: 'x', instance: 'lab' }, record.log, trustOf(grants))
  const speak = async (who: Credentials) => {
    const wire = new FakeWire(who)
    server.accept(wire)
    await wire.result('hello', { client: 'test' })
    await wire.refusal('closePort', { port: 9 })
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
    t.is(speakerOf(trustOf(grants), who), speaker)
    t.deepEqual(trustOf(grants), { trusted: { uids: [1001], gids: [70, 71] }, descriptors: { uids: [1001], gids: [70] } })
  })
}

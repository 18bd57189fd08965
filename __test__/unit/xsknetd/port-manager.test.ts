import { mock } from 'node:test'
import test, { type ExecutionContext } from 'ava'
import { XsknetError } from 'xsknet'
import type { UplinkInfo } from 'xsknet/protocol'
import type { Told } from '../../../packages/xsknetd/src/platform/instance.js'
import type { Credentials } from '../../../packages/xsknetd/src/policy/credentials.js'
import { GroupRange } from '../../../packages/xsknetd/src/policy/group.js'
import type { Client } from '../../../packages/xsknetd/src/ports/client.js'
import { PortManager } from '../../../packages/xsknetd/src/ports/port-manager.js'
import {
  ALICE,
  BOB,
  FakeDescriptors,
  FakeInstance,
  grant,
  MiB,
  PLENTY,
  RATES,
  Record,
  ROOT,
  refusal,
  rest,
  until,
  user,
} from './fakes.js'

class FakeOwner implements Client {
  readonly credentials: Credentials
  readonly heard: [what: string | number, code: string, message: string][] = []
  readonly namespaces: FakeDescriptors[] = []

  constructor(credentials: Credentials) {
    this.credentials = credentials
  }

  namespace(): FakeDescriptors {
    const namespace = new FakeDescriptors(1)
    this.namespaces.push(namespace)
    return namespace
  }

  portLost(port: number, error: XsknetError): void {
    this.heard.push([port, error.code, error.message])
  }

  uplinkGone(uplink: string, error: XsknetError): void {
    this.heard.push([uplink, error.code, error.message])
  }

  uplinkChanged({ uplink, device, link, mtu }: UplinkInfo): void {
    this.heard.push([uplink, device, `${link} ${mtu}`])
  }

  addressConflict(port: number, address: string): void {
    this.heard.push([port, 'conflict', address])
  }
}

async function setUp({ grants = [grant()], uplinks = ['eth0'], memory = PLENTY.bytes } = {}) {
  const instance = new FakeInstance()
  const record = new Record()
  const portManager = new PortManager(instance, grants, { ...PLENTY, bytes: memory }, record.log)
  await portManager.manage(uplinks, 'unspecified')
  const client = (who: Credentials) => {
    const client = new FakeOwner(who)
    portManager.join(client)
    return client
  }
  return { instance, record, portManager, client, alice: client(ALICE) }
}

const port = { uplink: 'eth0', addresses: ['192.0.2.10/24'] }
const codeOf = async (t: ExecutionContext, promise: Promise<unknown>) =>
  (await t.throwsAsync(promise, { instanceOf: XsknetError }))?.code

test('what the policy counts is what is made: the daemon fills in sizes', async (t) => {
  const { instance, portManager, alice } = await setUp()
  await portManager.openPort(alice, { ...port, vlan: null })
  await portManager.openPort(alice, { ...port, ringSize: 512, frameSize: 4096, name: 'b', vlan: undefined as never })
  t.like(instance.requests[0], { addresses: ['192.0.2.10'], ringSize: 4096, frames: 8192, frameSize: 2048 })
  t.is(instance.requests[0]?.vlan, null)
  t.like(instance.requests[1], { name: 'b', ringSize: 512, frames: 1024, frameSize: 4096 })
})

test('a UMEM in huge pages fills them, and all of it counts', async (t) => {
  const { instance, portManager, client } = await setUp()
  const root = client({ ...ALICE, uid: 0 })
  for (const hugePages of ['prefer', 'require'] as const) {
    await portManager.openPort(root, { ...port, hugePages, frames: 1000 })
    await portManager.openPort(root, { ...port, hugePages, frames: 1025, frameSize: 4096 })
  }
  t.deepEqual(
    instance.requests.map(({ frames }) => frames),
    [1024, 1536, 1024, 1536],
  )
})

test('addresses come back with the prefix that was asked for, and link-local ones with /64', async (t) => {
  const { instance, portManager, alice } = await setUp()
  const openPort = instance.openPort.bind(instance)
  instance.openPort = async (uplink, request, terms) => {
    const opened = await openPort(uplink, request, terms)
    return { ...opened, info: { ...opened.info, addresses: [...request.addresses, 'fe80::ff:fe00:10'] } }
  }
  const { info } = await portManager.openPort(alice, {
    uplink: 'eth0',
    addresses: ['192.0.2.10/24', '2001:DB8:0::10', '192.0.2.11'],
  })
  t.deepEqual(info.addresses, ['192.0.2.10/24', '2001:db8::10/128', '192.0.2.11/32', 'fe80::ff:fe00:10/64'])
})

for (const [what, request, code] of [
  ['no address', { addresses: [] }, 'ERR_XSKNET_ADDRESS_MISSING'],
  ['no address and an empty list of flows', { addresses: undefined, flows: [] }, 'ERR_XSKNET_ADDRESS_MISSING'],
  ['no address and a MAC of its own', { addresses: [], flows: ['udp'], mac: 'own' }, 'ERR_XSKNET_NOT_SUPPORTED'],
  ['no address and flows that are not granted', { addresses: [], flows: ['udp'] }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['no address at all', { addresses: ['card0'] }, 'ERR_XSKNET_ADDRESS_INVALID'],
  ['the uplink’s MAC', { mac: 'uplink' }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['VLAN 0', { vlan: 0 }, 'ERR_XSKNET_VLAN_INVALID'],
  ['VLAN 4095', { vlan: 4095 }, 'ERR_XSKNET_VLAN_INVALID'],
  ['another NIC', { uplink: 'eth1' }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['a foreign address', { addresses: ['198.51.100.1'] }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['too much memory', { frames: 2 ** 20 }, 'ERR_XSKNET_LIMIT_REACHED'],
  ['more queues than were granted', { queues: 2 }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['busy polling', { busyPoll: { spinMicroseconds: 1, budget: 1 } }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['huge pages', { hugePages: 'require' }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['huge pages perhaps', { hugePages: 'prefer' }, 'ERR_XSKNET_NOT_PERMITTED'],
  ['BPF rings', { rings: 'bpf' }, 'ERR_XSKNET_NOT_PERMITTED'],
] as const) {
  test(`${what}: ${code}, and nothing was touched`, async (t) => {
    const { instance, portManager, alice } = await setUp()
    t.is(await codeOf(t, portManager.openPort(alice, { ...port, ...request } as never)), code)
    t.deepEqual(instance.requests, [])
  })
}

test('an invalid request is refused before a forbidden one, and reveals nothing of an unknown uplink', async (t) => {
  const { instance, portManager, client, alice } = await setUp({ uplinks: ['eth0', 'eth1'] })
  instance.failures.set('check', refusal('ERR_XSKNET_LAYOUT_INVALID'))
  const foreign = { ...port, addresses: ['198.51.100.1'] }
  const huge = { ...port, frames: 2 ** 20, ringSize: 100 }
  for (const request of [foreign, huge, { ...port, queues: 8 }]) {
    t.is(await codeOf(t, portManager.openPort(alice, request)), 'ERR_XSKNET_LAYOUT_INVALID')
  }
  const pinned = portManager.openPinnedPort(alice, foreign, new FakeDescriptors(1))
  t.is(await codeOf(t, pinned), 'ERR_XSKNET_LAYOUT_INVALID')
  t.like(instance.checked[1]?.[1], {
    ringSize: 100,
    frames: 2 ** 20,
    frameSize: 2048,
    addresses: ['192.0.2.10'],
  } as never)
  const checked = () => instance.checked.map(([uplink]) => uplink)
  t.deepEqual(checked(), ['eth0', 'eth0', 'eth0', 'eth0'])
  for (const uplink of ['eth1', 'eth2']) await codeOf(t, portManager.openPort(alice, { ...port, uplink }))
  await codeOf(t, portManager.openPort(client(ROOT), { ...port, uplink: 'eth1' }))
  t.deepEqual(checked().slice(4), [undefined, undefined, 'eth1'])
  // A grant for an address that no host can have would not help.
  instance.failures.clear()
  t.is(
    await codeOf(t, portManager.openPort(alice, { ...port, addresses: ['198.51.100.255/24'] })),
    'ERR_XSKNET_ADDRESS_INVALID',
  )
  t.deepEqual(instance.requests, [])
})

test('requests at the same time cannot pass the limit together', async (t) => {
  const { instance, portManager, alice } = await setUp()
  const letGo = instance.hold()
  const opening = Array.from({ length: 5 }, () => portManager.openPort(alice, port))
  await until('two openings', () => instance.waiting === 2)
  letGo()
  const ends = await Promise.allSettled(opening)
  t.deepEqual(
    ends.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'rejected', 'rejected'],
  )
})

test('connections of one user share its limit, those of others do not', async (t) => {
  const { portManager, alice, client } = await setUp({ grants: [grant(), grant({ holder: { uid: BOB.uid } })] })
  const [second, bob] = [client(user(ALICE.uid)), client(BOB)]
  await portManager.openPort(alice, port)
  await portManager.openPort(second, port)
  t.is(await codeOf(t, portManager.openPort(second, port)), 'ERR_XSKNET_LIMIT_REACHED')
  await t.notThrowsAsync(portManager.openPort(bob, port))
})

test('the memory of every queue counts', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ queues: 4, memory: 48 * MiB })] })
  t.is(await codeOf(t, portManager.openPort(alice, { ...port, queues: 4 })), 'ERR_XSKNET_LIMIT_REACHED')
  const { sockets } = await portManager.openPort(alice, { ...port, queues: 3 })
  t.is(sockets.length, 3)
  t.is(instance.handedOut[0]?.length, 6)
  t.is(await codeOf(t, portManager.openPort(alice, port)), 'ERR_XSKNET_LIMIT_REACHED')
})

test('all ports together, root’s included, stay within the memory limit, and nothing is built beyond it', async (t) => {
  const grants = [grant({ ports: 9, memory: 2 ** 40 }), grant({ holder: { uid: BOB.uid }, memory: 2 ** 40 })]
  const { instance, portManager, client, alice } = await setUp({ grants, memory: 48 * MiB })
  const [root, bob] = [client(ROOT), client(BOB)]
  const huge = portManager.openPort(root, { ...port, frames: 2 ** 20, frameSize: 4096, queues: 8 })
  const error = await t.throwsAsync<XsknetError>(huge, { code: 'ERR_XSKNET_LIMIT_REACHED' })
  t.is(
    error?.message,
    '34359738368 more bytes of UMEM would exceed the limit of 50331648 bytes for all ports together, ' +
      'of which 0 are in use',
  )
  t.is(error?.hint, 'Request fewer queues, or fewer or smaller frames, close a port, or raise `memory` under [daemon].')
  t.deepEqual(error?.details, { uid: 0, limit: 'memory of all ports', asked: 2 ** 35, most: 48 * MiB, has: 0 })
  t.deepEqual(instance.requests, [])
  await portManager.openPort(alice, port)
  await portManager.openPort(root, port)
  const { info } = await portManager.openPort(bob, port)
  for (const asks of [client(ROOT), alice])
    t.is(await codeOf(t, portManager.openPort(asks, port)), 'ERR_XSKNET_LIMIT_REACHED')
  // What others have is told to root alone.
  const refused = await t.throwsAsync<XsknetError>(portManager.openPort(alice, port))
  t.is(refused?.message, '16777216 more bytes of UMEM would exceed the limit of 50331648 bytes for all ports together')
  t.deepEqual(refused?.details, { uid: ALICE.uid, limit: 'memory of all ports', asked: 16 * MiB, most: 48 * MiB })
  await portManager.closePort(bob, info.port)
  await t.notThrowsAsync(portManager.openPort(alice, port))
})

test('requests at the same time cannot pass the daemon’s memory together', async (t) => {
  const { instance, portManager, client } = await setUp({ memory: 40 * MiB })
  const letGo = instance.hold()
  const opening = Array.from({ length: 4 }, () => portManager.openPort(client(ROOT), port))
  await until('two openings', () => instance.waiting === 2)
  letGo()
  const ends = (await Promise.allSettled(opening)).map(({ status }) => status)
  t.deepEqual(ends, ['fulfilled', 'fulfilled', 'rejected', 'rejected'])
})

test('what closed ports of another user have still counts, and is waited for', async (t) => {
  const { instance, portManager, client, alice } = await setUp({ memory: 24 * MiB })
  instance.keeps = true
  const root = client(ROOT)
  const { info } = await portManager.openPort(root, port)
  await portManager.closePort(root, info.port)
  const waiting = portManager.openPort(alice, port)
  await rest()
  t.is(instance.requests.length, 1, 'it waits')
  instance.kept.get(info.port)?.()
  await t.notThrowsAsync(waiting)
})

test('ports on one UMEM count as ports, and their memory once, until the last is closed', async (t) => {
  const { instance, portManager, alice, client } = await setUp({ grants: [grant({ ports: 3, memory: 16 * MiB })] })
  const first = await portManager.openPort(alice, port)
  const onto = { ...port, umemOf: { port: first.info.port, inFill: [[0, 64]] as [number, number][] } }
  const second = await portManager.openPort(alice, onto)
  const third = await portManager.openPort(alice, { ...onto, ringSize: 512 })
  t.like(instance.requests[1], { umemOf: onto.umemOf, queues: 1, ringSize: 4096, frames: undefined })
  t.deepEqual(
    instance.handedOut.map(({ length }) => length),
    [2, 1, 1],
  )
  t.is(await codeOf(t, portManager.openPort(alice, onto)), 'ERR_XSKNET_LIMIT_REACHED', 'a fourth port')
  await portManager.closePort(alice, first.info.port)
  t.is(await codeOf(t, portManager.openPort(alice, port)), 'ERR_XSKNET_LIMIT_REACHED', 'the memory is still in use')
  t.is(await codeOf(t, portManager.openPort(alice, onto)), 'ERR_XSKNET_PORT_UNKNOWN')
  const byTheSecond = { ...onto, umemOf: { ...onto.umemOf, port: second.info.port } }
  const fourth = await portManager.openPort(alice, byTheSecond)
  t.is(
    await codeOf(t, portManager.openPort(client(ALICE), byTheSecond)),
    'ERR_XSKNET_PORT_UNKNOWN',
    'another connection',
  )
  for (const { info } of [second, third, fourth]) await portManager.closePort(alice, info.port)
  await t.notThrowsAsync(portManager.openPort(alice, port))
})

for (const [what, changed, code] of [
  ['another size of frames', { frameSize: 4096 }, 'ERR_XSKNET_LAYOUT_INVALID'],
  ['more frames', { frames: 64 }, 'ERR_XSKNET_LAYOUT_INVALID'],
  ['huge pages', { hugePages: 'prefer' }, 'ERR_XSKNET_LAYOUT_INVALID'],
  ['several chunks a frame', { multiBuffer: true }, 'ERR_XSKNET_LAYOUT_INVALID'],
  ['several queues', { queues: 2 }, 'ERR_XSKNET_NOT_SUPPORTED'],
  ['BPF rings', { rings: 'bpf' }, 'ERR_XSKNET_NOT_SUPPORTED'],
] as const) {
  test(`a port on another's UMEM cannot have ${what}`, async (t) => {
    const { instance, portManager, alice } = await setUp()
    const { info } = await portManager.openPort(alice, port)
    const onto = { ...port, umemOf: { port: info.port, inFill: [] }, ...changed }
    t.is(await codeOf(t, portManager.openPort(alice, onto)), code)
    t.is(instance.requests.length, 1)
  })
}

/** Bytes of a queue's BPF rings. */
const RINGS = 114_752

test('BPF rings are made for users with a grant for them, and for root', async (t) => {
  const { instance, portManager, alice, client } = await setUp({ grants: [grant({ bpfRings: true })] })
  for (const [who, rings] of [
    [alice, 'bpf'],
    [alice, 'auto'],
    [client(ROOT), 'bpf'],
  ] as const) {
    const { info, sockets, descriptors } = await portManager.openPort(who, { ...port, ringSize: 64, rings })
    t.is(info.rings, 'bpf')
    t.deepEqual(info.attempts, [])
    t.is(sockets[0]?.rings?.rxSlots, 64)
    t.is(descriptors.length, 5)
    t.is(instance.requests.at(-1)?.rings, rings)
  }
  t.deepEqual(
    portManager.portsFor(ROOT).map(({ rings }) => rings),
    ['bpf', 'bpf', 'bpf'],
  )
})

test('a port that can do without BPF rings gets AF_XDP where no grant allows them, and is told why', async (t) => {
  const { instance, portManager, alice } = await setUp()
  const { info, descriptors } = await portManager.openPort(alice, { ...port, rings: 'auto' })
  t.is(instance.requests[0]?.rings, 'xsk')
  t.is(info.rings, 'xsk')
  t.is(descriptors.length, 2)
  const why = `user ${ALICE.uid} may not use BPF rings on the uplink eth0`
  t.deepEqual(info.attempts, [{ hook: 'rings', step: 'bpf', code: null, why }])
})

test('with `auto`, a port gets AF_XDP if the grant’s memory does not suffice for BPF rings', async (t) => {
  const { portManager, alice } = await setUp({ grants: [grant({ bpfRings: true, memory: 16 * MiB })] })
  t.is(await codeOf(t, portManager.openPort(alice, { ...port, rings: 'bpf' })), 'ERR_XSKNET_LIMIT_REACHED')
  const { info } = await portManager.openPort(alice, { ...port, rings: 'auto' })
  t.is(info.rings, 'xsk')
  t.regex(info.attempts[0]?.why ?? '', /requests 16891968 more; the limit is 16777216$/)
})

test('BPF rings count against the memory of the grant, for each queue', async (t) => {
  const memory = 2 * (2 * 64 * 2048 + RINGS)
  for (const [granted, code] of [
    [memory - 1, 'ERR_XSKNET_LIMIT_REACHED'],
    [memory, undefined],
  ] as const) {
    const { portManager, alice } = await setUp({ grants: [grant({ bpfRings: true, queues: 2, memory: granted })] })
    const opening = portManager.openPort(alice, { ...port, queues: 2, ringSize: 64, rings: 'bpf' })
    if (code) t.is(await codeOf(t, opening), code)
    else t.is((await opening).descriptors.length, 10)
  }
})

test('the memory of BPF rings that a port did not get does not count', async (t) => {
  const memory = 2 * (2 * 64 * 2048) + RINGS
  const { instance, portManager, alice } = await setUp({ grants: [grant({ bpfRings: true, memory })] })
  instance.transmits = false
  const small = { ...port, ringSize: 64, rings: 'auto' } as const
  const first = await portManager.openPort(alice, small)
  t.is(first.info.rings, 'xsk')
  const second = await portManager.openPort(alice, small)
  for (const { info } of [first, second]) await portManager.closePort(alice, info.port)
  instance.transmits = true
  t.is((await portManager.openPort(alice, small)).info.rings, 'bpf')
  t.is(await codeOf(t, portManager.openPort(alice, small)), 'ERR_XSKNET_LIMIT_REACHED')
})

test("a port on another's UMEM has AF_XDP's rings, if it can do without BPF rings", async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ bpfRings: true })] })
  const { info } = await portManager.openPort(alice, port)
  const second = await portManager.openPort(alice, { ...port, umemOf: { port: info.port, inFill: [] }, rings: 'auto' })
  t.is(second.info.rings, 'xsk')
  t.is(instance.requests[1]?.rings, undefined)
})

test('what failed to open counts no more', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ ports: 1, memory: 16 * MiB })] })
  for (let round = 0; round < 3; round++) {
    instance.failures.set('openPort', refusal('ERR_XSKNET_ADDRESS_TAKEN'))
    t.is(await codeOf(t, portManager.openPort(alice, port)), 'ERR_XSKNET_ADDRESS_TAKEN')
  }
  await t.notThrowsAsync(portManager.openPort(alice, port))
})

test('what was closed counts until it is undone, and then no more', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ ports: 1 })] })
  const { info } = await portManager.openPort(alice, port)
  const letGo = instance.hold()
  const closing = portManager.closePort(alice, info.port)
  // Not refused: it waits for the room that is about to be free.
  const opening = portManager.openPort(alice, port)
  await until('the closing', () => instance.waiting === 1)
  t.is(instance.requests.length, 1)
  letGo()
  await closing
  t.is((await opening).info.port, 2)
})

test('the grant says on what terms a port is opened, for root there are none', async (t) => {
  const rates = { broadcast: { perSecond: 5, burst: 5 } }
  const { instance, portManager, alice, client } = await setUp({
    grants: [
      grant({ ports: 9, routing: true, busyPoll: true, hugePages: true, rates }),
      grant({ ports: 9, innerTags: true }),
    ],
  })
  await portManager.openPort(alice, { ...port, busyPoll: { spinMicroseconds: 1, budget: 1 }, hugePages: 'prefer' })
  const { info } = await portManager.openPort(client(ROOT), port)
  t.is(info.port, 2)
  t.deepEqual(instance.terms, [
    { uid: ALICE.uid, innerTags: false, routing: true, rates },
    { uid: 0, innerTags: true, routing: true, rates: {} },
  ])
})

test('a port on the UMEM of another one has terms too, and needs the grant for busy polling', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ routing: true })] })
  const first = await portManager.openPort(alice, port)
  const onto = { ...port, umemOf: { port: first.info.port, inFill: [] } }
  await portManager.openPort(alice, onto)
  t.deepEqual(instance.terms[1], { uid: ALICE.uid, innerTags: false, routing: true, rates: RATES })
  const polling = { ...onto, busyPoll: { spinMicroseconds: 1, budget: 1 } }
  t.is(await codeOf(t, portManager.openPort(alice, polling)), 'ERR_XSKNET_NOT_PERMITTED')
})

test('a client whose namespace cannot be told gets no pinned port, and has room as before', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ pinned: true, ports: 1 })] })
  const namespace = new FakeDescriptors(1)
  const own = alice.namespace
  alice.namespace = () => {
    throw refusal('ERR_XSKNET_KERNEL_REFUSED')
  }
  t.is(await codeOf(t, portManager.openPinnedPort(alice, port, namespace)), 'ERR_XSKNET_KERNEL_REFUSED')
  t.is(namespace.fate, 'open')
  t.deepEqual(instance.pinned, [])
  alice.namespace = own
  await t.notThrowsAsync(portManager.openPinnedPort(alice, port, namespace))
})

/** Closed ports whose sockets somebody keeps. */
async function withRemains({ grants = [grant({ ports: 2, memory: 32 * MiB })], ports = 2 } = {}) {
  const scene = await setUp({ grants })
  const { instance, portManager, alice } = scene
  instance.keeps = true
  const opened = []
  for (let n = 0; n < ports; n++) opened.push((await portManager.openPort(alice, port)).info.port)
  for (const key of opened) await portManager.closePort(alice, key)
  return scene
}

/** For serial tests, which are over before others of the file begin. */
function withTimers(t: ExecutionContext) {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
}

test.serial(
  'a closed port counts against the grant until its sockets are gone, and an opening waits for that',
  async (t) => {
    withTimers(t)
    const { instance, portManager, alice } = await withRemains()
    t.is(portManager.portCountFor(ROOT), 0)
    const opening = portManager.openPort(alice, port)
    await rest()
    t.is(instance.requests.length, 2)
    instance.free(1)
    t.is((await opening).info.port, 3)
    t.is(instance.requests.length, 3)
  },
)

test.serial(
  'who waits for the sockets of closed ports is refused after two seconds, and told what is held',
  async (t) => {
    withTimers(t)
    const { instance, portManager, alice } = await withRemains()
    const refused = t.throwsAsync<XsknetError>(portManager.openPort(alice, port))
    await rest()
    mock.timers.tick(1999)
    await rest()
    t.is(instance.requests.length, 2)
    mock.timers.tick(1)
    const error = await refused
    t.is(error?.code, 'ERR_XSKNET_LIMIT_REACHED')
    t.like(error?.details, { limit: 'ports', has: 2, lingering: 32 * MiB })
    t.regex(
      error?.message ?? '',
      /; 33554432 bytes are still held by 2 closed ports whose descriptors were not closed$/,
    )
    t.regex(
      error?.hint ?? '',
      /^Close the descriptors of closed ports in every process that has them, or raise `ports`/,
    )
    instance.free(2)
    await t.notThrowsAsync(portManager.openPort(alice, port))
  },
)

test.serial('a port that needs all that is held waits until the last of it is gone', async (t) => {
  withTimers(t)
  const { instance, portManager, alice } = await withRemains()
  const opening = portManager.openPort(alice, { ...port, frames: 16_384 })
  await rest()
  instance.free(2)
  await rest()
  t.is(instance.requests.length, 2)
  instance.free(1)
  t.is((await opening).info.port, 3)
})

test('what would be refused all the same is refused at once', async (t) => {
  const { instance, portManager, alice } = await withRemains({ ports: 1 })
  const error = await t.throwsAsync<XsknetError>(portManager.openPort(alice, { ...port, frames: 16_385 }))
  t.like(error?.details, { limit: 'memory', has: 16 * MiB, lingering: 16 * MiB })
  t.regex(error?.message ?? '', /; 16777216 bytes are still held by 1 closed port whose/)
  t.is(
    await codeOf(t, portManager.openPort(alice, { ...port, addresses: ['198.51.100.1'] })),
    'ERR_XSKNET_NOT_PERMITTED',
  )
  t.is(instance.requests.length, 1)
})

test('what remains of a user counts for no other one, and beyond the connection', async (t) => {
  const grants = [grant({ ports: 1 }), grant({ holder: { uid: BOB.uid } })]
  const { instance, portManager, alice, client } = await setUp({ grants })
  instance.keeps = true
  await portManager.openPort(alice, port)
  await portManager.leave(alice)
  const error = await t.throwsAsync<XsknetError>(portManager.openPort(client(BOB), { ...port, frames: 2 ** 20 }))
  t.false('lingering' in (error?.details ?? {}))
  await t.notThrowsAsync(portManager.openPort(client(BOB), port))
  const again = client(ALICE)
  const opening = portManager.openPort(again, port)
  await rest()
  t.is(instance.requests.length, 2)
  instance.free(1)
  await t.notThrowsAsync(opening)
})

test('a lost port counts until its sockets are gone', async (t) => {
  const { instance, record, portManager, alice } = await setUp({ grants: [grant({ ports: 1 })] })
  instance.keeps = true
  await portManager.openPort(alice, port)
  instance.lose({ uplink: 'eth0', port: 1 })
  await until('the cleaning', () => record.of('port-closed').length === 1)
  const opening = portManager.openPort(alice, port)
  await rest()
  t.is(instance.requests.length, 1)
  instance.free(1)
  await t.notThrowsAsync(opening)
})

test('a port that cannot be undone counts until its sockets are gone', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ ports: 1 })] })
  instance.keeps = true
  const { info } = await portManager.openPort(alice, port)
  instance.failures.set('closePort', refusal('ERR_XSKNET_KERNEL_REFUSED'))
  await portManager.closePort(alice, info.port)
  const opening = portManager.openPort(alice, port)
  await rest()
  t.is(instance.requests.length, 1)
  instance.free(1)
  await t.notThrowsAsync(opening)
})

test('a shared UMEM counts until its last socket is gone, and lingers from the last close on', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ ports: 9, memory: 16 * MiB })] })
  instance.keeps = true
  const first = await portManager.openPort(alice, port)
  const second = await portManager.openPort(alice, { ...port, umemOf: { port: first.info.port, inFill: [] } })
  const refused = async () =>
    (await t.throwsAsync<XsknetError>(portManager.openPort(alice, { ...port, frames: 8193 })))?.details
  await portManager.closePort(alice, first.info.port)
  t.like(await refused(), { has: 16 * MiB, lingering: 0 })
  await portManager.closePort(alice, second.info.port)
  t.like(await refused(), { has: 16 * MiB, lingering: 16 * MiB })
  instance.free(first.info.port)
  await rest()
  const opening = portManager.openPort(alice, port)
  await rest()
  t.is(instance.requests.length, 2)
  instance.free(second.info.port)
  await t.notThrowsAsync(opening)
  t.like(await refused(), { has: 16 * MiB })
})

test('an opening that waits for a closed port’s resources ends when its client or the daemon ends', async (t) => {
  const { instance, portManager, alice, client } = await withRemains()
  const [first, second] = [alice, client(ALICE)].map((who) => codeOf(t, portManager.openPort(who, port)))
  await rest()
  await portManager.leave(alice)
  t.is(await first, 'ERR_XSKNET_PORT_UNKNOWN')
  const closing = portManager.close()
  t.is(await second, 'ERR_XSKNET_UPLINK_CLOSED')
  await closing
  t.is(instance.requests.length, 2)
})

test('resources that are freed admit one waiting opening, not all', async (t) => {
  const { instance, portManager, alice } = await withRemains({ ports: 1, grants: [grant({ ports: 1 })] })
  const opening = [0, 1, 2].map(() => portManager.openPort(alice, port))
  await rest()
  instance.keeps = false
  instance.free(1)
  const ends = await Promise.allSettled(opening)
  t.deepEqual(
    ends.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  )
})

test('a port is closed by its own connection alone', async (t) => {
  const { portManager, alice, client } = await setUp()
  const { info } = await portManager.openPort(alice, port)
  for (const other of [client(ALICE), client(BOB), client(ROOT)]) {
    t.is(await codeOf(t, portManager.closePort(other, info.port)), 'ERR_XSKNET_PORT_UNKNOWN')
  }
  await portManager.closePort(alice, info.port)
  t.is(await codeOf(t, portManager.closePort(alice, info.port)), 'ERR_XSKNET_PORT_UNKNOWN')
})

test('two closings at once close once', async (t) => {
  const { instance, record, portManager, alice } = await setUp()
  const { info } = await portManager.openPort(alice, port)
  const ends = await Promise.allSettled([
    portManager.closePort(alice, info.port),
    portManager.closePort(alice, info.port),
  ])
  t.deepEqual(
    ends.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  )
  t.deepEqual(
    instance.did.filter((did) => did.startsWith('closePort')),
    ['closePort 1'],
  )
  t.is(record.of('port-closed').length, 1)
})

test('a port that cannot be undone is logged and blocks no opening', async (t) => {
  const { instance, record, portManager, alice } = await setUp({ grants: [grant({ ports: 1 })] })
  const { info } = await portManager.openPort(alice, port)
  instance.failures.set('closePort', refusal('ERR_XSKNET_KERNEL_REFUSED', 'the veth stayed'))
  await portManager.closePort(alice, info.port)
  t.like(record.of('port-close-failed')[0], { port: 1, message: 'the veth stayed' })
  await t.notThrowsAsync(portManager.openPort(alice, port))
})

test('a client that disconnects loses all its ports and no other', async (t) => {
  const { instance, portManager, alice, client } = await setUp()
  const other = client(ALICE)
  await portManager.openPort(alice, port)
  await portManager.openPort(other, port)
  await portManager.leave(alice)
  t.deepEqual([...instance.open], [2])
  t.deepEqual(
    portManager.portsFor(ALICE).map((entry) => entry.port),
    [2],
  )
})

test('a client that disconnects during an opening: the port and its descriptors are closed once ready', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ ports: 1 })] })
  const letGo = instance.hold()
  const opening = portManager.openPort(alice, port)
  await until('the opening', () => instance.waiting === 1)
  await portManager.leave(alice)
  letGo()
  t.is(await codeOf(t, opening), 'ERR_XSKNET_PORT_UNKNOWN')
  t.deepEqual([...instance.open], [])
  t.true(instance.handedOut[0]?.closed)
  const again = new FakeOwner(ALICE)
  portManager.join(again)
  await t.notThrowsAsync(portManager.openPort(again, port))
})

test('a client that reconnects while its former port is still being opened finds its quota free', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ ports: 1 })] })
  const letGo = instance.hold()
  const abandoned = portManager.openPort(alice, port)
  await until('the opening', () => instance.waiting === 1)
  await portManager.leave(alice)
  const again = new FakeOwner(ALICE)
  portManager.join(again)
  const opening = portManager.openPort(again, port)
  letGo()
  t.is(await codeOf(t, abandoned), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is((await opening).info.port, 2)
  t.deepEqual([...instance.open], [2])
})

test('a client that has not joined opens nothing', async (t) => {
  const { instance, portManager } = await setUp()
  await t.throwsAsync(portManager.openPort(new FakeOwner(ROOT), port))
  t.deepEqual(instance.requests, [])
})

test('a lost port is told to its client and cleaned up; others go on', async (t) => {
  const { instance, record, portManager, alice, client } = await setUp()
  const root = client(ROOT)
  await portManager.openPort(alice, port)
  await portManager.openPort(root, port)
  instance.lose({ uplink: 'eth0', port: 1 })
  t.like(alice.heard, [[1, 'ERR_XSKNET_PORT_LOST']] as never)
  t.deepEqual(root.heard, [])
  await until('the cleaning', () => record.of('port-closed').length === 1)
  t.deepEqual([...instance.open], [2])
  // What the kernel says twice is told once.
  instance.lose({ uplink: 'eth0', port: 1 })
  t.is(alice.heard.length, 1)
})

const pinnedGrant = { grants: [grant({ pinned: true, memory: 1 })] }

test('a pinned port goes to the namespace, its pin to the client, and its memory counts nothing', async (t) => {
  const { instance, record, portManager, alice } = await setUp(pinnedGrant)
  const namespace = new FakeDescriptors(1)
  const granted = await portManager.openPinnedPort(alice, { ...port, name: 'p', mtu: 1400 }, namespace)
  t.deepEqual(granted.pinned, { xsks: '/sys/fs/bpf/xsknet/lab/v1/eth0/port-1/xsks', device: 'i1', queue: 0 })
  t.like(granted.info, { port: 1, name: 'p', addresses: ['192.0.2.10/24'] })
  t.false('bindMode' in granted.info)
  t.is(namespace.fate, 'taken')
  t.like(instance.pinned[0], { owner: { uid: ALICE.uid, gid: ALICE.gid }, announced: true })
  t.deepEqual(instance.terms, [{ uid: ALICE.uid, innerTags: false, routing: false, rates: RATES }])
  t.deepEqual(instance.pinned[0]?.own, alice.namespaces[0])
  t.is(alice.namespaces[0]?.fate, 'taken')
  t.deepEqual(instance.pinned[0]?.request, { addresses: ['192.0.2.10'], name: 'p', mtu: 1400 })
  t.like(record.of('port-opened')[0], { port: 1, pinned: true })
  await portManager.closePort(alice, 1)
  t.deepEqual([...instance.open], [])
})

for (const [what, request, code] of [
  ['no grant for it', {}, 'ERR_XSKNET_NOT_PERMITTED'],
  ['no address', { addresses: [] }, 'ERR_XSKNET_ADDRESS_MISSING'],
] as const) {
  test(`a pinned port with ${what}: ${code}, and the namespace is the caller’s still`, async (t) => {
    const { instance, portManager, alice } = await setUp()
    const namespace = new FakeDescriptors(1)
    t.is(await codeOf(t, portManager.openPinnedPort(alice, { ...port, ...request } as never, namespace)), code)
    t.is(namespace.fate, 'open')
    t.deepEqual(instance.pinned, [])
  })
}

test('a client that disconnects during the opening of a pinned port: the port is closed once ready', async (t) => {
  const { instance, portManager, alice } = await setUp(pinnedGrant)
  const letGo = instance.hold()
  const opening = portManager.openPinnedPort(alice, port, new FakeDescriptors(1))
  await until('the opening', () => instance.waiting === 1)
  await portManager.leave(alice)
  letGo()
  t.is(await codeOf(t, opening), 'ERR_XSKNET_PORT_UNKNOWN')
  t.deepEqual([...instance.open], [])
})

test('a socket is shared by the connection of its port alone, and only for a pinned one', async (t) => {
  const { instance, portManager, alice, client } = await setUp({ grants: [grant({ pinned: true })] })
  await portManager.openPinnedPort(alice, port, new FakeDescriptors(1))
  await portManager.openPort(alice, port)
  const socket = new FakeDescriptors(1)
  t.is(await codeOf(t, portManager.shareSocket(client(ALICE), 1, socket)), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is(await codeOf(t, portManager.shareSocket(alice, 9, socket)), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is(await codeOf(t, portManager.shareSocket(alice, 2, socket)), 'ERR_XSKNET_SOCKET_REFUSED')
  t.is(socket.fate, 'open')
  await portManager.shareSocket(alice, 1, socket)
  t.is(socket.fate, 'taken')
  t.deepEqual(instance.shared, [1])
})

test('a pinned port whose client changed its end is lost with that reason', async (t) => {
  const { instance, record, portManager, alice } = await setUp(pinnedGrant)
  await portManager.openPinnedPort(alice, port, new FakeDescriptors(1))
  const lost: XsknetError[] = []
  alice.portLost = (_, error) => void lost.push(error)
  const change = 'its MTU was changed from 1500 to 1400'
  instance.lose({ uplink: 'eth0', port: 1, change })
  t.is(lost[0]?.message, `port 1 \`port-1\` on eth0 is lost: ${change}`)
  t.like(lost[0]?.details, { port: 1, change })
  t.regex(lost[0]?.hint ?? '', /^Do not change i1, and open a new port/)
  await until('the cleaning', () => record.of('port-closed').length === 1)
  t.like(record.of('port-closed')[0], { why: change })
})

test('a loss during the closing of its port is not reported', async (t) => {
  const { instance, portManager, alice } = await setUp()
  const { info } = await portManager.openPort(alice, port)
  const closing = portManager.closePort(alice, info.port)
  instance.lose({ uplink: 'eth0', port: info.port })
  await closing
  t.deepEqual(alice.heard, [])
})

test('a lost uplink takes its ports along, notifies its users, and is released after the ports', async (t) => {
  const both = [grant({ uplinks: ['eth0', 'eth1'] }), grant({ holder: { uid: BOB.uid }, uplinks: ['eth1'] })]
  const { instance, portManager, alice, client } = await setUp({ grants: both, uplinks: ['eth0', 'eth1'] })
  const [bob, root] = [client(BOB), client(ROOT)]
  await portManager.openPort(alice, port)
  await portManager.openPort(alice, { ...port, uplink: 'eth1' })
  instance.lose({ uplink: 'eth0' })
  instance.lose({ uplink: 'eth0' })
  t.deepEqual(
    alice.heard.map(([what, code]) => [what, code]),
    [
      [1, 'ERR_XSKNET_PORT_LOST'],
      ['eth0', 'ERR_XSKNET_UPLINK_CLOSED'],
    ],
  )
  t.deepEqual(bob.heard, [])
  t.deepEqual(
    root.heard.map(([what]) => what),
    ['eth0'],
  )
  t.deepEqual(
    portManager.uplinksFor(ROOT).map(({ uplink }) => uplink),
    ['eth1'],
  )
  await until('the release', () => instance.did.includes('release eth0'))
  t.deepEqual(instance.did.slice(-2), ['closePort 1', 'release eth0'])
  await portManager.close()
  t.is(instance.did.filter((did) => did === 'release eth0').length, 1)
})

test('an uplink that goes while a port is being opened on it', async (t) => {
  const { instance, portManager, alice } = await setUp()
  const letGo = instance.hold()
  const opening = portManager.openPort(alice, port)
  await until('the opening', () => instance.waiting === 1)
  instance.lose({ uplink: 'eth0' })
  letGo()
  t.is(await codeOf(t, opening), 'ERR_XSKNET_PORT_LOST')
  t.deepEqual([...instance.open], [])
  t.true(instance.handedOut[0]?.closed)
})

test('ports are counted for their user, and all for root', async (t) => {
  const { portManager, alice, client } = await setUp()
  await portManager.openPort(client(ROOT), port)
  await portManager.openPort(alice, port)
  t.deepEqual(
    [ROOT, ALICE, BOB].map((who) => portManager.portCountFor(who)),
    [2, 1, 0],
  )
})

test('ports are listed for their user, and all for root', async (t) => {
  const { portManager, alice, client } = await setUp()
  await portManager.openPort(client(ROOT), { ...port, name: 'roots' })
  await portManager.openPort(alice, { ...port, name: 'hers' })
  t.deepEqual(
    portManager.portsFor(ROOT).map(({ port, name, uid, pid }) => [port, name, uid, pid]),
    [
      [1, 'roots', 0, 1000],
      [2, 'hers', 1001, 2001],
    ],
  )
  t.deepEqual(
    portManager.portsFor(ALICE).map(({ name }) => name),
    ['hers'],
  )
  t.deepEqual(portManager.portsFor(BOB), [])
})

test('statistics of a port are for its user and root, those of an uplink for users with a grant for it', async (t) => {
  const { portManager, alice } = await setUp()
  await portManager.openPort(alice, port)
  await t.notThrowsAsync(portManager.portStatistics(ALICE, 1))
  await t.notThrowsAsync(portManager.portStatistics(ROOT, 1))
  t.is(await codeOf(t, portManager.portStatistics(BOB, 1)), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is(await codeOf(t, portManager.portStatistics(ROOT, 2)), 'ERR_XSKNET_PORT_UNKNOWN')
  await t.notThrowsAsync(portManager.uplinkStatistics(ALICE, 'eth0'))
  t.is(await codeOf(t, portManager.uplinkStatistics(BOB, 'eth0')), 'ERR_XSKNET_NOT_PERMITTED')
})

const PACKET = new Uint8Array(60)
const STEPS: Told['steps'] = [
  { step: 'mac', mac: '02:00:00:00:00:01', vlan: null, port: 2 },
  { step: 'flow', port: 2, flow: 'udp dst port 53' },
  { step: 'flow', port: null, flow: null },
  { step: 'flow', port: 1, flow: 'udp' },
  { step: 'fragment', port: 2 },
  { step: 'target', address: '192.0.2.9', port: 1 },
  { step: 'destination', address: '192.0.2.17', port: 2 },
  { step: 'source', address: '192.0.2.9', own: true },
  { step: 'rate', kind: 'unicast', limited: true, known: true, within: true },
]

/** Port 1 is Alice's, port 2 Bob's. */
async function explaining(t: ExecutionContext) {
  const { instance, portManager, alice } = await setUp({
    grants: [grant(), grant({ holder: { uid: BOB.uid }, addresses: ['192.0.2.16/29'] })],
  })
  const bob = new FakeOwner(BOB)
  portManager.join(bob)
  await portManager.openPort(alice, port)
  const { info } = await portManager.openPort(bob, { ...port, addresses: ['192.0.2.17'], name: 'his' })
  t.is(info.port, 2)
  return { instance, portManager }
}

test('a packet that arrives is explained to root, and to the user whose port it is for', async (t) => {
  const { instance, portManager } = await explaining(t)
  const target = { port: 2, queue: 3, rings: 'xsk' } as const
  instance.told = { uplink: 'eth0', counter: 'to_port', rule: 'flow', target, steps: STEPS }
  const named = { ...target, name: 'his' }
  t.deepEqual(await portManager.explainArrival(ROOT, 'eth0', PACKET), { ...instance.told, target: named })
  t.like(await portManager.explainArrival(BOB, 'eth0', PACKET), { counter: 'to_port', rule: 'flow', target: named })
  const elsewhere = { uplink: 'eth0', counter: null, rule: null, target: null, steps: [] }
  t.deepEqual(await portManager.explainArrival(ALICE, 'eth0', PACKET), elsewhere)

  // Neither what is dropped on its way to others, nor what is the host's, can be told from it.
  instance.told = { ...instance.told, counter: 'too_long', rule: 'too_long' }
  t.deepEqual(await portManager.explainArrival(ALICE, 'eth0', PACKET), elsewhere)
  t.like(await portManager.explainArrival(BOB, 'eth0', PACKET), { counter: 'too_long', target: { queue: null } })
  instance.told = { ...instance.told, counter: 'passed', rule: 'unclaimed', target: null }
  t.deepEqual(await portManager.explainArrival(ALICE, 'eth0', PACKET), elsewhere)
  t.like(await portManager.explainArrival(ROOT, 'eth0', PACKET), { counter: 'passed', rule: 'unclaimed' })
  t.is(await codeOf(t, portManager.explainArrival(user(1003), 'eth0', PACKET)), 'ERR_XSKNET_NOT_PERMITTED')
})

test('refused frames are told to the user of their port and to root', async (t) => {
  const { instance, portManager } = await explaining(t)
  t.deepEqual(await portManager.refusals(ALICE, 1), instance.refused)
  t.deepEqual(await portManager.refusals(ROOT, 1), instance.refused)
  const before = instance.did.length
  t.is(await codeOf(t, portManager.refusals(BOB, 1)), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is(await codeOf(t, portManager.refusals(ROOT, 3)), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is(instance.did.length, before, 'the instance is not asked')
})

test('what a port sends is explained to its user, without what is others’', async (t) => {
  const { instance, portManager } = await explaining(t)
  const target = { port: 2, queue: 0, rings: 'bpf' } as const
  instance.told = { uplink: 'eth0', counter: 'to_ring', rule: 'to_mac', target, steps: STEPS }
  t.deepEqual(await portManager.explainSending(ALICE, 1, PACKET), {
    uplink: 'eth0',
    counter: 'to_ring',
    rule: 'to_mac',
    target: { port: null, name: null, queue: null, rings: null },
    steps: [
      { step: 'mac', mac: '02:00:00:00:00:01', vlan: null, port: 'other' },
      { step: 'flow', port: 1, flow: 'udp' },
      { step: 'fragment', port: 'other' },
      { step: 'target', address: '192.0.2.9', port: 1 },
      { step: 'destination', address: '192.0.2.17', port: 'other' },
      { step: 'source', address: '192.0.2.9', own: true },
      { step: 'rate', kind: 'unicast', limited: true, known: null, within: true },
    ],
  })
  t.deepEqual((await portManager.explainSending(ROOT, 1, PACKET)).steps, STEPS)
  const before = instance.did.length
  t.is(await codeOf(t, portManager.explainSending(BOB, 1, PACKET)), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is(await codeOf(t, portManager.explainSending(ROOT, 3, PACKET)), 'ERR_XSKNET_PORT_UNKNOWN')
  t.is(instance.did.length, before, 'the instance is not asked')
})

test('closing tells owners first, then closes ports, cards and the rest, once', async (t) => {
  const { instance, portManager, alice } = await setUp({ uplinks: ['eth0', 'eth1'] })
  await portManager.openPort(alice, port)
  const closing = portManager.close()
  t.regex(alice.heard[0]?.[2] ?? '', /shutting down/)
  t.deepEqual([...instance.did.slice(-1)], ['openPort eth0'])
  t.is(portManager.close(), closing)
  await closing
  t.deepEqual(instance.did.slice(3), ['closePort 1', 'release eth0', 'release eth1', 'close'])
  t.is(await codeOf(t, portManager.openPort(alice, port)), 'ERR_XSKNET_UPLINK_CLOSED')
})

test('closing waits for ports that are being opened, and closes them before the uplinks', async (t) => {
  const { instance, portManager, alice } = await setUp()
  const letGo = instance.hold()
  const opening = portManager.openPort(alice, port)
  await until('the opening', () => instance.waiting === 1)
  const closing = portManager.close()
  letGo()
  t.is(await codeOf(t, opening), 'ERR_XSKNET_UPLINK_CLOSED')
  await closing
  t.deepEqual(instance.did.slice(1), ['openPort eth0', 'closePort 1', 'release eth0', 'close'])
})

test('an uplink that cannot be given back keeps nothing from being undone', async (t) => {
  const { instance, record, portManager } = await setUp({ uplinks: ['eth0', 'eth1'] })
  instance.failures.set('release', refusal('ERR_XSKNET_KERNEL_REFUSED'))
  await portManager.close()
  t.deepEqual(instance.did.slice(-3), ['release eth0', 'release eth1', 'close'])
  t.like(record.of('uplink-release-failed')[0], { uplink: 'eth0' })
})

test('external changes of an uplink are reported to all its users and logged', async (t) => {
  const { instance, record, portManager, client, alice } = await setUp()
  const stranger = client({ ...ALICE, uid: 4711, gid: 4711, groups: [] })
  const nic = { device: 'wan0', mac: '02:00:00:00:00:02', mtu: 1400, link: 'no-carrier' } as const
  instance.change({ uplink: 'eth0', nic })
  t.deepEqual(alice.heard, [['eth0', 'wan0', 'no-carrier 1400']])
  t.deepEqual(stranger.heard, [])
  t.like(portManager.uplinksFor(ALICE)[0], { uplink: 'eth0', index: 7, ...nic })
  t.true(record.of('uplink-changed').some(({ mtu }) => mtu === 1400))
  instance.change({ uplink: 'eth9', nic })
  t.is(alice.heard.length, 1)
})

test('a client is notified of an address conflict, and a reattached program is logged', async (t) => {
  const { instance, record, portManager, client, alice } = await setUp()
  const root = client({ ...ALICE, uid: 0 })
  const { info } = await portManager.openPort(alice, port)
  instance.change({ uplink: 'eth0', port: info.port, address: '192.0.2.10' })
  t.deepEqual(alice.heard, [[info.port, 'conflict', '192.0.2.10']])
  t.deepEqual(root.heard, [])
  instance.change({
    uplink: 'eth0',
    port: info.port,
    program: 'guard',
    device: 'xsko7-1',
    why: 'another program detached it',
  })
  instance.change({ uplink: 'eth0', program: 'uplink', device: 'eth0', failure: 'another program is there' })
  const told = record.lines.map(({ event }) => event)
  t.deepEqual(
    told.filter((event) => /conflict|program/.test(event)),
    ['address-conflict', 'program-reattached', 'program-missing'],
  )
  t.like(record.of('program-reattached')[0], { program: 'guard', why: 'another program detached it' })
})

test('an offload that was switched off again is logged, and a VLAN that is accepted again', async (t) => {
  const { instance, record } = await setUp()
  instance.change({ uplink: 'eth0', vlan: 42 })
  instance.change({ uplink: 'eth0', vlan: 42, failure: 'no device' })
  t.like(record.of('vlan-restored')[0], { uplink: 'eth0', vlan: 42 })
  t.like(record.of('vlan-blocked')[0], { uplink: 'eth0', vlan: 42, failure: 'no device' })
  instance.change({ uplink: 'eth0', offload: 'rx-vlan-hw-parse' })
  instance.change({ uplink: 'eth0', offload: 'rx-vlan-hw-parse', failure: 'not permitted' })
  t.like(record.of('offload-disabled')[0], { uplink: 'eth0', offload: 'rx-vlan-hw-parse' })
  t.like(record.of('offload-enabled')[0], { uplink: 'eth0', offload: 'rx-vlan-hw-parse', failure: 'not permitted' })
})

test('users with a grant for a lost uplink are told that it is gone, and no port is opened on it', async (t) => {
  const { instance, portManager, alice } = await setUp()
  t.deepEqual(portManager.goneFor(ALICE), [])
  instance.lose({ uplink: 'eth0' })
  t.deepEqual(portManager.uplinksFor(ALICE), [])
  t.like(portManager.goneFor(ALICE), [{ uplink: 'eth0', seconds: 0 }])
  t.deepEqual(portManager.goneFor({ ...ALICE, uid: 4711, gid: 4711, groups: [] }), [])
  const error = await t.throwsAsync(portManager.openPort(alice, port), { message: 'the uplink eth0 is gone' })
  t.like(error, { code: 'ERR_XSKNET_UPLINK_CLOSED', hint: 'Restart the daemon once the interface is back.' })
})

test('a port waits for its uplink if it is asked to, and is opened once frames can leave', async (t) => {
  const { instance, portManager, client, alice } = await setUp()
  const nic = { device: 'eth0', mac: '02:00:00:00:00:01', mtu: 1500 } as const
  instance.change({ uplink: 'eth0', nic: { ...nic, link: 'down' } })
  let opened = false
  const opening = portManager.openPort(alice, { ...port, whenDown: 'wait' }).then(() => {
    opened = true
  })
  instance.change({ uplink: 'eth0', nic: { ...nic, link: 'no-carrier' } })
  await new Promise(setImmediate)
  t.false(opened)
  t.is(instance.requests.length, 0)
  instance.change({ uplink: 'eth0', nic: { ...nic, link: 'up' } })
  await opening
  t.false('whenDown' in (instance.requests[0] as object))

  instance.change({ uplink: 'eth0', nic: { ...nic, link: 'down' } })
  const leaver = client(ALICE)
  const left = portManager.openPort(leaver, { ...port, name: 'b', addresses: ['192.0.2.11/24'], whenDown: 'wait' })
  await new Promise(setImmediate)
  await portManager.leave(leaver)
  t.is(await codeOf(t, left), 'ERR_XSKNET_PORT_UNKNOWN')
  const lost = portManager.openPort(alice, { ...port, name: 'c', addresses: ['192.0.2.12/24'], whenDown: 'wait' })
  await new Promise(setImmediate)
  instance.lose({ uplink: 'eth0' })
  t.is(await codeOf(t, lost), 'ERR_XSKNET_UPLINK_CLOSED')
})

test('a port without addresses is opened by a grant with flows alone, and goes by the MAC of its uplink', async (t) => {
  const flows = ['udp dst port 53']
  const { instance, portManager, client, alice } = await setUp({ grants: [grant({ addresses: [], flows, ports: 2 })] })
  const { info } = await portManager.openPort(alice, { uplink: 'eth0', flows, mac: 'uplink' })
  t.like(instance.requests[0], { addresses: [], flows })
  t.deepEqual(info.addresses, [])
  await portManager.changeFlows(alice, { operation: 'replaceFlows', port: info.port, flows })
  const elsewhere = { uplink: 'eth0', addresses: ['192.0.2.10'], flows }
  t.is(await codeOf(t, portManager.openPort(alice, elsewhere)), 'ERR_XSKNET_NOT_PERMITTED')
  await portManager.openPort(client({ ...ALICE, uid: 0 }), elsewhere)

  const mac = '02:00:00:00:ca:fe'
  instance.change({ uplink: 'eth0', nic: { device: 'eth0', mac, mtu: 1500, link: 'up' } })
  t.deepEqual(
    portManager.portsFor(ROOT).map((entry) => entry.mac === mac),
    [true, false],
  )
})

test('a port with addresses at the MAC of its uplink needs a grant with that, and goes by this MAC', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant({ uplinkMac: true, pinned: true, ports: 3 })] })
  await portManager.openPort(alice, { ...port, mac: 'uplink' })
  t.like(instance.requests[0], { addresses: ['192.0.2.10'], mac: 'uplink' })
  await portManager.openPort(alice, { ...port, name: 'own', addresses: ['192.0.2.11'], mac: 'own' })
  t.like(instance.requests[1], { mac: 'own' })

  const mac = '02:00:00:00:ca:fe'
  instance.change({ uplink: 'eth0', nic: { device: 'eth0', mac, mtu: 1500, link: 'up' } })
  t.deepEqual(
    portManager.portsFor(ROOT).map((entry) => entry.mac === mac),
    [true, false],
  )
})

test('flows are claimed at the opening and later by a grant for them, and root needs none', async (t) => {
  const flows = ['udp dst port 53']
  const { instance, record, portManager, client, alice } = await setUp({ grants: [grant({ flows })] })
  const { info } = await portManager.openPort(alice, { ...port, flows })
  t.like(instance.requests[0], { flows })
  const change = (operation: 'claimFlows' | 'replaceFlows', texts: string[], overrideHost?: boolean) =>
    portManager.changeFlows(alice, {
      operation,
      port: info.port,
      flows: texts,
      ...(overrideHost !== undefined && { overrideHost }),
    })
  await change('replaceFlows', flows)
  t.is(instance.did.at(-1), `changeFlows ${info.port} replace udp dst port 53`)
  t.is(await codeOf(t, change('claimFlows', ['udp dst port 54'])), 'ERR_XSKNET_NOT_PERMITTED')
  t.is(await codeOf(t, change('claimFlows', flows, true)), 'ERR_XSKNET_NOT_PERMITTED')
  portManager.replaceGrants([grant()])
  t.is(await codeOf(t, change('claimFlows', flows)), 'ERR_XSKNET_NOT_PERMITTED')
  await portManager.changeFlows(alice, { operation: 'releaseFlows', port: info.port, flows })
  t.is(instance.did.at(-1), `changeFlows ${info.port} release udp dst port 53`)
  t.is(await codeOf(t, portManager.openPort(alice, { ...port, flows, name: 'b' })), 'ERR_XSKNET_NOT_PERMITTED')

  const root = client({ ...ALICE, uid: 0 })
  const stranger = portManager.changeFlows(root, { operation: 'releaseFlows', port: info.port, flows })
  t.is(await codeOf(t, stranger), 'ERR_XSKNET_PORT_UNKNOWN')
  const { info: own } = await portManager.openPort(root, { ...port, addresses: ['192.0.2.11'] })
  const request = { port: own.port, flows: ['udp'], overrideHost: true }
  await portManager.changeFlows(root, { operation: 'claimFlows', ...request })
  t.is(instance.did.at(-1), `changeFlows ${own.port} claim udp over the host`)
  t.deepEqual(
    record.of('flows-changed').map(({ change, flows }) => [change, flows]),
    [
      ['replace', 1],
      ['release', 1],
      ['claim', 1],
    ],
  )
})

test('an expression that is none is refused before the policy, and in a grant at the start', async (t) => {
  const { instance, portManager, alice } = await setUp({ grants: [grant()] })
  instance.failures.set('flowsOutside', new XsknetError('ERR_XSKNET_FLOW_INVALID', 'not a flow'))
  t.is(await codeOf(t, portManager.openPort(alice, { ...port, flows: ['udp dst'] })), 'ERR_XSKNET_FLOW_INVALID')
  const error = await t.throwsAsync(portManager.checkGrants([grant({ flows: ['udp dst'] })]))
  t.like(error, { code: 'ERR_XSKNET_CONFIGURATION_INVALID' })
  t.is(error?.message, '`flows` in the 1st [[grant]] of test.toml: not a flow')
  await portManager.checkGrants([grant()])
})

test('groups are joined at the opening and later by a grant for them, and are listed', async (t) => {
  const groups = ['224.0.0.251', 'broadcast', '239.0.0.0/8'].map((text) => new GroupRange(text))
  const { instance, record, portManager, client, alice } = await setUp({ grants: [grant({ groups })] })
  const { info } = await portManager.openPort(alice, { ...port, groups: ['224.0.0.251'] })
  t.like(instance.requests[0], { groups: ['224.0.0.251'] })
  const join = (groups: string[]) => portManager.changeGroups(alice, 'join', { port: info.port, groups })
  t.deepEqual(await join(['FF:FF:ff:ff:ff:ff', 'broadcast', '239.1.2.3']), [])
  t.is(instance.did.at(-1), `changeGroups ${info.port} join broadcast, 239.1.2.3`)
  t.is(await codeOf(t, join(['224.0.0.1'])), 'ERR_XSKNET_NOT_PERMITTED')
  t.is(await codeOf(t, join(['192.0.2.1'])), 'ERR_XSKNET_GROUP_INVALID')
  portManager.replaceGrants([grant()])
  t.is(await codeOf(t, join(['broadcast'])), 'ERR_XSKNET_NOT_PERMITTED')
  await portManager.changeGroups(alice, 'leave', { port: info.port, groups: ['broadcast', 'ff02::1'] })
  t.deepEqual(
    portManager.portsFor(ROOT).map((entry) => entry.groups),
    [['224.0.0.251', '239.1.2.3']],
  )
  const refused = portManager.openPort(alice, { ...port, name: 'b', groups: ['224.0.0.251'] })
  t.is(await codeOf(t, refused), 'ERR_XSKNET_NOT_PERMITTED')
  const root = client({ ...ALICE, uid: 0 })
  const stranger = portManager.changeGroups(root, 'leave', { port: info.port, groups: [] })
  t.is(await codeOf(t, stranger), 'ERR_XSKNET_PORT_UNKNOWN')
  await portManager.openPort(root, { ...port, addresses: ['192.0.2.11'], groups: ['ff02::1'] })
  t.deepEqual(
    record.of('groups-changed').map(({ change, groups }) => [change, groups]),
    [
      ['join', ['broadcast', '239.1.2.3']],
      ['leave', ['broadcast', 'ff02::1']],
    ],
  )
})

test('a tap has BPF rings and no addresses, and what it is shows in the log', async (t) => {
  const granted = grant({ bpfRings: true, tap: true, memory: 2 ** 30 })
  const { instance, record, portManager, alice } = await setUp({ grants: [granted] })
  const { addresses, ...rest } = port
  const tap = { sent: false, flows: ['arp'] }
  await portManager.openPort(alice, { ...rest, tap })
  t.like(instance.requests[0], { addresses: [], rings: 'bpf', tap })
  t.like(record.of('port-opened')[0], { tap: true, promiscuous: false })
  const promiscuous = portManager.openPort(alice, { ...rest, name: 'b', tap: { promiscuous: true } })
  t.is(await codeOf(t, promiscuous), 'ERR_XSKNET_NOT_PERMITTED')
  t.is(await codeOf(t, portManager.openPort(alice, rest)), 'ERR_XSKNET_ADDRESS_MISSING')
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { XsknetError, type XsknetErrorCode } from 'xsknet'
import { readConfiguration } from '../../../packages/xsknetd/src/configuration/configuration.js'
import { parseAddress } from '../../../packages/xsknetd/src/policy/address.js'
import type { Credentials } from '../../../packages/xsknetd/src/policy/credentials.js'
import type { Grant } from '../../../packages/xsknetd/src/policy/grant.js'
import { GroupRange, parseGroups } from '../../../packages/xsknetd/src/policy/group.js'
import {
  mayUse,
  permit,
  permitChange,
  type RequestedPort,
  type Usage,
} from '../../../packages/xsknetd/src/policy/policy.js'
import { ALICE, BOB, grant, MiB, ROOT, user } from './fakes.js'

const requested = ({
  addresses = ['192.0.2.10'],
  ...changed
}: Partial<Omit<RequestedPort, 'addresses'>> & { addresses?: string[] } = {}): RequestedPort => ({
  uplink: 'eth0',
  vlan: null,
  queues: 1,
  ringSize: 4096,
  memory: 8 * MiB,
  pinned: false,
  busyPoll: false,
  hugePages: false,
  bpfRings: false,
  ...changed,
  addresses: addresses.map(parseAddress),
})
const nothing: Usage = { ports: 0, memory: 0 }

interface Row {
  what: string
  grants?: Grant[]
  who?: Credentials
  requested?: RequestedPort
  has?: Usage
  refused?: XsknetErrorCode
  details?: object
}

const NOT_PERMITTED = 'ERR_XSKNET_NOT_PERMITTED'
const LIMIT_REACHED = 'ERR_XSKNET_LIMIT_REACHED'

const rows: Row[] = [
  { what: 'a user has what was granted' },
  {
    what: 'root has all without a grant',
    grants: [],
    who: ROOT,
    requested: requested({ uplink: 'any', vlan: 9 }),
    has: { ports: 999, memory: 2 ** 50 },
  },
  { what: 'nobody has anything by default', grants: [], refused: NOT_PERMITTED },
  { what: 'the grant of one user is not another’s', who: BOB, refused: NOT_PERMITTED, details: { uid: BOB.uid } },
  {
    what: 'a user’s number is not a group’s',
    grants: [grant({ holder: { gid: ALICE.uid } })],
    who: user(ALICE.uid, 5),
    refused: NOT_PERMITTED,
  },
  { what: 'a group’s number is not a user’s', who: user(5, ALICE.uid), refused: NOT_PERMITTED },
  { what: 'a primary group counts', grants: [grant({ holder: { gid: 50 } })], who: user(7, 50) },
  { what: 'a supplementary group counts', grants: [grant({ holder: { gid: 50 } })], who: user(7, 7, [3, 50]) },
  { what: 'group 0 makes no root', grants: [], who: user(7, 0, [0]), refused: NOT_PERMITTED },
  {
    what: 'another card',
    requested: requested({ uplink: 'eth1' }),
    refused: NOT_PERMITTED,
    details: { uplink: 'eth1' },
  },
  { what: 'the first address of a range', requested: requested({ addresses: ['192.0.2.8'] }) },
  { what: 'the last address of a range', requested: requested({ addresses: ['192.0.2.15'] }) },
  { what: 'the address before a range', requested: requested({ addresses: ['192.0.2.7'] }), refused: NOT_PERMITTED },
  { what: 'the address behind a range', requested: requested({ addresses: ['192.0.2.16'] }), refused: NOT_PERMITTED },
  { what: 'the prefix asked for decides nothing', requested: requested({ addresses: ['192.0.2.10/0'] }) },
  { what: 'an IPv6 address of a range', requested: requested({ addresses: ['2001:DB8::1'] }) },
  {
    what: 'an IPv6 address of no range',
    requested: requested({ addresses: ['2001:db8:0:1::1'] }),
    refused: NOT_PERMITTED,
  },
  {
    what: 'one address of several is not granted',
    requested: requested({ addresses: ['192.0.2.10', '192.0.2.99'] }),
    refused: NOT_PERMITTED,
  },
  {
    what: 'a VLAN that was not granted',
    requested: requested({ vlan: 42 }),
    refused: NOT_PERMITTED,
    details: { vlan: 42 },
  },
  { what: 'a VLAN that was granted', grants: [grant({ vlans: [42] })], requested: requested({ vlan: 42 }) },
  {
    what: 'untagged frames where only a VLAN was granted',
    grants: [grant({ vlans: [42] })],
    refused: NOT_PERMITTED,
    details: { vlan: null },
  },
  {
    what: 'two grants that cover it only together',
    grants: [grant({ addresses: ['192.0.2.10'] }), grant({ addresses: ['192.0.2.11'] })],
    requested: requested({ addresses: ['192.0.2.10', '192.0.2.11'] }),
    refused: NOT_PERMITTED,
  },
  {
    what: 'either of two grants',
    grants: [grant({ addresses: ['192.0.2.10'] }), grant({ addresses: ['192.0.2.11'] })],
    requested: requested({ addresses: ['192.0.2.11'] }),
  },
  { what: 'the last port', has: { ports: 1, memory: 0 } },
  {
    what: 'one port too many',
    has: { ports: 2, memory: 0 },
    refused: LIMIT_REACHED,
    details: { limit: 'ports', has: 2, asked: 1, most: 2 },
  },
  { what: 'the last byte', has: { ports: 1, memory: 24 * MiB } },
  {
    what: 'one byte too many',
    has: { ports: 1, memory: 24 * MiB + 1 },
    refused: LIMIT_REACHED,
    details: { limit: 'memory', has: 24 * MiB + 1, asked: 8 * MiB, most: 32 * MiB },
  },
  {
    what: 'the larger of two grants that cover it',
    grants: [grant({ ports: 1 }), grant({ ports: 3 })],
    has: { ports: 2, memory: 0 },
  },
  {
    what: 'many ports by one grant and much memory by another',
    grants: [grant({ ports: 9, memory: 1 }), grant({ ports: 1, memory: 99 * MiB })],
    has: { ports: 1, memory: 8 * MiB },
    refused: LIMIT_REACHED,
    details: { limit: 'memory', most: 1 },
  },
  {
    what: 'a larger grant that does not cover it helps nothing',
    grants: [grant({ ports: 1 }), grant({ ports: 9, uplinks: ['eth1'] })],
    has: { ports: 1, memory: 0 },
    refused: LIMIT_REACHED,
    details: { most: 1 },
  },
  { what: 'as many queues as were granted', grants: [grant({ queues: 4 })], requested: requested({ queues: 4 }) },
  {
    what: 'one queue too many',
    grants: [grant({ queues: 4 })],
    requested: requested({ queues: 5 }),
    refused: NOT_PERMITTED,
    details: { queues: 5 },
  },
  { what: 'two queues where nothing was said of them', requested: requested({ queues: 2 }), refused: NOT_PERMITTED },
  {
    what: 'rings as long as were granted',
    grants: [grant({ ringSize: 65_536 })],
    requested: requested({ ringSize: 65_536 }),
  },
  {
    what: 'rings longer than a grant that says nothing of them',
    requested: requested({ ringSize: 8192 }),
    refused: NOT_PERMITTED,
    details: { ringSize: 8192 },
  },
  { what: 'the longest rings for root', grants: [], who: ROOT, requested: requested({ ringSize: 65_536 }) },
  { what: 'eight queues for root', grants: [], who: ROOT, requested: requested({ queues: 8 }) },
  {
    what: 'a pinned port that was granted',
    grants: [grant({ pinned: true })],
    requested: requested({ pinned: true, memory: 0 }),
  },
  { what: 'a brokered port where pinned ones were granted', grants: [grant({ pinned: true })] },
  { what: 'a pinned port for root', grants: [], who: ROOT, requested: requested({ pinned: true, memory: 0 }) },
  {
    what: 'a pinned port that was not granted',
    requested: requested({ pinned: true, memory: 0 }),
    refused: NOT_PERMITTED,
    details: { pinned: true },
  },
  {
    what: 'a pinned port is a port',
    grants: [grant({ pinned: true })],
    requested: requested({ pinned: true, memory: 0 }),
    has: { ports: 2, memory: 0 },
    refused: LIMIT_REACHED,
    details: { limit: 'ports' },
  },
  {
    what: 'busy polling that was granted',
    grants: [grant({ busyPoll: true })],
    requested: requested({ busyPoll: true }),
  },
  {
    what: 'busy polling that was not',
    requested: requested({ busyPoll: true }),
    refused: NOT_PERMITTED,
    details: { busyPoll: true },
  },
  { what: 'busy polling for root', grants: [], who: ROOT, requested: requested({ busyPoll: true, hugePages: true }) },
  { what: 'BPF rings for root', grants: [], who: ROOT, requested: requested({ bpfRings: true }) },
  {
    what: 'BPF rings that were granted',
    grants: [grant({ bpfRings: true })],
    requested: requested({ bpfRings: true }),
  },
  {
    what: 'BPF rings that were not',
    requested: requested({ bpfRings: true }),
    refused: NOT_PERMITTED,
    details: { bpfRings: true },
  },
  { what: 'the uplink’s MAC for root', grants: [], who: ROOT, requested: requested({ uplinkMac: true }) },
  {
    what: 'the uplink’s MAC that was granted',
    grants: [grant({ uplinkMac: true })],
    requested: requested({ uplinkMac: true }),
  },
  {
    what: 'the uplink’s MAC that was not',
    requested: requested({ uplinkMac: true }),
    refused: NOT_PERMITTED,
    details: { uplinkMac: true },
  },
  {
    what: 'huge pages that were granted',
    grants: [grant({ hugePages: true })],
    requested: requested({ hugePages: true }),
  },
  {
    what: 'huge pages that were not',
    requested: requested({ hugePages: true }),
    refused: NOT_PERMITTED,
    details: { hugePages: true },
  },
  {
    what: 'busy polling by one grant and huge pages by another',
    grants: [grant({ busyPoll: true }), grant({ hugePages: true })],
    requested: requested({ busyPoll: true, hugePages: true }),
    refused: NOT_PERMITTED,
    details: { busyPoll: true, hugePages: true },
  },
  {
    what: 'a port too many, with closed ones that are held',
    has: { ports: 2, memory: 0, lingering: { ports: 1, memory: 0 } },
    refused: LIMIT_REACHED,
    details: { limit: 'ports', has: 2, lingering: 0 },
  },
  { what: 'more memory than can be', requested: requested({ memory: 2 ** 64 }), refused: LIMIT_REACHED },
]

for (const {
  what,
  grants = [grant()],
  who = ALICE,
  requested: wanted = requested(),
  has = nothing,
  refused,
  details,
} of rows) {
  test(`${what}: ${refused ?? 'allowed'}`, (t) => {
    const judge = () => permit(grants, who, wanted, has)
    if (refused === undefined) {
      t.notThrows(judge)
      return
    }
    const error = t.throws(judge, { instanceOf: XsknetError })
    t.is(error?.code, refused)
    t.truthy(error?.hint)
    if (details) t.like(error?.details, details)
  })
}

/** The TOML lines of a hint. */
const lines = (grants: Grant[], wanted: RequestedPort) =>
  (refused(() => permit(grants, ALICE, wanted, nothing)).hint ?? '').split('\n').slice(1)

/** What the daemon makes of these lines. */
function configured(t: ExecutionContext, toml: string[]): readonly Grant[] {
  const folder = mkdtempSync(join(tmpdir(), 'xsknetd-policy-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'x.toml')
  writeFileSync(file, toml.join('\n'))
  return readConfiguration({ uplinks: ['eth0'] }, file).grants
}

function refused(call: () => void): XsknetError {
  try {
    call()
  } catch (error) {
    return error as XsknetError
  }
  throw new Error('nothing was refused')
}

test('a user without a grant is shown a complete one that is sufficient', (t) => {
  const wanted = requested({ addresses: ['192.0.2.10/24', '2001:db8::1'], vlan: 42 })
  const toml = lines([], wanted)
  t.deepEqual(toml, [
    '[[grant]]',
    `user = ${ALICE.uid}`,
    'uplinks = ["eth0"]',
    'addresses = ["192.0.2.10", "2001:db8::1"]',
    'vlans = [42]',
  ])
  t.notThrows(() => permit(configured(t, toml), ALICE, wanted, nothing))
})

test('a user that lacks an address is shown the line to change, with its present values', (t) => {
  t.deepEqual(lines([grant()], requested({ addresses: ['192.0.2.10', '192.0.2.99'] })), [
    'addresses = ["192.0.2.8/29", "2001:db8::/64", "192.0.2.99"]',
  ])
})

test('a user that lacks a VLAN as well is shown both lines', (t) => {
  t.deepEqual(lines([grant()], requested({ addresses: ['192.0.2.99'], vlan: 42 })), [
    'addresses = ["192.0.2.8/29", "2001:db8::/64", "192.0.2.99"]',
    'vlans = ["untagged", 42]',
  ])
})

test('a user that lacks only `pinned` is shown that line, and it is sufficient', (t) => {
  const wanted = requested({ pinned: true })
  const missing = lines([grant()], wanted)
  t.deepEqual(missing, ['pinned = true'])
  const error = refused(() => permit([grant()], ALICE, wanted, nothing))
  t.is(error.message, `user ${ALICE.uid} may not use pinned ports on the uplink eth0`)
  const toml = ['[[grant]]', `user = ${ALICE.uid}`, 'uplinks = ["eth0"]', 'addresses = ["192.0.2.8/29"]', ...missing]
  t.notThrows(() => permit(configured(t, toml), ALICE, wanted, nothing))
  const whole = lines([], wanted)
  t.is(whole.at(-1), 'pinned = true')
  t.notThrows(() => permit(configured(t, whole), ALICE, wanted, nothing))
})

for (const key of ['busyPoll', 'hugePages', 'bpfRings', 'uplinkMac'] as const) {
  test(`a user that lacks only ${key} is shown that line, and it is sufficient`, (t) => {
    const wanted = requested({ [key]: true })
    const missing = lines([grant()], wanted)
    t.deepEqual(missing, [`${key} = true`])
    const toml = ['[[grant]]', `user = ${ALICE.uid}`, 'uplinks = ["eth0"]', 'addresses = ["192.0.2.8/29"]', ...missing]
    t.notThrows(() => permit(configured(t, toml), ALICE, wanted, nothing))
    const whole = lines([], wanted)
    t.is(whole.at(-1), `${key} = true`)
    t.notThrows(() => permit(configured(t, whole), ALICE, wanted, nothing))
  })
}

test('a user that lacks every switch is shown all lines, and they are sufficient', (t) => {
  const wanted = requested({ pinned: true, busyPoll: true, hugePages: true, bpfRings: true, uplinkMac: true })
  const toml = lines([], wanted)
  const switches = ['pinned', 'busyPoll', 'hugePages', 'bpfRings', 'uplinkMac'].map((key) => `${key} = true`)
  t.deepEqual(toml.slice(-5), switches)
  t.notThrows(() => permit(configured(t, toml), ALICE, wanted, nothing))
})

test('the first grant of the file that allows the whole port determines its rights', (t) => {
  const elsewhere = grant({ uplinks: ['eth1'] })
  const small = grant({ ports: 1, routing: true })
  const [first, second] = [grant({ innerTags: true }), grant({ ports: 9 })]
  t.is(permit([elsewhere, small, first, second], ALICE, requested(), nothing), small)
  t.is(permit([elsewhere, small, first, second], ALICE, requested(), { ports: 1, memory: 0 }), first)
  t.is(permit([elsewhere, small, second, first], ALICE, requested(), { ports: 1, memory: 0 }), second)
  t.is(permit([elsewhere, small, first, second], ALICE, requested(), { ports: 2, memory: 0 }), second)
})

test('root may do everything, regardless of grants', (t) => {
  const roots = grant({ holder: { uid: 0 }, rates: { broadcast: { perSecond: 0, burst: 0 } } })
  const rights = permit([roots], ROOT, requested(), nothing)
  t.deepEqual(rights, { innerTags: true, routing: true, rates: {} })
})

test('of what closed ports hold, a refusal tells the bytes, the ports and what to do', (t) => {
  const has = { ports: 3, memory: 32 * MiB, lingering: { ports: 2, memory: 16 * MiB } }
  const error = refused(() => permit([grant({ ports: 4 })], ALICE, requested(), has))
  t.is(
    error.message,
    `user ${ALICE.uid} has 33554432 bytes of UMEM and requests 8388608 more; the limit is 33554432; ` +
      '16777216 bytes are still held by 2 closed ports whose descriptors were not closed',
  )
  t.regex(
    error.hint ?? '',
    /^Close the descriptors of closed ports .*, close a port, request fewer queues, .*, or raise `memory` in/,
  )
})

test('a user without ports is not told to close one', (t) => {
  const hint = (has: Usage, wanted = requested()) =>
    refused(() => permit([grant({ ports: 9 })], ALICE, wanted, has)).hint
  t.is(
    hint(nothing, requested({ memory: 64 * MiB })),
    'Request fewer queues, or fewer or smaller frames, or raise `memory` in the 1st [[grant]] of test.toml.',
  )
  const remains = hint({ ports: 1, memory: 32 * MiB, lingering: { ports: 1, memory: 32 * MiB } })
  t.regex(remains ?? '', /^Close the descriptors of closed ports [^,]*, request fewer/)
})

test('a user that lacks only queues is shown that line, and it is sufficient', (t) => {
  const wanted = requested({ queues: 4 })
  const missing = lines([grant()], wanted)
  t.deepEqual(missing, ['queues = 4'])
  const error = refused(() => permit([grant()], ALICE, wanted, nothing))
  t.is(error.message, `user ${ALICE.uid} may not use 4 queues on the uplink eth0`)
  const toml = ['[[grant]]', `user = ${ALICE.uid}`, 'uplinks = ["eth0"]', 'addresses = ["192.0.2.8/29"]', ...missing]
  t.notThrows(() => permit(configured(t, toml), ALICE, wanted, nothing))
  const whole = lines([], wanted)
  t.is(whole.at(-1), 'queues = 4')
  t.notThrows(() => permit(configured(t, whole), ALICE, wanted, nothing))
})

test('of several grants, the one that lacks least is named', (t) => {
  const error = refused(() =>
    permit(
      [grant({ vlans: [7], origin: 'far' }), grant({ origin: 'near' })],
      ALICE,
      requested({ addresses: ['192.0.2.99'] }),
      nothing,
    ),
  )
  t.regex(error.hint ?? '', /^In near, /)
})

test('the lines to change are enough', (t) => {
  const wanted = requested({ addresses: ['192.0.2.99', '2001:db9::1'], vlan: 42 })
  const toml = ['[[grant]]', `user = ${ALICE.uid}`, 'uplinks = ["eth0"]', ...lines([grant()], wanted)]
  t.notThrows(() => permit(configured(t, toml), ALICE, wanted, nothing))
})

test('the grants of others are not shown', (t) => {
  const secret = grant({ holder: { uid: BOB.uid }, addresses: ['198.51.100.0/24'], origin: 'secret' })
  const error = refused(() => permit([secret], ALICE, requested(), nothing))
  t.notRegex(JSON.stringify([error.message, error.hint, error.details]), /secret|198\.51/)
})

test('a user knows of the uplinks of its grants alone, root of all', (t) => {
  t.true(mayUse([grant()], ALICE, 'eth0'))
  t.false(mayUse([grant()], ALICE, 'eth1'))
  t.false(mayUse([grant()], BOB, 'eth0'))
  t.true(mayUse([], ROOT, 'eth1'))
})

/** As if each expression contained itself alone. */
const claiming = (texts: string[], overrideHost = false): RequestedPort => ({
  ...requested(),
  flows: { texts, outside: ({ flows }) => texts.filter((text) => !flows.includes(text)) },
  ...(overrideHost && { overrideHost }),
})

test('no flow is granted by default, and a refusal names the line that would allow it', (t) => {
  const wanted = claiming(['udp dst port 53', 'tcp dst port 53'])
  const error = refused(() => permit([grant({ flows: ['tcp dst port 53'] })], ALICE, wanted, nothing))
  t.is(error.code, NOT_PERMITTED)
  t.is(error.message, `user ${ALICE.uid} may not use the flow "udp dst port 53" on the uplink eth0`)
  t.deepEqual(error.details.flows, ['udp dst port 53', 'tcp dst port 53'])
  const changed = lines([grant({ flows: ['tcp dst port 53'] })], wanted)
  t.deepEqual(changed, ['flows = ["tcp dst port 53", "udp dst port 53"]'])
  const toml = ['[[grant]]', `user = ${ALICE.uid}`, 'uplinks = ["eth0"]', 'addresses = ["192.0.2.8/29"]', ...changed]
  t.notThrows(() => permit(configured(t, toml), ALICE, wanted, nothing))
  const whole = lines([], wanted)
  t.is(whole.at(-1), 'flows = ["udp dst port 53", "tcp dst port 53"]')
  t.notThrows(() => permit(configured(t, whole), ALICE, wanted, nothing))
  t.notThrows(() => permit([], ROOT, claiming(['udp'], true), nothing))
})

test('a port without addresses needs a grant with its flows, and no address', (t) => {
  const flows = ['udp dst port 53']
  const wanted: RequestedPort = { ...claiming(flows), addresses: [] }
  for (const addresses of [[], ['192.0.2.8/29']]) {
    t.notThrows(() => permit([grant({ addresses, flows })], ALICE, wanted, nothing))
    t.deepEqual(lines([grant({ addresses })], wanted), ['flows = ["udp dst port 53"]'])
    const other = grant({ addresses, flows: ['tcp dst port 53'] })
    t.deepEqual(lines([other], wanted), ['flows = ["tcp dst port 53", "udp dst port 53"]'])
  }
  // One of them has to be enough, for the port as it is.
  t.is(refused(() => permit([grant({ addresses: [], flows })], ALICE, claiming(flows), nothing)).code, NOT_PERMITTED)
  t.deepEqual(lines([grant({ addresses: [], flows })], claiming(flows)), ['addresses = ["192.0.2.10"]'])
  t.deepEqual(lines([grant({ addresses: [], flows })], { ...wanted, vlan: 42 }), ['vlans = ["untagged", 42]'])
  const whole = lines([], wanted)
  t.deepEqual(whole, ['[[grant]]', `user = ${ALICE.uid}`, 'uplinks = ["eth0"]', 'flows = ["udp dst port 53"]'])
  t.notThrows(() => permit(configured(t, whole), ALICE, wanted, nothing))
})

test('flows over the host’s own packets need a grant of their own', (t) => {
  const flows = ['udp dst port 53']
  t.deepEqual(lines([grant({ flows })], claiming(flows, true)), ['overrideHost = true'])
  t.notThrows(() => permit([grant({ flows, overrideHost: true })], ALICE, claiming(flows, true), nothing))
})

test('flows of an open port need a grant for the port with them, whatever the user has', (t) => {
  const flows = ['udp dst port 53']
  t.notThrows(() => permitChange([grant({ flows, ports: 1 })], ALICE, claiming(flows)))
  t.notThrows(() => permitChange([], ROOT, claiming(flows, true)))
  const apart = [grant(), grant({ flows, uplinks: ['eth1'] }), grant({ flows, addresses: ['192.0.2.16/28'] })]
  t.is(refused(() => permitChange(apart, ALICE, claiming(flows))).code, NOT_PERMITTED)
  t.is(refused(() => permitChange([grant({ flows })], BOB, claiming(flows))).code, NOT_PERMITTED)
})

const joining = (...texts: string[]): RequestedPort => ({ ...requested({}), groups: parseGroups(texts) })
const ranges = (...texts: string[]) => texts.map((text) => new GroupRange(text))

test('a grant has to contain each group, and the refusal says what would', (t) => {
  const wanted = joining('broadcast', '239.1.2.3', '01:80:C2:00:00:0E')
  const groups = ranges('broadcast', '239.0.0.0/8', '01:80:c2:00:00:0e')
  t.notThrows(() => permit([grant({ groups })], ALICE, wanted, nothing))
  t.notThrows(() => permit([], ROOT, wanted, nothing))
  const some = grant({ groups: ranges('239.0.0.0/9', 'ff02::1') })
  const error = refused(() => permit([some], ALICE, wanted, nothing))
  t.is(error.code, NOT_PERMITTED)
  t.is(error.message, `user ${ALICE.uid} may not use the groups broadcast, 01:80:c2:00:00:0e on the uplink eth0`)
  t.deepEqual(error.details.groups, ['broadcast', '239.1.2.3', '01:80:c2:00:00:0e'])
  const changed = lines([some], wanted)
  t.deepEqual(changed, ['groups = ["239.0.0.0/9", "ff02::1", "broadcast", "01:80:c2:00:00:0e"]'])
  t.notThrows(() => permit(configured(t, [...lines([], requested({})), ...changed]), ALICE, wanted, nothing))
  t.is(lines([], wanted).at(-1), 'groups = ["broadcast", "239.1.2.3", "01:80:c2:00:00:0e"]')
})

test('an IP group is granted by its address, and its MAC only by itself', (t) => {
  const mac = '01:00:5e:00:00:fb'
  t.is(
    refused(() => permit([grant({ groups: ranges('224.0.0.251') })], ALICE, joining(mac), nothing)).code,
    NOT_PERMITTED,
  )
  t.is(
    refused(() => permit([grant({ groups: ranges(mac) })], ALICE, joining('224.0.0.251'), nothing)).code,
    NOT_PERMITTED,
  )
  t.is(refused(() => permit([grant()], ALICE, joining('broadcast'), nothing)).code, NOT_PERMITTED)
})

test('a text that is not a group, or contains single stations, is refused', (t) => {
  const invalid = { code: 'ERR_XSKNET_GROUP_INVALID' }
  for (const text of ['192.0.2.1', '255.255.255.255', '02:00:00:00:00:01', '2001:db8::1', 'ff02::1%eth0', 'all', '']) {
    t.throws(() => parseGroups([text]), invalid, text)
  }
  for (const text of ['0.0.0.0/0', '::/0', '224.0.0.0/3', '01:80:c2:00:00:0e/8', 'broadcast/8', '10.0.0.0/8']) {
    t.throws(() => new GroupRange(text), undefined, text)
  }
  t.deepEqual(
    parseGroups(['FF02:0::FB', 'ff02::fb', 'ff:ff:ff:ff:ff:ff', 'broadcast']).map(({ text }) => text),
    ['ff02::fb', 'broadcast'],
  )
})

test('a tap needs a grant of its own, without addresses and with BPF rings, and promiscuous mode another one', (t) => {
  const wanted: RequestedPort = { ...requested({}), addresses: [], bpfRings: true, tap: true }
  const promiscuous = { ...wanted, promiscuous: true }
  const granted = { addresses: [], bpfRings: true, tap: true }
  t.notThrows(() => permit([grant(granted)], ALICE, wanted, nothing))
  t.notThrows(() => permit([grant({ ...granted, promiscuous: true })], ALICE, promiscuous, nothing))
  t.notThrows(() => permit([], ROOT, promiscuous, nothing))
  const error = refused(() => permit([grant({ bpfRings: true })], ALICE, wanted, nothing))
  t.is(error.code, NOT_PERMITTED)
  t.is(error.message, `user ${ALICE.uid} may not use taps on the uplink eth0`)
  t.is(error.details.tap, true)
  t.deepEqual(lines([grant({ tap: true })], wanted), ['bpfRings = true'])
  t.deepEqual(lines([grant(granted)], promiscuous), ['promiscuous = true'])
  const changed = ['user = 1001', 'uplinks = ["eth0"]', ...lines([], promiscuous).slice(-3)]
  t.deepEqual(changed.slice(-3), ['bpfRings = true', 'tap = true', 'promiscuous = true'])
})

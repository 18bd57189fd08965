/**
 * Decides what a user may open. Pure functions: the request and the user's current usage come in, a refusal is thrown.
 *
 * @module
 */
import { XsknetError } from 'xsknet'
import type { Address } from './address.js'
import type { Credentials } from './credentials.js'
import type { Grant, Rights, Vlan } from './grant.js'
import type { Group } from './group.js'
import { DEFAULT_RING_SIZE } from './limits.js'
import type { MemoryLimit } from './memory-limit.js'

/** A port that a client asks for, as far as the policy is concerned. */
export interface RequestedPort {
  readonly uplink: string
  /** Without any, the port has flows alone: its grant need not have addresses. */
  readonly addresses: readonly Address[]
  /** Whether its addresses are at the uplink's MAC. */
  readonly uplinkMac?: boolean
  readonly vlan: Vlan
  readonly queues: number
  /** Slots of each ring; 0 for a pinned port, whose rings its client creates. */
  readonly ringSize: number
  /** Bytes of UMEM and of BPF rings that the daemon creates, for all queues. */
  readonly memory: number
  readonly pinned: boolean
  readonly busyPoll: boolean
  readonly hugePages: boolean
  readonly bpfRings: boolean
  /** Absent where it claims none. */
  readonly flows?: RequestedFlows
  /** Whether its flows may take packets of the host's own. */
  readonly overrideHost?: boolean
  /** Absent where it joins none. */
  readonly groups?: readonly Group[]
  /** Whether it gets copies of what passes the uplink. */
  readonly tap?: boolean
  /** Whether it has the uplink receive frames for other stations. */
  readonly promiscuous?: boolean
}

/** Flows that a port is to claim. */
export interface RequestedFlows {
  /** Filter expressions. */
  readonly texts: readonly string[]
  /** Those of which a grant's `flows` do not contain everything. */
  outside(grant: Grant): readonly string[]
}

/** What a user has. */
export interface Usage {
  /** Open ports, and ports that are being opened or closed. */
  readonly ports: number
  /** Bytes of UMEM. */
  readonly memory: number
  /** The part of it that closed ports still hold, because some descriptors of their sockets are still open. */
  readonly lingering?: Pick<Usage, 'ports' | 'memory'>
}

const ALL: Rights = { innerTags: true, routing: true, rates: {} }

/** Whether the user may know of the uplink. Root may use every uplink. */
export function mayUse(grants: readonly Grant[], who: Credentials, uplink: string): boolean {
  return who.uid === 0 || grantsOf(grants, who).some((grant) => grant.uplinks.includes(uplink))
}

/**
 * Refuses a port, or returns what it may send. A single grant has to allow all of it: uplink, every address, VLAN,
 * queues, rings, pinning, busy polling, huge pages, BPF rings, the uplink's MAC, flows, groups, taps, and the resulting
 * number of ports and bytes. Grants are not added up, because `ports` of one network must not serve to fill another. If
 * several grants allow the port, the first one counts.
 *
 * @returns That grant; for root, all rights.
 * @throws {XsknetError} `ERR_XSKNET_NOT_PERMITTED` or `ERR_XSKNET_LIMIT_REACHED`.
 */
export function permit(grants: readonly Grant[], who: Credentials, requested: RequestedPort, usage: Usage): Rights {
  if (who.uid === 0) return ALL
  const own = grantsOf(grants, who)
  const covering = own.filter((grant) => missingRights(grant, requested).length === 0)
  if (covering.length === 0) throw notPermitted(own, who, requested)

  const roomy = covering.filter((grant) => usage.ports + 1 <= grant.ports)
  if (roomy.length === 0) throw limitReached(who, 'ports', usage, 1, covering)
  const first = roomy.find((grant) => usage.memory + requested.memory <= grant.memory)
  if (!first) throw limitReached(who, 'memory', usage, requested.memory, roomy)
  return first
}

/**
 * Refuses flows or groups for a port that is open. A single grant has to allow the port together with them; how many
 * ports the user has does not count.
 *
 * @throws {XsknetError} `ERR_XSKNET_NOT_PERMITTED`.
 */
export function permitChange(grants: readonly Grant[], who: Credentials, requested: RequestedPort): void {
  if (who.uid === 0) return
  const own = grantsOf(grants, who)
  if (!own.some((grant) => missingRights(grant, requested).length === 0)) throw notPermitted(own, who, requested)
}

/** The grants of a user for an uplink. */
export function grantsFor(grants: readonly Grant[], who: Credentials, uplink: string): Grant[] {
  return grantsOf(grants, who).filter((grant) => grant.uplinks.includes(uplink))
}

/**
 * Refuses a port, root's too, that would take all ports together above the memory limit: the memory that the daemon
 * registers is locked, and the kernel's OOM killer would choose the daemon first. Only root learns how much the others
 * use.
 *
 * @throws {XsknetError} `ERR_XSKNET_LIMIT_REACHED`.
 */
export function checkMemory(
  { bytes: most, key }: MemoryLimit,
  { uid }: Credentials,
  { memory: asked }: RequestedPort,
  { memory: has, lingering }: Pick<Usage, 'memory' | 'lingering'>,
): void {
  if (has + asked <= most) return
  const inUse = uid === 0 ? `, of which ${has} are in use` : ''
  const known = uid === 0 ? { has, ...(lingering && { lingering: lingering.memory }) } : {}
  const remains = uid === 0 && lingering ? `; ${stillHeld(lingering)}` : ''
  throw new XsknetError(
    'ERR_XSKNET_LIMIT_REACHED',
    `${asked} more bytes of UMEM would exceed the limit of ${most} bytes for all ports together${inUse}${remains}`,
    {
      hint: `Request fewer queues, or fewer or smaller frames, close a port, or raise ${key}.`,
      details: { uid, limit: 'memory of all ports', asked, most, ...known },
    },
  )
}

/** An uplink that the user may not know of. The error does not reveal whether it exists. */
export function unknownUplink(who: Credentials, uplink: string): XsknetError {
  return new XsknetError('ERR_XSKNET_NOT_PERMITTED', `user ${who.uid} may not use the uplink ${uplink}`, {
    hint: `A grant for user ${who.uid} with uplinks = [${quoted(uplink)}] would allow it.`,
    details: { uid: who.uid, uplink },
  })
}

function grantsOf(grants: readonly Grant[], { uid, gid, groups }: Credentials): Grant[] {
  return grants.filter(({ holder }) => {
    return 'uid' in holder ? holder.uid === uid : holder.gid === gid || groups.includes(holder.gid)
  })
}

/** Features that a grant has to allow, by the grant's key, and their names in messages. */
const FEATURES = {
  pinned: 'pinned ports',
  busyPoll: 'busy polling',
  hugePages: 'huge pages',
  bpfRings: 'BPF rings',
  overrideHost: "flows over the host's own packets",
  uplinkMac: "addresses at the uplink's MAC",
  tap: 'taps',
  promiscuous: 'promiscuous mode',
} as const
type Feature = keyof typeof FEATURES

function featuresOf(requested: RequestedPort): Feature[] {
  return (Object.keys(FEATURES) as Feature[]).filter((key) => requested[key])
}

/** A key of a grant that does not allow the request, and the line that would. */
interface MissingRight {
  readonly key: 'uplinks' | 'addresses' | 'vlans' | 'queues' | 'ringSize' | 'flows' | 'groups' | Feature
  readonly what: string
  readonly line: string
}

function missingRights(grant: Grant, requested: RequestedPort): MissingRight[] {
  const { uplink, addresses, vlan, queues, ringSize } = requested
  const missing: MissingRight[] = []
  if (!grant.uplinks.includes(uplink)) {
    missing.push({ key: 'uplinks', what: `the uplink ${uplink}`, line: list('uplinks', [...grant.uplinks, uplink]) })
  }
  const others = addresses.filter((address) => !grant.addresses.some((range) => range.has(address))).map(({ ip }) => ip)
  if (others.length > 0) {
    missing.push({
      key: 'addresses',
      what: `the ${others.length === 1 ? 'address' : 'addresses'} ${others.join(', ')}`,
      line: list('addresses', [...grant.addresses.map(String), ...others]),
    })
  }
  if (!grant.vlans.includes(vlan)) {
    const what = vlan === null ? 'untagged frames' : `VLAN ${vlan}`
    missing.push({ key: 'vlans', what, line: list('vlans', [...grant.vlans, vlan]) })
  }
  if (queues > grant.queues) missing.push({ key: 'queues', what: `${queues} queues`, line: `queues = ${queues}` })
  if (ringSize > grant.ringSize) {
    missing.push({ key: 'ringSize', what: `rings of ${ringSize} slots`, line: `ringSize = ${ringSize}` })
  }
  const outside = requested.flows?.outside(grant) ?? []
  if (outside.length > 0) {
    const what = `the ${outside.length === 1 ? 'flow' : 'flows'} ${outside.map(quoted).join(', ')}`
    missing.push({ key: 'flows', what, line: list('flows', [...grant.flows, ...outside]) })
  }
  const foreign = (requested.groups ?? []).filter((group) => !grant.groups.some((range) => range.has(group)))
  if (foreign.length > 0) {
    const texts = foreign.map(({ text }) => text)
    const what = `the ${texts.length === 1 ? 'group' : 'groups'} ${texts.join(', ')}`
    missing.push({ key: 'groups', what, line: list('groups', [...grant.groups.map(String), ...texts]) })
  }
  for (const key of featuresOf(requested)) {
    if (!grant[key]) missing.push({ key, what: FEATURES[key], line: `${key} = true` })
  }
  return missing
}

function notPermitted(own: readonly Grant[], { uid }: Credentials, requested: RequestedPort): XsknetError {
  const { uplink, vlan, queues, ringSize, pinned, flows } = requested
  const groups = (requested.groups ?? []).map(({ text }) => text)
  const features = featuresOf(requested)
  const addresses = requested.addresses.map(({ ip }) => ip)
  // The grant that needs the fewest changes, and the fewest new addresses, is most likely the intended one.
  const [nearest] = own
    .map((grant) => ({ grant, missing: missingRights(grant, requested) }))
    .sort((a, b) => a.missing.length - b.missing.length || lengthOf(a.missing) - lengthOf(b.missing))
  const details = {
    uid,
    uplink,
    addresses,
    vlan,
    ...(queues > 1 && { queues }),
    ...(ringSize > DEFAULT_RING_SIZE && { ringSize }),
    // The answer has to fit into a message.
    ...(flows && { flows: flows.texts.slice(0, 8) }),
    ...(groups.length > 0 && { groups: groups.slice(0, 8) }),
    ...Object.fromEntries(features.map((key) => [key, true])),
  }
  if (nearest === undefined || nearest.missing.some(({ key }) => key === 'uplinks')) {
    const lines = [
      '[[grant]]',
      `user = ${uid}`,
      list('uplinks', [uplink]),
      ...(addresses.length > 0 ? [list('addresses', addresses)] : []),
      ...(vlan === null ? [] : [list('vlans', [vlan])]),
      ...(queues > 1 ? [`queues = ${queues}`] : []),
      ...(ringSize > DEFAULT_RING_SIZE ? [`ringSize = ${ringSize}`] : []),
      ...(flows ? [list('flows', flows.texts)] : []),
      ...(groups.length > 0 ? [list('groups', groups)] : []),
      ...features.map((key) => `${key} = true`),
    ]
    return new XsknetError(
      'ERR_XSKNET_NOT_PERMITTED',
      `user ${uid} may not open a ${pinned ? 'pinned ' : ''}port on the uplink ${uplink}`,
      {
        hint: `These lines in the daemon's configuration would allow it:\n${lines.join('\n')}`,
        details,
      },
    )
  }
  const { grant, missing } = nearest
  const what = missing.map((right) => right.what).join(' and ')
  return new XsknetError('ERR_XSKNET_NOT_PERMITTED', `user ${uid} may not use ${what} on the uplink ${uplink}`, {
    hint: `In ${grant.origin}, this would allow it:\n${missing.map((right) => right.line).join('\n')}`,
    details,
  })
}

function limitReached(
  { uid }: Credentials,
  limit: 'ports' | 'memory',
  { [limit]: has, ports, lingering }: Usage,
  asked: number,
  grants: readonly Grant[],
): XsknetError {
  const [most, grant] = grants.map((grant) => [grant[limit], grant] as const).reduce((a, b) => (b[0] > a[0] ? b : a))
  const unit = limit === 'memory' ? 'bytes of UMEM' : 'ports'
  const remains = lingering ? `; ${stillHeld(lingering)}` : ''
  const remedies = [
    ...(lingering ? ['close the descriptors of closed ports in every process that has them'] : []),
    ...(ports > (lingering?.ports ?? 0) ? ['close a port'] : []),
    ...(limit === 'memory' ? ['request fewer queues, or fewer or smaller frames'] : []),
    `or raise \`${limit}\` in ${grant.origin}`,
  ]
  return new XsknetError(
    'ERR_XSKNET_LIMIT_REACHED',
    `user ${uid} has ${has} ${unit} and requests ${asked} more; the limit is ${most}${remains}`,
    {
      hint: `${capital(remedies.length === 1 ? remedies.join().replace(/^or /, '') : remedies.join(', '))}.`,
      details: { uid, limit, has, asked, most, ...(lingering && { lingering: lingering.memory }) },
    },
  )
}

function capital(text: string): string {
  return `${text[0]?.toUpperCase()}${text.slice(1)}`
}

function stillHeld({ memory, ports }: Pick<Usage, 'ports' | 'memory'>): string {
  const closed = `${ports} closed port${ports === 1 ? '' : 's'}`
  return `${memory} bytes are still held by ${closed} whose descriptors were not closed`
}

function lengthOf(missing: readonly MissingRight[]): number {
  return missing.reduce((sum, { what }) => sum + what.length, 0)
}

function list(key: string, values: readonly Vlan[] | readonly string[]): string {
  const written = values.map((value) => (typeof value === 'number' ? value : quoted(value ?? 'untagged')))
  return `${key} = [${written.join(', ')}]`
}

/** A basic string of TOML, whose escapes are those of JSON. */
function quoted(text: string): string {
  return JSON.stringify(text)
}

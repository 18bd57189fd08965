/**
 * Who may have what. Pure: what the user asks for and what the user has already come in, a refusal is thrown.
 *
 * @module
 */
import { XsknetError } from 'xsknet'
import type { Credentials } from '../platform/transport.js'
import type { Address, Range } from './address.js'
import type { MemoryBound } from './memory-limit.js'

/** What a port may do that a grant has to say, and how often. */
export interface Rights {
  /** Whether it may send frames with VLAN tags within its own. */
  readonly innerTags: boolean
  /** Whether it may send what steers others' traffic: source routes, VRRP, OSPF, and queries of IGMP and MLD. */
  readonly routing: boolean
  readonly rates: Rates
}

/** Slots of each ring of a port unless asked for otherwise, and the most that a grant allows unless it says more. */
export const RING_SIZE = 4096
/** What `xsknet-xsk` takes. */
export const MAX_RING_SIZE = 65_536

/** The frames a second that it may send to the card of each kind that costs others; absent: not limited. */
export interface Rates {
  readonly broadcast?: number
  readonly multicast?: number
  /** To a MAC from which nothing has come. */
  readonly unknownUnicast?: number
}

/** What a user, or everyone of a group, may have. */
export interface Grant extends Rights {
  readonly holder: { readonly uid: number } | { readonly gid: number }
  readonly uplinks: readonly string[]
  readonly addresses: readonly Range[]
  readonly vlans: readonly Vlan[]
  /** The most ports of one user at once. */
  readonly ports: number
  /** The most queues of one port. */
  readonly queues: number
  /** The most slots of each ring of a port. */
  readonly ringSize: number
  /** The most bytes of UMEM of one user at once. */
  readonly memory: number
  /** Whether ports may be pinned: their inner end in the user's network namespace, their socket of the user's own making. */
  readonly pinned: boolean
  /** Whether sockets may have the kernel poll the card. */
  readonly busyPoll: boolean
  /** Whether UMEMs may lie in the host's huge pages. */
  readonly hugePages: boolean
  /** Where it was written down, for people: `the 2nd [[grant]] of /etc/xsknetd.toml`. */
  readonly origin: string
}

/** A VLAN's number, or frames without a tag. */
export type Vlan = number | 'untagged'

/** What the policy has to know of a port that is asked for. */
export interface Wish {
  readonly uplink: string
  readonly addresses: readonly Address[]
  readonly vlan: Vlan
  readonly queues: number
  /** Slots of each ring; 0 of a pinned port, whose rings its client makes. */
  readonly ringSize: number
  /** Bytes of UMEM that the daemon registers, for all queues. */
  readonly memory: number
  readonly pinned: boolean
  readonly busyPoll: boolean
  readonly hugePages: boolean
}

/** What a user has. */
export interface Holding {
  readonly ports: number
  readonly memory: number
  /** What of it closed ports hold still, because not all descriptors of their sockets were closed. */
  readonly lingering?: Pick<Holding, 'ports' | 'memory'>
}

const ALL: Rights = { innerTags: true, routing: true, rates: {} }

/** Whether the user may know of the uplink. Root may do all. */
export function mayUse(grants: readonly Grant[], who: Credentials, uplink: string): boolean {
  return who.uid === 0 || grantsOf(grants, who).some((grant) => grant.uplinks.includes(uplink))
}

/**
 * Refuses a port, or returns what it may do. One grant has to allow all of it: card, every address, VLAN, queues, rings, the way, what costs
 * the host, and the user's number of ports and bytes with it. Grants are not added up, because `ports` of one network must not serve to
 * fill another. Of several that allow it, the first one counts.
 *
 * @returns That grant; for root, all rights.
 * @throws {XsknetError} `ERR_XSKNET_NOT_PERMITTED` or `ERR_XSKNET_LIMIT_REACHED`.
 */
export function permit(grants: readonly Grant[], who: Credentials, wish: Wish, has: Holding): Rights {
  if (who.uid === 0) return ALL
  const own = grantsOf(grants, who)
  const covering = own.filter((grant) => lacks(grant, wish).length === 0)
  if (covering.length === 0) throw notPermitted(own, who, wish)

  const roomy = covering.filter((grant) => has.ports + 1 <= grant.ports)
  if (roomy.length === 0) throw exhausted(who, 'ports', has, 1, covering)
  const first = roomy.find((grant) => has.memory + wish.memory <= grant.memory)
  if (!first) throw exhausted(who, 'memory', has, wish.memory, roomy)
  return first
}

/**
 * Refuses a port for which all ports together would take more memory than they may, root's too: what the daemon registers is locked, and the
 * kernel would kill a process for want of it, the daemon before others. To root alone it tells what the others have.
 *
 * @throws {XsknetError} `ERR_XSKNET_LIMIT_REACHED`.
 */
export function checkMemory(
  { most, key }: MemoryBound,
  { uid }: Credentials,
  wish: Wish,
  all: Pick<Holding, 'memory' | 'lingering'>,
): void {
  const { memory: asked } = wish
  const { memory: has, lingering } = all
  if (has + asked <= most) return
  const figures = uid === 0 ? `have ${has} bytes of UMEM and may have ${most}` : `may have ${most} bytes of UMEM`
  const known = uid === 0 ? { has, ...(lingering && { lingering: lingering.memory }) } : {}
  const remains = uid === 0 && lingering ? `; ${heldStill(lingering)}` : ''
  throw new XsknetError(
    'ERR_XSKNET_LIMIT_REACHED',
    `all ports together ${figures}, and ${asked} more would be beyond that${remains}`,
    {
      hint: `Ask for fewer queues, or fewer or smaller frames, close a port, or raise ${key}.`,
      details: { uid, limit: 'memory of all ports', asked, most, ...known },
    },
  )
}

/** An uplink that the user may not know of. Whether it exists is not told. */
export function unknownUplink(who: Credentials, uplink: string): XsknetError {
  return new XsknetError('ERR_XSKNET_NOT_PERMITTED', `user ${who.uid} may not use the uplink ${uplink}`, {
    hint: `A grant for user ${who.uid} with uplinks = [${quoted(uplink)}] would allow it.`,
    details: { uid: who.uid, uplink },
  })
}

function grantsOf(grants: readonly Grant[], { uid, gid, groups }: Credentials): Grant[] {
  const of = ({ holder }: Grant) =>
    'uid' in holder ? holder.uid === uid : holder.gid === gid || groups.includes(holder.gid)
  return grants.filter(of)
}

/** What is asked for or not, by its key, and what it is for people. */
const SWITCHES = {
  pinned: 'pinned ports',
  busyPoll: 'busy polling',
  hugePages: 'huge pages',
} as const
type Switch = keyof typeof SWITCHES

/** Those that a wish has switched on. */
function switchesOf(wish: Wish): Switch[] {
  return (Object.keys(SWITCHES) as Switch[]).filter((key) => wish[key])
}

/** A key of a grant that stands in the way, and what it would have to be. */
interface Lack {
  readonly key: 'uplinks' | 'addresses' | 'vlans' | 'queues' | 'ringSize' | Switch
  readonly what: string
  readonly line: string
}

function lacks(grant: Grant, wish: Wish): Lack[] {
  const { uplink, addresses, vlan, queues, ringSize } = wish
  const found: Lack[] = []
  if (!grant.uplinks.includes(uplink)) {
    found.push({ key: 'uplinks', what: `the uplink ${uplink}`, line: list('uplinks', [...grant.uplinks, uplink]) })
  }
  const strange = addresses
    .filter((address) => !grant.addresses.some((range) => range.has(address)))
    .map(({ ip }) => ip)
  if (strange.length > 0) {
    const line = list('addresses', [...grant.addresses.map(String), ...strange])
    found.push({
      key: 'addresses',
      what: `the ${strange.length === 1 ? 'address' : 'addresses'} ${strange.join(', ')}`,
      line,
    })
  }
  if (!grant.vlans.includes(vlan)) {
    const what = vlan === 'untagged' ? 'untagged frames' : `VLAN ${vlan}`
    found.push({ key: 'vlans', what, line: list('vlans', [...grant.vlans, vlan]) })
  }
  if (queues > grant.queues) found.push({ key: 'queues', what: `${queues} queues`, line: `queues = ${queues}` })
  if (ringSize > grant.ringSize) {
    found.push({ key: 'ringSize', what: `rings of ${ringSize} slots`, line: `ringSize = ${ringSize}` })
  }
  for (const key of switchesOf(wish)) if (!grant[key]) found.push({ key, what: SWITCHES[key], line: `${key} = true` })
  return found
}

function notPermitted(own: readonly Grant[], { uid }: Credentials, wish: Wish): XsknetError {
  const { uplink, vlan, queues, ringSize, pinned } = wish
  const switches = switchesOf(wish)
  const addresses = wish.addresses.map(({ ip }) => ip)
  // The grant that needs the fewest changes, and the fewest new addresses, is most likely the one that was meant.
  const [nearest] = own
    .map((grant) => ({ grant, lacking: lacks(grant, wish) }))
    .sort((a, b) => a.lacking.length - b.lacking.length || lengthOf(a.lacking) - lengthOf(b.lacking))
  const details = {
    uid,
    uplink,
    addresses,
    vlan,
    ...(queues > 1 && { queues }),
    ...(ringSize > RING_SIZE && { ringSize }),
    ...Object.fromEntries(switches.map((key) => [key, true])),
  }
  if (nearest === undefined || nearest.lacking.some(({ key }) => key === 'uplinks')) {
    const lines = [
      '[[grant]]',
      `user = ${uid}`,
      list('uplinks', [uplink]),
      list('addresses', addresses),
      ...(vlan === 'untagged' ? [] : [list('vlans', [vlan])]),
      ...(queues > 1 ? [`queues = ${queues}`] : []),
      ...(ringSize > RING_SIZE ? [`ringSize = ${ringSize}`] : []),
      ...switches.map((key) => `${key} = true`),
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
  const { grant, lacking } = nearest
  const what = lacking.map((lack) => lack.what).join(' and ')
  return new XsknetError('ERR_XSKNET_NOT_PERMITTED', `user ${uid} may not use ${what} on the uplink ${uplink}`, {
    hint: `In ${grant.origin}, this would allow it:\n${lacking.map((lack) => lack.line).join('\n')}`,
    details,
  })
}

function exhausted(
  { uid }: Credentials,
  limit: 'ports' | 'memory',
  { [limit]: has, ports, lingering }: Holding,
  asked: number,
  grants: readonly Grant[],
): XsknetError {
  const [most, grant] = grants.map((grant) => [grant[limit], grant] as const).reduce((a, b) => (b[0] > a[0] ? b : a))
  const unit = limit === 'memory' ? 'bytes of UMEM' : 'ports'
  const remains = lingering ? `; ${heldStill(lingering)}` : ''
  const ways = [
    ...(lingering ? ['close the descriptors of closed ports in every process that has them'] : []),
    ...(ports > (lingering?.ports ?? 0) ? ['close a port'] : []),
    ...(limit === 'memory' ? ['ask for fewer queues, or fewer or smaller frames'] : []),
    `or raise \`${limit}\` in ${grant.origin}`,
  ]
  return new XsknetError(
    'ERR_XSKNET_LIMIT_REACHED',
    `user ${uid} has ${has} ${unit} and asks for ${asked} more, but may have ${most}${remains}`,
    {
      hint: `${capital(ways.length === 1 ? ways.join().replace(/^or /, '') : ways.join(', '))}.`,
      details: { uid, limit, has, asked, most, ...(lingering && { lingering: lingering.memory }) },
    },
  )
}

function capital(text: string): string {
  return `${text[0]?.toUpperCase()}${text.slice(1)}`
}

/** What closed ports have, for people. */
function heldStill({ memory, ports }: Pick<Holding, 'ports' | 'memory'>): string {
  return `${memory} bytes are still held by ${ports} closed port${ports === 1 ? '' : 's'} whose descriptors were not closed`
}

function lengthOf(lacking: readonly Lack[]): number {
  return lacking.reduce((sum, { what }) => sum + what.length, 0)
}

function list(key: string, values: readonly Vlan[] | readonly string[]): string {
  return `${key} = [${values.map((value) => (typeof value === 'number' ? value : quoted(value))).join(', ')}]`
}

/** A basic string of TOML: its escapes are those of JSON. */
function quoted(text: string): string {
  return JSON.stringify(text)
}

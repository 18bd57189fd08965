import * as v from 'valibot'
import type { XsknetError } from 'xsknet'
import { AddressRange } from '../policy/address.js'
import type { Rate, Rates } from '../policy/grant.js'
import { GroupRange } from '../policy/group.js'
import {
  DEFAULT_FRAME_RATE,
  DEFAULT_MEMORY,
  DEFAULT_PORTS,
  DEFAULT_QUEUES,
  DEFAULT_RING_SIZE,
  isVlanId,
  MAX_BIT_RATE,
  MAX_FLOW_LENGTH,
  MAX_FRAME_RATE,
  MAX_PORTS,
  MAX_QUEUES,
  MAX_RING_SIZE,
  MAX_VLAN,
  MIN_VLAN,
} from '../policy/limits.js'
import type { Accounts } from './accounts.js'
import { interfaces, isWhole, listOf, memory, whole } from './rules.js'

/** So many frames or bits per second; with `burst`, so many at once, else as many as in one second. */
export type RateOption = number | 'unlimited' | { perSecond: number; burst?: number }

/** What a user, or each member of a group, may have: a `[[grant]]` of the configuration file. */
export interface GrantOptions {
  /** User name or ID. Either this or `group`. */
  user?: string | number
  /** Group name or ID; supplementary groups count. */
  group?: string | number
  /** Interfaces on which ports may be opened. At least one. */
  uplinks: string[]
  /**
   * Addresses and ranges that ports may have, such as `192.0.2.8/29`. At least one, unless there are `flows`: without
   * addresses, ports have flows alone.
   */
  addresses?: string[]
  /** VLAN IDs, 1 to 4094; `untagged` for frames without a tag: TOML has no `null`. Default: `['untagged']`. */
  vlans?: (number | 'untagged')[]
  /** Maximum number of open ports of one user, 1 to 65,535. Default: 1. An uplink has at most 1024 ports in total. */
  ports?: number
  /**
   * Maximum number of queues of one port, 1 to 8. Default: 1. Each queue has a UMEM of its own, which counts towards
   * `memory`.
   */
  queues?: number
  /**
   * Maximum number of slots of each ring of a port, 1 to 65,536. Default: 4096. A client can make the kernel send a
   * whole ring in one system call. On a kernel without preemption, the opening of other ports waits for that: 65,536
   * frames take about 0.2 s.
   */
  ringSize?: number
  /** Maximum UMEM of one user's ports together: a number of bytes, or a size such as `64MiB`. Default: 16 MiB. */
  memory?: string | number
  /**
   * Whether these users may open pinned ports, whose sockets their own programs create. Default: false. The memory of
   * such a port is locked by the user's program and does not count towards `memory`.
   */
  pinned?: boolean
  /**
   * Whether ports may send frames with a second VLAN tag behind the tag of the port's VLAN. A port without a VLAN never
   * sends tags. Default: false. A switch whose native VLAN is the port's removes the outer tag and forwards the frame
   * in the VLAN of the inner one.
   */
  innerTags?: boolean
  /**
   * Whether ports may send frames that affect the routing of others: IP source routing options and routing headers,
   * VRRP, OSPF, IGMP and MLD queries, multicast router discovery. Default: false.
   */
  routing?: boolean
  /** Whether ports may use `busyPoll`, which spends the host's CPU time. Default: false. */
  busyPoll?: boolean
  /** Whether ports may use `hugePages`, which are scarce and which other services may need. Default: false. */
  hugePages?: boolean
  /**
   * Whether ports may have BPF rings: the users' programs then hold a BPF program of their port, which they run to
   * send. Default: false.
   */
  bpfRings?: boolean
  /**
   * Whether ports may have their addresses at the uplink's MAC, so that the network takes their frames for the host's:
   * `mac: 'uplink'`. Default: false.
   */
  uplinkMac?: boolean
  /**
   * Packets that ports may receive and send beside those of their own addresses, by their headers: filter expressions
   * in the language of tcpdump, such as `udp dst port 53 and dst host 192.0.2.1`. A port may claim what these contain.
   * Default: none. With some, ports need no address of their own. A port sees packets that others send to that address,
   * and may answer in its place.
   */
  flows?: string[]
  /**
   * Whether ports may claim flows that take packets of the host's own sockets and of its kernel. Default: false.
   */
  overrideHost?: boolean
  /**
   * Groups that ports may join, of whose frames they get copies: `broadcast`, multicast addresses and ranges such as
   * `239.0.0.0/8`, and multicast MACs. Default: none. A port sees what others send to these groups.
   */
  groups?: string[]
  /**
   * Whether ports may be taps, which get copies of everything that the uplink receives and sends, the host's packets
   * and those of other users included. A tap needs `bpfRings`, too. Default: false.
   */
  tap?: boolean
  /**
   * Whether taps may switch the interface to promiscuous mode, in which it receives frames for other stations, too.
   * Default: false.
   */
  promiscuous?: boolean
  /**
   * Limits on what each port sends, and on its copies, in frames per second, 0 to 4,294,967,295, or `unlimited`. A
   * burst is one second's worth, unless it is given as in `{ perSecond: 1000, burst: 50 }`. One frame always passes at
   * once, if any.
   */
  rates?: {
    /** Broadcast frames to the uplink. Default: 1000. */
    broadcast?: RateOption
    /** Multicast frames to the uplink. Default: 1000. */
    multicast?: RateOption
    /**
     * Frames to MACs that have sent nothing for five minutes, which switches flood to all their ports. Default: 1000.
     */
    unknownUnicast?: RateOption
    /** Copies of frames to the groups of the port, or for a tap. Default: 1000. */
    copies?: RateOption
    /** All frames that a port sends, those to other ports included. Default: `unlimited`. */
    frames?: RateOption
    /**
     * Likewise in bits per second, 0 to 1,000,000,000,000, from the Ethernet header to the end of the frame. The frame
     * that exceeds a burst is the last one that passes. Default: `unlimited`.
     */
    bits?: RateOption
  }
}

const account = v.custom<string | number>(
  (value) => (typeof value === 'string' && value !== '') || isWhole(value, 0, 0xffff_fffe),
  'must be a name in quotes or a numeric ID',
)

const vlan = v.pipe(
  v.custom<number | 'untagged'>(
    (value) => value === 'untagged' || isVlanId(value as number),
    `must be "untagged" or a VLAN ID from ${MIN_VLAN} to ${MAX_VLAN}`,
  ),
  v.transform((value) => (value === 'untagged' ? null : value)),
)

/** The daemon reads the expressions when it starts. */
const flow = v.custom<string>(
  (value) => typeof value === 'string' && value.length >= 1 && value.length <= MAX_FLOW_LENGTH,
  `must be a filter expression in quotes, of 1 to ${MAX_FLOW_LENGTH} characters, such as "udp dst port 53"`,
)

const flag = v.boolean('must be true or false')

/** A number of frames or bits, or a table with a burst. */
function rate(what: 'frames' | 'bits', most: number) {
  const number = `must be a number of ${what} per second from 0 to ${most}`
  const withBurst = v.pipe(
    v.strictObject({
      perSecond: v.custom<number>((value) => isWhole(value, 0, most), number),
      burst: v.optional(
        v.custom<number>((value) => isWhole(value, 0, most), `must be a number of ${what} from 0 to ${most}`),
      ),
    }),
    v.transform(({ perSecond, burst = perSecond }): Rate => ({ perSecond, burst })),
  )
  const alone = v.pipe(
    v.custom<number | 'unlimited'>(
      (value) => value === 'unlimited' || isWhole(value, 0, most),
      `${number}, "unlimited", or a table, such as { perSecond = 1000, burst = 50 }`,
    ),
    v.transform((value) => (value === 'unlimited' ? undefined : { perSecond: value, burst: value })),
  )
  return v.lazy((value) => (typeof value === 'object' && value !== null ? withBurst : alone))
}

const limited = v.optional(rate('frames', MAX_FRAME_RATE), DEFAULT_FRAME_RATE)

const rates = v.pipe(
  v.optional(
    v.strictObject(
      {
        broadcast: limited,
        multicast: limited,
        unknownUnicast: limited,
        copies: limited,
        frames: v.optional(rate('frames', MAX_FRAME_RATE)),
        bits: v.optional(rate('bits', MAX_BIT_RATE)),
      },
      'must be a table, such as { broadcast = 1000 }',
    ),
    {},
  ),
  v.transform((rates): Rates => Object.fromEntries(Object.entries(rates).filter(([, value]) => value !== undefined))),
)

const range = v.pipe(
  v.string('must be an address or a range in quotes, such as "192.0.2.8/29"'),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    try {
      const range = new AddressRange(dataset.value)
      if (range.unusable === undefined) return range
      const why = `\`${dataset.value}\` is ${range.unusable}, which no port can use`
      addIssue({ message: `${why}: grant addresses of the interface's network` })
      return NEVER
    } catch (error) {
      const { message, hint } = error as XsknetError
      addIssue({ message: `${message}. ${hint}` })
      return NEVER
    }
  }),
)

const group = v.pipe(
  v.string('must be a group in quotes, such as "224.0.0.251" or "broadcast"'),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    try {
      return new GroupRange(dataset.value)
    } catch (error) {
      const { message, hint } = error as XsknetError
      addIssue({ message: `${message}. ${hint}` })
      return NEVER
    }
  }),
)

/**
 * Resolves names and parses addresses while it validates, so that every error is reported with its place in the file.
 */
export const grantSchema = (accounts: Accounts) => {
  const named = (kind: 'user' | 'group', file: string) =>
    v.pipe(
      account,
      v.rawTransform(({ dataset, addIssue, NEVER }) => {
        const id = typeof dataset.value === 'number' ? dataset.value : accounts[kind](dataset.value)
        if (id !== undefined) return id
        const unknown = `unknown ${kind} \`${dataset.value}\`: it is not in ${file}`
        addIssue({ message: `${unknown}; use the numeric ID of a ${kind} from a directory service` })
        return NEVER
      }),
    )
  return v.pipe(
    v.strictObject({
      user: v.optional(named('user', '/etc/passwd')),
      group: v.optional(named('group', '/etc/group')),
      uplinks: interfaces,
      addresses: v.optional(listOf(range, 'a list of addresses and ranges, such as ["192.0.2.8/29"]')),
      vlans: v.optional(listOf(vlan, 'a list of VLANs, such as [42, "untagged"]'), ['untagged']),
      ports: v.optional(whole(1, MAX_PORTS), DEFAULT_PORTS),
      queues: v.optional(whole(1, MAX_QUEUES), DEFAULT_QUEUES),
      ringSize: v.optional(whole(1, MAX_RING_SIZE), DEFAULT_RING_SIZE),
      memory: v.optional(memory, DEFAULT_MEMORY),
      pinned: v.optional(flag, false),
      innerTags: v.optional(flag, false),
      routing: v.optional(flag, false),
      busyPoll: v.optional(flag, false),
      hugePages: v.optional(flag, false),
      bpfRings: v.optional(flag, false),
      uplinkMac: v.optional(flag, false),
      flows: v.optional(v.array(flow, 'must be a list of filter expressions, such as ["udp dst port 53"]'), []),
      overrideHost: v.optional(flag, false),
      groups: v.optional(v.array(group, 'must be a list of groups, such as ["224.0.0.251", "broadcast"]'), []),
      tap: v.optional(flag, false),
      promiscuous: v.optional(flag, false),
      rates,
    }),
    v.check(({ user, group }) => (user === undefined) !== (group === undefined), 'must have either `user` or `group`'),
    v.check(
      ({ addresses = [], flows, tap }) => addresses.length + flows.length > 0 || tap,
      'must have `addresses`, or `flows` or `tap = true` for ports without an address',
    ),
    v.transform(({ addresses = [], ...grant }) => ({ addresses, ...grant })),
  )
}

export type CheckedGrant = v.InferOutput<ReturnType<typeof grantSchema>>

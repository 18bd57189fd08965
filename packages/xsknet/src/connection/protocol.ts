/**
 * The control protocol: one JSON message per packet on a SOCK_SEQPACKET socket. Both sides check each message against
 * these schemas. docs/protocol.md describes the protocol for other languages; its examples are tested against this
 * file.
 *
 * @module
 */
import * as v from 'valibot'
import { XsknetError, type XsknetErrorCode } from '../errors.js'
import {
  MAX_ADDRESSES,
  MAX_COALESCE,
  MAX_EXPLAINED,
  MAX_FLOW_LENGTH,
  MAX_FLOW_TEXTS,
  MAX_GROUP_LENGTH,
  MAX_GROUPS,
  MAX_NAME_LENGTH,
  MAX_QUEUES,
  MAX_REFUSAL_BYTES,
  MAX_SNAP_LENGTH,
  MESSAGE_LIMIT,
  MIN_EXPLAINED,
  MIN_SNAP_LENGTH,
  NESTING_LIMIT,
} from './limits.js'
import { unknownKeyIn } from './suggestions.js'

export * from './limits.js'

/** The version of the protocol that this file defines. Every message carries it. */
export const PROTOCOL_VERSION = 2
/** The release of `xsknet` and `xsknetd` that this file belongs to. */
export const RELEASE = '0.1.0'
/** The path of the default instance's control socket. */
export const DEFAULT_SOCKET = '/run/xsknet/default.sock'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const u32 = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(0xffff_ffff))
const upTo = (most: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(most))
const text = (longest: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(longest))
/** `v.record` alone accepts an array as an object with numeric keys. */
const record = <V>(value: v.GenericSchema<V>) =>
  v.pipe(
    v.custom<Record<string, unknown>>(
      (input) => !Array.isArray(input),
      'Invalid type: Expected Object but received Array',
    ),
    v.record(v.string(), value),
  )
const deviceName = text(15)
const portName = text(MAX_NAME_LENGTH)
const address = text(64)
const mac = text(17)
const version = v.literal(PROTOCOL_VERSION)
const id = u32
const port = u32
/** Filter expressions in the language of tcpdump. */
const flows = v.pipe(v.array(text(MAX_FLOW_LENGTH)), v.maxLength(MAX_FLOW_TEXTS))
/** `broadcast`, multicast addresses and multicast MACs. */
const groups = v.pipe(v.array(text(MAX_GROUP_LENGTH)), v.maxLength(MAX_GROUPS))
/** Of what a tap gets copies. `TapOptions` describes each of them. */
const tap = v.strictObject({
  received: v.optional(v.boolean()),
  sent: v.optional(v.boolean()),
  flows: v.optional(flows),
  sample: v.optional(upTo(0xffff_ffff)),
  snapLength: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(MIN_SNAP_LENGTH), v.maxValue(MAX_SNAP_LENGTH))),
  promiscuous: v.optional(v.boolean()),
})
/** Ranges of chunks: the first chunk and the number of chunks of each. */
const chunkRanges = v.array(v.strictTuple([u32, u32]))

const attempt = v.strictObject({
  /**
   * What was set up: the program of the `uplink`, the `guard` or the `port`, the `bind` of the socket, or the `rings`.
   */
  hook: text(32),
  /** The mode or setting that was attempted: `native`, `skb`, `zero-copy`, `busy-poll`, … */
  step: text(64),
  /** The kernel's error, such as `EOPNOTSUPP`; `null` where it succeeded or the kernel was not asked. */
  code: v.nullable(text(32)),
  /** The reason in plain words. */
  why: v.pipe(v.string(), v.maxLength(1024)),
})
/** A mode or setting that was attempted while a program was attached or a socket bound, with its result. */
export type Attempt = v.InferOutput<typeof attempt>

const xdpMode = v.picklist(['native', 'skb', 'hw'])
/** Where an XDP program runs: in the driver, in the kernel's generic path, or on the NIC. */
export type XdpMode = v.InferOutput<typeof xdpMode>

const bindMode = v.picklist(['copy', 'zero-copy'])
/** How frames get from the driver into the UMEM. */
export type BindMode = v.InferOutput<typeof bindMode>

const ringKind = v.picklist(['xsk', 'bpf'])
/** What the frames of a port go through: the rings of an AF_XDP socket, or BPF rings. */
export type RingKind = v.InferOutput<typeof ringKind>

const goneUplink = v.strictObject({
  /** The name that the interface had when the daemon began to manage it. */
  uplink: deviceName,
  /** Seconds since it was deleted or moved. */
  seconds: count,
})
/** An uplink that was deleted or moved to another namespace. */
export type GoneUplink = v.InferOutput<typeof goneUplink>

const uplinkInfo = v.strictObject({
  /** The name that the interface had when the daemon began to manage it. All requests use this name. */
  uplink: deviceName,
  /** The interface's current name. */
  device: deviceName,
  /** The interface's index in the host's network namespace. */
  index: u32,
  /** The interface's MAC, such as `02:00:00:00:00:01`. */
  mac,
  /** The interface's MTU in bytes. */
  mtu: u32,
  /** Whether frames can be sent: the interface may be down or have no carrier. */
  link: v.picklist(['up', 'no-carrier', 'down']),
  /** The mode in which the uplink's XDP program runs. */
  mode: xdpMode,
  /** The modes that were attempted for the uplink's program, in order. */
  attempts: v.array(attempt),
})
/** An interface that the daemon manages. */
export type UplinkInfo = v.InferOutput<typeof uplinkInfo>

const queuePair = v.strictObject({
  /** The name of the outer device, in the host's network namespace. */
  outer: deviceName,
  /** The name of the inner device, in the instance's namespace or, for a pinned port, in its client's. */
  inner: deviceName,
})
/** The veth pair of one queue. */
export type QueuePair = v.InferOutput<typeof queuePair>

/** What identifies an open port. */
const portIdentity = {
  /** The port's number, unique during the daemon's life. */
  port,
  /** The port's name, unique among the ports of its user on the uplink. */
  name: portName,
  /** The name of its uplink. */
  uplink: deviceName,
  /**
   * The MAC that it receives at and sends from, such as `02:00:00:00:00:01`: its own, or without addresses that of the
   * uplink when the port was opened.
   */
  mac,
  /** Its addresses with their prefix lengths. If there is an IPv6 address, the link-local one comes last. */
  addresses: v.array(address),
  /** Its VLAN ID; `null`: only untagged frames. */
  vlan: v.nullable(u32),
}

const pinnedPortInfo = v.strictObject({
  ...portIdentity,
  /** Its MTU in bytes. */
  mtu: u32,
  /** The outer device of its first queue pair. */
  outer: deviceName,
  /** The inner device of its first queue pair. */
  inner: deviceName,
  /** The queue pair of each queue, by the queue's index. */
  queuePairs: v.pipe(v.array(queuePair), v.minLength(1)),
  /** The mode in which its guard runs. */
  guardMode: xdpMode,
  /** The mode in which the program at its inner end runs. */
  portMode: xdpMode,
  /** What its frames go through; `xsk` for a pinned port. */
  rings: ringKind,
  /** The groups that it joined when it was opened. */
  groups,
  /** The modes and settings that were attempted for the port, in order. */
  attempts: v.array(attempt),
})
/** An open port whose socket its client makes. */
export type PinnedPortInfo = v.InferOutput<typeof pinnedPortInfo>

const portInfo = v.strictObject({
  ...pinnedPortInfo.entries,
  /** The bind mode of its first socket. */
  bindMode,
})
/** An open port. */
export type PortInfo = v.InferOutput<typeof portInfo>

const pinned = v.strictObject({
  /** The path of the port's XSKMAP in bpffs, which the client may open. */
  xsks: text(4095),
  /** The device to bind the socket to, in the namespace that came with the request. */
  device: deviceName,
  /** The queue to bind it to, which is also its key in the map. */
  queue: u32,
})
/** Where a client puts the socket of a pinned port. */
export type Pinned = v.InferOutput<typeof pinned>

const portEntry = v.strictObject({
  ...portIdentity,
  /** The number of its queues. */
  queues: u32,
  /** What its frames go through. */
  rings: ringKind,
  /** The groups that it is in. */
  groups,
  /** The user ID of its client. */
  uid: u32,
  /** The process ID of its client. */
  pid: u32,
})
/** An open port in the daemon's list. */
export type PortEntry = v.InferOutput<typeof portEntry>

const ringsDescription = v.strictObject({
  /** Slots for reception, a power of two. */
  rxSlots: u32,
  /** Slots for sending, a power of two. */
  txSlots: u32,
  /** The position of the next slot that the program gives back for reception. */
  rxPosition: u32,
  /** The position of the next slot for sending. */
  txPosition: u32,
  /** The chunks posted for reception, oldest first. */
  posted: chunkRanges,
})
/** What a client cannot learn from the descriptors of a queue's BPF rings. */
export type RingsDescription = v.InferOutput<typeof ringsDescription>

const socketDescription = v.strictObject({
  /** Bytes of a chunk of the UMEM. */
  frameSize: u32,
  /** Chunks of the UMEM. */
  frames: u32,
  /** Bytes left free in front of each frame, in addition to the kernel's 256. */
  headroom: u32,
  /** Slots of the RX ring. */
  rx: u32,
  /** Slots of the TX ring. */
  tx: u32,
  /** Slots of the FILL ring. */
  fill: u32,
  /** Slots of the COMPLETION ring. */
  completion: u32,
  /** The most chunks that reception may hold. */
  fillTarget: u32,
  /** The chunks lent to reception. */
  inFill: chunkRanges,
  /**
   * Whether a frame may take several chunks: `XDP_PKT_CONTD` in a descriptor's options says that the next one continues
   * it.
   */
  multiBuffer: v.boolean(),
  /** Whether the UMEM lies in huge pages. */
  hugePages: v.boolean(),
  /** The port whose UMEM this socket shares, which the client has already: only the XSK comes with the answer then. */
  umemOf: v.optional(port),
  /** The BPF rings of the queue, whose control map, wake-up ring buffer and program come with the answer too. */
  rings: v.optional(ringsDescription),
  bindMode,
  /**
   * Frames that the daemon took out of RX, put into TX and took out of COMPLETION before the hand-over, for the
   * self-test.
   */
  counted: v.strictObject({ received: u32, sent: u32, completed: u32 }),
})
/** What a client cannot learn from a socket's descriptors. */
export type SocketDescription = v.InferOutput<typeof socketDescription>

const counters = v.strictObject({
  /** Frames that reached the program. Each is counted in exactly one of the others. */
  seen: count,
  /** Frames passed to the host's stack. */
  passed: count,
  /** Frames redirected to a port. */
  toPort: count,
  /** Frames redirected to the uplink. */
  toUplink: count,
  /** Frames redirected to the port's socket. */
  toSocket: count,
  /** Frames dropped, by reason. */
  dropped: record(count),
})
/** The verdicts of one XDP program, in frames. */
export type Counters = v.InferOutput<typeof counters>

const kernelStatistics = v.strictObject({
  /** Frames dropped for another reason than those below, such as an empty FILL ring in copy mode. */
  rxDropped: count,
  /** Entries of FILL that the kernel refused. */
  rxInvalidDescs: count,
  /** Entries of TX that the kernel refused. */
  txInvalidDescs: count,
  /** Frames dropped because RX was full. */
  rxRingFull: count,
  /** Times that the kernel needed a chunk and FILL was empty. */
  rxFillRingEmptyDescs: count,
  /** Times that the kernel found TX empty; not a loss. */
  txRingEmptyDescs: count,
})
/** The kernel's counters of a socket (`XDP_STATISTICS`). */
export type KernelStatistics = v.InferOutput<typeof kernelStatistics>

const ringStatistics = v.strictObject({
  /** Frames that arrived and found a slot. */
  received: count,
  /** Frames for which the client had posted no chunk. */
  noChunk: count,
  /** Those of `received` that were lost because the client had posted a chunk that does not exist. */
  invalidChunk: count,
  /** Frames taken from the client, to be sent. */
  sent: count,
})
/** The counters of a port's BPF rings, all queues together. */
export type RingStatistics = v.InferOutput<typeof ringStatistics>

const portStatistics = v.strictObject({
  /** The guard's verdicts on frames that the port sent. */
  guard: counters,
  /** What became of the copies for the port, of broadcast and multicast that the host gets, too. */
  copies: counters,
  /** The port program's verdicts on frames for the port. */
  program: counters,
  /** The socket's counters; `null` for a pinned port whose client has not shared its socket. */
  socket: v.nullable(kernelStatistics),
  /** The counters of its BPF rings; `null` for a port without them. */
  rings: v.nullable(ringStatistics),
  /** Frames that the port sent and that its queue pairs had no room for. */
  innerTransmitDrops: count,
  /** Frames for the port that its queue pairs had no room for. */
  outerTransmitDrops: count,
  /** Redirects that the kernel refused after the guard had returned. */
  outerRefusedRedirects: count,
})
/** The kernel's counters of a port. docs/losses.md says how they add up. */
export type PortStatistics = v.InferOutput<typeof portStatistics>

const uplinkStatistics = v.strictObject({
  /** The uplink program's verdicts. */
  program: counters,
  /** Frames from outer devices of ports that were being opened or closed. */
  unattributed: counters,
  /** Frames that the NIC did not accept; `null` where its driver does not count them. */
  transmitDrops: v.nullable(count),
  /** Redirects that the kernel refused after the uplink program had returned; `null` where they are not counted. */
  refusedRedirects: v.nullable(count),
  /** Frames that the daemon sent to announce ports to the neighbours, with the ports' MACs. */
  announced: count,
  /** The sums of the ports that were closed. `socket` has those sockets whose counters the daemon could read. */
  closed: v.strictObject({ ...portStatistics.entries, socket: kernelStatistics, rings: ringStatistics }),
})
/** The kernel's counters of an uplink, since the daemon began to manage it. */
export type UplinkStatistics = v.InferOutput<typeof uplinkStatistics>

/** A packet in hexadecimal digits. */
const packet = v.pipe(
  v.string(),
  v.minLength(2 * MIN_EXPLAINED),
  v.maxLength(2 * MAX_EXPLAINED),
  v.regex(/^(?:[0-9a-f]{2})+$/, 'Invalid packet: Expected pairs of lower-case hexadecimal digits'),
)
/** `null`: untagged. `802.1ad`: the outer tag is of another kind than 802.1Q. */
const frameVlan = v.nullable(v.union([u32, v.literal('802.1ad')]))
/** `other`: another user's port. */
const anyPort = v.union([port, v.literal('other')])
const explainedStep = v.variant('step', [
  /** The VLAN tags, and the EtherType behind those that were read. */
  v.strictObject({
    step: v.literal('tags'),
    vlan: frameVlan,
    etherType: u32,
    tags: v.picklist(['read', 'cut', 'too-many']),
  }),
  /** Whether the source MAC is the port's own, and the port's VLAN. */
  v.strictObject({ step: v.literal('sender'), mac: v.picklist(['own', 'other']), vlan: v.nullable(u32) }),
  /** Which port has the destination MAC. */
  v.strictObject({ step: v.literal('mac'), mac, vlan: frameVlan, port: v.nullable(anyPort) }),
  /** Which port has the address that ARP or neighbour discovery ask for, or speak of. */
  v.strictObject({ step: v.literal('target'), address, port: v.nullable(anyPort) }),
  /** Which port has the uplink's MAC and the address that the packet is for. */
  v.strictObject({ step: v.literal('destination'), address, port: v.nullable(anyPort) }),
  /** Whether the port may send from an address. */
  v.strictObject({ step: v.literal('source'), address, own: v.boolean() }),
  /** The first flow that matches, and whose it is. */
  v.strictObject({
    step: v.literal('flow'),
    port: v.nullable(anyPort),
    flow: v.nullable(v.pipe(v.string(), v.maxLength(MAX_FLOW_LENGTH))),
  }),
  /** The packet is an ICMP error: the next flow is that of the packet that it quotes. */
  v.strictObject({ step: v.literal('quoted') }),
  /** Which port got the first fragment. */
  v.strictObject({ step: v.literal('fragment'), port: v.nullable(anyPort) }),
  /** The bytes of the frame, and the most that its target takes. */
  v.strictObject({ step: v.literal('length'), length: count, most: count }),
  /** Whether the port is limited in this kind of frames, and may send this one. `known` is told to root only. */
  v.strictObject({
    step: v.literal('rate'),
    kind: v.picklist(['broadcast', 'multicast', 'unicast', 'frames', 'bits']),
    limited: v.boolean(),
    known: v.nullable(v.boolean()),
    within: v.boolean(),
  }),
])
/** What a program looked at, while it decided about a packet. */
export type ExplainedStep = v.InferOutput<typeof explainedStep>

/** A frame that the guard refused. */
const refusedFrame = v.strictObject({
  /** Milliseconds since 1970, as of `Date.now()`. */
  time: v.pipe(v.number(), v.finite()),
  /** The counter of the guard that it moved. */
  reason: text(32),
  /** Bytes of the frame. */
  length: count,
  /** The first of them in hexadecimal digits. */
  bytes: v.pipe(v.string(), v.maxLength(2 * MAX_REFUSAL_BYTES), v.regex(/^(?:[0-9a-f]{2})*$/)),
})

const explanation = v.strictObject({
  uplink: deviceName,
  /** The counter that such a packet moves; `null`: it goes elsewhere than to a port of this user. */
  counter: v.nullable(text(32)),
  /** What decided, by its name in docs/verdicts.md. */
  rule: v.nullable(text(64)),
  target: v.nullable(
    v.strictObject({
      /** The port's number; `null` for another user's port. */
      port: v.nullable(port),
      /** Its name, likewise. */
      name: v.nullable(portName),
      /** The queue, likewise; also `null` for a packet that is too long for the port. */
      queue: v.nullable(u32),
      /** What the packet goes into, likewise. */
      rings: v.nullable(ringKind),
    }),
  ),
  steps: v.array(explainedStep),
})

// A type test holds these and `PortOptions` of network.ts together.
const pinnedPortRequest = v.strictObject({
  uplink: deviceName,
  addresses: v.optional(v.pipe(v.array(address), v.maxLength(MAX_ADDRESSES))),
  name: v.optional(portName),
  mac: v.optional(v.picklist(['own', 'uplink'])),
  vlan: v.optional(v.nullable(u32)),
  mtu: v.optional(u32),
  coalesceMicroseconds: v.optional(upTo(MAX_COALESCE)),
  flows: v.optional(flows),
  overrideHost: v.optional(v.boolean()),
  groups: v.optional(groups),
  whenDown: v.optional(v.picklist(['refuse', 'wait'])),
})
/** The options of a port whose socket its client makes. `PortOptions` describes each of them, with its unit. */
export type PinnedPortRequest = v.InferOutput<typeof pinnedPortRequest>

const portRequest = v.strictObject({
  ...pinnedPortRequest.entries,
  tap: v.optional(tap),
  queues: v.optional(upTo(MAX_QUEUES)),
  frames: v.optional(u32),
  frameSize: v.optional(u32),
  headroom: v.optional(u32),
  ringSize: v.optional(u32),
  hugePages: v.optional(v.picklist(['require', 'prefer', 'never'])),
  multiBuffer: v.optional(v.boolean()),
  zeroCopy: v.optional(v.picklist(['require', 'prefer', 'never'])),
  rings: v.optional(v.picklist(['xsk', 'bpf', 'auto'])),
  /** Settings of the kernel's polling: microseconds per wait, and frames per call. */
  busyPoll: v.optional(v.strictObject({ spinMicroseconds: u32, budget: u32 })),
  /** Shares the UMEM of another port of this connection; `inFill` are the chunks of it for this port's reception. */
  umemOf: v.optional(v.strictObject({ port, inFill: chunkRanges })),
})
/** The options of a port. `PortOptions` describes each of them, with its unit. */
export type PortRequest = v.InferOutput<typeof portRequest>

const empty = v.strictObject({})

/**
 * Every operation: a request's fields beside `version`, `id` and `operation`, and those of a successful answer's
 * `result`.
 */
const operations = {
  /** The first message of a connection. */
  hello: {
    request: v.strictObject({ client: text(64) }),
    result: v.strictObject({ daemon: text(64), instance: text(32), uid: u32, gid: u32 }),
  },
  /** The daemon's state. */
  status: {
    request: empty,
    result: v.strictObject({
      /** The daemon's name and release, such as `xsknetd/0.1.0`. */
      daemon: text(64),
      /** The name of the daemon's instance. */
      instance: text(32),
      /** The daemon's process ID. */
      pid: u32,
      /** Seconds since the daemon was ready. */
      uptimeSeconds: count,
      /** The uplinks that the user may use. */
      uplinks: v.array(uplinkInfo),
      /** Uplinks that were deleted or moved to another namespace. */
      gone: v.array(goneUplink),
      /** Open connections of this user, this one included; for root, of all users. */
      clients: u32,
      /** Open ports of this user; for root, of all users. */
      ports: u32,
    }),
  },
  /** The uplinks that the user may use. */
  uplinks: { request: empty, result: v.strictObject({ uplinks: v.array(uplinkInfo) }) },
  /**
   * The answer carries two descriptors for each socket: the XSK, then its UMEM. With BPF rings three more follow them:
   * the control map, the ring buffer for wake-ups, and the program to send with.
   */
  openPort: {
    request: v.strictObject({ port: portRequest }),
    /** `sockets` are those of the port's queues, in their order. */
    result: v.strictObject({ info: portInfo, sockets: v.pipe(v.array(socketDescription), v.minLength(1)) }),
  },
  /** The request carries one descriptor: the network namespace for the port's inner device. */
  openPinnedPort: {
    request: v.strictObject({ port: pinnedPortRequest }),
    result: v.strictObject({ info: pinnedPortInfo, pinned }),
  },
  /**
   * The request carries one descriptor: the socket of a pinned port, whose statistics the daemon reports from then on.
   */
  shareSocket: { request: v.strictObject({ port }), result: empty },
  /** Adds to the packets that a port receives and may send, by their headers. All of the flows, or none. */
  claimFlows: { request: v.strictObject({ port, flows, overrideHost: v.optional(v.boolean()) }), result: empty },
  /** Gives flows of a port back. What it does not have is left alone. */
  releaseFlows: { request: v.strictObject({ port, flows }), result: empty },
  /** Gives a port these flows in place of all that it has. Each packet meets the old flows or the new ones. */
  replaceFlows: { request: v.strictObject({ port, flows, overrideHost: v.optional(v.boolean()) }), result: empty },
  /** Has a port get copies of what is sent to these groups. All of them, or none. */
  joinGroups: {
    request: v.strictObject({ port, groups }),
    /** What the switches were not told. */
    result: v.strictObject({ attempts: v.array(attempt) }),
  },
  /** Takes a port out of groups. What it is not in is left alone. */
  leaveGroups: { request: v.strictObject({ port, groups }), result: empty },
  /** Closes a port. */
  closePort: { request: v.strictObject({ port }), result: empty },
  /**
   * Open ports whose number is greater than `after`, in ascending order: those of the user, or all for root. `more`
   * says that not all of them fit into one message.
   */
  ports: {
    request: v.strictObject({ after: v.optional(port) }),
    result: v.strictObject({ ports: v.array(portEntry), more: v.boolean() }),
  },
  /** The kernel's counters of a port. */
  portStatistics: {
    request: v.strictObject({ port }),
    result: v.strictObject({ statistics: portStatistics }),
  },
  /** The kernel's counters of an uplink. */
  uplinkStatistics: {
    request: v.strictObject({ uplink: deviceName }),
    result: v.strictObject({ statistics: uplinkStatistics }),
  },
  /** What an uplink's program decides about a packet that arrives. Nothing is sent or counted. */
  explainArrival: {
    request: v.strictObject({ uplink: deviceName, packet }),
    result: v.strictObject({ explanation }),
  },
  /** What the guard decides about a packet that a port would send. Nothing is sent or counted. */
  explainSending: {
    request: v.strictObject({ port, packet }),
    result: v.strictObject({ explanation }),
  },
  /**
   * Samples of the frames of a port that the guard refused since the last answer. From the first request on they are
   * taken, so its answer has none.
   */
  refusals: {
    request: v.strictObject({ port }),
    result: v.strictObject({ refusals: v.array(refusedFrame) }),
  },
} as const

/** The name of an operation. */
export type Operation = keyof typeof operations

/** File descriptors that the requests of an operation carry, where there are any. */
const descriptors: { readonly [O in Operation]?: number } = { openPinnedPort: 1, shareSocket: 1 }
/** The number of file descriptors that a request of this operation carries. */
export function descriptorsOf(operation: Operation): number {
  return descriptors[operation] ?? 0
}
/** The number of file descriptors that a successful answer carries: those of the sockets that it describes. */
export function descriptorsBeside(result: Result<Operation>): number {
  if (!('sockets' in result)) return 0
  return result.sockets.reduce(
    (count, { umemOf, rings }) => count + (umemOf === undefined ? 2 : 1) + (rings ? 3 : 0),
    0,
  )
}

/** The fields of a request beside `version`, `id` and `operation`. */
export type Parameters<O extends Operation> = v.InferOutput<(typeof operations)[O]['request']>
/** The result of a successful answer. */
export type Result<O extends Operation> = v.InferOutput<(typeof operations)[O]['result']>
/** A request, as the daemon reads it. */
export type Request = {
  [O in Operation]: { version: typeof PROTOCOL_VERSION; id: number; operation: O } & Parameters<O>
}[Operation]

const failure = v.strictObject({
  code: v.pipe(v.string(), v.regex(/^ERR_XSKNET_[A-Z_]{1,64}$/)),
  message: text(4096),
  hint: v.optional(text(4096)),
  details: v.optional(record(v.unknown())),
  cause: v.optional(
    v.strictObject({
      message: v.pipe(v.string(), v.maxLength(4096)),
      /** Negative, as Node has it. */
      errno: v.optional(v.pipe(v.number(), v.safeInteger(), v.maxValue(0))),
      code: v.optional(text(64)),
      syscall: v.optional(text(64)),
    }),
  ),
})
/** An {@link XsknetError} in a message. */
export type Failure = v.InferOutput<typeof failure>

const event = v.variant('event', [
  v.strictObject({ version, event: v.literal('portLost'), port, error: failure }),
  v.strictObject({ version, event: v.literal('uplinkGone'), uplink: deviceName, error: failure }),
  v.strictObject({ version, event: v.literal('uplinkChanged'), uplink: uplinkInfo }),
  v.strictObject({ version, event: v.literal('addressConflict'), port, address: text(45) }),
])
/** An event: a message of the daemon that answers no request. */
export type Event = v.InferOutput<typeof event>

const good = v.strictObject({ version, id, result: v.unknown() })
/** `id` is `null` if the daemon could not read the request's. The daemon closes the connection after such an answer. */
const refusal = v.strictObject({ version, id: v.nullable(id), error: failure })
/** An answer. Its `result` is read by {@link readResult}, which needs to know the operation. */
export type Answer = v.InferOutput<typeof good> | v.InferOutput<typeof refusal>

const requests = Object.fromEntries(
  Object.entries(operations).map(([operation, { request }]) => [
    operation,
    v.strictObject({ version, id, operation: v.literal(operation), ...request.entries }),
  ]),
) as unknown as Record<string, v.GenericSchema<unknown, Request>>

/**
 * Encodes a message.
 *
 * @throws {XsknetError} `ERR_XSKNET_MESSAGE_TOO_LONG` where it has more than {@link MESSAGE_LIMIT} bytes.
 */
export function encode(message: Request | Answer | Event): Uint8Array {
  const bytes = utf8.encode(JSON.stringify(message))
  if (bytes.length <= MESSAGE_LIMIT) return bytes
  throw new XsknetError(
    'ERR_XSKNET_MESSAGE_TOO_LONG',
    `a message of ${bytes.length} bytes cannot be sent: the limit is ${MESSAGE_LIMIT}`,
    {
      details: { length: bytes.length, most: MESSAGE_LIMIT },
    },
  )
}

/** A violation of the schema in a request's parameters. */
export interface Fault {
  /** The path of the value, such as `port.addresses.0`. */
  path: string
  /** The rule, by valibot's name, or `text` for a string that is not valid Unicode. */
  rule: string
  /** What the rule expects. */
  expected: string
  /** The value found. */
  value: unknown
  /** The key that was probably meant, for an unknown key. */
  meant?: string | undefined
}

/** The first violation in parameters that are about to be sent. The caller gets it as an error of an argument. */
export function faultIn<O extends Operation>(operation: O, parameters: unknown): Fault | undefined {
  const schema = operations[operation].request
  const { success, issues } = v.safeParse(schema, parameters, { abortEarly: true })
  if (!success) {
    const [{ type, expected, input }] = issues
    const unknownKey = unknownKeyIn(schema, issues[0])
    if (unknownKey)
      return {
        path: unknownKey.path.join('.'),
        rule: 'key',
        expected: 'never',
        value: unknownKey.path.at(-1),
        meant: unknownKey.meant,
      }
    return { path: v.getDotPath(issues[0]) ?? '', rule: type, expected: expected ?? 'integer', value: input }
  }
  const flaw = flawIn(parameters)
  return flaw && { path: flaw.path, rule: 'text', expected: flaw.message, value: undefined }
}

/**
 * Reads a request.
 *
 * @throws {XsknetError} `ERR_XSKNET_MESSAGE_MALFORMED`, `ERR_XSKNET_PROTOCOL_VERSION` or
 * `ERR_XSKNET_OPERATION_UNKNOWN`.
 */
export function readRequest(bytes: Uint8Array): Request {
  const message = parse(bytes, 'daemon')
  const { operation } = message
  if (typeof operation !== 'string') throw malformed('the request has no operation', 'operation')
  if (!Object.hasOwn(requests, operation)) {
    const known = Object.keys(operations)
    throw new XsknetError('ERR_XSKNET_OPERATION_UNKNOWN', `there is no operation ${quote(operation)}`, {
      hint: `Operations are ${known.join(', ')}.`,
      details: { operation: cut(operation, 64) },
    })
  }
  return check(requests[operation] as v.GenericSchema<unknown, Request>, message)
}

/** The `id` of a request that is not valid otherwise, for the answer; `null` if it cannot be read. */
export function requestId(bytes: Uint8Array): number | null {
  try {
    return v.parse(id, parse(bytes, 'daemon').id)
  } catch {
    return null
  }
}

/**
 * Reads an answer or an event.
 *
 * @throws {XsknetError} `ERR_XSKNET_MESSAGE_MALFORMED` or `ERR_XSKNET_PROTOCOL_VERSION`.
 */
export function readReply(bytes: Uint8Array): Answer | Event {
  const message = parse(bytes, 'client')
  if ('event' in message) return check(event, message)
  return 'error' in message ? check(refusal, message) : check(good, message)
}

/**
 * Reads the result of an operation.
 *
 * @throws {XsknetError} `ERR_XSKNET_MESSAGE_MALFORMED`.
 */
export function readResult<O extends Operation>(operation: O, result: unknown): Result<O> {
  return check(operations[operation].result as unknown as v.GenericSchema<unknown, Result<O>>, result)
}

/** Converts an error for a message. */
export function toFailure(error: XsknetError): Failure {
  const { code, message, hint, details, cause } = error
  return {
    code,
    message: cut(message, 4096) || code,
    ...(hint && { hint: cut(hint, 4096) }),
    ...(Object.keys(details).length > 0 && { details }),
    ...(cause instanceof Error && { cause: toCause(cause) }),
  }
}

function toCause({ message, errno, code, syscall }: NodeJS.ErrnoException): NonNullable<Failure['cause']> {
  return {
    message: cut(message, 4096),
    ...(Number.isSafeInteger(errno) && (errno as number) <= 0 && { errno }),
    ...(code && { code: cut(code, 64) }),
    ...(syscall && { syscall: cut(syscall, 64) }),
  }
}

/** Converts an error of a message back. */
export function fromFailure({ code, message, hint, details, cause }: Failure): XsknetError {
  const underneath = cause && Object.assign(new Error(cause.message), { ...cause })
  return new XsknetError(code as XsknetErrorCode, message, { hint, details, ...(underneath && { cause: underneath }) })
}

const MESSAGES = 'See docs/protocol.md of the package xsknet: it shows every message.'
const LONE_SURROGATE = /\p{Surrogate}/u
const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

type Side = 'client' | 'daemon'

/** The version is checked before anything else, so that a message of another version is not called malformed. */
function parse(bytes: Uint8Array, reader: Side): Record<string, unknown> {
  let message: unknown
  try {
    message = JSON.parse(fromUtf8.decode(bytes))
  } catch (cause) {
    throw malformed('the message is not valid JSON', '', cause)
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message))
    throw malformed('the message is not an object', '')
  const said = (message as Record<string, unknown>).version
  if (!Number.isSafeInteger(said)) throw malformed('the message has no version', 'version')
  if (said !== PROTOCOL_VERSION) throw otherVersion(reader, said as number, message)
  const flaw = flawIn(message)
  if (flaw) throw malformed(flaw.message, flaw.path)
  return message as Record<string, unknown>
}

/** Only the newer side knows the newer release, so it is named to the older one as the release to update to. */
function otherVersion(reader: Side, theirs: number, message: object): XsknetError {
  const writer = reader === 'client' ? 'daemon' : 'client'
  const older = theirs < PROTOCOL_VERSION ? writer : reader
  const release = older === writer ? RELEASE : releaseIn(message)
  const to = release === undefined ? `the release of the ${writer}` : `release ${release} or a later one`
  return new XsknetError(
    'ERR_XSKNET_PROTOCOL_VERSION',
    `the ${writer} speaks version ${theirs} of the protocol, this ${reader} ` +
      `(release ${RELEASE}) version ${PROTOCOL_VERSION}: ` +
      `the ${older} is older`,
    {
      hint: `Update the package ${older === 'client' ? 'xsknet' : 'xsknetd'} to ${to}.`,
      details: { theirs, ours: PROTOCOL_VERSION, older, release: RELEASE },
    },
  )
}

/** The release in a message of another version, which may have any shape: a client's `hello` or a daemon's refusal. */
function releaseIn(message: object): string | undefined {
  const { client, error } = message as { client?: unknown; error?: { details?: { release?: unknown } | null } | null }
  const said = typeof client === 'string' ? /^xsknet\/(\S+)/.exec(client)?.[1] : error?.details?.release
  return typeof said === 'string' && /^\d[\w.+-]{0,31}$/.test(said) ? said : undefined
}

/**
 * What JSON allows and a message must not contain: deep nesting, a lone surrogate (`"\ud800"`), a number beyond the
 * range of a double. The schemas would accept them in `details`, where they do not survive being encoded again.
 */
function flawIn(value: unknown, depth = 0): { path: string; message: string } | undefined {
  if (typeof value === 'string') {
    return LONE_SURROGATE.test(value) ? { path: '', message: 'a string has a lone surrogate' } : undefined
  }
  if (typeof value === 'number')
    return Number.isFinite(value) ? undefined : { path: '', message: 'a number is too large' }
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === NESTING_LIMIT) {
    return { path: '', message: `arrays and objects are nested more than ${NESTING_LIMIT} deep` }
  }
  // The longest message has some 30,000 values; a client that sends many of these must not keep the daemon busy.
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const flaw = flawIn(value[i], depth + 1)
      if (flaw) return under(i, flaw)
    }
    return undefined
  }
  for (const key of Object.keys(value)) {
    if (LONE_SURROGATE.test(key)) return { path: '', message: 'a key has a lone surrogate' }
    const flaw = flawIn((value as Record<string, unknown>)[key], depth + 1)
    if (flaw) return under(key, flaw)
  }
  return undefined
}

function under(
  key: string | number,
  { path, message }: { path: string; message: string },
): { path: string; message: string } {
  return { path: path ? `${key}.${path}` : `${key}`, message }
}

function check<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  if (Array.isArray(value)) throw malformed('the message is an array, not an object', '')
  const { success, output, issues } = v.safeParse(schema, value, { abortEarly: true })
  if (success) return output
  const [issue] = issues
  const unknownKey = unknownKeyIn(schema, issue)
  if (unknownKey) {
    const stray = unknownKey.path.join('.')
    const meant = unknownKey.meant === undefined ? '' : `; did you mean ${quote(unknownKey.meant)}?`
    const known =
      unknownKey.known.length === 0 ? undefined : `The protocol has the keys ${unknownKey.known.join(', ')} there.`
    throw malformed(`${quote(stray)} of the message is not in the protocol${meant}`, stray, undefined, known)
  }
  const path = v.getDotPath(issue) ?? ''
  const where = path ? `${quote(path)} of the message` : 'the message'
  const why = issue.input === undefined && path ? 'is missing' : `is not valid: ${issue.message}`
  throw malformed(`${where} ${why}`, path)
}

function malformed(message: string, path: string, cause?: unknown, hint = MESSAGES): XsknetError {
  return new XsknetError('ERR_XSKNET_MESSAGE_MALFORMED', cut(message, 512), {
    hint,
    details: { path: cut(path, 128) },
    ...(cause !== undefined && { cause }),
  })
}

function quote(text: string): string {
  return `\`${text.length > 64 ? `${cut(text, 64)}…` : text}\``
}

/** The beginning of a text, in whole characters: the other side refuses a lone surrogate. */
function cut(text: string, longest: number): string {
  return text.slice(0, longest).replace(new RegExp(LONE_SURROGATE, 'gu'), '\ufffd')
}

/**
 * The control protocol: one JSON message a packet on a SOCK_SEQPACKET socket, checked against these schemas by both sides.
 * docs/protocol.md describes it for other languages; its examples are run through what stands here.
 *
 * @module
 */
import * as v from 'valibot'
import { XsknetError, type XsknetErrorCode } from '../errors.js'
import { slipIn } from './slips.js'

/** The version that this file describes. It stands in every message. */
export const PROTOCOL_VERSION = 2
/** The release of `xsknet` and `xsknetd` that this file is a part of. */
export const RELEASE = '0.1.0'
/** The longest message, in bytes. */
export const MESSAGE_LIMIT = 65_536
/** The most arrays and objects that stand in each other, the message itself included. */
export const NESTING_LIMIT = 16
/** The most queues of one port. */
export const MAX_QUEUES = 8
/** The longest that frames may gather, in microseconds. A pair of devices holds 256 frames meanwhile. */
export const MAX_COALESCE = 1000
/** Where the daemon of the default instance listens. */
export const DEFAULT_SOCKET = '/run/xsknet/default.sock'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const u32 = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(0xffff_ffff))
const text = (longest: number) => v.pipe(v.string(), v.minLength(1), v.maxLength(longest))
/** Not `v.record` alone, which takes a list for an object with numbers as keys. */
const record = <V>(value: v.GenericSchema<V>) =>
  v.pipe(
    v.custom<Record<string, unknown>>((input) => !Array.isArray(input), 'Invalid type: Expected Object but received Array'),
    v.record(v.string(), value),
  )
const deviceName = text(15)
const address = text(64)
const version = v.literal(PROTOCOL_VERSION)
const id = u32
const port = u32

/** One step that was attempted while a program was attached or a socket bound, and its result. */
const attempt = v.strictObject({
  /** Where: `uplink`, `guard`, `port` (programs), `bind` (the socket). */
  hook: text(32),
  /** What: `native`, `skb`, `zero-copy`, … */
  step: text(64),
  /** The kernel's refusal, such as `EOPNOTSUPP`; `null` where it went well or the kernel was not asked. */
  code: v.nullable(text(32)),
  /** In plain words. */
  why: v.pipe(v.string(), v.maxLength(1024)),
})
export type Attempt = v.InferOutput<typeof attempt>

const xdpMode = v.picklist(['native', 'skb', 'hw'])
/** Where an XDP program runs. */
export type XdpMode = v.InferOutput<typeof xdpMode>

const bindMode = v.picklist(['copy', 'zero-copy'])
/** How frames get from the driver into the UMEM. */
export type BindMode = v.InferOutput<typeof bindMode>

const goneUplink = v.strictObject({
  /** The name that the card had when it was managed. */
  uplink: deviceName,
  /** How many seconds ago it went. */
  seconds: count,
})

const uplinkInfo = v.strictObject({
  /** The name that the card had when it was managed, by which it is known here. */
  uplink: deviceName,
  /** Its name now. */
  device: deviceName,
  /** Its interface index. */
  index: u32,
  /** Its MAC. */
  mac: text(17),
  /** Its MTU in bytes. */
  mtu: u32,
  /** Whether frames can leave: it may be switched off, or have no carrier. */
  link: v.picklist(['up', 'no-carrier', 'down']),
  /** The mode that the kernel granted. */
  mode: xdpMode,
  /** The modes and settings that were attempted, in order, with their results. */
  attempts: v.array(attempt),
})
/** A card that the daemon manages. */
export type UplinkInfo = v.InferOutput<typeof uplinkInfo>
export type GoneUplink = v.InferOutput<typeof goneUplink>

const queuePair = v.strictObject({
  /** The device among the host's. */
  outer: deviceName,
  /** The device in the instance's namespace, or, of a pinned port, in its client's. */
  inner: deviceName,
})
/** The two devices of one queue. */
export type QueuePair = v.InferOutput<typeof queuePair>

const pinnedPortInfo = v.strictObject({
  /** Its number, unique in the daemon's life. */
  port,
  /** Its name, unique on the uplink. */
  name: text(64),
  /** The card it belongs to. */
  uplink: deviceName,
  /** Its MAC. */
  mac: text(17),
  /** Its addresses with their prefix lengths; with an IPv6 address among them, the link-local one comes last. */
  addresses: v.array(address),
  /** Its VLAN; `null` is untagged frames only. */
  vlan: v.nullable(u32),
  /** Its MTU in bytes. */
  mtu: u32,
  /** The device at its outer end, among the host's: of its first queue. */
  outer: deviceName,
  /** The device at its inner end, in the instance's namespace, or, of a pinned port, in its client's: of its first queue. */
  inner: deviceName,
  /** The pair of each queue, in their order. */
  queuePairs: v.pipe(v.array(queuePair), v.minLength(1)),
  /** Where its guard runs. */
  guardMode: xdpMode,
  /** Where the program at its inner end runs. */
  portMode: xdpMode,
  /** The modes and settings that were attempted, in order, with their results. */
  attempts: v.array(attempt),
})
/** An open port whose socket its client makes. */
export type PinnedPortInfo = v.InferOutput<typeof pinnedPortInfo>

const portInfo = v.strictObject({
  ...pinnedPortInfo.entries,
  /** How its first socket is bound. */
  bindMode,
})
/** An open port. */
export type PortInfo = v.InferOutput<typeof portInfo>

const pinned = v.strictObject({
  /** The path of the port's XSKMAP in bpffs, which the client may open. */
  xsks: text(4095),
  /** The device to bind the socket to, in the namespace that came with the request. */
  device: deviceName,
  /** The queue to bind it to, and the key of the map to put it at. */
  queue: u32,
})
/** Where the socket of a pinned port belongs. */
export type Pinned = v.InferOutput<typeof pinned>

const portEntry = v.strictObject({
  port,
  name: text(64),
  uplink: deviceName,
  mac: text(17),
  addresses: v.array(address),
  vlan: v.nullable(u32),
  /** How many queues it has. */
  queues: u32,
  /** Who holds it. */
  uid: u32,
  pid: u32,
})
/** An open port in the daemon's list. */
export type PortEntry = v.InferOutput<typeof portEntry>

const socketDescription = v.strictObject({
  /** Bytes of a chunk of the UMEM. */
  frameSize: u32,
  /** Chunks of the UMEM. */
  frames: u32,
  /** Bytes left free in front of each frame, beside the kernel's own 256. */
  headroom: u32,
  /** Slots of the four rings. */
  rx: u32,
  tx: u32,
  fill: u32,
  completion: u32,
  /** The most chunks that reception may hold. */
  fillTarget: u32,
  /** The chunks lent to reception: ranges of first chunk and number. */
  inFill: v.array(v.strictTuple([u32, u32])),
  /** Whether a frame may take several chunks: `XDP_PKT_CONTD` in a descriptor's options says that it goes on in the next one. */
  multiBuffer: v.boolean(),
  /** Whether the UMEM lies in huge pages. */
  hugePages: v.boolean(),
  /** The port whose UMEM it is on, which the client has already: then no file of a UMEM comes beside the XSK. */
  umemOf: v.optional(port),
  bindMode,
  /** Frames that the daemon took out of RX, put into TX and took out of COMPLETION before: the self-test's, and what came meanwhile. */
  counted: v.strictObject({ received: u32, sent: u32, completed: u32 }),
})
/** What a socket's two descriptors cannot tell. */
export type SocketDescription = v.InferOutput<typeof socketDescription>

const counters = v.strictObject({
  /** Frames that reached the program. Each left through exactly one of the others. */
  seen: count,
  /** Left to the host. */
  passed: count,
  /** Redirected to a port. */
  toPort: count,
  /** Redirected to the uplink. */
  toUplink: count,
  /** Redirected to the port's socket. */
  toSocket: count,
  /** Dropped, by reason. */
  dropped: record(count),
})
/** The verdicts of one XDP program. */
export type Counters = v.InferOutput<typeof counters>

const kernelStatistics = v.strictObject({
  /** Frames dropped for other reasons than those below, an empty FILL ring in copy mode among them. */
  rxDropped: count,
  /** Entries of FILL that the kernel refused. */
  rxInvalidDescs: count,
  /** Entries of TX that the kernel refused. */
  txInvalidDescs: count,
  /** Frames dropped because RX was full. */
  rxRingFull: count,
  /** Times the kernel wanted a chunk and FILL was empty. */
  rxFillRingEmptyDescs: count,
  /** Times the kernel looked at TX and found it empty: no loss. */
  txRingEmptyDescs: count,
})
/** What the kernel has counted for a socket (`XDP_STATISTICS`). */
export type KernelStatistics = v.InferOutput<typeof kernelStatistics>

const portStatistics = v.strictObject({
  /** The guard's verdicts on what the port sent. */
  guard: counters,
  /** The port program's verdicts on what came for it. */
  program: counters,
  /** `null`: a pinned port whose client has not shared its socket. */
  socket: v.nullable(kernelStatistics),
  /** Frames that the port sent and that its own pair had no room for. */
  innerTransmitDrops: count,
  /** Frames for the port that its pair had no room for. */
  outerTransmitDrops: count,
  /** Redirects that the kernel refused after the guard had returned. */
  outerRefusedRedirects: count,
})
/** What the kernel says of a port. docs/losses.md says how the numbers add up. */
export type PortStatistics = v.InferOutput<typeof portStatistics>

const uplinkStatistics = v.strictObject({
  /** The uplink program's verdicts. */
  program: counters,
  /** Frames from outer ends of ports that were just being opened or closed. */
  unattributed: counters,
  /** Frames that the card would not take; `null` where its driver does not count them. */
  transmitDrops: v.nullable(count),
  /** Redirects that the kernel refused after the uplink program had returned; `null` where nobody counts them. */
  refusedRedirects: v.nullable(count),
  /** Frames by which the daemon announced ports to the neighbours, from the ports' MACs. */
  announced: count,
  /** The ports that were closed since, summed up. `socket` counts those sockets that the daemon could ask. */
  closed: v.strictObject({ ...portStatistics.entries, socket: kernelStatistics }),
})
/** What the kernel says of an uplink. */
export type UplinkStatistics = v.InferOutput<typeof uplinkStatistics>

const pinnedPortRequest = v.strictObject({
  uplink: deviceName,
  addresses: v.pipe(v.array(address), v.maxLength(64)),
  name: v.optional(text(64)),
  mac: v.optional(v.picklist(['own', 'uplink'])),
  vlan: v.optional(u32),
  mtu: v.optional(u32),
  coalesceMicroseconds: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_COALESCE))),
  whenDown: v.optional(v.picklist(['refuse', 'wait'])),
})
/** What a port is to be whose socket its client makes. */
export type PinnedPortRequest = v.InferOutput<typeof pinnedPortRequest>

const portRequest = v.strictObject({
  ...pinnedPortRequest.entries,
  queues: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(MAX_QUEUES))),
  frames: v.optional(u32),
  frameSize: v.optional(u32),
  headroom: v.optional(u32),
  ringSize: v.optional(u32),
  hugePages: v.optional(v.picklist(['require', 'prefer', 'never'])),
  multiBuffer: v.optional(v.boolean()),
  zeroCopy: v.optional(v.picklist(['require', 'prefer', 'never'])),
  busyPoll: v.optional(v.strictObject({ microseconds: u32, budget: u32 })),
  /** On the UMEM of another port of this connection, with these of its chunks for reception: ranges of first chunk and number. */
  umemOf: v.optional(v.strictObject({ port, inFill: v.array(v.strictTuple([u32, u32])) })),
})
/** What a port is to be. */
export type PortRequest = v.InferOutput<typeof portRequest>

/** Every operation: what a request says beside `version`, `id` and `operation`, and what a good answer's `result` holds. */
const operations = {
  /** The first message of a connection. */
  hello: {
    request: v.strictObject({ client: text(64) }),
    result: v.strictObject({ daemon: text(64), instance: text(32), uid: u32, gid: u32 }),
  },
  status: {
    request: v.strictObject({}),
    result: v.strictObject({
      daemon: text(64),
      instance: text(32),
      pid: u32,
      /** Seconds since it was ready. */
      uptime: count,
      uplinks: v.array(uplinkInfo),
      /** Cards that were deleted or moved away while they were managed. */
      gone: v.array(goneUplink),
      /** Open connections of this user, this one included; of everybody for root. */
      clients: u32,
      /** Open ports of this user; of everybody for root. */
      ports: u32,
    }),
  },
  uplinks: { request: v.strictObject({}), result: v.strictObject({ uplinks: v.array(uplinkInfo) }) },
  /** Two descriptors come with the answer for each socket: the XSK and the file of its UMEM, in this order. */
  openPort: {
    request: v.strictObject({ port: portRequest }),
    /** The sockets are those of its queues, in their order. */
    result: v.strictObject({ info: portInfo, sockets: v.pipe(v.array(socketDescription), v.minLength(1)) }),
  },
  /** One descriptor comes with the request: the network namespace in which the port's inner end is to be. */
  openPinnedPort: {
    request: v.strictObject({ port: pinnedPortRequest }),
    result: v.strictObject({ info: pinnedPortInfo, pinned }),
  },
  /** One descriptor comes with the request: the socket of a pinned port, whose statistics the daemon tells from now on. */
  shareSocket: { request: v.strictObject({ port }), result: v.strictObject({}) },
  closePort: { request: v.strictObject({ port }), result: v.strictObject({}) },
  /** All ports for root, their own for others, in the order of their numbers, behind `after`; `more` says that a message did not hold them all. */
  ports: {
    request: v.strictObject({ after: v.optional(port) }),
    result: v.strictObject({ ports: v.array(portEntry), more: v.boolean() }),
  },
  portStatistics: { request: v.strictObject({ port }), result: v.strictObject({ statistics: portStatistics }) },
  uplinkStatistics: { request: v.strictObject({ uplink: deviceName }), result: v.strictObject({ statistics: uplinkStatistics }) },
} as const

/** The name of an operation. */
export type Operation = keyof typeof operations

/** How many file descriptors come beside the requests of those operations that take any. */
const descriptors: { readonly [O in Operation]?: number } = { openPinnedPort: 1, shareSocket: 1 }
/** How many file descriptors come beside a request. */
export function descriptorsOf(operation: Operation): number {
  return descriptors[operation] ?? 0
}
/** How many file descriptors come beside a good answer: those of the sockets that it describes. */
export function descriptorsBeside(result: Result<Operation>): number {
  if (!('sockets' in result)) return 0
  return result.sockets.reduce((count, { umemOf }) => count + (umemOf === undefined ? 2 : 1), 0)
}

/** What a request says beside `version`, `id` and `operation`. */
export type Parameters<O extends Operation> = v.InferOutput<(typeof operations)[O]['request']>
/** What a good answer holds. */
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
/** An {@link XsknetError} on its way. */
export type Failure = v.InferOutput<typeof failure>

const event = v.variant('event', [
  v.strictObject({ version, event: v.literal('portLost'), port, error: failure }),
  v.strictObject({ version, event: v.literal('uplinkGone'), uplink: deviceName, error: failure }),
  v.strictObject({ version, event: v.literal('uplinkChanged'), uplink: uplinkInfo }),
  v.strictObject({ version, event: v.literal('addressConflict'), port, address: text(45) }),
])
/** What the daemon says unasked. */
export type Event = v.InferOutput<typeof event>

const good = v.strictObject({ version, id, result: v.unknown() })
/** `id` is `null` where the daemon could not read which request it was. The daemon closes the connection after such an answer. */
const refusal = v.strictObject({ version, id: v.nullable(id), error: failure })
/** What the daemon answers. A `result` is read once it is known what was asked, by {@link readResult}. */
export type Answer = v.InferOutput<typeof good> | v.InferOutput<typeof refusal>

const requests = Object.fromEntries(
  Object.entries(operations).map(([operation, { request }]) => [
    operation,
    v.strictObject({ version, id, operation: v.literal(operation), ...request.entries }),
  ]),
) as unknown as Record<string, v.GenericSchema<unknown, Request>>

/**
 * A message to be sent.
 *
 * @throws {XsknetError} `ERR_XSKNET_MESSAGE_TOO_LONG`.
 */
export function encode(message: Request | Answer | Event): Uint8Array {
  const bytes = utf8.encode(JSON.stringify(message))
  if (bytes.length <= MESSAGE_LIMIT) return bytes
  throw new XsknetError(
    'ERR_XSKNET_MESSAGE_TOO_LONG',
    `a message of ${bytes.length} bytes cannot be sent, only ${MESSAGE_LIMIT}`,
    {
      details: { length: bytes.length, most: MESSAGE_LIMIT },
    },
  )
}

/** What the protocol would refuse in a request's parameters. */
export interface Fault {
  /** Where, such as `port.addresses.0`. */
  path: string
  /** The rule, as valibot calls it, or `text` for a string that is no Unicode. */
  rule: string
  /** What the rule wants. */
  expected: string
  /** What stands there. */
  value: unknown
  /** What an unknown key was probably meant to be. */
  meant?: string | undefined
}

/** The first fault of parameters that are about to be sent, so that a wrong argument is told to the caller and not to the daemon. */
export function faultIn<O extends Operation>(operation: O, parameters: unknown): Fault | undefined {
  const schema = operations[operation].request
  const { success, issues } = v.safeParse(schema, parameters, { abortEarly: true })
  if (!success) {
    const [{ type, expected, input }] = issues
    const slip = slipIn(schema, issues[0])
    if (slip) return { path: slip.path.join('.'), rule: 'key', expected: 'never', value: slip.path.at(-1), meant: slip.meant }
    return { path: v.getDotPath(issues[0]) ?? '', rule: type, expected: expected ?? 'integer', value: input }
  }
  const flaw = flawIn(parameters)
  return flaw && { path: flaw.path, rule: 'text', expected: flaw.message, value: undefined }
}

/**
 * Reads a request.
 *
 * @throws {XsknetError} `ERR_XSKNET_MESSAGE_MALFORMED`, `ERR_XSKNET_PROTOCOL_VERSION` or `ERR_XSKNET_OPERATION_UNKNOWN`.
 */
export function readRequest(bytes: Uint8Array): Request {
  const message = parse(bytes, 'daemon')
  const { operation } = message
  if (typeof operation !== 'string') throw malformed('the request names no operation', 'operation')
  if (!Object.hasOwn(requests, operation)) {
    const known = Object.keys(operations)
    throw new XsknetError('ERR_XSKNET_OPERATION_UNKNOWN', `there is no operation ${quote(operation)}`, {
      hint: `Operations are ${known.join(', ')}.`,
      details: { operation: cut(operation, 64) },
    })
  }
  return check(requests[operation] as v.GenericSchema<unknown, Request>, message)
}

/** The number of a request that could not be read otherwise, for the answer. */
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

/** An error, written down for the other side. */
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

/** The error that the other side wrote down. */
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
    throw malformed('the message is no JSON', '', cause)
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) throw malformed('the message is no object', '')
  const said = (message as Record<string, unknown>).version
  if (!Number.isSafeInteger(said)) throw malformed('the message names no version', 'version')
  if (said !== PROTOCOL_VERSION) throw otherVersion(reader, said as number, message)
  const flaw = flawIn(message)
  if (flaw) throw malformed(flaw.message, flaw.path)
  return message as Record<string, unknown>
}

/** Only the newer side knows what the older one lacks, so its release is what the older one should become. */
function otherVersion(reader: Side, theirs: number, message: object): XsknetError {
  const writer = reader === 'client' ? 'daemon' : 'client'
  const older = theirs < PROTOCOL_VERSION ? writer : reader
  const release = older === writer ? RELEASE : releaseIn(message)
  const to = release === undefined ? `the release that the ${writer} is of` : `release ${release} or a later one`
  return new XsknetError(
    'ERR_XSKNET_PROTOCOL_VERSION',
    `the ${writer} speaks version ${theirs} of the protocol, this ${reader} (release ${RELEASE}) version ${PROTOCOL_VERSION}: the ${older} is the older one`,
    {
      hint: `Update the package ${older === 'client' ? 'xsknet' : 'xsknetd'} to ${to}.`,
      details: { theirs, ours: PROTOCOL_VERSION, older, release: RELEASE },
    },
  )
}

/** The release of whoever wrote a message of another version, of which little can be relied on: a client's `hello`, or a daemon's refusal. */
function releaseIn(message: object): string | undefined {
  const { client, error } = message as { client?: unknown; error?: { details?: { release?: unknown } | null } | null }
  const said = typeof client === 'string' ? /^xsknet\/(\S+)/.exec(client)?.[1] : error?.details?.release
  return typeof said === 'string' && /^\d[\w.+-]{0,31}$/.test(said) ? said : undefined
}

/**
 * What JSON can say and no message may: a tower of arrays, half a character (`"\ud800"` alone), a number beyond all numbers.
 * The schemas would let them pass in `details`, and whoever writes such a value out again writes something else.
 */
function flawIn(value: unknown, depth = 0): { path: string; message: string } | undefined {
  if (typeof value === 'string') {
    return LONE_SURROGATE.test(value) ? { path: '', message: 'a text holds half of a surrogate pair' } : undefined
  }
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : { path: '', message: 'a number is too large' }
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === NESTING_LIMIT) {
    return { path: '', message: `more than ${NESTING_LIMIT} arrays and objects stand in each other` }
  }
  // The longest message has some 30,000 values, and whoever sends many of these must not keep the daemon busy with them.
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const flaw = flawIn(value[i], depth + 1)
      if (flaw) return under(i, flaw)
    }
    return undefined
  }
  for (const key of Object.keys(value)) {
    if (LONE_SURROGATE.test(key)) return { path: '', message: 'a key holds half of a surrogate pair' }
    const flaw = flawIn((value as Record<string, unknown>)[key], depth + 1)
    if (flaw) return under(key, flaw)
  }
  return undefined
}

function under(key: string | number, { path, message }: { path: string; message: string }): { path: string; message: string } {
  return { path: path ? `${key}.${path}` : `${key}`, message }
}

function check<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  if (Array.isArray(value)) throw malformed('the message holds a list where the protocol has an object', '')
  const { success, output, issues } = v.safeParse(schema, value, { abortEarly: true })
  if (success) return output
  const [issue] = issues
  const slip = slipIn(schema, issue)
  if (slip) {
    const stray = slip.path.join('.')
    const meant = slip.meant === undefined ? '' : `; did you mean ${quote(slip.meant)}?`
    const known = slip.known.length === 0 ? undefined : `The protocol has the keys ${slip.known.join(', ')} there.`
    throw malformed(`${quote(stray)} of the message is not in the protocol${meant}`, stray, undefined, known)
  }
  const path = v.getDotPath(issue) ?? ''
  const where = path ? `${quote(path)} of the message` : 'the message'
  const why = issue.input === undefined && path ? 'is missing' : `is not as the protocol has it: ${issue.message}`
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

/** The beginning of a text, in whole characters: {@link flawIn} of the other side would refuse half of one. */
function cut(text: string, longest: number): string {
  return text.slice(0, longest).replace(new RegExp(LONE_SURROGATE, 'gu'), '\ufffd')
}

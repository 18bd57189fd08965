import { EventEmitter } from 'node:events'
import { checkOptions, checkSignal, outOfRange, signalOf, wrongArgument, wrongType, wrongValue } from '../arguments.js'
import { XsknetError } from '../errors.js'
import type { Reservation } from '../platform/native.js'
import { notify, type Port, type PortControl } from '../port/port.js'
import { internalsOf } from '../queue/queue.js'
import type { QueueSettings } from '../queue/types.js'
import { Conversation, type Descriptors, type Dial, type Taking } from './conversation.js'
import { Explanation } from './explanation.js'
import { type Flow, flowTexts } from './flow.js'
import {
  type Attempt,
  DEFAULT_BUSY_POLL_BUDGET,
  DEFAULT_RING_SIZE,
  type Event,
  faultIn,
  fromFailure,
  MAX_EXPLAINED,
  MIN_EXPLAINED,
  type Operation,
  type Parameters,
  type Pinned,
  type PortEntry,
  type PortInfo,
  type PortRequest,
  type PortStatistics,
  type Result,
  type SocketDescription,
  type UplinkInfo,
  type UplinkStatistics,
} from './protocol.js'

/**
 * The options of a port. `uplink` is required, and `addresses` or `flows`. The daemon's policy may allow less than the
 * limits that are given here: it then answers `ERR_XSKNET_NOT_PERMITTED`.
 */
export interface PortOptions {
  /**
   * The name of the interface: one of {@link Network.uplinks}. `ERR_XSKNET_NOT_PERMITTED` if no grant of this user has
   * it, `ERR_XSKNET_UPLINK_MISSING` if the daemon does not manage it, `ERR_XSKNET_UPLINK_CLOSED` if it is gone.
   */
  uplink: string
  /**
   * At most 64 IPv4 and IPv6 addresses, such as `'192.0.2.10/24'` or `'2001:db8::10/64'`. Default of the prefix length:
   * /32, /128, or /64 for a link-local address. The daemon only copies it to `port.info.addresses`. With an IPv6
   * address the port also gets a link-local one. `ERR_XSKNET_ADDRESS_INVALID` or `ERR_XSKNET_ADDRESS_TAKEN` where an
   * address cannot be used.
   *
   * With `mac: 'uplink'` the addresses are at the uplink's MAC. Without addresses the port has its `flows` alone, of
   * the host's own address: its MAC is the uplink's, and the host keeps ARP, neighbour discovery and all other packets.
   * `ERR_XSKNET_ADDRESS_MISSING` without flows, too. Default: none.
   */
  addresses?: readonly string[] | undefined
  /**
   * A name that is unique among the ports of this user on the uplink: 1 to 64 of `A`-`Z`, `a`-`z`, `0`-`9`, `-`, `_`
   * and `.`. A named port with addresses has the same MAC each time. Default: a free name, with a MAC derived from the
   * addresses.
   * `ERR_XSKNET_NAME_INVALID` or `ERR_XSKNET_NAME_TAKEN` where the name cannot be used.
   */
  name?: string | undefined
  /**
   * `'own'`: the port has a MAC of its own. `'uplink'`: its addresses are at the uplink's MAC, for networks that allow
   * one MAC; docs/flows.md describes what is different then. With addresses, `'uplink'` requires a grant with
   * `uplinkMac = true`; without, `'own'` rejects with `ERR_XSKNET_NOT_SUPPORTED`. Default: `'own'` with addresses,
   * `'uplink'` without.
   */
  mac?: 'own' | 'uplink' | undefined
  /**
   * A VLAN ID, 1 to 4094: the port receives and sends only frames of this VLAN, with their tag. `null`: only untagged
   * frames. Default: `null`. `ERR_XSKNET_VLAN_INVALID` for another number.
   */
  vlan?: number | null | undefined
  /**
   * The MTU in bytes: the longest packet without its Ethernet header, from 68 to the uplink's MTU. Default: the
   * uplink's. `ERR_XSKNET_MTU_TOO_SMALL`, `ERR_XSKNET_MTU_ABOVE_UPLINK`, or `ERR_XSKNET_MTU_TOO_LARGE` for the chunk
   * size.
   */
  mtu?: number | undefined
  /**
   * What happens while the uplink is down or has no carrier: `'refuse'` rejects with `ERR_XSKNET_LINK_DOWN`; `'wait'`
   * waits until frames can be sent, `signal` aborts or the daemon ends. Default: `'refuse'`.
   */
  whenDown?: 'refuse' | 'wait' | undefined
  /**
   * The number of queues, 1 to 8. Each queue has a socket, rings and a UMEM of its own, of the sizes below, so that
   * several threads can share the port. All frames of a flow arrive by the same queue, in both directions. Default: 1.
   */
  queues?: number | undefined
  /**
   * Chunks of each UMEM, for reception and sending together: 1 to 1,048,576. Default: twice `ringSize`.
   * `ERR_XSKNET_LAYOUT_INVALID` for other sizes of UMEM and rings, `ERR_XSKNET_LIMIT_REACHED` where they exceed the
   * memory granted.
   */
  frames?: number | undefined
  /** Bytes of a chunk: 2048 or 4096. 256 of them, and those of `headroom`, cannot hold frame bytes. Default: 2048. */
  frameSize?: number | undefined
  /** Bytes left free in front of each received frame, in addition to the kernel's 256. Default: 0. */
  headroom?: number | undefined
  /** Slots of each of the four rings: a power of two, at most 65,536. Default: 4096, or 1024 for a pinned port. */
  ringSize?: number | undefined
  /**
   * Whether the UMEM lies in huge pages, which the operator must reserve (`vm.nr_hugepages`). `frames` is rounded up to
   * fill them, and all of them count against the memory granted. `port.info.attempts` reports a fall-back. All values
   * but `'never'` require a grant with `hugePages = true`. Default: `'never'`.
   */
  hugePages?: 'require' | 'prefer' | 'never' | undefined
  /**
   * Whether a frame may take several chunks, at most 18. Default: `true` if one chunk cannot hold a frame of the port's
   * MTU, else `false`.
   */
  multiBuffer?: boolean | undefined
  /**
   * Whether the NIC may write frames into the UMEM itself. `port.info.bindMode` has the result. `'require'` rejects
   * with `ERR_XSKNET_SOCKET_REFUSED` where the driver cannot. Default: `'prefer'`.
   */
  zeroCopy?: 'require' | 'prefer' | 'never' | undefined
  /**
   * What the frames go through. `'xsk'`: the rings of AF_XDP sockets. `'bpf'`: BPF rings, where the uplink's program
   * copies received frames into the UMEM itself, and sending runs a BPF program of the port; rejects with
   * `ERR_XSKNET_RINGS_UNAVAILABLE` where they cannot be had. `'auto'`: BPF rings where they can be had and are granted,
   * else AF_XDP; `port.info.rings` has the result, and `port.info.attempts` the reason under the hook `rings`.
   *
   * BPF rings require a grant with `bpfRings = true`, an uplink in native mode that transmits redirected frames, chunks
   * of 2048 bytes, an MTU of at most 1500 bytes and a `headroom` of at most 256 bytes; no `busyPoll`, no
   * `multiBuffer: true`, and neither `hugePages` nor `zeroCopy` with `'require'`. They have at most 4096 slots each.
   * Each queue takes 114,752 bytes more of the memory granted. `'bpf'` rejects with `ERR_XSKNET_NOT_SUPPORTED` for a
   * pinned port and with `umemOf`, where `'auto'` is `'xsk'`. Default: `'xsk'`.
   */
  rings?: 'xsk' | 'bpf' | 'auto' | undefined
  /**
   * Trades CPU time for latency. A reader that finds no frame polls for up to `spinMicroseconds` before it sleeps; the
   * event loop still turns each millisecond. The kernel is set to poll the driver for as long, and for up to `budget`
   * frames per call, instead of waiting for interrupts; `port.info.attempts` reports whether it does.
   * Requires a grant with `busyPoll = true`, except for a pinned port. Default: off.
   */
  busyPoll?:
    | {
        /** Microseconds, from 0. */
        spinMicroseconds: number
        /** Frames per call of the kernel, from 0. Default: 64. */
        budget?: number | undefined
      }
    | undefined
  /**
   * Trades latency for CPU time: microseconds, 1 to 1,000. After the kernel has processed frames of a queue, further
   * ones are collected for this long and arrive together. A frame after an idle period is not delayed. A queue pair
   * buffers 256 frames; at a higher rate of arrival frames are dropped and counted. Requires a native program and Linux
   * 6.13; `port.info.attempts` reports the result. Default: off.
   */
  coalesceMicroseconds?: number | undefined
  /**
   * Packets that the port receives beside those to its MAC, and whose answers it may send with the uplink's MAC: filter
   * expressions in the language of tcpdump, such as `'udp dst port 53 and dst host 192.0.2.1'`, or objects, such as
   * `{ protocol: 'udp', destinationPort: 53, destination: '192.0.2.1' }`. At most 256 of up to 1,024 characters, in a
   * message of at most 65,536 bytes; a port has at most 4,096 flows. docs/flows.md describes both. {@link Port.claim},
   * {@link Port.release} and {@link Port.replace} change them later; these errors are theirs, too.
   *
   * `ERR_XSKNET_FLOW_INVALID` names the expression and the position, or the field of the object;
   * `ERR_XSKNET_FLOW_TAKEN` where a flow is in conflict with another one; `ERR_XSKNET_FLOW_OF_HOST` where a flow would
   * take packets of the host's own; `ERR_XSKNET_FLOWS_EXHAUSTED` where there are too many. Requires a grant with these
   * `flows`. Default: none.
   */
  flows?: readonly (string | Flow)[] | undefined
  /**
   * Whether `flows` may take packets of the host's own: of its TCP and UDP sockets, and what its kernel answers.
   * Requires a grant with `overrideHost = true`. Default: `false`.
   */
  overrideHost?: boolean | undefined
  /**
   * Groups that the port joins: it gets a copy of each frame to them in its VLAN, and the host gets the frame, too.
   * `'broadcast'`, multicast addresses such as `'224.0.0.251'` and `'ff02::1'`, and multicast MACs such as
   * `'01:80:c2:00:00:0e'`; at most 256. {@link Port.join} and {@link Port.leave} change them later. docs/groups.md
   * describes them.
   *
   * `ERR_XSKNET_GROUP_INVALID` names the text; `ERR_XSKNET_GROUPS_EXHAUSTED` says that there are too many. Requires a
   * grant with these `groups`, whose `rates` limit the copies. Default: none.
   */
  groups?: readonly string[] | undefined
  /**
   * Makes the port a tap: it gets copies of what passes the uplink, which goes on untouched, and sends nothing. All
   * other options about what it receives and sends are refused with `ERR_XSKNET_NOT_SUPPORTED`: `addresses`, `flows`,
   * `groups`, `vlan`, `mtu`. Its `rings` are `'bpf'`, also by default, but the uplink may be in any mode. An uplink has
   * at most 8 taps: `ERR_XSKNET_PORTS_EXHAUSTED`. {@link tapped} tells what became of a frame; docs/taps.md describes
   * all of it. Requires a grant with `tap = true` and `bpfRings = true`, whose `rates` limit the copies. Default: the
   * port is not a tap.
   */
  tap?: TapOptions | undefined
  /**
   * The most chunks that frames of a queue may hold beyond their leases, by `frame.keep()`; an integer from 0. Default:
   * a quarter of the chunks that reception cannot hold.
   */
  maxKept?: number | undefined
  /**
   * A port whose UMEM the new one shares, so that `frame.forward()` between the two copies no byte. It must be of this
   * network, open in this thread, and have one queue. Up to half of its free chunks, at most `ringSize`, are used for
   * the reception of the new port, so open it with `frames` for both. The sizes of the UMEM and `zeroCopy` are those of
   * the other port. The ports may be closed in any order. Default: a UMEM of its own.
   */
  umemOf?: Port | undefined
  /** Stops waiting; the call rejects with the signal's reason. A port that is opened nevertheless is closed again. */
  signal?: AbortSignal | undefined
}

/** Of what a tap gets copies. */
export interface TapOptions {
  /** Frames that the uplink receives, whatever becomes of them. Default: `true`. */
  received?: boolean | undefined
  /**
   * Frames that leave by the uplink: those of ports, once their guard has let them out, and those of the host. Requires
   * Linux 6.6. Default: `true`.
   */
  sent?: boolean | undefined
  /**
   * Only frames of one of these flows, as in {@link PortOptions.flows}; here they may also be of ARP and of neighbour
   * discovery, and conflict with none. At most 32. Default: all frames.
   */
  flows?: readonly (string | Flow)[] | undefined
  /** One of so many frames, by chance: 1 to 4,294,967,295. Default: 1, which is all. */
  sample?: number | undefined
  /** Bytes of each frame that are copied, at most: 64 to 1536. Default: 1536. */
  snapLength?: number | undefined
  /**
   * Whether the uplink receives frames for other stations, too, as long as the tap is open. Requires a grant with
   * `promiscuous = true`. Default: `false`.
   */
  promiscuous?: boolean | undefined
}

/** Options of a request. */
export interface RequestOptions {
  /** Stops waiting for the answer; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Which way {@link Network.explain} has a packet go: exactly one of `uplink` and `port`. */
export interface ExplainOptions extends RequestOptions {
  /** The packet arrives at this uplink. */
  uplink?: string | undefined
  /** This port sends the packet: a port, or its number. */
  port?: Port | number | undefined
}

/** The events of a {@link Network}. They need no listener: calls that wait reject with the same errors. */
export interface NetworkEvents {
  /** The connection has ended, but not by `close()`. Open ports go on, and emit `detached`. */
  daemonGone: [error: XsknetError]
  /** An uplink was deleted or moved to another namespace. Each port on it is lost and emits `lost`. */
  uplinkGone: [gone: { uplink: string; error: XsknetError }]
  /** The MTU, MAC, name or link state of an uplink that this user may use has changed. Its ports go on. */
  uplinkChanged: [uplink: UplinkInfo]
  /** The host was given an address of one of this connection's ports. Both answer for it, so neither works reliably. */
  addressConflict: [conflict: { port: number; address: string }]
  /** The connection has ended, for any reason. */
  close: []
}

/** The daemon's state: the result of {@link Network.status}. */
export type DaemonStatus = Result<'status'>

/**
 * Settings of a port that the daemon does not know of. With a reservation its only socket shares the UMEM of another
 * one.
 */
export type PortSettings = QueueSettings & { reservation?: Reservation }

/** Makes a port of an answer's descriptors. It owns them from then on, also when it throws. */
export type MakePort = (
  descriptors: Descriptors,
  sockets: readonly SocketDescription[],
  info: PortInfo,
  control: PortControl,
  settings: PortSettings,
) => Port

/** A socket that this process made for a pinned port and put into the port's XSKMAP. */
export interface OwnSocket {
  /** The XSK, which is one of `descriptors`; this number is for sending it to the daemon. */
  xsk: number
  /** The XSK and the file of its UMEM, in this order. */
  descriptors: Descriptors
  description: SocketDescription
  attempts: Attempt[]
}

/** Makes the socket of a pinned port for a place, the port's MTU, and the caller's options. */
export type MakeSocket = (
  place: Pinned & { mtu: number },
  wishes: Pick<
    PortRequest,
    'frames' | 'frameSize' | 'headroom' | 'ringSize' | 'hugePages' | 'multiBuffer' | 'zeroCopy' | 'busyPoll'
  >,
) => Promise<OwnSocket>

/** A port that the daemon has opened. `port` is missing while its socket is being made. */
interface PortRecord {
  /** A weak reference, so that a leaked port can be collected and warn of it. */
  port?: WeakRef<Port>
  /** Why the daemon has closed it. */
  lost?: XsknetError
}

/**
 * Milliseconds that {@link Network.close} waits for the daemon's answers. The connection's end closes all ports anyway.
 */
const CLOSE_TIMEOUT_MS = 5000

/** Sends `hello`. For `connect()` only. */
export let sayHello: (network: Network, client: string, signal: AbortSignal) => Promise<void>
/**
 * Opens a port whose inner device is created in the network namespace of the descriptor `namespace`, and whose socket
 * `make` makes. On failure nothing stays open. For `openPinned()` of xsknetd only.
 */
export let openPinnedPort: (
  network: Network,
  options: PortOptions,
  namespace: number,
  make: MakeSocket,
) => Promise<Port>

/**
 * A connection to a daemon, made by `connect()`. It opens ports; the daemon closes them when the connection ends.
 *
 * It keeps the process alive only while a request waits for its answer. Each port has a `ref()` of its own.
 */
export class Network extends EventEmitter<NetworkEvents> {
  /**
   * Resolves when {@link close} is done; rejects with `ERR_XSKNET_DAEMON_GONE` if the daemon ended the connection
   * before. Waiting for it does not keep the process alive; {@link ref} does.
   */
  readonly closed: Promise<void>

  readonly #conversation: Conversation
  readonly #makePort: MakePort
  readonly #ports = new Map<number, PortRecord>()
  #settle!: { resolve: () => void; reject: (error: XsknetError) => void }
  #closing: Promise<void> | undefined

  static {
    sayHello = async (network, client, signal) => {
      await network.#ask('hello', { client }, { signal })
    }
    openPinnedPort = (network, options, namespace, make) => network.#openPinned(options, namespace, make)
  }

  /** @internal Called by `connect()`. */
  constructor(socket: string, dial: Dial, makePort: MakePort) {
    super()
    this.#makePort = makePort
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.closed.catch(() => {})
    this.#conversation = new Conversation(
      socket,
      dial,
      (event) => this.#tell(event),
      (error) => this.#daemonGone(error),
    )
  }

  /**
   * The uplinks on which this user may open ports.
   *
   * @throws {XsknetError} `ERR_XSKNET_DAEMON_GONE` or `ERR_XSKNET_NETWORK_CLOSED`, as every request.
   */
  async uplinks(options: RequestOptions = {}): Promise<UplinkInfo[]> {
    return (await this.#ask('uplinks', {}, options)).uplinks
  }

  /**
   * The daemon's state: release, instance, uplinks, and the numbers of clients and ports of this user, or of all for
   * root.
   */
  async status(options: RequestOptions = {}): Promise<DaemonStatus> {
    return this.#ask('status', {}, options)
  }

  /** The open ports of this user, or of all users for root. */
  async ports(options: RequestOptions = {}): Promise<PortEntry[]> {
    const ports: PortEntry[] = []
    for (;;) {
      const page = await this.#ask('ports', ports.length > 0 ? { after: ports.at(-1)?.port } : {}, options)
      ports.push(...page.ports)
      if (!page.more || page.ports.length === 0) return ports
    }
  }

  /**
   * The kernel's counters of an uplink, since the daemon began to manage it.
   *
   * @throws {XsknetError} `ERR_XSKNET_NOT_PERMITTED` if this user may not use the uplink, `ERR_XSKNET_UPLINK_MISSING`
   * if the daemon does not manage it.
   */
  async uplinkStatistics(uplink: string, options: RequestOptions = {}): Promise<UplinkStatistics> {
    return (await this.#ask('uplinkStatistics', { uplink }, options)).statistics
  }

  /**
   * The kernel's counters of a port of this user, by its number. Root may ask for any port.
   *
   * @throws {XsknetError} `ERR_XSKNET_PORT_UNKNOWN` if this user has no port of this number.
   */
  async portStatistics(port: number, options: RequestOptions = {}): Promise<PortStatistics> {
    return (await this.#ask('portStatistics', { port }, options)).statistics
  }

  /**
   * What the BPF programs decide about a packet, and why: whether it arrives at an uplink, or a port sends it. Nothing
   * is sent, and nothing is counted or learned: no counter, no rate, no station. docs/verdicts.md has the rules.
   *
   * It is answered by the rules that are in force, and about the one packet. What becomes of the packet behind the
   * program, such as a full ring, is not told. Users other than root learn what their ports send and receive; a packet
   * that arrives and is for none of their ports has the verdict `'elsewhere'`.
   *
   * @param packet The packet from its Ethernet header on, 14 to 32,000 bytes. It may be malformed.
   * @throws {XsknetError} `ERR_XSKNET_PORT_UNKNOWN` if this user has no such port; `ERR_XSKNET_NOT_PERMITTED` or
   * `ERR_XSKNET_UPLINK_MISSING` as {@link uplinkStatistics}; `ERR_XSKNET_PROGRAM_REFUSED` or
   * `ERR_XSKNET_KERNEL_REFUSED` if the kernel does not load or run the programs.
   */
  async explain(packet: Uint8Array, options: ExplainOptions): Promise<Explanation> {
    if (!(packet instanceof Uint8Array)) throw wrongType('packet', 'an instance of Uint8Array', packet)
    if (packet.length < MIN_EXPLAINED || packet.length > MAX_EXPLAINED)
      throw outOfRange('packet.length', `>= ${MIN_EXPLAINED} && <= ${MAX_EXPLAINED}`, packet.length)
    checkOptions(options, ['uplink', 'port', 'signal'])
    const { uplink, port, signal } = options
    if ((uplink === undefined) === (port === undefined))
      throw wrongValue('options', 'must have either `uplink` or `port`', options)
    const digits = Buffer.from(packet.buffer, packet.byteOffset, packet.length).toString('hex')
    if (uplink !== undefined) {
      const { explanation } = await this.#ask('explainArrival', { uplink, packet: digits }, { signal })
      return new Explanation(packet.length, null, explanation)
    }
    const sender = typeof port === 'object' && port !== null ? port.info?.port : port
    const { explanation } = await this.#ask('explainSending', { port: sender as number, packet: digits }, { signal })
    return new Explanation(packet.length, sender as number, explanation)
  }

  /**
   * Opens a port. It is ready when the promise resolves: a test frame has passed through it in each direction.
   *
   * @throws {XsknetError} A `code` for the option that cannot be met, see {@link PortOptions};
   * `ERR_XSKNET_NOT_PERMITTED` or `ERR_XSKNET_LIMIT_REACHED` where the policy refuses it.
   * @throws {TypeError} `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE` for an option of a wrong type, or an unknown
   * one.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for a number outside of its range.
   */
  async openPort(options: PortOptions): Promise<Port> {
    checkOptions(options)
    const { signal, umemOf, ...wanted } = options
    checkSignal(signal)
    const { port, settings } = checkedPort(wanted)
    if (umemOf !== undefined) return this.#openBeside(umemOf, port, settings, signal)
    return this.#request(
      'openPort',
      { port },
      {
        take: ({ info, sockets }, descriptors) => this.#take(info, sockets, descriptors, settings),
        leave: ({ info }) => this.#giveBack(info.port),
        signal,
      },
    )
  }

  /**
   * Closes all ports, as `port.close()` does, then the connection. Waits up to 5 seconds for the daemon's answers.
   * Every call returns the same promise. It rejects if a port could not be closed properly, after everything else was
   * closed.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Keeps the process alive while the connection is open, to wait for events. */
  ref(): this {
    this.#conversation.keepAlive(true)
    return this
  }

  /** Keeps the process alive only while a request waits for its answer. This is the default. */
  unref(): this {
    this.#conversation.keepAlive(false)
    return this
  }

  async #openBeside(
    first: Port,
    port: PortRequest,
    settings: QueueSettings,
    signal: AbortSignal | undefined,
  ): Promise<Port> {
    const number = first?.info?.port
    if (this.#ports.get(number)?.port?.deref() !== first)
      throw wrongValue('options.umemOf', 'must be an open port of this network', first)
    signal?.throwIfAborted()
    const { ringSize = DEFAULT_RING_SIZE } = port
    const reservation = internalsOf(first.queue(0)).reserve(ringSize)
    const inFill = reservation.ranges
    if (inFill.length === 0) throw nothingFree(first.info)
    const opening = this.#request(
      'openPort',
      { port: { ...port, ringSize, umemOf: { port: number, inFill } } },
      {
        take: ({ info, sockets }, descriptors) => this.#take(info, sockets, descriptors, { ...settings, reservation }),
      },
    )
    opening.catch(() => reservation.release())
    // The daemon has the chunks until it has answered. So a port that is no longer wanted is taken first and closed
    // then.
    return signal ? unless(signal, opening, (late) => late.destroy()) : opening
  }

  async #openPinned(options: PortOptions, namespace: number, make: MakeSocket): Promise<Port> {
    checkOptions(options)
    const { signal, umemOf, ...all } = options
    checkSignal(signal)
    if (umemOf !== undefined) throw notPinned('a pinned port cannot share the UMEM of another port', {})
    const { port: request, settings } = checkedPort(all)
    const { queues = 1, rings = 'xsk', tap, ...one } = request
    if (queues !== 1) throw notPinned(`a pinned port has one queue, not ${queues}`, { queues })
    if (rings === 'bpf') throw notPinned('a pinned port cannot have BPF rings', { rings })
    if (tap !== undefined) throw notPinned('a pinned port cannot be a tap', {})
    const { uplink, addresses, name, mac, vlan, mtu, coalesceMicroseconds, flows, overrideHost, ...more } = one
    const { groups, whenDown, ...wishes } = more
    const { info, pinned, held } = await this.#request(
      'openPinnedPort',
      {
        port: { uplink, addresses, name, mac, vlan, mtu, coalesceMicroseconds, flows, overrideHost, groups, whenDown },
      },
      {
        fds: [namespace],
        take: ({ info, pinned }) => {
          const held: PortRecord = {}
          this.#ports.set(info.port, held)
          return { info, pinned, held }
        },
        leave: ({ info }) => this.#giveBack(info.port),
        signal,
      },
    )
    const { port } = info
    let made: OwnSocket | undefined
    try {
      made = await make({ ...pinned, mtu: info.mtu }, wishes)
      await this.#request('shareSocket', { port }, { fds: [made.xsk], take: () => {}, signal })
      if (held.lost) throw held.lost
    } catch (error) {
      made?.descriptors.close()
      this.#ports.delete(port)
      if (!held.lost) this.#giveBack(port)
      // The loss of the port is the reason, not what fails because of it.
      throw signal?.aborted ? error : (held.lost ?? error)
    }
    const { description, descriptors } = made
    const attempts = [...info.attempts, ...made.attempts]
    return this.#take({ ...info, bindMode: description.bindMode, attempts }, [description], descriptors, settings)
  }

  async #ask<O extends Operation>(
    operation: O,
    parameters: Parameters<O>,
    options: RequestOptions,
  ): Promise<Result<O>> {
    const signal = signalOf(options)
    check(operation, parameters, (path) => path)
    return this.#request(operation, parameters, { take: (result) => result, signal })
  }

  #request<O extends Operation, T>(operation: O, parameters: Parameters<O>, taking: Taking<O, T>): Promise<T> {
    if (this.#closing) return Promise.reject(networkClosed())
    return this.#conversation.request(operation, parameters, taking)
  }

  #take(info: PortInfo, sockets: readonly SocketDescription[], descriptors: Descriptors, settings: PortSettings): Port {
    const held: PortRecord = {}
    let port: Port
    try {
      const control: PortControl = {
        close: async () => {
          if (!held.lost) await this.#closePort(info.port)
        },
        statistics: () => this.#statisticsOf(info.port),
        changeFlows: async (operation, parameters, options) => {
          await this.#ask(operation, { port: info.port, ...parameters }, options)
        },
        joinGroups: async (groups, options) => {
          const { attempts } = await this.#ask('joinGroups', { port: info.port, groups: [...groups] }, options)
          return attempts
        },
        leaveGroups: async (groups, options) => {
          await this.#ask('leaveGroups', { port: info.port, groups: [...groups] }, options)
        },
        refusals: async (options) => (await this.#ask('refusals', { port: info.port }, options)).refusals,
      }
      port = this.#makePort(descriptors, sockets, info, control, settings)
    } catch (error) {
      this.#ports.delete(info.port)
      this.#giveBack(info.port)
      throw error
    }
    held.port = new WeakRef(port)
    this.#ports.set(info.port, held)
    const forget = () => this.#ports.delete(info.port)
    port.closed.then(forget, forget)
    return port
  }

  /** Closes a port that nothing refers to. If the daemon cannot close it, its log says so. */
  #giveBack(port: number): void {
    this.#closePort(port).catch(() => {})
  }

  /** Resolves when the daemon has closed the port, or the connection has ended, which closes it too. */
  async #closePort(port: number): Promise<void> {
    if (this.#conversation.ended) return
    try {
      await this.#conversation.request('closePort', { port }, { take: () => {} })
    } catch (error) {
      if (this.#conversation.ended === error) return
      if (error instanceof XsknetError && error.code === 'ERR_XSKNET_PORT_UNKNOWN') return
      throw error
    }
  }

  async #statisticsOf(port: number): Promise<PortStatistics | undefined> {
    if (this.#conversation.ended) return undefined
    try {
      return (await this.#conversation.request('portStatistics', { port }, { take: (result) => result })).statistics
    } catch (error) {
      if (this.#conversation.ended === error || this.#closing) return undefined
      throw error
    }
  }

  #tell(event: Event): void {
    if (event.event === 'uplinkChanged') {
      this.emit('uplinkChanged', event.uplink)
      return
    }
    if (event.event === 'addressConflict') {
      this.emit('addressConflict', { port: event.port, address: event.address })
      return
    }
    const error = fromFailure(event.error)
    if (event.event === 'uplinkGone') {
      this.emit('uplinkGone', { uplink: event.uplink, error })
      return
    }
    const held = this.#ports.get(event.port)
    if (!held) return
    held.lost = error
    held.port?.deref()?.[notify].lost(error)
  }

  #daemonGone(error: XsknetError): void {
    // In separate microtasks: an error thrown by a listener of one port must not affect the others.
    for (const port of this.#openPorts()) queueMicrotask(() => port[notify].detached())
    if (this.#closing) return
    this.#settle.reject(error)
    this.emit('daemonGone', error)
    this.emit('close')
  }

  #openPorts(): Port[] {
    return [...this.#ports.values()].flatMap(({ port }) => port?.deref() ?? [])
  }

  async #close(): Promise<void> {
    const wasGone = this.#conversation.ended !== undefined
    this.#conversation.leaveAll('closePort', networkClosed())
    const timeout = setTimeout(() => this.#conversation.close(networkClosed()), CLOSE_TIMEOUT_MS)
    const endings = await Promise.allSettled(this.#openPorts().map((port) => port.close()))
    clearTimeout(timeout)
    this.#conversation.close(networkClosed())
    this.#settle.resolve()
    if (!wasGone) this.emit('close')
    for (const ending of endings) if (ending.status === 'rejected') throw ending.reason
  }
}

/**
 * Splits the options into the request and the settings that stay here. Throws the error of an argument that is not
 * valid.
 */
function checkedPort({ busyPoll, maxKept, flows, tap, ...others }: Omit<PortOptions, 'signal'>): {
  port: PortRequest
  settings: QueueSettings
} {
  const port = {
    ...others,
    ...(busyPoll !== undefined && { busyPoll: withBudget(busyPoll) }),
    ...(flows !== undefined && { flows: flowTexts(flows, 'options.flows') }),
    ...(tap !== undefined && { tap: withTexts(tap) }),
  } as PortRequest
  check('openPort', { port }, (path) => path.replace(/^port\b/, 'options'))
  checkMaxKept(maxKept)
  return { port, settings: { spinMicroseconds: busyPoll?.spinMicroseconds ?? 0, maxKept } }
}

function withTexts(tap: TapOptions): unknown {
  if (typeof tap !== 'object' || tap === null || tap.flows === undefined) return tap
  return { ...tap, flows: flowTexts(tap.flows, 'options.tap.flows') }
}

function checkMaxKept(maxKept: unknown): void {
  if (maxKept === undefined) return
  if (typeof maxKept !== 'number') throw wrongType('options.maxKept', 'of type number', maxKept)
  if (!Number.isInteger(maxKept) || maxKept < 0) throw outOfRange('options.maxKept', 'an integer from 0 on', maxKept)
}

function withBudget(busyPoll: NonNullable<PortOptions['busyPoll']>): unknown {
  if (typeof busyPoll !== 'object' || busyPoll === null) return busyPoll
  const { budget = DEFAULT_BUSY_POLL_BUDGET } = busyPoll
  return { ...busyPoll, budget }
}

function check<O extends Operation>(operation: O, parameters: Parameters<O>, nameOf: (path: string) => string): void {
  const fault = faultIn(operation, parameters)
  if (fault) throw wrongArgument(nameOf(fault.path), fault)
}

function networkClosed(): XsknetError {
  return new XsknetError('ERR_XSKNET_NETWORK_CLOSED', 'the network was closed')
}

function notPinned(message: string, details: Record<string, unknown>): XsknetError {
  const hint = 'Open it by `network.openPort()`, or open several pinned ports.'
  return new XsknetError('ERR_XSKNET_NOT_SUPPORTED', message, { hint, details })
}

/** What `opening` resolves to, unless the signal aborts before; a later result is passed to `leave`. */
async function unless<T>(signal: AbortSignal, opening: Promise<T>, leave: (late: T) => Promise<unknown>): Promise<T> {
  let abort!: () => void
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
  })
  aborted.catch(() => opening.then(leave).catch(() => {}))
  try {
    return await Promise.race([opening, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function nothingFree({ name, uplink, port }: PortInfo): XsknetError {
  return new XsknetError('ERR_XSKNET_LAYOUT_INVALID', `port ${name} on ${uplink} has no free chunks for another port`, {
    hint: 'Open it with more `frames`.',
    details: { port, uplink },
  })
}

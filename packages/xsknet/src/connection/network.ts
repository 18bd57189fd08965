import { EventEmitter } from 'node:events'
import { checkOptions, checkSignal, noOption, outOfRange, WAITING, wrongArgument, wrongType, wrongValue } from '../arguments.js'
import { XsknetError } from '../errors.js'
import type { Reservation } from '../platform/native.js'
import { notify, type Port, type PortControl } from '../port/port.js'
import { internalsOf } from '../queue/queue.js'
import type { QueueSettings } from '../queue/types.js'
import { Conversation, type Descriptors, type Dial, type Taking } from './conversation.js'
import {
  type Attempt,
  type Event,
  faultIn,
  fromFailure,
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

/** What a port is to be. Only `uplink` and `addresses` must be given. */
export interface PortOptions {
  /** The card, by its name: one of {@link Network.uplinks}. */
  uplink: string
  /**
   * IPv4 and IPv6 addresses, 1 to 64, such as `'192.0.2.10/24'` or `'2001:db8::10/64'`. The prefix length is /32 or
   * /128 (/64 for a link-local one) unless given; the daemon only carries it to `port.info.addresses`. With an IPv6 address the port also gets its link-local one.
   */
  addresses: readonly string[]
  /**
   * Unique on the uplink: 1 to 64 of `A`-`Z`, `a`-`z`, `0`-`9`, `-`, `_` and `.`. A named port has the same MAC each time.
   * Default: a name that is free, with a MAC that follows from the addresses.
   */
  name?: string | undefined
  /** A MAC of the port's own, or the card's (not built yet: `ERR_XSKNET_NOT_SUPPORTED`). Default: `'own'`. */
  mac?: 'own' | 'uplink' | undefined
  /** Frames of this VLAN only, 1 to 4094, received and sent with their tag. Default: untagged frames only. */
  vlan?: number | undefined
  /** Bytes of the longest packet without its Ethernet header, 68 to the uplink's. Default: the uplink's. */
  mtu?: number | undefined
  /**
   * What becomes of the request while the card is switched off or has no carrier: `'refuse'` it with `ERR_XSKNET_LINK_DOWN`, or `'wait'`
   * until frames can leave, as long as the daemon lives and `signal` does not end it. Default: `'refuse'`.
   */
  whenDown?: 'refuse' | 'wait' | undefined
  /**
   * How many queues: 1 to 8. Each is a socket with rings and memory of its own, all of the sizes below, so that as many threads can share
   * the port: all frames of a flow, in either direction, come to the same queue. Default: 1.
   */
  queues?: number | undefined
  /** Chunks of the UMEM, for reception and sending together: 1 to 1,048,576. Default: twice `ringSize`. */
  frames?: number | undefined
  /** Bytes of a chunk: 2048 or 4096. 256 of them and `headroom` are not for the frame. Default: 2048. */
  frameSize?: number | undefined
  /** Bytes left free in front of each received frame, beside the kernel's 256. Default: 0. */
  headroom?: number | undefined
  /** Slots of each of the four rings: a power of two, at most 65,536. Default: 4096. */
  ringSize?: number | undefined
  /**
   * Whether the UMEM lies in huge pages, which the operator has to reserve (`vm.nr_hugepages`). `frames` is rounded up to fill them; all of
   * them count against the memory granted. `port.info.attempts` tells of a fall-back. All but `'never'` takes a grant with `hugePages = true`.
   * Default: `'never'`.
   */
  hugePages?: 'require' | 'prefer' | 'never' | undefined
  /**
   * Whether a frame may take several chunks, 18 at most. Default: true exactly where one chunk does not hold a frame of the port's MTU.
   */
  multiBuffer?: boolean | undefined
  /** Whether frames are to be written into the UMEM by the card itself. `port.info.bindMode` tells what came of it. Default: `'prefer'`. */
  zeroCopy?: 'require' | 'prefer' | 'never' | undefined
  /**
   * Buys latency with a processor. A reader that finds no frame looks on for up to so many microseconds before it sleeps, though other
   * work of the event loop gets its turn each millisecond; the kernel is told to poll the card for as long and for up to `budget`
   * frames (default: 64) a call, instead of waiting for interrupts. Whether it will is in `port.info.attempts`. It takes a grant with
   * `busyPoll = true`, but for a pinned port. Default: neither.
   */
  busyPoll?: { spinMicroseconds: number; budget?: number | undefined } | undefined
  /**
   * Buys processor time with latency, 1 to 1,000 µs: once the kernel has handled some frames for a queue, those that follow gather for so
   * long, and arrive together. A frame after a rest is not late, so that only who is busy waits. Longer than the pair's 256 places last
   * at the rate of arrival, and frames are lost (and counted). It takes a native program and Linux 6.13; `port.info.attempts` tells. Default:
   * not at all.
   */
  coalesceMicroseconds?: number | undefined
  /**
   * The most frames that `frame.keep()` keeps beyond their leases, in chunks and for each queue. Default: a quarter of the chunks that
   * reception has no claim to.
   */
  maxKept?: number | undefined
  /**
   * On the memory of another port of this network, open in this thread and of one queue: `frame.forward()` between the two moves no byte.
   * Up to half of its free chunks, and no more than `ringSize`, go to the reception of this one, so open it with `frames` for both. Sizes of
   * the memory and `zeroCopy` are those of the other port. The ports may be closed in any order.
   */
  umemOf?: Port | undefined
  /** Gives up waiting; a port that is opened nevertheless is given back. */
  signal?: AbortSignal | undefined
}

/** A request that can be given up. */
export interface RequestOptions {
  /** Rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What a {@link Network} emits. Nothing here must be listened to: the same errors reach whoever waits for something. */
export interface NetworkEvents {
  /** The connection has ended, and not by `close()`. Open ports go on, and emit `detached`. */
  daemonGone: [error: XsknetError]
  /** A card is gone. Each port on it is lost, which the port tells itself. */
  uplinkGone: [gone: { uplink: string; error: XsknetError }]
  /** A card that this user may use has another MTU, MAC, name or link state. What is on it goes on. */
  uplinkChanged: [uplink: UplinkInfo]
  /** The host has got an address that one of this connection's ports has: both answer for it, and neither can be relied on. */
  addressConflict: [conflict: { port: number; address: string }]
  /** The connection has ended, either way. */
  close: []
}

/** The daemon, as {@link Network.status} has it. */
export type DaemonStatus = Result<'status'>

/** What a port is made of beside what the daemon says; with a reservation its one socket is on the memory of another. */
export type PortSettings = QueueSettings & { reservation?: Reservation }

/** Makes a port of an answer's descriptors, which are its own from then on, also when it throws. */
export type MakePort = (
  descriptors: Descriptors,
  sockets: readonly SocketDescription[],
  info: PortInfo,
  control: PortControl,
  settings: PortSettings,
) => Port

/** A socket that was made in this process for a pinned port, and put into the port's XSKMAP. */
export interface OwnSocket {
  /** The XSK. `descriptors` has it; this is for sending it to the daemon. */
  xsk: number
  /** The XSK and the file of its UMEM, in this order. */
  descriptors: Descriptors
  description: SocketDescription
  attempts: Attempt[]
}

/** Makes the socket of a pinned port: where it belongs, the port's MTU, and what the caller wants of it. */
export type MakeSocket = (
  place: Pinned & { mtu: number },
  wishes: Pick<
    PortRequest,
    'frames' | 'frameSize' | 'headroom' | 'ringSize' | 'hugePages' | 'multiBuffer' | 'zeroCopy' | 'busyPoll'
  >,
) => Promise<OwnSocket>

/** A port that the daemon has opened. `port` is missing as long as its socket is being made. */
interface PortRecord {
  /** A weak reference, so that a leaked port can be collected and warn of it. */
  port?: WeakRef<Port>
  /** Why the daemon knows nothing more of it. */
  lost?: XsknetError
}

/** Milliseconds that {@link Network.close} waits for a daemon that does not answer. Ending the connection closes its ports all the same. */
const PATIENCE = 5000

/** Says hello: what `connect()` does first, and nobody else. */
export let sayHello: (network: Network, client: string, signal: AbortSignal) => Promise<void>
/**
 * Opens a port whose inner end is made in the network namespace that the descriptor `namespace` stands for, and whose socket `make`
 * makes. On failure nothing stays open. What `openPinned()` of xsknetd does, and nobody else.
 */
export let openPinnedPort: (network: Network, options: PortOptions, namespace: number, make: MakeSocket) => Promise<Port>

/**
 * The connection to a daemon, made by `connect()`. Ports are opened through it, and closed by the daemon when it ends.
 *
 * It keeps the process alive only while a request waits for its answer; each port has a `ref()` of its own.
 */
export class Network extends EventEmitter<NetworkEvents> {
  /**
   * Resolves when {@link close} is done; rejects with `ERR_XSKNET_DAEMON_GONE` if the daemon ended the connection before. Waiting
   * for it does not keep the process alive: {@link ref} does.
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

  /** By `connect()` only. */
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

  /** The cards on which this user may open ports. */
  async uplinks(options: RequestOptions = {}): Promise<UplinkInfo[]> {
    return (await this.#ask('uplinks', {}, options)).uplinks
  }

  /** The daemon: its version, its instance, its cards, and how many clients and ports this user has, or, for root, it has. */
  async status(options: RequestOptions = {}): Promise<DaemonStatus> {
    return this.#ask('status', {}, options)
  }

  /** The open ports of this user; root sees everybody's. */
  async ports(options: RequestOptions = {}): Promise<PortEntry[]> {
    const ports: PortEntry[] = []
    for (;;) {
      const page = await this.#ask('ports', ports.length > 0 ? { after: ports.at(-1)?.port } : {}, options)
      ports.push(...page.ports)
      if (!page.more || page.ports.length === 0) return ports
    }
  }

  /** The kernel's counters of a card, since it was managed. */
  async uplinkStatistics(uplink: string, options: RequestOptions = {}): Promise<UplinkStatistics> {
    return (await this.#ask('uplinkStatistics', { uplink }, options)).statistics
  }

  /** The kernel's counters of a port of this user, by its number; root may ask for any port. */
  async portStatistics(port: number, options: RequestOptions = {}): Promise<PortStatistics> {
    return (await this.#ask('portStatistics', { port }, options)).statistics
  }

  /**
   * Opens a port. It is ready when the promise resolves: a frame has gone through it each way.
   *
   * Rejects with an {@link XsknetError} whose `code` says which of the options cannot be followed, with Node's
   * `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` or `ERR_OUT_OF_RANGE`, or with the reason of `signal`.
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
   * Closes all its ports as `port.close()` does, then the connection. Every call returns the same promise. It rejects if a port
   * could not be closed properly, after everything else was.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Keeps the process alive as long as the connection, to wait for events. */
  ref(): this {
    this.#conversation.keepAlive(true)
    return this
  }

  /** Keeps the process alive only while a request waits for its answer: as it is from the start. */
  unref(): this {
    this.#conversation.keepAlive(false)
    return this
  }

  async #openBeside(first: Port, port: PortRequest, settings: QueueSettings, signal: AbortSignal | undefined): Promise<Port> {
    const number = first?.info?.port
    if (this.#ports.get(number)?.port?.deref() !== first)
      throw wrongValue('options.umemOf', 'must be an open port of this network', first)
    signal?.throwIfAborted()
    const { ringSize = RING } = port
    const reservation = internalsOf(first.queue(0)).reserve(ringSize)
    const inFill = reservation.ranges
    if (inFill.length === 0) throw nothingFree(first.info)
    const opening = this.#request(
      'openPort',
      { port: { ...port, ringSize, umemOf: { port: number, inFill } } },
      { take: ({ info, sockets }, descriptors) => this.#take(info, sockets, descriptors, { ...settings, reservation }) },
    )
    opening.catch(() => reservation.release())
    // The chunks are the daemon's until it has answered, so a port that nobody waits for any more is taken first and closed then.
    return signal ? unless(signal, opening, (late) => late.destroy()) : opening
  }

  async #openPinned(options: PortOptions, namespace: number, make: MakeSocket): Promise<Port> {
    checkOptions(options)
    const { signal, umemOf, ...all } = options
    checkSignal(signal)
    if (umemOf !== undefined) throw notPinned('a pinned port has memory of its own, not that of another port', {})
    const { port: request, settings } = checkedPort(all)
    const { uplink, addresses, name, mac, vlan, mtu, coalesceMicroseconds, whenDown, queues = 1, ...wishes } = request
    if (queues !== 1) throw notPinned(`a pinned port has one queue, not ${queues}`, { queues })
    const { info, pinned, held } = await this.#request(
      'openPinnedPort',
      { port: { uplink, addresses, name, mac, vlan, mtu, coalesceMicroseconds, whenDown } },
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
      // What cannot be done with a lost port is not the reason.
      throw signal?.aborted ? error : (held.lost ?? error)
    }
    const { description, descriptors } = made
    const attempts = [...info.attempts, ...made.attempts]
    return this.#take({ ...info, bindMode: description.bindMode, attempts }, [description], descriptors, settings)
  }

  async #ask<O extends Operation>(operation: O, parameters: Parameters<O>, options: RequestOptions): Promise<Result<O>> {
    checkOptions(options, WAITING)
    checkSignal(options.signal)
    check(operation, parameters, (path) => path)
    return this.#request(operation, parameters, { take: (result) => result, signal: options.signal })
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

  /** For a port that nobody will hold: whether the daemon could close it is in the daemon's log. */
  #giveBack(port: number): void {
    this.#closePort(port).catch(() => {})
  }

  /** Resolves when the daemon has undone the port, or will never hear of it because the connection's end does that. */
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
    // Each for itself: what a listener of one port throws must not keep the others from hearing of it.
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
    const impatience = setTimeout(() => this.#conversation.close(networkClosed()), PATIENCE)
    const endings = await Promise.allSettled(this.#openPorts().map((port) => port.close()))
    clearTimeout(impatience)
    this.#conversation.close(networkClosed())
    this.#settle.resolve()
    if (!wasGone) this.emit('close')
    for (const ending of endings) if (ending.status === 'rejected') throw ending.reason
  }
}

/** Slots of a ring, unless the caller says so. */
const RING = 4096
/** Frames a call that the kernel is to poll a card for, unless the caller says so. */
const BUDGET = 64

/** A port's options as the daemon would have them and what is left, or the error of an argument. */
function checkedPort({ busyPoll, maxKept, ...others }: Omit<PortOptions, 'signal'>): {
  port: PortRequest
  settings: QueueSettings
} {
  const port = { ...others, ...(busyPoll !== undefined && { busyPoll: kernelBusyPoll(busyPoll) }) } as PortRequest
  check('openPort', { port }, (path) => path.replace(/^port\b/, 'options').replace(/\bmicroseconds$/, 'spinMicroseconds'))
  checkMaxKept(maxKept)
  return { port, settings: { spinMicroseconds: busyPoll?.spinMicroseconds ?? 0, maxKept } }
}

function checkMaxKept(maxKept: unknown): void {
  if (maxKept === undefined) return
  if (typeof maxKept !== 'number') throw wrongType('options.maxKept', 'of type number', maxKept)
  if (!Number.isInteger(maxKept) || maxKept < 0) throw outOfRange('options.maxKept', 'an integer from 0 on', maxKept)
}

function kernelBusyPoll(busyPoll: NonNullable<PortOptions['busyPoll']>): unknown {
  if (typeof busyPoll !== 'object' || busyPoll === null) return busyPoll
  const { spinMicroseconds, budget = BUDGET, ...others } = busyPoll
  if ('microseconds' in others) throw noOption('options.busyPoll.microseconds', others.microseconds, 'spinMicroseconds')
  return { ...others, ...(spinMicroseconds !== undefined && { microseconds: spinMicroseconds }), budget }
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

/** What is opened, unless the signal is aborted before; what comes later is given to `leave`. */
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
  return new XsknetError('ERR_XSKNET_LAYOUT_INVALID', `port ${name} on ${uplink} has no free chunk for another port`, {
    hint: 'Open it with more `frames`.',
    details: { port, uplink },
  })
}

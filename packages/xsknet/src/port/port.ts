import { EventEmitter } from 'node:events'
import { checkOptions, outOfRange } from '../arguments.js'
import { type Flow, flowTexts } from '../connection/flow.js'
import type { Attempt, KernelStatistics, PortInfo, PortStatistics, Result } from '../connection/protocol.js'
import type { XsknetError } from '../errors.js'
import type { Batch } from '../frames/batch.js'
import { type DataPath, type ForwardTarget, forwardTarget } from '../frames/data-path.js'
import type { AdoptedSocket } from '../platform/native.js'
import { leakWarnings } from '../queue/leak-warnings.js'
import { internalsOf, Queue } from '../queue/queue.js'
import { type BatchesOptions, checkBatches, read } from '../queue/reader.js'
import type { SendOptions } from '../queue/sending.js'
import type { ChunkCounts, ClientCounters, QueueStats } from '../queue/statistics.js'
import type { CloseOptions, QueueOwner, QueueSettings } from '../queue/types.js'
import { portClosed } from '../queue-errors.js'

/** The daemon's services for a port. */
export interface PortControl {
  /** Resolves when the daemon has closed the port, or is gone. */
  close(): Promise<void>
  /** The kernel's counters; `undefined` if the daemon is gone. */
  statistics(): Promise<PortStatistics | undefined>
  /** Changes the port's flows. */
  changeFlows(
    operation: 'claimFlows' | 'releaseFlows' | 'replaceFlows',
    parameters: { flows: string[]; overrideHost?: boolean },
    options: { signal?: AbortSignal | undefined },
  ): Promise<void>
  /** Puts the port into groups; resolves to the groups that were not reported to switches. */
  joinGroups(groups: readonly string[], options: GroupOptions): Promise<Attempt[]>
  /** Takes the port out of groups. */
  leaveGroups(groups: readonly string[], options: GroupOptions): Promise<void>
  /** The frames that the guard refused, as far as they were sampled since the last call. */
  refusals(options: GroupOptions): Promise<Result<'refusals'>['refusals']>
}

/** A frame of the port that its guard refused. */
export interface Refusal {
  /** When, in milliseconds since 1970, as of `Date.now()`. */
  readonly time: number
  /** The counter of the guard that it moved, such as `source_ip`: docs/verdicts.md has the rules. */
  readonly reason: string
  /** Bytes of the whole frame. */
  readonly length: number
  /** The first bytes of it, from the Ethernet header on: 128 at most. */
  readonly bytes: Uint8Array
}

/** Options of {@link Port.join}, {@link Port.leave} and {@link Port.refusals}. */
export interface GroupOptions {
  /** Stops waiting; the call rejects with the signal's reason. The change may take place nevertheless. */
  signal?: AbortSignal | undefined
}

/** Options of {@link Port.claim} and {@link Port.replace}. */
export interface ClaimOptions {
  /**
   * Whether the flows may take packets of the host's own: of its TCP and UDP sockets, and what its kernel answers.
   * Requires a grant with `overrideHost = true`. Default: `false`.
   */
  overrideHost?: boolean | undefined
  /** Stops waiting; the call rejects with the signal's reason. The change may take place nevertheless. */
  signal?: AbortSignal | undefined
}

/** The key of the property by which the network notifies a port. */
export const notify = Symbol('xsknet.notify')

/** What the network notifies a port of. */
export interface PortNotifications {
  /** The daemon has closed the port. */
  lost(error: XsknetError): void
  /** The daemon is gone, so the device is checked from here. */
  detached(): void
}

/** The events of a {@link Port}. They need no listener: readers and senders get the same errors. */
export interface PortEvents {
  /** The port was lost: its uplink or devices are gone, or the daemon closed it. `close` follows. */
  lost: [error: XsknetError]
  /** The daemon is gone. The port goes on without it. */
  detached: []
  /**
   * Reception found no free chunk, `times` times since the last event: frames may have been dropped. At most one event
   * per second and queue.
   */
  starved: [times: number]
  /** The port is closed, for any reason. */
  close: []
}

/** The result of {@link Port.stats}: the sums over all queues, and each queue. */
export interface PortStats {
  /** The counters of this process. */
  client: ClientCounters
  /** The kernel's counters of the sockets. */
  socket: KernelStatistics
  /** The kernel's counters of the port, from the daemon; `undefined` once the daemon is gone. */
  daemon: PortStatistics | undefined
  /** Where the chunks of all UMEMs are. */
  chunks: ChunkCounts
  /**
   * The statistics of each queue, in the order of {@link Port.queues}. A queue of another thread is asked and has 200
   * ms to answer; if it does not, or is closed, these are the statistics that it reported last, or `undefined`.
   */
  queues: (QueueStats | undefined)[]
}

/**
 * A port, which receives and sends raw Ethernet frames. Opened by `network.openPort()`.
 *
 * It keeps the process alive only while a reader or sender waits for it, and after {@link unref} not even then.
 */
export class Port extends EventEmitter<PortEvents> implements ForwardTarget {
  /** The port's properties, as the daemon granted them. */
  readonly info: PortInfo
  /** Its queues. Each has a socket, rings and a UMEM of its own. All frames of a flow arrive by the same queue. */
  readonly queues: readonly Queue[]
  /**
   * Settles when the port is closed: resolves after `close()` or `destroy()`, rejects with the reason if it was lost or
   * destroyed with one.
   */
  readonly closed: Promise<void>

  readonly #control: PortControl
  #settle!: { resolve(): void; reject(reason: Error): void }
  #detached = false
  readonly #settings: QueueSettings
  /** Set by the first call that ends the port. */
  #over = false
  #ending: Promise<void> | undefined
  #reason: Error | undefined
  #loss: XsknetError | undefined

  /**
   * @internal Called by `network.openPort()`. The port owns the sockets, one per queue, from here on, also when this
   * throws.
   */
  constructor(
    sockets: readonly AdoptedSocket[],
    info: PortInfo,
    control: PortControl,
    settings: QueueSettings = { spinMicroseconds: 0 },
  ) {
    super()
    this.info = info
    this.#settings = settings
    this.#control = control
    const owner: QueueOwner = {
      lost: (error) => this.#lose(error),
      starved: (times) => this.emit('starved', times),
    }
    this.queues = Object.freeze(opened(sockets, (socket, index) => new Queue(socket, info, index, owner, settings)))
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.closed.catch(() => {}) // it need not be handled
    leakWarnings.register(this, `port ${info.name} on ${info.uplink}`, this)
  }

  /**
   * A queue by its index, from 0.
   *
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where the port has no such queue.
   */
  queue(index: number): Queue {
    const queue = this.queues[index]
    if (!queue) throw outOfRange('index', `an integer from 0 to ${this.queues.length - 1}`, index)
    return queue
  }

  /**
   * Received frames, batch by batch, of all queues in turn, except those of other threads. Each batch is a lease: it
   * ends when the loop asks for the next one or ends, or when the port closes. The loop ends when the port is closed,
   * and throws if the port is lost or `signal` aborts.
   *
   * A port has one reader; the first batch of a second one rejects with `ERR_XSKNET_READER_BUSY`. However fast frames
   * arrive, timers and signal handlers run about once per millisecond.
   */
  batches(options: BatchesOptions = {}): AsyncIterableIterator<Batch> {
    checkBatches(options)
    return read(
      this.queues.map((queue) => internalsOf(queue).source),
      options,
      this.#settings.spinMicroseconds,
    )
  }

  /**
   * Sends a copy of the bytes by the first queue: a frame from its Ethernet header on, without frame check sequence.
   * Its length is 14 bytes plus at most the MTU, and 4 more with a VLAN tag. Waits if no slot is free, and resolves
   * when the kernel was notified of the frame. Works with and without a reader.
   *
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for a shorter frame.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` for a longer one; `ERR_XSKNET_PORT_CLOSED` or
   * `ERR_XSKNET_PORT_LOST`.
   */
  async send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    return this.queue(0).send(bytes, options)
  }

  /**
   * As {@link send}, without waiting. Returns `false` and counts in `refusedSends` if no slot is free or other calls
   * wait for one.
   */
  trySend(bytes: Uint8Array): boolean {
    return this.queue(0).trySend(bytes)
  }

  /**
   * The counters of this process, of the kernel and of the daemon, and where all chunks are.
   *
   * @throws {XsknetError} `ERR_XSKNET_PORT_CLOSED` or `ERR_XSKNET_PORT_LOST`.
   */
  async stats(): Promise<PortStats> {
    if (this.#over) throw this.#loss ?? portClosed(this.info, this.#reason)
    const reports = Promise.all(this.queues.map((queue) => internalsOf(queue).lifecycle.report()))
    const [queues, daemon] = await Promise.all([reports, this.#control.statistics()])
    const known = queues.filter((stats) => stats !== undefined)
    if (known.length === 0) throw portClosed(this.info, this.#reason) // each queue was closed and had reported nothing
    return {
      client: sum(known.map(({ client }) => client)),
      socket: sum(known.map(({ socket }) => socket)),
      chunks: sum(known.map(({ chunks }) => chunks)),
      daemon,
      queues,
    }
  }

  /**
   * Has packets go to this port by their headers, beside those to its MAC: filter expressions in the language of
   * tcpdump, or objects; see docs/flows.md. All of them, or none. A flow that the port has already stays, in whichever
   * form it was given. A flow with one destination address and a protocol lets the port send the answers, with the
   * uplink's MAC as their source. The same limits as for `flows` of `network.openPort()`.
   *
   * ```ts
   * await port.claim(['udp dst port 53 and dst host 192.0.2.1'])
   * await port.claim([{ protocol: 'udp', destinationPort: 53, destination: '2001:db8::1' }])
   * ```
   *
   * @throws {XsknetError} `ERR_XSKNET_FLOW_INVALID`, with the expression and the position, or the object and the field;
   * `ERR_XSKNET_FLOW_TAKEN`;
   * `ERR_XSKNET_FLOW_OF_HOST`; `ERR_XSKNET_FLOWS_EXHAUSTED`; `ERR_XSKNET_NOT_PERMITTED` without a grant;
   * `ERR_XSKNET_PORT_CLOSED` or `ERR_XSKNET_PORT_LOST`; `ERR_XSKNET_DAEMON_GONE`.
   */
  async claim(flows: readonly (string | Flow)[], options: ClaimOptions = {}): Promise<void> {
    await this.#changeFlows('claimFlows', flows, options)
  }

  /**
   * Gives flows back. Flows that the port does not have are left alone. Later fragments of packets whose first one has
   * arrived still come for up to two seconds. Rejects as {@link claim}.
   */
  async release(flows: readonly (string | Flow)[], options: Pick<ClaimOptions, 'signal'> = {}): Promise<void> {
    await this.#changeFlows('releaseFlows', flows, options)
  }

  /**
   * Has the port these flows in place of all that it has. Each packet meets the old flows or the new ones; if this
   * rejects, the old ones stay. Rejects as {@link claim}.
   */
  async replace(flows: readonly (string | Flow)[], options: ClaimOptions = {}): Promise<void> {
    await this.#changeFlows('replaceFlows', flows, options)
  }

  /**
   * Joins groups: the port gets a copy of each frame to them in its VLAN. A group is `'broadcast'`, a multicast address
   * or a multicast MAC; see docs/groups.md. The port joins all of them, or none. It stays in those that it has joined
   * before. The host gets the frames, too. For a port without a VLAN it reports the IP groups to switches (IGMP, MLD).
   *
   * ```ts
   * await port.join(['224.0.0.251', 'ff02::fb'])
   * ```
   *
   * @returns The IP groups that were not reported to switches, and why: a port in a VLAN has to send reports itself.
   * @throws {XsknetError} `ERR_XSKNET_GROUP_INVALID`; `ERR_XSKNET_GROUPS_EXHAUSTED`; `ERR_XSKNET_NOT_PERMITTED` without
   * a grant; `ERR_XSKNET_NOT_SUPPORTED` where the kernel cannot copy for a port without BPF rings;
   * `ERR_XSKNET_PORT_CLOSED` or `ERR_XSKNET_PORT_LOST`; `ERR_XSKNET_DAEMON_GONE`.
   */
  async join(groups: readonly string[], options: GroupOptions = {}): Promise<Attempt[]> {
    this.#check(options)
    return this.#control.joinGroups(groups, { signal: options.signal })
  }

  /** Takes this port out of groups. Groups that it is not in are left alone. Rejects as {@link join}. */
  async leave(groups: readonly string[], options: GroupOptions = {}): Promise<void> {
    this.#check(options)
    await this.#control.leaveGroups(groups, { signal: options.signal })
  }

  /**
   * Samples of the frames of this port that its guard refused since the last call: why, and their first bytes.
   * `network.explain()` tells more of one. The guard begins to take them at the first call, which returns none, and
   * goes on until the port is closed: at most 100 per second, and about a hundred until the next call. The counters of
   * `stats().daemon.guard` have all. A frame that was allowed, and that its target had no room for, is not among them.
   *
   * ```ts
   * await port.refusals() // from here on
   * await port.send(frame)
   * for (const { reason, bytes } of await port.refusals()) console.log(reason, bytes)
   * ```
   *
   * @throws {XsknetError} `ERR_XSKNET_PORT_CLOSED` or `ERR_XSKNET_PORT_LOST`; `ERR_XSKNET_DAEMON_GONE`;
   * `ERR_XSKNET_KERNEL_REFUSED` if the kernel has no memory for the samples.
   */
  async refusals(options: GroupOptions = {}): Promise<Refusal[]> {
    this.#check(options)
    const refusals = await this.#control.refusals({ signal: options.signal })
    return refusals.map(({ bytes, ...refusal }) => ({ ...refusal, bytes: new Uint8Array(Buffer.from(bytes, 'hex')) }))
  }

  /**
   * Ends the reader's loop, lets queued frames leave, for at most one second, then closes the port. Frames and views of
   * them cannot be accessed afterwards. Every call returns the same promise.
   */
  close(): Promise<void> {
    this.#ending ??= this.#end({ drain: true })
    return this.#ending
  }

  /**
   * Closes the port at once; a `close()` in progress settles with it. The reader's loop throws `reason`, if there is
   * one.
   */
  destroy(reason?: Error): Promise<void> {
    if (this.#over) this.#reason ??= reason
    this.#hurry(reason)
    this.#ending ??= this.#end({ reason })
    return this.#ending
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @internal */
  [forwardTarget](): DataPath {
    return this.queue(0)[forwardTarget]()
  }

  /** Lets the port keep the process alive while a reader or sender waits for it. This is the default. */
  ref(): this {
    for (const queue of this.queues) internalsOf(queue).reference(true)
    return this
  }

  /** Lets the process end although a reader or sender waits for the port. */
  unref(): this {
    for (const queue of this.queues) internalsOf(queue).reference(false)
    return this
  }

  /** @internal */
  get [notify](): PortNotifications {
    return { lost: (error) => this.#lose(error), detached: () => this.#detach() }
  }

  async #changeFlows(
    operation: 'claimFlows' | 'releaseFlows' | 'replaceFlows',
    flows: readonly (string | Flow)[],
    options: ClaimOptions,
  ): Promise<void> {
    checkOptions(options, operation === 'releaseFlows' ? ['signal'] : ['overrideHost', 'signal'])
    const { signal, overrideHost } = options
    if (this.#over) throw this.#loss ?? portClosed(this.info, this.#reason)
    const parameters = { flows: flowTexts(flows, 'flows'), ...(overrideHost !== undefined && { overrideHost }) }
    await this.#control.changeFlows(operation, parameters, { signal })
  }

  #check(options: GroupOptions): void {
    checkOptions(options, ['signal'])
    if (this.#over) throw this.#loss ?? portClosed(this.info, this.#reason)
  }

  #lose(error: XsknetError): void {
    this.#hurry()
    if (this.#over) return
    this.#loss = error
    this.#ending = this.#end({ reason: error, loss: error })
    this.#ending.catch(() => {}) // the loss is reported, not what fails because of it
    this.emit('lost', error)
  }

  #detach(): void {
    if (this.#over || this.#detached) return
    this.#detached = true
    for (const queue of this.queues) internalsOf(queue).lifecycle.detached()
    this.emit('detached')
  }

  #hurry(reason?: Error): void {
    for (const queue of this.queues) internalsOf(queue).lifecycle.hurry(reason)
  }

  async #end(ending: CloseOptions): Promise<void> {
    this.#over = true
    this.#reason = ending.reason
    leakWarnings.unregister(this)
    await Promise.all(this.queues.map((queue) => internalsOf(queue).lifecycle.end(ending)))
    try {
      await this.#control.close()
    } finally {
      for (const queue of this.queues) internalsOf(queue).reclaim()
      if (this.#reason) this.#settle.reject(this.#reason)
      else this.#settle.resolve()
      this.emit('close')
    }
  }
}

/** Opens a queue for each socket. If one fails, all are closed. */
function opened(sockets: readonly AdoptedSocket[], open: (socket: AdoptedSocket, index: number) => Queue): Queue[] {
  const queues: Queue[] = []
  try {
    for (const [index, socket] of sockets.entries()) queues.push(open(socket, index))
  } catch (error) {
    for (const queue of queues) void internalsOf(queue).lifecycle.end({})
    for (const socket of sockets.slice(queues.length + 1)) socket.close(() => {})
    throw error
  }
  return queues
}

/** The sum of each number. */
function sum<T extends { [K in keyof T]: number }>(parts: readonly T[]): T {
  const total = { ...(parts[0] as T) }
  for (const part of parts.slice(1)) for (const key in part) total[key] = (total[key] + part[key]) as T[typeof key]
  return total
}

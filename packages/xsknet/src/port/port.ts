import { EventEmitter } from 'node:events'
import { outOfRange } from '../arguments.js'
import type { KernelStatistics, PortInfo, PortStatistics } from '../connection/protocol.js'
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

/** What the daemon does for a port. */
export interface PortControl {
  /** Resolves when the daemon has undone the port, or is gone. */
  close(): Promise<void>
  /** `undefined`: the daemon is gone. */
  statistics(): Promise<PortStatistics | undefined>
}

/** The key of the property by which the network notifies a port. */
export const notify = Symbol('xsknet.notify')

/** What the network notifies a port of. */
export interface PortNotifications {
  /** The daemon says that the port is gone. */
  lost(error: XsknetError): void
  /** The daemon is gone, so nobody will tell if the device goes, too. */
  detached(): void
}

/** What a {@link Port} emits. Nothing here must be listened to: whoever reads or sends is told the same. */
export interface PortEvents {
  /** The port was taken away; `close` follows. */
  lost: [error: XsknetError]
  /** The daemon is gone. The port goes on without it. */
  detached: []
  /** Reception found no free chunk, so many times since the last event: frames may have been dropped. At most once a second and queue. */
  starved: [times: number]
  /** It is over, whichever way. */
  close: []
}

/** What {@link Port.stats} tells: sums over the queues, and each of them. */
export interface PortStats {
  client: ClientCounters
  socket: KernelStatistics
  /** `undefined` once the daemon is gone. */
  daemon: PortStatistics | undefined
  chunks: ChunkCounts
  /**
   * In the order of {@link Port.queues}. Of a queue that another thread has, or that is over, what was told last: that thread is asked,
   * and given a fifth of a second to answer.
   */
  queues: (QueueStats | undefined)[]
}

/**
 * A port: raw Ethernet frames in and out. Made by `network.openPort()`.
 *
 * It keeps the process alive only while a reader or a sender waits for it, and not even then after {@link unref}.
 */
export class Port extends EventEmitter<PortEvents> implements ForwardTarget {
  /** What the daemon granted. */
  readonly info: PortInfo
  /** Its queues: a socket with rings and memory of its own each. All frames of a flow arrive by the same one. */
  readonly queues: readonly Queue[]
  /** Settles when the port is over: resolves after `close()` or `destroy()`, rejects with the reason if it was lost or destroyed for one. */
  readonly closed: Promise<void>

  readonly #control: PortControl
  #settle!: { resolve(): void; reject(reason: Error): void }
  #detached = false
  readonly #settings: QueueSettings
  /** Set by whatever ends the port first. */
  #over = false
  #ending: Promise<void> | undefined
  #reason: Error | undefined
  #loss: XsknetError | undefined

  /** By `network.openPort()` only. The sockets, one for each queue, are the port's own from here on. */
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
    this.closed.catch(() => {}) // nobody has to listen
    leakWarnings.register(this, `port ${info.name} on ${info.uplink}`, this)
  }

  /**
   * The queue of a number from 0 on.
   *
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where the port has no such queue.
   */
  queue(index: number): Queue {
    const queue = this.queues[index]
    if (!queue) throw outOfRange('index', `an integer from 0 to ${this.queues.length - 1}`, index)
    return queue
  }

  /**
   * Received frames, batch by batch, of all queues in turn but those that other threads have. Each batch is a lease: it ends when the loop asks for the next one, is left,
   * or the port closes. The loop ends when the port is closed, and throws if the port is lost or `signal` aborts.
   *
   * A port has one reader; the first batch of a second one rejects with `ERR_XSKNET_READER_BUSY`. However fast frames arrive, timers
   * and signals get their turn about once a millisecond.
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
   * Sends a copy of the bytes: a frame from its Ethernet header on, without checksum. It has 14 bytes at least, and at most as many more as the
   * MTU says, and 4 more with a VLAN tag. Waits its turn if no slot is free, and resolves when the kernel has been told of the frame. Works
   * beside a reader, and without one. It leaves by the first queue.
   *
   * @throws {RangeError} `ERR_OUT_OF_RANGE` for a shorter frame; an {@link XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` for a longer one.
   */
  async send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    return this.queue(0).send(bytes, options)
  }

  /** As {@link send}, but without waiting: `false`, and `refusedSends` counts one more, if no slot is free or others wait for one. */
  trySend(bytes: Uint8Array): boolean {
    return this.queue(0).trySend(bytes)
  }

  /** Counters of this end, of the kernel and of the daemon, and where all chunks are. */
  async stats(): Promise<PortStats> {
    if (this.#over) throw this.#loss ?? portClosed(this.info, this.#reason)
    const reports = Promise.all(this.queues.map((queue) => internalsOf(queue).lifecycle.report()))
    const [queues, daemon] = await Promise.all([reports, this.#control.statistics()])
    const known = queues.filter((stats) => stats !== undefined)
    if (known.length === 0) throw portClosed(this.info, this.#reason) // its queues were, each by itself, and could not tell
    return {
      client: sum(known.map(({ client }) => client)),
      socket: sum(known.map(({ socket }) => socket)),
      chunks: sum(known.map(({ chunks }) => chunks)),
      daemon,
      queues,
    }
  }

  /**
   * Ends the reader's loop, lets queued frames leave (for a second at most), then gives the port back. Frames and views of them cannot be
   * reached afterwards. Every call returns the same promise.
   */
  close(): Promise<void> {
    this.#ending ??= this.#end({ drain: true })
    return this.#ending
  }

  /** Gives the port back now; a `close()` that still waits settles with it. The reader's loop throws `reason`, if there is one. */
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

  /** Lets the port keep the process alive while a reader or sender waits for it, as it does from the start. */
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

  #lose(error: XsknetError): void {
    this.#hurry()
    if (this.#over) return
    this.#loss = error
    this.#ending = this.#end({ reason: error, loss: error })
    this.#ending.catch(() => {}) // the loss is told, not what else went wrong then
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

/** Queues of all sockets, or an error and none. */
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

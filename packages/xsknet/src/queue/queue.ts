import { outOfRange } from '../arguments.js'
import type { PortInfo } from '../connection/protocol.js'
import type { Batch } from '../frames/batch.js'
import { DataPath, type ForwardTarget, forwardTarget } from '../frames/data-path.js'
import type { DescriptorBatch } from '../frames/descriptors.js'
import { type AdoptedSocket, type HotPath, type Reservation, typed } from '../platform/native.js'
import { Lifecycle } from './lifecycle.js'
import type { ReadableOptions } from './readable.js'
import { type BatchesOptions, checkBatches, type QueueSource, read } from './reader.js'
import { Readiness } from './readiness.js'
import { Reception } from './reception.js'
import { Sending, type SendOptions } from './sending.js'
import type { QueueStats } from './statistics.js'
import type { QueueOwner, QueueSettings, QueueToken } from './types.js'

/** What the owner of a queue can do with it beside its public methods. */
export interface QueueInternals {
  readonly source: QueueSource
  readonly lifecycle: Lifecycle
  reference(referenced: boolean): void
  /** Sets free chunks aside for the reception of another socket: `most`, but not more than half of the free ones. */
  reserve(most: number): Reservation
  /** The daemon has closed its copy of the socket, so its chunks are free for other sockets of the UMEM. */
  reclaim(): void
}

/** The internals of a queue, for its owner alone. */
export let internalsOf: (queue: Queue) => QueueInternals

/** One queue of a port: an AF_XDP socket with its four rings, RX, TX, FILL and COMPLETION, and its UMEM. */
export class Queue implements ForwardTarget {
  static {
    internalsOf = (queue) => queue.#internals
  }

  /** What the daemon granted to the port. */
  readonly info: PortInfo
  /** The queue's index within its port, from 0. */
  readonly index: number
  /**
   * Settles when the queue is closed, in whichever thread it is: resolves after its own or its port's `close()` or
   * `destroy()`, rejects with the reason if the port was lost, or if one of them was destroyed with a reason.
   */
  readonly closed: Promise<void>

  readonly #socket: AdoptedSocket
  readonly #settings: QueueSettings
  readonly #path: HotPath
  readonly #dataPath: DataPath
  readonly #sending: Sending
  readonly #readiness: Readiness
  readonly #lifecycle: Lifecycle
  readonly #reception: Reception
  readonly #internals: QueueInternals

  /**
   * @internal Called by a port or by {@link adoptQueue}. The queue owns the socket from here on, also when this throws.
   */
  constructor(socket: AdoptedSocket, info: PortInfo, index: number, owner: QueueOwner, settings: QueueSettings) {
    this.info = info
    this.index = index
    this.#socket = socket
    this.#settings = settings
    try {
      this.#path = socket.open(Queue.#listener(new WeakRef(this)), info.mtu)
    } catch (error) {
      socket.close(() => {})
      throw typed(error)
    }
    this.#dataPath = new DataPath(this.#path, {
      failed: (error) => this.#lifecycle.failed(error),
      queued: () => void this.#sending.kickSoon(),
      maxKept: settings.maxKept,
      queue: { info, index },
    })
    const sends = { info, index, checkOpen: () => this.#lifecycle.checkOpen(), wait: () => this.#readiness.arm() }
    this.#sending = new Sending(sends, socket, this.#path, this.#dataPath)
    this.#readiness = new Readiness(this, owner, socket, this.#path, this.#sending)
    const parts = {
      queue: this,
      path: this.#path,
      dataPath: this.#dataPath,
      sending: this.#sending,
      readiness: this.#readiness,
    }
    this.#lifecycle = new Lifecycle({ ...parts, owner, socket, endLease: () => this.#reception.endLease() })
    this.#reception = new Reception({
      ...parts,
      lifecycle: this.#lifecycle,
      spin: settings.spinMicroseconds / 1000,
      starved: (times) => owner.starved(times),
    })
    this.closed = this.#lifecycle.closed
    this.#internals = {
      source: this.#reception,
      lifecycle: this.#lifecycle,
      reference: (referenced) => this.#reference(referenced),
      reserve: (most) => this.#reserve(most),
      reclaim: () => this.#socket.reclaim(),
    }
  }

  /** As {@link Port.batches}, from this queue only. */
  batches(options: BatchesOptions = {}): AsyncIterableIterator<Batch> {
    checkBatches(options)
    return read([this.#reception], options, this.#settings.spinMicroseconds)
  }

  /** As {@link Port.send}, by this queue. */
  send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    return this.#sending.send(bytes, options)
  }

  /** As {@link Port.trySend}, by this queue. */
  trySend(bytes: Uint8Array): boolean {
    return this.#sending.trySend(bytes)
  }

  /**
   * The counters of this process and of the kernel, and how many chunks each owner has. One system call.
   *
   * @throws {XsknetError} `ERR_XSKNET_PORT_CLOSED`, `ERR_XSKNET_PORT_LOST` or `ERR_XSKNET_QUEUE_HANDED_OVER`.
   */
  stats(): QueueStats {
    return this.#lifecycle.stats()
  }

  /**
   * Hands the queue over to another thread of this process. Queued frames are sent, calls of `send()` that wait for a
   * slot reject, and views of the memory become empty. From then on the queue can only be awaited here, by {@link
   * closed}, or closed with its port. A token that is not adopted becomes void when the port is closed.
   *
   * @throws {XsknetError} `ERR_XSKNET_READER_BUSY` while the queue is being read; `ERR_XSKNET_NOT_SUPPORTED` where its
   * UMEM is shared.
   */
  token(): QueueToken {
    const key = this.#lifecycle.handOver()
    return { key, index: this.index, info: this.info, settings: this.#settings }
  }

  /**
   * Ends the reader's loop, lets queued frames leave, for at most one second, then closes the queue's socket. Frames
   * that arrive for it from then on are dropped and counted. The port and its other queues go on. Every call returns
   * the same promise.
   */
  close(): Promise<void> {
    return this.#lifecycle.end({ drain: true })
  }

  /**
   * Closes the socket at once; a `close()` in progress settles with it. The reader's loop throws `reason`, if there is
   * one.
   */
  destroy(reason?: Error): Promise<void> {
    this.#lifecycle.hurry(reason)
    return this.#lifecycle.end({ reason })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Lets the queue keep the process or worker alive while a reader or sender waits for it. This is the default. */
  ref(): this {
    this.#reference(true)
    return this
  }

  /** Lets the process or worker end although a reader or sender waits for the queue. */
  unref(): this {
    this.#reference(false)
    return this
  }

  // Frames by their descriptors

  /**
   * Makes a batch for up to `capacity` descriptors. It lasts as long as the queue: make it once. With multi-buffer use
   * a capacity of at least 64, or a long packet may never fit.
   *
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where `capacity` is less than 1 or more than the queue's rings allow.
   */
  batch(capacity: number): DescriptorBatch {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > this.#path.places)
      throw outOfRange('capacity', `an integer from 1 to ${this.#path.places}`, capacity)
    this.#lifecycle.checkOpen()
    return this.#dataPath.batch(capacity)
  }

  /**
   * Appends received frames to the batch, as many as it has room for, and returns how many; 0 if there are none. Frames
   * that were sent and not announced to the kernel yet are announced when there are none to receive, or when enough
   * wait.
   *
   * @param sleepMicroseconds For a dedicated thread: if there are no frames, the thread sleeps until one arrives, for
   * up to this many microseconds, at most 1,000,000. Meanwhile nothing else of the thread runs: no timer, no promise,
   * and no message of another thread, such as the end of the port. Return to the event loop from time to time. A signal
   * may end the sleep early. Default: 0.
   * @throws {XsknetError} `ERR_XSKNET_READER_BUSY` while a loop reads the queue.
   */
  receive(batch: DescriptorBatch, sleepMicroseconds = 0): number {
    return this.#reception.receiveInto(batch, sleepMicroseconds)
  }

  /**
   * Recycles the frames of the batch and receives others in their place: {@link recycle} and {@link receive} in one
   * call. `sleepMicroseconds` and the result are those of {@link receive}.
   */
  recycleAndReceive(batch: DescriptorBatch, sleepMicroseconds = 0): number {
    return this.#reception.recycleAndReceiveInto(batch, sleepMicroseconds)
  }

  /**
   * For programs that read by {@link receive}: resolves to `true` when there are frames to receive, at once if there
   * are some, and to `false` when the queue is closed. Waiting costs no CPU time, except what `busyPoll` asks for. If
   * it is called before each `receive()`, timers and other ports run about once per millisecond. Rejects with what a
   * reader's loop throws.
   */
  readable(options: ReadableOptions = {}): Promise<boolean> {
    return this.#reception.readable(options)
  }

  /**
   * Appends empty frames to the batch, as many as are free, up to `count` or the batch's capacity; returns how many.
   */
  allocate(batch: DescriptorBatch, count: number = batch.capacity): number {
    return this.#dataPath.allocateInto(batch, Math.min(batch.capacity, batch.length + count))
  }

  /**
   * Sends the frames of the batch in order, and returns how many. Frames that found no free slot are moved to the front
   * of the batch; its `length` is their number. A frame that cannot be sent, because it is not yours or is empty, is
   * dropped and counted in `refusedQueued`; one that is shorter than an Ethernet header or longer than the MTU allows,
   * in `refusedLengths`.
   *
   * The kernel is notified when 128 frames wait or no slot is left; or by the next `receive()` that finds no frame, or
   * by {@link kick}.
   */
  transmit(batch: DescriptorBatch): number {
    const sent = this.#dataPath.transmitFrom(batch)
    if (this.#dataPath.waiting > 0) this.#sending.retrySoon()
    return sent
  }

  /**
   * Gives the frames of the batch back and empties it. Returns how many were yours; others are counted in
   * `refusedRecycled`.
   */
  recycle(batch: DescriptorBatch): number {
    return this.#dataPath.recycleFrom(batch)
  }

  /** Notifies the kernel of all frames that were sent. A system call, if there are any. */
  kick(): void {
    this.#dataPath.flush()
    this.#sending.retrySoon()
  }

  /** @internal */
  [forwardTarget](): DataPath {
    this.#lifecycle.checkOpen()
    return this.#dataPath
  }

  #reference(referenced: boolean): void {
    this.#sending.reference(referenced)
    this.#readiness.reference(referenced)
  }

  #reserve(most: number): Reservation {
    this.#lifecycle.checkOpen()
    try {
      return this.#socket.reserve(Math.min(most, this.#socket.chunks().free >>> 1))
    } catch (error) {
      throw this.#lifecycle.failed(error)
    }
  }

  /**
   * In a scope without the queue: the socket holds this function, and must not keep a leaked port from being collected.
   */
  static #listener(self: WeakRef<Queue>): (events: number) => void {
    return (events) => {
      const queue = self.deref()
      if (queue) queue.#readiness.wake(events)
    }
  }
}

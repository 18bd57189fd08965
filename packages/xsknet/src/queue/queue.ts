import { checkOptions, checkSignal, outOfRange, WAITING, wrongType } from '../arguments.js'
import type { PortInfo } from '../connection/protocol.js'
import { Batch, end } from '../frames/batch.js'
import type { DescriptorBatch } from '../frames/descriptors.js'
import { type AdoptedSocket, type HotPath, typed } from '../platform/native.js'
import { Alarm } from '../platform/timers.js'
import { beingRead, nameOf } from '../refusals.js'
import type { QueueToken } from './away.js'
import type { QueueStats } from './figures.js'
import type { Inside, Owner, QueueSettings } from './inside.js'
import { Life } from './life.js'
import { Outlook, type ReadableOptions, SOMETHING } from './outlook.js'
import { type BatchesOptions, read } from './reader.js'
import { Sending, type SendOptions } from './sending.js'
import { type Outlet, outlet, Slate } from './slate.js'
import { Watch } from './watch.js'

/** Milliseconds between `starved` events. */
const STARVED = 1000
/** The most microseconds that a thread sleeps for a frame. */
const LONGEST_SLEEP = 1_000_000

/** Lets the owner of a queue, and nobody else, do what nobody else may. */
export let inside: (queue: Queue) => Inside

/** One socket of a port: its rings, who reads it, and who waits to send. */
export class Queue implements Outlet {
  static {
    inside = (queue) => queue.#inside
  }

  /** What the daemon granted to the port. */
  readonly info: PortInfo
  /** The queue's number within its port, from 0 on. */
  readonly index: number
  /**
   * Settles when the queue is over, in whichever thread it is: resolves after its own `close()` or `destroy()` or its port's, rejects
   * with the reason if the port was lost, or one of them destroyed for a reason.
   */
  readonly closed: Promise<void>

  readonly #socket: AdoptedSocket
  readonly #owner: Owner
  readonly #settings: QueueSettings
  readonly #path: HotPath
  readonly #slate: Slate
  readonly #sending: Sending
  readonly #watch: Watch
  readonly #life: Life

  /** A loop reads. */
  #claimed = false
  #outlook: Outlook | undefined
  #batch: Batch | undefined
  /** Of the times that reception found no chunk, those that have been told. */
  #starvedTold = 0
  /** The owner was told of some a short while ago. */
  readonly #quiet = new Alarm()

  /** By a port, or by {@link adoptQueue}. The socket is the queue's own from here on. */
  constructor(socket: AdoptedSocket, info: PortInfo, index: number, owner: Owner, settings: QueueSettings) {
    this.info = info
    this.index = index
    this.#socket = socket
    this.#owner = owner
    this.#settings = settings
    try {
      this.#path = socket.open(Queue.#listener(new WeakRef(this)), info.mtu)
    } catch (error) {
      socket.close(() => {})
      throw typed(error)
    }
    this.#slate = new Slate(this.#path, {
      failed: (error) => this.#life.failed(error),
      queued: () => void this.#sending.kickSoon(),
      maxKept: settings.maxKept,
      member: { info, index },
    })
    const sends = { info, index, checkOpen: () => this.#life.checkOpen(), wait: () => this.#watch.arm() }
    this.#sending = new Sending(sends, socket, this.#path, this.#slate)
    this.#watch = new Watch(this, owner, socket, this.#path, this.#sending)
    this.#life = new Life({
      queue: this,
      owner,
      socket,
      path: this.#path,
      slate: this.#slate,
      sending: this.#sending,
      watch: this.#watch,
      endLease: () => this.#endLease(),
    })
    this.closed = this.#life.closed
    this.#quiet.reference(false)
  }

  /** As {@link Port.batches}, from this queue alone. */
  batches(options: BatchesOptions = {}): AsyncIterableIterator<Batch> {
    checkBatches(options)
    return read([this.#inside], options, this.#settings.spinMicroseconds)
  }

  /** As {@link Port.send}, by this queue. */
  send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    return this.#sending.send(bytes, options)
  }

  /** As {@link Port.trySend}, by this queue. */
  trySend(bytes: Uint8Array): boolean {
    return this.#sending.trySend(bytes)
  }

  /** Counters of this end and of the kernel, and where the chunks are. A system call. */
  stats(): QueueStats {
    return this.#life.stats()
  }

  /**
   * Gives the queue to another thread of this process: what is queued leaves, senders that wait for a slot are refused, views of the
   * memory become empty, and all that can be done with the queue here is to wait for its end by {@link closed}, or to bring that about
   * by closing the port. A token that nobody adopts is void when the port ends.
   *
   * @throws {XsknetError} `ERR_XSKNET_READER_BUSY` while the queue is being read; `ERR_XSKNET_NOT_SUPPORTED` where its memory is shared.
   */
  token(): QueueToken {
    const key = this.#life.giveAway()
    return { key, index: this.index, info: this.info, settings: this.#settings }
  }

  /**
   * Ends the reader's loop, lets queued frames leave (for a second at most), then closes the queue's socket: what arrives for it from
   * now on is dropped, and counted. The port and its other queues go on. Every call returns the same promise.
   */
  close(): Promise<void> {
    return this.#life.end({ drain: true })
  }

  /** Closes the socket now; a `close()` that still waits settles with it. The reader's loop throws `reason`, if there is one. */
  destroy(reason?: Error): Promise<void> {
    this.#life.hurry(reason)
    return this.#life.end({ reason })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Lets the queue keep the process, or the worker, alive while a reader or sender waits for it, as it does from the start. */
  ref(): this {
    this.#inside.reference(true)
    return this
  }

  /** Lets the process, or the worker, end although a reader or sender waits for the queue. */
  unref(): this {
    this.#inside.reference(false)
    return this
  }

  // Frames by their descriptors

  /**
   * A batch for up to `capacity` descriptors, good for as long as the queue: make it once. With multi-buffer, have room for 64, or a long
   * packet may never come.
   */
  batch(capacity: number): DescriptorBatch {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > this.#path.places)
      throw outOfRange('capacity', `an integer from 1 to ${this.#path.places}`, capacity)
    this.#life.checkOpen()
    return this.#slate.batch(capacity)
  }

  /**
   * Adds received frames behind those that the batch has, as many as there is room for, and says how many: at once, and 0 if there are
   * none. Frames that were sent and wait for a kick get it when there are none, or when it is worth it.
   *
   * @param sleepMicroseconds For a thread that does nothing else: where there are none, it sleeps until some come, for so long at most, up
   * to 1,000,000. Nothing else of the thread runs meanwhile: no timer, no promise, and not what another thread wants, such as the end of
   * the port, so let the event loop turn now and then. A signal may cut it short.
   */
  receive(batch: DescriptorBatch, sleepMicroseconds = 0): number {
    if (this.#claimed) this.#refuseReading()
    if (sleepMicroseconds !== 0) checkSleep(sleepMicroseconds)
    const received = this.#slate.receiveInto(batch, sleepMicroseconds)
    if (this.#slate.starved !== this.#starvedTold) this.#tellStarved()
    return received
  }

  /** Gives the frames of the batch back and has received ones in their place: {@link recycle} and {@link receive} in one call. */
  recycleAndReceive(batch: DescriptorBatch, sleepMicroseconds = 0): number {
    if (this.#claimed) this.#refuseReading()
    if (sleepMicroseconds !== 0) checkSleep(sleepMicroseconds)
    const received = this.#slate.recycleAndReceiveInto(batch, sleepMicroseconds)
    if (this.#slate.starved !== this.#starvedTold) this.#tellStarved()
    return received
  }

  /**
   * For who reads by {@link receive}: resolves to `true` when there is something to receive, at once if there is, and to `false` when
   * the queue is closed. Until then nothing is spent, but what `busyPoll` asks for. Asked before each `receive()`, it also sees to it
   * that timers and other ports get their turn about once a millisecond. Rejects as a reader's loop throws.
   */
  readable(options: ReadableOptions = {}): Promise<boolean> {
    try {
      checkOptions(options, WAITING)
      const { signal } = options
      checkSignal(signal)
      signal?.throwIfAborted()
      if (this.#life.hasEnded()) return Promise.resolve(false)
      if (this.#watch.reader) throw beingRead(`${nameOf(this)} is being read already`)
      this.#outlook ??= new Outlook(this.#settings.spinMicroseconds / 1000, () => this.#look())
      if (this.#outlook.sees()) return SOMETHING
      this.#slate.finish()
      this.#sending.retrySoon()
      const outlook = this.#outlook
      this.#watch.reader = outlook
      return outlook.wait(
        signal,
        () => {
          if (this.#watch.reader === outlook) this.#watch.reader = undefined
        },
        () => this.#watch.arm(),
      )
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #look(): true | undefined {
    if (!this.#path.isReadable()) return undefined
    this.#watch.fruitless = 0
    return true
  }

  #refuseReading(): never {
    this.#life.checkOpen()
    throw beingRead(`${nameOf(this)} is being read by a loop`)
  }

  /** Adds empty frames behind those that the batch has, up to its capacity or `count` of them, as many as are free; says how many. */
  allocate(batch: DescriptorBatch, count: number = batch.capacity): number {
    return this.#slate.allocateInto(batch, Math.min(batch.capacity, batch.length + count))
  }

  /**
   * Sends the frames of the batch, from the first on, and says how many. Those that found no slot have moved to its front, and are all that
   * it has then. What cannot be sent, because it is no frame of yours or has no byte, is dropped and counted in `refusedQueued`; what is
   * shorter than an Ethernet header, or longer than the MTU allows, in `refusedLengths`.
   *
   * The kernel is told of them when 128 wait or there are no slots left; or by the next `receive()` that finds nothing, or by {@link kick}.
   */
  transmit(batch: DescriptorBatch): number {
    const sent = this.#slate.transmitFrom(batch)
    if (this.#slate.waiting > 0) this.#sending.retrySoon()
    return sent
  }

  /** Gives the frames of the batch back, which is empty then. Says how many they were; what was none of yours is counted. */
  recycle(batch: DescriptorBatch): number {
    return this.#slate.recycleFrom(batch)
  }

  /** Tells the kernel of all that was sent. A system call, if there is anything to tell. */
  kick(): void {
    this.#slate.flush()
    this.#sending.retrySoon()
  }

  /** @internal */
  [outlet](): Slate {
    this.#life.checkOpen()
    return this.#slate
  }

  // For the owner

  readonly #inside: Inside = ((queue: Queue): Inside => ({
    get places() {
      return queue.#path.places
    },
    get here() {
      return queue.#life.isHere
    },
    get life() {
      return queue.#life
    },
    claim: (reader) => {
      queue.#life.checkOpen()
      if (queue.#watch.reader) throw beingRead(`${nameOf(queue)} is being read already`)
      queue.#watch.reader = reader
      queue.#claimed = true
    },
    release: (reader) => {
      if (queue.#watch.reader !== reader) return
      queue.#claimed = false
      queue.#watch.release()
    },
    receive: (max) => {
      queue.#endLease()
      const received = queue.#slate.receive(max)
      if (queue.#slate.starved !== queue.#starvedTold) queue.#tellStarved()
      if (received === 0) return undefined
      queue.#watch.fruitless = 0
      queue.#batch = new Batch(queue.#slate, received)
      return queue.#batch
    },
    finish: () => {
      queue.#endLease()
      if (queue.#life.isOver) return
      queue.#slate.finish()
      queue.#sending.retrySoon()
    },
    wait: () => {
      queue.#sending.retrySoon()
      queue.#watch.arm()
    },
    reference: (referenced) => {
      queue.#sending.reference(referenced)
      queue.#watch.reference(referenced)
    },
    reserve: (most) => {
      queue.#life.checkOpen()
      try {
        return queue.#socket.reserve(Math.min(most, queue.#socket.chunks().free >>> 1))
      } catch (error) {
        throw queue.#life.failed(error)
      }
    },
    reclaim: () => queue.#socket.reclaim(),
  }))(this)

  /** Of a scope of its own, without the queue: what the socket holds must not keep a forgotten port from being noticed. */
  static #listener(self: WeakRef<Queue>): (events: number) => void {
    return (events) => {
      const queue = self.deref()
      if (queue) queue.#watch.wake(events)
    }
  }

  // Reading

  #endLease(): void {
    if (this.#batch) end(this.#batch)
    this.#batch = undefined
  }

  /** Called for each batch while there is something to tell: by a timer, because a look at the clock puts a number on the heap. */
  #tellStarved(): void {
    if (this.#quiet.isSet) return
    this.#quiet.set(STARVED, () => {})
    const { starved } = this.#slate
    const times = (starved - this.#starvedTold) >>> 0
    this.#starvedTold = starved
    process.nextTick(() => this.#owner.starved(times))
  }
}

/** The reader itself checks the values. */
export function checkBatches(options: BatchesOptions): void {
  checkOptions(options, ['max', 'signal'])
}

function checkSleep(microseconds: number): void {
  if (typeof microseconds !== 'number') throw wrongType('sleepMicroseconds', 'of type number', microseconds)
  if (!Number.isInteger(microseconds) || microseconds < 0 || microseconds > LONGEST_SLEEP)
    throw outOfRange('sleepMicroseconds', `an integer from 0 to ${LONGEST_SLEEP}`, microseconds)
}

import { checkOptions, checkSignal, outOfRange, wrongType } from './arguments.js'
import { Batch, end } from './batch.js'
import type { DescriptorBatch } from './descriptors.js'
import { XsknetError } from './errors.js'
import { figuresOf, type QueueStats } from './figures.js'
import { forgotten } from './forgotten.js'
import type { Ending, Inside, Owner, QueueSettings } from './inside.js'
import { type AdoptedSocket, type Letter, takeOver, typed } from './native.js'
import { Outlook, type ReadableOptions, SOMETHING } from './outlook.js'
import { type Failure, fromFailure, type PortInfo, toFailure } from './protocol.js'
import { type BatchesOptions, read } from './reader.js'
import { beingRead, handedOver, nameOf, openerEnded, portClosed, tokenVoid } from './refusals.js'
import { DRAIN, Sending, type SendOptions } from './sending.js'
import { type Outlet, outlet, Slate } from './slate.js'
import { pause } from './timers.js'
import { Watch } from './watch.js'

/**
 * A queue on its way to another thread of this process: `postMessage()` takes it, and {@link adoptQueue} makes a queue of it, once. It
 * is of no use anywhere else.
 */
export interface QueueToken {
  readonly key: readonly [number, number, number, number]
  readonly index: number
  readonly info: PortInfo
  readonly settings: QueueSettings
}

/** What the thread that opened a port tells the one that has a queue of it. */
type Order =
  /** The port is over. */
  | { over: { failure?: Failure; drain: boolean } }
  /** The daemon is gone, so nobody will tell if the device goes, too. */
  | { alone: true }
  | { report: true }

/** What the thread that has a queue tells the one that opened the port. */
type Report = { stats: QueueStats } | { lost: Failure }

/** Milliseconds between `starved` events. */
const STARVED = 1000
/** Milliseconds for another thread to tell its figures, and to end a queue that need not be drained. */
const ANSWER = 200

/** Lets the owner of a queue, and nobody else, do what nobody else may. */
export let inside: (queue: Queue) => Inside
/** Does what the thread says that opened the port; `undefined`: that is gone. */
let follow: (queue: Queue, order: Order | undefined) => void

/** One socket of a port: its rings, who reads it, and who waits to send. */
export class Queue implements Outlet {
  static {
    inside = (queue) => queue.#inside
    follow = (queue, order) => queue.#follow(order)
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
  readonly #path: ReturnType<AdoptedSocket['open']>
  readonly #slate: Slate
  readonly #sending: Sending
  readonly #watch: Watch

  /** A loop reads. */
  #claimed = false
  #outlook: Outlook | undefined
  #batch: Batch | undefined
  #starved = { times: 0, toldAt: Number.NEGATIVE_INFINITY }

  /** Set by whatever ends the queue first. */
  #over = false
  #ending: Promise<void> | undefined
  #reason: Error | undefined
  #loss: XsknetError | undefined
  /** Cuts short what the end waits for. */
  readonly #hurry = new AbortController()
  #settle!: { resolve(): void; reject(reason: Error): void }

  /** Another thread has it, or will: resolves when that has closed it. */
  #elsewhere: Promise<void> | undefined
  /** What the other thread told last of its figures, and who waits for it to tell. */
  #told: QueueStats | undefined
  #asking: (() => void)[] = []

  /** By a port, or by {@link adoptQueue}. The socket is the queue's own from here on. */
  constructor(socket: AdoptedSocket, info: PortInfo, index: number, owner: Owner, settings: QueueSettings) {
    this.info = info
    this.index = index
    this.#socket = socket
    this.#owner = owner
    this.#settings = settings
    try {
      this.#path = socket.open(Queue.#listener(new WeakRef(this)))
    } catch (error) {
      socket.close(() => {})
      throw typed(error)
    }
    this.#slate = new Slate(this.#path, {
      failed: (error) => this.#failed(error),
      queued: () => void this.#sending.kickSoon(),
      maxKept: settings.maxKept,
    })
    const sends = { info, index, checkOpen: () => this.#checkOpen(), wait: () => this.#watch.arm() }
    this.#sending = new Sending(sends, socket, this.#path, this.#slate)
    this.#watch = new Watch(this, owner, socket, this.#path, this.#sending)
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.closed.catch(() => {}) // nobody has to listen
  }

  /** As {@link Port.batches}, from this queue alone. */
  batches(options: BatchesOptions = {}): AsyncIterableIterator<Batch> {
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
    this.#checkOpen()
    try {
      return this.#figures()
    } catch (error) {
      throw typed(error)
    }
  }

  /**
   * Gives the queue to another thread of this process: what is queued leaves, senders that wait for a slot are refused, views of the
   * memory become empty, and all that can be done with the queue here is to wait for its end by {@link closed}, or to bring that about
   * by closing the port. A token that nobody adopts is void when the port ends.
   *
   * @throws {XsknetError} `ERR_XSKNET_READER_BUSY` while the queue is being read; `ERR_XSKNET_NOT_SUPPORTED` where its memory is shared.
   */
  token(): QueueToken {
    this.#checkOpen()
    if (this.#watch.reader) throw beingRead(`${nameOf(this)} is being read, so it cannot be handed over`)
    try {
      this.#socket.checkHandOver()
    } catch (error) {
      throw typed(error)
    }
    this.#slate.close()
    this.#slate.finish()
    this.#told = this.stats()
    let released!: () => void
    const elsewhere = new Promise<void>((resolve) => {
      released = resolve
    })
    let key: QueueToken['key']
    try {
      key = this.#socket.handOver(Queue.#correspondent(new WeakRef(this), released))
    } catch (error) {
      throw typed(error)
    }
    this.#elsewhere = elsewhere
    this.#rest()
    this.#sending.refuse(() => this.#closedError())
    // Closed there, and by nobody here.
    void elsewhere.then(() => {
      this.#ending ??= this.#end({})
    })
    return { key, index: this.index, info: this.info, settings: this.#settings }
  }

  /**
   * Ends the reader's loop, lets queued frames leave (for a second at most), then closes the queue's socket: what arrives for it from
   * now on is dropped, and counted. The port and its other queues go on. Every call returns the same promise.
   */
  close(): Promise<void> {
    return this.#inside.end({ drain: true })
  }

  /** Closes the socket now; a `close()` that still waits settles with it. The reader's loop throws `reason`, if there is one. */
  destroy(reason?: Error): Promise<void> {
    this.#inside.hurry(reason)
    return this.#inside.end({ reason })
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
    this.#checkOpen()
    return this.#slate.batch(capacity)
  }

  /**
   * Adds received frames behind those that the batch has, as many as there is room for, and says how many: at once, and 0 if there are
   * none. Frames that were sent and wait for a kick get it when there are none, or when it is worth it.
   */
  receive(batch: DescriptorBatch): number {
    if (this.#claimed) this.#refuseReading()
    const received = this.#slate.receiveInto(batch)
    if (this.#slate.starved !== this.#starved.times) this.#tellStarved()
    return received
  }

  /**
   * For who reads by {@link receive}: resolves to `true` when there is something to receive, at once if there is, and to `false` when
   * the queue is closed. Until then nothing is spent, but what `busyPoll` asks for. Asked before each `receive()`, it also sees to it
   * that timers and other ports get their turn about once a millisecond. Rejects as a reader's loop throws.
   */
  readable(options: ReadableOptions = {}): Promise<boolean> {
    try {
      checkOptions(options)
      const { signal } = options
      checkSignal(signal)
      signal?.throwIfAborted()
      if (this.#elsewhere || this.#loss) this.#checkOpen()
      if (this.#over) return Promise.resolve(false)
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
    this.#checkOpen()
    throw beingRead(`${nameOf(this)} is being read by a loop`)
  }

  /** Adds empty frames behind those that the batch has, up to its capacity or `count` of them, as many as are free; says how many. */
  allocate(batch: DescriptorBatch, count: number = batch.capacity): number {
    return this.#slate.allocateInto(batch, Math.min(batch.capacity, batch.length + count))
  }

  /**
   * Sends the frames of the batch, from the first on, and says how many. Those that found no slot have moved to its front, and are all that
   * it has then. What cannot be sent, because it is no frame of yours, has no byte or too many, is dropped and counted in `refusedQueued`.
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
    this.#checkOpen()
    return this.#slate
  }

  // For the owner

  readonly #inside: Inside = ((queue: Queue): Inside => ({
    get places() {
      return queue.#path.places
    },
    claim: (reader) => {
      queue.#checkOpen()
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
      if (queue.#slate.starved !== queue.#starved.times) queue.#tellStarved()
      if (received === 0) return undefined
      queue.#watch.fruitless = 0
      queue.#batch = new Batch(queue.#slate, received)
      return queue.#batch
    },
    finish: () => {
      queue.#endLease()
      if (queue.#over) return
      queue.#slate.finish()
      queue.#sending.retrySoon()
    },
    wait: () => {
      queue.#sending.retrySoon()
      queue.#watch.arm()
    },
    end: (ending) => {
      queue.#ending ??= queue.#end(ending)
      return queue.#ending
    },
    hurry: (reason) => {
      if (!queue.#over) return
      queue.#reason ??= reason
      queue.#hurry.abort()
    },
    get here() {
      return !queue.#over && !queue.#elsewhere
    },
    alone: () => {
      if (queue.#elsewhere) queue.#order({ alone: true })
      else if (!queue.#over) queue.#watch.alone()
    },
    report: () => queue.#report(),
    reference: (referenced) => {
      queue.#sending.reference(referenced)
      queue.#watch.reference(referenced)
    },
    reserve: (most) => {
      queue.#checkOpen()
      try {
        return queue.#socket.reserve(Math.min(most, queue.#socket.census().home >>> 1))
      } catch (error) {
        throw queue.#failed(error)
      }
    },
    reclaim: () => queue.#socket.reclaim(),
  }))(this)

  // Reading

  #endLease(): void {
    if (this.#batch) end(this.#batch)
    this.#batch = undefined
  }

  #tellStarved(): void {
    const now = performance.now()
    if (now - this.#starved.toldAt < STARVED) return
    const { starved } = this.#slate
    const times = (starved - this.#starved.times) >>> 0
    this.#starved = { times: starved, toldAt: now }
    process.nextTick(() => this.#owner.starved(times))
  }

  /** Of a scope of its own, without the queue: what the socket holds must not keep a forgotten port from being noticed. */
  static #listener(self: WeakRef<Queue>): (events: number) => void {
    return (events) => {
      const queue = self.deref()
      if (queue) queue.#watch.wake(events)
    }
  }

  // Between threads

  /** Reads what the thread says that has the queue. Without the queue in its scope, as {@link #listener}. */
  static #correspondent(self: WeakRef<Queue>, released: () => void): Letter {
    return (letter) => {
      if (letter === null) released()
      const queue = self.deref()
      if (!queue) return
      if (letter === null) queue.#answered()
      else queue.#hear(JSON.parse(letter))
    }
  }

  #hear(report: Report): void {
    if ('lost' in report) {
      if (!this.#over) this.#owner.lost(fromFailure(report.lost))
      return
    }
    this.#told = report.stats
    this.#answered()
  }

  #answered(): void {
    for (const asking of this.#asking.splice(0)) asking()
  }

  async #report(): Promise<QueueStats | undefined> {
    if (!this.#elsewhere) return this.#over ? this.#told : this.stats()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ANSWER)
      this.#asking.push(() => {
        clearTimeout(timer)
        resolve()
      })
      this.#order({ report: true })
      void this.#elsewhere?.then(resolve)
    })
    return this.#told
  }

  #follow(order: Order | undefined): void {
    if (this.#over) {
      if (order && 'over' in order && !order.over.drain) this.#hurry.abort()
    } else if (!order) {
      this.#owner.lost(openerEnded(this.info))
    } else if ('report' in order) {
      this.#tellFigures()
    } else if ('alone' in order) {
      this.#inside.alone()
    } else {
      const { failure, drain } = order.over
      const error = failure && fromFailure(failure)
      void this.#inside.end({ reason: error, loss: error, drain })
    }
  }

  #order(order: Order): void {
    this.#socket.post(JSON.stringify(order))
  }

  /** Writes down the figures, also for the thread that opened the port, if that is another one. */
  #tellFigures(): void {
    try {
      this.#told = this.#figures()
      this.#tell({ stats: this.#told })
    } catch {
      // A device that is gone and a ring that is broken have none.
    }
  }

  #figures(): QueueStats {
    return figuresOf(this.#socket, this.#slate, this.#sending.refused)
  }

  #tell(report: Report): void {
    this.#socket.post(JSON.stringify(report))
  }

  // Ending

  #checkOpen(): void {
    if (this.#over || this.#elsewhere) throw this.#closedError()
  }

  #closedError(): Error {
    if (this.#loss) return this.#loss
    return this.#elsewhere && !this.#over ? handedOver(this) : portClosed(this.info, this.#reason)
  }

  /** What the socket threw, typed; the port is lost if there is no way on. */
  #failed(error: unknown): unknown {
    if (this.#over || this.#elsewhere) return this.#closedError()
    const failure = typed(error)
    const fatal = failure instanceof XsknetError && /_(PORT_LOST|RING_BROKEN)$/.test(failure.code)
    if (fatal) this.#owner.lost(failure)
    return failure
  }

  async #end(ending: Ending): Promise<void> {
    this.#over = true
    this.#reason = ending.reason
    this.#loss = ending.loss
    forgotten.unregister(this)
    this.#rest()
    await (this.#elsewhere ? this.#endElsewhere(ending) : this.#endHere(ending))
    if (this.#reason) this.#settle.reject(this.#reason)
    else this.#settle.resolve()
  }

  async #endHere({ reason, loss, drain }: Ending): Promise<void> {
    this.#endLease()
    this.#slate.close()
    try {
      this.#path.finish()
    } catch {
      // There is nothing left to send by.
    }
    this.#watch.reader?.stop(reason)
    if (drain) await this.#sending.drain(this.#hurry.signal)
    this.#sending.refuse(() => this.#closedError())
    this.#tellFigures()
    if (loss) this.#tell({ lost: toFailure(loss) })
    await new Promise<void>((resolve) => this.#socket.close(resolve))
  }

  /** Has the thread that has the queue end it, and waits for that; not for ever, because it may hang, and need not end for the port to. */
  async #endElsewhere({ reason, loss, drain = false }: Ending): Promise<void> {
    const error = loss ?? (reason && portClosed(this.info, reason))
    this.#order({ over: { drain, ...(error && { failure: toFailure(error) }) } })
    this.#socket.recall()
    void this.#elsewhere?.then(() => this.#hurry.abort())
    await pause(drain ? DRAIN + ANSWER : ANSWER, this.#hurry.signal)
  }

  /** Nothing is waited for any more. */
  #rest(): void {
    this.#watch.stop()
    this.#sending.stop()
  }
}

/**
 * Takes over a queue that another thread of this process has given away by {@link Queue.token}. It belongs to this thread from now on:
 * it is read and sent by here, and released when it is closed, when its port is, or when this thread ends, however that comes about.
 *
 * @throws {XsknetError} `ERR_XSKNET_TOKEN_VOID` where the token was adopted before, its port has ended, or it is of another process.
 */
export function adoptQueue(token: QueueToken): Queue {
  if (typeof token !== 'object' || token === null || !isKey(token.key) || !token.info || !token.settings) {
    throw wrongType('token', 'what `queue.token()` returned', token)
  }
  const { key, index, info, settings } = token
  let self: WeakRef<Queue> | undefined
  const early: (Order | undefined)[] = []
  const obey = (order: Order | undefined) => {
    const queue = self?.deref()
    if (queue) follow(queue, order)
    else if (!self) early.push(order)
  }
  const socket = takeOver(key, (letter) => obey(letter === null ? undefined : JSON.parse(letter)))
  if (!socket) throw tokenVoid(token)
  const owner: Owner = {
    lost: (error) => {
      void inside(queue).end({ reason: error, loss: error })
    },
    starved: () => {}, // `stats().client.fillStarved` counts them
  }
  const queue = new Queue(socket, info, index, owner, settings)
  self = new WeakRef(queue)
  for (const order of early) follow(queue, order)
  forgotten.register(queue, `queue ${index} of port ${info.name} on ${info.uplink}`, queue)
  return queue
}

function isKey(key: unknown): boolean {
  return Array.isArray(key) && key.length === 4 && key.every((word) => typeof word === 'number' && word >>> 0 === word)
}

import { EventEmitter } from 'node:events'
import { checkOptions, checkSignal, outOfRange, wrongType } from './arguments.js'
import { Batch, end } from './batch.js'
import { XsknetError } from './errors.js'
import { type AdoptedSocket, typed } from './native.js'
import type { KernelStatistics, PortInfo, PortStatistics } from './protocol.js'
import { busy, Reader, type Source } from './reader.js'
import { Slate } from './slate.js'

/** What the daemon does for a port. */
export interface PortControl {
  /** Resolves when the daemon has undone the port, or is gone. */
  close(): Promise<void>
  /** `undefined`: the daemon is gone. */
  statistics(): Promise<PortStatistics | undefined>
}

/** What a {@link Port} emits. Nothing here must be listened to: whoever reads or sends is told the same. */
export interface PortEvents {
  /** The port was taken away; `close` follows. */
  lost: [error: XsknetError]
  /** The daemon is gone. The port goes on without it. */
  alone: []
  /** Reception found no free chunk, so many times since the last event: frames may have been dropped. At most once a second. */
  starved: [times: number]
  /** It is over, whichever way. */
  close: []
}

export interface BatchesOptions {
  /** The most frames of a batch; the port's rings bound it, too. Default: 64. */
  max?: number | undefined
  /** Ends the loop: it throws the signal's reason. */
  signal?: AbortSignal | undefined
}

export interface SendOptions {
  /** Gives up waiting for a slot: rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What this end has counted since the port was opened. */
export interface ClientCounters {
  /** Frames taken out of the RX ring. */
  received: number
  /** Frames put into the TX ring. */
  sent: number
  /** Frames that came back through the COMPLETION ring: the kernel has no more use for them, whether or not a wire saw them. */
  completed: number
  /** Frames that {@link Port.trySend} did not take, for want of a slot. */
  refusedSends: number
  /** Entries of the RX ring that were no frame. */
  refusedRx: number
  /** Entries of the COMPLETION ring that brought no chunk back. */
  refusedCompletions: number
  /** Frames queued in a way that the socket refused: a bug of this package. */
  refusedQueued: number
  /** Times that the FILL ring was empty and no chunk was free for it. */
  fillStarved: number
  /** Times that the FILL ring was empty: whoever reads was late. */
  fillFoundEmpty: number
  /** System calls that told the kernel to send. */
  kicks: number
  /** Those of `kicks` that followed one which the kernel broke off. */
  kickRetries: number
  /** System calls that told the kernel of free chunks. */
  fillKicks: number
}

/** Where the chunks of the UMEM are. The parts add up to `total`. */
export interface Census {
  /** Free. */
  home: number
  /** In the batch being read. */
  held: number
  /** Lent to reception. */
  fill: number
  /** Lent to sending. */
  tx: number
  total: number
}

/** What {@link Port.stats} tells. */
export interface PortStats {
  client: ClientCounters
  socket: KernelStatistics
  /** `undefined` once the daemon is gone. */
  daemon: PortStatistics | undefined
  census: Census
}

const READABLE = 1
const WRITABLE = 2

/** Milliseconds that a reader may keep the event loop from turning. */
const TURN = 1
/** Milliseconds that `close()` gives queued frames to leave. */
const DRAIN = 1000
/** Milliseconds between looks at the device when nobody else would tell that it is gone. */
const CHECK = 1000
/** Milliseconds between `starved` events. */
const STARVED = 1000
/** Milliseconds until frames that the kernel did not take are tried again: doubled each time that none moves. */
const RETRY = { first: 1, last: 128 }
/** Milliseconds until a device that is down is tried again: its socket is in error meanwhile, and would wake us for ever. */
const DOWN = 100
/** Wake-ups in a row without a frame that are believed to be chance. */
const CHANCE = 8

/** A `send()` that waits for a slot. */
interface Sender {
  bytes: Uint8Array
  sent(kicked: Promise<void>): void
  refused(error: Error): void
}

/** Ports that somebody waits for: nothing else need hold them. */
const waited = new Set<Port>()

const forgotten = new FinalizationRegistry((name: string) => {
  process.emitWarning(`port ${name} was forgotten: it is open, and nobody can close it any more`, {
    type: 'XsknetWarning',
    code: 'XSKNET_PORT_FORGOTTEN',
    detail: 'Call close() when a port is no longer needed, or declare it by `await using`.',
  })
})

/**
 * A port: raw Ethernet frames in and out. Made by `network.openPort()`.
 *
 * It keeps the process alive only while a reader or a sender waits for it, and not even then after {@link unref}.
 */
export class Port extends EventEmitter<PortEvents> {
  /** What the daemon granted. */
  readonly info: PortInfo
  /** Settles when the port is over: resolves after `close()` or `destroy()`, rejects with the reason if it was lost or destroyed for one. */
  readonly closed: Promise<void>

  readonly #socket: AdoptedSocket
  readonly #control: PortControl
  readonly #path: ReturnType<AdoptedSocket['open']>
  readonly #slate: Slate
  #settle!: { resolve(): void; reject(reason: Error): void }
  #referenced = true

  #reader: Reader | undefined
  #batch: Batch | undefined
  /** When the event loop last turned, as far as we know. */
  #turned = 0
  #fruitlessWakes = 0
  #starved = { times: 0, toldAt: Number.NEGATIVE_INFINITY }

  readonly #senders: Sender[] = []
  #refusedSends = 0
  /** The kick at the end of this turn of the microtask queue. */
  #kick: Promise<void> | undefined
  #retry: NodeJS.Timeout | undefined
  #retryAfter = RETRY.first

  #checks: NodeJS.Timeout | undefined
  #down: NodeJS.Timeout | undefined
  /** Set by whatever ends the port first. */
  #over = false
  #ending: Promise<void> | undefined
  #reason: Error | undefined
  #loss: XsknetError | undefined
  /** Ends the wait of a `close()` for queued frames. */
  #hurry: () => void = () => {}

  /** By `network.openPort()` only. The socket is the port's own from here on. */
  constructor(socket: AdoptedSocket, info: PortInfo, control: PortControl) {
    super()
    this.info = info
    this.#socket = socket
    this.#control = control
    try {
      this.#path = socket.open(Port.#listener(new WeakRef(this)))
    } catch (error) {
      socket.close(() => {})
      throw typed(error)
    }
    this.#slate = new Slate(this.#path, (error) => this.#failed(error))
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.closed.catch(() => {}) // nobody has to listen
    forgotten.register(this, `${info.name} on ${info.uplink}`, this)
  }

  /**
   * Received frames, batch by batch. Each batch is a lease: it ends when the loop asks for the next one, is left, or the port closes.
   * The loop ends when the port is closed, and throws if the port is lost or `signal` aborts.
   *
   * A port has one reader; the first batch of a second one rejects with `ERR_XSKNET_READER_BUSY`. However fast frames arrive, timers
   * and signals get their turn about once a millisecond.
   */
  batches(options: BatchesOptions = {}): AsyncIterableIterator<Batch> {
    checkOptions(options)
    const { max = 64, signal } = options
    if (typeof max !== 'number') throw wrongType('options.max', 'of type number', max)
    if (!Number.isInteger(max) || max < 1) throw outOfRange('options.max', 'an integer from 1 on', max)
    checkSignal(signal)
    return new Reader(this.#source, Math.min(max, this.#path.places), signal)
  }

  /**
   * Sends a copy of the bytes: a frame from its Ethernet header on, without checksum. Waits its turn if no slot is free, and resolves
   * when the kernel has been told of the frame. Works beside a reader, and without one.
   */
  async send(bytes: Uint8Array, options: SendOptions = {}): Promise<void> {
    checkOptions(options)
    const { signal } = options
    checkSignal(signal)
    signal?.throwIfAborted()
    this.#checkSendable(bytes)
    if (this.#senders.length === 0 && this.#queue(bytes)) return this.#kickSoon()
    return new Promise((resolve, reject) => {
      const settled = () => signal?.removeEventListener('abort', abort)
      const sender: Sender = {
        bytes: Uint8Array.prototype.slice.call(bytes),
        sent: (kicked) => {
          settled()
          resolve(kicked)
        },
        refused: (error) => {
          settled()
          reject(error)
        },
      }
      const abort = () => {
        this.#senders.splice(this.#senders.indexOf(sender), 1)
        sender.refused(signal?.reason)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#senders.push(sender)
      this.#arm()
      this.#retrySoon()
    })
  }

  /** As {@link send}, but without waiting: `false`, and `refusedSends` counts one more, if no slot is free or others wait for one. */
  trySend(bytes: Uint8Array): boolean {
    this.#checkSendable(bytes)
    const sent = this.#senders.length === 0 && this.#queue(bytes)
    if (sent) void this.#kickSoon()
    else this.#refusedSends++
    return sent
  }

  /** Counters of this end, of the kernel and of the daemon, and where all chunks are. */
  async stats(): Promise<PortStats> {
    this.#checkOpen()
    const local = this.#localStats()
    return { ...local, daemon: await this.#control.statistics() }
  }

  /**
   * Ends the reader's loop, lets queued frames leave (for a second at most), then gives the port back. Frames and views of them cannot be
   * reached afterwards. Every call returns the same promise.
   */
  close(): Promise<void> {
    this.#ending ??= this.#end(undefined, () => this.#drain())
    return this.#ending
  }

  /** Gives the port back now; a `close()` that still waits settles with it. The reader's loop throws `reason`, if there is one. */
  destroy(reason?: Error): Promise<void> {
    if (this.#over) this.#reason ??= reason
    this.#hurry()
    this.#ending ??= this.#end(reason)
    return this.#ending
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Lets the port keep the process alive while a reader or sender waits for it, as it does from the start. */
  ref(): this {
    return this.#reference(true)
  }

  /** Lets the process end although a reader or sender waits for the port. */
  unref(): this {
    return this.#reference(false)
  }

  /** By the network only: the daemon says that the port is gone. */
  lost(error: XsknetError): void {
    this.#hurry()
    if (this.#over) return
    this.#loss = error
    this.#ending = this.#end(error)
    this.#ending.catch(() => {}) // the loss is told, not what else went wrong then
    this.emit('lost', error)
  }

  /** By the network only: the daemon is gone, so nobody will tell if the device goes, too. */
  alone(): void {
    if (this.#over || this.#checks) return
    this.#checks = setInterval(() => this.#check(), CHECK).unref()
    this.emit('alone')
  }

  // Reading

  readonly #source: Source = {
    claim: (reader) => {
      this.#checkOpen()
      if (this.#reader) throw busy(`port ${this.info.name} is being read already`)
      this.#reader = reader
      this.#turned = performance.now()
    },
    release: (reader) => {
      if (this.#reader === reader) this.#reader = undefined
      this.#arm()
    },
    receive: (max) => this.#receive(max),
    finish: () => this.#finish(),
    wait: () => {
      this.#retrySoon()
      this.#arm()
    },
    turnIsDue: () => performance.now() - this.#turned >= TURN,
    turn: () => {
      setImmediate(() => this.#wakeReader())
    },
  }

  #receive(max: number): Batch | undefined {
    this.#endLease()
    const received = this.#slate.receive(max)
    if (this.#slate.starved !== this.#starved.times) this.#tellStarved()
    if (received === 0) return undefined
    this.#fruitlessWakes = 0
    this.#batch = new Batch(this.#slate, received)
    return this.#batch
  }

  #finish(): undefined {
    this.#endLease()
    if (this.#over) return
    this.#slate.finish()
    this.#retrySoon()
  }

  #endLease(): void {
    if (this.#batch) end(this.#batch)
    this.#batch = undefined
  }

  #wakeReader(): void {
    this.#turned = performance.now()
    if (this.#reader?.wake() === false) this.#source.wait()
  }

  #tellStarved(): void {
    const now = performance.now()
    if (now - this.#starved.toldAt < STARVED) return
    const { starved } = this.#slate
    const times = (starved - this.#starved.times) >>> 0
    this.#starved = { times: starved, toldAt: now }
    process.nextTick(() => this.emit('starved', times))
  }

  // Waiting

  /** Of a scope of its own, without the port: what the socket holds must not keep a forgotten port from being noticed. */
  static #listener(self: WeakRef<Port>): (events: number) => void {
    return (events) => {
      const port = self.deref()
      if (port) port.#onReady(events)
    }
  }

  /** The events that somebody waits for. */
  #wanted(): number {
    if (this.#over || this.#down) return 0
    const congested = this.#senders.length > 0 && this.#slate.slots < this.#path.slots / 2
    return (this.#reader?.waits ? READABLE : 0) | (congested ? WRITABLE : 0)
  }

  /** Waits for what is wanted, and no longer for what is not. */
  #arm(): void {
    const wanted = this.#wanted()
    if (wanted !== 0) {
      waited.add(this)
      this.#path.wait(wanted, this.#referenced)
    } else if (waited.delete(this)) {
      this.#path.rest()
    }
  }

  #onReady(events: number): void {
    if (this.#over) return
    // Nobody waits any more, or not until the batch has been dealt with. In the latter case resting would cost two system calls a batch,
    // so the watch goes on until it has told in vain.
    if (!waited.delete(this)) {
      this.#path.rest()
      return
    }
    if (events & WRITABLE && this.#senders.length > 0) this.#pump()
    if (events & READABLE && this.#reader?.waits) {
      this.#turned = performance.now()
      if (!this.#reader.wake()) this.#wokenForNothing()
    }
    this.#arm()
  }

  /** A device in error wakes for ever, and one that is deleted for ever or never: so ask. */
  #wokenForNothing(): void {
    if (this.#over) return
    const device = this.#check()
    if (device === 'gone' || (device === 'up' && ++this.#fruitlessWakes < CHANCE)) return
    this.#path.rest()
    this.#down = setTimeout(() => {
      this.#down = undefined
      this.#arm()
    }, DOWN)
    if (!this.#referenced) this.#down.unref()
  }

  #check(): 'up' | 'down' | 'gone' {
    const device = this.#socket.check()
    if (device === 'gone') {
      this.lost(
        new XsknetError('ERR_XSKNET_PORT_LOST', `the device of port ${this.info.name} on ${this.info.uplink} was deleted`, {
          hint: 'Open another port.',
          details: { port: this.info.port, uplink: this.info.uplink, inner: this.info.inner },
        }),
      )
    }
    return device
  }

  #reference(referenced: boolean): this {
    this.#referenced = referenced
    for (const timer of [this.#retry, this.#down]) {
      if (referenced) timer?.ref()
      else timer?.unref()
    }
    this.#arm()
    return this
  }

  // Sending

  #checkSendable(bytes: Uint8Array): void {
    if (!(bytes instanceof Uint8Array)) throw wrongType('bytes', 'an instance of Uint8Array', bytes)
    this.#checkOpen()
    const { length } = bytes
    const { frameCapacity: capacity } = this.#path
    if (length === 0) throw outOfRange('bytes.length', `from 1 to ${capacity}`, length)
    if (length > capacity) {
      throw new XsknetError(
        'ERR_XSKNET_FRAME_TOO_LONG',
        `a frame of port ${this.info.name} holds ${capacity} bytes, not ${length}`,
        {
          hint: 'Ask for a larger frameSize or a smaller headroom when opening the port.',
          details: { length, capacity },
        },
      )
    }
  }

  #queue(bytes: Uint8Array): boolean {
    if (this.#slate.trySend(bytes)) return true
    if (!this.#kick) return false
    this.#slate.flush() // there is something to make room with
    return this.#slate.trySend(bytes)
  }

  /** One kick for all that is sent in this turn of the microtask queue. */
  #kickSoon(): Promise<void> {
    if (!this.#kick) {
      this.#kick = Promise.resolve().then(() => {
        this.#kick = undefined
        if (this.#over) return
        this.#slate.flush()
        this.#retrySoon()
      })
      this.#kick.catch(() => {}) // trySend() waits for nothing
    }
    return this.#kick
  }

  /** Tries again what the kernel did not take, and those who wait for a slot. */
  #pump(): void {
    const before = this.#slate.waiting
    const sent: Sender[] = []
    let kicked = Promise.resolve()
    try {
      this.#slate.flush()
      for (let sender = this.#senders[0]; sender && this.#queue(sender.bytes); sender = this.#senders[0]) {
        sent.push(sender)
        this.#senders.shift()
      }
      if (sent.length > 0) this.#slate.flush()
    } catch (error) {
      kicked = Promise.reject(error)
      kicked.catch(() => {})
    }
    for (const sender of sent) sender.sent(kicked)
    const moved = sent.length > 0 || this.#slate.waiting < before
    this.#retryAfter = moved ? RETRY.first : Math.min(this.#retryAfter * 2, RETRY.last)
  }

  #retrySoon(): void {
    if (this.#retry || this.#over || (this.#slate.waiting === 0 && this.#senders.length === 0)) return
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#pump()
      this.#arm()
      this.#retrySoon()
    }, this.#retryAfter)
    if (!this.#referenced) this.#retry.unref()
  }

  // Ending

  #localStats(): Omit<PortStats, 'daemon'> {
    const socket = this.#socket
    try {
      const client = { ...socket.counters(), refusedSends: this.#refusedSends }
      return { client, socket: socket.statistics(), census: socket.census() }
    } catch (error) {
      throw typed(error)
    }
  }

  #checkOpen(): void {
    if (this.#over) throw this.#closedError()
  }

  #closedError(): Error {
    if (this.#loss) return this.#loss
    const { name, uplink, port } = this.info
    return new XsknetError('ERR_XSKNET_PORT_CLOSED', `port ${name} on ${uplink} was closed`, {
      details: { port, uplink },
      ...(this.#reason && { cause: this.#reason }),
    })
  }

  /** What the socket threw, typed; the port is lost if there is no way on. */
  #failed(error: unknown): unknown {
    const failure = typed(error)
    const fatal = failure instanceof XsknetError && /_(PORT_LOST|RING_BROKEN)$/.test(failure.code)
    if (fatal) this.lost(failure)
    return failure
  }

  async #end(reason: Error | undefined, drain?: () => Promise<void>): Promise<void> {
    this.#over = true
    this.#reason = reason
    forgotten.unregister(this)
    clearInterval(this.#checks)
    clearTimeout(this.#retry)
    clearTimeout(this.#down)
    waited.delete(this)
    this.#endLease()
    try {
      this.#path.finish()
    } catch {
      // There is nothing left to send by.
    }
    this.#reader?.stop(reason)
    await drain?.()
    for (const sender of this.#senders.splice(0)) sender.refused(this.#closedError())
    await new Promise<void>((resolve) => this.#socket.close(resolve))
    try {
      await this.#control.close()
    } finally {
      if (this.#reason) this.#settle.reject(this.#reason)
      else this.#settle.resolve()
      this.emit('close')
    }
  }

  /** Waits until the kernel has sent everything, somebody is in a hurry, or the time is over. */
  async #drain(): Promise<void> {
    const deadline = performance.now() + DRAIN
    let hurried = false
    for (let pause = RETRY.first; !hurried && performance.now() < deadline; pause = Math.min(pause * 2, 16)) {
      this.#pump()
      let census: Census
      try {
        this.#path.flush()
        census = this.#socket.census()
      } catch {
        return // the device is gone, and the frames with it
      }
      if (census.tx === 0 && this.#senders.length === 0) return
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause)
        this.#hurry = () => {
          hurried = true
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}

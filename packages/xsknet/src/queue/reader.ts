import { checkOptions, checkSignal, outOfRange, wrongType } from '../arguments.js'
import type { Batch } from '../frames/batch.js'
import { beingRead } from '../queue-errors.js'
import { Pace } from './pace.js'

/** Options of {@link Port.batches} and {@link Queue.batches}. */
export interface BatchesOptions {
  /** The most frames of a batch, from 1. A batch never has more than the port's rings have slots. Default: 64. */
  max?: number | undefined
  /** Ends the loop, which throws the signal's reason. */
  signal?: AbortSignal | undefined
}

/** A reader that waits for a queue to become readable. */
export interface Waiter {
  /** Whether it waits now. */
  readonly waits: boolean
  /** A frame may have arrived. Returns whether there was one, or nothing waits any more. */
  wake(): boolean
  /** Ends the reader, with an error or without. */
  stop(error?: unknown): void
}

/** What a reader needs of its queue, or of the queues that it reads in turn. */
export interface Source {
  /** Registers the reader; throws if there is another one. */
  claim(reader: Waiter): void
  release(reader: Waiter): void
  /** Ends the lease and begins the next; `undefined` if no frame is there, or if `max` is 0. */
  receive(max: number): Batch | undefined
  /** Ends the lease. */
  finish(): void
  /** Calls {@link Waiter.wake} when a frame may be there. */
  wait(): void
}

/** A queue as a source of frames. */
export interface QueueSource extends Source {
  /** The most frames of a batch. */
  readonly places: number
  /** Whether the queue is open in this thread. */
  readonly here: boolean
}

const DONE = { done: true, value: undefined } as const

/** What `batches()` returns. */
export class Reader implements AsyncIterableIterator<Batch>, Waiter {
  readonly #source: Source
  readonly #signal: AbortSignal | undefined
  readonly #pace: Pace
  readonly #find: () => Batch | undefined
  readonly #sleep: () => void
  #stage: 'new' | 'open' | 'over' = 'new'
  /** A `next()` that waits. */
  #pending: { resolve: (result: IteratorResult<Batch>) => void; reject: (error: unknown) => void } | undefined
  /** What the next `next()` answers instead of a batch. */
  #ending: { error: unknown } | undefined

  constructor(source: Source, max: number, signal: AbortSignal | undefined, spin = 0) {
    this.#source = source
    this.#signal = signal
    this.#pace = new Pace(spin)
    this.#find = () => source.receive(max)
    this.#sleep = () => source.wait()
  }

  /** The lease ends here and at {@link return}, and nowhere else but with the port. */
  next(): Promise<IteratorResult<Batch>> {
    if (this.#pending) return Promise.reject(beingRead('the last `next()` of this reader has not been answered yet'))
    try {
      if (this.#stage === 'new') this.#open()
      if (this.#ending) return this.#end(this.#ending.error)
      if (this.#stage === 'over') return Promise.resolve(DONE)
      const due = this.#pace.isOver()
      // Nothing of the next lease: what is queued need not leave yet where more frames wait already.
      const batch = due ? this.#source.receive(0) : this.#pace.look(this.#find)
      if (batch) return Promise.resolve({ done: false, value: batch })
      const waiting = new Promise<IteratorResult<Batch>>((resolve, reject) => {
        this.#pending = { resolve, reject }
      })
      if (due || this.#pace.again) this.#pace.turn(this, this.#sleep)
      else this.#source.wait()
      return waiting
    } catch (error) {
      this.#leave()
      return Promise.reject(error)
    }
  }

  return(): Promise<IteratorResult<Batch>> {
    const [pending, wasOpen] = [this.#pending, this.#stage === 'open']
    this.#leave()
    pending?.resolve(DONE)
    try {
      if (wasOpen) this.#source.finish()
    } catch (error) {
      return Promise.reject(error)
    }
    return Promise.resolve(DONE)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  get waits(): boolean {
    return this.#pending !== undefined
  }

  /** Answers the `next()` that waits, if a frame is there. Called by the event loop, so that it has just turned. */
  wake(): boolean {
    const pending = this.#pending
    if (!pending) return true
    this.#pace.turned()
    try {
      const batch = this.#pace.look(this.#find)
      if (!batch) return false
      this.#pending = undefined
      pending.resolve({ done: false, value: batch })
    } catch (error) {
      this.#leave()
      pending.reject(error)
    }
    return true
  }

  /** Ends the loop: now if it waits, else when it asks for the next batch. */
  stop(error?: unknown): void {
    if (this.#stage !== 'open') return
    this.#ending ??= { error }
    const pending = this.#pending
    if (!pending) return
    this.#pending = undefined
    this.#end(this.#ending.error).then(pending.resolve, pending.reject)
  }

  #open(): void {
    this.#signal?.throwIfAborted()
    this.#source.claim(this)
    this.#stage = 'open'
    this.#signal?.addEventListener('abort', this.#abort, { once: true })
  }

  readonly #abort = () => this.stop(this.#signal?.reason)

  async #end(error: unknown): Promise<IteratorResult<Batch>> {
    this.#leave()
    this.#source.finish()
    if (error !== undefined) throw error
    return DONE
  }

  #leave(): void {
    this.#signal?.removeEventListener('abort', this.#abort)
    this.#pending = undefined
    this.#ending = undefined
    if (this.#stage === 'open') this.#source.release(this)
    this.#stage = 'over'
  }
}

/** Batches in a row from one queue before the next is asked: to switch costs a kick. */
const ROUND = 8

/** Several queues, read in turn like one. */
export class RoundRobin implements Source {
  readonly #queues: readonly Source[]
  #at = 0
  /** Batches in a row from the queue at `#at`. */
  #row = 0

  constructor(queues: readonly Source[]) {
    this.#queues = queues
  }

  claim(reader: Waiter): void {
    try {
      for (const queue of this.#queues) queue.claim(reader)
    } catch (error) {
      this.release(reader)
      throw error
    }
  }

  release(reader: Waiter): void {
    for (const queue of this.#queues) queue.release(reader)
  }

  receive(max: number): Batch | undefined {
    // This ends the lease; it must not change whose turn is next.
    if (max === 0) return this.#queues[this.#at]?.receive(0)
    if (this.#row >= ROUND) {
      this.finish()
      this.#next()
    }
    for (let asked = 0; asked < this.#queues.length; asked++) {
      const batch = this.#queues[this.#at]?.receive(max)
      if (batch) {
        this.#row++
        return batch
      }
      this.#next()
    }
    return undefined
  }

  finish(): void {
    this.#queues[this.#at]?.finish()
  }

  wait(): void {
    for (const queue of this.#queues) queue.wait()
  }

  #next(): void {
    this.#at = (this.#at + 1) % this.#queues.length
    this.#row = 0
  }
}

/** Refuses unknown options; {@link read} checks the values. */
export function checkBatches(options: BatchesOptions): void {
  checkOptions(options, ['max', 'signal'])
}

/** A reader of all these queues. */
export function read(
  queues: readonly QueueSource[],
  options: BatchesOptions,
  spinMicroseconds: number,
): AsyncIterableIterator<Batch> {
  checkOptions(options)
  const { max = 64, signal } = options
  if (typeof max !== 'number') throw wrongType('options.max', 'of type number', max)
  if (!Number.isInteger(max) || max < 1) throw outOfRange('options.max', 'an integer from 1 on', max)
  checkSignal(signal)
  const open = queues.filter(({ here }) => here)
  const sources = open.length > 0 ? open : queues.slice(0, 1) // which then says why it cannot be read
  const most = Math.min(max, ...sources.map(({ places }) => places))
  return new Reader(
    sources.length === 1 ? (sources[0] as Source) : new RoundRobin(sources),
    most,
    signal,
    spinMicroseconds / 1000,
  )
}

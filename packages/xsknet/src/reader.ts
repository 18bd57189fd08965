import type { Batch } from './batch.js'
import { XsknetError } from './errors.js'

/** What a reader needs of its port. */
export interface Source {
  /** Takes note of the port's reader; throws if it has another. */
  claim(reader: Reader): void
  release(reader: Reader): void
  /** Ends the lease and begins the next; `undefined` where no frame is there. */
  receive(max: number): Batch | undefined
  /** Ends the lease. */
  finish(): undefined
  /** Calls {@link Reader.wake} when a frame may be there. */
  wait(): void
  /** Whether the event loop has been kept waiting long enough. */
  turnIsDue(): boolean
  /** Calls {@link Reader.wake} in the next turn of the event loop. */
  turn(): void
}

const DONE = { done: true, value: undefined } as const

/** What `port.batches()` returns. */
export class Reader implements AsyncIterableIterator<Batch> {
  readonly #source: Source
  readonly #max: number
  readonly #signal: AbortSignal | undefined
  #stage: 'new' | 'open' | 'over' = 'new'
  /** A `next()` that waits. */
  #pending: { resolve: (result: IteratorResult<Batch>) => void; reject: (error: unknown) => void } | undefined
  /** What the next `next()` answers instead of a batch. */
  #ending: { error: unknown } | undefined

  constructor(source: Source, max: number, signal: AbortSignal | undefined) {
    this.#source = source
    this.#max = max
    this.#signal = signal
  }

  /** The lease ends here and at {@link return}, and nowhere else but with the port. */
  next(): Promise<IteratorResult<Batch>> {
    if (this.#pending) return Promise.reject(busy('the last `next()` of this reader has not been answered yet'))
    try {
      if (this.#stage === 'new') this.#open()
      if (this.#ending) return this.#end(this.#ending.error)
      if (this.#stage === 'over') return Promise.resolve(DONE)
      const turn = this.#source.turnIsDue()
      const batch = turn ? this.#source.finish() : this.#source.receive(this.#max)
      if (batch) return Promise.resolve({ done: false, value: batch })
      const waiting = new Promise<IteratorResult<Batch>>((resolve, reject) => {
        this.#pending = { resolve, reject }
      })
      if (turn) this.#source.turn()
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

  /** Answers the `next()` that waits, if a frame is there; says whether it did. */
  wake(): boolean {
    const pending = this.#pending
    if (!pending) return true
    try {
      const batch = this.#source.receive(this.#max)
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

export function busy(message: string): XsknetError {
  return new XsknetError('ERR_XSKNET_READER_BUSY', message, {
    hint: 'Read a port in one place, and hand frames on from there; or end the first loop.',
  })
}

import { Pace } from './pace.js'
import type { Waiter } from './reader.js'

/** Options of {@link Queue.readable}. */
export interface ReadableOptions {
  /** Ends the wait; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What `readable()` returns when there is a frame. */
export const READABLE_NOW = Promise.resolve(true)

/** Waits until RX has an entry, for programs that read without a reader's loop. */
export class ReadableWaiter implements Waiter {
  readonly #pace: Pace
  readonly #find: () => true | undefined
  #pending: { resolve: (something: boolean) => void; reject: (error: unknown) => void } | undefined
  #due = false

  constructor(spin: number, find: () => true | undefined) {
    this.#pace = new Pace(spin)
    this.#find = find
  }

  /** Whether RX has an entry and the event loop need not turn first. If not, call {@link wait}. */
  sees(): boolean {
    this.#due = this.#pace.isOver()
    return !this.#due && this.#pace.look(this.#find) !== undefined
  }

  /**
   * Waits for an entry. Calls `over` when the wait has ended, and `sleep` when {@link wake} is to be called by the
   * event loop.
   */
  wait(signal: AbortSignal | undefined, over: () => void, sleep: () => void): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const settled = () => {
        this.#pending = undefined
        signal?.removeEventListener('abort', abort)
        over()
      }
      const abort = () => {
        settled()
        reject(signal?.reason)
        sleep()
      }
      this.#pending = {
        resolve: (something) => {
          settled()
          resolve(something)
        },
        reject: (error) => {
          settled()
          reject(error)
        },
      }
      signal?.addEventListener('abort', abort, { once: true })
      if (this.#due || this.#pace.again) this.#pace.turn(this, sleep)
      else sleep()
    })
  }

  get waits(): boolean {
    return this.#pending !== undefined
  }

  wake(): boolean {
    const pending = this.#pending
    if (!pending) return true
    this.#pace.turned()
    try {
      if (!this.#pace.look(this.#find)) return false
      pending.resolve(true)
    } catch (error) {
      pending.reject(error)
    }
    return true
  }

  stop(error?: unknown): void {
    if (error === undefined) this.#pending?.resolve(false)
    else this.#pending?.reject(error)
  }
}

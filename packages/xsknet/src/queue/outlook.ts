import { Pace } from './pace.js'
import type { Waiter } from './reader.js'

export interface ReadableOptions {
  /** Ends the wait: rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** The answer to all who ask when there is something. */
export const SOMETHING = Promise.resolve(true)

/** Waits until a ring has something, for who takes it out without a loop of ours. */
export class Outlook implements Waiter {
  readonly #pace: Pace
  readonly #find: () => true | undefined
  #pending: { resolve: (something: boolean) => void; reject: (error: unknown) => void } | undefined
  #due = false

  constructor(spin: number, find: () => true | undefined) {
    this.#pace = new Pace(spin)
    this.#find = find
  }

  /** Whether there is something, and nobody else is kept waiting. If not, {@link wait} is next. */
  sees(): boolean {
    this.#due = this.#pace.isOver()
    return !this.#due && this.#pace.look(this.#find) !== undefined
  }

  /** Waits for something. `over` is called when that is over, and `sleep` when {@link wake} is to be called as soon as something comes. */
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

import { setTimeout as later } from 'node:timers/promises'

/** A timer that is set once at a time, and keeps the process alive only as long as it may. */
export class Alarm {
  #timer: NodeJS.Timeout | undefined
  #referenced = true

  get isSet(): boolean {
    return this.#timer !== undefined
  }

  /** Only while it is not set. */
  set(milliseconds: number, then: () => void): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      then()
    }, milliseconds)
    if (!this.#referenced) this.#timer.unref()
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  reference(referenced: boolean): void {
    this.#referenced = referenced
    if (referenced) this.#timer?.ref()
    else this.#timer?.unref()
  }
}

/** Waits this many milliseconds, or until `hurry` aborts. */
export async function pause(milliseconds: number, hurry: AbortSignal): Promise<void> {
  try {
    await later(milliseconds, undefined, { signal: hurry })
  } catch {
    // It was cut short, which the signal says.
  }
}

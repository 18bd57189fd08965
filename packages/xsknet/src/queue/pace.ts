/** Milliseconds that a reader may keep the event loop from turning. */
const MAX_TURN_MS = 1
/** Looks at an empty ring between two looks at the clock. */
const LOOKS = 16

/** How long a reader may go on before the event loop turns, and how long it looks at an empty ring before it sleeps. */
export class Pace {
  /** Milliseconds for which to look at an empty ring. */
  readonly #spin: number
  /**
   * When the event loop last turned, as far as we know. Looking at the clock costs more than a packet, so that is put
   * off until a second batch follows in the same turn: -1 when none has, 0 when one has.
   */
  #turned = -1
  /** Until when to look at the ring that was found empty; 0 once a frame came. */
  #until = 0

  constructor(spin: number) {
    this.#spin = spin
  }

  /** The event loop has turned. */
  turned(): void {
    this.#turned = -1
  }

  /** Whether the event loop has been kept waiting long enough. Asked once a batch. */
  isOver(): boolean {
    if (this.#turned > 0) return performance.now() - this.#turned >= MAX_TURN_MS
    this.#turned = this.#turned < 0 ? 0 : performance.now()
    return false
  }

  /** Looks until something is found, but no longer than it may. */
  look<T>(find: () => T | undefined): T | undefined {
    let found = find()
    if (this.#spin === 0) return found
    if (found === undefined) {
      let now = performance.now()
      if (this.#until === 0) this.#until = now + this.#spin
      if (this.#turned <= 0) this.#turned = now
      const end = Math.min(this.#until, this.#turned + MAX_TURN_MS)
      while (found === undefined && now < end) {
        for (let look = 0; found === undefined && look < LOOKS; look++) found = find()
        now = performance.now()
      }
      if (found === undefined && now < this.#until) return undefined
    }
    this.#until = 0
    return found
  }

  /**
   * Lets everything else have its turn, then has the waiter look again, for as long as that is worth it; after that it
   * may sleep.
   */
  turn(waiter: { wake(): boolean }, sleep: () => void): void {
    setImmediate(() => {
      if (waiter.wake()) return
      if (this.again) this.turn(waiter, sleep)
      else sleep()
    })
  }

  /** Whether the last {@link look} found nothing, and is to be repeated in the next turn rather than to sleep. */
  get again(): boolean {
    return this.#until > 0
  }
}

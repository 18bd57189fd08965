/** Burst: lines of one source that are written at once. After that, one per second. */
const BURST = 20
/** Sources that are remembered before the first search for those that may be forgotten. */
const FEW = 64

/**
 * Limits log lines that clients cause, so that refused requests cannot fill the disk: a token bucket per source. The
 * next line that passes reports how many were suppressed.
 */
export class LogLimiter {
  readonly #sources = new Map<string, { tokens: number; at: number; suppressed: number }>()
  readonly #now: () => number
  #nextSearch = FEW
  /** Suppressed lines of sources that were forgotten. */
  #suppressed = 0

  /** @param now Milliseconds on a monotonic clock. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Number of sources that are remembered. */
  get size(): number {
    return this.#sources.size
  }

  /**
   * Asks whether a line may be written.
   *
   * @param name The source of the line.
   * @returns `undefined` if it must not, else the number of lines that were suppressed before it.
   */
  pass(name: string): number | undefined {
    const now = this.#now()
    if (this.#sources.size >= this.#nextSearch) this.#forget(now)
    const source = this.#sources.get(name) ?? { tokens: BURST, at: now, suppressed: 0 }
    this.#sources.set(name, source)
    source.tokens = Math.min(BURST, source.tokens + (now - source.at) / 1000)
    source.at = now
    if (source.tokens < 1) {
      source.suppressed += 1
      return undefined
    }
    source.tokens -= 1
    const suppressed = source.suppressed + this.#suppressed
    source.suppressed = 0
    this.#suppressed = 0
    return suppressed
  }

  /** Forgets sources with a full bucket, which are like new ones. */
  #forget(now: number): void {
    for (const [name, { tokens, at, suppressed }] of this.#sources) {
      if (tokens + (now - at) / 1000 < BURST) continue
      this.#suppressed += suppressed
      this.#sources.delete(name)
    }
    this.#nextSearch = Math.max(FEW, 2 * this.#sources.size)
  }
}

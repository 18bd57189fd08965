/** Writes one line about something that happened. */
export type Log = (event: string, fields?: LogFields) => void
export type LogFields = Readonly<Record<string, unknown>>

export type LogFormat = 'text' | 'json'

const LONGEST = 500

/** A log that writes lines of `time event field=value …`, or JSON objects with the same content. */
export function lineLog(format: LogFormat, write: (line: string) => unknown, now: () => Date = () => new Date()): Log {
  return (event, fields = {}) => {
    const time = now().toISOString()
    const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
    if (format === 'json') {
      const short = entries.map(([key, value]) => [key, typeof value === 'string' ? shorten(value) : value])
      write(`${plain(JSON.stringify({ time, event, ...Object.fromEntries(short) }))}\n`)
    } else {
      write(`${[time, event, ...entries.map(([key, value]) => `${key}=${written(value)}`)].join(' ')}\n`)
    }
  }
}

/** Lines that come through at once, and then one a second. */
const AT_ONCE = 20
/** Entries of a damper that are kept before those that say nothing any more are looked for. */
const FEW = 64

/**
 * Lets through what others cause at its own pace: 20 lines at once, then one a second, so that nobody fills the disk with
 * refusals. What was held back is told with the next that comes through.
 */
export class Damper {
  readonly #speakers = new Map<string, { tokens: number; at: number; held: number }>()
  readonly #now: () => number
  #nextLook = FEW
  /** Held back of speakers that are forgotten. */
  #held = 0

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** How many are remembered. */
  get size(): number {
    return this.#speakers.size
  }

  /**
   * `undefined`: say nothing. A number: say it, and that so many were held back before.
   *
   * @param name Of what is counted together.
   */
  pass(name: string): number | undefined {
    const now = this.#now()
    if (this.#speakers.size >= this.#nextLook) this.#forget(now)
    const speaker = this.#speakers.get(name) ?? { tokens: AT_ONCE, at: now, held: 0 }
    this.#speakers.set(name, speaker)
    speaker.tokens = Math.min(AT_ONCE, speaker.tokens + (now - speaker.at) / 1000)
    speaker.at = now
    if (speaker.tokens < 1) {
      speaker.held += 1
      return undefined
    }
    speaker.tokens -= 1
    const held = speaker.held + this.#held
    speaker.held = 0
    this.#held = 0
    return held
  }

  /** Those who may say all again are as if they had never spoken. */
  #forget(now: number): void {
    for (const [name, { tokens, at, held }] of this.#speakers) {
      if (tokens + (now - at) / 1000 < AT_ONCE) continue
      this.#held += held
      this.#speakers.delete(name)
    }
    this.#nextLook = Math.max(FEW, 2 * this.#speakers.size)
  }
}

function written(value: unknown): string {
  const text = typeof value === 'string' ? shorten(value) : JSON.stringify(value)
  return /^[\w./:@+-]+$/.test(text) ? text : plain(typeof value === 'string' ? JSON.stringify(text) : text)
}

function shorten(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}

/** Part of what is logged was chosen by clients: nothing in it may move a terminal's cursor or turn its text around. */
function plain(json: string): string {
  return json.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (hidden) =>
    Array.from({ length: hidden.length }, (_, at) => `\\u${hidden.charCodeAt(at).toString(16).padStart(4, '0')}`).join(
      '',
    ),
  )
}

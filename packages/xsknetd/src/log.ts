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

/**
 * Lets through what a user causes at its own pace: 20 at once, then one a second, so that nobody fills the disk with
 * refusals. What was held back is told with the next that comes through.
 */
export class Damper {
  readonly #users = new Map<number, { tokens: number; at: number; held: number }>()
  readonly #now: () => number

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** `undefined`: say nothing. A number: say it, and that so many were held back before. */
  pass(uid: number): number | undefined {
    const now = this.#now()
    const user = this.#users.get(uid) ?? { tokens: 20, at: now, held: 0 }
    this.#users.set(uid, user)
    user.tokens = Math.min(20, user.tokens + (now - user.at) / 1000)
    user.at = now
    if (user.tokens < 1) {
      user.held += 1
      return undefined
    }
    user.tokens -= 1
    const { held } = user
    user.held = 0
    return held
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
    Array.from({ length: hidden.length }, (_, at) => `\\u${hidden.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  )
}

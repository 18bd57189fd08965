import type { XsknetError } from 'xsknet'

/** Writes one log line. */
export type Log = (event: string, fields?: LogFields) => void
/** The fields of a log line. Those that are `undefined` are left out. */
export type LogFields = Readonly<Record<string, unknown>>

export type LogFormat = 'text' | 'json'

/** The longest string value of a field, in characters. */
const LONGEST = 500

/** A log that writes lines of `time event field=value …`, or JSON objects with the same content. */
export function lineLog(format: LogFormat, write: (line: string) => unknown, now: () => Date = () => new Date()): Log {
  return (event, fields = {}) => {
    const time = now().toISOString()
    const entries = Object.entries(fields).filter(([, value]) => value !== undefined)
    if (format === 'json') {
      const short = entries.map(([key, value]) => [key, typeof value === 'string' ? shorten(value) : value])
      write(`${escaped(JSON.stringify({ time, event, ...Object.fromEntries(short) }))}\n`)
    } else {
      write(`${[time, event, ...entries.map(([key, value]) => `${key}=${written(value)}`)].join(' ')}\n`)
    }
  }
}

/** An error as fields of a log line. */
export function errorFields(error: unknown): LogFields {
  const { code, message, cause } = error as Partial<XsknetError>
  return { code, message: message ?? String(error), cause: cause instanceof Error ? cause.message : undefined }
}

function written(value: unknown): string {
  const text = typeof value === 'string' ? shorten(value) : JSON.stringify(value)
  return /^[\w./:@+-]+$/.test(text) ? text : escaped(typeof value === 'string' ? JSON.stringify(text) : text)
}

function shorten(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}

/** Escapes control and format characters: clients choose part of the text, and it must not control a terminal. */
function escaped(json: string): string {
  return json.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (hidden) =>
    Array.from({ length: hidden.length }, (_, at) => `\\u${hidden.charCodeAt(at).toString(16).padStart(4, '0')}`).join(
      '',
    ),
  )
}

import { readFileSync } from 'node:fs'
import { parse, type TomlError } from 'smol-toml'
import * as v from 'valibot'
import { XsknetError } from 'xsknet'
import { unknownKeyIn } from 'xsknet/internal'

/** A configuration file. */
export interface Source {
  readonly file: string
  readonly text: string
  /** The parsed TOML. */
  readonly content: unknown
}

const EXAMPLE = '`xsknetd --help` shows a complete configuration.'

/** @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`. */
export function readSource(file: string): Source {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `cannot read the configuration file ${file}`, {
      hint: hintToRead(file, (cause as NodeJS.ErrnoException).code),
      details: { file },
      cause,
    })
  }
  try {
    return { file, text, content: parse(text) }
  } catch (cause) {
    const { line, message } = cause as TomlError
    const [what = ''] = message.replace(/^Invalid TOML document: /, '').split('\n')
    throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `${file}:${line} is not valid TOML: ${what}`, {
      hint: EXAMPLE,
      details: { file, line },
    })
  }
}

function hintToRead(file: string, code: string | undefined): string {
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return `The file does not exist; a relative path is resolved against ${process.cwd()}.`
    case 'EACCES':
    case 'EPERM':
      return `Give user ${process.geteuid?.()} permission to read it, and to search the directories above it.`
    case 'EISDIR':
      return `It is a directory: name a file in it, such as ${file.replace(/\/*$/, '')}/xsknetd.toml.`
    case 'EMFILE':
    case 'ENFILE':
      return 'Too many files are open: raise the limit (`ulimit -n`, LimitNOFILE=).'
    default:
      return 'The cause is the error of the system.'
  }
}

/**
 * Validates a value.
 *
 * @param source The file that it is from, if any.
 * @param name How a key is named in messages if there is no file.
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`, with file, line and key.
 */
export function check<T>(schema: v.GenericSchema<unknown, T>, value: unknown, source?: Source, name = keyOf): T {
  const { success, output, issues } = v.safeParse(schema, value, { abortEarly: true })
  if (success) return output
  const [issue] = issues
  const { path = [], message, input } = issue
  const unknownKey = unknownKeyIn(schema, issue)
  const keys = unknownKey?.path ?? path.map(({ key }) => key as string | number)
  const key = name(keys)
  const line = source && lineOf(source.text, keys)
  const where = source ? `${source.file}${line === undefined ? '' : `:${line}`}: ` : ''
  const what = source ? placeOf(keys) : `\`${key}\``
  const unknown =
    unknownKey && `unknown key${unknownKey.meant === undefined ? '' : `; did you mean \`${unknownKey.meant}\`?`}`
  const why = unknown ?? (input === undefined ? 'missing' : message)
  throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `${where}${what}: ${why}`, {
    hint: unknownKey ? `Known keys: ${unknownKey.known.join(', ')}. ${EXAMPLE}` : EXAMPLE,
    details: { key, ...(source && { file: source.file }), ...(line !== undefined && { line }) },
  })
}

/** A key as the file has it, for messages: `addresses[1]` of the 1st [[grant]]. */
function placeOf([table, nth, ...keys]: (string | number)[]): string {
  if (table !== 'grant' || typeof nth !== 'number')
    return `\`${keyOf([table as string, ...(nth === undefined ? [] : [nth]), ...keys])}\``
  return keys.length === 0 ? nthGrant(nth) : `\`${keyOf(keys)}\` of ${nthGrant(nth)}`
}

export function nthGrant(at: number): string {
  return `the ${ordinal(at + 1)} [[grant]]`
}

/** `grant[0].addresses[1]`. */
function keyOf(path: (string | number)[]): string {
  return path.reduce<string>((key, next) => {
    if (typeof next === 'number') return `${key}[${next}]`
    return key ? `${key}.${next}` : next
  }, '')
}

/**
 * The line of a key, for messages: that of the last key of the path that is found below its table's header. Without
 * such a header (inline tables, dotted keys) there is no line, or only that of the table.
 */
function lineOf(text: string, [table, ...keys]: (string | number)[]): number | undefined {
  const lines = text.split('\n')
  const nth = typeof keys[0] === 'number' ? (keys.shift() as number) : 0
  const header = new RegExp(`^\\s*\\[{1,2}\\s*${escaped(table)}\\s*\\]`)
  const starts = lines.flatMap((line, at) => (header.test(line) ? [at] : []))
  const start = starts[nth]
  if (start === undefined) return undefined
  const after = lines.findIndex((line, at) => at > start && /^\s*\[{1,2}\s*[a-z]\w*\s*\]{1,2}\s*(#.*)?$/i.test(line))
  const end = after === -1 ? lines.length : after
  const entry = new RegExp(`^\\s*"?${escaped(keys[0])}"?\\s*=`)
  const found = keys.length === 0 ? -1 : lines.findIndex((line, at) => at > start && at < end && entry.test(line))
  return (found === -1 ? start : found) + 1
}

function escaped(key: unknown): string {
  return String(key).replace(/[^\w-]/g, '\\$&')
}

function ordinal(nth: number): string {
  const rest = nth % 100 > 10 && nth % 100 < 14 ? 'th' : (['th', 'st', 'nd', 'rd'][nth % 10] ?? 'th')
  return `${nth}${rest}`
}

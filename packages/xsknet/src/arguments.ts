import { inspect } from 'node:util'
import type { Fault } from './connection/protocol.js'
import { nearest } from './connection/suggestions.js'

/** Errors about wrong arguments, with the codes and the wording of Node's own. */
type Code = 'ERR_INVALID_ARG_TYPE' | 'ERR_INVALID_ARG_VALUE' | 'ERR_OUT_OF_RANGE'

export function wrongType(name: string, expected: string, value: unknown): TypeError {
  return coded(new TypeError(`${quote(name)} must be ${expected}. Received ${show(value)}`), 'ERR_INVALID_ARG_TYPE')
}

export function wrongValue(name: string, why: string, value: unknown): TypeError {
  return coded(new TypeError(`${quote(name)} ${why}. Received ${show(value)}`), 'ERR_INVALID_ARG_VALUE')
}

export function outOfRange(name: string, range: string, value: unknown): RangeError {
  const error = new RangeError(`The value of "${name}" is out of range. It must be ${range}. Received ${show(value)}`)
  return coded(error, 'ERR_OUT_OF_RANGE')
}

/** The error for a violation of the protocol's schema in the argument `name`. */
export function wrongArgument(name: string, { rule, expected, value, meant }: Fault): Error {
  switch (rule) {
    case 'safe_integer':
      return outOfRange(name, 'an integer', value)
    case 'min_value':
    case 'max_value':
      return outOfRange(name, expected, value)
    case 'min_length':
    case 'max_length':
      return outOfRange(`${name}.length`, expected, (value as string | unknown[]).length)
    case 'picklist':
      return wrongValue(name, `must be ${expected.replace(/^\(|\)$/g, '').replaceAll(' | ', ' or ')}`, value)
    case 'text':
      return wrongValue(name, `must be valid Unicode: ${expected}`, value)
    default:
      if (expected === 'never') return noOption(name, value, meant)
      return wrongType(name, types[expected] ?? 'given', value)
  }
}

const types: Record<string, string> = {
  string: 'of type string',
  number: 'of type number',
  Array: 'an instance of Array',
  Object: 'of type object',
}

/** Refuses a value that is not a signal: if it were ignored, it could never end a wait. */
export function checkSignal(signal: unknown): asserts signal is AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return
  throw wrongType('options.signal', 'an instance of AbortSignal', signal)
}

/** @param known The names of all options. Without it, unknown names are checked elsewhere. */
export function checkOptions(options: unknown, known?: readonly string[]): asserts options is object {
  if (typeof options !== 'object' || options === null) throw wrongType('options', 'of type object', options)
  if (!known) return
  // No list of the names is made: some of these calls are made for every frame.
  for (const name in options) if (!known.includes(name)) throw noOption(`options.${name}`, name, nearest(name, known))
}

const WAITING: readonly string[] = ['signal']

/** The signal of a call that only waits, which has no other option. */
export function signalOf(options: { signal?: AbortSignal | undefined }): AbortSignal | undefined {
  checkOptions(options, WAITING)
  const { signal } = options
  checkSignal(signal)
  return signal
}

/** The error for an unknown option: one that is ignored would be noticed much later. */
export function noOption(name: string, value: unknown, meant: string | undefined): TypeError {
  const advice = meant === undefined ? '' : `. Did you mean "${meant}"?`
  return coded(
    new TypeError(`${quote(name)} is not an option. Received ${show(value)}${advice}`),
    'ERR_INVALID_ARG_VALUE',
  )
}

function quote(name: string): string {
  return name.includes('.') ? `The "${name}" property` : `The "${name}" argument`
}

function show(value: unknown): string {
  if (value === undefined || value === null) return `${value}`
  return inspect(value, { depth: 0, breakLength: Infinity }).slice(0, 64)
}

function coded<E extends Error>(error: E, code: Code): E {
  return Object.assign(error, { code })
}

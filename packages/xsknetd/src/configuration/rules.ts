import * as v from 'valibot'

/** What names an instance or a lab. */
export const NAME = /^[\w-]{1,32}$/
/** {@link NAME} in words. */
export const NAME_RULE = '1 to 32 letters, digits, `-` and `_`'

/** Whether a value is an integer from `least` to `most`. */
export const isWhole = (value: unknown, least: number, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most

/** An integer from `least` to `most`. */
export const whole = (least: number, most: number) =>
  v.custom<number>((value) => isWhole(value, least, most), `must be a number from ${least} to ${most}`)

/** A list with at least one item. */
export const listOf = <T extends v.GenericSchema>(item: T, what: string) =>
  v.pipe(v.array(item, `must be ${what}`), v.minLength(1, `must be ${what}, and not empty`))

export const oneOf = <T extends string>(...values: T[]) =>
  v.picklist(values, `must be ${values.map((value) => `"${value}"`).join(' or ')}`)

const interfaceName = v.pipe(
  v.string('must be an interface name in quotes'),
  v.regex(/^[^\s/]{1,15}$/, 'must be an interface name of 1 to 15 characters, without spaces and `/`'),
)

export const interfaces = v.pipe(
  listOf(interfaceName, 'a list of interfaces, such as ["eth0"]'),
  // A duplicate is most likely a mistyped other name.
  v.check(
    (names) => new Set(names).size === names.length,
    ({ input }) => `lists the interface ${input.find((name, at) => input.indexOf(name) < at)} twice`,
  ),
)

const UNITS = ['B', 'KiB', 'MiB', 'GiB']

export const memory = v.pipe(
  v.custom<string | number>(
    (value) => isWhole(toBytes(value as string | number), 1, Number.MAX_SAFE_INTEGER),
    `must be a positive number of bytes, or a size such as "64MiB" (${UNITS.join(', ')})`,
  ),
  v.transform(toBytes),
)

function toBytes(value: string | number): number {
  if (typeof value !== 'string') return value
  const [, count, unit = ''] = /^(\d{1,15}) ?(B|KiB|MiB|GiB)$/.exec(value) ?? []
  return Number(count) * 2 ** (10 * UNITS.indexOf(unit))
}

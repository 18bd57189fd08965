/**
 * Suggestions for unknown names, and the wording of hints.
 *
 * @module
 */

/**
 * The known name that one was most likely meant to be: the same but for case, `-` and `_`, or a few letters apart, or
 * one that contains it. `undefined` where none is near.
 */
export function nearest(name: string, known: readonly string[]): string | undefined {
  // Names come from the other side too; no known one is half as long.
  if (name.length > 64) return undefined
  const plain = (text: string) => text.toLowerCase().replace(/[-_]/g, '')
  const asked = plain(name)
  const ranked = known
    .map((candidate) => ({ candidate, distance: distanceOf(asked, plain(candidate)) }))
    .sort((a, b) => a.distance - b.distance)
  const [best] = ranked
  if (best && best.distance <= Math.max(1, Math.floor(asked.length / 3))) return best.candidate
  return asked.length < 4 ? undefined : known.find((candidate) => plain(candidate).includes(asked))
}

/** How many letters have to be put in, taken out, replaced or swapped with the next. */
function distanceOf(from: string, to: string): number {
  let before: number[] = []
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (let i = 0; i < from.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < to.length; j++) {
      const replaced = (row[j] ?? 0) + (from[i] === to[j] ? 0 : 1)
      const swapped = from[i] === to[j - 1] && from[i - 1] === to[j] ? (before[j - 1] ?? 0) + 1 : replaced
      next.push(Math.min(replaced, swapped, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    before = row
    row = next
  }
  return row[to.length] ?? 0
}

/** The part of a valibot schema that says which keys are allowed where. */
interface Shape {
  entries?: Record<string, Shape>
  item?: Shape
  wrapped?: Shape
  /** Of a schema that depends on the value: `v.lazy()`. */
  getter?: (value: unknown) => Shape
}

/** The part of a valibot issue that concerns keys. */
interface Issue {
  readonly expected?: string | null
  readonly input?: unknown
  readonly path?: readonly { readonly key?: unknown; readonly input?: unknown }[] | undefined
}

/** A key that no schema has. */
export interface UnknownKey {
  readonly path: (string | number)[]
  /** The keys that are allowed in its place. */
  readonly known: string[]
  readonly meant: string | undefined
}

/**
 * The unknown key behind an issue: the one that it is about, or, where a key is missing, one that stands beside it and
 * was probably meant to be the missing one. `undefined`: it is about something else.
 */
export function unknownKeyIn(schema: object, { expected, input, path = [] }: Issue): UnknownKey | undefined {
  const last = path.at(-1)
  if (last === undefined) return undefined
  const keys = path.map(({ key }) => key as string | number)
  const table = keys.slice(0, -1)
  const known = keysAt(schema, table)
  const unknownKey = (key: string): UnknownKey => ({ path: [...table, key], known, meant: nearest(key, known) })
  if (expected === 'never') return unknownKey(String(last.key))
  if (input !== undefined || typeof last.input !== 'object' || last.input === null) return undefined
  const stray = Object.keys(last.input).find((key) => !known.includes(key))
  return stray === undefined ? undefined : unknownKey(stray)
}

function keysAt(schema: object, path: readonly (string | number)[]): string[] {
  let at: Shape | undefined = schema
  for (const key of path) {
    at = bare(at)
    at = typeof key === 'number' ? at?.item : at?.entries?.[key]
  }
  return Object.keys(bare(at)?.entries ?? {})
}

/** Without what makes it optional. Where it depends on the value, that of a table: nothing else has keys. */
function bare(shape: Shape | undefined): Shape | undefined {
  let at = shape
  while (at?.wrapped || at?.getter) at = at.wrapped ?? at.getter?.({})
  return at
}

/** A hint as a sentence: hints of the core have no capital and no full stop. */
export function sentence(hint: string): string {
  const text = /^[a-z](?!\w*[_./(])/.test(hint) ? `${hint[0]?.toUpperCase()}${hint.slice(1)}` : hint
  return /[.!?:`\]]$/.test(text) || text.includes('\n') ? text : `${text}.`
}

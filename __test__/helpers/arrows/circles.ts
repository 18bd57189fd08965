// Arrows between source files, and the circles that they close.

/** A file, by its path within its tree, and its text. */
export type Sources = ReadonlyMap<string, string>

/** One file uses another. Of several uses, the first counts. */
export interface Arrow {
  from: string
  to: string
  /** The line of the use, counted from 1. */
  line: number
}

/**
 * For each arrow that lies on a circle, the shortest circle through it; each circle once. So a knot of many files
 * does not give thousands of circles, but every arrow that must be broken is in one of them.
 */
export function circles(arrows: readonly Arrow[]): Arrow[][] {
  const leaving = new Map<string, Arrow[]>()
  for (const arrow of arrows) leaving.set(arrow.from, [...(leaving.get(arrow.from) ?? []), arrow])
  const found = new Map<string, Arrow[]>()
  for (const arrow of arrows) {
    const back = shortest(leaving, arrow.to, arrow.from)
    if (back === undefined) continue
    const circle = fromLeast([arrow, ...back])
    found.set(circle.map(({ from }) => from).join('\n'), circle)
  }
  return [...found.values()]
}

/** `a.rs -> b.rs -> a.rs (a.rs:3, b.rs:7)`: the files, and the line of each arrow. */
export function drawn(circle: readonly Arrow[]): string {
  const files = circle.map(({ from }) => from)
  const places = circle.map(({ from, line }) => `${from}:${line}`)
  return `${[...files, files[0]].join(' -> ')} (${places.join(', ')})`
}

/** The arrows of the shortest way, breadth first. */
function shortest(leaving: ReadonlyMap<string, Arrow[]>, from: string, to: string): Arrow[] | undefined {
  const ways = new Map<string, Arrow[]>([[from, []]])
  for (const [file, way] of ways) {
    if (file === to) return way
    for (const arrow of leaving.get(file) ?? []) {
      if (!ways.has(arrow.to)) ways.set(arrow.to, [...way, arrow])
    }
  }
  return undefined
}

/** The same circle whichever of its arrows it was found by: it begins at the file that is first in the alphabet. */
function fromLeast(circle: Arrow[]): Arrow[] {
  const files = circle.map(({ from }) => from)
  const least = files.indexOf([...files].sort()[0] as string)
  return [...circle.slice(least), ...circle.slice(0, least)]
}

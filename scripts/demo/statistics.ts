import type { Counters, PortEntry, PortStatistics, UplinkStatistics } from 'xsknet'
import { thousands } from './report.js'

/** The output of `xsknetd stats --json`. */
export interface Statistics {
  uplinks: { uplink: string; statistics: UplinkStatistics }[]
  ports: (PortEntry & { statistics: PortStatistics })[]
}

/** The reasons that are not zero. */
export function losses({ dropped }: Pick<Counters, 'dropped'>, others: Record<string, number> = {}): string {
  const all = Object.entries({ ...dropped, ...others }).filter(([, frames]) => frames > 0)
  return all.map(([why, frames]) => `${why} ${thousands(frames)}`).join(', ')
}

export const sum = (numbers: Iterable<number>) => [...numbers].reduce((total, number) => total + number, 0)

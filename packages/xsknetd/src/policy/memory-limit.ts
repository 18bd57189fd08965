import { freemem } from 'node:os'

/** The most memory of all ports together, and where it is set, for people. */
export interface MemoryBound {
  /** Bytes. */
  readonly most: number
  /** `` `memory` under [daemon] of the configuration ``. */
  readonly key: string
}

/**
 * Bytes that all ports may take together unless it is said: half of what is available now, on the machine (`MemAvailable`) or in the
 * control group of this process, whichever has less.
 */
export function usualMemory(): number {
  // Of Node 20, the first versions do not know what a control group has.
  const available = Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY)
  return Math.floor(available / 2)
}

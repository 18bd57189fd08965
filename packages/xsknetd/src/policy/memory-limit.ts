import { freemem } from 'node:os'

/** The maximum UMEM of all ports together. */
export interface MemoryLimit {
  readonly bytes: number
  /** Where it is set, for messages: `` `memory` under [daemon] of the configuration ``. */
  readonly key: string
}

/**
 * The limit unless one is configured, in bytes: half of the memory that is available now, on the host (`MemAvailable`)
 * or in this process's control group, whichever is less.
 */
export function defaultMemoryLimit(): number {
  // The first releases of Node 20 do not report the memory of the control group.
  const available = Math.min(freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY)
  return Math.floor(available / 2)
}

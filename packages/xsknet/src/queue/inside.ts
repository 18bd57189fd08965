import type { XsknetError } from '../errors.js'
import type { Reservation } from '../platform/native.js'
import type { Life } from './life.js'
import type { QueueSource } from './reader.js'

/** What a queue is told beside what the daemon says of it. */
export interface QueueSettings {
  /** Microseconds for which a reader looks at an empty ring before it sleeps. */
  spinMicroseconds: number
  /** The most frames that may be kept beyond their leases. */
  maxKept?: number | undefined
}

/** Whom a queue belongs to. */
export interface Owner {
  /** There is no way on: the owner ends the queue. */
  lost(error: XsknetError): void
  /** Reception found no chunk, so many times since this was told last. */
  starved(times: number): void
}

/** What a queue does for its owner, and for nobody else. */
export interface Inside extends QueueSource {
  readonly life: Life
  reference(referenced: boolean): void
  /** Sets free chunks aside for the reception of another socket, half of what is free at most. */
  reserve(most: number): Reservation
  /** The daemon has closed its share of the socket, so that its chunks are free for others on the same memory. */
  reclaim(): void
}

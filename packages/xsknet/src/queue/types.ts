import type { Failure, PortInfo } from '../connection/protocol.js'
import type { XsknetError } from '../errors.js'
import type { QueueStats } from './statistics.js'

/** Settings of a queue that the daemon does not know of. */
export interface QueueSettings {
  /** Microseconds for which a reader polls an empty ring before it sleeps. */
  spinMicroseconds: number
  /**
   * The most chunks that frames may keep beyond their leases. Default: a quarter of those that reception cannot hold.
   */
  maxKept?: number | undefined
}

/** What a queue calls back: the port that opened it, or the thread that adopted it. */
export interface QueueOwner {
  /** The queue cannot go on: its device is gone or a ring is broken. The owner ends the queue. */
  lost(error: XsknetError): void
  /** Reception found no free chunk, this many times since the last call. */
  starved(times: number): void
}

/** How a queue ends. */
export interface CloseOptions {
  /** What the reader's loop throws. */
  reason?: Error | undefined
  /** What every call throws from now on, because the port was lost. */
  loss?: XsknetError | undefined
  /** Whether queued frames may leave first. */
  drain?: boolean
}

/**
 * A queue that is handed over to another thread of this process: send the token by `postMessage()`, and pass it to
 * {@link adoptQueue} there, once. It has no other use.
 */
export interface QueueToken {
  readonly key: readonly [number, number, number, number]
  readonly index: number
  readonly info: PortInfo
  readonly settings: QueueSettings
}

/** What the thread that opened a port posts to the thread that adopted a queue of it. */
export type OpenerMessage =
  /** The port is closed. */
  | { over: { failure?: Failure; drain: boolean } }
  /** The daemon is gone, so nothing else reports that the device is deleted. */
  | { detached: true }
  | { report: true }

/** What the thread that adopted a queue posts to the thread that opened the port. */
export type AdopterMessage = { stats: QueueStats } | { lost: Failure }

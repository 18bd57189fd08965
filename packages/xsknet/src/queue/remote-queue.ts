import { fromFailure, type PortInfo, toFailure } from '../connection/protocol.js'
import type { XsknetError } from '../errors.js'
import { type AdoptedSocket, type Letter, typed } from '../platform/native.js'
import { pause } from '../platform/timers.js'
import { portClosed } from '../queue-errors.js'
import { DRAIN_TIMEOUT_MS } from './sending.js'
import type { QueueStats } from './statistics.js'
import type { AdopterMessage, CloseOptions, OpenerMessage, QueueToken } from './types.js'

/** Milliseconds for another thread to answer with its statistics, and to end a queue that need not be drained. */
const ANSWER_TIMEOUT_MS = 200

/** A queue that was handed over to another thread, as the thread that opened the port sees it. */
export class RemoteQueue {
  readonly key: QueueToken['key']
  /** Resolves when the other thread has closed it. */
  readonly released: Promise<void>

  readonly #socket: AdoptedSocket
  readonly #lost: (error: XsknetError) => void
  /** The statistics that the other thread reported last, and the calls that wait for the next report. */
  #reported: QueueStats
  readonly #asking: (() => void)[] = []

  /**
   * Hands the socket over. `reported` are its statistics so far. `lost` is called if the other thread finds the queue
   * lost.
   */
  constructor(socket: AdoptedSocket, reported: QueueStats, lost: (error: XsknetError) => void) {
    this.#socket = socket
    this.#reported = reported
    this.#lost = lost
    let released!: () => void
    this.released = new Promise((resolve) => {
      released = resolve
    })
    try {
      this.key = socket.handOver(RemoteQueue.#correspondent(new WeakRef(this), released))
    } catch (error) {
      throw typed(error)
    }
  }

  /** Its statistics: those reported last, if the other thread does not answer in time. */
  async report(): Promise<QueueStats> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ANSWER_TIMEOUT_MS)
      this.#asking.push(() => {
        clearTimeout(timer)
        resolve()
      })
      this.#post({ report: true })
      void this.released.then(resolve)
    })
    return this.#reported
  }

  /** The daemon is gone: the thread that has the queue checks its device from now on. */
  detached(): void {
    this.#post({ detached: true })
  }

  /**
   * Asks the other thread to end it, and waits for a bounded time: that thread may hang, and the port ends without it.
   * With `drain` the wait is as long even if nothing was in TX in the last report: only that thread knows what it has
   * queued since.
   */
  async end(info: PortInfo, { reason, loss, drain = false }: CloseOptions, hurry: AbortController): Promise<void> {
    const error = loss ?? (reason && portClosed(info, reason))
    this.#post({ over: { drain, ...(error && { failure: toFailure(error) }) } })
    this.#socket.recall()
    void this.released.then(() => hurry.abort())
    await pause(drain ? DRAIN_TIMEOUT_MS + ANSWER_TIMEOUT_MS : ANSWER_TIMEOUT_MS, hurry.signal)
  }

  #post(message: OpenerMessage): void {
    this.#socket.post(JSON.stringify(message))
  }

  /**
   * In a scope without the queue: the socket holds this function, and must not keep a leaked port from being collected.
   */
  static #correspondent(self: WeakRef<RemoteQueue>, released: () => void): Letter {
    return (letter) => {
      if (letter === null) released()
      const remote = self.deref()
      if (!remote) return
      if (letter === null) remote.#answered()
      else remote.#receive(JSON.parse(letter))
    }
  }

  #receive(message: AdopterMessage): void {
    if ('lost' in message) {
      this.#lost(fromFailure(message.lost))
      return
    }
    this.#reported = message.stats
    this.#answered()
  }

  #answered(): void {
    for (const asking of this.#asking.splice(0)) asking()
  }
}

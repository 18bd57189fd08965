import { type Failure, fromFailure, type PortInfo, toFailure } from '../connection/protocol.js'
import type { XsknetError } from '../errors.js'
import { type AdoptedSocket, type Letter, typed } from '../platform/native.js'
import { pause } from '../platform/timers.js'
import { portClosed } from '../refusals.js'
import type { QueueStats } from './figures.js'
import type { QueueSettings } from './inside.js'
import type { Ending } from './life.js'
import { DRAIN } from './sending.js'

/**
 * A queue on its way to another thread of this process: `postMessage()` takes it, and {@link adoptQueue} makes a queue of it, once. It
 * is of no use anywhere else.
 */
export interface QueueToken {
  readonly key: readonly [number, number, number, number]
  readonly index: number
  readonly info: PortInfo
  readonly settings: QueueSettings
}

/** What the thread that opened a port tells the one that has a queue of it. */
export type Order =
  /** The port is over. */
  | { over: { failure?: Failure; drain: boolean } }
  /** The daemon is gone, so nobody will tell if the device goes, too. */
  | { detached: true }
  | { report: true }

/** What the thread that has a queue tells the one that opened the port. */
export type Report = { stats: QueueStats } | { lost: Failure }

/** Milliseconds for another thread to tell its figures, and to end a queue that need not be drained. */
const ANSWER = 200

/** A queue that another thread has, or will: what is left of it where it was given away. */
export class Away {
  readonly key: QueueToken['key']
  /** Resolves when the other thread has closed it. */
  readonly released: Promise<void>

  readonly #socket: AdoptedSocket
  readonly #lost: (error: XsknetError) => void
  /** What was told last of its figures, and who waits for more to be told. */
  #told: QueueStats
  readonly #asking: (() => void)[] = []

  /** Gives the socket away, whose figures are known so far. `lost` is told if the other thread finds that there is no way on. */
  constructor(socket: AdoptedSocket, told: QueueStats, lost: (error: XsknetError) => void) {
    this.#socket = socket
    this.#told = told
    this.#lost = lost
    let released!: () => void
    this.released = new Promise((resolve) => {
      released = resolve
    })
    try {
      this.key = socket.handOver(Away.#correspondent(new WeakRef(this), released))
    } catch (error) {
      throw typed(error)
    }
  }

  /** Its figures: the last that are known if the other thread does not answer soon. */
  async report(): Promise<QueueStats> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ANSWER)
      this.#asking.push(() => {
        clearTimeout(timer)
        resolve()
      })
      this.#order({ report: true })
      void this.released.then(resolve)
    })
    return this.#told
  }

  /** The daemon is gone: whoever has the queue looks after its device. */
  detached(): void {
    this.#order({ detached: true })
  }

  /**
   * Has the other thread end it, and waits for that; not for ever, because it may hang, and need not end for the port to. As long with
   * nothing in TX as it was told last: that thread alone knows what it has queued since.
   */
  async end(info: PortInfo, { reason, loss, drain = false }: Ending, hurry: AbortController): Promise<void> {
    const error = loss ?? (reason && portClosed(info, reason))
    this.#order({ over: { drain, ...(error && { failure: toFailure(error) }) } })
    this.#socket.recall()
    void this.released.then(() => hurry.abort())
    await pause(drain ? DRAIN + ANSWER : ANSWER, hurry.signal)
  }

  #order(order: Order): void {
    this.#socket.post(JSON.stringify(order))
  }

  /** Of a scope of its own, without the queue: what the socket holds must not keep a forgotten port from being noticed. */
  static #correspondent(self: WeakRef<Away>, released: () => void): Letter {
    return (letter) => {
      if (letter === null) released()
      const away = self.deref()
      if (!away) return
      if (letter === null) away.#answered()
      else away.#hear(JSON.parse(letter))
    }
  }

  #hear(report: Report): void {
    if ('lost' in report) {
      this.#lost(fromFailure(report.lost))
      return
    }
    this.#told = report.stats
    this.#answered()
  }

  #answered(): void {
    for (const asking of this.#asking.splice(0)) asking()
  }
}

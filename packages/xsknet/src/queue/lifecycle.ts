import { toFailure } from '../connection/protocol.js'
import { XsknetError } from '../errors.js'
import type { DataPath } from '../frames/data-path.js'
import { type AdoptedSocket, type HotPath, typed } from '../platform/native.js'
import { beingRead, handedOver, nameOf, portClosed, type QueueId } from '../queue-errors.js'
import { leakWarnings } from './leak-warnings.js'
import type { Readiness } from './readiness.js'
import { RemoteQueue } from './remote-queue.js'
import type { Sending } from './sending.js'
import { type QueueStats, statisticsOf } from './statistics.js'
import type { AdopterMessage, CloseOptions, QueueOwner, QueueToken } from './types.js'

/** The parts of a queue that end with it. */
export interface QueueParts {
  queue: QueueId
  owner: QueueOwner
  socket: AdoptedSocket
  path: HotPath
  dataPath: DataPath
  sending: Sending
  readiness: Readiness
  endLease(): void
}

/**
 * The state of a queue: open in this thread, handed over to another one, or closed; and the transitions between them.
 */
export class Lifecycle {
  readonly closed: Promise<void>

  readonly #parts: QueueParts
  /** Set once the queue is handed over. */
  #remote: RemoteQueue | undefined
  /** Set by the first call that ends the queue. */
  #over = false
  #ending: Promise<void> | undefined
  #reason: Error | undefined
  #loss: XsknetError | undefined
  /** Ends the waiting in `#end`. */
  readonly #hurry = new AbortController()
  #settle!: { resolve(): void; reject(reason: Error): void }
  /** The daemon is gone. */
  #detached = false
  /** The statistics that were reported last. */
  #reported: QueueStats | undefined

  constructor(parts: QueueParts) {
    this.#parts = parts
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.closed.catch(() => {}) // it need not be handled
  }

  get isOver(): boolean {
    return this.#over
  }

  /** Whether the queue is open in this thread. */
  get isHere(): boolean {
    return !this.#over && !this.#remote
  }

  /** Whether the queue was closed without an error. Throws if it was lost or handed over. */
  hasEnded(): boolean {
    if (this.#remote || this.#loss) this.checkOpen()
    return this.#over
  }

  checkOpen(): void {
    if (this.#over || this.#remote) throw this.#closedError()
  }

  /** What the socket threw, as a typed error. Reports the queue as lost if it cannot go on. */
  failed(error: unknown): unknown {
    if (this.#over || this.#remote) return this.#closedError()
    const failure = typed(error)
    const fatal = failure instanceof XsknetError && /_(PORT_LOST|RING_BROKEN)$/.test(failure.code)
    if (fatal) this.#parts.owner.lost(failure)
    return failure
  }

  stats(): QueueStats {
    this.checkOpen()
    try {
      return this.#statistics()
    } catch (error) {
      throw typed(error)
    }
  }

  /**
   * Its statistics, also from another thread: those reported last, if that thread does not answer in time. `undefined`
   * where none were ever reported.
   */
  async report(): Promise<QueueStats | undefined> {
    if (this.#remote) return this.#remote.report()
    return this.#over ? this.#reported : this.stats()
  }

  /** Records the statistics, and posts them to the thread that opened the port, if that is another one. */
  reportStats(): void {
    try {
      this.#reported = this.#statistics()
      this.#post({ stats: this.#reported })
    } catch {
      // A device that is gone or a broken ring has no statistics.
    }
  }

  /** The daemon is gone: checks the device periodically, and notifies the owner if it is gone too. */
  detached(): void {
    this.#detached = true
    if (this.#remote) this.#remote.detached()
    else if (!this.#over) this.#parts.readiness.detached()
  }

  /**
   * Hands the queue over to another thread, and returns the key for that. The queue ends here when the other thread has
   * closed it.
   */
  handOver(): QueueToken['key'] {
    const { queue, owner, socket, dataPath, sending, readiness } = this.#parts
    this.checkOpen()
    if (readiness.reader) throw beingRead(`${nameOf(queue)} is being read, so it cannot be handed over`)
    try {
      socket.checkHandOver()
    } catch (error) {
      throw typed(error)
    }
    dataPath.close()
    dataPath.finish()
    const remote = new RemoteQueue(socket, this.stats(), (error) => {
      if (!this.#over) owner.lost(error)
    })
    this.#remote = remote
    if (this.#detached) remote.detached()
    this.#stopWaiting()
    sending.refuse(() => this.#closedError())
    void remote.released.then(() => this.end({}))
    return remote.key
  }

  /** Ends readers and senders, and closes the socket. Every call returns the same promise. */
  end(options: CloseOptions): Promise<void> {
    this.#ending ??= this.#end(options)
    return this.#ending
  }

  /** Makes an end that is in progress stop waiting; `reason` is its reason, if it has none yet. */
  hurry(reason?: Error): void {
    if (!this.#over) return
    this.#reason ??= reason
    this.#hurry.abort()
  }

  async #end(options: CloseOptions): Promise<void> {
    this.#over = true
    this.#reason = options.reason
    this.#loss = options.loss
    const { queue } = this.#parts
    leakWarnings.unregister(queue)
    this.#stopWaiting()
    await (this.#remote ? this.#remote.end(queue.info, options, this.#hurry) : this.#endHere(options))
    if (this.#reason) this.#settle.reject(this.#reason)
    else this.#settle.resolve()
  }

  async #endHere({ reason, loss, drain }: CloseOptions): Promise<void> {
    const { socket, path, dataPath, sending, readiness, endLease } = this.#parts
    endLease()
    dataPath.close()
    try {
      path.finish()
    } catch {
      // Nothing can be sent any more.
    }
    readiness.reader?.stop(reason)
    if (drain) await sending.drain(this.#hurry.signal)
    sending.refuse(() => this.#closedError())
    this.reportStats()
    if (loss) this.#post({ lost: toFailure(loss) })
    await new Promise<void>((resolve) => socket.close(resolve))
  }

  #stopWaiting(): void {
    this.#parts.readiness.stop()
    this.#parts.sending.stop()
  }

  #closedError(): Error {
    const { queue } = this.#parts
    if (this.#loss) return this.#loss
    return this.#remote && !this.#over ? handedOver(queue) : portClosed(queue.info, this.#reason)
  }

  #statistics(): QueueStats {
    const { socket, dataPath, sending } = this.#parts
    return statisticsOf(socket, dataPath, sending.refused)
  }

  #post(message: AdopterMessage): void {
    this.#parts.socket.post(JSON.stringify(message))
  }
}

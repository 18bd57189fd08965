import { toFailure } from '../connection/protocol.js'
import { XsknetError } from '../errors.js'
import { type AdoptedSocket, type HotPath, typed } from '../platform/native.js'
import { beingRead, handedOver, type Member, nameOf, portClosed } from '../refusals.js'
import { Away, type QueueToken, type Report } from './away.js'
import { figuresOf, type QueueStats } from './figures.js'
import { forgotten } from './forgotten.js'
import type { Owner } from './inside.js'
import type { Sending } from './sending.js'
import type { Slate } from './slate.js'
import type { Watch } from './watch.js'

/** How a queue ends. */
export interface Ending {
  /** What the reader's loop throws. */
  reason?: Error | undefined
  /** What everything throws from now on, because the port was lost. */
  loss?: XsknetError | undefined
  /** Whether queued frames may leave before. */
  drain?: boolean
}

/** All that ends with a queue. */
export interface Parts {
  queue: Member
  owner: Owner
  socket: AdoptedSocket
  path: HotPath
  slate: Slate
  sending: Sending
  watch: Watch
  endLease(): void
}

/** Whether a queue is of use here, or another thread has it, or it is over; and the ways from one to the next. */
export class Life {
  readonly closed: Promise<void>

  readonly #parts: Parts
  /** Another thread has it, or will. */
  #away: Away | undefined
  /** Set by whatever ends the queue first. */
  #over = false
  #ending: Promise<void> | undefined
  #reason: Error | undefined
  #loss: XsknetError | undefined
  /** Cuts short what the end waits for. */
  readonly #hurry = new AbortController()
  #settle!: { resolve(): void; reject(reason: Error): void }
  /** The daemon is gone. */
  #detached = false
  /** The figures that were told last. */
  #told: QueueStats | undefined

  constructor(parts: Parts) {
    this.#parts = parts
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.closed.catch(() => {}) // nobody has to listen
  }

  get isOver(): boolean {
    return this.#over
  }

  /** Whether this thread has it, and it is not over. */
  get isHere(): boolean {
    return !this.#over && !this.#away
  }

  /** Whether it is over, by no fault; throws what else keeps it from being of use here. */
  hasEnded(): boolean {
    if (this.#away || this.#loss) this.checkOpen()
    return this.#over
  }

  checkOpen(): void {
    if (this.#over || this.#away) throw this.#closedError()
  }

  /** What the socket threw, typed; the port is lost if there is no way on. */
  failed(error: unknown): unknown {
    if (this.#over || this.#away) return this.#closedError()
    const failure = typed(error)
    const fatal = failure instanceof XsknetError && /_(PORT_LOST|RING_BROKEN)$/.test(failure.code)
    if (fatal) this.#parts.owner.lost(failure)
    return failure
  }

  stats(): QueueStats {
    this.checkOpen()
    try {
      return this.#figures()
    } catch (error) {
      throw typed(error)
    }
  }

  /** Its figures, also from another thread: the last that are known if that does not answer soon; `undefined` if it never did. */
  async report(): Promise<QueueStats | undefined> {
    if (this.#away) return this.#away.report()
    return this.#over ? this.#told : this.stats()
  }

  /** Writes down the figures, also for the thread that opened the port, if that is another one. */
  tellFigures(): void {
    try {
      this.#told = this.#figures()
      this.#tell({ stats: this.#told })
    } catch {
      // A device that is gone and a ring that is broken have none.
    }
  }

  /** The daemon is gone: the device is looked at now and then, and the owner told if that is gone, too. */
  detached(): void {
    this.#detached = true
    if (this.#away) this.#away.detached()
    else if (!this.#over) this.#parts.watch.detached()
  }

  /** Gives it to another thread, and says by which key; it ends when that has closed it. */
  giveAway(): QueueToken['key'] {
    const { queue, owner, socket, slate, sending, watch } = this.#parts
    this.checkOpen()
    if (watch.reader) throw beingRead(`${nameOf(queue)} is being read, so it cannot be handed over`)
    try {
      socket.checkHandOver()
    } catch (error) {
      throw typed(error)
    }
    slate.close()
    slate.finish()
    const away = new Away(socket, this.stats(), (error) => {
      if (!this.#over) owner.lost(error)
    })
    this.#away = away
    if (this.#detached) away.detached()
    this.#rest()
    sending.refuse(() => this.#closedError())
    void away.released.then(() => this.end({}))
    return away.key
  }

  /** Ends whatever goes on, and closes the socket. Every call answers the same. */
  end(ending: Ending): Promise<void> {
    this.#ending ??= this.#end(ending)
    return this.#ending
  }

  /** An end that goes on waits for nothing any more: for a reason, if there is one. */
  hurry(reason?: Error): void {
    if (!this.#over) return
    this.#reason ??= reason
    this.#hurry.abort()
  }

  async #end(ending: Ending): Promise<void> {
    this.#over = true
    this.#reason = ending.reason
    this.#loss = ending.loss
    const { queue } = this.#parts
    forgotten.unregister(queue)
    this.#rest()
    await (this.#away ? this.#away.end(queue.info, ending, this.#hurry) : this.#endHere(ending))
    if (this.#reason) this.#settle.reject(this.#reason)
    else this.#settle.resolve()
  }

  async #endHere({ reason, loss, drain }: Ending): Promise<void> {
    const { socket, path, slate, sending, watch, endLease } = this.#parts
    endLease()
    slate.close()
    try {
      path.finish()
    } catch {
      // There is nothing left to send by.
    }
    watch.reader?.stop(reason)
    if (drain) await sending.drain(this.#hurry.signal)
    sending.refuse(() => this.#closedError())
    this.tellFigures()
    if (loss) this.#tell({ lost: toFailure(loss) })
    await new Promise<void>((resolve) => socket.close(resolve))
  }

  /** Nothing is waited for any more. */
  #rest(): void {
    this.#parts.watch.stop()
    this.#parts.sending.stop()
  }

  #closedError(): Error {
    const { queue } = this.#parts
    if (this.#loss) return this.#loss
    return this.#away && !this.#over ? handedOver(queue) : portClosed(queue.info, this.#reason)
  }

  #figures(): QueueStats {
    const { socket, slate, sending } = this.#parts
    return figuresOf(socket, slate, sending.refused)
  }

  #tell(report: Report): void {
    this.#parts.socket.post(JSON.stringify(report))
  }
}

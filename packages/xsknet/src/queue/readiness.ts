import type { AdoptedSocket, HotPath } from '../platform/native.js'
import { Alarm } from '../platform/timers.js'
import { deviceDeleted, type QueueId } from '../queue-errors.js'
import type { Waiter } from './reader.js'
import type { Sending } from './sending.js'
import type { QueueOwner } from './types.js'

const READABLE = 1
const WRITABLE = 2

/**
 * Milliseconds until a device that is down is polled again: its socket reports an error until then and would wake us
 * without end.
 */
const DOWN_RETRY_MS = 100
/** Wake-ups in a row without a frame after which the device is taken for down. */
const MAX_FRUITLESS_WAKEUPS = 8
/** Milliseconds between checks of the device while the daemon, which would report its loss, is gone. */
const DEVICE_CHECK_MS = 1000

/** Those that are waited for. A program that waits need not hold its queue otherwise. */
const awaited = new Set<Readiness>()

/**
 * Waits in the event loop until a queue is readable or writable, and checks its device where the loop reports nothing.
 */
export class Readiness {
  /** The reader of the queue, whether or not it waits now. */
  reader: Waiter | undefined
  /** Wake-ups in a row without a frame; a reader that receives one sets it to 0. */
  fruitless = 0

  readonly #queue: QueueId
  readonly #owner: QueueOwner
  readonly #socket: AdoptedSocket
  readonly #path: HotPath
  readonly #sending: Sending
  #referenced = true
  /** The event loop polls for an event. */
  #waited = false
  readonly #down = new Alarm()
  #checks: NodeJS.Timeout | undefined
  #over = false

  constructor(queue: QueueId, owner: QueueOwner, socket: AdoptedSocket, path: HotPath, sending: Sending) {
    this.#queue = queue
    this.#owner = owner
    this.#socket = socket
    this.#path = path
    this.#sending = sending
  }

  /** Polls for the events that are wanted, and stops polling where none is. */
  arm(): void {
    const wanted = this.#wanted()
    if (wanted !== 0) {
      // It stays in the set after a wait, so that a batch does not cost a change of the set.
      if (!awaited.has(this)) awaited.add(this)
      this.#waited = true
      this.#path.wait(wanted, this.#referenced)
    } else if (this.#waited) {
      this.#rest()
    }
  }

  /** A reader's loop has ended: stops polling, unless a sender waits. */
  release(): void {
    this.reader = undefined
    awaited.delete(this)
    this.arm()
  }

  /** Called by the event loop with the events that occurred. */
  wake(events: number): void {
    if (this.#over) return
    // Nothing waits, or not until the current batch is processed. To stop polling for each batch would cost two system
    // calls, so polling goes on until it reports an event that nothing waits for.
    if (!this.#waited) {
      this.#rest()
      return
    }
    this.#waited = false
    if (events & WRITABLE) this.#sending.wake()
    if (events & READABLE && this.reader?.waits && !this.reader.wake()) this.#wokenForNothing()
    this.arm()
  }

  /** Whether a wait keeps the process alive. */
  reference(referenced: boolean): void {
    this.#referenced = referenced
    this.#down.reference(referenced)
    this.arm()
  }

  /** The daemon is gone: checks the device periodically. */
  detached(): void {
    this.#checks ??= setInterval(() => this.#check(), DEVICE_CHECK_MS).unref()
  }

  /** Stops all waiting. */
  stop(): void {
    this.#over = true
    this.#waited = false
    awaited.delete(this)
    this.#down.clear()
    clearInterval(this.#checks)
  }

  /** The events that a reader or sender waits for. */
  #wanted(): number {
    if (this.#over || this.#down.isSet) return 0
    return (this.reader?.waits ? READABLE : 0) | (this.#sending.isCongested ? WRITABLE : 0)
  }

  #rest(): void {
    this.#waited = false
    awaited.delete(this)
    this.#path.rest()
  }

  /** A device in error wakes without end; a deleted one without end or never. So the device is checked. */
  #wokenForNothing(): void {
    if (this.#over) return
    const device = this.#check()
    if (device === 'gone' || (device === 'up' && ++this.fruitless < MAX_FRUITLESS_WAKEUPS)) return
    this.#rest()
    this.#down.set(DOWN_RETRY_MS, () => this.arm())
  }

  #check(): 'up' | 'down' | 'gone' {
    const device = this.#socket.check()
    if (device === 'gone') this.#owner.lost(deviceDeleted(this.#queue))
    return device
  }
}

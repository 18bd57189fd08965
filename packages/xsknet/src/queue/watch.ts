import type { AdoptedSocket, HotPath } from '../platform/native.js'
import { Alarm } from '../platform/timers.js'
import { deviceDeleted, type Member } from '../refusals.js'
import type { Owner } from './inside.js'
import type { Waiter } from './reader.js'
import type { Sending } from './sending.js'

const READABLE = 1
const WRITABLE = 2

/** Milliseconds until a device that is down is tried again: its socket is in error meanwhile, and would wake us for ever. */
const DOWN = 100
/** Wake-ups in a row without a frame that are believed to be chance. */
const CHANCE = 8
/** Milliseconds between looks at the device when nobody else would tell that it is gone. */
const CHECK = 1000

/** Watches on which somebody waits: nothing else need hold them, nor the queues that they hold. */
const awaited = new Set<Watch>()

/** What of a queue is waited for, by the event loop; and a look at the device where the loop would not tell. */
export class Watch {
  /** Who reads the queue, whether or not it waits at this moment. */
  reader: Waiter | undefined
  /** Wake-ups in a row without a frame: whoever finds one sets this back. */
  fruitless = 0

  readonly #queue: Member
  readonly #owner: Owner
  readonly #socket: AdoptedSocket
  readonly #path: HotPath
  readonly #sending: Sending
  #referenced = true
  /** Somebody waits for an event. */
  #waited = false
  readonly #down = new Alarm()
  #checks: NodeJS.Timeout | undefined
  #over = false

  constructor(queue: Member, owner: Owner, socket: AdoptedSocket, path: HotPath, sending: Sending) {
    this.#queue = queue
    this.#owner = owner
    this.#socket = socket
    this.#path = path
    this.#sending = sending
  }

  /** Waits for what is wanted, and no longer for what is not. */
  arm(): void {
    const wanted = this.#wanted()
    if (wanted !== 0) {
      // The watch outlasts the wait, so that a batch does not cost a change of this set.
      if (!awaited.has(this)) awaited.add(this)
      this.#waited = true
      this.#path.wait(wanted, this.#referenced)
    } else if (this.#waited) {
      this.#rest()
    }
  }

  /** A loop has ended: nothing is held any more unless somebody else waits. */
  release(): void {
    this.reader = undefined
    awaited.delete(this)
    this.arm()
  }

  /** The event loop says that something is ready. */
  wake(events: number): void {
    if (this.#over) return
    // Nobody waits any more, or not until the batch has been dealt with. In the latter case resting would cost two system calls a batch,
    // so the watch goes on until it has told in vain.
    if (!this.#waited) {
      this.#rest()
      return
    }
    this.#waited = false
    if (events & WRITABLE) this.#sending.wake()
    if (events & READABLE && this.reader?.waits && !this.reader.wake()) this.#wokenForNothing()
    this.arm()
  }

  /** Whether who waits keeps the process alive. */
  reference(referenced: boolean): void {
    this.#referenced = referenced
    this.#down.reference(referenced)
    this.arm()
  }

  /** Nobody will tell if the device goes: looks now and then. */
  detached(): void {
    this.#checks ??= setInterval(() => this.#check(), CHECK).unref()
  }

  /** Forgets all that is waited for. */
  stop(): void {
    this.#over = true
    this.#waited = false
    awaited.delete(this)
    this.#down.clear()
    clearInterval(this.#checks)
  }

  /** The events that somebody waits for. */
  #wanted(): number {
    if (this.#over || this.#down.isSet) return 0
    return (this.reader?.waits ? READABLE : 0) | (this.#sending.isCongested ? WRITABLE : 0)
  }

  #rest(): void {
    this.#waited = false
    awaited.delete(this)
    this.#path.rest()
  }

  /** A device in error wakes for ever, and one that is deleted for ever or never: so ask. */
  #wokenForNothing(): void {
    if (this.#over) return
    const device = this.#check()
    if (device === 'gone' || (device === 'up' && ++this.fruitless < CHANCE)) return
    this.#rest()
    this.#down.set(DOWN, () => this.arm())
  }

  #check(): 'up' | 'down' | 'gone' {
    const device = this.#socket.check()
    if (device === 'gone') this.#owner.lost(deviceDeleted(this.#queue))
    return device
  }
}

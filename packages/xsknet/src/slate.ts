import type { HotPath } from './native.js'

/** The words in front of the tables; crates/node-xsknet/src/slate.rs has the same list. */
const QUEUED = 0
const SLOTS = 1
const WAITING = 2
const STARVED = 3
const HEAD = 8

/** Whether a frame of the lease may be touched. */
const LIVE = 0
const GONE = 1

/** Frames that one call fetches for {@link Slate.allocate}. What is not used goes back with the lease. */
const FETCH = 16

/**
 * The socket's hot path, and what it shares with JavaScript about the frames of a lease so that a packet costs no call: where each frame
 * is, how long it is, and which are to be sent in which order. The socket checks whatever is written here.
 */
export class Slate {
  /** The UMEM. */
  readonly memory: Uint8Array
  readonly offsets: Uint32Array
  readonly lengths: Uint32Array

  readonly #path: HotPath
  readonly #failed: (error: unknown) => unknown
  readonly #words: Uint32Array
  readonly #outbox: Uint32Array
  readonly #states: Uint8Array
  readonly #chunkMask: number
  /** Places in use. */
  #count = 0
  /** The first fresh frame that {@link allocate} has not given out; the last is at `#count - 1`. */
  #fresh = 0
  /** A kick found no room in this lease, and is not tried again for each frame. */
  #full = false

  /** `failed` is told what the socket throws, and says what to throw instead. */
  constructor(path: HotPath, failed: (error: unknown) => unknown) {
    const { memory, slate, places, frameSize } = path
    const table = (nth: number) => slate.subarray(HEAD + nth * places, HEAD + (nth + 1) * places)
    this.memory = memory
    this.offsets = table(0)
    this.lengths = table(1)
    this.#path = path
    this.#failed = failed
    this.#words = slate
    this.#outbox = table(2)
    this.#states = new Uint8Array(places)
    this.#chunkMask = frameSize - 1
  }

  /** Frames in TX that the kernel had not taken after the last kick. */
  get waiting(): number {
    return this.#words[WAITING] as number
  }

  /** TX slots that were free at the last call. */
  get slots(): number {
    return this.#words[SLOTS] as number
  }

  /** Times that reception had no chunk; wraps at 2^32. */
  get starved(): number {
    return this.#words[STARVED] as number
  }

  /** Ends the lease and begins the next with up to `max` received frames; says how many. */
  receive(max: number): number {
    let received: number
    try {
      received = this.#path.receive(max)
    } catch (error) {
      throw this.#failed(error)
    }
    this.#begin(received)
    return received
  }

  /** Ends the lease: what is queued leaves, the rest goes back to the kernel. */
  finish(): void {
    this.#begin(0)
    try {
      this.#path.finish()
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** Lets what is queued leave; the lease goes on. */
  flush(): void {
    this.#full = false
    try {
      this.#path.flush()
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** Queues a copy behind all that is queued. `false`: no chunk or no slot is free. */
  trySend(bytes: Uint8Array): boolean {
    try {
      return this.#path.trySend(bytes)
    } catch (error) {
      throw this.#failed(error)
    }
  }

  /** The place of a fresh frame; `undefined` where none is free. */
  allocate(): number | undefined {
    if (this.#fresh === this.#count) {
      try {
        this.#count += this.#path.allocate(FETCH)
      } catch (error) {
        throw this.#failed(error)
      }
      if (this.#fresh === this.#count) return undefined
    }
    return this.#fresh++
  }

  /** Takes note that a frame is to be sent; `false` where there is no slot. */
  queue(place: number): boolean {
    const words = this.#words
    if ((words[QUEUED] as number) >= (words[SLOTS] as number) && !this.#makeRoom()) return false
    const queued = words[QUEUED] as number
    this.#outbox[queued] = place
    words[QUEUED] = queued + 1
    this.#states[place] = GONE
    return true
  }

  /** Takes note that a frame must not be touched any more. */
  drop(place: number): void {
    this.#states[place] = GONE
  }

  isLive(place: number): boolean {
    return this.#states[place] === LIVE
  }

  /** The most bytes of the frame at an offset: what is left of its chunk. */
  capacityAt(offset: number): number {
    return this.#chunkMask + 1 - (offset & this.#chunkMask)
  }

  #begin(received: number): void {
    this.#states.fill(LIVE, 0, this.#count)
    this.#count = this.#fresh = received
    this.#full = false
  }

  #makeRoom(): boolean {
    if (this.#full) return false
    this.flush()
    this.#full = this.slots === 0
    return !this.#full
  }
}

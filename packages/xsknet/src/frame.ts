import { outOfRange } from './arguments.js'
import { XsknetError } from './errors.js'
import type { Slate } from './slate.js'

/** Lets a batch, and nobody else, move a frame of its own to a place of its lease, or to none. */
export let move: (frame: Frame, place: number) => void

/**
 * One frame of a batch, from its Ethernet header on; multi-byte values are in network byte order.
 *
 * A batch has one object of this class for the frames that it was given, and moves it along: `at(2)` moves what `at(1)` returned. It has
 * another for the frames that it allocates. Once the lease has ended, or the frame has been sent or dropped, every access throws
 * `ERR_XSKNET_LEASE_ENDED`.
 */
export class Frame {
  static {
    move = (frame, place) => frame.#move(place)
  }

  readonly #slate: Slate
  readonly #memory: Uint8Array
  /** -1: nowhere. Then `#length` is 0, so that the bounds check of an access is the only check it needs. */
  #place = -1
  #offset = 0
  #length = 0

  /** @internal */
  constructor(slate: Slate) {
    this.#slate = slate
    this.#memory = slate.memory
  }

  /** The memory that the frame lies in: the whole UMEM. */
  get memory(): Uint8Array {
    if (this.#place < 0) throw leaseEnded('frame')
    return this.#memory
  }

  /** Where in {@link memory} the frame begins, in bytes. */
  get offset(): number {
    if (this.#place < 0) throw leaseEnded('frame')
    return this.#offset
  }

  /** Bytes of the frame; settable up to {@link capacity}. Bytes that come into view so are those that the chunk last held. */
  get length(): number {
    if (this.#place < 0) throw leaseEnded('frame')
    return this.#length
  }

  set length(length: number) {
    if (this.#place < 0) throw leaseEnded('frame')
    if (length >>> 0 !== length || length > this.capacity)
      throw outOfRange('length', `an integer from 0 to ${this.capacity}`, length)
    this.#slate.lengths[this.#place] = length
    this.#length = length
  }

  /** The most bytes that the frame can have. */
  get capacity(): number {
    if (this.#place < 0) throw leaseEnded('frame')
    return this.#slate.capacityAt(this.#offset)
  }

  /** The byte at `index`. Throws a `RangeError` beyond the frame's length, as all of these do. */
  uint8(index: number): number {
    if (index >>> 0 !== index || index >= this.#length) throw this.#outside(index, 1)
    return this.#memory[this.#offset + index] as number
  }

  /** The two bytes from `index` on. */
  uint16(index: number): number {
    if (index >>> 0 !== index || index + 2 > this.#length) throw this.#outside(index, 2)
    const at = this.#offset + index
    const memory = this.#memory
    return ((memory[at] as number) << 8) | (memory[at + 1] as number)
  }

  /** The four bytes from `index` on. */
  uint32(index: number): number {
    if (index >>> 0 !== index || index + 4 > this.#length) throw this.#outside(index, 4)
    const at = this.#offset + index
    const memory = this.#memory
    const high = ((memory[at] as number) << 8) | (memory[at + 1] as number)
    return ((high << 16) | ((memory[at + 2] as number) << 8) | (memory[at + 3] as number)) >>> 0
  }

  /** Writes the byte at `index`: the low 8 bits of `value`, as in a Uint8Array. */
  setUint8(index: number, value: number): void {
    if (index >>> 0 !== index || index >= this.#length) throw this.#outside(index, 1)
    this.#memory[this.#offset + index] = value
  }

  /** Writes the two bytes from `index` on: the low 16 bits of `value`. */
  setUint16(index: number, value: number): void {
    if (index >>> 0 !== index || index + 2 > this.#length) throw this.#outside(index, 2)
    const at = this.#offset + index
    this.#memory[at] = value >>> 8
    this.#memory[at + 1] = value
  }

  /** Writes the four bytes from `index` on: the low 32 bits of `value`. */
  setUint32(index: number, value: number): void {
    if (index >>> 0 !== index || index + 4 > this.#length) throw this.#outside(index, 4)
    const at = this.#offset + index
    const memory = this.#memory
    memory[at] = value >>> 24
    memory[at + 1] = value >>> 16
    memory[at + 2] = value >>> 8
    memory[at + 3] = value
  }

  /** A view of the frame's bytes. It costs an allocation, and stays a view of the chunk when the frame is long another one. */
  bytes(): Uint8Array {
    if (this.#place < 0) throw leaseEnded('frame')
    return this.#memory.subarray(this.#offset, this.#offset + this.#length)
  }

  /** The frame's bytes, to be kept. */
  copy(): Uint8Array {
    if (this.#place < 0) throw leaseEnded('frame')
    return this.#memory.slice(this.#offset, this.#offset + this.#length)
  }

  /**
   * Queues the frame; it leaves with the others at the end of the lease, or at {@link Batch.flush}. It cannot be touched any more then.
   *
   * @returns `false` where there is no slot: the frame stays yours.
   */
  send(): boolean {
    if (this.#place < 0) throw leaseEnded('frame')
    if (this.#length === 0) throw outOfRange('length', 'at least 1 for a frame that is sent', 0)
    if (!this.#slate.queue(this.#place)) return false
    this.#move(-1)
    return true
  }

  /** Gives the frame up: it goes back to the kernel with the lease, as what is neither sent nor dropped does. */
  drop(): void {
    if (this.#place < 0) throw leaseEnded('frame')
    this.#slate.drop(this.#place)
    this.#move(-1)
  }

  #move(place: number): void {
    if (place >= 0 && this.#slate.isLive(place)) {
      this.#place = place
      this.#offset = this.#slate.offsets[place] as number
      this.#length = this.#slate.lengths[place] as number
    } else {
      this.#place = -1
      this.#length = 0
    }
  }

  #outside(index: number, bytes: number): Error {
    if (this.#place < 0) return leaseEnded('frame')
    const last = this.#length - bytes
    return outOfRange('index', last < 0 ? `of a frame of at least ${bytes} bytes` : `an integer from 0 to ${last}`, index)
  }
}

/** What a batch or frame throws whose time has passed. */
export function leaseEnded(noun: 'batch' | 'frame'): XsknetError {
  return noun === 'batch'
    ? new XsknetError('ERR_XSKNET_LEASE_ENDED', 'the batch was used after its turn of the loop', {
        hint: 'Copy what must live longer, by `frame.copy()`.',
      })
    : new XsknetError(
        'ERR_XSKNET_LEASE_ENDED',
        'the frame was used after its turn of the loop, or after it was sent or dropped',
        {
          hint: 'Copy what must live longer, by `frame.copy()`.',
        },
      )
}

import { outOfRange } from '../arguments.js'
import type { DataPath } from './data-path.js'
import { Frame, leaseEnded, move, moveAway } from './frame.js'

/** Ends the lease of a batch. For queues only. */
export let end: (batch: Batch) => void

/**
 * Received frames, on lease until the loop asks for the next batch. Frames that were not sent or kept are then given
 * back to the kernel, and every access throws `ERR_XSKNET_LEASE_ENDED`.
 */
export class Batch {
  static {
    end = (batch) => batch.#end()
  }

  readonly #dataPath: DataPath
  readonly #frame: Frame
  #fresh: Frame | undefined
  /** Packets received; -1 once the lease has ended. */
  #length: number

  /** @internal */
  constructor(dataPath: DataPath, length: number) {
    this.#dataPath = dataPath
    this.#frame = new Frame(dataPath)
    this.#length = length
  }

  /** The number of received packets: at least 1. */
  get length(): number {
    if (this.#length < 0) throw leaseEnded('batch')
    return this.#length
  }

  /** The UMEM, in which all frames lie. */
  get memory(): Uint8Array {
    if (this.#length < 0) throw leaseEnded('batch')
    return this.#dataPath.memory
  }

  /**
   * Moves the batch's frame to the packet at `index`, from 0, and returns it. Allocates nothing.
   *
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where there is no such packet.
   */
  at(index: number): Frame {
    if (this.#length < 0) throw leaseEnded('batch')
    if (index >>> 0 !== index || index >= this.#length)
      throw outOfRange('index', `an integer from 0 to ${this.#length - 1}`, index)
    move(this.#frame, this.#dataPath.placeOf(index))
    return this.#frame
  }

  /**
   * An empty frame: set its length, write its bytes, send it. The next call moves the same object to another frame. A
   * frame that was not sent is given back at the end of the lease.
   *
   * @returns `undefined` where no chunk is free: all hold received or queued frames.
   */
  allocate(): Frame | undefined {
    if (this.#length < 0) throw leaseEnded('batch')
    const place = this.#dataPath.allocate()
    if (place === undefined) return undefined
    this.#fresh ??= new Frame(this.#dataPath)
    move(this.#fresh, place)
    return this.#fresh
  }

  /** Sends the queued frames now. One system call. */
  flush(): void {
    if (this.#length < 0) throw leaseEnded('batch')
    this.#dataPath.flush()
  }

  /** Moves the batch's frame along all received packets that were not sent or dropped. */
  [Symbol.iterator](): IterableIterator<Frame> {
    if (this.#length < 0) throw leaseEnded('batch')
    return new Frames(this, this.#frame, this.#dataPath)
  }

  #end(): void {
    this.#length = -1
    moveAway(this.#frame)
    if (this.#fresh) moveAway(this.#fresh)
  }
}

/** An iterator that is its own result, so that a step allocates nothing. */
class Frames implements IterableIterator<Frame> {
  done = false
  readonly value: Frame

  readonly #batch: Batch
  readonly #dataPath: DataPath
  #next = 0

  constructor(batch: Batch, frame: Frame, dataPath: DataPath) {
    this.value = frame
    this.#batch = batch
    this.#dataPath = dataPath
  }

  next(): this {
    const { length } = this.#batch
    let next = this.#next
    while (next < length && !move(this.value, this.#dataPath.placeOf(next))) next++
    this.done = next >= length
    this.#next = next + 1
    return this
  }

  [Symbol.iterator](): this {
    return this
  }
}

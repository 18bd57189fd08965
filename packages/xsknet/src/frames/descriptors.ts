import { outOfRange, wrongType, wrongValue } from '../arguments.js'

/** Makes a batch. For the data path only, as the two below. */
export let make: (memory: Uint8Array, umem: number, number: number, table: Uint32Array) => DescriptorBatch
/** Sets the length of a batch, without a check. */
export let fill: (batch: DescriptorBatch, length: number) => void
/** The number of the batch's table. Throws if its frames are not of this UMEM. */
export let numberOf: (batch: DescriptorBatch, umem: number) => number

/**
 * Frames by their descriptors, in one typed array: the explicit way, which costs no object, no promise and no lease. Made by
 * `queue.batch()`, and good for as long as that queue: make it once.
 *
 * Frames that a batch has got by `receive()` or `allocate()` are yours until you give them to `transmit()` or `recycle()`. Whoever copies
 * a descriptor into another batch of the same UMEM can send it by that one; what is given back twice is refused and counted.
 */
export class DescriptorBatch {
  static {
    make = (...of) => new DescriptorBatch(...of)
    fill = (batch, length) => {
      batch.#length = length
    }
    numberOf = (batch, umem) => {
      if (!(batch instanceof DescriptorBatch)) throw wrongType('batch', 'an instance of DescriptorBatch', batch)
      if (batch.#umem !== umem) throw wrongValue('batch', 'must be a batch of a queue with the same UMEM', batch)
      return batch.#number
    }
  }

  /**
   * Two words for each frame: where it begins in {@link memory}, and its length, both in bytes. `receive()` writes them, and you may: a
   * frame may begin and end anywhere within its chunk. The highest bit of a length says that the packet goes on in the next descriptor.
   */
  readonly descriptors: Uint32Array
  /** The UMEM, in which all frames lie. */
  readonly memory: Uint8Array
  /** The most frames. */
  readonly capacity: number

  readonly #umem: number
  readonly #number: number
  #length = 0

  private constructor(memory: Uint8Array, umem: number, number: number, table: Uint32Array) {
    this.memory = memory
    this.descriptors = table
    this.capacity = table.length / 2
    this.#umem = umem
    this.#number = number
  }

  /** How many of the descriptors are frames of the batch; settable. Frames that it leaves out so are nobody's until the queue is closed. */
  get length(): number {
    return this.#length
  }

  set length(length: number) {
    if (length >>> 0 !== length || length > this.capacity)
      throw outOfRange('length', `an integer from 0 to ${this.capacity}`, length)
    this.#length = length
  }
}

import { outOfRange, wrongType, wrongValue } from '../arguments.js'

/** Makes a batch. For the data path only, as the two below. */
export let make: (memory: Uint8Array, umem: number, number: number, table: Uint32Array) => DescriptorBatch
/** Sets the length of a batch, without a check. */
export let fill: (batch: DescriptorBatch, length: number) => void
/** The number of the batch's table. Throws if its frames are not of this UMEM. */
export let numberOf: (batch: DescriptorBatch, umem: number) => number

/**
 * Frames by their descriptors, in one typed array. This explicit API allocates no object, no promise and no lease. A
 * batch is made by `queue.batch()` and lasts as long as the queue: make it once.
 *
 * Frames of `receive()` and `allocate()` are yours until you pass them to `transmit()` or `recycle()`. A descriptor may
 * be copied into another batch of the same UMEM and sent by that one. A frame that is given back twice is refused and
 * counted.
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
   * Two words for each frame: the offset of its first byte in {@link memory}, and its length in bytes. `receive()`
   * writes them, and you may change them: a frame may begin and end anywhere within its chunk. The highest bit of a
   * length says that the packet continues in the next descriptor.
   */
  readonly descriptors: Uint32Array
  /** The UMEM, in which all frames lie. */
  readonly memory: Uint8Array
  /** The most frames that the batch can have. */
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

  /**
   * The number of the batch's frames. It can be set, from 0 to {@link capacity}; frames that it then excludes are lost
   * until the queue is closed.
   */
  get length(): number {
    return this.#length
  }

  set length(length: number) {
    if (length >>> 0 !== length || length > this.capacity)
      throw outOfRange('length', `an integer from 0 to ${this.capacity}`, length)
    this.#length = length
  }
}

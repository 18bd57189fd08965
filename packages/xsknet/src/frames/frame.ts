import { outOfRange, wrongType } from '../arguments.js'
import { XsknetError } from '../errors.js'
import { ETHERNET, lengthRefused } from '../queue-errors.js'
import { type DataPath, type ForwardTarget, forwardTarget } from './data-path.js'
import { CONTINUES, NOWHERE } from './layout.js'

/** Moves a frame to a place of its lease; returns whether a frame is there. For batches only. */
export let move: (frame: Frame, place: number) => boolean
/** Moves a frame to no place. For batches only. */
export let moveAway: (frame: Frame) => void

/**
 * One packet of a batch, from its Ethernet header on. Multi-byte values are in network byte order. Offsets count from
 * the frame's first byte.
 *
 * A batch has one object of this class for its received packets and moves it: `at(2)` moves the object that `at(1)`
 * returned. It has another one for the frames that it allocates. Once the lease has ended, or the frame was sent,
 * forwarded, kept or dropped, every access throws `ERR_XSKNET_LEASE_ENDED`.
 *
 * With multi-buffer, a packet that is longer than a chunk takes several {@link buffers}. The methods that read and
 * write bytes then use the first one; `send`, `forward`, `keep`, `drop` and `copy` use all of them.
 */
export class Frame {
  static {
    // One short function, so that V8 inlines it wherever a batch is read.
    move = (frame, place) => {
      const at = 2 * place
      const length = frame.#table[at + 1] as number
      if (length >= CONTINUES) return frame.#moveToParts(at, length)
      frame.#at = at
      frame.#offset = frame.#table[at] as number
      frame.#length = length
      frame.#parts = 1
      return true
    }
    moveAway = (frame) => {
      frame.#at = -1
      frame.#length = 0
    }
  }

  readonly #dataPath: DataPath
  readonly #memory: Uint8Array
  /** The table that holds the frame's descriptors. */
  readonly #table: Uint32Array
  readonly #isKept: boolean
  /**
   * Index of its first word in the table; -1: none. `#length` is then 0, so that the bounds check of an access is
   * enough.
   */
  #at = -1
  #offset = 0
  #length = 0
  #parts = 1

  /** @internal `kept`: the descriptors of a frame that is kept beyond its lease. */
  constructor(dataPath: DataPath, kept?: Uint32Array) {
    this.#dataPath = dataPath
    this.#memory = dataPath.memory
    this.#table = kept ?? dataPath.descriptors
    this.#isKept = kept !== undefined
    if (kept) move(this, 0)
  }

  /** The memory that the frame lies in: the whole UMEM. */
  get memory(): Uint8Array {
    if (this.#at < 0) throw leaseEnded('frame')
    return this.#memory
  }

  /** Offset of the frame's first byte in {@link memory}. */
  get offset(): number {
    if (this.#at < 0) throw leaseEnded('frame')
    return this.#offset
  }

  /** Bytes of the frame. It can be set, up to {@link capacity}; bytes that are added have the chunk's old content. */
  get length(): number {
    if (this.#at < 0) throw leaseEnded('frame')
    return this.#length
  }

  set length(length: number) {
    if (this.#at < 0) throw leaseEnded('frame')
    if (length >>> 0 !== length || length > this.capacity)
      throw outOfRange('length', `an integer from 0 to ${this.capacity}`, length)
    this.#table[this.#at + 1] = this.#parts === 1 ? length : length | CONTINUES
    this.#length = length
  }

  /** The maximum of {@link length}, in bytes. */
  get capacity(): number {
    if (this.#at < 0) throw leaseEnded('frame')
    return this.#dataPath.capacityAt(this.#offset)
  }

  /**
   * The byte at offset `index`.
   *
   * @throws {RangeError} `ERR_OUT_OF_RANGE` outside of the frame, as the five methods below.
   */
  uint8(index: number): number {
    if (index >>> 0 !== index || index >= this.#length) throw this.#outside(index, 1)
    return this.#memory[this.#offset + index] as number
  }

  /** The 16-bit number at offset `index`. */
  uint16(index: number): number {
    if (index >>> 0 !== index || index + 2 > this.#length) throw this.#outside(index, 2)
    const at = this.#offset + index
    const memory = this.#memory
    return ((memory[at] as number) << 8) | (memory[at + 1] as number)
  }

  /** The 32-bit number at offset `index`. */
  uint32(index: number): number {
    if (index >>> 0 !== index || index + 4 > this.#length) throw this.#outside(index, 4)
    const at = this.#offset + index
    const memory = this.#memory
    const high = ((memory[at] as number) << 8) | (memory[at + 1] as number)
    return ((high << 16) | ((memory[at + 2] as number) << 8) | (memory[at + 3] as number)) >>> 0
  }

  /** Writes the low 8 bits of `value` at offset `index`. */
  setUint8(index: number, value: number): void {
    if (index >>> 0 !== index || index >= this.#length) throw this.#outside(index, 1)
    this.#memory[this.#offset + index] = value
  }

  /** Writes the low 16 bits of `value` at offset `index`. */
  setUint16(index: number, value: number): void {
    if (index >>> 0 !== index || index + 2 > this.#length) throw this.#outside(index, 2)
    const at = this.#offset + index
    this.#memory[at] = value >>> 8
    this.#memory[at + 1] = value
  }

  /** Writes the low 32 bits of `value` at offset `index`. */
  setUint32(index: number, value: number): void {
    if (index >>> 0 !== index || index + 4 > this.#length) throw this.#outside(index, 4)
    const at = this.#offset + index
    const memory = this.#memory
    memory[at] = value >>> 24
    memory[at + 1] = value >>> 16
    memory[at + 2] = value >>> 8
    memory[at + 3] = value
  }

  /**
   * A view of the frame's bytes. Allocates. It remains a view of the chunk after the lease, when that holds another
   * frame.
   */
  bytes(): Uint8Array {
    if (this.#at < 0) throw leaseEnded('frame')
    return this.#memory.subarray(this.#offset, this.#offset + this.#length)
  }

  /** A copy of the packet's bytes, of all its buffers. Allocates. */
  copy(): Uint8Array {
    if (this.#at < 0) throw leaseEnded('frame')
    if (this.#parts === 1) return this.#memory.slice(this.#offset, this.#offset + this.#length)
    const packet = new Uint8Array(this.packetLength)
    let at = 0
    for (let index = 0; index < this.#parts; index++) {
      const offset = this.bufferOffset(index)
      const length = this.bufferLength(index)
      packet.set(this.#memory.subarray(offset, offset + length), at)
      at += length
    }
    return packet
  }

  /** The number of the packet's buffers: 1 unless it is longer than a chunk. */
  get buffers(): number {
    if (this.#at < 0) throw leaseEnded('frame')
    return this.#parts
  }

  /** Bytes of the packet: the sum over all its buffers, computed at each access. */
  get packetLength(): number {
    if (this.#at < 0) throw leaseEnded('frame')
    let length = this.#length
    for (let index = 1; index < this.#parts; index++) length += this.bufferLength(index)
    return length
  }

  /** Offset of the first byte of a buffer in {@link memory}; `index` counts from 0. */
  bufferOffset(index: number): number {
    return this.#table[this.#buffer(index)] as number
  }

  /** Bytes of a buffer; `index` counts from 0. */
  bufferLength(index: number): number {
    return (this.#table[this.#buffer(index) + 1] as number) & ~CONTINUES
  }

  /**
   * Queues the packet, which is sent with the others at the end of the lease or by {@link Batch.flush}. The frame
   * cannot be accessed from then on. Allocates nothing.
   *
   * @returns `false` where no slot is free: the frame stays yours.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` if it is shorter than an Ethernet header (14 bytes); the frame stays yours.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` if it is longer than the MTU with that header and a VLAN tag; the
   * frame stays yours.
   */
  send(): boolean {
    this.#checkSendable(this.#dataPath)
    const queued = this.#isKept
      ? this.#dataPath.queueFromElsewhere(this.#table, this.#at, this.#parts)
      : this.#dataPath.queue(this.#table, this.#at, this.#parts)
    if (queued) this.#leave()
    return queued
  }

  /**
   * Sends the packet by another port or queue. If both share a UMEM, the chunk itself is passed and no byte is copied;
   * if not, the packet is copied. The frame cannot be accessed from then on.
   *
   * @returns `false` where no slot, or no chunk for a copy, is free: the frame stays yours.
   * @throws What `send` throws, for the MTU of the other port; `ERR_INVALID_ARG_TYPE` where `to` is not a port or
   * queue.
   */
  forward(to: ForwardTarget): boolean {
    if (this.#at < 0) throw leaseEnded('frame')
    if (typeof to?.[forwardTarget] !== 'function') throw wrongType('to', 'an instance of Port or Queue', to)
    const target = to[forwardTarget]()
    this.#checkSendable(target)
    if (target.umem === this.#dataPath.umem) {
      if (!target.queueFromElsewhere(this.#table, this.#at, this.#parts)) return false
      this.#dataPath.forwarded++
      this.#leave()
      return true
    }
    if (!target.queueCopy(this.#parts === 1 ? this.bytes() : this.copy())) return false
    this.#dataPath.forwardedByCopy++
    this.drop()
    return true
  }

  /**
   * Keeps the packet beyond its lease, without a copy: the chunk is yours until you send, forward or drop the returned
   * frame. The packet cannot be accessed through the batch from then on.
   *
   * @returns `undefined` where the port's `maxKept` is reached: the frame stays in its lease.
   */
  keep(): KeptFrame | undefined {
    if (this.#at < 0) throw leaseEnded('frame')
    if (this.#isKept) return this
    if (!this.#dataPath.mayKeep(this.#parts)) return undefined
    const kept = new KeptFrame(this.#dataPath, this.#table.slice(this.#at, this.#at + 2 * this.#parts))
    this.#dataPath.kept(kept)
    this.#leave()
    return kept
  }

  /** Drops the packet: its chunks are given back at the end of the lease, or soon if it was kept. */
  drop(): void {
    if (this.#at < 0) throw leaseEnded('frame')
    if (this.#isKept) {
      this.#dataPath.giveBack(this.#table, this.#parts)
      this.#leave()
      return
    }
    for (let part = 0; part < this.#parts; part++) this.#table[this.#at + 2 * part + 1] = NOWHERE
    moveAway(this)
  }

  /** Marks the frame's descriptors as empty: its chunks are no longer its own, nor the lease's. */
  #leave(): void {
    const table = this.#table
    for (let word = this.#at; word < this.#at + 2 * this.#parts; word++) table[word] = NOWHERE
    moveAway(this)
    if (this.#isKept) this.#dataPath.noLongerKept(this, this.#parts)
  }

  /** Moves to a packet in several buffers, or to none. */
  #moveToParts(at: number, length: number): boolean {
    if (length === NOWHERE) {
      moveAway(this)
      return false
    }
    this.#at = at
    this.#offset = this.#table[at] as number
    this.#length = length & ~CONTINUES
    this.#parts = 1
    while ((this.#table[at + 2 * this.#parts - 1] as number) >= CONTINUES) this.#parts++
    return true
  }

  /**
   * Throws unless the target's socket can send the packet. A length below that of a header wraps, so one comparison is
   * enough. The limit always includes a VLAN tag, because a packet of that length can be received: no sender can make a
   * reply throw.
   */
  #checkSendable(target: DataPath): void {
    if (this.#at < 0) throw leaseEnded('frame')
    const length = this.#parts === 1 ? this.#length : this.packetLength
    if ((length - ETHERNET) >>> 0 > target.maxPayload) throw lengthRefused(target.queueId, 'packetLength', length, true)
  }

  /** The first word of a buffer's descriptor. */
  #buffer(index: number): number {
    if (this.#at < 0) throw leaseEnded('frame')
    if (index >>> 0 !== index || index >= this.#parts)
      throw outOfRange('index', `an integer from 0 to ${this.#parts - 1}`, index)
    return this.#at + 2 * index
  }

  #outside(index: number, bytes: number): Error {
    if (this.#at < 0) return leaseEnded('frame')
    const last = this.#length - bytes
    return outOfRange(
      'index',
      last < 0 ? `of a frame of at least ${bytes} bytes` : `an integer from 0 to ${last}`,
      index,
    )
  }
}

/**
 * A packet that {@link Frame.keep} keeps beyond its lease, until you send, forward or drop it, or the port is closed.
 * Until then it counts against the port's `maxKept`.
 */
export class KeptFrame extends Frame {}

/** What a batch or frame throws after its lease. */
export function leaseEnded(noun: 'batch' | 'frame'): XsknetError {
  const otherwise = noun === 'frame' ? ', or after it was sent, forwarded, kept or dropped' : ''
  return new XsknetError('ERR_XSKNET_LEASE_ENDED', `the ${noun} was used after its lease had ended${otherwise}`, {
    hint: 'Copy what is needed longer by `frame.copy()`, or keep the frame by `frame.keep()`.',
  })
}

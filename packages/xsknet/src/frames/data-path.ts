import type { HotPath } from '../platform/native.js'
import { type QueueId, TAG } from '../queue-errors.js'
import { type DescriptorBatch, fill, make, numberOf } from './descriptors.js'
import {
  ARGUMENT,
  END,
  HEAD,
  KEPT,
  LENGTH,
  QUEUED,
  RESULT,
  RETURNED,
  SECOND,
  SLOTS,
  STARVED,
  WAITING,
} from './layout.js'

/** Frames that one call fetches for {@link DataPath.allocate}. Unused ones are reclaimed at the end of the lease. */
const FETCH = 16

/** What the data path needs of its queue. */
export interface DataPathOwner {
  /** Receives what the socket threw, and returns what to throw instead. */
  failed(error: unknown): unknown
  /** Frames were queued outside of a lease, or found no slot there: the kernel is to be notified soon. */
  queued(): void
  /** The most chunks of kept frames. Default: a quarter of those that reception cannot hold. */
  maxKept?: number | undefined
  queue: QueueId
}

/** A frame that is kept beyond its lease. */
interface Kept {
  drop(): void
}

/** The key of the method by which a {@link ForwardTarget} takes frames. */
export const forwardTarget = Symbol('xsknet.forwardTarget')

/** A port or queue that frames can be forwarded to. */
export interface ForwardTarget {
  /** @internal */
  [forwardTarget](): DataPath
}

/**
 * The data path of a queue: the socket's hot calls, and the tables that it shares with JavaScript so that a packet
 * costs no call. They hold the address and length of each frame, and the frames to be sent in their order. The socket
 * checks whatever is written there.
 */
export class DataPath {
  /** The UMEM. */
  readonly memory: Uint8Array
  /** A number that identifies the UMEM in this process. */
  readonly umem: number
  /** The lease: two words for each place, the frame's address and its length, which may have {@link CONTINUES}. */
  readonly descriptors: Uint32Array
  /** Frames that were not kept, because `maxKept` was reached. */
  refusedKeeps = 0
  /** Packets that `frame.forward()` passed to another socket of the same UMEM. */
  forwarded = 0
  /** Packets that `frame.forward()` copied to a socket of another UMEM. */
  forwardedByCopy = 0

  readonly queueId: QueueId
  /** The most bytes that a packet may have after its Ethernet header: the MTU and a VLAN tag. */
  readonly maxPayload: number

  readonly #path: HotPath
  readonly #owner: DataPathOwner
  readonly #maxKept: number
  readonly #words: Uint32Array
  readonly #outbox: Uint32Array
  readonly #returns: Uint32Array
  readonly #chunkMask: number
  readonly #kept = new Set<Kept>()
  readonly #batches: DescriptorBatch[] = []
  /** Places in use. */
  #count = 0
  /** The place of the first fetched frame that {@link allocate} has not returned; the last is at `#count - 1`. */
  #fresh = 0
  /** The places of the packets received; `undefined` while each packet is one frame. */
  #starts: Uint32Array | undefined
  /** Backing array of `#starts`; empty without multi-buffer. */
  readonly #startsOf: Uint32Array
  /** A kick freed no slot in this lease, and is not repeated for each frame. */
  #full = false

  constructor(path: HotPath, owner: DataPathOwner) {
    const { memory, slate, places, slots, frameSize } = path
    const table = (from: number, count: number) => slate.subarray(HEAD + 2 * from, HEAD + 2 * (from + count))
    this.memory = memory
    this.umem = path.umem
    this.queueId = owner.queue
    this.maxPayload = owner.queue.info.mtu + TAG
    this.descriptors = table(0, places)
    this.#path = path
    this.#owner = owner
    this.#maxKept = owner.maxKept ?? Math.floor(path.spare / 4)
    this.#words = slate
    this.#outbox = table(places, slots)
    this.#returns = table(places + slots, places)
    this.#chunkMask = frameSize - 1
    this.#startsOf = new Uint32Array(path.multiBuffer ? places : 0)
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

  /** Ends the lease and begins the next with up to `max` received frames; returns how many packets they are. */
  receive(max: number): number {
    const words = this.#words
    words[ARGUMENT] = max
    try {
      this.#path.receive()
    } catch (error) {
      throw this.#owner.failed(error)
    }
    const received = words[RESULT] as number
    this.#count = this.#fresh = received
    this.#full = false
    return this.#startsOf.length === 0 ? received : this.#packets(received)
  }

  /** Ends the lease: queued frames are sent, the others are given back to the kernel. */
  finish(): void {
    this.#count = this.#fresh = 0
    this.#full = false
    try {
      this.#path.finish()
    } catch (error) {
      throw this.#owner.failed(error)
    }
  }

  /** Sends what is queued; the lease goes on. */
  flush(): void {
    this.#full = false
    try {
      this.#path.flush()
    } catch (error) {
      throw this.#owner.failed(error)
    }
  }

  /** Queues a copy of the bytes. `false`: no chunk or no slot is free. */
  trySend(bytes: Uint8Array): boolean {
    try {
      return this.#path.trySend(bytes)
    } catch (error) {
      throw this.#owner.failed(error)
    }
  }

  /** The place of a fresh frame; `undefined` where none is free. */
  allocate(): number | undefined {
    if (this.#fresh === this.#count) {
      try {
        this.#count += this.#path.allocate(FETCH)
      } catch (error) {
        throw this.#owner.failed(error)
      }
      if (this.#fresh === this.#count) return undefined
    }
    return this.#fresh++
  }

  /** The place at which a received packet begins. */
  placeOf(packet: number): number {
    return this.#starts === undefined ? packet : (this.#starts[packet] as number)
  }

  /** Queues the packet of these descriptors; `false` where there are not enough slots. */
  queue(table: Uint32Array, at: number, parts: number): boolean {
    const words = this.#words
    if ((words[QUEUED] as number) + parts > (words[SLOTS] as number) && !this.#makeRoom(parts)) return false
    const queued = words[QUEUED] as number
    const outbox = this.#outbox
    outbox[2 * queued] = table[at] as number
    outbox[2 * queued + 1] = table[at + 1] as number
    for (let word = 2; word < 2 * parts; word++) outbox[2 * queued + word] = table[at + word] as number
    words[QUEUED] = queued + parts
    return true
  }

  /** As {@link queue}, for a packet that is not of the current lease: the kernel is notified of it soon. */
  queueFromElsewhere(table: Uint32Array, at: number, parts: number): boolean {
    const queued = this.queue(table, at, parts)
    this.#owner.queued()
    return queued
  }

  /** Queues a copy of a packet of another UMEM. */
  queueCopy(bytes: Uint8Array): boolean {
    const queued = this.trySend(bytes)
    this.#owner.queued()
    return queued
  }

  /** Whether this many more chunks may be kept beyond their lease. Counts them, or the refusal. */
  mayKeep(parts: number): boolean {
    const kept = this.#words[KEPT] as number
    if (kept + parts > this.#maxKept) {
      this.refusedKeeps++
      return false
    }
    this.#words[KEPT] = kept + parts
    return true
  }

  kept(frame: Kept): void {
    this.#kept.add(frame)
  }

  /** Removes a frame from the kept ones. */
  noLongerKept(frame: Kept, parts: number): void {
    if (this.#kept.delete(frame)) this.#words[KEPT] = (this.#words[KEPT] as number) - parts
  }

  /** Gives the chunks of a kept frame back with the next call. */
  giveBack(table: Uint32Array, parts: number): void {
    const words = this.#words
    if (2 * ((words[RETURNED] as number) + parts) > this.#returns.length) this.flush()
    const returned = words[RETURNED] as number
    for (let word = 0; word < 2 * parts; word++) this.#returns[2 * returned + word] = table[word] as number
    words[RETURNED] = returned + parts
  }

  /** The most bytes of the frame at an offset: what is left of its chunk. */
  capacityAt(offset: number): number {
    return this.#chunkMask + 1 - (offset & this.#chunkMask)
  }

  // Descriptors. The calls repeat their first lines on purpose: with those in a method of their own, V8 needed millions
  // of frames until it stopped allocating 48 bytes per call (__test__/kernel/heap.test.ts).

  /** A batch of descriptors; it lasts as long as the socket. */
  batch(capacity: number): DescriptorBatch {
    try {
      const table = this.#path.makeTable(capacity)
      const batch = make(this.memory, this.umem, this.#words[SECOND] as number, table)
      this.#batches.push(batch)
      return batch
    } catch (error) {
      throw this.#owner.failed(error)
    }
  }

  /**
   * Appends received frames to the batch, as many as it has room for; returns how many. If there is none, the thread
   * sleeps until one arrives, for at most this many microseconds.
   */
  receiveInto(batch: DescriptorBatch, microseconds: number): number {
    const { length } = batch
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    words[END] = microseconds
    try {
      this.#path.receiveInto()
    } catch (error) {
      throw this.#owner.failed(error)
    }
    const received = words[RESULT] as number
    if (received > 0) fill(batch, length + received)
    return received
  }

  /** Gives the frames of the batch back, and receives others in their place, as {@link receiveInto}. */
  recycleAndReceiveInto(batch: DescriptorBatch, microseconds: number): number {
    const { length } = batch
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    words[END] = microseconds
    try {
      this.#path.recycleAndReceiveInto()
    } catch (error) {
      fill(batch, 0)
      throw this.#owner.failed(error)
    }
    const received = words[RESULT] as number
    fill(batch, received)
    return received
  }

  /** Appends empty frames to the batch, up to the length `end`; returns how many. */
  allocateInto(batch: DescriptorBatch, end: number): number {
    const { length } = batch
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    words[END] = end
    try {
      this.#path.allocateInto()
    } catch (error) {
      throw this.#owner.failed(error)
    }
    const allocated = words[RESULT] as number
    if (allocated > 0) fill(batch, length + allocated)
    return allocated
  }

  /** Sends the frames of the batch in order; those that found no slot remain in it. Returns how many were sent. */
  transmitFrom(batch: DescriptorBatch): number {
    const { length } = batch
    if (length === 0) return 0
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    try {
      this.#path.transmitFrom()
    } catch (error) {
      throw this.#owner.failed(error)
    }
    fill(batch, words[SECOND] as number)
    return words[RESULT] as number
  }

  /** Gives the frames of the batch back and empties it. Returns how many there were. */
  recycleFrom(batch: DescriptorBatch): number {
    const { length } = batch
    if (length === 0) return 0
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    try {
      this.#path.recycleFrom()
    } catch (error) {
      throw this.#owner.failed(error)
    }
    fill(batch, 0)
    return words[RESULT] as number
  }

  /** Called before the socket is closed or handed over: gives back kept frames and those in batches of descriptors. */
  close(): void {
    try {
      for (const frame of this.#kept) frame.drop()
      for (const batch of this.#batches) this.recycleFrom(batch)
    } catch {
      // A ring is broken, or the device gone, and all frames with it.
    }
    for (const batch of this.#batches.splice(0)) fill(batch, 0)
  }

  /** Finds the first frame of each received packet; returns how many packets there are. */
  #packets(received: number): number {
    const { descriptors } = this
    const starts = this.#startsOf
    let packets = 0
    for (let place = 0; place < received; place++) {
      starts[packets++] = place
      while ((descriptors[2 * place + 1] as number) > 0x7fff_ffff && place + 1 < received) place++
    }
    this.#starts = packets === received ? undefined : starts
    return packets
  }

  #makeRoom(parts: number): boolean {
    if (this.#full) return false
    this.flush()
    this.#full = this.slots === 0
    return this.slots >= parts
  }
}

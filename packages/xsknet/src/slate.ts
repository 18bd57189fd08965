import { type DescriptorBatch, fill, make, numberOf } from './descriptors.js'
import type { Frame } from './frame.js'
import type { HotPath } from './native.js'
import { type Member, TAG } from './refusals.js'

/** The words in front of the tables; crates/node-xsknet/src/slate.rs has the same list. */
const QUEUED = 0
const SLOTS = 1
const WAITING = 2
const STARVED = 3
const RETURNED = 4
const SECOND = 5
const KEPT = 6
const ARGUMENT = 8
const LENGTH = 9
const END = 10
const RESULT = 11
const HEAD = 16

/** Both words of a descriptor that is none: what was there has been sent or kept. As a length alone: it was dropped. */
export const NOWHERE = 0xffff_ffff

/** Frames that one call fetches for {@link Slate.allocate}. What is not used goes back with the lease. */
const FETCH = 16

/** What a slate needs of whom it belongs to. */
export interface Surroundings {
  /** Is told what the socket throws, and says what to throw instead. */
  failed(error: unknown): unknown
  /** Something was queued outside of a lease, or found no slot there: it is to be kicked for soon. */
  queued(): void
  /** The most chunks of kept frames. Default: a quarter of those that sending has. */
  maxKept?: number | undefined
  /** Whose packets these are. */
  member: Member
}

/** Names what a {@link Outlet} does for frames. */
export const outlet = Symbol('xsknet.outlet')

/** A port or queue, as something that frames can be forwarded to. */
export interface Outlet {
  /** @internal */
  [outlet](): Slate
}

/**
 * The socket's hot path, and what it shares with JavaScript about the frames of a lease so that a packet costs no call: where each frame
 * is, how long it is, and which are to be sent in which order. The socket checks whatever is written here.
 */
export class Slate {
  /** The UMEM. */
  readonly memory: Uint8Array
  /** A number that all slates of one UMEM have, and no other. */
  readonly umem: number
  /** The lease: two words for each place, where the frame is and how long. The highest bit of a length: the packet goes on. */
  readonly descriptors: Uint32Array
  /** Frames that were not kept, because as many were already as may be. */
  refusedKeeps = 0
  /** Packets that {@link Frame.forward} passed to another socket of the same UMEM, */
  forwarded = 0
  /** and that it copied to one of another UMEM. */
  forwardedByCopy = 0

  /** Whose it is, */
  readonly member: Member
  /** and the most bytes that the kernel takes of a packet behind its Ethernet header. */
  readonly behind: number

  readonly #path: HotPath
  readonly #surroundings: Surroundings
  readonly #maxKept: number
  readonly #words: Uint32Array
  readonly #outbox: Uint32Array
  readonly #returns: Uint32Array
  readonly #chunkMask: number
  readonly #kept = new Set<Frame>()
  readonly #batches: DescriptorBatch[] = []
  /** Places in use. */
  #count = 0
  /** The first fresh frame that {@link allocate} has not given out; the last is at `#count - 1`. */
  #fresh = 0
  /** The places of the packets received; `undefined` while each packet is one frame. */
  #starts: Uint32Array | undefined
  /** Their memory. */
  readonly #startsOf: Uint32Array
  /** A kick found no room in this lease, and is not tried again for each frame. */
  #full = false

  constructor(path: HotPath, surroundings: Surroundings) {
    const { memory, slate, places, slots, frameSize } = path
    const table = (from: number, count: number) => slate.subarray(HEAD + 2 * from, HEAD + 2 * (from + count))
    this.memory = memory
    this.umem = path.umem
    this.member = surroundings.member
    this.behind = surroundings.member.info.mtu + TAG
    this.descriptors = table(0, places)
    this.#path = path
    this.#surroundings = surroundings
    this.#maxKept = surroundings.maxKept ?? Math.floor(path.spare / 4)
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

  /** Ends the lease and begins the next with up to `max` received frames; says how many packets they are. */
  receive(max: number): number {
    const words = this.#words
    words[ARGUMENT] = max
    try {
      this.#path.receive()
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
    const received = words[RESULT] as number
    this.#count = this.#fresh = received
    this.#full = false
    return this.#startsOf.length === 0 ? received : this.#packets(received)
  }

  /** Ends the lease: what is queued leaves, the rest goes back to the kernel. */
  finish(): void {
    this.#count = this.#fresh = 0
    this.#full = false
    try {
      this.#path.finish()
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
  }

  /** Lets what is queued leave; the lease goes on. */
  flush(): void {
    this.#full = false
    try {
      this.#path.flush()
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
  }

  /** Queues a copy behind all that is queued. `false`: no chunk or no slot is free. */
  trySend(bytes: Uint8Array): boolean {
    try {
      return this.#path.trySend(bytes)
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
  }

  /** The place of a fresh frame; `undefined` where none is free. */
  allocate(): number | undefined {
    if (this.#fresh === this.#count) {
      try {
        this.#count += this.#path.allocate(FETCH)
      } catch (error) {
        throw this.#surroundings.failed(error)
      }
      if (this.#fresh === this.#count) return undefined
    }
    return this.#fresh++
  }

  /** The place at which a received packet begins. */
  placeOf(packet: number): number {
    return this.#starts === undefined ? packet : (this.#starts[packet] as number)
  }

  /** Takes note that the packet of these descriptors is to be sent; `false` where there are no slots. */
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

  /** As {@link queue}, for what comes from elsewhere: nobody but us will kick for it. */
  queueFromElsewhere(table: Uint32Array, at: number, parts: number): boolean {
    const queued = this.queue(table, at, parts)
    this.#surroundings.queued()
    return queued
  }

  /** Queues a copy of what another UMEM holds. */
  queueCopy(bytes: Uint8Array): boolean {
    const queued = this.trySend(bytes)
    this.#surroundings.queued()
    return queued
  }

  /** Whether so many more chunks may be kept beyond their lease; counts them, or that they may not. */
  mayKeep(parts: number): boolean {
    const kept = this.#words[KEPT] as number
    if (kept + parts > this.#maxKept) {
      this.refusedKeeps++
      return false
    }
    this.#words[KEPT] = kept + parts
    return true
  }

  kept(frame: Frame): void {
    this.#kept.add(frame)
  }

  /** The frame is kept no longer. */
  noLongerKept(frame: Frame, parts: number): void {
    if (this.#kept.delete(frame)) this.#words[KEPT] = (this.#words[KEPT] as number) - parts
  }

  /** The chunks of a kept frame go back with the next call. */
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

  // Descriptors

  /** A batch of descriptors; it lasts as long as the socket. */
  batch(capacity: number): DescriptorBatch {
    try {
      const table = this.#path.makeTable(capacity)
      const batch = make(this.memory, this.umem, this.#words[SECOND] as number, table)
      this.#batches.push(batch)
      return batch
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
  }

  /**
   * Adds received frames behind those of the batch, as many as it has room for; says how many. Where there is none, the thread sleeps until
   * one comes, for so many microseconds at most.
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
      throw this.#surroundings.failed(error)
    }
    const received = words[RESULT] as number
    if (received > 0) fill(batch, length + received)
    return received
  }

  /** Gives the frames of the batch back, and has received ones in their place, as {@link receiveInto}. */
  renewInto(batch: DescriptorBatch, microseconds: number): number {
    const { length } = batch
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    words[END] = microseconds
    try {
      this.#path.renewInto()
    } catch (error) {
      fill(batch, 0)
      throw this.#surroundings.failed(error)
    }
    const received = words[RESULT] as number
    fill(batch, received)
    return received
  }

  /** Adds empty frames behind those of the batch, up to `end`; says how many. */
  allocateInto(batch: DescriptorBatch, end: number): number {
    const { length } = batch
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    words[END] = end
    try {
      this.#path.allocateInto()
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
    const allocated = words[RESULT] as number
    if (allocated > 0) fill(batch, length + allocated)
    return allocated
  }

  /** Sends the frames of the batch, from the first on; those that found no slot are all that it has then. Says how many were sent. */
  transmitFrom(batch: DescriptorBatch): number {
    const { length } = batch
    if (length === 0) return 0
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    try {
      this.#path.transmitFrom()
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
    fill(batch, words[SECOND] as number)
    return words[RESULT] as number
  }

  /** Gives the frames of the batch back; it is empty then. Says how many they were. */
  recycleFrom(batch: DescriptorBatch): number {
    const { length } = batch
    if (length === 0) return 0
    const words = this.#words
    words[ARGUMENT] = numberOf(batch, this.umem)
    words[LENGTH] = length
    try {
      this.#path.recycleFrom()
    } catch (error) {
      throw this.#surroundings.failed(error)
    }
    fill(batch, 0)
    return words[RESULT] as number
  }

  /** The socket is about to be closed, or handed over: what is kept or in batches of descriptors is given back, and can be reached no more. */
  close(): void {
    try {
      for (const frame of this.#kept) frame.drop()
      for (const batch of this.#batches) this.recycleFrom(batch)
    } catch {
      // A ring is broken, or the device gone, and all frames with it.
    }
    for (const batch of this.#batches.splice(0)) fill(batch, 0)
  }

  /** Finds the packets among the received frames, and says how many they are. */
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

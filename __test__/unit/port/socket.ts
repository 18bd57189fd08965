import type { PortInfo } from '../../../packages/xsknet/src/connection/protocol.js'
import {
  ARGUMENT,
  END,
  HEAD,
  KEPT,
  LENGTH,
  NOWHERE,
  QUEUED,
  RESULT,
  RETURNED,
  SECOND,
  SLOTS,
  STARVED,
  WAITING,
} from '../../../packages/xsknet/src/frames/layout.js'
import type { AdoptedSocket } from '../../../packages/xsknet/src/platform/native.js'
import { Port, type PortControl } from '../../../packages/xsknet/src/port/port.js'

const FRAME_SIZE = 2048
const HEADROOM = 256

let umems = 0

/**
 * A socket in memory: the binding's side of the shared words, and a kernel that takes what is flushed unless it is
 * `stuck`. Frames are what they are for the real one: a chunk is free, held by the lease, or in TX. /
 */
export class Socket {
  readonly memory: Uint8Array<ArrayBuffer>
  readonly slate: Uint32Array<ArrayBuffer>
  readonly places: number
  readonly calls: string[] = []
  /** What the kernel has sent. */
  readonly sent: Uint8Array[] = []
  device: 'up' | 'down' | 'gone' = 'up'
  /** The kernel takes nothing out of TX. */
  stuck = false
  /** What the next call throws, as the binding does. */
  failure: { code: string; message: string } | undefined
  closed = false
  /** For how long the last call would have slept. */
  slept = 0
  /** Others have the same UMEM, so that no thread can have this one. */
  shared = false

  readonly #slots: number
  readonly #free: number[]
  readonly #rx: Uint8Array[] = []
  readonly #tx: number[] = []
  readonly #lengths: number[] = []
  readonly #tables: Uint32Array<ArrayBuffer>[] = []
  /** Chunks that JavaScript has. */
  readonly #lent = new Set<number>()
  readonly #umem = umems++
  #leased = 0
  #waits = 0
  #onReady: (events: number) => void = () => {}

  /** Whether packets that are longer than a chunk come, in several. */
  readonly multiBuffer: boolean

  constructor({ frames = 32, slots = 8, multiBuffer = false } = {}) {
    this.places = frames
    this.multiBuffer = multiBuffer
    this.memory = new Uint8Array(frames * FRAME_SIZE)
    this.slate = new Uint32Array(HEAD + 2 * (frames + slots + frames))
    this.#slots = slots
    this.#free = Array.from({ length: frames }, (_, chunk) => chunk)
    this.#publish()
  }

  /** What is posted to the other thread. */
  readonly posted: unknown[] = []
  /** Says what the thread says that has the socket. */
  letter: (letter: string | null) => void = () => {}
  /** What waits for events; 0 is nobody. */
  get waits(): number {
    return this.#waits
  }

  get held(): number {
    return this.#lent.size
  }

  get free(): number {
    return this.#free.length
  }

  /** Frames come in. */
  arrive(...frames: Uint8Array[]): void {
    this.#rx.push(...frames)
    if (this.#waits & 1) this.wake(1)
  }

  /** The event loop says that something is ready. */
  wake(events: number): void {
    this.#onReady(events)
  }

  starve(): void {
    this.slate[STARVED] = (this.slate[STARVED] as number) + 1
  }

  // What the binding has

  open(onReady: (events: number) => void): ReturnType<AdoptedSocket['open']> {
    this.#onReady = onReady
    const { memory, slate, places } = this
    const call =
      <A extends unknown[], R>(name: string, body: (...args: A) => R) =>
      (...args: A): R => {
        this.calls.push(name)
        if (this.closed) throw new Error('{"code":"ERR_XSKNET_PORT_CLOSED","message":"used after it was closed"}')
        if (this.failure) throw new Error(JSON.stringify(this.failure))
        const result = body(...args)
        this.#publish()
        return result
      }
    const word = (at: number) => slate[at] as number
    /** A call that has its arguments and its result in words. */
    const inWords = (name: string, body: (table: number, length: number, end: number) => number) =>
      call(name, () => {
        slate[RESULT] = body(word(ARGUMENT), word(LENGTH), word(END))
      })
    return {
      memory,
      slate,
      umem: this.#umem,
      places,
      frameSize: FRAME_SIZE,
      frameCapacity: FRAME_SIZE - HEADROOM,
      multiBuffer: this.multiBuffer,
      parts: this.multiBuffer ? 64 : 1,
      spare: places / 2,
      slots: this.#slots,
      receive: inWords('receive', (max) => {
        this.#finish()
        this.#leased = this.#receive(this.#lease().subarray(0, 2 * max))
        return this.#leased
      }),
      finish: call('finish', () => this.#finish()),
      flush: call('flush', () => this.#kick()),
      allocate: call('allocate', (count: number) => {
        const allocated = this.#allocate(this.#lease().subarray(2 * this.#leased, 2 * (this.#leased + count)))
        this.#leased += allocated
        return allocated
      }),
      trySend: call('trySend', (bytes: Uint8Array) => {
        this.#transmitOutbox()
        const chunk = this.#free[0]
        if (chunk === undefined || this.#tx.length >= this.#slots) return false
        this.memory.set(bytes, chunk * FRAME_SIZE + HEADROOM)
        this.#lengths[chunk] = bytes.length
        this.#tx.push(this.#free.shift() as number)
        return true
      }),
      makeTable: call('makeTable', (capacity: number) => {
        const table = new Uint32Array(2 * capacity)
        slate[SECOND] = this.#tables.push(table) - 1
        return table
      }),
      receiveInto: inWords('receiveInto', (table, length, microseconds) => {
        this.slept = microseconds
        return this.#receive(this.#table(table).subarray(2 * length))
      }),
      recycleAndReceiveInto: inWords('recycleAndReceiveInto', (table, length, microseconds) => {
        this.#recycle(this.#table(table), length)
        this.slept = microseconds
        return this.#receive(this.#table(table))
      }),
      allocateInto: inWords('allocateInto', (table, length, end) =>
        this.#allocate(this.#table(table).subarray(2 * length, 2 * end)),
      ),
      transmitFrom: inWords('transmitFrom', (table, length) => {
        const descriptors = this.#table(table).subarray(0, 2 * length)
        const sent = this.#transmit(descriptors)
        descriptors.copyWithin(0, 2 * sent)
        slate[SECOND] = length - sent
        return sent
      }),
      recycleFrom: inWords('recycleFrom', (table, length) => this.#recycle(this.#table(table), length)),
      isReadable: call('isReadable', () => this.#rx.length > 0),
      wait: call('wait', (events: number) => {
        this.#waits = events
      }),
      rest: call('rest', () => {
        this.#waits = 0
      }),
    }
  }

  check(): 'up' | 'down' | 'gone' {
    return this.device
  }

  chunks() {
    const { held, free } = this
    const kept = this.slate[KEPT] as number
    return { free, held: held - kept, kept, fill: 0, tx: this.#tx.length, elsewhere: 0, total: this.places }
  }

  counters() {
    const none = {
      completed: 0,
      refusedRx: 0,
      refusedCompletions: 0,
      refusedQueued: 0,
      refusedLengths: 0,
      fillStarved: 0,
      fillFoundEmpty: 0,
    }
    const parts = { receivedContinued: 0, sentContinued: 0, refusedRecycled: 0 }
    return { ...parts, ...none, received: 0, sent: this.sent.length, kicks: 0, kickRetries: 0, fillKicks: 0 }
  }

  statistics() {
    const none = { rxDropped: 0, rxInvalidDescs: 0, txInvalidDescs: 0 }
    return { ...none, rxRingFull: 0, rxFillRingEmptyDescs: 0, txRingEmptyDescs: 0 }
  }

  checkHandOver(): void {
    if (this.shared) throw new Error('{"code":"ERR_XSKNET_NOT_SUPPORTED","message":"its UMEM is shared"}')
  }

  handOver(onLetter: (letter: string | null) => void): [number, number, number, number] {
    this.checkHandOver()
    this.closed = true
    this.#waits = 0
    this.letter = onLetter
    return [1, 2, 3, 4]
  }

  post(letter: string): void {
    this.posted.push(JSON.parse(letter))
  }

  reclaim(): void {}

  recall(): void {
    this.posted.push('recalled')
  }

  close(onClosed: () => void): void {
    this.closed = true
    this.#waits = 0
    setImmediate(onClosed)
  }

  #lease(): Uint32Array {
    return this.slate.subarray(HEAD, HEAD + 2 * this.places)
  }

  #table(number: number): Uint32Array {
    return this.#tables[number] as Uint32Array
  }

  /** Writes received frames down; with multi-buffer, the bytes after the first chunk follow in others. */
  #receive(table: Uint32Array): number {
    let received = 0
    while (this.#rx.length > 0 && 2 * received < table.length && this.#free.length > 0) {
      const bytes = this.#rx.shift() as Uint8Array
      for (let at = 0; at < bytes.length; at += FRAME_SIZE - HEADROOM) {
        const part = bytes.subarray(at, at + FRAME_SIZE - HEADROOM)
        const more = at + part.length < bytes.length
        const chunk = this.#lend(table, received++, more ? part.length + 2 ** 31 : part.length)
        this.memory.set(part, chunk * FRAME_SIZE + HEADROOM)
      }
    }
    return received
  }

  #allocate(table: Uint32Array): number {
    let place = 0
    while (2 * place < table.length && this.#free.length > 0) this.#lend(table, place++, 0)
    return place
  }

  #lend(table: Uint32Array, place: number, length: number): number {
    const chunk = this.#free.shift() as number
    this.#lent.add(chunk)
    table[2 * place] = chunk * FRAME_SIZE + HEADROOM
    table[2 * place + 1] = length
    return chunk
  }

  /** Puts frames into TX as long as there are slots; says how many. */
  #transmit(table: Uint32Array): number {
    for (let place = 0; 2 * place < table.length; place++) {
      const [offset, length] = [table[2 * place] as number, table[2 * place + 1] as number]
      const chunk = Math.floor(offset / FRAME_SIZE)
      if (this.#tx.length >= this.#slots) return place
      if (!this.#lent.delete(chunk)) throw new Error(`${offset} is sent twice, or is no frame`)
      this.#lengths[chunk] = length
      this.#tx.push(chunk)
    }
    return table.length / 2
  }

  #transmitOutbox(): void {
    const from = HEAD + 2 * this.places
    const queued = this.slate[QUEUED] as number
    this.slate[QUEUED] = 0
    const sent = this.#transmit(this.slate.subarray(from, from + 2 * queued))
    if (sent < queued) throw new Error('more frames are queued than there are slots')
  }

  #kick(): void {
    this.#transmitOutbox()
    if (!this.stuck) {
      for (const chunk of this.#tx.splice(0)) {
        const start = chunk * FRAME_SIZE + HEADROOM
        this.sent.push(this.memory.slice(start, start + ((this.#lengths[chunk] as number) & 0x7fff_ffff)))
        this.#free.push(chunk)
      }
    }
    this.slate[WAITING] = this.#tx.length
  }

  #recycle(table: Uint32Array, count: number): number {
    let recycled = 0
    for (let place = 0; place < count; place++) {
      const offset = table[2 * place] as number
      if (offset === NOWHERE) continue
      const chunk = Math.floor(offset / FRAME_SIZE)
      if (!this.#lent.delete(chunk)) throw new Error(`${offset} is given back twice, or is no frame`)
      this.#free.push(chunk)
      recycled++
    }
    return recycled
  }

  #finish(): void {
    this.#kick()
    this.#recycle(this.#lease(), this.#leased)
    this.#leased = 0
    this.#recycle(this.slate.subarray(HEAD + 2 * (this.places + this.#slots)), this.slate[RETURNED] as number)
    this.slate[RETURNED] = 0
  }

  #publish(): void {
    this.slate[SLOTS] = this.#slots - this.#tx.length
  }
}

const info: PortInfo = {
  port: 7,
  name: 'left',
  uplink: 'card0',
  mac: '02:00:00:00:00:01',
  addresses: ['192.0.2.10/24'],
  vlan: null,
  mtu: 1500,
  outer: 'outer0',
  inner: 'inner0',
  queuePairs: [{ outer: 'outer0', inner: 'inner0' }],
  guardMode: 'native',
  portMode: 'native',
  rings: 'xsk',
  groups: [],
  bindMode: 'copy',
  attempts: [],
}

/** A port on a socket in memory, whose daemon agrees to everything unless told otherwise. */
export function port(socket = new Socket(), control: Partial<PortControl> = {}): Port {
  return portOf([socket], control)
}

/** The same on several, whose readers spin for so many microseconds. */
export function portOf(sockets: readonly Socket[], control: Partial<PortControl> = {}, spin = 0): Port {
  const agreeing: PortControl = {
    close: async () => {},
    statistics: async () => undefined,
    changeFlows: async () => {},
    joinGroups: async () => [],
    leaveGroups: async () => {},
    refusals: async () => [],
  }
  const mtu = sockets.some(({ multiBuffer }) => multiBuffer) ? 9000 : info.mtu
  return new Port(
    sockets as unknown as AdoptedSocket[],
    { ...info, mtu },
    { ...agreeing, ...control },
    { spinMicroseconds: spin },
  )
}

/** A frame of some length whose bytes are all alike. */
export function frame(value: number, length = 60): Uint8Array {
  return new Uint8Array(length).fill(value)
}

import type { AdoptedSocket } from '../../../packages/xsknet/src/native.js'
import { Port, type PortControl } from '../../../packages/xsknet/src/port.js'
import type { PortInfo } from '../../../packages/xsknet/src/protocol.js'

const FRAME_SIZE = 2048
const HEADROOM = 256
const [HEAD, QUEUED, SLOTS, WAITING, STARVED] = [8, 0, 1, 2, 3]

/**
 * A socket in memory: the binding's side of the slate, and a kernel that takes what is flushed unless it is `stuck`. Frames are what
 * they are for the real one: a chunk is free, held by the lease, or in TX.
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

  readonly #slots: number
  readonly #home: number[]
  readonly #rx: Uint8Array[] = []
  readonly #tx: number[] = []
  readonly #lengths: number[] = []
  #lease: number[] = []
  #waits = 0
  #onReady: (events: number) => void = () => {}

  constructor({ frames = 32, slots = 8 } = {}) {
    this.places = frames
    this.memory = new Uint8Array(frames * FRAME_SIZE)
    this.slate = new Uint32Array(HEAD + 3 * frames)
    this.#slots = slots
    this.#home = Array.from({ length: frames }, (_, chunk) => chunk)
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
    return this.#lease.filter((chunk) => chunk >= 0).length
  }

  get home(): number {
    return this.#home.length
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
    return {
      memory,
      slate,
      places,
      frameSize: FRAME_SIZE,
      frameCapacity: FRAME_SIZE - HEADROOM,
      slots: this.#slots,
      receive: call('receive', (max: number) => {
        this.#finish()
        return this.#receive(max)
      }),
      finish: call('finish', () => this.#finish()),
      flush: call('flush', () => this.#kick()),
      allocate: call('allocate', (count: number) => {
        const chunks = this.#home.splice(0, count)
        for (const chunk of chunks) this.#lend(chunk, 0)
        return chunks.length
      }),
      trySend: call('trySend', (bytes: Uint8Array) => {
        this.#transmit()
        const chunk = this.#home[0]
        if (chunk === undefined || this.#tx.length >= this.#slots) return false
        this.memory.set(bytes, chunk * FRAME_SIZE + HEADROOM)
        this.#lengths[chunk] = bytes.length
        this.#tx.push(this.#home.shift() as number)
        return true
      }),
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

  census() {
    const { held, home } = this
    return { home, held, fill: 0, tx: this.#tx.length, total: this.places }
  }

  counters() {
    const none = { completed: 0, refusedRx: 0, refusedCompletions: 0, refusedQueued: 0, fillStarved: 0, fillFoundEmpty: 0 }
    return { ...none, received: 0, sent: this.sent.length, kicks: 0, kickRetries: 0, fillKicks: 0 }
  }

  statistics() {
    const none = { rxDropped: 0, rxInvalidDescs: 0, txInvalidDescs: 0 }
    return { ...none, rxRingFull: 0, rxFillRingEmptyDescs: 0, txRingEmptyDescs: 0 }
  }

  handOver(onLetter: (letter: string | null) => void): [number, number, number, number] {
    this.closed = true
    this.#waits = 0
    this.letter = onLetter
    return [1, 2, 3, 4]
  }

  post(letter: string): void {
    this.posted.push(JSON.parse(letter))
  }

  recall(): void {
    this.posted.push('recalled')
  }

  close(onClosed: () => void): void {
    this.closed = true
    this.#waits = 0
    this.#lease = []
    setImmediate(onClosed)
  }

  #receive(max: number): number {
    const frames = this.#rx.splice(0, Math.min(max, this.#home.length))
    for (const bytes of frames) {
      const chunk = this.#home.shift() as number
      this.memory.set(bytes, chunk * FRAME_SIZE + HEADROOM)
      this.#lend(chunk, bytes.length)
    }
    return frames.length
  }

  #lend(chunk: number, length: number): void {
    const place = this.#lease.push(chunk) - 1
    this.slate[HEAD + place] = chunk * FRAME_SIZE + HEADROOM
    this.slate[HEAD + this.places + place] = length
  }

  #transmit(): void {
    for (let n = 0; n < (this.slate[QUEUED] as number); n++) {
      const place = this.slate[HEAD + 2 * this.places + n] as number
      const chunk = this.#lease[place] ?? -1
      if (chunk < 0) throw new Error(`place ${place} is queued twice, or is none`)
      if (this.#tx.length >= this.#slots) throw new Error('more frames are queued than there are slots')
      this.#lengths[chunk] = this.slate[HEAD + this.places + place] as number
      this.#tx.push(chunk)
      this.#lease[place] = -1
    }
    this.slate[QUEUED] = 0
  }

  #kick(): void {
    this.#transmit()
    if (!this.stuck) {
      for (const chunk of this.#tx.splice(0)) {
        const start = chunk * FRAME_SIZE + HEADROOM
        this.sent.push(this.memory.slice(start, start + (this.#lengths[chunk] as number)))
        this.#home.push(chunk)
      }
    }
    this.slate[WAITING] = this.#tx.length
  }

  #finish(): void {
    this.#kick()
    this.#home.push(...this.#lease.filter((chunk) => chunk >= 0))
    this.#lease = []
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
  members: [{ outer: 'outer0', inner: 'inner0' }],
  guardMode: 'native',
  portMode: 'native',
  bindMode: 'copy',
  tried: [],
}

/** A port on a socket in memory, whose daemon agrees to everything unless told otherwise. */
export function port(socket = new Socket(), control: Partial<PortControl> = {}): Port {
  return portOf([socket], control)
}

/** The same on several, whose readers spin for so many microseconds. */
export function portOf(sockets: readonly Socket[], control: Partial<PortControl> = {}, spin = 0): Port {
  const agreeing: PortControl = { close: async () => {}, statistics: async () => undefined }
  return new Port(sockets as unknown as AdoptedSocket[], info, { ...agreeing, ...control }, spin)
}

/** A frame of some length whose bytes are all alike. */
export function frame(value: number, length = 60): Uint8Array {
  return new Uint8Array(length).fill(value)
}

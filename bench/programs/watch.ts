import { readFileSync } from 'node:fs'
import { Seen } from './parse.js'

/** What a loop is to do: it ends at the first of the two, so many frames, or so many seconds after the first one. */
export interface Order {
  seconds?: number
  frames?: number
  /** Frames from which on instructions are counted. */
  mark?: number
  /** Bytes of the frames sent. */
  length?: number
  /** UDP, that is read or sent to. */
  port?: number
  /** Of the frames sent, in hexadecimal digits: Ethernet, IPv4, UDP. */
  header?: string
}

/** What came of it; bench/peer prints the same. */
export interface Result {
  frames: number
  datagrams: number
  payload: number
  addresses: number
  sent: number
  corrupt: number
  /** Looks at the RX ring, and those that found nothing. */
  calls: number
  empty: number
  kicks: number
  /** Frames so far when the counting of instructions began. */
  marked: number
  /** From the first frame on. */
  seconds: number
  /** Seconds of the processor in that time, of the thread that reads. */
  processor: number
}

/** The clock is looked at this often, by the loops here and in C. */
const CLOCK = 64

/** Milliseconds until the first frame must have come. */
const PATIENCE = 5000

/**
 * More frames than ever come. A small integer, as are all fields that are read for each batch: in code that V8 has not
 * compiled yet, or no longer, any other number that is read out of a field is put on the heap. /
 */
const NEVER = 0x7fff_ffff

/** Counts what a loop does, and says when it is over. */
export class Watch {
  readonly seen = new Seen()
  sent = 0
  corrupt = 0
  calls = 0
  empty = 0
  kicks = 0
  hasBegun = false
  /** Frames at which the first mark is due, then the second. */
  #mark: number
  #marked = 0
  readonly #frames: number
  /** Else the clock is left alone: each look at it puts a number on the heap. */
  readonly #isTimed: boolean
  readonly #milliseconds: number
  #began = Number.NaN
  #processor = Number.NaN
  /** Nothing comes for ever. */
  #end = performance.now() + PATIENCE

  constructor({ seconds, frames = NEVER, mark = NEVER }: Order) {
    this.#mark = mark
    this.#frames = frames
    this.#isTimed = seconds !== undefined
    this.#milliseconds = (seconds ?? 0) * 1000
  }

  /** At the first frame: looks at the ring before it count for nothing. */
  begin(): void {
    this.calls = 0
    this.#processor = processorTime()
    this.#began = performance.now()
    this.#end = this.#began + this.#milliseconds
    this.hasBegun = true
  }

  /** A look at the ring that found nothing. */
  foundNothing(): void {
    if (this.hasBegun) this.empty++
  }

  /** Once each turn of the loop. */
  isOver(frames: number): boolean {
    if (frames >= this.#mark) this.#tell(frames)
    return frames >= this.#frames || (++this.calls % CLOCK === 0 && this.#isTimed && performance.now() > this.#end)
  }

  #tell(frames: number): void {
    if (this.#marked === 0) this.#marked = frames
    this.#mark = this.#mark < this.#frames ? this.#frames : NEVER
    mark()
  }

  result(): Result {
    const seconds = (performance.now() - this.#began) / 1000
    const processor = processorTime() - this.#processor
    const { seen, sent, corrupt, calls, empty, kicks } = this
    return { ...seen, sent, corrupt, calls, empty, kicks, marked: this.#marked, seconds, processor }
  }
}

/**
 * Marks for a tracer where to count instructions: ignored unless this process is traced. bench/peer does the same.
 */
export function mark(): void {
  process.kill(process.pid, 'SIGWINCH')
}

/** Seconds that the main thread has had a processor. */
export function processorTime(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ', 1)[0]) / 1e9
}

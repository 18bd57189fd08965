import { outOfRange, signalOf, wrongType } from '../arguments.js'
import { Batch, end } from '../frames/batch.js'
import type { DataPath } from '../frames/data-path.js'
import type { DescriptorBatch } from '../frames/descriptors.js'
import type { HotPath } from '../platform/native.js'
import { Alarm } from '../platform/timers.js'
import { beingRead, nameOf, type QueueId } from '../queue-errors.js'
import type { Lifecycle } from './lifecycle.js'
import { READABLE_NOW, type ReadableOptions, ReadableWaiter } from './readable.js'
import type { QueueSource, Waiter } from './reader.js'
import type { Readiness } from './readiness.js'
import type { Sending } from './sending.js'

/** Milliseconds between two `starved` events of a queue. */
const STARVED_INTERVAL_MS = 1000
/** The most microseconds that `receive()` may sleep. */
const MAX_SLEEP_MICROSECONDS = 1_000_000

/** The parts of a queue that reception uses. */
export interface ReceptionParts {
  queue: QueueId
  path: HotPath
  dataPath: DataPath
  sending: Sending
  readiness: Readiness
  lifecycle: Lifecycle
  /** Milliseconds for which an empty ring is polled before a wait. */
  spin: number
  /** Reception found no free chunk, this many times since the last call. */
  starved(times: number): void
}

/** The reading half of a queue: by the leases of a reader's loop, or by descriptors. */
export class Reception implements QueueSource {
  readonly #parts: ReceptionParts
  readonly #dataPath: DataPath
  readonly #readiness: Readiness
  /** A loop reads. */
  #claimed = false
  #waiter: ReadableWaiter | undefined
  #batch: Batch | undefined
  /** The part of `dataPath.starved` that was reported. */
  #starvedReported = 0
  /** Set for a while after a report. */
  readonly #quiet = new Alarm()

  constructor(parts: ReceptionParts) {
    this.#parts = parts
    this.#dataPath = parts.dataPath
    this.#readiness = parts.readiness
    this.#quiet.reference(false)
  }

  get places(): number {
    return this.#parts.path.places
  }

  get here(): boolean {
    return this.#parts.lifecycle.isHere
  }

  claim(reader: Waiter): void {
    const { lifecycle, queue } = this.#parts
    lifecycle.checkOpen()
    if (this.#readiness.reader) throw beingRead(`${nameOf(queue)} is being read already`)
    this.#readiness.reader = reader
    this.#claimed = true
  }

  release(reader: Waiter): void {
    if (this.#readiness.reader !== reader) return
    this.#claimed = false
    this.#readiness.release()
  }

  receive(max: number): Batch | undefined {
    this.endLease()
    const received = this.#dataPath.receive(max)
    if (this.#dataPath.starved !== this.#starvedReported) this.#reportStarved()
    if (received === 0) return undefined
    this.#readiness.fruitless = 0
    this.#batch = new Batch(this.#dataPath, received)
    return this.#batch
  }

  finish(): void {
    this.endLease()
    if (this.#parts.lifecycle.isOver) return
    this.#dataPath.finish()
    this.#parts.sending.retrySoon()
  }

  wait(): void {
    this.#parts.sending.retrySoon()
    this.#readiness.arm()
  }

  endLease(): void {
    if (this.#batch) end(this.#batch)
    this.#batch = undefined
  }

  receiveInto(batch: DescriptorBatch, sleepMicroseconds: number): number {
    if (this.#claimed) this.#refuseReading()
    if (sleepMicroseconds !== 0) checkSleep(sleepMicroseconds)
    const received = this.#dataPath.receiveInto(batch, sleepMicroseconds)
    if (this.#dataPath.starved !== this.#starvedReported) this.#reportStarved()
    return received
  }

  recycleAndReceiveInto(batch: DescriptorBatch, sleepMicroseconds: number): number {
    if (this.#claimed) this.#refuseReading()
    if (sleepMicroseconds !== 0) checkSleep(sleepMicroseconds)
    const received = this.#dataPath.recycleAndReceiveInto(batch, sleepMicroseconds)
    if (this.#dataPath.starved !== this.#starvedReported) this.#reportStarved()
    return received
  }

  readable(options: ReadableOptions): Promise<boolean> {
    const { queue, sending, lifecycle, spin } = this.#parts
    try {
      const signal = signalOf(options)
      signal?.throwIfAborted()
      if (lifecycle.hasEnded()) return Promise.resolve(false)
      if (this.#readiness.reader) throw beingRead(`${nameOf(queue)} is being read already`)
      this.#waiter ??= new ReadableWaiter(spin, () => this.#look())
      if (this.#waiter.sees()) return READABLE_NOW
      this.#dataPath.finish()
      sending.retrySoon()
      const waiter = this.#waiter
      this.#readiness.reader = waiter
      return waiter.wait(
        signal,
        () => {
          if (this.#readiness.reader === waiter) this.#readiness.reader = undefined
        },
        () => this.#readiness.arm(),
      )
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #look(): true | undefined {
    if (!this.#parts.path.isReadable()) return undefined
    this.#readiness.fruitless = 0
    return true
  }

  #refuseReading(): never {
    const { lifecycle, queue } = this.#parts
    lifecycle.checkOpen()
    throw beingRead(`${nameOf(queue)} is being read by a loop`)
  }

  /**
   * Called for each batch while there is something to report. It uses a timer: reading the clock would allocate a
   * number.
   */
  #reportStarved(): void {
    if (this.#quiet.isSet) return
    this.#quiet.set(STARVED_INTERVAL_MS, () => {})
    const { starved } = this.#dataPath
    const times = (starved - this.#starvedReported) >>> 0
    this.#starvedReported = starved
    process.nextTick(() => this.#parts.starved(times))
  }
}

function checkSleep(microseconds: number): void {
  if (typeof microseconds !== 'number') throw wrongType('sleepMicroseconds', 'of type number', microseconds)
  if (!Number.isInteger(microseconds) || microseconds < 0 || microseconds > MAX_SLEEP_MICROSECONDS)
    throw outOfRange('sleepMicroseconds', `an integer from 0 to ${MAX_SLEEP_MICROSECONDS}`, microseconds)
}

import { signalOf, wrongType } from '../arguments.js'
import type { DataPath } from '../frames/data-path.js'
import type { AdoptedSocket, HotPath } from '../platform/native.js'
import { Alarm, pause } from '../platform/timers.js'
import { ETHERNET, frameTooLong, lengthRefused, type QueueId, TAG } from '../queue-errors.js'
import type { ChunkCounts } from './statistics.js'

/** Options of {@link Port.send} and {@link Queue.send}. */
export interface SendOptions {
  /** Stops waiting for a slot; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Whether a frame has a VLAN tag, of 802.1Q or 802.1ad. */
function hasTag(bytes: Uint8Array): boolean {
  const kind = ((bytes[12] ?? 0) << 8) | (bytes[13] ?? 0)
  return kind === 0x8100 || kind === 0x88a8
}

/** Milliseconds that `close()` waits for queued frames to be sent. */
export const DRAIN_TIMEOUT_MS = 1000
/**
 * Milliseconds until the kernel is notified again of frames that it did not take: doubled each time that none moves.
 */
const KICK_RETRY_MS = { first: 1, last: 128 }

/** What sending needs of its queue. */
export interface SendingQueue extends QueueId {
  /** Throws if nothing can be sent any more. */
  checkOpen(): void
  /** Called when a sender waits for a slot. */
  wait(): void
}

/** A `send()` that waits for a slot. */
interface Sender {
  bytes: Uint8Array
  sent(kicked: Promise<void>): void
  refused(error: Error): void
}

/**
 * The sending half of a queue: copies into TX, calls that wait for a slot, and notifications of the kernel with
 * retries.
 */
export class Sending {
  /** Frames that {@link trySend} refused. */
  refused = 0

  readonly #queue: SendingQueue
  readonly #socket: AdoptedSocket
  readonly #path: HotPath
  readonly #dataPath: DataPath
  readonly #senders: Sender[] = []
  /** The kick at the end of this turn of the microtask queue. */
  #kick: Promise<void> | undefined
  readonly #retry = new Alarm()
  #retryAfter = KICK_RETRY_MS.first
  #over = false

  constructor(queue: SendingQueue, socket: AdoptedSocket, path: HotPath, dataPath: DataPath) {
    this.#queue = queue
    this.#socket = socket
    this.#path = path
    this.#dataPath = dataPath
  }

  async send(bytes: Uint8Array, options: SendOptions): Promise<void> {
    const signal = signalOf(options)
    signal?.throwIfAborted()
    this.#check(bytes)
    if (this.#senders.length === 0 && this.#put(bytes)) return this.kickSoon()
    return new Promise((resolve, reject) => {
      const settled = () => signal?.removeEventListener('abort', abort)
      const sender: Sender = {
        bytes: Uint8Array.prototype.slice.call(bytes),
        sent: (kicked) => {
          settled()
          resolve(kicked)
        },
        refused: (error) => {
          settled()
          reject(error)
        },
      }
      const abort = () => {
        this.#senders.splice(this.#senders.indexOf(sender), 1)
        sender.refused(signal?.reason)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#senders.push(sender)
      this.#queue.wait()
      this.retrySoon()
    })
  }

  trySend(bytes: Uint8Array): boolean {
    this.#check(bytes)
    const sent = this.#senders.length === 0 && this.#put(bytes)
    if (sent) void this.kickSoon()
    else this.refused++
    return sent
  }

  /** Whether a sender waits for a slot while TX is more than half full: the kernel signals when it is not. */
  get isCongested(): boolean {
    return this.#senders.length > 0 && this.#dataPath.slots < this.#path.slots / 2
  }

  /** Called when slots may be free. */
  wake(): void {
    if (this.#senders.length > 0) this.#pump()
  }

  /** Makes one kick for all that is sent in this turn of the microtask queue. */
  kickSoon(): Promise<void> {
    if (!this.#kick) {
      this.#kick = Promise.resolve().then(() => {
        this.#kick = undefined
        if (this.#over) return // which has flushed
        this.#dataPath.flush()
        this.retrySoon()
      })
      this.#kick.catch(() => {}) // trySend() waits for nothing
    }
    return this.#kick
  }

  /** Schedules a retry, if the kernel did not take all frames or a sender waits for a slot. */
  retrySoon(): void {
    if (this.#retry.isSet || this.#over || (this.#dataPath.waiting === 0 && this.#senders.length === 0)) return
    this.#retry.set(this.#retryAfter, () => {
      this.#pump()
      this.#queue.wait()
      this.retrySoon()
    })
  }

  /** Whether a scheduled retry keeps the process alive. */
  reference(referenced: boolean): void {
    this.#retry.reference(referenced)
  }

  /** Stops sending; only {@link drain} sends from then on. */
  stop(): void {
    this.#over = true
    this.#retry.clear()
  }

  /** Rejects all calls that wait for a slot. */
  refuse(why: () => Error): void {
    for (const sender of this.#senders.splice(0)) sender.refused(why())
  }

  /** Waits until the kernel has sent everything, `hurry` aborts, or the time is over. */
  async drain(hurry: AbortSignal): Promise<void> {
    const deadline = performance.now() + DRAIN_TIMEOUT_MS
    for (
      let after = KICK_RETRY_MS.first;
      !hurry.aborted && performance.now() < deadline;
      after = Math.min(after * 2, 16)
    ) {
      this.#pump()
      let chunks: ChunkCounts
      try {
        this.#path.flush()
        chunks = this.#socket.chunks()
      } catch {
        return // the device is gone, and the frames with it
      }
      if (chunks.tx === 0 && this.#senders.length === 0) return
      await pause(after, hurry)
    }
  }

  #check(bytes: Uint8Array): void {
    if (!(bytes instanceof Uint8Array)) throw wrongType('bytes', 'an instance of Uint8Array', bytes)
    this.#queue.checkOpen()
    const { length } = bytes
    const { mtu } = this.#queue.info
    if ((length - ETHERNET) >>> 0 > mtu) {
      const tagged = hasTag(bytes)
      if (!tagged || length > mtu + ETHERNET + TAG) throw lengthRefused(this.#queue, 'bytes.length', length, tagged)
    }
    const { frameCapacity: capacity } = this.#path
    if (length > capacity) throw frameTooLong(this.#queue, length, capacity)
  }

  /** Puts a copy into TX, if there is room or a kick makes some. */
  #put(bytes: Uint8Array): boolean {
    if (this.#dataPath.trySend(bytes)) return true
    if (!this.#kick) return false
    this.#dataPath.flush() // there is something to make room with
    return this.#dataPath.trySend(bytes)
  }

  /** Notifies the kernel again of what it did not take, and serves the calls that wait for a slot. */
  #pump(): void {
    const before = this.#dataPath.waiting
    const sent: Sender[] = []
    let kicked = Promise.resolve()
    try {
      this.#dataPath.flush()
      for (let sender = this.#senders[0]; sender && this.#put(sender.bytes); sender = this.#senders[0]) {
        sent.push(sender)
        this.#senders.shift()
      }
      if (sent.length > 0) this.#dataPath.flush()
    } catch (error) {
      kicked = Promise.reject(error)
      kicked.catch(() => {})
    }
    for (const sender of sent) sender.sent(kicked)
    const moved = sent.length > 0 || this.#dataPath.waiting < before
    this.#retryAfter = moved ? KICK_RETRY_MS.first : Math.min(this.#retryAfter * 2, KICK_RETRY_MS.last)
  }
}

import { checkOptions, checkSignal, WAITING, wrongType } from '../arguments.js'
import type { AdoptedSocket, HotPath } from '../platform/native.js'
import { Alarm, pause } from '../platform/timers.js'
import { ETHERNET, frameTooLong, lengthRefused, type Member, TAG } from '../refusals.js'
import type { ChunkCounts } from './figures.js'
import type { Slate } from './slate.js'

export interface SendOptions {
  /** Gives up waiting for a slot: rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Whether a frame that is long enough for it has a VLAN tag: 802.1Q's or 802.1ad's. */
function hasTag(bytes: Uint8Array): boolean {
  const kind = ((bytes[12] ?? 0) << 8) | (bytes[13] ?? 0)
  return kind === 0x8100 || kind === 0x88a8
}

/** Milliseconds that `close()` gives queued frames to leave. */
export const DRAIN = 1000
/** Milliseconds until frames that the kernel did not take are tried again: doubled each time that none moves. */
const RETRY = { first: 1, last: 128 }

/** What sending needs of its queue. */
export interface Sends extends Member {
  /** Throws where nothing can be sent any more. */
  checkOpen(): void
  /** Somebody waits for a slot. */
  wait(): void
}

/** A `send()` that waits for a slot. */
interface Sender {
  bytes: Uint8Array
  sent(kicked: Promise<void>): void
  refused(error: Error): void
}

/** Frames that leave by copy, those who wait for a slot, and all that the kernel has not been told of, or did not take. */
export class Sending {
  /** Frames that {@link trySend} did not take. */
  refused = 0

  readonly #queue: Sends
  readonly #socket: AdoptedSocket
  readonly #path: HotPath
  readonly #slate: Slate
  readonly #senders: Sender[] = []
  /** The kick at the end of this turn of the microtask queue. */
  #kick: Promise<void> | undefined
  readonly #retry = new Alarm()
  #retryAfter = RETRY.first
  #over = false

  constructor(queue: Sends, socket: AdoptedSocket, path: HotPath, slate: Slate) {
    this.#queue = queue
    this.#socket = socket
    this.#path = path
    this.#slate = slate
  }

  async send(bytes: Uint8Array, options: SendOptions): Promise<void> {
    checkOptions(options, WAITING)
    const { signal } = options
    checkSignal(signal)
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

  /** Whether somebody waits for a slot while TX is more than half full: the kernel tells when it is not. */
  get isCongested(): boolean {
    return this.#senders.length > 0 && this.#slate.slots < this.#path.slots / 2
  }

  /** There may be slots. */
  wake(): void {
    if (this.#senders.length > 0) this.#pump()
  }

  /** One kick for all that is sent in this turn of the microtask queue. */
  kickSoon(): Promise<void> {
    if (!this.#kick) {
      this.#kick = Promise.resolve().then(() => {
        this.#kick = undefined
        if (this.#over) return // which has flushed
        this.#slate.flush()
        this.retrySoon()
      })
      this.#kick.catch(() => {}) // trySend() waits for nothing
    }
    return this.#kick
  }

  /** Sees to what the kernel did not take, and to who waits for a slot, if there is any. */
  retrySoon(): void {
    if (this.#retry.isSet || this.#over || (this.#slate.waiting === 0 && this.#senders.length === 0)) return
    this.#retry.set(this.#retryAfter, () => {
      this.#pump()
      this.#queue.wait()
      this.retrySoon()
    })
  }

  /** Whether what is tried again keeps the process alive. */
  reference(referenced: boolean): void {
    this.#retry.reference(referenced)
  }

  /** Nothing leaves any more, but by {@link drain}. */
  stop(): void {
    this.#over = true
    this.#retry.clear()
  }

  /** Nobody who waits for a slot will get one. */
  refuse(why: () => Error): void {
    for (const sender of this.#senders.splice(0)) sender.refused(why())
  }

  /** Waits until the kernel has sent everything, somebody is in a hurry, or the time is over. */
  async drain(hurry: AbortSignal): Promise<void> {
    const deadline = performance.now() + DRAIN
    for (let after = RETRY.first; !hurry.aborted && performance.now() < deadline; after = Math.min(after * 2, 16)) {
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

  /** Into TX, if there is room, or room can be made. */
  #put(bytes: Uint8Array): boolean {
    if (this.#slate.trySend(bytes)) return true
    if (!this.#kick) return false
    this.#slate.flush() // there is something to make room with
    return this.#slate.trySend(bytes)
  }

  /** Tries again what the kernel did not take, and those who wait for a slot. */
  #pump(): void {
    const before = this.#slate.waiting
    const sent: Sender[] = []
    let kicked = Promise.resolve()
    try {
      this.#slate.flush()
      for (let sender = this.#senders[0]; sender && this.#put(sender.bytes); sender = this.#senders[0]) {
        sent.push(sender)
        this.#senders.shift()
      }
      if (sent.length > 0) this.#slate.flush()
    } catch (error) {
      kicked = Promise.reject(error)
      kicked.catch(() => {})
    }
    for (const sender of sent) sender.sent(kicked)
    const moved = sent.length > 0 || this.#slate.waiting < before
    this.#retryAfter = moved ? RETRY.first : Math.min(this.#retryAfter * 2, RETRY.last)
  }
}

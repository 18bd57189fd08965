import { XsknetError } from '../errors.js'
import {
  type Answer,
  descriptorsBeside,
  type Event,
  encode,
  fromFailure,
  type Operation,
  type Parameters,
  PROTOCOL_VERSION,
  type Request,
  type Result,
  readReply,
  readResult,
} from './protocol.js'

/** File descriptors that came with a message. Whoever takes them closes them. */
export interface Descriptors {
  readonly length: number
  close(): void
}

/** What carries the messages: the binding's `Control`. */
export interface Transport {
  /** Sends copies of the descriptors along. False: there is no room now. Throws when the connection is gone. */
  send(message: Uint8Array, fds: number[]): boolean
  ref(): void
  unref(): void
  /** Idempotent; nothing is called back after it. */
  close(): void
}

/** Connects, or throws what `connect(2)` said. Calls nothing back before it has returned. */
export type Dial = (
  onMessage: (message: Uint8Array, descriptors: Descriptors | null) => void,
  onEnd: (error: Error | null) => void,
) => Transport

/** What happens with an answer, at the moment that it arrives: an event behind it may already be about what it says. */
export interface Taking<O extends Operation, T> {
  /** The descriptors that go with the request. They stay the caller's, who keeps them open until it is settled. */
  fds?: number[]
  /** What the request resolves with; the descriptors, if any are due, are now its own. */
  take: (result: Result<O>, descriptors: Descriptors) => T
  /** The answer came after the caller had turned away; its descriptors are closed already. */
  leave?: (result: Result<O>) => void
  signal?: AbortSignal | undefined
}

interface Pending {
  operation: Operation
  settle: (answer: Answer, descriptors: Descriptors) => void
  reject: (reason: unknown) => void
  /** The caller turned away: nothing is to be told, and the process may end. */
  left: boolean
}

/** Requests that were asked and not yet sent, at most. */
const OUTBOX_LIMIT = 256
/** Milliseconds between two looks whether the kernel takes messages again. */
const RETRY = 10
/** Milliseconds for the daemon's last words to arrive, once it takes no more of ours. */
const LAST_WORDS = 1000

const none: Descriptors = { length: 0, close() {} }

/** The client's half of the protocol: who asked what, and which answer is whose. It knows nothing of ports. */
export class Conversation {
  readonly #socket: string
  readonly #transport: Transport
  readonly #onEvent: (event: Event) => void
  readonly #onEnd: (error: XsknetError) => void
  readonly #pending = new Map<number, Pending>()
  #outbox: { id: number; bytes: Uint8Array; fds: number[] }[] = []
  #lastId = 0
  #timer: NodeJS.Timeout | undefined
  #held = false
  #ended: XsknetError | undefined

  /** `onEnd` is called once, and only if it was the daemon that ended it or broke the protocol. */
  constructor(socket: string, dial: Dial, onEvent: (event: Event) => void, onEnd: (error: XsknetError) => void) {
    this.#socket = socket
    this.#onEvent = onEvent
    this.#onEnd = onEnd
    this.#transport = dial(
      (message, descriptors) => this.#receive(message, descriptors ?? none),
      (error) => this.#gone(error ?? undefined),
    )
    this.#transport.unref()
  }

  /** Why nothing can be asked any more. */
  get ended(): XsknetError | undefined {
    return this.#ended
  }

  request<O extends Operation, T>(operation: O, parameters: Parameters<O>, taking: Taking<O, T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { signal, fds = [] } = taking
      if (signal?.aborted) throw signal.reason
      if (this.#ended) throw this.#ended
      if (this.#outbox.length === OUTBOX_LIMIT) throw crowded()
      this.#lastId = (this.#lastId % 0xffff_ffff) + 1
      const id = this.#lastId
      const bytes = encode({ version: PROTOCOL_VERSION, id, operation, ...parameters } as unknown as Request)

      const asker = new Error()
      const abort = () => this.#leave(id, signal?.reason)
      signal?.addEventListener('abort', abort, { once: true })
      const pending: Pending = {
        operation,
        left: false,
        settle: (answer, descriptors) => {
          signal?.removeEventListener('abort', abort)
          if ('error' in answer) {
            if (!pending.left) reject(askedBy(asker, fromFailure(answer.error)))
          } else if (pending.left) {
            descriptors.close()
            taking.leave?.(answer.result as Result<O>)
          } else {
            try {
              resolve(taking.take(answer.result as Result<O>, descriptors))
            } catch (error) {
              reject(error)
            }
          }
        },
        reject: (reason) => {
          signal?.removeEventListener('abort', abort)
          reject(reason)
        },
      }
      this.#pending.set(id, pending)
      this.#outbox.push({ id, bytes, fds })
      this.#flush()
      this.#hold()
    })
  }

  /** Every request that waits rejects with `reason`, except those of one operation; what the daemon still answers is left. */
  leaveAll(except: Operation, reason: unknown): void {
    for (const [id, { operation }] of [...this.#pending]) if (operation !== except) this.#leave(id, reason)
  }

  /** Ends it from this side: what waits, and what is asked from now on, rejects with `reason`. */
  close(reason: XsknetError): void {
    if (this.#ended) return
    this.#ended = reason
    clearTimeout(this.#timer)
    this.#outbox = []
    this.#transport.close()
    for (const { left, reject } of this.#pending.values()) if (!left) reject(reason)
    this.#pending.clear()
  }

  /** Whether the process stays for the connection's sake even while nothing is asked. */
  keepAlive(held: boolean): void {
    this.#held = held
    this.#hold()
  }

  #hold(): void {
    if (this.#ended) return
    if (this.#held || [...this.#pending.values()].some(({ left }) => !left)) this.#transport.ref()
    else this.#transport.unref()
  }

  #leave(id: number, reason: unknown): void {
    const pending = this.#pending.get(id)
    if (!pending || pending.left) return
    pending.left = true
    const unsent = this.#outbox.findIndex((message) => message.id === id)
    if (unsent >= 0) {
      this.#outbox.splice(unsent, 1)
      this.#pending.delete(id)
    }
    this.#hold()
    pending.reject(reason)
  }

  #flush(): void {
    if (this.#timer) return
    for (let first = this.#outbox[0]; first; first = this.#outbox[0]) {
      try {
        if (!this.#transport.send(first.bytes, first.fds)) {
          this.#timer = setTimeout(() => {
            this.#timer = undefined
            this.#flush()
          }, RETRY)
          return
        }
      } catch (cause) {
        // The kernel sends no descriptor to a daemon that takes none of this user: asked without it, the daemon says why.
        if (first.fds.length > 0 && (cause as NodeJS.ErrnoException).code === 'EPERM') {
          first.fds = []
          continue
        }
        // The daemon may have said why before it went, and that still waits to be read.
        this.#timer = setTimeout(() => this.#gone(cause), LAST_WORDS)
        return
      }
      this.#outbox.shift()
    }
  }

  #receive(message: Uint8Array, descriptors: Descriptors): void {
    if (this.#ended) {
      descriptors.close()
      return
    }
    let said: () => void
    try {
      said = this.#understand(message, descriptors)
    } catch (error) {
      descriptors.close()
      this.#gone(error)
      return
    }
    said()
  }

  /** Reads a message and returns what to do about it: what that throws is not the daemon's fault. */
  #understand(message: Uint8Array, descriptors: Descriptors): () => void {
    const reply = readReply(message)
    if ('event' in reply) {
      expect(0, descriptors, `the event ${reply.event}`)
      return () => this.#onEvent(reply)
    }
    if ('error' in reply && reply.id === null) throw fromFailure(reply.error)
    const id = reply.id as number
    const pending = this.#pending.get(id)
    if (!pending || this.#outbox.some((unsent) => unsent.id === id)) {
      throw new XsknetError('ERR_XSKNET_MESSAGE_MALFORMED', `the daemon answered request ${id}, which waits for no answer`, {
        details: { id },
      })
    }
    const { operation, settle } = pending
    let due = 0
    if ('result' in reply) {
      const result = readResult(operation, reply.result)
      reply.result = result
      due = descriptorsBeside(result)
    }
    expect(due, descriptors, `the answer to ${operation}`)
    return () => {
      this.#pending.delete(id)
      this.#hold()
      settle(reply, descriptors)
    }
  }

  #gone(cause: unknown): void {
    if (this.#ended) return
    const why = cause instanceof Error ? `was lost: ${cause.message}` : 'was ended by the daemon'
    const error = new XsknetError('ERR_XSKNET_DAEMON_GONE', `the connection to ${this.#socket} ${why}`, {
      hint: 'Open ports go on without it. Look at the log of xsknetd, then connect() again.',
      details: { socket: this.#socket },
      ...(cause !== undefined && { cause }),
    })
    this.close(error)
    this.#onEnd(error)
  }
}

/** The error with the stack of whoever asked: that of the answer's arrival shows nobody's code. */
function askedBy({ stack = '' }: Error, error: XsknetError): XsknetError {
  error.stack = `${error}${stack.slice(stack.indexOf('\n'))}`
  return error
}

function expect(length: number, descriptors: Descriptors, what: string): void {
  if (descriptors.length === length) return
  throw new XsknetError(
    'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    `${descriptors.length} descriptors came with ${what}, which takes ${length}`,
    { details: { came: descriptors.length, expected: length } },
  )
}

function crowded(): XsknetError {
  return new XsknetError('ERR_XSKNET_LIMIT_REACHED', `${OUTBOX_LIMIT} requests wait to be sent, and the daemon takes none`, {
    hint: 'Await each request before asking more, or look whether xsknetd hangs.',
    details: { limit: 'requests', most: OUTBOX_LIMIT },
  })
}

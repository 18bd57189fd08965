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

/** File descriptors that came with a message. Their owner closes them. */
export interface Descriptors {
  readonly length: number
  close(): void
}

/** The connection that carries the messages: the binding's `Control`. */
export interface Transport {
  /** Sends a message with copies of the descriptors. `false`: try again later. Throws when the connection is gone. */
  send(message: Uint8Array, fds: number[]): boolean
  ref(): void
  unref(): void
  /** Closes the connection. No callback follows. Idempotent. */
  close(): void
}

/** Connects, or throws the error of `connect(2)`. No callback comes before it has returned. */
export type Dial = (
  onMessage: (message: Uint8Array, descriptors: Descriptors | null) => void,
  onEnd: (error: Error | null) => void,
) => Transport

/** How an answer is handled. It is handled when it arrives, because an event behind it may refer to it. */
export interface Taking<O extends Operation, T> {
  /** The descriptors that the request carries. The caller keeps them open until it is settled, and owns them. */
  fds?: number[]
  /** Returns what the request resolves with. It owns the answer's descriptors. */
  take: (result: Result<O>, descriptors: Descriptors) => T
  /** Called if the answer comes after the request was aborted. Its descriptors are closed already. */
  leave?: (result: Result<O>) => void
  signal?: AbortSignal | undefined
}

interface Pending {
  operation: Operation
  settle: (answer: Answer, descriptors: Descriptors) => void
  reject: (reason: unknown) => void
  /** The request was aborted: it is settled, and does not keep the process alive. */
  left: boolean
}

/** The most requests that wait to be sent. */
const OUTBOX_LIMIT = 256
/** Milliseconds between two attempts to send. */
const SEND_RETRY_MS = 10
/** Milliseconds for the daemon's last message to arrive, once it accepts none. */
const LAST_WORDS = 1000

const none: Descriptors = { length: 0, close() {} }

/** The client's side of the protocol: sends requests and matches answers to them. It knows nothing of ports. */
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

  /** `onEnd` is called once, if the daemon ended the connection or violated the protocol. */
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

  /** Why no request can be made any more. */
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

  /** Aborts every pending request with `reason`, except those of one operation. */
  leaveAll(except: Operation, reason: unknown): void {
    for (const [id, { operation }] of [...this.#pending]) if (operation !== except) this.#leave(id, reason)
  }

  /** Closes the connection: pending and later requests reject with `reason`. */
  close(reason: XsknetError): void {
    if (this.#ended) return
    this.#ended = reason
    clearTimeout(this.#timer)
    this.#outbox = []
    this.#transport.close()
    for (const { left, reject } of this.#pending.values()) if (!left) reject(reason)
    this.#pending.clear()
  }

  /** Whether the connection keeps the process alive while no request is pending. */
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
          }, SEND_RETRY_MS)
          return
        }
      } catch (cause) {
        // The kernel sends no descriptor to a daemon that accepts none of this user. Without it, the daemon answers
        // why.
        if (first.fds.length > 0 && (cause as NodeJS.ErrnoException).code === 'EPERM') {
          first.fds = []
          continue
        }
        // The daemon may have sent the reason before it closed the connection; that message is still to be read.
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

  /** Checks a message and returns how to handle it: an error of the latter is not the daemon's. */
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
      throw new XsknetError('ERR_XSKNET_MESSAGE_MALFORMED', `the daemon answered request ${id}, which is not pending`, {
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
      hint: 'Open ports go on without it. See the log of xsknetd, then connect() again.',
      details: { socket: this.#socket },
      ...(cause !== undefined && { cause }),
    })
    this.close(error)
    this.#onEnd(error)
  }
}

/** The error with the stack of the request: that of the answer's arrival has no frame of the caller. */
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
  return new XsknetError(
    'ERR_XSKNET_LIMIT_REACHED',
    `${OUTBOX_LIMIT} requests wait to be sent, and the daemon reads none`,
    {
      hint: 'Await requests before you send more, or check whether xsknetd hangs.',
      details: { limit: 'requests', most: OUTBOX_LIMIT },
    },
  )
}

import { XsknetError } from 'xsknet'
import {
  type Answer,
  descriptorsOf,
  type Event,
  encode,
  MESSAGE_LIMIT,
  type Operation,
  type Parameters,
  type PortEntry,
  PROTOCOL_VERSION,
  type Request,
  type Result,
  readRequest,
  requestId,
  toFailure,
  type UplinkInfo,
} from 'xsknet/protocol'
import { errorFields, type Log } from '../log/log.js'
import type { Connection, Descriptors } from '../platform/transport.js'
import type { Credentials } from '../policy/credentials.js'
import type { Client } from '../ports/client.js'
import type { PortManager } from '../ports/port-manager.js'

/** What a session reports about its daemon. */
export interface DaemonIdentity {
  /** Its name and version. */
  readonly daemon: string
  readonly instance: string
  /** Seconds since it was ready. */
  readonly uptimeSeconds: () => number
  /** Open connections that a user may know of. */
  readonly clients: (who: Credentials) => number
}

/** Operations that change nothing. Clients that use no others, such as `xsknetd status`, are not logged. */
const READ_ONLY: readonly Operation[] = [
  'hello',
  'status',
  'uplinks',
  'ports',
  'portStatistics',
  'uplinkStatistics',
  'explainArrival',
  'explainSending',
  'refusals',
]

/** Bytes that are reserved for everything in an answer except its list. */
const ENVELOPE = 1024

/** A client's connection: reads its requests and answers them, one after the other. */
export class Session implements Client {
  readonly #connection: Connection
  readonly #portManager: PortManager
  readonly #identity: DaemonIdentity
  readonly #log: Log
  readonly #onEnd: () => void
  /** The name that the client gave in `hello`. */
  #clientName: string | undefined
  /** Whether `client-connected` has been logged. */
  #logged = false
  #ended = false
  /** Settles once the last request that was received has been handled. */
  #last: Promise<void> = Promise.resolve()

  /** @param log The log for what this client causes; it may suppress lines. */
  constructor(connection: Connection, portManager: PortManager, identity: DaemonIdentity, log: Log, onEnd: () => void) {
    this.#connection = connection
    this.#portManager = portManager
    this.#identity = identity
    this.#log = log
    this.#onEnd = onEnd
    connection.start(
      (message, length, descriptors) => {
        const received = descriptors.length
        // No request takes more than one, so those of a hostile client are closed at once.
        if (received > 1) descriptors.close()
        this.#last = this.#last
          .then(() => this.#serve(message, length, received, descriptors))
          .catch((error) => this.#refuse(null, internal(error), true))
          .finally(() => {
            descriptors.close()
            connection.done()
          })
      },
      ({ kind, reason }) => {
        if (!this.#ended && (this.#logged || kind !== 'gone')) this.#log('client-ended', { ...this.#who(), reason })
        this.#end()
      },
    )
  }

  get credentials(): Credentials {
    return this.#connection.credentials
  }

  namespace(): Descriptors {
    return this.#connection.namespace()
  }

  portLost(port: number, error: XsknetError): void {
    this.#send({ version: PROTOCOL_VERSION, event: 'portLost', port, error: toFailure(error) })
  }

  uplinkChanged(uplink: UplinkInfo): void {
    this.#send({ version: PROTOCOL_VERSION, event: 'uplinkChanged', uplink })
  }

  addressConflict(port: number, address: string): void {
    this.#send({ version: PROTOCOL_VERSION, event: 'addressConflict', port, address })
  }

  uplinkGone(uplink: string, error: XsknetError): void {
    this.#send({ version: PROTOCOL_VERSION, event: 'uplinkGone', uplink, error: toFailure(error) })
  }

  /** Closes the connection. Queued messages are still sent; nothing more is read. */
  close(): void {
    this.#connection.close()
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    void this.#portManager.leave(this)
    this.#onEnd()
  }

  async #serve(message: Uint8Array | null, length: number, received: number, descriptors: Descriptors): Promise<void> {
    if (this.#ended) return
    let request: Request
    try {
      request = this.#read(message, length, received)
    } catch (error) {
      const id = message && requestId(message)
      const { code } = error as XsknetError
      // A newer client may use operations that this daemon lacks; anything else violates the protocol.
      this.#refuse(id, error, code !== 'ERR_XSKNET_OPERATION_UNKNOWN' || id === null || this.#clientName === undefined)
      return
    }
    const { id, operation } = request
    if (!READ_ONLY.includes(operation)) this.#logOnce()
    try {
      if (request.operation === 'openPort') {
        const { descriptors, ...result } = await this.#portManager.openPort(this, request.port)
        this.#answer(id, result, descriptors)
      } else {
        this.#answer(id, await this.#perform(request, descriptors))
      }
    } catch (error) {
      this.#refuse(id, error, false, operation)
    }
  }

  /** Decodes a request and checks that it is allowed at this point. */
  #read(message: Uint8Array | null, length: number, received: number): Request {
    if (message === null) {
      const { longest } = this.#connection
      const granted = longest < MESSAGE_LIMIT && { hint: `Users with a grant may send ${MESSAGE_LIMIT} bytes.` }
      throw new XsknetError(
        'ERR_XSKNET_MESSAGE_TOO_LONG',
        `the message has ${length} bytes; the maximum is ${longest}`,
        {
          ...granted,
          details: { length, most: longest },
        },
      )
    }
    const request = readRequest(message)
    const { operation } = request
    const takes = descriptorsOf(operation)
    // If the kernel rejects a client's descriptors, the request arrives without them: the policy then says what is
    // missing.
    const rejected = received === 0 && !this.#connection.sendsDescriptors
    if (received !== takes && !rejected) {
      throw new XsknetError(
        'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
        `\`${operation}\` came with ${received} file descriptors instead of ${takes}`,
        {
          hint: 'docs/protocol.md of the package xsknet lists the requests that take descriptors.',
          details: { came: received, expected: takes, operation },
        },
      )
    }
    const isHello = operation === 'hello'
    if (isHello === (this.#clientName !== undefined))
      throw helloMissing(isHello ? 'it came a second time' : `\`${operation}\` came first`)
    return request
  }

  async #perform(
    request: Exclude<Request, { operation: 'openPort' }>,
    descriptors: Descriptors,
  ): Promise<Result<Operation>> {
    const who = this.credentials
    switch (request.operation) {
      case 'hello':
        return this.#welcome(request)
      case 'status': {
        const { daemon, instance, uptimeSeconds, clients } = this.#identity
        const [uplinks, gone, ports] = [
          this.#portManager.uplinksFor(who),
          this.#portManager.goneFor(who),
          this.#portManager.portCountFor(who),
        ]
        return {
          daemon,
          instance,
          pid: process.pid,
          uptimeSeconds: uptimeSeconds(),
          uplinks,
          gone,
          clients: clients(who),
          ports,
        }
      }
      case 'uplinks':
        return { uplinks: this.#portManager.uplinksFor(who) }
      case 'openPinnedPort':
        return this.#portManager.openPinnedPort(this, request.port, descriptors)
      case 'shareSocket':
        await this.#portManager.shareSocket(this, request.port, descriptors)
        return {}
      case 'claimFlows':
      case 'releaseFlows':
      case 'replaceFlows':
        await this.#portManager.changeFlows(this, request)
        return {}
      case 'joinGroups':
        return { attempts: await this.#portManager.changeGroups(this, 'join', request) }
      case 'leaveGroups':
        await this.#portManager.changeGroups(this, 'leave', request)
        return {}
      case 'closePort':
        await this.#portManager.closePort(this, request.port)
        return {}
      case 'ports':
        return page(this.#portManager.portsFor(who), request.after ?? -1)
      case 'portStatistics':
        return { statistics: await this.#portManager.portStatistics(who, request.port) }
      case 'uplinkStatistics':
        return { statistics: await this.#portManager.uplinkStatistics(who, request.uplink) }
      case 'explainArrival':
        return { explanation: await this.#portManager.explainArrival(who, request.uplink, bytesOf(request.packet)) }
      case 'explainSending':
        return { explanation: await this.#portManager.explainSending(who, request.port, bytesOf(request.packet)) }
      case 'refusals':
        return { refusals: await this.#portManager.refusals(who, request.port) }
    }
  }

  #welcome({ client }: Parameters<'hello'>): Result<'hello'> {
    this.#clientName = client
    this.#portManager.join(this)
    const { uid, gid } = this.credentials
    const { daemon, instance } = this.#identity
    return { daemon, instance, uid, gid }
  }

  #answer(id: number, result: Result<Operation>, descriptors?: Descriptors): void {
    this.#send({ version: PROTOCOL_VERSION, id, result }, descriptors)
  }

  #refuse(id: number | null, thrown: unknown, ends: boolean, operation?: Operation): void {
    if (this.#ended) return
    const error = thrown instanceof XsknetError ? thrown : internal(thrown)
    this.#logOnce()
    this.#log('client-refused', { ...this.#who(), operation, ...errorFields(error) })
    this.#send({ version: PROTOCOL_VERSION, id, error: toFailure(error) })
    if (ends) this.close()
  }

  #send(message: Answer | Event, descriptors?: Descriptors): void {
    let sent = false
    try {
      // A client that does not read is disconnected by the transport, which then reports the end.
      sent = !this.#ended && this.#connection.send(encode(message), descriptors)
    } finally {
      if (!sent) descriptors?.close()
    }
  }

  /** Logs the client before the first line about what it does. */
  #logOnce(): void {
    if (this.#logged || this.#clientName === undefined) return
    this.#logged = true
    this.#log('client-connected', { ...this.#who(), client: this.#clientName })
  }

  #who(): { uid: number; pid: number } {
    const { uid, pid } = this.credentials
    return { uid, pid }
  }
}

const bytesOf = (digits: string): Uint8Array => Buffer.from(digits, 'hex')

/** The ports after number `after`, as many as fit into one message. */
function page(ports: PortEntry[], after: number): Result<'ports'> {
  const rest = ports.filter(({ port }) => port > after)
  let room = MESSAGE_LIMIT - ENVELOPE
  const fitting = rest.findIndex((entry) => {
    room -= Buffer.byteLength(JSON.stringify(entry)) + 1
    return room < 0
  })
  return fitting === -1 ? { ports: rest, more: false } : { ports: rest.slice(0, fitting), more: true }
}

/** The error for a client that does not start with `hello`. */
export function helloMissing(what: string): XsknetError {
  return new XsknetError('ERR_XSKNET_HELLO_MISSING', `\`hello\` must be the first message and be sent once: ${what}`, {
    hint: 'docs/protocol.md of the package xsknet describes how a connection starts.',
  })
}

function internal(cause: unknown): XsknetError {
  return new XsknetError('ERR_XSKNET_INTERNAL', 'internal error of the daemon', {
    hint: "This is a bug: please report it with the daemon's log.",
    cause,
  })
}

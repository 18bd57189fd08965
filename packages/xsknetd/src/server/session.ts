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
import type { Log } from '../log/log.js'
import type { Credentials, Descriptors, Wire } from '../platform/transport.js'
import { type Estate, type Owner, reasonOf } from '../ports/port-manager.js'

/** What a session tells of the daemon that it belongs to. */
export interface Identity {
  /** Its name and version. */
  readonly daemon: string
  readonly instance: string
  /** Seconds since it was ready. */
  readonly uptime: () => number
  /** Open connections that a user may know of. */
  readonly clients: (who: Credentials) => number
}

/** What changes nothing: those who do no more than ask, as `xsknetd status` does, are not in the log. */
const ASKING: readonly Operation[] = ['hello', 'status', 'uplinks', 'ports', 'portStatistics', 'uplinkStatistics']
/** How the wire calls the end of a client that left by itself. */
const LEFT = 'the client has gone'

/** Room for everything of an answer that is not a list. */
const ENVELOPE = 1024

/** One client's connection: reads its requests, one after the other, and answers them. */
export class Session implements Owner {
  readonly #wire: Wire
  readonly #estate: Estate
  readonly #identity: Identity
  readonly #log: Log
  readonly #onEnd: () => void
  /** Its own name, once it said hello. */
  #client: string | undefined
  /** The log has it. */
  #logged = false
  #ended = false
  #turn: Promise<void> = Promise.resolve()

  /** @param log What this client causes is written there; it may hold lines back. */
  constructor(wire: Wire, estate: Estate, identity: Identity, log: Log, onEnd: () => void) {
    this.#wire = wire
    this.#estate = estate
    this.#identity = identity
    this.#log = log
    this.#onEnd = onEnd
    wire.start(
      (message, length, descriptors) => {
        const came = descriptors.length
        // No request takes more than one: those of a hostile client do not wait for their turn.
        if (came > 1) descriptors.close()
        this.#turn = this.#turn
          .then(() => this.#serve(message, length, came, descriptors))
          .catch((error) => this.#refuse(null, internal(error), true))
          .finally(() => {
            descriptors.close()
            wire.done()
          })
      },
      (reason) => {
        if (!this.#ended && (this.#logged || reason !== LEFT)) this.#log('client-ended', { ...this.#who(), reason })
        this.#end()
      },
    )
  }

  get credentials(): Credentials {
    return this.#wire.credentials
  }

  namespace(): Descriptors {
    return this.#wire.namespace()
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

  /** What was sent still leaves; nothing more is read. */
  close(): void {
    this.#wire.close()
    this.#end()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    void this.#estate.leave(this)
    this.#onEnd()
  }

  async #serve(message: Uint8Array | null, length: number, came: number, descriptors: Descriptors): Promise<void> {
    if (this.#ended) return
    let request: Request
    try {
      request = this.#read(message, length, came)
    } catch (error) {
      const id = message && requestId(message)
      const { code } = error as XsknetError
      // A newer client may ask for what this daemon does not have; all else is no client of this protocol.
      this.#refuse(id, error, code !== 'ERR_XSKNET_OPERATION_UNKNOWN' || id === null || this.#client === undefined)
      return
    }
    const { id, operation } = request
    if (!ASKING.includes(operation)) this.#logOnce()
    try {
      if (request.operation === 'openPort') {
        const { descriptors, ...result } = await this.#estate.openPort(this, request.port)
        this.#answer(id, result, descriptors)
      } else {
        this.#answer(id, await this.#perform(request, descriptors))
      }
    } catch (error) {
      this.#refuse(id, error, false, operation)
    }
  }

  /** A request in its place. */
  #read(message: Uint8Array | null, length: number, came: number): Request {
    if (message === null) {
      const { longest } = this.#wire
      const granted = longest < MESSAGE_LIMIT && { hint: `Users with a grant may send ${MESSAGE_LIMIT}.` }
      throw new XsknetError('ERR_XSKNET_MESSAGE_TOO_LONG', `the message has ${length} bytes, the most are ${longest}`, {
        ...granted,
        details: { length, most: longest },
      })
    }
    const request = readRequest(message)
    const { operation } = request
    const takes = descriptorsOf(operation)
    // Whose descriptors the kernel keeps away may ask without them: the policy then says what is missing.
    const keptAway = came === 0 && !this.#wire.sendsDescriptors
    if (came !== takes && !keptAway) {
      throw new XsknetError(
        'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
        `${came} file descriptors came with \`${operation}\`, which takes ${takes}`,
        {
          hint: 'See docs/protocol.md of the package xsknet: it says which requests take descriptors.',
          details: { came, expected: takes, operation },
        },
      )
    }
    const isHello = operation === 'hello'
    if (isHello === (this.#client !== undefined))
      throw helloMissing(isHello ? 'came a second time' : `came before \`${operation}\``)
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
        const { daemon, instance, uptime, clients } = this.#identity
        const [uplinks, gone, ports] = [
          this.#estate.uplinksFor(who),
          this.#estate.goneFor(who),
          this.#estate.portCountFor(who),
        ]
        return { daemon, instance, pid: process.pid, uptime: uptime(), uplinks, gone, clients: clients(who), ports }
      }
      case 'uplinks':
        return { uplinks: this.#estate.uplinksFor(who) }
      case 'openPinnedPort':
        return this.#estate.openPinnedPort(this, request.port, descriptors)
      case 'shareSocket':
        await this.#estate.shareSocket(this, request.port, descriptors)
        return {}
      case 'closePort':
        await this.#estate.closePort(this, request.port)
        return {}
      case 'ports':
        return page(this.#estate.portsFor(who), request.after ?? -1)
      case 'portStatistics':
        return { statistics: await this.#estate.portStatistics(who, request.port) }
      case 'uplinkStatistics':
        return { statistics: await this.#estate.uplinkStatistics(who, request.uplink) }
    }
  }

  #welcome({ client }: Parameters<'hello'>): Result<'hello'> {
    this.#client = client
    this.#estate.join(this)
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
    this.#log('client-refused', { ...this.#who(), operation, ...reasonOf(error) })
    this.#send({ version: PROTOCOL_VERSION, id, error: toFailure(error) })
    if (ends) this.close()
  }

  #send(message: Answer | Event, descriptors?: Descriptors): void {
    let sent = false
    try {
      // Who does not read is cut off by the wire, which then tells the end.
      sent = !this.#ended && this.#wire.send(encode(message), descriptors)
    } finally {
      if (!sent) descriptors?.close()
    }
  }

  /** Who it is, before the first line about what it does. */
  #logOnce(): void {
    if (this.#logged || this.#client === undefined) return
    this.#logged = true
    this.#log('client-connected', { ...this.#who(), client: this.#client })
  }

  #who(): { uid: number; pid: number } {
    const { uid, pid } = this.credentials
    return { uid, pid }
  }
}

/** As many ports behind `after` as fit one message. */
function page(ports: PortEntry[], after: number): Result<'ports'> {
  const rest = ports.filter(({ port }) => port > after)
  let room = MESSAGE_LIMIT - ENVELOPE
  const fitting = rest.findIndex((entry) => {
    room -= Buffer.byteLength(JSON.stringify(entry)) + 1
    return room < 0
  })
  return fitting === -1 ? { ports: rest, more: false } : { ports: rest.slice(0, fitting), more: true }
}

/** A client that does not begin as it has to. */
export function helloMissing(what: string): XsknetError {
  return new XsknetError(
    'ERR_XSKNET_HELLO_MISSING',
    `\`hello\` has to be the first message, and the only one of its kind: ${what}`,
    {
      hint: 'See docs/protocol.md of the package xsknet: it shows how a connection begins.',
    },
  )
}

function internal(cause: unknown): XsknetError {
  return new XsknetError('ERR_XSKNET_INTERNAL', 'the daemon failed at this in a way that it does not know', {
    hint: 'Please report it, with the daemon’s log.',
    cause,
  })
}

import { XsknetError } from 'xsknet'
import { encode, MESSAGE_LIMIT, PROTOCOL_VERSION, toFailure } from 'xsknet/protocol'
import { Damper, type Log } from '../log/log.js'
import type { Bounds, Wire, WireLimits } from '../platform/transport.js'
import { speakerOf, type Trust, trustOf } from '../policy/trust.js'
import type { Estate } from '../ports/port-manager.js'
import { helloMissing, type Identity, Session } from './session.js'

const KiB = 1024
const CONNECTIONS = { root: 64, granted: 16, members: 128, stranger: 4, strangers: 64 }
const HELLO_WITHIN_MS = 2000

/**
 * What costs is the work in JavaScript: a small request takes up to 0.2 ms, and a long one up to 55 us a KiB. So a user with a
 * grant takes 4 % of the event loop for small requests and 3 % for long ones, whatever it sends over however many connections.
 */
const granted: Bounds = {
  connections: CONNECTIONS.granted,
  longest: MESSAGE_LIMIT,
  rates: { messages: 200, messagesAtOnce: 200, bytes: 512 * KiB, bytesAtOnce: 256 * KiB },
}

/** What every client is held to. Who is what comes from the grants. */
export const wireLimits: WireLimits = {
  ...trustOf([]),
  // Nobody shares with root, who is held to what keeps a slip from stopping the daemon.
  root: {
    connections: CONNECTIONS.root,
    longest: MESSAGE_LIMIT,
    rates: { messages: 2000, messagesAtOnce: 2000, bytes: 16 * KiB * KiB, bytesAtOnce: 4 * KiB * KiB },
  },
  holders: granted,
  members: granted,
  allMembers: {
    connections: CONNECTIONS.members,
    rates: { messages: 500, messagesAtOnce: 500, bytes: 1024 * KiB, bytesAtOnce: 512 * KiB },
  },
  // For `status`, and for the refusal that says which grant is missing. A stranger has a tenth of what all have, so that one of them,
  // or a few, leave room for others.
  strangers: {
    connections: CONNECTIONS.stranger,
    longest: 4 * KiB,
    rates: { messages: 10, messagesAtOnce: 20, bytes: 8 * KiB, bytesAtOnce: 16 * KiB },
  },
  allStrangers: {
    connections: CONNECTIONS.strangers,
    rates: { messages: 100, messagesAtOnce: 200, bytes: 80 * KiB, bytesAtOnce: 160 * KiB },
  },
  inFlight: 8,
  queuedMessages: 64,
  silence: HELLO_WITHIN_MS,
  refusal: refusal(
    new XsknetError('ERR_XSKNET_LIMIT_REACHED', 'there are too many connections to the daemon', {
      hint:
        `It takes ${CONNECTIONS.granted} of a user with a grant; ${CONNECTIONS.stranger} of any other, and ` +
        `${CONNECTIONS.strangers} of all these together: close some, share one, or connect less often.`,
      details: {
        limit: 'connections',
        mostOfUser: CONNECTIONS.granted,
        mostOfStranger: CONNECTIONS.stranger,
        mostOfStrangers: CONNECTIONS.strangers,
      },
    }),
  ),
  silenceRefusal: refusal(helloMissing(`nothing came within ${HELLO_WITHIN_MS / 1000} s`)),
}

function refusal(error: XsknetError): Uint8Array {
  return encode({ version: PROTOCOL_VERSION, id: null, error: toFailure(error) })
}

/** All connections of a daemon. */
export class Server {
  readonly #estate: Estate
  readonly #identity: Identity
  readonly #log: Log
  #trust: Trust
  readonly #damper = new Damper()
  readonly #sessions = new Set<Session>()

  constructor(
    estate: Estate,
    { daemon, instance }: Pick<Identity, 'daemon' | 'instance'>,
    log: Log,
    trust: Trust = trustOf([]),
  ) {
    const ready = performance.now()
    this.#estate = estate
    this.#log = log
    this.#trust = trust
    this.#identity = {
      daemon,
      instance,
      uptime: () => Math.floor((performance.now() - ready) / 1000),
      clients: ({ uid }) =>
        [...this.#sessions].filter(({ credentials }) => uid === 0 || credentials.uid === uid).length,
    }
  }

  /** Of those who connect from now on. */
  retrust(trust: Trust): void {
    this.#trust = trust
  }

  accept(wire: Wire): void {
    const speaker = speakerOf(this.#trust, wire.credentials)
    const log: Log = (event, fields) => {
      const heldBack = this.#damper.pass(speaker)
      if (heldBack !== undefined) this.#log(event, { ...fields, ...(heldBack > 0 && { heldBack }) })
    }
    const session: Session = new Session(wire, this.#estate, this.#identity, log, () => this.#sessions.delete(session))
    this.#sessions.add(session)
  }

  /** Ends all connections. Events that were sent before still leave. */
  close(): void {
    for (const session of this.#sessions) session.close()
  }
}

import { XsknetError } from 'xsknet'
import { encode, MESSAGE_LIMIT, PROTOCOL_VERSION, toFailure } from 'xsknet/protocol'
import type { Log } from '../log/log.js'
import { LogLimiter } from '../log/log-limiter.js'
import type { Connection, ConnectionLimits, UserLimits } from '../platform/transport.js'
import { logSourceOf, type TrustedUsers, trustedUsers } from '../policy/trusted-users.js'
import type { PortManager } from '../ports/port-manager.js'
import { type DaemonIdentity, helloMissing, Session } from './session.js'

const KiB = 1024
const CONNECTIONS = { root: 64, granted: 16, members: 128, stranger: 4, strangers: 64 }
const HELLO_TIMEOUT_MS = 2000

/**
 * The cost is the work in JavaScript: a small request takes up to 0.2 ms, a long one up to 55 us per KiB. So a user
 * with a grant can use 4 % of the event loop for small requests and 3 % for long ones, over any number of connections.
 */
const granted: UserLimits = {
  connections: CONNECTIONS.granted,
  longest: MESSAGE_LIMIT,
  rates: { messages: 200, messagesAtOnce: 200, bytes: 512 * KiB, bytesAtOnce: 256 * KiB },
}

/** The limits of all clients. The daemon adds the users that its grants name. */
export const connectionLimits: ConnectionLimits = {
  ...trustedUsers([]),
  // Root shares with no one; its limits only keep a mistake from stopping the daemon.
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
  // Enough for `status`, and for the refusal that says which grant is missing. Each user has a tenth of what all have
  // together, so that a few of them leave room for others.
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
  silence: HELLO_TIMEOUT_MS,
  refusal: refusal(
    new XsknetError('ERR_XSKNET_LIMIT_REACHED', 'too many connections to the daemon', {
      hint:
        `The limit is ${CONNECTIONS.granted} for a user with a grant, ${CONNECTIONS.stranger} for any other user, ` +
        `and ${CONNECTIONS.strangers} for all of these together: close or share connections, or connect less often.`,
      details: {
        limit: 'connections',
        mostOfUser: CONNECTIONS.granted,
        mostOfStranger: CONNECTIONS.stranger,
        mostOfStrangers: CONNECTIONS.strangers,
      },
    }),
  ),
  silenceRefusal: refusal(helloMissing(`nothing was received within ${HELLO_TIMEOUT_MS / 1000} s`)),
}

function refusal(error: XsknetError): Uint8Array {
  return encode({ version: PROTOCOL_VERSION, id: null, error: toFailure(error) })
}

/** Serves all connections of a daemon. */
export class Server {
  readonly #portManager: PortManager
  readonly #identity: DaemonIdentity
  readonly #log: Log
  #trustedUsers: TrustedUsers
  readonly #limiter = new LogLimiter()
  readonly #sessions = new Set<Session>()

  constructor(
    portManager: PortManager,
    { daemon, instance }: Pick<DaemonIdentity, 'daemon' | 'instance'>,
    log: Log,
    users: TrustedUsers = trustedUsers([]),
  ) {
    const ready = performance.now()
    this.#portManager = portManager
    this.#log = log
    this.#trustedUsers = users
    this.#identity = {
      daemon,
      instance,
      uptimeSeconds: () => Math.floor((performance.now() - ready) / 1000),
      clients: ({ uid }) =>
        [...this.#sessions].filter(({ credentials }) => uid === 0 || credentials.uid === uid).length,
    }
  }

  /** Applies to connections that are accepted from now on. */
  setTrustedUsers(users: TrustedUsers): void {
    this.#trustedUsers = users
  }

  accept(connection: Connection): void {
    const source = logSourceOf(this.#trustedUsers, connection.credentials)
    const log: Log = (event, fields) => {
      const suppressed = this.#limiter.pass(source)
      if (suppressed !== undefined) this.#log(event, { ...fields, ...(suppressed > 0 && { suppressed }) })
    }
    const session: Session = new Session(connection, this.#portManager, this.#identity, log, () =>
      this.#sessions.delete(session),
    )
    this.#sessions.add(session)
  }

  /** Closes all connections. Events that were sent before are still delivered. */
  close(): void {
    for (const session of this.#sessions) session.close()
  }
}

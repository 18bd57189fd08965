import { XsknetError } from 'xsknet'
import { encode, PROTOCOL_VERSION, toFailure } from 'xsknet/protocol'
import type { Estate } from './estate.js'
import { Damper, type Log } from './log.js'
import { type Identity, Session } from './session.js'
import type { Wire, WireLimits } from './wire.js'

const CONNECTIONS = 256
const CONNECTIONS_PER_USER = 16

/** What every client is held to, root included. */
export const wireLimits: WireLimits = {
  connections: CONNECTIONS,
  connectionsPerUser: CONNECTIONS_PER_USER,
  messagesPerSecond: 200,
  burst: 100,
  inFlight: 8,
  queuedMessages: 64,
  refusal: encode({
    version: PROTOCOL_VERSION,
    id: null,
    error: toFailure(
      new XsknetError('ERR_XSKNET_LIMIT_REACHED', 'there are too many connections to the daemon', {
        hint: `It takes ${CONNECTIONS_PER_USER} of one user and ${CONNECTIONS} in all: close some, or share one.`,
        details: { limit: 'connections', most: CONNECTIONS, mostOfUser: CONNECTIONS_PER_USER },
      }),
    ),
  }),
}

/** All connections of a daemon. */
export class Server {
  readonly #estate: Estate
  readonly #identity: Identity
  readonly #log: Log
  readonly #damper = new Damper()
  readonly #sessions = new Set<Session>()

  constructor(estate: Estate, { daemon, instance }: Pick<Identity, 'daemon' | 'instance'>, log: Log) {
    const ready = performance.now()
    this.#estate = estate
    this.#log = log
    this.#identity = {
      daemon,
      instance,
      uptime: () => Math.floor((performance.now() - ready) / 1000),
      clients: ({ uid }) => [...this.#sessions].filter(({ credentials }) => uid === 0 || credentials.uid === uid).length,
    }
  }

  accept(wire: Wire): void {
    const { uid } = wire.credentials
    const log: Log = (event, fields) => {
      const heldBack = this.#damper.pass(uid)
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

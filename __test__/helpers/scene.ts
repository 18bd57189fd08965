import type { ExecutionContext } from 'ava'
import type { PortInfo, PortOptions, PortStats, UplinkStatistics } from 'xsknet'
import { Client, type ClientOptions } from './client.js'
import { Daemon, type DaemonOptions } from './daemon.js'
import { CARD, Lab, type LabOptions, portPrefixes, type Target } from './lab.js'
import { waitUntil } from './program.js'
import type { Seen } from './programs/orders.js'
import { portSums, type Sum, uplinkSums } from './sums.js'

/** The port of the remote host that numbered datagrams are sent to (RFC 863). */
export const DISCARD = 9

/** A lab with a daemon on its uplink. Its end must find the machine as it was. */
export class Scene {
  readonly lab: Lab
  readonly daemon: Daemon

  private constructor(lab: Lab, daemon: Daemon) {
    this.lab = lab
    this.daemon = daemon
  }

  static async open(t: ExecutionContext, options: DaemonOptions & LabOptions = {}): Promise<Scene> {
    const lab = await Lab.create(t, options)
    await lab.sink(DISCARD) // it would look like a change later
    await lab.snapshot()
    return new Scene(lab, await Daemon.start(lab, options))
  }

  /** A client that is connected. */
  async client(options: Partial<ClientOptions> = {}): Promise<Client> {
    const client = this.stranger(options)
    await client.ask({ do: 'connect' })
    return client
  }

  /** A client that has not connected yet. */
  stranger(options: Partial<ClientOptions> = {}): Client {
    return Client.start(this.lab, '__test__/helpers/programs/client.ts', { socket: this.daemon.socket, ...options })
  }

  /** A connected client with port `n` of the lab open, which answers whatever can be answered. */
  async answering(n = 0, options: Partial<ClientOptions> = {}, port: Partial<PortOptions> = {}): Promise<Answering> {
    const client = await this.client(options)
    const info = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(n), ...port })
    await client.ask({ do: 'answer' })
    return new Answering(client, info)
  }

  /** Waits until the sums hold over these ports, all that are open, and fails with those that do not. */
  assertAccounted(t: ExecutionContext, ...ports: Answering[]): Promise<void> {
    return assertAccounted(t, this.lab, () => this.uplink(), ports)
  }

  /** What the daemon says of the lab's uplink. */
  async uplink(): Promise<UplinkStatistics> {
    const { uplinks } = await this.daemon.ask<{ uplinks: { statistics: UplinkStatistics }[] }>('stats', CARD)
    const [uplink] = uplinks.map(({ statistics }) => statistics)
    if (!uplink) throw new Error(`${CARD} has no statistics`)
    return uplink
  }

  /** Ends the daemon as a service manager would, and finds the machine as it was. */
  async end(t: ExecutionContext): Promise<void> {
    t.deepEqual(await this.daemon.stop(), { code: 0, signal: null }, this.daemon.program.lines.join('\n'))
    t.deepEqual(await this.lab.compare(), [])
  }
}

/** Waits until the sums hold over these ports, all that are open on the uplink, and fails with those that do not. */
export async function assertAccounted(
  t: ExecutionContext,
  lab: Lab,
  uplink: () => Promise<UplinkStatistics>,
  ports: readonly Answering<Asked>[],
): Promise<void> {
  await accounted(lab, uplink, ports).catch((error: Error) => t.fail(error.message))
}

/** The same, and throws. */
export async function accounted(
  lab: Lab,
  uplink: () => Promise<UplinkStatistics>,
  ports: readonly Pick<Answering<Asked>, 'info' | 'stats'>[],
): Promise<void> {
  let sums: Sum[] = []
  const holds = async () => {
    const all = await Promise.all(ports.map((port) => port.stats()))
    const far = await Promise.all(ports.map(({ info }) => lab.framesFrom(info.mac)))
    const daemons = all.map(({ daemon }) => {
      if (!daemon) throw new Error('a port has no statistics')
      return daemon
    })
    const total = far.reduce((sum, frames) => sum + frames, 0)
    sums = [...all.flatMap(portSums), ...uplinkSums(await uplink(), daemons, total)]
    const reclaimed = all.every(
      ({ chunks: { free, held, fill, tx, total } }) => held + tx === 0 && free + fill === total,
    )
    return reclaimed && sums.every(({ left, right }) => left === right)
  }
  try {
    await waitUntil('accounted for', holds, 5000)
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${JSON.stringify(sums.filter(({ left, right }) => left !== right))}`)
  }
}

/** A program that takes the orders of `programs/orders.ts`. */
export type Asked = Pick<Client, 'ask'>

/** A client with one port. */
export class Answering<C extends Asked = Client> {
  readonly client: C
  readonly info: PortInfo

  constructor(client: C, info: PortInfo) {
    this.client = client
    this.info = info
  }

  /** Its IPv4 address and its MAC, for traffic of the lab. */
  target(port = 7): Target {
    return { mac: this.info.mac, address: this.info.addresses[0] as string, port }
  }

  stats(): Promise<PortStats> {
    return this.client.ask({ do: 'stats' })
  }

  seen(): Promise<Seen> {
    return this.client.ask({ do: 'seen' })
  }
}

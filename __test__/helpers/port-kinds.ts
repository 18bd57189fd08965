import type { ExecutionContext } from 'ava'
import type { PortInfo, UplinkStatistics } from 'xsknet'
import type { Client } from './client.js'
import { type DaemonOptions, GRANT } from './daemon.js'
import { Embedding } from './embedding.js'
import { CARD, Lab, portPrefixes } from './lab.js'
import { Answering, DISCARD, Scene } from './scene.js'

/** A program with a client in it. */
type ClientProgram = Pick<Client, 'ask' | 'program'>

/** A lab in which a client is connected to a daemon on the uplink. */
export interface Place {
  lab: Lab
  client: ClientProgram
  /** Has the client open a port, which answers whatever can be answered. */
  port(): Promise<Answering<ClientProgram>>
  daemon: { pid: number; instance: string }
  uplink(): Promise<UplinkStatistics>
  /** Ends the client and the daemon, in order. */
  stop(): Promise<void>
  /** The same, and finds the machine as it was. */
  end(): Promise<void>
}

export interface PlaceOptions {
  /** Where the uplink's program runs; the daemon's own choice unless set. */
  mode?: 'native' | 'skb'
}

/** How a client obtains a port. */
export interface PortKind {
  open(t: ExecutionContext, options?: PlaceOptions): Promise<Place>
  /** What the daemon's frames of its self-test have counted when the client gets the port. */
  selfTest: Record<'card' | 'program' | 'received' | 'sent' | 'completed' | 'guard', number>
}

/** One frame in each direction went through the port before it was handed out. */
const TESTED = { card: 1, program: 1, received: 1, sent: 1, completed: 1, guard: 1 }
/** There was no socket yet. */
const UNTESTED = { card: 0, program: 0, received: 0, sent: 0, completed: 0, guard: 0 }

/** Every kind of port. */
export const portKinds: Record<'brokered' | 'embedded' | 'pinned', PortKind> = {
  /** From a daemon, over its socket, as an unprivileged user. */
  brokered: {
    open: (t, options) => fromDaemon(t, 'open', options),
    selfTest: TESTED,
  },
  /** From a daemon in the client's own process. */
  embedded: { open: embedded, selfTest: TESTED },
  /** By a socket that the client made, with CAP_NET_RAW only, in a network namespace of its own. */
  pinned: {
    open: (t, options) => fromDaemon(t, 'openPinned', { ...options, config: `${GRANT}pinned = true\n` }, 'net_raw'),
    selfTest: UNTESTED,
  },
}

/** Of the same size for every kind: that of a pinned port is another unless asked for. */
const PORT = { uplink: CARD, addresses: portPrefixes(0), name: 'kind', ringSize: 1024 }

async function answering(client: ClientProgram, order: string): Promise<Answering<ClientProgram>> {
  const info = await client.ask<PortInfo>({ ...PORT, do: order })
  await client.ask({ do: 'answer' })
  return new Answering(client, info)
}

async function fromDaemon(
  t: ExecutionContext,
  order: string,
  options: DaemonOptions = {},
  capability?: string,
): Promise<Place> {
  const scene = await Scene.open(t, options)
  const client = await scene.client(capability === undefined ? {} : { capability })
  const { lab, daemon } = scene
  const stop = async () => {
    await client.ask({ do: 'disconnect' })
    await ended(t, client)
    t.deepEqual(await daemon.stop(), { code: 0, signal: null }, daemon.program.lines.join('\n'))
  }
  return {
    lab,
    client,
    port: () => answering(client, order),
    daemon: { pid: daemon.program.pid, instance: daemon.instance },
    uplink: () => scene.uplink(),
    stop,
    end: () => stop().then(() => asBefore(t, lab)),
  }
}

async function embedded(t: ExecutionContext, options: PlaceOptions = {}): Promise<Place> {
  const lab = await Lab.create(t)
  await lab.sink(DISCARD)
  await lab.snapshot()
  const client = Embedding.start(lab)
  const { socket, instance } = await client.daemon(options)
  await client.ask({ do: 'connect', socket })
  const stop = async () => {
    await client.ask({ do: 'disconnect' })
    await client.ask({ do: 'stop' })
    await ended(t, client)
  }
  return {
    lab,
    client,
    port: () => answering(client, 'open'),
    daemon: { pid: client.program.pid, instance },
    uplink: () => client.ask({ do: 'uplink', uplink: CARD }),
    stop,
    end: () => stop().then(() => asBefore(t, lab)),
  }
}

/** Nothing keeps a program that takes no more orders. */
async function ended(t: ExecutionContext, { program }: ClientProgram): Promise<void> {
  t.deepEqual(await program.endInput(), { code: 0, signal: null }, program.lines.join('\n'))
}

async function asBefore(t: ExecutionContext, lab: Lab): Promise<void> {
  t.deepEqual(await lab.compare(), [])
}

// Where is measured: a lab, a daemon on its uplink, and on both sides programs that take the same orders.
import { execFileSync } from 'node:child_process'
import type { PortInfo, PortOptions } from 'xsknet'
import { parseIpv4, parseMac, udp } from 'xsknet/headers'
import { Client } from '../__test__/helpers/client.js'
import { Conversation, type Wish } from '../__test__/helpers/conversation.js'
import { Daemon, GRANT } from '../__test__/helpers/daemon.js'
import {
  CARD,
  type Flooded,
  Lab,
  portAddresses,
  portPrefixes,
  REMOTE,
  type Target,
  type Traffic,
} from '../__test__/helpers/lab.js'
import { inside, type Program, waitUntil } from '../__test__/helpers/program.js'
import { stagedProgram } from '../__test__/helpers/stage.js'
import { DEFAULT_RING_SIZE as RING_SIZE } from '../packages/xsknetd/src/policy/limits.js'
import type { Settings } from './comparison.js'
import type { Order, Result } from './programs/watch.js'
import { compiled } from './programs.js'

/**
 * The processors: the generator and all of the kernel's work on what it sends have the one, who is measured has the
 * other.
 */
export const GENERATOR = 0
export const MEASURED = 1

/** The UDP port that is read, and sent to. */
export const PORT = 9

/** One flow, whose numbers have no end. */
export const FLOW = { flows: 1 }

/** `headroom` has so many frames in a ring before its clock runs. */
export const LEAST_RING = 1024

export { RING_SIZE }

/** Where a side is, and how its sockets are to be. */
export type Setting = Pick<Settings, 'undo' | 'ringSize'> & { isFarEndCheap?: boolean }

/** The peer in C, with rings like ours. */
export const xskpeer = (ringSize = RING_SIZE) => compiled('xskpeer', { RING: ringSize })

/** Seconds of the same before what counts: JavaScript is compiled meanwhile, and nobody else has less. */
const WARM_UP = 0.5

/** Processes that are started for a turn. */
export interface Fresh {
  /** Settles once they are gone, and their ports are undone. */
  end(): Promise<unknown>
}

/**
 * Uses processes that nobody has used before: what a heap, a compiler or a driver has come to in earlier turns is not
 * in the figures.
 */
export async function afresh<S extends Fresh, R>(start: () => Promise<S>, use: (side: S) => Promise<R>): Promise<R> {
  const side = await start()
  try {
    return await use(side)
  } finally {
    await side.end()
  }
}

/** A turn: the same twice, of which the second counts. */
export function turn<S extends Fresh, R>(
  start: () => Promise<S>,
  seconds: number,
  run: (side: S, seconds: number) => Promise<R>,
): Promise<R> {
  return afresh(start, async (side) => {
    await run(side, WARM_UP)
    return run(side, seconds)
  })
}

/** A program that takes orders, in TypeScript or in C. */
export interface Side extends Fresh {
  readonly pid: number
  readonly mac: string
  readonly address: string
  order(what: string, order?: Order): Promise<Result>
}

/** A lab with a daemon on its uplink. */
export class Place {
  readonly lab: Lab
  readonly daemon: Daemon
  readonly #ringSize: number | undefined
  private constructor(lab: Lab, daemon: Daemon, ringSize: number | undefined) {
    this.lab = lab
    this.daemon = daemon
    this.#ringSize = ringSize
  }

  /** `isFarEndCheap`: what comes there ends in an XDP program, and no skb is made of it. */
  static async open({ undo, ringSize, isFarEndCheap = false }: Setting): Promise<Place> {
    const lab = await Lab.create(undo)
    await (isFarEndCheap ? lab.sinkNatively(PORT, FLOW) : lab.sink(PORT, FLOW))
    return new Place(
      lab,
      await Daemon.start(lab, { mode: 'native', config: `${GRANT}bpfRings = true\nqueues = 2\nringSize = 65536\n` }),
      ringSize,
    )
  }

  /** An unprivileged client, which opens port `n` of the lab. */
  async client(n: number, options: Partial<PortOptions> = {}, nodeArgs: readonly string[] = []): Promise<TypeScript> {
    const client = Client.start(this.lab, 'bench/programs/hot.ts', { socket: this.daemon.socket, nodeArgs })
    return TypeScript.opened(client, n, { ...sizes(this.#ringSize), ...options }, () => this.#gone(client.program))
  }

  /** The peer in C, on port `n` of the lab, in a network namespace of its own. */
  peer(n: number, options: Partial<PortOptions> = {}): Promise<C> {
    return this.#pinned('pinned', n, options)
  }

  /** A port `n` without a socket, in a network namespace of its own. */
  empty(n: number): Promise<C> {
    return this.#pinned('empty', n, {})
  }

  #pinned(how: 'pinned' | 'empty', n: number, options: Partial<PortOptions>): Promise<C> {
    const port = JSON.stringify({ uplink: CARD, addresses: portPrefixes(n).slice(0, 1), ...options })
    const command = ['unshare', '--net', '--', xskpeer(this.#ringSize), how, this.daemon.socket, port]
    return C.start(this.lab, command, n, (program) => this.#gone(program))
  }

  /** The kernel gives back what a port had some time after its client has ended. */
  #gone({ pid }: Program): Promise<void> {
    const isThere = (ports: { pid: number }[]) => ports.some((port) => port.pid === pid)
    return waitUntil('without the port', async () => !isThere(await this.daemon.ask('ports')))
  }

  /** Numbered frames as fast as they go, as long as something takes. */
  async flooding<T>(to: Target, use: () => Promise<T>, options: Flood = {}): Promise<T> {
    return flooding(this.lab, to, use, options)
  }

  /** What comes to the far end from a side meanwhile; fails where a payload is not what it should be. */
  arriving<T>(side: Pick<Side, 'mac' | 'address'>, use: () => Promise<T>): Promise<{ came: number; result: T }> {
    return arriving(this.lab, side, use)
  }

  /** Frames of a side to the far end: Ethernet, IPv4 and UDP, with room for the payload of a frame of so many bytes. */
  frames(side: Side, length: number): Order {
    return framesOf(this.lab, side, length)
  }
}

/** The same wire without a daemon: a program has its near end for itself. */
export class Wire {
  readonly lab: Lab
  readonly #ringSize: number | undefined
  private constructor(lab: Lab, ringSize: number | undefined) {
    this.lab = lab
    this.#ringSize = ringSize
  }

  static async open({ undo, ringSize, isFarEndCheap = false }: Setting): Promise<Wire> {
    const lab = await Lab.create(undo)
    await (isFarEndCheap ? lab.sinkNatively(PORT, FLOW) : lab.sink(PORT, FLOW))
    return new Wire(lab, ringSize)
  }

  /** The peer in C, on the near end, with the program of libxdp and nothing around it. */
  peer(): Promise<C> {
    const command = ['env', 'LIBXDP_SKIP_DISPATCHER=1', xskpeer(this.#ringSize), 'device', CARD]
    return C.start(this.lab, inside(this.lab.host.namespace, command))
  }

  /** As those of a {@link Place}. */
  flooding<T>(to: Target, use: () => Promise<T>, options: Flood = {}): Promise<T> {
    return flooding(this.lab, to, use, options)
  }

  arriving<T>(side: Pick<Side, 'mac' | 'address'>, use: () => Promise<T>): Promise<{ came: number; result: T }> {
    return arriving(this.lab, side, use)
  }

  frames(side: Side, length: number): Order {
    return framesOf(this.lab, side, length)
  }
}

/** What comes to the far end of a lab from a MAC meanwhile; fails where a payload is not what it should be. */
async function arriving<T>(
  lab: Lab,
  { mac, address }: Pick<Side, 'mac' | 'address'>,
  use: () => Promise<T>,
): Promise<{ came: number; result: T }> {
  // The far end is heard of, or a port may send little to it. That it is not answered is no matter.
  await lab.remote.run('ping', '-n', '-c', '1', '-W', '0.2', address)
  const [before, sink] = [await lab.framesFrom(mac), await lab.sink(PORT, FLOW)]
  const result = await use()
  const came = (await lab.framesFrom(mac)) - before
  const { corrupt } = await lab.sink(PORT, FLOW)
  if (corrupt !== sink.corrupt) throw new Error(`${corrupt - sink.corrupt} of ${came} frames came altered from ${mac}`)
  return { came, result }
}

/** How frames come: from an address, at a rate, of so many flows. */
interface Flood {
  from?: string
  rate?: number
  flows?: number
}

/** Numbered frames out of the wire's far end while something goes on: as XDP frames, or at a rate, which takes skbs. */
export async function flooding<T>(
  lab: Lab,
  to: Target,
  use: () => Promise<T>,
  { from, rate, flows = FLOW.flows }: Flood = {},
): Promise<T> {
  const flood: Traffic<Flooded> = lab.flood(to, {
    flows,
    ...(from !== undefined && { from }),
    ...(rate === undefined ? { live: true } : { rate }),
  })
  try {
    return await use()
  } finally {
    await flood.stop()
  }
}

function framesOf(lab: Lab, { mac, address }: Side, length: number): Order {
  return { length, port: PORT, header: headerOf(mac, address, lab.farMac, REMOTE.v4, length) }
}

/**
 * In hexadecimal digits, the first 42 bytes of a datagram without checksum, which IPv4 allows: it would change with the
 * number.
 */
export function headerOf(mac: string, address: string, toMac: string, to: string, length: number): string {
  return Buffer.from(datagramOf(mac, address, toMac, to, length).subarray(0, 42)).toString('hex')
}

/** The whole frame; behind the header are zeros. */
export function datagramOf(mac: string, address: string, toMac: string, to: string, length: number): Uint8Array {
  const packet = { memory: new Uint8Array(length), offset: 0, length: 0, capacity: length }
  const fields = {
    destination: parseIpv4(to),
    destinationMac: parseMac(toMac),
    sourcePort: PORT,
    destinationPort: PORT,
  }
  udp.build(packet, { info: { mac, addresses: [`${address}/24`], vlan: null } }, fields, length - 42)
  packet.memory.fill(0, 40, 42)
  return packet.memory
}

/** Nothing unless asked for: a port's own defaults. */
const sizes = (ringSize: number | undefined) => (ringSize === undefined ? {} : { ringSize })

type Asked = Pick<Conversation, 'ask' | 'program'>

/** A program that takes orders as bench/programs/hot.ts does. */
export class TypeScript implements Side {
  readonly pid: number
  readonly mac: string
  readonly address: string
  readonly #asked: Asked
  readonly #gone: () => Promise<void>

  private constructor(asked: Asked, info: PortInfo, gone: () => Promise<void>) {
    this.#asked = asked
    this.#gone = gone
    this.pid = asked.program.pid
    this.mac = info.mac
    this.address = (info.addresses[0] as string).split('/')[0] as string
  }

  static async opened(asked: Asked, n: number, options: Partial<PortOptions>, gone: () => Promise<void>) {
    pin(asked.program.pid, MEASURED)
    const info = await asked.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(n), ...options })
    return new TypeScript(asked, info, gone)
  }

  /** The same program as root, with the daemon inside it. The lab has no other on its uplink. */
  static async embedded(lab: Lab, n: number, ringSize?: number): Promise<TypeScript> {
    const script = stagedProgram(lab.folder, 'bench/programs/embedded.ts')
    const conversation = new Conversation(inside(lab.host.namespace, [process.execPath, script]), { cwd: lab.folder })
    lab.owner.teardown(async () => {
      if (conversation.program.running) await conversation.program.kill()
    })
    await conversation.ask({ do: 'start', options: { uplinks: [CARD], mode: 'native' } })
    return TypeScript.opened(conversation, n, sizes(ringSize), async () => {})
  }

  async end(): Promise<void> {
    await this.#asked.program.kill()
    await this.#gone()
  }

  order(what: string, order: Order = {}): Promise<Result> {
    return this.ask({ do: what, ...order })
  }

  ask<T>(what: Wish): Promise<T> {
    return this.#asked.ask<T>(what)
  }
}

type Identity = Pick<C, 'mac' | 'address' | 'device' | 'xsks'>

/** bench/peer. */
export class C implements Side {
  readonly pid: number
  readonly mac: string
  readonly address: string
  /** What its socket is bound to, or has to be. */
  readonly device: string
  /** The path of its port's XSKMAP. */
  readonly xsks: string
  readonly #conversation: Conversation
  readonly #gone: (program: Program) => Promise<void>

  private constructor(conversation: Conversation, identity: Identity, gone: (program: Program) => Promise<void>) {
    this.#conversation = conversation
    this.#gone = gone
    this.pid = conversation.program.pid
    this.mac = identity.mac
    this.address = identity.address
    this.device = identity.device
    this.xsks = identity.xsks
  }

  /** `unshare` and `nsenter` do not fork, so the process is the program's own. */
  static async start(
    lab: Lab,
    command: readonly string[],
    n = 0,
    gone: (program: Program) => Promise<void> = async () => {},
  ): Promise<C> {
    const conversation = new Conversation(command)
    lab.owner.teardown(async () => {
      if (conversation.program.running) await conversation.program.endInput()
    })
    const { mac, ...said } = await conversation.event<{ event: string } & Omit<Identity, 'address'>>('open')
    pin(conversation.program.pid, MEASURED)
    return new C(conversation, { ...said, mac: mac || lab.cardMac, address: portAddresses(n)[0] }, gone)
  }

  order(what: string, order: Order = {}): Promise<Result> {
    return this.#conversation.ask({ do: what, ...order })
  }

  async end(): Promise<void> {
    await this.#conversation.program.endInput()
    await this.#gone(this.#conversation.program)
  }
}

/** Binds a thread to a processor: the main one alone, so that Node's helpers are not in its way. */
export function pin(thread: number, processor: number): void {
  execFileSync('taskset', ['-cp', `${processor}`, `${thread}`], { stdio: 'ignore' })
}

export const target = ({ mac, address }: Side): Target => ({ mac, address, port: PORT })

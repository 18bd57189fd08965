// What a client does when a test tells it to. It owns up to what it saw.
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Batch, connect, type Flow, type Frame, type Network, type Port, type PortOptions } from 'xsknet'
import { arp, ethernet, icmp, ndp, parseIpv4, parseMac, udp } from 'xsknet/headers'
import { collectGarbage } from './garbage.js'
import { type Orders, say } from './serve.js'

/** RFC 863. */
const DISCARD = 9

interface Held {
  port: Port
  seen: Seen
  /** Milliseconds that its reader sleeps after each batch; for ever: until it is told otherwise. */
  pause: number
  /** What its reader was last given. */
  kept?: { batch: Batch; frame: Frame; memory: Uint8Array }
  /** Settles with the code that the reader's loop ended with; `null` where it ended normally. */
  reading?: Promise<string | null>
}

/** What a reader met, by kind. */
export interface Seen {
  frames: number
  batches: number
  arp: number
  ndp: number
  icmp: number
  udp: number
  other: number
  /** Frames for the MAC of somebody else. */
  strange: number
  /** Frames that could not be sent for want of a slot. */
  unsent: number
}

let net: Network
const held = new Map<string, Held>()

export function holding(name: string): Held {
  const found = held.get(name)
  if (!found) throw new Error(`there is no port ${name} here`)
  return found
}

/** Reads until the port or the loop ends. */
function read(name: string, treat: (frames: Batch, holder: Held) => unknown): void {
  const holder = holding(name)
  holder.reading = (async () => {
    try {
      for await (const frames of holder.port.batches()) {
        holder.seen.batches++
        holder.seen.frames += frames.length
        if ((await treat(frames, holder)) === false) break
        if (holder.pause === 0) continue
        holder.kept = { batch: frames, frame: frames.at(0), memory: frames.memory }
        for (const end = performance.now() + holder.pause; holder.pause > 0 && performance.now() < end; ) await sleep(5)
      }
      return null
    } catch (error) {
      return codeOf(error)
    }
  })()
}

const codeOf = (error: unknown) => (error as { code?: string }).code ?? String(error)

function answerAll(frames: Batch, { port, seen }: Held): void {
  const own = parseMac(port.info.mac)
  for (const frame of frames) {
    const { destination } = ethernet(frame) ?? {}
    if (destination !== own && (frame.uint8(0) & 1) === 0) seen.strange++
    if (answer(frame, port, seen) && !frame.send()) seen.unsent++
  }
}

function answer(frame: Frame, port: Port, seen: Seen): boolean {
  if (arp.answer(frame, port)) return ++seen.arp > 0
  if (ndp.answer(frame, port)) return ++seen.ndp > 0
  if (icmp.echo(frame, port)) return ++seen.icmp > 0
  const datagram = udp(frame)
  if (datagram?.checksumOk) {
    seen.udp++
    // Two of us would send one datagram back and forth for ever; what comes from a server's port, `answer` leaves alone
    // for that.
    return datagram.destinationPort !== DISCARD && udp.answer(frame, port, datagram.payloadLength)
  }
  seen.other++
  return false
}

/** The order to open a port, under the name `as` from then on. */
export type Opening = PortOptions & { as?: string; id: unknown; do: unknown }

/** Opens a port in some way. */
export async function open(
  { as = 'port', ...order }: Opening,
  how: (options: PortOptions, network: Network) => Promise<Port>,
) {
  const { id, do: _, ...options } = order
  const port = await how(options, net)
  port.on('lost', ({ code, message, details }) => say('lost', { port: as, code, message, details }))
  port.on('detached', () => say('detached', { port: as }))
  port.on('starved', () => say('starved', { port: as }))
  held.set(as, {
    port,
    pause: 0,
    seen: { frames: 0, batches: 0, arp: 0, ndp: 0, icmp: 0, udp: 0, other: 0, strange: 0, unsent: 0 },
  })
  return port.info
}

export const orders: Orders = {
  pid: () => process.pid,
  descriptors: () => readdirSync('/proc/self/fd').map((fd) => target(fd)),

  collect: collectGarbage,

  connect: async ({ socket }: { socket?: string }) => {
    net = await connect({ socket })
    net.on('daemonGone', ({ code }) => say('daemonGone', { code }))
    net.on('uplinkGone', ({ uplink, error }) => say('uplinkGone', { uplink, code: error.code }))
  },
  disconnect: () => net.close(),
  uplinks: () => net.uplinks(),
  ports: () => net.ports(),
  uplink: ({ uplink }: { uplink: string }) => net.uplinkStatistics(uplink),
  /** What becomes of a packet: it arrives at the uplink, or is sent by a port, unless it is named by its number. */
  explain: async ({ as = 'port', uplink, port, hex }: { as?: string; uplink?: string; port?: number; hex: string }) => {
    const from = uplink === undefined ? { port: port ?? holding(as).port } : { uplink }
    const explanation = await net.explain(Buffer.from(hex, 'hex'), from)
    return { ...explanation, text: String(explanation) }
  },

  refusals: async ({ as = 'port' }: { as?: string }) =>
    (await holding(as).port.refusals()).map(({ bytes, ...refusal }) => ({
      ...refusal,
      hex: Buffer.from(bytes).toString('hex'),
    })),

  open: (order: Opening) => open(order, (options, network) => network.openPort(options)),
  /** A pinned port, by the connection that there is, or by one of its own. */
  openPinned: ({ alone, ...order }: Opening & { alone?: boolean }) =>
    open(order, async (port, network) => {
      const daemon = await import('xsknetd')
      return daemon.openPinned(alone ? { port } : { port, network })
    }),

  /** Answers ARP, neighbour solicitations and pings, and sends every datagram back, but those to the discard port. */
  answer: ({ as = 'port' }: { as?: string }) => read(as, answerAll),
  /** Reads, and gives everything back. */
  swallow: ({ as = 'port' }: { as?: string }) => read(as, () => {}),
  /** Has its reader sleep so long after each batch, from the next one on; 0 wakes it. */
  pause: ({ as = 'port', milliseconds }: { as?: string; milliseconds: number }) => {
    holding(as).pause = milliseconds
  },
  /** What can still be done with what its reader keeps while it sleeps. */
  kept: ({ as = 'port' }: { as?: string }) => {
    const { batch, frame, memory } = holding(as).kept ?? {}
    const deeds = {
      length: () => batch?.length,
      byte: () => frame?.uint8(0),
      send: () => frame?.send(),
      view: () => memory?.length,
    }
    return Object.fromEntries(
      Object.entries(deeds).map(([name, deed]) => {
        try {
          return [name, deed()]
        } catch (error) {
          return [name, codeOf(error)]
        }
      }),
    )
  },
  seen: ({ as = 'port' }: { as?: string }) => holding(as).seen,
  /** How its reader ended. */
  ended: ({ as = 'port' }: { as?: string }) => holding(as).reading,
  /** A second reader, and what it is told. */
  readAgain: async ({ as = 'port' }: { as?: string }) => {
    for await (const _ of holding(as).port.batches()) return
  },

  /** Datagrams with a number each, as the lab's sink reads them, by `port.send()`. */
  send: async ({ as = 'port', to, count }: { as?: string; to: To; count: number }) => {
    const { port } = holding(as)
    const numbers = new Numbered(port, to)
    for (let number = 0; number < count; number++) await port.send(numbers.frame(number))
  },
  /**
   * The same, out of frames that its reader allocates; there must be something to read. Resolves when all are queued.
   */
  sendFromReader: ({ as = 'port', to, count }: { as?: string; to: To; count: number }) =>
    new Promise<void>((done) => {
      const numbers = new Numbered(holding(as).port, to)
      let next = 0
      read(as, (frames) => {
        for (let i = 0; i < 64 && next < count; i++) {
          const frame = frames.allocate()
          if (!frame) break
          const bytes = numbers.frame(next)
          frame.length = bytes.length
          frame.memory.set(bytes, frame.offset)
          if (!frame.send()) break
          next++
        }
        if (next === count) done()
      })
    }),
  /** One frame as it is. */
  sendRaw: ({ as = 'port', hex }: { as?: string; hex: string }) => holding(as).port.send(Buffer.from(hex, 'hex')),

  /** How late a timer of so many milliseconds comes, so many times: in milliseconds, sorted. */
  lateness: async ({ every, times }: { every: number; times: number }) => {
    const late: number[] = []
    for (let n = 0; n < times; n++) {
      const due = performance.now() + every
      await sleep(every)
      late.push(performance.now() - due)
    }
    return late.sort((a, b) => a - b)
  },

  claim: ({ as = 'port', flows, overrideHost }: Claiming) => holding(as).port.claim(flows, { overrideHost }),
  replace: ({ as = 'port', flows, overrideHost }: Claiming) => holding(as).port.replace(flows, { overrideHost }),
  release: ({ as = 'port', flows }: Claiming) => holding(as).port.release(flows),

  stats: ({ as = 'port' }: { as?: string }) => holding(as).port.stats(),
  close: async ({ as = 'port' }: { as?: string }) => {
    const { port } = holding(as)
    await port.close()
  },
  /** Forgets a port that is over. */
  drop: ({ as = 'port' }: { as?: string }) => void held.delete(as),
  destroy: ({ as = 'port' }: { as?: string }) => holding(as).port.destroy(),
  /** How the port ended: `null` by its own close. */
  closed: ({ as = 'port' }: { as?: string }) => holding(as).port.closed.then(() => null, codeOf),
}

interface Claiming {
  as?: string
  flows: readonly (string | Flow)[]
  overrideHost?: boolean
}

interface To {
  mac: string
  address: string
  port: number
}

/** One datagram, and a number in it that moves on: 8 bytes, and a pattern that follows from them. */
class Numbered {
  readonly #bytes: Uint8Array
  readonly #number: DataView

  constructor(port: Port, to: To) {
    const packet = { memory: new Uint8Array(128), offset: 0, length: 0, capacity: 128 }
    const destination = parseIpv4(to.address.replace(/\/.*/, ''))
    udp.build(
      packet,
      port,
      { destination, destinationMac: parseMac(to.mac), sourcePort: 9, destinationPort: to.port },
      40,
    )
    this.#bytes = packet.memory.subarray(0, packet.length)
    // No checksum, which IPv4 allows: it would change with the number.
    this.#bytes.fill(0, 40, 42)
    this.#number = new DataView(packet.memory.buffer, 42, 8)
  }

  /** The same bytes each time. */
  frame(number: number): Uint8Array {
    this.#number.setBigUint64(0, BigInt(number))
    for (let i = 0; i < 32; i++) this.#bytes[50 + i] = number + i
    return this.#bytes
  }
}

function target(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return 'gone'
  }
}

// A client that claims and releases flows at random, all of which others want too, and judges each frame that comes: by
// its UDP port, and by the time of its sending, which it carries.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type Flow, type Network, type Port, type PortOptions } from 'xsknet'
import { Holdings } from './holdings.js'
import { numberOf, UDP_PORT } from './numbered.js'
import { Random } from './random.js'
import { serve } from './serve.js'

/** What is claimed: UDP ports of an address. */
export interface Pool {
  address: string
  first: number
  ports: number
}

/** What came of it all. */
export interface Claimed {
  claims: number
  releases: number
  replacements: number
  /** Claims that were refused because somebody else had one of the flows. */
  taken: number
  /** Requests that failed for any other reason. */
  failures: string[]
  /** Frames that came to this client. */
  frames: number
  /** Of them, those of ports that it did not hold at any time between their sending and their arrival. */
  wrong: number
  /** Altered, or of another kind. */
  corrupt: number
  other: number
  /** Some of those that are wrong. */
  examples: string[]
}

const MOST_EXAMPLES = 5

let net: Network
let port: Port
let pool: Pool
let holdings: Holdings
let ends = false
let changing: Promise<void> = Promise.resolve()
let reading: Promise<unknown> = Promise.resolve()
const seen: Claimed = {
  ...{ claims: 0, releases: 0, replacements: 0, taken: 0, failures: [] },
  ...{ frames: 0, wrong: 0, corrupt: 0, other: 0, examples: [] },
}

/** The clock of the frames, too. */
const now = () => Number(process.hrtime.bigint())

async function read(): Promise<void> {
  for await (const batch of port.batches()) {
    const arrived = now()
    const { memory } = batch
    for (const frame of batch) {
      seen.frames++
      const { offset: at, length } = frame
      const to = length >= UDP_PORT + 2 ? frame.uint16(UDP_PORT) : 0
      if (to < pool.first || to >= pool.first + pool.ports) {
        seen.other++
        continue
      }
      const sent = numberOf(memory, at, length)
      if (sent < 0) seen.corrupt++
      else if (!holdings.explains(to, sent, arrived)) wrong(to, sent, arrived)
    }
  }
}

function wrong(to: number, sent: number, arrived: number): void {
  seen.wrong++
  if (seen.examples.length < MOST_EXAMPLES)
    seen.examples.push(`UDP port ${to}, sent ${(arrived - sent) / 1e6} ms before it came`)
}

/** Half of the flows are objects, and the others expressions. */
function flowOf(to: number): string | Flow {
  const { address } = pool
  if (to % 2 === 0) return `udp dst port ${to} and dst host ${address}`
  return { protocol: 'udp', destinationPort: to, destination: address }
}

/** Asks for ports beside those that are held, or in place of them. */
async function claim(ports: readonly number[], isReplacement: boolean): Promise<boolean> {
  const held = holdings.held()
  const added = ports.filter((port) => !held.includes(port))
  const flows = ports.map(flowOf)
  holdings.ask(added, now())
  try {
    await (isReplacement ? port.replace(flows) : port.claim(flows))
  } catch (error) {
    seen.wrong += holdings.refuse(added)
    const { code, message } = error as Error & { code?: string }
    if (code === 'ERR_XSKNET_FLOW_TAKEN') seen.taken++
    else fail(message)
    return false
  }
  holdings.confirm(added)
  if (isReplacement) {
    const gone = held.filter((port) => !ports.includes(port))
    holdings.end(gone, now())
    seen.replacements++
  } else seen.claims++
  return true
}

async function release(ports: readonly number[]): Promise<void> {
  try {
    await port.release(ports.map(flowOf))
    const held = holdings.held()
    const gone = ports.filter((port) => held.includes(port))
    holdings.end(gone, now())
    seen.releases++
  } catch (error) {
    fail((error as Error).message)
  }
}

function fail(message: string): void {
  if (seen.failures.length < MOST_EXAMPLES) seen.failures.push(message)
}

interface Changes {
  seed: number
  /** A client that holds more ports gives some back. */
  most: number
  /** The most ports of a request. */
  atOnce: number
  /** Milliseconds between two requests, on average. */
  pause: number
}

async function change({ seed, most, atOnce, pause }: Changes): Promise<void> {
  const random = new Random(seed)
  const all = Array.from({ length: pool.ports }, (_, n) => pool.first + n)
  /** Some of these, each once. */
  const some = (from: readonly number[]) => [
    ...new Set(Array.from({ length: 1 + random.below(atOnce) }, () => random.pick(from))),
  ]
  while (!ends) {
    const held = holdings.held()
    const choice = random.below(10)
    if (choice === 0) await claim(some(all), true)
    else if (held.length > most || (held.length > 0 && choice < 5)) await release(some(held))
    else await claim(some(all), false)
    await sleep(random.below(2 * pause))
  }
}

serve({
  open: async ({ options, pool: wanted }: { options: PortOptions; pool: Pool }) => {
    pool = wanted
    holdings = new Holdings(pool.first, pool.ports)
    net = await connect()
    port = await net.openPort(options)
    reading = read()
    reading.catch(() => {}) // told at the end
    return port.info
  },
  /** Changes its flows at random until it is told to end. */
  change: (changes: Changes) => {
    ends = false
    changing = change(changes)
    changing.catch(() => {}) // told at the end
  },
  endChanges: async () => {
    ends = true
    await changing
  },
  /** Holds these and no others; whether it got them. */
  hold: ({ ports }: { ports: number[] }) => claim(ports, true),
  claimed: () => seen,
  stats: () => port.stats(),
  close: async () => {
    await port.close()
    await reading
    await net.close()
  },
})

import type { PortInfo, PortStats, UplinkStatistics } from 'xsknet'
import { Client } from './client.js'
import { Daemon } from './daemon.js'
import { CARD, type Flooded, HOST, Lab, type Owner, type Traffic } from './lab.js'
import { waitUntil } from './program.js'
import type { Claimed, Pool } from './programs/claimant.js'
import { accounted } from './scene.js'

export interface ClaimsOptions {
  /** Each is a process with a connection and a port of its own. */
  clients: number
  /** Of random changes under full traffic. */
  seconds: number
  /** Decides what each client asks for; when the kernel and the daemon get to it, it does not. */
  seed: number
  /** Hears of each stage at its end. */
  tell?: (line: string) => void
}

/** What became of the frames and of the requests. */
export interface Contended {
  /** Frames on the wire while flows changed. */
  sent: number
  /** Those that came to clients, and those that the host got. */
  came: number
  passed: number
  /** Frames of a client that did not hold their flow. */
  wrong: number
  requests: Pick<Claimed, 'claims' | 'releases' | 'replacements' | 'taken'>
  /** What must not be. */
  faults: string[]
}

/** All clients want the same flows: each of these UDP ports of the host. */
const POOL: Pool = { address: HOST.v4, first: 20_000, ports: 200 }
/** A client that holds more gives some back. */
const MOST = 6
/** The most that it asks for at once: of more, somebody else nearly always has one. */
const AT_ONCE = 4
/** Milliseconds between two requests of a client, on average. */
const PAUSE = 50
/** Connections and requests of a user are limited. */
const CLIENTS_OF_A_USER = 10
const FIRST_USER = 61_100
/** Frames of the stages in which nothing changes. */
const STILL = 100_000
/** Frames that the machines of the lab send by themselves in a stage. */
const BACKGROUND = 200

/** Of client `n`. */
const address = (n: number) => `2001:db8::1:${(n + 1).toString(16)}`

const grant = (uid: number) => `
[[grant]]
user = ${uid}
uplinks = ["${CARD}"]
addresses = ["2001:db8::1:0/112"]
ports = ${CLIENTS_OF_A_USER}
memory = "256MiB"
flows = ["udp and dst host ${HOST.v4}"]
`

interface Claimant {
  client: Client
  info: PortInfo
  /** Frames that it had received when it was opened, of its self-test. */
  before: number
  stats(): Promise<PortStats>
}

/**
 * Clients of several users claim, replace and release flows that all of them want, at random, while frames of all these
 * flows come as fast as they can. A frame may only come to a client that held its flow at some time between its sending
 * and its arrival. Then each flow is held, and then none is, and all frames must go where that says. Every frame is
 * accounted for in each stage, and nothing is left at the end.
 */
export async function contend(
  owner: Owner,
  { clients, seconds, seed, tell = () => {} }: ClaimsOptions,
): Promise<Contended> {
  const lab = await Lab.create(owner)
  await lab.snapshot()
  const users = Array.from({ length: Math.ceil(clients / CLIENTS_OF_A_USER) }, (_, n) => FIRST_USER + n)
  const daemon = await Daemon.start(lab, { mode: 'native', config: users.map(grant).join('') })
  const claimants = await Promise.all(
    Array.from({ length: clients }, async (_, n): Promise<Claimant> => {
      const uid = users[Math.floor(n / CLIENTS_OF_A_USER)] as number
      const client = Client.start(lab, '__test__/helpers/programs/claimant.ts', { socket: daemon.socket, uid })
      const options = { uplink: CARD, addresses: [`${address(n)}/64`], frames: 1024, ringSize: 512 }
      const info = await client.ask<PortInfo>({ do: 'open', options, pool: POOL })
      const stats = () => client.ask<PortStats>({ do: 'stats' })
      return { client, info, before: (await stats()).client.received, stats }
    }),
  )
  const each = <T>(what: { do: string; [field: string]: unknown }) =>
    Promise.all(claimants.map(({ client }) => client.ask<T>(what)))
  const uplink = async () => {
    const { uplinks } = await daemon.ask<{ uplinks: [{ statistics: UplinkStatistics }] }>('stats', CARD)
    return uplinks[0].statistics
  }
  const faults: string[] = []

  /** Frames of the pool as fast as they go, while something happens; where they went. */
  const stage = async (
    name: string,
    amount: { frames?: number },
    use: (flood: Traffic<Flooded>) => Promise<unknown>,
  ) => {
    const [before, claimed] = [(await uplink()).program, await each<Claimed>({ do: 'claimed' })]
    const to = { mac: lab.cardMac, address: POOL.address, port: POOL.first }
    const flood = lab.flood(to, { live: true, flows: 1, ports: POOL.ports, ...amount })
    await use(flood)
    const { sent, lostAtTheFarEnd } = await flood.stop()
    await accounted(lab, uplink, claimants).catch((error: Error) => faults.push(`${name}: ${error.message}`))
    const { program } = await uplink()
    const onWire = sent - lostAtTheFarEnd
    const background = program.seen - before.seen - onWire
    if (background < 0 || background > BACKGROUND)
      faults.push(`${name}: ${onWire} frames were on the wire, and the uplink's program saw ${background} more`)
    const came = sumOf(await each<Claimed>({ do: 'claimed' }), 'frames') - sumOf(claimed, 'frames')
    const [toPort, passed] = [program.toPort - before.toPort, program.passed - before.passed]
    const own = `${background} of the lab’s machines themselves`
    tell(`${name}: ${onWire} frames and ${own}, ${toPort} to ports, ${passed} to the host, ${came} read by clients`)
    return { onWire, toPort, passed, came }
  }

  const contended = await stage(`${clients} clients, ${seconds} s of changes`, {}, async () => {
    const seeded = (n: number) => (seed + n * 0x9e37_79b1) >>> 0
    const limits = { most: MOST, atOnce: AT_ONCE, pause: PAUSE }
    await Promise.all(claimants.map(({ client }, n) => client.ask({ do: 'change', seed: seeded(n), ...limits })))
    await new Promise((done) => setTimeout(done, seconds * 1000))
    await each({ do: 'endChanges' })
  })

  await each({ do: 'hold', ports: [] })
  const parts = claimants.map((_, n) => portsOf(POOL).filter((port) => port % clients === n))
  const got = await Promise.all(claimants.map(({ client }, n) => client.ask<boolean>({ do: 'hold', ports: parts[n] })))
  if (got.includes(false)) faults.push('a client does not get flows that all others have given back')
  const held = await stage('all flows held', { frames: STILL }, (flood) => flood.done)
  if (held.toPort !== held.onWire)
    faults.push(`of ${held.onWire} frames of flows that are held ${held.toPort} went to ports`)

  await each({ do: 'hold', ports: [] })
  const free = await stage('no flow held', { frames: STILL }, (flood) => flood.done)
  if (free.toPort > 0) faults.push(`${free.toPort} frames of flows that nobody holds went to ports`)
  const taken = await boundPorts(lab)
  if (taken.length > 0) faults.push(`ports of the host are still kept from its programs: ${taken}`)

  const claimed = await each<Claimed>({ do: 'claimed' })
  for (const { failures, examples } of claimed) faults.push(...failures, ...examples)
  for (const [n, { before, stats }] of claimants.entries()) {
    const received = (await stats()).client.received - before
    const judged = claimed[n]?.frames
    if (received !== judged) faults.push(`client ${n} received ${received} frames and judged ${judged}`)
  }
  for (const kind of ['wrong', 'corrupt', 'other'] as const) {
    if (sumOf(claimed, kind) > 0) faults.push(`${sumOf(claimed, kind)} frames are ${kind}`)
  }
  const requests = {
    claims: sumOf(claimed, 'claims'),
    releases: sumOf(claimed, 'releases'),
    replacements: sumOf(claimed, 'replacements'),
    taken: sumOf(claimed, 'taken'),
  }

  await each({ do: 'close' })
  await waitUntil('without ports', async () => (await daemon.ask<unknown[]>('ports')).length === 0)
  await Promise.all(claimants.map(({ client }) => client.program.endInput()))
  const { code, signal } = await daemon.stop()
  if (code !== 0) faults.push(`the daemon ended with ${signal ?? code}`)
  faults.push(...(await lab.compare()))
  const { onWire: sent, came, passed } = contended
  return { sent, came, passed, wrong: sumOf(claimed, 'wrong'), requests, faults }
}

export function shown({ sent, came, passed, wrong, requests, faults }: Contended): string {
  const { claims, releases, replacements, taken } = requests
  return [
    `${sent} frames while flows changed, ${came} came to clients, ${passed} to the host, ${wrong} to a wrong client`,
    `${claims} claims, ${replacements} replacements, ${releases} releases, ${taken} refused`,
    ...faults.map((fault) => `FAULT: ${fault}`),
  ].join('; ')
}

const portsOf = ({ first, ports }: Pool) => Array.from({ length: ports }, (_, n) => first + n)

function sumOf(
  claimed: readonly Claimed[],
  what: 'frames' | 'wrong' | 'corrupt' | 'other' | keyof Contended['requests'],
) {
  return claimed.reduce((sum, one) => sum + one[what], 0)
}

/** UDP ports of the pool that are bound on the lab's host. */
async function boundPorts(lab: Lab): Promise<number[]> {
  const table = await lab.host.output('cat', '/proc/net/udp')
  const bound = [...table.matchAll(/^ *\d+: [0-9A-F]{8}:([0-9A-F]{4}) /gm)].map(([, port]) => Number(`0x${port}`))
  return bound.filter((port) => portsOf(POOL).includes(port))
}

import type { PortInfo, PortStats, UplinkStatistics } from 'xsknet'
import { Client } from './client.js'
import { Daemon, GRANT } from './daemon.js'
import { residentBytes } from './footprint.js'
import { type Arrived, CARD, Lab, type Owner, portPrefixes, REMOTE } from './lab.js'
import { waitUntil } from './program.js'
import type { Numbers } from './programs/numbered.js'
import type { Level } from './programs/numbers.js'
import { accounted } from './scene.js'
import { lostInward, lostOutward } from './sums.js'

/** What is done with numbered datagrams: read, sent, or sent back. */
export const STAGES = ['rx', 'tx', 'l2fwd'] as const
export type Stage = (typeof STAGES)[number]

export interface EnduranceOptions {
  mode: 'native' | 'skb'
  /** Of each stage. */
  packets: number
  stages?: readonly Stage[]
  /** How the client does it; leases of an iterator unless set. */
  level?: Level
  /** Of the port: 1 unless set. */
  queues?: number
  /** Of the port: AF_XDP's unless set. */
  rings?: 'xsk' | 'bpf'
  /** Hears of each stage at its end. */
  tell?: (line: string) => void
}

/** What became of the datagrams of a stage. */
export interface Endured {
  stage: Stage
  sent: number
  /** Numbers that arrived, each once and in its turn. */
  arrived: number
  /** By where it was counted. */
  lost: Record<string, number>
  seconds: number
  /** System calls that told the kernel to send, and of free chunks. */
  kicks: number
  /** Bytes of memory that the client has more than when the stage began. */
  grown: number
  /** What must not be. */
  faults: string[]
}

const FLOWS = 8
/** Of the remote host: where stages send to, apart. */
const DISCARD = 9
const SINKS = 9000

const since = (then: Record<string, number>, now: Record<string, number>) =>
  Object.fromEntries(
    Object.entries(now)
      .map(([where, frames]) => [where, frames - (then[where] ?? 0)] as const)
      .filter(([, frames]) => frames > 0),
  )

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0)

/**
 * Numbered datagrams of some flows into a port, out of it, and through it. Each must arrive unaltered, once and in its
 * turn, or be counted as lost at one place; what is only sent on when an answer came must not be lost at all. /
 */
export async function endure(
  owner: Owner,
  { mode, packets, stages = STAGES, level = 'batches', queues = 1, rings = 'xsk', tell = () => {} }: EnduranceOptions,
): Promise<Endured[]> {
  const lab = await Lab.create(owner)
  await lab.sink(SINKS, { flows: FLOWS })
  await lab.snapshot()
  const config = `${GRANT}queues = ${queues}\nbpfRings = true\n`
  const daemon = await Daemon.start(lab, { mode, config })
  const client = Client.start(lab, '__test__/helpers/programs/numbers.ts', { socket: daemon.socket })
  const info = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0), queues, rings })
  const target = { mac: info.mac, address: info.addresses[0] as string, port: DISCARD }

  const port = { info, stats: () => client.ask<PortStats>({ do: 'stats' }) }
  const uplink = async () => {
    const { uplinks } = await daemon.ask<{ uplinks: [{ statistics: UplinkStatistics }] }>('stats', CARD)
    return uplinks[0].statistics
  }
  const lost = async () => {
    const [stats, card] = [await port.stats(), await uplink()]
    return { inward: lostInward(stats, card), outward: lostOutward(stats, card) }
  }

  const kicked = async () => {
    const { kicks, fillKicks } = (await port.stats()).client
    return kicks + fillKicks
  }

  const run: Record<Stage, () => Promise<Omit<Endured, 'stage' | 'grown' | 'kicks'>>> = {
    rx: async () => {
      const before = await lost()
      await client.ask({ do: 'read', level, back: false })
      const { sent, lostAtTheFarEnd, seconds } = await lab.flood(target, {
        frames: packets,
        flows: FLOWS,
        live: mode === 'native',
      }).done
      await accounted(lab, uplink, [port])
      const seen = await client.ask<Numbers>({ do: 'stop' })
      const places = {
        ...since(before.inward, (await lost()).inward),
        ...(lostAtTheFarEnd && { 'not on the wire': lostAtTheFarEnd }),
      }
      const faults = [...faultsOf(seen), ...balance(sent, seen.distinct, places)]
      // A gap is seen when a later number comes, so those at the end of each flow are not.
      if (seen.missing > sum(places))
        faults.push(`${seen.missing} numbers are missing, but ${sum(places)} frames were lost`)
      if (sent !== packets) faults.push(`${sent} of ${packets} were sent`)
      return { sent, arrived: seen.distinct, lost: places, seconds, faults }
    },
    tx: async () => {
      const before = await lost()
      const came = await lab.sink(SINKS, { flows: FLOWS })
      await client.ask({ do: 'read', level, back: false })
      const began = performance.now()
      await client.ask({
        do: 'emit',
        level,
        to: { mac: lab.farMac, address: REMOTE.v4, port: SINKS },
        frames: packets,
        flows: FLOWS,
      })
      const seconds = (performance.now() - began) / 1000
      await accounted(lab, uplink, [port])
      await client.ask({ do: 'stop' })
      const places = since(before.outward, (await lost()).outward)
      const { distinct, ...arrived } = difference(came, await lab.sink(SINKS, { flows: FLOWS }))
      return {
        sent: packets,
        arrived: distinct,
        lost: places,
        seconds,
        faults: [...faultsOf(arrived), ...balance(packets, distinct, places)],
      }
    },
    l2fwd: async () => {
      const before = await lost()
      await client.ask({ do: 'read', level, back: true })
      const {
        sent,
        answered,
        seconds,
        longestWait: _,
        ...looped
      } = await lab.closedLoop(target, { frames: packets, flows: FLOWS }).done
      await accounted(lab, uplink, [port])
      const seen = await client.ask<Numbers>({ do: 'stop' })
      const after = await lost()
      const places = { ...since(before.inward, after.inward), ...since(before.outward, after.outward) }
      const faults = [
        ...faultsOf(looped),
        ...faultsOf(seen),
        ...balance(packets, answered, {}),
        ...balance(sent, seen.distinct, {}),
      ]
      if (seen.missing + sum(places) > 0)
        faults.push(`${seen.missing} numbers are missing, ${JSON.stringify(places)} lost`)
      return { sent, arrived: answered, lost: places, seconds, faults }
    },
  }

  const all: Endured[] = []
  for (const stage of stages) {
    const resident = residentBytes(client.program.pid)
    const before = await kicked()
    const came = await run[stage]()
    const endured = {
      stage,
      ...came,
      kicks: (await kicked()) - before,
      grown: residentBytes(client.program.pid) - resident,
    }
    all.push(endured)
    tell(shown(endured))
  }
  const last = all.at(-1)?.faults ?? []
  await client.ask({ do: 'close' })
  await waitUntil('without the port', async () => (await daemon.ask<unknown[]>('ports')).length === 0)
  await client.stop()
  const { code, signal } = await daemon.stop()
  if (code !== 0) last.push(`the daemon ended with ${signal ?? code}`)
  last.push(...(await lab.compare()))
  return all
}

export function shown({ stage, sent, arrived, lost, seconds, kicks, grown, faults }: Endured): string {
  const places = Object.entries(lost).map(([where, frames]) => `${frames} ${where}`)
  const rate = `${(sent / seconds / 1e6).toFixed(3)} Mpps`
  return [
    `${stage}: ${sent} sent, ${arrived} arrived in order, ${places.length > 0 ? places.join(', ') : 'none lost'}`,
    `${seconds.toFixed(1)} s, ${rate}, ${kicks} kicks, grown by ${Math.round(grown / 1024)} KiB`,
    ...faults.map((fault) => `FAULT: ${fault}`),
  ].join('; ')
}

/** What must be zero. */
function faultsOf(counts: Partial<Record<'repeated' | 'late' | 'corrupt' | 'other' | 'unsent', number>>): string[] {
  const none = ['repeated', 'late', 'corrupt', 'other', 'unsent'] as const
  return none.flatMap((kind) => (counts[kind] ? `${counts[kind]} are ${kind}` : []))
}

function balance(sent: number, arrived: number, lost: Record<string, number>): string[] {
  const left = sent - arrived - sum(lost)
  return left === 0
    ? []
    : [`${sent} were sent, ${arrived} arrived, and ${sum(lost)} were lost: ${left} are unaccounted`]
}

function difference(then: Arrived, now: Arrived): Arrived {
  return Object.fromEntries(
    Object.entries(now).map(([kind, frames]) => [kind, frames - then[kind as keyof Arrived]]),
  ) as never
}

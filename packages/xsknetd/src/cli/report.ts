/**
 * The text output of `xsknetd status`, `ports`, `stats` and `--version`.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import type {
  Counters,
  DaemonStatus,
  KernelStatistics,
  PortEntry,
  PortStatistics,
  RingStatistics,
  UplinkStatistics,
} from 'xsknet'

/** The statistics that `stats` shows. */
export interface Statistics {
  readonly uplinks: readonly { readonly uplink: string; readonly statistics: UplinkStatistics }[]
  readonly ports: readonly (PortEntry & { readonly statistics: PortStatistics })[]
}

/** What `--version` shows. */
export interface Version {
  readonly version: string
  /** Of the control protocol. */
  readonly protocol: number
  readonly node: string
  /** The BPF objects, or why the binding does not load. */
  readonly objects: readonly { readonly name: string; readonly bytes: Uint8Array }[] | Error
}

/** A BPF object is identified by the first 12 hex digits of its SHA-256. */
export function versionReport({ version, protocol, node, objects }: Version): string {
  const lines = [`xsknetd ${version}`, `protocol ${protocol}`, `node ${node}`]
  if (objects instanceof Error) return [...lines, `BPF objects unavailable: ${objects.message}`].join('\n')
  const rows = objects.map(({ name, bytes }) => [
    `  ${name}`,
    createHash('sha256').update(bytes).digest('hex').slice(0, 12),
  ])
  return [...lines, table(['BPF objects', 'SHA-256'], rows)].join('\n')
}

export function statusReport({
  daemon,
  instance,
  pid,
  uptimeSeconds,
  uplinks,
  gone,
  clients,
  ports,
}: DaemonStatus): string {
  const open = `${counted(clients, 'client')}, ${counted(ports, 'port')}`
  const head = `${daemon}, instance ${instance}, process ${pid}, up ${duration(uptimeSeconds)}: ${open}`
  const lost = gone.map(({ uplink, seconds }) => {
    return `${uplink} has been gone for ${duration(seconds)}: restart the daemon once the interface is back`
  })
  if (uplinks.length === 0) return [head, ...(lost.length > 0 ? lost : ['no uplinks that you may use'])].join('\n')
  const rows = uplinks.map(({ uplink, device, mac, mtu, link, mode, attempts }) => {
    const refused = attempts.flatMap(({ step, code }) => (code === null ? [] : [`${step} ${code}`]))
    const name = device === uplink ? uplink : `${uplink} (now ${device})`
    return [name, link, mac, `${mtu}`, mode, refused.join(', ')]
  })
  return [head, table(['uplink', 'link', 'mac', 'mtu', 'mode', 'refused'], rows), ...lost].join('\n')
}

export function portsReport(ports: readonly PortEntry[]): string {
  if (ports.length === 0) return 'no open ports'
  const rows = ports.map(({ port, name, uplink, vlan, queues, rings, mac, uid, pid, addresses, groups }) => {
    const sizes = [`${vlan ?? '-'}`, `${queues}`]
    return [`${port}`, name, uplink, ...sizes, rings, mac, `${uid}`, `${pid}`, addresses.join(' '), groups.join(' ')]
  })
  const head = ['port', 'name', 'uplink', 'vlan', 'queues', 'rings', 'mac', 'uid', 'pid', 'addresses', 'groups']
  return table(head, rows, [0, 3, 4, 7, 8])
}

export function statisticsReport({ uplinks, ports }: Statistics): string {
  const blocks = [
    ...uplinks.map(({ uplink, statistics }) => [`uplink ${uplink}`, hops(uplinkHops(statistics))]),
    ...ports.map(({ port, name, uplink, uid, pid, statistics }) => {
      return [`port ${port} \`${name}\` on ${uplink}, user ${uid}, process ${pid}`, hops(portHops(statistics))]
    }),
  ]
  return blocks.length === 0 ? 'no uplinks or ports that you may query' : blocks.flat().join('\n')
}

/** A hop of the packet path. Without `seen`, only losses are counted there. */
interface Hop {
  readonly hop: string
  readonly seen?: number
  readonly onward?: Record<string, number>
  /** By reason; `null` if it is not counted. */
  readonly lost: Record<string, number | null>
}

function program(hop: string, { seen, passed, toPort, toUplink, toSocket, dropped }: Counters): Hop {
  return { hop, seen, onward: { host: passed, port: toPort, uplink: toUplink, socket: toSocket }, lost: dropped }
}

function uplinkHops({
  program: counters,
  unattributed,
  transmitDrops,
  refusedRedirects,
  closed,
}: UplinkStatistics): Hop[] {
  const gone = portHops(closed).map((hop) => ({ ...hop, hop: `closed: ${hop.hop}` }))
  return [
    program('uplink program', counters),
    { hop: 'redirect to ports', lost: { refused: refusedRedirects } },
    { hop: 'uplink transmits', lost: { no_room: transmitDrops } },
    program('guard, no port', unattributed),
    ...(gone.some(hasCounted) ? gone : []),
  ]
}

/** Whether any frame was counted: closed ports without one are not shown. */
function hasCounted({ seen = 0, onward = {}, lost }: Hop): boolean {
  return seen > 0 || sum(onward) > 0 || sum(lost) > 0
}

function portHops({ guard, copies, program: counters, socket, rings, ...pair }: PortStatistics): Hop[] {
  return [
    ...(copies.seen > 0 ? [program('copies', copies)] : []),
    { hop: 'pair, inward', lost: { no_room: pair.outerTransmitDrops } },
    program('port program', counters),
    ...(socket ? socketHops(socket, counters.toSocket) : []),
    ...(rings && rings.received + rings.noChunk + rings.sent > 0 ? ringHops(rings) : []),
    { hop: 'pair, outward', lost: { no_room: pair.innerTransmitDrops } },
    program('guard', guard),
    { hop: 'redirect by guard', lost: { refused: pair.outerRefusedRedirects } },
  ]
}

function socketHops({ rxDropped, rxRingFull, txInvalidDescs }: KernelStatistics, seen: number): Hop[] {
  return [
    {
      hop: 'socket receives',
      seen,
      onward: { application: seen - rxDropped - rxRingFull },
      lost: { rx_dropped: rxDropped, rx_ring_full: rxRingFull },
    },
    { hop: 'socket sends', lost: { bad_descriptor: txInvalidDescs } },
  ]
}

/** The programs that dropped the frames count them too, as `no_chunk`. */
function ringHops({ received, noChunk, invalidChunk, sent }: RingStatistics): Hop[] {
  return [
    {
      hop: 'rings receive',
      seen: received + noChunk,
      onward: { application: received - invalidChunk },
      lost: { no_chunk: noChunk, invalid_chunk: invalidChunk },
    },
    { hop: 'rings send', seen: sent, onward: { guard: sent }, lost: {} },
  ]
}

function hops(all: readonly Hop[]): string {
  const rows = all.map(({ hop, seen, onward, lost }) => {
    return [
      `  ${hop}`,
      `${seen ?? ''}`,
      onward ? `${sum(onward)}` : '',
      `${sum(lost)}`,
      [...parts(onward ?? {}, 'to '), ...parts(lost)].join(', '),
    ]
  })
  return table(['  hop', 'seen', 'onward', 'lost', 'of these'], rows, [1, 2, 3])
}

function parts(counts: Record<string, number | null>, before = ''): string[] {
  return Object.entries(counts).flatMap(([what, count]) =>
    count === 0 ? [] : [`${before}${what} ${count ?? 'not counted'}`],
  )
}

function sum(counts: Record<string, number | null>): number {
  return Object.values(counts).reduce<number>((sum, count) => sum + (count ?? 0), 0)
}

function table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => (right.includes(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
      .join('  ')
      .trimEnd()
  return [head, ...rows].map(line).join('\n')
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function duration(seconds: number): string {
  const units: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ]
  const first = units.findIndex(([count]) => count > 0)
  return first === -1
    ? '0 s'
    : units
        .slice(first, first + 2)
        .map(([count, unit]) => `${count} ${unit}`)
        .join(' ')
}

import type { Counters, PortStatistics, PortStats, UplinkStatistics } from 'xsknet'

/** Two counts of the same frames, taken at different places: equal at rest. docs/losses.md explains them. */
export interface Sum {
  what: string
  left: number
  right: number
}

const dropped = ({ dropped }: Counters) => Object.values(dropped).reduce((sum, frames) => sum + frames, 0)
const onward = (c: Counters) => c.passed + c.toPort + c.toUplink + c.toSocket + dropped(c)

/** The sums of one port. */
export function portSums({ client, daemon }: PortStats): Sum[] {
  if (!daemon) throw new Error('the sums of a port take the daemon’s counters')
  const { guard, copies, program, socket, rings, innerTransmitDrops } = daemon
  if (!socket) throw new Error('the sums of a port take its socket’s counters, which it has not shared')
  return [
    { what: 'port sent', left: client.completed, right: guard.seen + innerTransmitDrops + socket.txInvalidDescs },
    { what: 'guard program', left: guard.seen, right: onward(guard) },
    { what: 'copies', left: copies.seen, right: onward(copies) },
    {
      what: 'port received',
      left: program.seen + (rings?.received ?? 0),
      right: dropped(program) + client.received + (rings?.invalidChunk ?? 0) + socket.rxDropped + socket.rxRingFull,
    },
  ]
}

/**
 * The uplink's own sum, and the one over it and all its open ports; `far` frames came from ports to the wire's far end.
 */
export function uplinkSums(uplink: UplinkStatistics, ports: readonly PortStatistics[], far: number): Sum[] {
  const { program, unattributed, transmitDrops, refusedRedirects, announced, closed } = uplink
  const wire = {
    left: program.toPort + unattributed.toPort + unattributed.toUplink + announced,
    right: far + (transmitDrops ?? 0) + (refusedRedirects ?? 0),
  }
  for (const { guard, copies, program, rings, outerTransmitDrops, outerRefusedRedirects } of [...ports, closed]) {
    wire.left += guard.toPort + guard.toUplink + copies.toPort
    wire.right += program.seen + outerTransmitDrops + outerRefusedRedirects
    wire.right += rings ? rings.received - rings.invalidChunk : 0
  }
  return [
    { what: 'uplink program', left: program.seen, right: onward(program) },
    { what: 'between the programs', ...wire },
  ]
}

/** Frames that were lost between the wire and a port's client, by where. */
export function lostInward(
  { socket, daemon }: PortStats,
  { program, refusedRedirects }: UplinkStatistics,
): Record<string, number> {
  if (!daemon) throw new Error('losses take the daemon’s counters')
  return {
    'dropped by the uplink program': dropped(program),
    'refused by the outer end': refusedRedirects ?? 0,
    'no room at the inner end': daemon.outerTransmitDrops,
    'dropped by the port program': dropped(daemon.program),
    'no room in FILL': socket.rxDropped,
    'no room in RX': socket.rxRingFull,
  }
}

/** Frames that were lost between a port's client and the wire, by where. */
export function lostOutward(
  { socket, daemon }: PortStats,
  { transmitDrops }: UplinkStatistics,
): Record<string, number> {
  if (!daemon) throw new Error('losses take the daemon’s counters')
  return {
    'refused descriptors': socket.txInvalidDescs,
    'no room at the outer end': daemon.innerTransmitDrops,
    'dropped by the guard': dropped(daemon.guard),
    'refused by the uplink': daemon.outerRefusedRedirects,
    'no room at the far end': transmitDrops ?? 0,
  }
}

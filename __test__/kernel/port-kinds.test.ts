import test from 'ava'
import type { Counters, PortStats, UplinkStatistics } from 'xsknet'
import { portAddresses, REMOTE, UNJUDGED } from '../helpers/lab.js'
import { portKinds } from '../helpers/port-kinds.js'
import type { Seen } from '../helpers/programs/orders.js'
import { assertAccounted, DISCARD } from '../helpers/scene.js'

const PINGS = 300
const LENGTHS = [1, 17, 18, 63, 64, 65, 512, 1024, 1451, 1452]
const FRAMES = 100_000
const SENT = 1000

/** Frames that the remote host sends of its own accord, to learn or to confirm who has the address. */
const neighbours = ({ arp, ndp }: Seen) => arp + ndp

/** The counters that do not hang on who runs when: not the system calls, nor how often the kernel found TX empty. */
function exact({ client, socket, daemon }: PortStats, asked: number) {
  if (!daemon) throw new Error('the port has no statistics')
  const { received, sent, completed, kicks: _, kickRetries: __, fillKicks: ___, ...refused } = client
  const { txRingEmptyDescs: ____, ...lost } = socket
  const program = ({ seen, toSocket, toUplink, ...rest }: Counters) => {
    return { ...rest, seen: seen - asked, onward: toSocket + toUplink - asked }
  }
  return {
    client: { ...refused, received: received - asked, sent: sent - asked, completed: completed - asked },
    socket: lost,
    guard: program(daemon.guard),
    program: program(daemon.program),
    innerTransmitDrops: daemon.innerTransmitDrops,
    outerTransmitDrops: daemon.outerTransmitDrops,
    outerRefusedRedirects: daemon.outerRefusedRedirects,
  }
}

/** What the uplink's program counts, except the host's own frames. */
function ofCard({ program, unattributed, transmitDrops, refusedRedirects }: UplinkStatistics, asked: number) {
  const { seen, passed, toPort, ...rest } = program
  const own = { ...rest, seen: seen - passed - asked, toPort: toPort - asked }
  return { program: own, unattributed, transmitDrops, refusedRedirects }
}

/** What was counted in between. */
function since<T extends object>(then: T, now: T): T {
  const difference = (key: keyof T, value: unknown) =>
    typeof value === 'number' ? value - (then[key] as number) : value && since(then[key] as object, value)
  return Object.fromEntries(Object.entries(now).map(([key, value]) => [key, difference(key as keyof T, value)])) as T
}

/** By mode: what the first kind counted. */
const first = new Map<string, unknown>()

for (const mode of ['native', 'skb'] as const) {
  // A pinned port is refused there: its guard would be in skb mode, too.
  const possible = Object.entries(portKinds).filter(([kind]) => mode === 'native' || kind !== 'pinned')
  for (const [kind, { open, selfTest }] of possible) {
    test.serial(`${mode}: ${kind}: the same traffic moves the same counters, and no chunk is lost`, async (t) => {
      const { lab, client, uplink, end, ...place } = await open(t, { mode })
      const port = await place.port()
      t.deepEqual([port.info.portMode, port.info.guardMode, port.info.mtu], ['native', mode, 1500])
      const opened = { ...exact(await port.stats(), 0), card: ofCard(await uplink(), 0) }
      const { received, sent, completed } = opened.client
      const by = { card: opened.card.program.toPort, program: opened.program.seen, guard: opened.guard.seen }
      t.deepEqual({ received, sent, completed, ...by }, selfTest)

      const [v4, v6] = portAddresses(0)
      for (const address of [v4, v6]) t.deepEqual(await lab.remote.unanswered(address, PINGS), [])
      for (const address of [v4, v6]) t.is((await lab.udpEcho(address, LENGTHS)).identical, LENGTHS.length)
      const { answered, lost, repeated, corrupt } = await lab.closedLoop(port.target(), { frames: FRAMES }).done
      if (lost > 0) t.log(JSON.stringify({ port: await port.stats(), card: await uplink() }))
      t.deepEqual({ answered, lost, repeated, corrupt }, { answered: FRAMES, lost: 0, repeated: 0, corrupt: 0 })
      await client.ask({ do: 'send', to: { mac: lab.farMac, address: REMOTE.v4, port: DISCARD }, count: SENT })
      await assertAccounted(t, lab, uplink, [port])

      const [stats, seen] = [await port.stats(), await port.seen()]
      const asked = neighbours(seen)
      const counted = since(opened, { ...exact(stats, asked), card: ofCard(await uplink(), asked) })
      const { icmp, udp, other, strange, unsent } = seen
      const udpEchoes = 2 * LENGTHS.length + FRAMES
      const pings = 2 * (PINGS + UNJUDGED)
      t.deepEqual(
        { icmp, udp, other, strange, unsent },
        { icmp: pings, udp: udpEchoes, other: 0, strange: 0, unsent: 0 },
      )
      const all = pings + udpEchoes
      t.deepEqual(
        [
          counted.client.received,
          counted.program.seen,
          counted.client.sent,
          counted.client.completed,
          counted.guard.seen,
        ],
        [all, all, all + SENT, all + SENT, all + SENT],
      )
      const counters = { counted, sink: await lab.sink(DISCARD), chunks: stats.chunks }
      t.deepEqual(first.get(mode) ?? counters, counters)
      first.set(mode, counters)
      await end()
    })
  }
}

import test, { type ExecutionContext } from 'ava'
import type { PortInfo, PortStats } from 'xsknet'
import type { Client } from '../helpers/client.js'
import { CARD, portAddresses, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import type { Seen } from '../helpers/programs/orders.js'
import { Answering, Scene } from '../helpers/scene.js'
import { lostInward } from '../helpers/sums.js'

const DISCARD = 9
const FOR_EVER = 1e9
/** Slots of RX. */
const RING = 2048

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0)
const seen = (client: Client, as: string) => client.ask<Seen>({ do: 'seen', as })

/** A client with ports of its own, by their names. */
async function ports(scene: Scene, ...names: string[]): Promise<{ client: Client; of: Record<string, Answering> }> {
  const client = await scene.client()
  const of: Record<string, Answering> = {}
  for (const [n, as] of names.entries()) {
    const info = await client.ask<PortInfo>({
      do: 'open',
      as,
      uplink: CARD,
      addresses: portPrefixes(n),
      ringSize: RING,
    })
    const stats = () => client.ask<PortStats>({ do: 'stats', as })
    of[as] = Object.assign(new Answering(client, info), { stats })
  }
  return { client, of }
}

/** Each frame that was sent came to a reader, or is counted as lost. */
async function allCame(
  t: ExecutionContext,
  scene: Scene,
  sent: { sent: number; lostAtTheFarEnd: number },
  port: Answering,
  read: Seen,
) {
  const lost = lostInward(await port.stats(), await scene.uplink())
  t.log(`${sent.sent} sent, ${read.frames} read in ${read.batches} batches, ${JSON.stringify(lost)}`)
  t.is(sent.sent - sent.lostAtTheFarEnd, read.udp + sum(lost))
  return lost
}

test.serial(
  'a reader that sleeps 50 ms after each batch loses what is counted, is told, and is quick once it is awake',
  async (t) => {
    const scene = await Scene.open(t)
    const { client, of } = await ports(scene, 'slow')
    const slow = of.slow as Answering
    await client.ask({ do: 'answer', as: 'slow' })
    await client.ask({ do: 'pause', as: 'slow', milliseconds: 50 })
    const flood = await scene.lab.flood(slow.target(DISCARD), { frames: 100_000 }).done
    await client.event('starved')
    await client.ask({ do: 'pause', as: 'slow', milliseconds: 0 })
    await scene.assertAccounted(t, slow)
    const lost = await allCame(t, scene, flood, slow, await seen(client, 'slow'))
    t.true(sum(lost) > 50_000, 'a reader that sleeps most of the time kept up')

    const { answered, lost: unanswered } = await scene.lab.closedLoop(slow.target(), { frames: 20_000 }).done
    t.deepEqual([answered, unanswered], [20_000, 0])
    await scene.assertAccounted(t, slow)
    await scene.end(t)
  },
)

test.serial(
  'a port that nobody reads, and one whose reader never comes back, cost their neighbour nothing',
  async (t) => {
    const scene = await Scene.open(t)
    const { client, of } = await ports(scene, 'unread', 'held', 'neighbour')
    const { unread, held, neighbour } = of as Record<string, Answering>
    if (!unread || !held || !neighbour) throw new Error('there is a port missing')
    await client.ask({ do: 'answer', as: 'neighbour' })
    await client.ask({ do: 'pause', as: 'held', milliseconds: FOR_EVER })
    await client.ask({ do: 'answer', as: 'held' })
    const loop = scene.lab.closedLoop(neighbour.target(), { outstanding: 64 })
    const floods = [unread, held].map(
      (port) => scene.lab.flood(port.target(DISCARD), { frames: 50_000, rate: 100_000 }).done,
    )
    const [ofUnread, ofHeld] = await Promise.all(floods)
    if (!ofUnread || !ofHeld) throw new Error('there is a flood missing')
    const { answered } = await loop.progress()
    await waitUntil('going on', async () => (await loop.progress()).answered > answered + 5000)
    const done = await loop.stop()
    t.deepEqual([done.answered, done.lost, done.late, done.corrupt], [done.sent, 0, 0, 0])
    const { held: holds } = (await held.stats()).chunks
    t.true(holds > 0)

    // Both read on: what their rings had room for is still there, and all chunks are free at the end.
    await client.ask({ do: 'answer', as: 'unread' })
    await client.ask({ do: 'pause', as: 'held', milliseconds: 0 })
    await scene.assertAccounted(t, unread, held, neighbour)
    for (const [name, port] of Object.entries({ unread, held })) {
      const { client: counted, socket } = await port.stats()
      t.log(`${name}: ${counted.received} read, ${socket.rxDropped} dropped`)
      t.true(counted.received >= RING, `${counted.received} frames were kept`)
    }
    t.is((await scene.lab.udpEcho(portAddresses(0)[0], [100])).identical, 1)
    t.is((await scene.lab.udpEcho(portAddresses(1)[0], [100])).identical, 1)
    await scene.end(t)
  },
)

test.serial('a port lost in the middle of a batch ends the lease at once, and the loop with the reason', async (t) => {
  const scene = await Scene.open(t)
  const { client, of } = await ports(scene, 'held')
  const held = of.held as Answering
  await client.ask({ do: 'pause', as: 'held', milliseconds: FOR_EVER })
  await client.ask({ do: 'answer', as: 'held' })
  const flood = scene.lab.flood(held.target(DISCARD), { seconds: 60, rate: 50_000 })
  await waitUntil('within a batch', async () => (await seen(client, 'held')).batches > 0)
  const { send: _, ...within } = await client.ask<Record<string, unknown>>({ do: 'kept', as: 'held' })
  t.true(
    Object.values(within).every((value) => typeof value === 'number' && value > 0) || within.byte === 0,
    JSON.stringify(within),
  )
  await scene.lab.host.deleteLink(held.info.outer)
  t.like(await client.event('lost'), { code: 'ERR_XSKNET_PORT_LOST' })
  const over = 'ERR_XSKNET_LEASE_ENDED'
  t.deepEqual(await client.ask({ do: 'kept', as: 'held' }), { length: over, byte: over, send: over, view: 0 })
  await client.ask({ do: 'pause', as: 'held', milliseconds: 0 })
  t.is(await client.ask({ do: 'ended', as: 'held' }), 'ERR_XSKNET_PORT_LOST')
  await flood.stop()
  await scene.end(t)
})

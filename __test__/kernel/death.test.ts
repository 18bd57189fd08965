import { existsSync, readdirSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import type { PortEntry } from 'xsknet'
import { ordered, ringClient } from '../helpers/attack/ring-client.js'
import { withRightsOf } from '../helpers/client.js'
import { Daemon, GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD, portAddresses, REMOTE } from '../helpers/lab.js'
import { inside, Program, waitUntil } from '../helpers/program.js'
import { DISCARD, Scene } from '../helpers/scene.js'

/** Frames that `ring-client` sends for one order, and those that are sent to it. */
const SENT = 64
const FRAMES = 500

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length

/** All that ports have in the kernel: devices, pins of links, programs and maps, the uplink's filters. */
async function footprint({ lab, daemon }: Scene): Promise<Record<'devices' | 'pins' | 'filters', string[]>> {
  const lines = (text: string) => text.trim().split('\n').sort()
  return {
    devices: lines(await lab.host.output('ip', '-o', 'link')).map((line) => line.split(': ')[1] as string),
    pins: readdirSync(`/sys/fs/bpf/xsknet/${daemon.instance}`, { recursive: true, encoding: 'utf8' }).sort(),
    filters: lines(await lab.host.output('bridge', 'fdb', 'show', 'dev', CARD)),
  }
}

const RINGS = `${GRANT}bpfRings = true\n`

for (const [mode, rings] of [
  ['native', 'xsk'],
  ['skb', 'xsk'],
  ['native', 'bpf'],
] as const) {
  test.serial(
    `${mode}, ${rings}: a client killed in full traffic leaves nothing within a second; its neighbour loses nothing`,
    async (t) => {
      const scene = await Scene.open(t, { mode, config: RINGS })
      const { lab, daemon } = scene
      const neighbour = await scene.answering(0, {}, { rings })
      const before = { ...(await footprint(scene)), descriptors: descriptorsOf(daemon.program.pid) }

      const victim = await scene.answering(1, {}, { rings })
      const during = await footprint(scene)
      for (const what of ['devices', 'pins', 'filters'] as const)
        t.true(during[what].length > before[what].length, what)
      const loop = lab.closedLoop(neighbour.target(), { outstanding: 64 })
      const flood = lab.closedLoop(victim.target(), { outstanding: 64 })
      const answered = async () => Math.min((await flood.progress()).answered, (await loop.progress()).answered)
      await waitUntil('in full traffic', async () => (await answered()) > 20_000)

      const killed = Date.now()
      const gone = victim.client.kill()
      let after: typeof before | undefined
      const asBefore = async () => {
        after = { ...(await footprint(scene)), descriptors: descriptorsOf(daemon.program.pid) }
        return isDeepStrictEqual(after, before)
      }
      await waitUntil('as before the victim', asBefore, 1000).catch(() => t.deepEqual(after, before))
      t.true(Date.now() - killed < 1000, `${Date.now() - killed} ms`)
      t.is((await daemon.ask<PortEntry[]>('ports')).length, 1)
      await gone

      await flood.stop()
      const answeredBy = (await loop.progress()).answered
      await waitUntil('going on', async () => (await loop.progress()).answered > answeredBy + 20_000)
      const done = await loop.stop()
      t.deepEqual([done.answered, done.lost, done.repeated, done.corrupt], [done.sent, 0, 0, 0])
      await scene.end(t)
    },
  )
}

test.serial('packets go on while the daemon is stopped, and so does everything else once it goes on', async (t) => {
  const scene = await Scene.open(t)
  const port = await scene.answering()
  const loop = scene.lab.closedLoop(port.target(), {})
  await waitUntil('answered', async () => (await loop.progress()).answered > 1000)
  scene.daemon.program.signal('SIGSTOP')
  const { answered } = await loop.progress()
  await waitUntil('answered without the daemon', async () => (await loop.progress()).answered > answered + 50_000)
  scene.daemon.program.signal('SIGCONT')
  const done = await loop.stop()
  t.deepEqual([done.answered, done.lost], [done.sent, 0])
  t.is((await scene.daemon.ask<PortEntry[]>('ports')).length, 1)
  await scene.end(t)
})

test.serial(
  'the client of a killed daemon learns that it is detached, goes on, and ' +
    'sees its port lost when the next daemon cleans up',
  async (t) => {
    const scene = await Scene.open(t)
    const { lab } = scene
    const port = await scene.answering()
    const loop = lab.closedLoop(port.target(), {})
    await waitUntil('answered', async () => (await loop.progress()).answered > 1000)
    t.like(await scene.daemon.kill(), { signal: 'SIGKILL' })
    await port.client.event('detached')
    t.like(await port.client.event('daemonGone'), { code: 'ERR_XSKNET_DAEMON_GONE' })
    const { answered } = await loop.progress()
    await waitUntil('answered without a daemon', async () => (await loop.progress()).answered > answered + 50_000)
    const done = await loop.stop()
    t.deepEqual([done.answered, done.lost], [done.sent, 0])
    const { daemon } = await port.stats()
    t.is(daemon, undefined)
    await t.throwsAsync(port.client.ask({ do: 'uplinks' }), { code: 'ERR_XSKNET_DAEMON_GONE' })

    const next = await Daemon.start(lab)
    t.like(await port.client.event('lost', 5000), { code: 'ERR_XSKNET_PORT_LOST' })
    t.is(await port.client.ask({ do: 'ended' }), 'ERR_XSKNET_PORT_LOST')
    t.is(await port.client.ask({ do: 'closed' }), 'ERR_XSKNET_PORT_LOST')
    const fresh = await scene.answering()
    t.is((await lab.udpEcho(portAddresses(0)[0], [100])).identical, 1)
    t.truthy(fresh.info.port)
    t.deepEqual(await next.stop(), { code: 0, signal: null })
    t.deepEqual(await lab.compare(), [])
    t.false(existsSync(scene.daemon.socket))
  },
)

test.serial(
  'a client with BPF rings sends and receives without a daemon, and neither once the next one has cleaned up',
  async (t) => {
    const scene = await Scene.open(t, { mode: 'native', config: RINGS })
    const { lab } = scene
    const command = ringClient(lab, scene.daemon.socket, 0, '02:00:00:00:00:01', REMOTE.v4)
    const client = new Program(inside(lab.host.namespace, [...withRightsOf(NOBODY), ...command]))
    t.teardown(async () => {
      if (client.running) await client.kill()
    })
    const [, mac = ''] = /^\d+ (\S+)$/.exec(await ordered(client, 'open')) ?? []
    const target = { mac, address: portAddresses(0)[0], port: DISCARD }
    const flood = async () => {
      await lab.flood(target, { frames: FRAMES, rate: 10_000 }).done
      return Number(await ordered(client, 'give'))
    }
    const send = async () => {
      const before = await lab.framesFrom(mac)
      t.is(await ordered(client, 'send'), `${SENT} taken, ok`)
      return async () => (await lab.framesFrom(mac)) - before
    }
    await ordered(client, 'give')
    const first = await send()
    await waitUntil('sent', async () => (await first()) >= SENT)
    t.true((await flood()) >= FRAMES)

    t.like(await scene.daemon.kill(), { signal: 'SIGKILL' })
    const second = await send()
    await waitUntil('sent without a daemon', async () => (await second()) === SENT)
    t.true((await flood()) >= FRAMES)

    const next = await Daemon.start(lab, { mode: 'native', config: RINGS })
    // Its entries are taken still, and what they become is the program's: nothing.
    const third = await send()
    t.is(await flood(), 0)
    t.is(await third(), 0)
    await client.kill()
    t.deepEqual(await next.stop(), { code: 0, signal: null })
    t.deepEqual(await lab.compare(), [])
  },
)

test.serial(
  'a program that is killed and started again answers the first ping at once, under another name or none',
  async (t) => {
    const scene = await Scene.open(t)
    const { remote } = scene.lab
    const macs = new Set<string>()
    for (const name of [{ name: 'first' }, { name: 'second' }, {}]) {
      const { client, info } = await scene.answering(0, {}, name)
      for (const address of portAddresses(0)) {
        // The far end has asked for the first one's MAC.
        if (macs.size === 0) t.deepEqual(await remote.unanswered(address, 1), [])
        const time = await remote.answerTime(address)
        t.true(time <= 100, `${address} of ${info.name}: ${time} ms`)
      }
      macs.add(info.mac)
      await client.kill()
    }
    t.is(macs.size, 3, 'each is known by another MAC')
    await scene.end(t)
  },
)

test.serial('SIGTERM with ports open and traffic on undoes everything, and tells the clients why', async (t) => {
  const scene = await Scene.open(t)
  const port = await scene.answering()
  const loop = scene.lab.closedLoop(port.target(), {})
  await waitUntil('answered', async () => (await loop.progress()).answered > 10_000)
  await scene.end(t)
  t.like(await port.client.event('lost'), { code: 'ERR_XSKNET_PORT_LOST' })
  t.is(await port.client.ask({ do: 'ended' }), 'ERR_XSKNET_PORT_LOST')
  await loop.stop()
})

test.serial('a client that ends without closing anything leaves nothing', async (t) => {
  const scene = await Scene.open(t)
  const port = await scene.answering()
  t.deepEqual(await port.client.program.stop('SIGTERM'), { code: null, signal: 'SIGTERM' })
  await waitUntil('without ports', async () => (await scene.daemon.ask<PortEntry[]>('ports')).length === 0, 1000)
  await scene.end(t)
})

test.serial('the clients of a deleted uplink are notified, and the daemon goes on', async (t) => {
  const scene = await Scene.open(t)
  const port = await scene.answering()
  await scene.lab.host.deleteLink('card0')
  t.like(await port.client.event('lost'), { code: 'ERR_XSKNET_PORT_LOST' })
  t.like(await port.client.event('uplinkGone'), { uplink: 'card0' })
  t.is(await port.client.ask({ do: 'ended' }), 'ERR_XSKNET_PORT_LOST')
  t.deepEqual(await port.client.ask({ do: 'uplinks' }), [])
  t.deepEqual(await scene.daemon.stop(), { code: 0, signal: null })
})

test.serial('deleting a port’s veth pair loses that port and no other', async (t) => {
  const scene = await Scene.open(t)
  const [port, neighbour] = [await scene.answering(0), await scene.answering(1)]
  await scene.lab.host.deleteLink(port.info.outer)
  t.like(await port.client.event('lost'), { code: 'ERR_XSKNET_PORT_LOST' })
  t.is((await scene.lab.udpEcho(portAddresses(1)[0], [100])).identical, 1)
  t.truthy(await neighbour.seen())
  await scene.end(t)
})

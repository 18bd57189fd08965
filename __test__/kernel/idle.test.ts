import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { PortInfo } from 'xsknet'
import { Client } from '../helpers/client.js'
import { Daemon } from '../helpers/daemon.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import type { Seen } from '../helpers/programs/orders.js'
import type { Slept } from '../helpers/programs/sleeper.js'
import { Scene } from '../helpers/scene.js'

const PORTS = 10
const SECONDS = 1
const TRIES = 10

/** Nanoseconds that all threads of a process have run: `utime` and `stime` of its `stat` count in steps of 10 ms. */
function ran(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.reduce(
    (sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
    0,
  )
}

/**
 * Processes use less than a hundredth of a core while nothing is asked of them, once they have dealt with what was. V8
 * frees memory for some seconds after a burst of work (its memory reducer), which counts as work; whatever polls uses
 * more than that in each second.
 */
async function idle(t: ExecutionContext, what: string, pids: Record<string, number>): Promise<void> {
  let parts: Record<string, number> = {}
  for (let tries = 0; tries < TRIES; tries++) {
    const began = performance.now()
    const before = Object.entries(pids).map(([name, pid]) => ({ name, pid, ran: ran(pid) }))
    await sleep(SECONDS * 1000)
    const elapsed = (performance.now() - began) * 1e6
    parts = Object.fromEntries(before.map((then) => [then.name, (ran(then.pid) - then.ran) / elapsed]))
    if (Object.values(parts).every((part) => part < 0.01)) break
  }
  for (const [name, part] of Object.entries(parts)) {
    const told = `${what}: the ${name} uses ${(part * 100).toFixed(3)} % of a core`
    t.log(told)
    t.true(part < 0.01, told)
  }
}

/** In the second in which a client with ten ports loses them, it uses less than a twentieth of a core. */
async function calmly(t: ExecutionContext, what: string, client: Client, loss: () => Promise<unknown>): Promise<void> {
  const before = ran(client.program.pid)
  await Promise.all([loss(), sleep(1000)])
  const part = (ran(client.program.pid) - before) / 1e9
  const told = `${what}: the client uses ${(part * 100).toFixed(3)} % of a core in the second after`
  t.log(told)
  t.true(part < 0.05, told)
}

/** A client with ten ports, and a reader that waits at each. */
async function waiting(scene: Scene): Promise<{ client: Client; infos: PortInfo[] }> {
  const client = await scene.client()
  const infos: PortInfo[] = []
  for (let n = 0; n < PORTS; n++) {
    const address = `2001:db8::${(0x100 + n).toString(16)}/64`
    infos.push(
      await client.ask<PortInfo>({ do: 'open', as: `${n}`, uplink: CARD, addresses: [address], ringSize: 256 }),
    )
    await client.ask({ do: 'swallow', as: `${n}` })
  }
  return { client, infos }
}

const pidsOf = (scene: Scene, client: Client) => ({ client: client.program.pid, daemon: scene.daemon.program.pid })

test.serial(
  'ten ports with readers that wait cost nothing, and neither do one that lost its pair and those that go on',
  async (t) => {
    const scene = await Scene.open(t)
    const { client, infos } = await waiting(scene)
    await idle(t, 'ten idle ports', pidsOf(scene, client))
    const [first] = infos as [PortInfo]
    await calmly(t, 'a pair was deleted', client, () => scene.lab.host.deleteLink(first.outer))
    await client.event('lost')
    await idle(t, 'a pair was deleted', pidsOf(scene, client))
    await calmly(t, 'the daemon ends', client, () => scene.end(t))
    for (let n = 1; n < PORTS; n++) await client.event('lost')
  },
)

test.serial('ports whose uplink is gone cost nothing', async (t) => {
  const scene = await Scene.open(t)
  const { client } = await waiting(scene)
  await calmly(t, 'the uplink is deleted', client, () => scene.lab.host.deleteLink(CARD))
  for (let n = 0; n < PORTS; n++) await client.event('lost')
  await idle(t, 'the uplink was deleted', pidsOf(scene, client))
  t.deepEqual(await scene.daemon.stop(), { code: 0, signal: null })
})

test.serial('ports without a daemon cost nothing, even after their veth pair is deleted', async (t) => {
  const scene = await Scene.open(t)
  const { client, infos } = await waiting(scene)
  await calmly(t, 'the daemon is killed', client, () => scene.daemon.kill())
  for (let n = 0; n < PORTS; n++) await client.event('detached')
  await idle(t, 'the daemon is dead', { client: client.program.pid })
  const [first] = infos as [PortInfo]
  await calmly(t, 'a pair is deleted without a daemon', client, () => scene.lab.host.deleteLink(first.outer))
  await client.event('lost')
  await idle(t, 'the daemon is dead, a pair was deleted', { client: client.program.pid })

  const next = await Daemon.start(scene.lab)
  for (let n = 1; n < PORTS; n++) await client.event('lost')
  await idle(t, 'another daemon has cleaned up', { client: client.program.pid, daemon: next.program.pid })
  t.deepEqual(await next.stop(), { code: 0, signal: null })
  t.deepEqual(await scene.lab.compare(), [])
})

test.serial('ports whose pairs are down cost nothing, and go on once they are up', async (t) => {
  const scene = await Scene.open(t)
  const { client, infos } = await waiting(scene)
  const [{ mac }] = infos as [PortInfo]
  const to = { mac, address: '192.0.2.10', port: 9 }
  const readsOn = async (what: string) => {
    const { frames } = await client.ask<Seen>({ do: 'seen', as: '0' })
    const flood = scene.lab.flood(to, { seconds: 60, rate: 1000 })
    await waitUntil(what, async () => (await client.ask<Seen>({ do: 'seen', as: '0' })).frames > frames)
    await flood.stop()
  }
  await readsOn('read')
  // The ends that the sockets are bound to: these are in error meanwhile.
  const inside = ['nsenter', `--net=/run/xsknet/${scene.daemon.instance}/netns`, 'ip', 'link', 'set']
  const set = (state: string) => Promise.all(infos.map(({ inner }) => scene.lab.host.output(...inside, inner, state)))
  await set('down')
  await idle(t, 'the pairs are down', pidsOf(scene, client))
  await set('up')
  await readsOn('read again')
  await scene.end(t)
})

test.serial('a reader that spins before it sleeps sleeps', async (t) => {
  const scene = await Scene.open(t)
  const busyPoll = { spinMicroseconds: 500 }
  const port = await scene.answering(0, {}, { busyPoll })
  t.like(
    port.info.attempts.find(({ step }) => step === 'busy-poll'),
    { hook: 'bind', code: null },
  )
  const looped = await scene.lab.closedLoop(port.target(), { frames: 5000, outstanding: 1 }).done
  t.is(looped.answered, looped.sent, JSON.stringify(looped))
  await idle(t, 'a port with busy polling', { client: port.client.program.pid })
  await scene.assertAccounted(t, port)
  await port.client.stop()
  await scene.end(t)
})

test.serial(
  'a thread that sleeps in receive() costs nothing, wakes for frames, and hears of the end of its device',
  async (t) => {
    const scene = await Scene.open(t)
    const client = Client.start(scene.lab, '__test__/helpers/programs/sleeper.ts', { socket: scene.daemon.socket })
    const { mac, inner, outer } = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0) })
    const processes = { client: client.program.pid }
    const read = (frames: number) => client.ask<Slept>({ do: 'read', frames, microseconds: 200_000 })
    const set = (state: string) =>
      scene.lab.host.output(
        'nsenter',
        `--net=/run/xsknet/${scene.daemon.instance}/netns`,
        'ip',
        'link',
        'set',
        inner,
        state,
      )

    const some = read(500)
    await idle(t, 'nothing comes', processes)
    await set('down')
    await idle(t, 'the pair is down', processes)
    await set('up')
    const flood = scene.lab.flood({ mac, address: '192.0.2.10', port: 9 }, { seconds: 60, rate: 1000 })
    const { frames, inVain, code } = await some
    await flood.stop()
    t.is(code, undefined)
    t.true(frames >= 500 && inVain > 0, `${frames} frames, ${inVain} times in vain`)

    const none = read(1_000_000)
    await scene.lab.host.deleteLink(outer)
    t.is((await none).code, 'ERR_XSKNET_PORT_LOST')
    await client.stop()
    await scene.end(t)
  },
)

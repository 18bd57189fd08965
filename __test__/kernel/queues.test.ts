import { readdirSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import type { PortEntry, PortInfo, PortStats } from 'xsknet'
import { Client } from '../helpers/client.js'
import { GRANT } from '../helpers/daemon.js'
import { footprintOf } from '../helpers/footprint.js'
import { CARD, type Looped, portPrefixes, type Target } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import type { Numbers } from '../helpers/programs/numbered.js'
import { Answering, Scene } from '../helpers/scene.js'
import { root } from '../helpers/workspace.js'

const PROGRAM = '__test__/helpers/programs/queues.ts'
const NODES = `${root}__test__/node_modules`
const PORT = { uplink: CARD, addresses: [...portPrefixes(0)], name: 'queues' }

const target = ({ mac, addresses }: PortInfo): Target => ({ mac, address: addresses[0] as string, port: 7 })
const whole = ({ sent, answered, lost, repeated, corrupt }: Looped) =>
  sent > 0 && answered === sent && lost + repeated + corrupt === 0

async function start(scene: Scene, node = process.execPath): Promise<Client> {
  const client = Client.start(scene.lab, PROGRAM, { socket: scene.daemon.socket, node })
  await client.ask({ do: 'connect' })
  return client
}

/** Opens the port, and has a thread adopt its queue. */
async function handedOver(client: Client, how = 'echo'): Promise<PortInfo> {
  const info = await client.ask<PortInfo>({ do: 'open', ...PORT })
  const token = await client.ask<number>({ do: 'token' })
  await client.ask({ do: 'adopt', token, name: 'thread', how })
  return info
}

const noPorts = (scene: Scene) =>
  waitUntil('without ports', async () => (await scene.daemon.ask<PortEntry[]>('ports')).length === 0, 5000)

test.serial(
  'queues that worker threads have: they carry frames, are of no use elsewhere, and are counted',
  async (t) => {
    const scene = await Scene.open(t)
    const client = await start(scene)
    const info = await handedOver(client)
    const looped = await scene.lab.closedLoop(target(info), { frames: 20_000 }).done
    t.true(whole(looped), JSON.stringify(looped))
    const refused = 'ERR_XSKNET_QUEUE_HANDED_OVER'
    const all = { trySend: refused, stats: refused, token: refused, send: refused, batches: refused }
    t.deepEqual(await client.ask({ do: 'refusals' }), all)
    const settled = async () => {
      const { client: own, chunks, daemon, queues } = await client.ask<PortStats>({ do: 'stats' })
      const { received, completed, sent } = own
      return (
        received >= 20_000 &&
        sent >= 20_000 &&
        completed === sent &&
        chunks.held + chunks.tx === 0 &&
        daemon?.program.toSocket === received &&
        daemon.guard.seen === sent &&
        isDeepStrictEqual(queues[0]?.client, own)
      )
    }
    await waitUntil('the thread’s figures are the kernel’s', settled, 5000)
    await client.ask({ do: 'tell', name: 'thread', what: 'pin' })
    await client.ask({ do: 'close' })
    t.is(await client.ask({ do: 'heard', name: 'thread', what: 'ended' }), null)
    t.is(await client.ask({ do: 'heard', name: 'thread', what: 'closed' }), null)
    t.is(await client.ask({ do: 'closed' }), null)
    await noPorts(scene)
    await client.ask({ do: 'terminate', name: 'thread' })
    t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
    await scene.end(t)
  },
)

test.serial('on every Node, a thread carries frames, and ends without warning', async (t) => {
  const scene = await Scene.open(t)
  for (const name of readdirSync(NODES).filter((name) => /^node-\d+$/.test(name))) {
    const client = await start(scene, `${NODES}/${name}/bin/node`)
    const info = await handedOver(client, 'numbered')
    const looped = await scene.lab.closedLoop(target(info), { frames: 5000, flows: 4 }).done
    t.true(whole(looped) && looped.late === 0, `${name}: ${JSON.stringify(looped)}`)
    await client.ask({ do: 'terminate', name: 'thread' })
    t.is(await client.ask({ do: 'queueClosed' }), null, name)
    await client.ask({ do: 'close' })
    t.deepEqual(
      await client.program.endInput(),
      { code: 0, signal: null },
      `${name}: ${client.program.lines.join('\n')}`,
    )
    await noPorts(scene)
  }
  await scene.end(t)
})

test.serial('a token is good once, and as long as its port', async (t) => {
  const scene = await Scene.open(t)
  const client = await start(scene)
  await handedOver(client)
  const isVoid = 'ERR_XSKNET_TOKEN_VOID'
  t.is(await client.ask({ do: 'adoptHere', token: 0 }), isVoid)
  await client.ask({ do: 'close' })
  await client.ask({ do: 'terminate', name: 'thread' })

  await client.ask({ do: 'open', ...PORT })
  const token = await client.ask<number>({ do: 'token' })
  const before = footprintOf(client.program.pid).descriptors
  await client.ask({ do: 'close' })
  await noPorts(scene)
  t.is(await client.ask({ do: 'adoptHere', token }), isVoid)
  t.is(await client.ask({ do: 'adopt', token, name: 'late' }), isVoid)
  await client.ask({ do: 'over', name: 'late' })
  const after = footprintOf(client.program.pid).descriptors
  t.true((after['socket:'] ?? 0) < (before['socket:'] ?? 0), 'the socket that nobody adopted is closed')
  t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
  await scene.end(t)
})

for (const how of ['numbered', 'explicit']) {
  test.serial(
    `two queues in two threads (${how}): a flow keeps its queue and its order, and none is lost`,
    async (t) => {
      const scene = await Scene.open(t, { config: GRANT.replace('ports = 64', 'ports = 64\nqueues = 4') })
      const client = await start(scene)
      const info = await client.ask<PortInfo>({ do: 'open', ...PORT, queues: 2 })
      t.is(info.queuePairs.length, 2)
      const names = ['left', 'right']
      for (const [queue, name] of names.entries()) {
        const token = await client.ask<number>({ do: 'token', queue })
        t.is(await client.ask({ do: 'adopt', token, name, how }), null)
      }
      const looped = await scene.lab.closedLoop(target(info), { frames: 100_000, flows: 32 }).done
      t.true(whole(looped) && looped.late === 0, JSON.stringify(looped))
      const seen: Numbers[] = []
      for (const name of names) {
        await client.ask({ do: 'tell', name, what: 'seen' })
        seen.push(await client.ask({ do: 'heard', name, what: 'seen' }))
      }
      t.log(seen.map(({ distinct, batches }) => `${distinct} frames in ${batches} batches`).join(' and '))
      t.is((seen[0]?.distinct as number) + (seen[1]?.distinct as number), 100_000)
      for (const { distinct, missing, late, corrupt, unsent } of seen) {
        t.deepEqual({ missing, late, corrupt, unsent }, { missing: 0, late: 0, corrupt: 0, unsent: 0 })
        t.true(distinct > 10_000, 'the flows are spread')
      }
      await scene.assertAccounted(t, new Answering(client, info))
      await client.ask({ do: 'close' })
      for (const name of names) t.is(await client.ask({ do: 'heard', name, what: 'ended' }), null)
      for (const name of names) await client.ask({ do: 'terminate', name })
      t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
      await scene.end(t)
    },
  )
}

test.serial('a port reads all its queues in one loop', async (t) => {
  const scene = await Scene.open(t, { config: GRANT.replace('ports = 64', 'ports = 64\nqueues = 4') })
  const port = await scene.answering(0, {}, { queues: 4 })
  const looped = await scene.lab.closedLoop(port.target(), { frames: 50_000, flows: 32 }).done
  t.true(whole(looped) && looped.late === 0, JSON.stringify(looped))
  const { queues } = await port.stats()
  t.true(
    queues.length === 4 && queues.every((queue) => (queue?.client.received ?? 0) > 1000),
    JSON.stringify(queues.map((queue) => queue?.client.received)),
  )
  await scene.assertAccounted(t, port)
  await port.client.stop()
  await scene.end(t)
})

test.serial('two ports on one UMEM forward without a copy and close in any order', async (t) => {
  const scene = await Scene.open(t)
  const client = await start(scene)
  const first = await client.ask<PortInfo>({ do: 'open', as: 'first', ...PORT, frames: 8192 })
  const beside = { uplink: CARD, addresses: [...portPrefixes(1)], name: 'beside' }
  const second = await client.ask<PortInfo>({ do: 'openBeside', first: 'first', as: 'second', ...beside })
  const [one, other] = [new Answering(client, first), new Answering(client, second)]
  const stats = (as: string) => client.ask<PortStats>({ do: 'stats', as })
  await client.ask({ do: 'forward', from: 'first', to: 'second' })
  await client.ask({ do: 'answer', as: 'second' })
  const before = await scene.lab.framesFrom(second.mac)
  const { sent } = await scene.lab.flood(one.target(), { frames: 50_000, rate: 50_000 }).done
  const arrived = async () => (await scene.lab.framesFrom(second.mac)) - before
  await waitUntil('all that came has been passed on', async () => {
    const { client: counted, chunks } = await stats('first')
    return counted.forwarded > 0 && (await arrived()) === counted.forwarded && chunks.held === 0
  })
  const { client: counted, chunks } = await stats('first')
  t.log(`${counted.forwarded} of ${sent} frames forwarded; ${JSON.stringify(chunks)}`)
  t.true(counted.forwarded > 10_000)
  t.is(counted.forwardedByCopy, 0)
  const looped = await scene.lab.closedLoop(other.target(), { frames: 20_000 }).done
  t.true(whole(looped), JSON.stringify(looped))
  await client.ask({ do: 'close', as: 'first' })
  t.is(await client.ask({ do: 'forwarded' }), counted.forwarded)
  const again = await scene.lab.closedLoop(other.target(), { frames: 20_000 }).done
  t.true(whole(again), JSON.stringify(again))
  const left = (await stats('second')).chunks
  t.is(left.free + left.fill, left.total, JSON.stringify(left))
  await client.ask({ do: 'close', as: 'second' })

  const codeOf = (error: Error & { code?: string }) => error.code
  await client.ask({ do: 'open', as: 'first', ...PORT })
  await client.ask({ do: 'openBeside', first: 'first', as: 'second', ...beside })
  const refused = { refused: 'ERR_XSKNET_NOT_SUPPORTED', left: 4 }
  t.deepEqual(await client.ask({ do: 'tokenOfHolder', as: 'first', hold: 4 }), refused)
  await client.ask({ do: 'close', as: 'second' })
  await client.ask({ do: 'answer', as: 'first' })
  const alone = await scene.lab.closedLoop(one.target(), { frames: 20_000 }).done
  t.true(whole(alone), JSON.stringify(alone))
  await client.ask({ do: 'close', as: 'first' })
  t.is(
    await client.ask({ do: 'openBeside', first: 'first', as: 'third', ...beside }).catch(codeOf),
    'ERR_INVALID_ARG_VALUE',
  )
  t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
  await scene.end(t)
})

interface End {
  act(client: Client, scene: Scene): Promise<unknown>
  /** What the thread is told of the end of its loop: absent where the thread does not live to hear it. */
  ended?: string | null
  /** How the queue ended as the thread sees it that opened the port. */
  queue: string | null
  /** How the port ends, once it is closed at the latest. */
  port?: string | null
  how?: string
}

const ends: Record<string, End> = {
  'the port is closed': { act: (client) => client.ask({ do: 'close' }), ended: null, queue: null },
  'the port is destroyed for a reason': {
    act: (client) => client.ask({ do: 'destroyFor', why: 'enough' }),
    ended: 'ERR_XSKNET_PORT_CLOSED',
    queue: 'Error: enough',
    port: 'Error: enough',
  },
  'the daemon ends': {
    act: (_, scene) => scene.daemon.program.stop(),
    ended: 'ERR_XSKNET_PORT_LOST',
    queue: 'ERR_XSKNET_PORT_LOST',
    port: 'ERR_XSKNET_PORT_LOST',
  },
  'the thread closes the queue': {
    act: (client) => client.ask({ do: 'tell', name: 'thread', what: 'close' }),
    ended: null,
    queue: null,
  },
  'the thread destroys the queue': {
    act: (client) => client.ask({ do: 'tell', name: 'thread', what: 'destroy' }),
    ended: 'Error: by the thread',
    queue: null,
  },
  'the thread exits': { act: (client) => client.ask({ do: 'tell', name: 'thread', what: 'exit' }), queue: null },
  'the thread is terminated': { act: (client) => client.ask({ do: 'terminate', name: 'thread' }), queue: null },
  'the thread is terminated while it holds a batch': {
    act: async (client) => {
      await client.ask({ do: 'heard', name: 'thread', what: 'holding' })
      await client.ask({ do: 'terminate', name: 'thread' })
    },
    queue: null,
    how: 'held',
  },
  'the port is closed while the thread hangs': {
    act: async (client) => {
      await client.ask({ do: 'tell', name: 'thread', what: 'hang' })
      await client.ask({ do: 'heard', name: 'thread', what: 'hanging' })
      await client.ask({ do: 'close' })
    },
    ended: null,
    queue: null,
  },
}

test.serial('a queue that a thread has ends from either side, in every way, and leaves nothing', async (t) => {
  const scene = await Scene.open(t)
  let client = await start(scene)
  const look = () => footprintOf(client.program.pid)
  const round = async ({ act, ended, queue, port = null, how }: End, name: string) => {
    const info = await handedOver(client, how)
    const flood = scene.lab.flood({ ...target(info), port: 9 }, { seconds: 20, rate: 20_000 })
    await waitUntil(
      'frames come',
      async () => ((await client.ask<PortStats>({ do: 'stats' })).daemon?.program.seen ?? 0) > 0,
    )
    await act(client, scene)
    if (ended !== undefined) t.is(await client.ask({ do: 'heard', name: 'thread', what: 'ended' }), ended, name)
    t.is(await client.ask({ do: 'queueClosed' }), queue, name)
    await client.ask({ do: 'close' }).catch(() => {})
    t.is(await client.ask({ do: 'closed' }), port, name)
    await client.ask({ do: 'terminate', name: 'thread' })
    await flood.stop()
    await client.ask({ do: 'drop' })
    await client.ask({ do: 'collect' })
  }
  await round(ends['the port is closed'] as End, 'first')
  const before = look()
  for (const [name, end] of Object.entries(ends)) {
    if (name === 'the daemon ends') continue
    await round(end, name)
    await noPorts(scene)
    const fewer = () => ({ ...look(), threads: before.threads })
    await waitUntil(`nothing is left after ${name}`, () => isDeepStrictEqual(fewer(), before), 5000).catch(() =>
      t.deepEqual(look(), before, name),
    )
  }
  await round(ends['the daemon ends'] as End, 'the daemon ends')
  await client.program.endInput()
  t.pass()
  client = undefined as never
})

test.serial('a process ends as it should whatever its threads have', async (t) => {
  const scene = await Scene.open(t)
  for (const how of ['echo', 'idle', 'held']) {
    for (const way of ['exit', 'kill', 'under way'] as const) {
      const client = await start(scene)
      if (way === 'under way') {
        await client.ask({ do: 'open', ...PORT })
        await client.ask({ do: 'token' })
      } else await handedOver(client, how)
      if (way === 'kill') await client.kill()
      else {
        client.ask({ do: 'exit' }).catch(() => {})
        t.deepEqual(await client.program.end(5000), { code: 0, signal: null }, `${how}, ${way}`)
      }
      await noPorts(scene)
    }
  }
  await scene.end(t)
})

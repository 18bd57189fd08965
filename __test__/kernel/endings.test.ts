import test, { type ExecutionContext } from 'ava'
import type { PortEntry, PortInfo } from 'xsknet'
import { Client } from '../helpers/client.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'

const PROGRAM = '__test__/helpers/programs/endings.ts'

const place = (name: string, n: number, busy: boolean) => ({
  uplink: CARD,
  name,
  addresses: [...portPrefixes(n)],
  busy,
})
const BUSY = place('busy', 0, true)
const QUIET = place('quiet', 1, false)

const seed = Number(process.env.XSKNET_SEED ?? Date.now() % 2 ** 31)

const start = (scene: Scene) => Client.start(scene.lab, PROGRAM, { socket: scene.daemon.socket })

/** A scene in which frames come for the busy port whenever it is open: its MAC follows from its name. */
async function underFire(t: ExecutionContext): Promise<Scene> {
  const scene = await Scene.open(t)
  const client = await scene.client()
  const { busy: _, ...options } = BUSY
  const { mac, addresses } = await client.ask<PortInfo>({ do: 'open', ...options })
  await client.stop()
  scene.lab.flood({ mac, address: addresses[0] as string, port: 9 }, { seconds: 110, rate: 20_000 })
  await noPorts(scene)
  return scene
}

const noPorts = (scene: Scene) =>
  waitUntil('without ports', async () => (await scene.daemon.ask<PortEntry[]>('ports')).length === 0, 2000)

test.serial(
  'readers, senders and ports that end in every way and at every moment hang, crash and leak nothing',
  async (t) => {
    const scene = await underFire(t)
    const client = start(scene)
    await client.ask({ do: 'connect' })
    const began = performance.now()
    const lived = await client.ask<{ ports: number; endings: number; faults: string[] }>({
      do: 'live',
      seed,
      ports: 40,
      places: [BUSY, BUSY, QUIET],
    })
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    t.log(`seed ${seed}: ${lived.endings} endings of ${lived.ports} ports in ${seconds} s`)
    t.deepEqual(lived.faults, [])
    t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
    t.deepEqual(
      client.program.lines.filter((line) => !line.startsWith('{')),
      [],
    )
    await scene.end(t)
  },
)

const ENDS = [
  { how: 'exit', code: 0, states: ['opening', 'new', 'waiting', 'within', 'held', 'sending', 'closing'] },
  { how: 'throw', code: 1, states: ['opening', 'new', 'waiting', 'within', 'held', 'sending', 'closing'] },
  { how: 'kill', code: null, states: ['opening', 'within', 'held', 'sending'] },
  { how: 'unref', code: 0, states: ['new', 'waiting', 'within', 'held', 'sending'] },
  { how: 'fall off', code: 0, states: ['new', 'closing'] },
]

test.serial('processes that end at every moment end as they should, and their ports with them', async (t) => {
  const scene = await underFire(t)
  for (const { how, code, states } of ENDS) {
    for (const state of states) {
      const client = start(scene)
      const reads = state === 'within' || state === 'held'
      await client.ask({ do: 'end', how, state, place: reads ? BUSY : QUIET })
      const ended = await client.program
        .end(5000)
        .catch((error: Error) => t.fail(`${how} (${state}): ${error.message}`))
      t.deepEqual(
        ended,
        { code, signal: how === 'kill' ? 'SIGKILL' : null },
        `${how} (${state}):\n${client.program.lines.join('\n')}`,
      )
      await noPorts(scene)
    }
  }
  await scene.end(t)
})

test.serial('threads that are ended while they import, connect, open or read leave nothing behind', async (t) => {
  const scene = await underFire(t)
  const client = start(scene)
  const { exits, faults } = await client.ask<{ exits: Record<string, number>; faults: string[] }>({
    do: 'threads',
    seed,
    count: 40,
    place: BUSY,
  })
  t.log(`seed ${seed}: ${JSON.stringify(exits)}`)
  t.deepEqual(faults, [])
  t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
  await scene.end(t)
})

import { existsSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import type { PortInfo } from 'xsknet'
import { Embedding } from '../helpers/embedding.js'
import { type Footprint, footprintOf, residentBytes, watchesClosedPorts } from '../helpers/footprint.js'
import { CARD, Lab, portPrefixes } from '../helpers/lab.js'
import { type Place, portKinds } from '../helpers/port-kinds.js'
import { run, waitUntil } from '../helpers/program.js'
import type { Thread } from '../helpers/programs/embedding.js'

const ROUNDS = 100
/** What a process may grow by in all of them; each UMEM alone has 16 MiB, which 100 that leaked would make 1,600. */
const GROWTH = 48 * 2 ** 20

/** How many entries each of the uplink's maps has in which something stands. */
async function entries({ daemon, lab }: Place): Promise<Record<string, number>> {
  const folder = `/sys/fs/bpf/xsknet/${daemon.instance}/v1/${CARD}/maps`
  const counts: Record<string, number> = {}
  const maps = (await lab.host.output('ls', folder)).trim().split('\n')
  // Counters go on.
  for (const map of maps.filter((name) => !name.endsWith('_counters'))) {
    const { code, stdout } = await run(['bpftool', '--json', 'map', 'dump', 'pinned', `${folder}/${map}`])
    if (code !== 0) throw new Error(stdout)
    const all = JSON.parse(stdout) as { value?: unknown; error?: unknown }[]
    counts[map] = all.filter(({ value }) => Array.isArray(value) && value.some((byte) => byte !== '0x00')).length
  }
  return counts
}

interface Seen {
  processes: Footprint[]
  /** Entries of the uplink's maps. */
  maps?: Record<string, number>
}

/** Waits until it is as it was before. */
async function settled(t: ExecutionContext, before: Seen, look: () => Promise<Seen>): Promise<void> {
  // Threads that have had nothing to do for 10 s end.
  const fewer = (now: Footprint, at: number) => ({
    ...now,
    threads: Math.max(now.threads, before.processes[at]?.threads ?? 0),
  })
  const compared = (now: Seen) => ({ ...now, processes: now.processes.map(fewer) })
  let now = compared(await look())
  const same = async () => {
    now = compared(await look())
    return isDeepStrictEqual(now, before)
  }
  await waitUntil('as before', same, 15_000).catch(() => t.deepEqual(now, before))
}

for (const [kind, { open }] of Object.entries(portKinds)) {
  test.serial(
    `${kind}: 100 ports that are opened, used and closed leave nothing, in no process and not in the kernel`,
    async (t) => {
      const place = await open(t)
      const { lab, client, daemon, stop } = place
      const pids = [...new Set([client.program.pid, daemon.pid])]
      const round = async () => {
        const { info } = await place.port()
        const address = (info.addresses[0] as string).replace(/\/.*/, '')
        t.is((await lab.udpEcho(address, [100])).identical, 1)
        await client.ask({ do: 'close' })
      }
      const look = async () => {
        await client.ask({ do: 'drop' })
        await client.ask({ do: 'collect' })
        return { processes: pids.map(footprintOf), maps: await entries(place) }
      }
      for (let times = 0; times < 5; times++) await round()
      await look()
      for (const pid of pids) await waitUntil('the last port is gone', () => !watchesClosedPorts(pid))
      await lab.snapshot()
      const [before, resident] = [await look(), pids.map(residentBytes)]
      const began = performance.now()
      for (let times = 0; times < ROUNDS; times++) await round()
      const each = (performance.now() - began) / ROUNDS
      await settled(t, before, look)
      t.deepEqual(await lab.compare(), [])
      const grown = pids.map(residentBytes).map((bytes, at) => bytes - (resident[at] as number))
      t.log(
        `${each.toFixed(0)} ms a round; grown by ` +
          `${grown.map((bytes) => `${Math.round(bytes / 2 ** 10)} KiB`).join(' and ')}`,
      )
      t.true(Math.max(...grown) < GROWTH, `${grown} bytes`)
      await stop()
    },
  )
}

test.serial(
  '21 threads that are terminated while packets flow leave nothing, whatever kind of ports they have',
  async (t) => {
    const lab = await Lab.create(t)
    const program = Embedding.start(lab)
    const { pid } = program.program
    const port = { uplink: CARD, addresses: [...portPrefixes(0)], name: 'thread' }
    const options = { uplinks: [CARD], instance: `${lab.instances}thread` }
    const portPins = `/sys/fs/bpf/xsknet/${options.instance}/v1/${CARD}/port-1`
    const { socket } = await program.daemon(options)
    // A port's MAC follows from its name, its uplink's and the instance's.
    await program.ask({ do: 'connect', socket })
    const { mac, addresses } = await program.ask<PortInfo>({ do: 'open', ...port })
    await program.ask({ do: 'close' })
    await program.ask({ do: 'drop' })
    const flood = lab.flood({ mac, address: addresses[0] as string, port: 9 }, { seconds: 110, rate: 20_000 })

    const thread = async (options: Partial<Thread>) => {
      const order = { ...options, port, stage: 'reading', how: 'terminate' }
      t.true((await program.ask<string[]>({ do: 'thread', ...order })).includes('reading'))
    }
    const look = async () => {
      await program.ask({ do: 'collect' })
      return { processes: [footprintOf(pid)] }
    }
    const rounds = async (times: number, options: Partial<Thread>) => {
      // What is opened once and kept does not count.
      await thread(options)
      await thread(options)
      await look()
      // The last one's port may still be closing.
      await waitUntil('without ports', () => !existsSync(portPins) && !watchesClosedPorts(pid))
      await lab.snapshot()
      const [before, resident] = [await look(), residentBytes(pid)]
      for (let n = 0; n < times; n++) await thread(options)
      await settled(t, before, look)
      t.deepEqual(await lab.compare(), [])
      const grown = residentBytes(pid) - resident
      t.log(`grown by ${Math.round(grown / 2 ** 10)} KiB`)
      t.true(grown < GROWTH, `${grown} bytes`)
    }
    await rounds(7, { socket })
    await rounds(7, { socket, pinned: true })
    await program.ask({ do: 'disconnect' })
    await program.ask({ do: 'stop' })
    await rounds(7, { options })
    await flood.stop()
    t.deepEqual(await program.program.endInput(), { code: 0, signal: null }, program.program.lines.join('\n'))
  },
)

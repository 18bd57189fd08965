import test from 'ava'
import type { PortInfo } from 'xsknet'
import { CARD, portAddresses, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import type { Seen } from '../helpers/programs/orders.js'
import { Scene } from '../helpers/scene.js'

/** Milliseconds. What is late here waits for one of two cores, which the flood's sender and the kernel want, too. */
const LATE = { median: 10, p99: 100 }
const PINGS = 300
const TIMES = 300

const at = (sorted: readonly number[], part: number) => sorted[Math.floor(sorted.length * part)] ?? Number.NaN

const waits = { asleep: undefined, 'spinning for 1 ms': { spinMicroseconds: 1000 } }

for (const [wait, busyPoll] of Object.entries(waits)) {
  test.serial(`${wait}: a flooded port starves neither timers nor another port of its client`, async (t) => {
    const scene = await Scene.open(t)
    const { lab } = scene
    const client = await scene.client()
    const open = async (as: string, n: number) =>
      client.ask<PortInfo>({ do: 'open', as, uplink: CARD, addresses: portPrefixes(n), busyPoll })
    const flooded = await open('flooded', 0)
    await open('other', 1)
    await client.ask({ do: 'answer', as: 'flooded' })
    await client.ask({ do: 'answer', as: 'other' })

    const measured = async () => {
      const ping = lab.remote.output('ping', '-i', '0.005', '-W', '1', '-c', `${PINGS}`, portAddresses(1)[0])
      const late = await client.ask<number[]>({ do: 'lateness', every: 5, times: TIMES })
      const output = await ping
      const trips = [...output.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time)).sort((a, b) => a - b)
      t.is(trips.length, PINGS, 'a ping was not answered')
      return { late, trips }
    }
    const told = ({ late, trips }: { late: number[]; trips: number[] }) =>
      `timers late by ${at(late, 0.5).toFixed(2)} ms, p99 ${at(late, 0.99).toFixed(2)}; ` +
      `pings of the other port ${at(trips, 0.5).toFixed(2)} ms, p99 ${at(trips, 0.99).toFixed(2)}`
    t.log(`quiet: ${told(await measured())}`)

    const flood = lab.flood({ mac: flooded.mac, address: portAddresses(0)[0], port: 9 }, { seconds: 60, live: true })
    const { frames } = await client.ask<Seen>({ do: 'seen', as: 'flooded' })
    await waitUntil(
      'flooded',
      async () => (await client.ask<Seen>({ do: 'seen', as: 'flooded' })).frames > frames + 100_000,
    )
    const began = { at: performance.now(), ...(await client.ask<Seen>({ do: 'seen', as: 'flooded' })) }
    const during = await measured()
    const after = await client.ask<Seen>({ do: 'seen', as: 'flooded' })
    await flood.stop()
    const rate = (after.frames - began.frames) / (performance.now() - began.at) / 1000
    t.log(`under ${rate.toFixed(3)} Mpps: ${told(during)}`)
    t.true(rate > 0.05, `${rate} Mpps are no flood`)
    for (const [what, sorted] of Object.entries(during)) {
      t.true(at(sorted, 0.5) < LATE.median, `${what}: the median is ${at(sorted, 0.5)} ms`)
      t.true(at(sorted, 0.99) < LATE.p99, `${what}: one in a hundred takes ${at(sorted, 0.99)} ms`)
    }
    await scene.end(t)
  })
}

import test from 'ava'
import type { PortEntry, PortInfo, PortStats } from 'xsknet'
import { Client } from '../helpers/client.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import type { Misused } from '../helpers/programs/misuse.js'
import type { Level } from '../helpers/programs/numbers.js'
import { Answering, Scene } from '../helpers/scene.js'

const seed = Number(process.env.XSKNET_SEED ?? Date.now() % 2 ** 31)
const BATCHES: Record<Level, number> = { batches: 3000, descriptors: 20_000 }

for (const level of ['batches', 'descriptors'] as const) {
  test.serial(
    `${level}: frames that are misused in every way under load harm nothing, and all chunks are free at the end`,
    async (t) => {
      const scene = await Scene.open(t)
      const { lab, daemon } = scene
      const client = Client.start(lab, '__test__/helpers/programs/numbers.ts', { socket: daemon.socket })
      const info = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0), maxKept: 256 })
      const port = new Answering(client, info)
      const flood = lab.flood(port.target(9), { seconds: 100, flows: 8 })
      // By its name it has one MAC, whichever time it is opened.
      const other = { uplink: CARD, name: 'beside', addresses: portPrefixes(1) }
      const { tried, faults } = await client.ask<Misused>({ do: 'misuse', level, seed, batches: BATCHES[level], other })
      await flood.stop()
      t.log(`seed ${seed}: ${JSON.stringify(tried)}`)
      t.deepEqual(faults, [])
      const { client: counted, chunks } = await port.stats()
      t.log(`${JSON.stringify(counted)}, ${JSON.stringify(chunks)}`)
      if (level === 'descriptors') t.true(counted.refusedQueued > 0, 'nothing was refused')

      // It goes on as if nothing had been: what is there still is swallowed, then all that comes is sent back.
      await client.ask({ do: 'read', back: false })
      const all = [port]
      const entries = await daemon.ask<PortEntry[]>('ports')
      if (entries.length > 1) {
        const beside = entries.find(({ port: number }) => number !== info.port) as PortEntry
        const stats = () => client.ask<PortStats>({ do: 'statsBeside' })
        all.push(Object.assign(new Answering(client, { ...info, ...beside } as PortInfo), { stats }))
      }
      await scene.assertAccounted(t, ...all)
      await client.ask({ do: 'stop' })
      await client.ask({ do: 'read', back: true, level })
      const looped = await lab.closedLoop(port.target(), { frames: 20_000, flows: 8 }).done
      t.like(looped, { answered: 20_000, lost: 0, late: 0, corrupt: 0 })
      await client.ask({ do: 'stop' })
      await scene.assertAccounted(t, ...all)
      await client.stop()
      await scene.end(t)
    },
  )
}

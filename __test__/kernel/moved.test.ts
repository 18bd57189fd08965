import { readdirSync } from 'node:fs'
import test from 'ava'
import type { PortEntry, PortInfo } from 'xsknet'
import { Client } from '../helpers/client.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import type { Moved } from '../helpers/programs/moved.js'
import { Scene } from '../helpers/scene.js'
import { root } from '../helpers/workspace.js'

/** Every Node that is supported, and the one that runs this. */
const modules = `${root}__test__/node_modules`
const nodes = readdirSync(modules).filter((name) => /^node-\d+$/.test(name))

test.serial('moving, keeping or transferring a port’s memory corrupts nothing, on every Node', async (t) => {
  t.true(nodes.length > 0)
  const scene = await Scene.open(t)
  const options = { uplink: CARD, name: 'moved', addresses: [...portPrefixes(0)], ringSize: 64, frames: 256 }
  const size = 256 * 2048
  let flood: { stop(): Promise<unknown> } | undefined
  for (const name of nodes) {
    const node = `${modules}/${name}/bin/node`
    const client = Client.start(scene.lab, '__test__/helpers/programs/moved.ts', { socket: scene.daemon.socket, node })
    if (!flood) {
      const { mac, addresses } = await client.ask<PortInfo>({ do: 'info', options })
      flood = scene.lab.flood({ mac, address: addresses[0] as string, port: 9 }, { seconds: 110, rate: 20_000 })
    }
    const seen: Record<string, Moved['moved']> = {}
    for (const way of await client.ask<string[]>({ do: 'ways' })) {
      for (const part of ['move', 'moveTable']) {
        const { moved, closed, collected, stale } = await client.ask<Moved>({ do: part, options, way })
        const what = `${name}, ${way}, ${part}: ${JSON.stringify({ moved, closed, collected, stale })}`
        if (part === 'move') seen[way] = moved
        t.deepEqual(stale, [0], what)
        // What was not moved is gone with the port, and what was is there as long as somebody has it.
        if (way === 'nobody') t.deepEqual([moved, closed, collected], [part === 'move' ? size : 64 * 8, 0, 0], what)
        else if (typeof moved === 'number') t.true(collected === moved || collected === 0, what)
      }
    }
    t.log(`${name}: ${JSON.stringify(seen)}`)
    t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
    const noPorts = async () => (await scene.daemon.ask<PortEntry[]>('ports')).length === 0
    await waitUntil('without ports', noPorts, 2000)
  }
  await flood?.stop()
  await scene.end(t)
})

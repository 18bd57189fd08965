import test from 'ava'
import type { PortStats } from 'xsknet'
import { Client } from '../helpers/client.js'
import { CARD, portAddresses, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'

for (const mtu of [1500, 9000]) {
  test.serial(`datagrams of up to MTU ${mtu} come back identical, whichever method sends them`, async (t) => {
    const scene = await Scene.open(t, { mtu })
    const lengths = [1, 18, 1472, 1750, 1751, 1752, 3542, 3544, 5000, mtu - 28].filter((length) => length <= mtu - 28)
    const client = Client.start(scene.lab, '__test__/helpers/programs/reply.ts', { socket: scene.daemon.socket })
    await client.ask({ do: 'connect' })
    for (const [n, method] of (await client.ask<string[]>({ do: 'methods' })).entries()) {
      await client.ask({ do: 'open', as: method, uplink: CARD, name: method, addresses: portPrefixes(n), mtu })
      await client.ask({ do: 'reply', as: method, method })
      const echoed = await scene.lab.udpEcho(portAddresses(n)[0], lengths)
      t.is(echoed.identical, lengths.length, method)
      const stats = () => client.ask<PortStats>({ do: 'stats', as: method })
      const atRest = async () => {
        const { held, kept, tx } = (await stats()).chunks
        return held + kept + tx === 0
      }
      await waitUntil('at rest', atRest, 2000)
      const { client: own } = await stats()
      t.deepEqual([own.refusedQueued, own.refusedRx, own.refusedKeeps], [0, 0, 0], method)
      if (method === 'forward') t.is(own.forwarded, lengths.length)
      t.is(own.sentContinued > 0, mtu === 9000, `${method}: packets in several buffers`)
      await client.ask({ do: 'close', as: method })
    }
    t.deepEqual(await client.program.endInput(), { code: 0, signal: null }, client.program.lines.join('\n'))
    await scene.end(t)
  })
}

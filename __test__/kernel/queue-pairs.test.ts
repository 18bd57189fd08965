import { readdirSync, readlinkSync } from 'node:fs'
import test from 'ava'
import type { PortEntry, PortInfo } from 'xsknet'
import { GRANT } from '../helpers/daemon.js'
import { CARD, portAddresses, portPrefixes } from '../helpers/lab.js'
import { Scene } from '../helpers/scene.js'

const MiB = 2 ** 20
const eight = { name: 'eight', queues: 8 }

/** AF_XDP sockets and files of UMEMs that a process has. */
const held = (pid: number) =>
  readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return /^socket:|zero|memfd/.test(readlinkSync(`/proc/${pid}/fd/${fd}`))
    } catch {
      return false // closed in between
    }
  }).length

for (const mode of ['native', 'skb'] as const) {
  test.serial(
    `${mode}: a port of eight queues answers whatever flow comes, is listed with them, and accounts for all`,
    async (t) => {
      const scene = await Scene.open(t, { mode, config: `${GRANT}queues = 8\n` })
      const port = await scene.answering(0, {}, eight)
      const { queuePairs, outer, inner } = port.info as PortInfo
      t.is(new Set(queuePairs.flatMap((pair) => [pair.outer, pair.inner])).size, 16)
      t.deepEqual(queuePairs[0], { outer, inner })
      t.true(held(port.client.program.pid) >= 16)

      const [v4, v6] = portAddresses(0)
      const lengths = Array.from({ length: 64 }, (_, i) => i + 1)
      for (const address of [v4, v6]) t.is((await scene.lab.udpEcho(address, lengths)).identical, lengths.length)
      const { answered, lost } = await scene.lab.closedLoop(port.target(), { frames: 20_000 }).done
      t.deepEqual([answered, lost], [20_000, 0])

      const ports = await scene.daemon.ask<PortEntry[]>('ports')
      t.deepEqual(
        ports.map(({ name, queues }) => [name, queues]),
        [['eight', 8]],
      )
      t.regex((await scene.daemon.cli('ports')).stdout, /queues.*\n.*eight +card0 +- +8 /)
      await scene.assertAccounted(t, port)
      await scene.end(t)
    },
  )
}

test.serial('queues take a line of the grant, and memory for each', async (t) => {
  const scene = await Scene.open(t, { config: GRANT.replace('"1GiB"', `${48 * MiB}\nqueues = 4`) })
  const client = await scene.client()
  const open = (queues: number) => client.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(0), queues })
  const refusal = async (queues: number, code: string) =>
    (await t.throwsAsync(open(queues), { code })) as Error & { hint: string; details: object }
  t.regex((await refusal(5, 'ERR_XSKNET_NOT_PERMITTED')).hint, /\nqueues = 5$/)
  t.like((await refusal(4, 'ERR_XSKNET_LIMIT_REACHED')).details, { limit: 'memory', asked: 64 * MiB, most: 48 * MiB })
  for (const queues of [0, 9]) await refusal(queues, 'ERR_OUT_OF_RANGE')
  await open(3)
  await scene.end(t)
})

import test from 'ava'
import type { PortInfo } from 'xsknet'
import { Client } from '../helpers/client.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import type { Reading } from '../helpers/programs/heap.js'
import { Scene } from '../helpers/scene.js'

test.serial('reading headers allocates nothing a packet: a batch costs the same, however many packets it has', async (t) => {
  const scene = await Scene.open(t)
  // Nothing is collected before so many MiB: what is allocated can be read off the heap.
  const nodeArgs = ['--min-semi-space-size=512', '--max-semi-space-size=512']
  const client = Client.start(scene.lab, '__test__/helpers/programs/heap.ts', { socket: scene.daemon.socket, nodeArgs })
  const { mac, addresses } = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0), ringSize: 4096 })
  const read = async (frames: number, max: number, as: 'headers' | 'views' = 'headers') => {
    const flood = scene.lab.flood({ mac, address: addresses[0] as string, port: 9 }, { seconds: 60 })
    const reading = await client.ask<Reading>({ do: 'read', frames, max, as })
    await flood.stop()
    t.true(reading.payload > 0)
    const { batches, allocated, kept } = reading
    t.log(
      `${reading.frames} frames in ${batches} batches of up to ${max}, ${as}: ` +
        `${(allocated / batches).toFixed(0)} B a batch, ${kept} B kept`,
    )
    return { ...reading, fill: reading.frames / batches, aBatch: allocated / batches }
  }

  // The compilers need some batches of each kind to make up their minds.
  for (const max of [1, 64]) await read(300_000, max)
  const single = await read(200_000, 1)
  const full = [await read(1_000_000, 64), await read(1_000_000, 64), await read(1_000_000, 64)]
  for (const { fill, aBatch } of full) {
    t.true(fill > 32, `batches of ${fill} frames`)
    const aPacket = (aBatch - single.aBatch) / (fill - 1)
    // The smallest object has 16.
    t.true(aPacket < 8, `${aPacket} B a packet: ${aBatch} B a batch of ${fill} frames, ${single.aBatch} B one of 1`)
  }
  // What a compiler keeps comes and goes once; what a batch kept, 16 B of each of 16,000 at the least, would come each time.
  const kept = full.map((reading) => reading.kept)
  t.true(Math.min(...kept) < 100_000, `${kept.join(', ')} B are kept of 1,000,000 packets each`)

  // The same way of looking sees what there is to be seen.
  const views = await read(200_000, 64, 'views')
  for (const { collections } of [single, ...full, views]) t.is(collections, 0, '`allocated` is too small')
  t.true((views.aBatch - single.aBatch) / (views.fill - 1) > 20)
  await client.stop()
  await scene.end(t)
})

import test, { type ExecutionContext } from 'ava'
import type { PortInfo } from 'xsknet'
import { Client } from '../helpers/client.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import type { Reading, Stretches } from '../helpers/programs/heap.js'
import { Scene } from '../helpers/scene.js'

/** By hand more: `XSKNET_PACKETS=10000000`. */
const packets = Number(process.env.XSKNET_PACKETS ?? 1_000_000)
/** Seconds that the flood goes on at most: it is ended before. */
const LONG = 60 + packets / 50_000
/**
 * A batch costs its promise, the iterator's result, the batch and its frame, whatever it holds; as of now 710 to 770
 * bytes.
 */
const A_BATCH = 1024
/** Bytes that looking at the heap may cost: whatever is paid a call would come to more. */
const A_LOOK = 1024

/**
 * A client whose nursery is so large that nothing is collected while it reads: what is allocated can be read off the
 * heap.
 */
async function reader(t: ExecutionContext) {
  const scene = await Scene.open(t)
  const megabytes = Math.max(512, Math.ceil((packets / 32) * 2 ** -10))
  const nursery = [`--min-semi-space-size=${megabytes}`, `--max-semi-space-size=${megabytes}`]
  // A thread that compiles would get no processor while the flood has them all.
  const nodeArgs = [...nursery, '--no-concurrent-recompilation', '--no-concurrent-osr']
  const client = Client.start(scene.lab, '__test__/helpers/programs/heap.ts', { socket: scene.daemon.socket, nodeArgs })
  const { mac, addresses } = await client.ask<PortInfo>({
    do: 'open',
    uplink: CARD,
    addresses: portPrefixes(0),
    ringSize: 4096,
  })
  const flooded = async <T>(read: () => Promise<T>) => {
    const flood = scene.lab.flood({ mac, address: addresses[0] as string, port: 9 }, { seconds: LONG, flows: 1 })
    const what = await read()
    await flood.stop()
    return what
  }
  return { scene, client, flooded }
}

test.serial(
  'reading headers allocates nothing a packet: a batch costs the same, however many packets it has',
  async (t) => {
    t.timeout(120_000 + packets / 10)
    const { scene, client, flooded } = await reader(t)
    const read = async (frames: number, max: number, as: 'headers' | 'views' = 'headers') => {
      const reading = await flooded(() => client.ask<Reading>({ do: 'read', frames, max, as }))
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
    const full = [await read(packets, 64), await read(packets, 64), await read(packets, 64)]
    for (const { fill, aBatch } of full) {
      t.true(fill > 32, `batches of ${fill} frames`)
      t.true(aBatch < A_BATCH, `${aBatch} B a batch`)
      const aPacket = (aBatch - single.aBatch) / (fill - 1)
      // The smallest object has 16.
      t.true(aPacket < 8, `${aPacket} B a packet: ${aBatch} B a batch of ${fill} frames, ${single.aBatch} B one of 1`)
    }
    // What a compiler keeps comes and goes once; what a batch kept, 16 B of each of thousands at the least, would come
    // each time.
    const kept = full.map((reading) => reading.kept)
    t.true(Math.min(...kept) < 100_000, `${kept.join(', ')} B are kept of ${packets} packets each`)

    // The same way of looking sees what there is to be seen.
    const views = await read(200_000, 64, 'views')
    for (const { collections } of [single, ...full, views]) t.is(collections, 0, '`allocated` is too small')
    t.true((views.aBatch - single.aBatch) / (views.fill - 1) > 20)
    await client.stop()
    await scene.end(t)
  },
)

test.serial(
  'reading and sending by descriptors allocates nothing and causes no collection, however many packets there are',
  async (t) => {
    t.timeout(120_000 + packets / 10)
    const { scene, client, flooded } = await reader(t)
    const stretches = 4
    const read = async (frames: number) => {
      const reading = await flooded(() =>
        client.ask<Stretches>({ do: 'descriptors', frames: frames / stretches, stretches }),
      )
      const { grown, batches, looking, collections } = reading
      t.log(
        `${reading.frames} frames in ${batches} calls: ${grown.join(', ')} B a quarter, ` +
          `${looking} of it by looking; ${collections} collections`,
      )
      t.true(reading.frames >= frames)
      t.true(reading.payload > 0)
      t.is(collections, 0)
      // Of them all, the least is what is paid again and again: nothing but the look.
      return Math.min(...grown)
    }
    // What is not compiled, for now or because its compiler was wrong about it, allocates some 50 B a call.
    let least = await read(packets)
    for (let tries = 0; tries < 10 && least > A_LOOK; tries++) least = await read(packets / 4)
    t.true(least <= A_LOOK, `${least} B`)
    await client.stop()
    await scene.end(t)
  },
)

import test, { type ExecutionContext } from 'ava'
import type { Batch } from '../../../packages/xsknet/src/frames/batch.js'
import type { DescriptorBatch } from '../../../packages/xsknet/src/frames/descriptors.js'
import type { KeptFrame } from '../../../packages/xsknet/src/frames/frame.js'
import { frame, port, Socket } from './socket.js'

const ended = { code: 'ERR_XSKNET_LEASE_ENDED' }
const outside = { code: 'ERR_OUT_OF_RANGE', instanceOf: RangeError }
const GOES_ON = 2 ** 31

function opened(t: ExecutionContext, socket = new Socket()) {
  const one = port(socket)
  t.teardown(() => one.destroy())
  return { socket, port: one, queue: one.queue(0) }
}

async function leased(t: ExecutionContext, frames: Uint8Array[], socket = new Socket()) {
  const { port: one, queue } = opened(t, socket)
  const reader = one.batches()
  socket.arrive(...frames)
  const { value } = await reader.next()
  return { socket, port: one, queue, reader, batch: value as Batch }
}

const frameOf = (batch: DescriptorBatch, n: number) => {
  const [offset, length] = batch.descriptors.subarray(2 * n, 2 * n + 2)
  return [batch.memory[offset as number], length]
}

test('what arrives is added behind what a batch has, sent from its front, and what finds no slot stays', (t) => {
  const { socket, queue } = opened(t, new Socket({ slots: 3 }))
  const batch = queue.batch(4)
  t.deepEqual([batch.capacity, batch.length, queue.receive(batch)], [4, 0, 0])
  socket.arrive(frame(1), frame(2, 61))
  t.is(queue.receive(batch), 2)
  socket.arrive(frame(3), frame(4), frame(5))
  t.deepEqual([queue.receive(batch), batch.length], [2, 4])
  // Biome-ignore format: a table
  t.deepEqual(
    [frameOf(batch, 0), frameOf(batch, 1), frameOf(batch, 3)],
    [
      [1, 60],
      [2, 61],
      [4, 60],
    ],
  )
  socket.stuck = true
  t.deepEqual([queue.transmit(batch), batch.length], [3, 1])
  t.deepEqual(frameOf(batch, 0), [4, 60])
  t.is(queue.receive(batch), 1)
  t.deepEqual([queue.transmit(batch), batch.length], [0, 2])
  socket.stuck = false
  queue.kick()
  t.deepEqual([queue.transmit(batch), batch.length, queue.transmit(batch)], [2, 0, 0])
  queue.kick()
  t.deepEqual(socket.sent.map((bytes) => bytes[0]), [1, 2, 3, 4, 5]) // biome-ignore format: one line
  t.is(socket.held, 0)
})

test('the time that a thread may sleep for a frame is passed on once, and an invalid time is refused', (t) => {
  const { socket, queue } = opened(t)
  const batch = queue.batch(4)
  queue.receive(batch, 1_000_000)
  t.is(socket.slept, 1_000_000)
  queue.receive(batch)
  t.is(socket.slept, 0)
  queue.recycleAndReceive(batch, 20)
  t.is(socket.slept, 20)
  for (const call of [queue.receive, queue.recycleAndReceive]) {
    for (const time of [-1, 0.5, 1_000_001, Number.NaN]) t.throws(() => call.call(queue, batch, time), outside)
    t.throws(() => call.call(queue, batch, '1' as never), { code: 'ERR_INVALID_ARG_TYPE' })
  }
})

test('what is renewed goes back, and what arrived stands in its place', (t) => {
  const { socket, queue } = opened(t)
  const batch = queue.batch(4)
  socket.arrive(frame(1), frame(2), frame(3))
  t.is(queue.recycleAndReceive(batch), 3)
  socket.arrive(frame(4))
  t.deepEqual([queue.recycleAndReceive(batch), batch.length, frameOf(batch, 0), socket.held], [1, 1, [4, 60], 1])
  t.deepEqual([queue.recycleAndReceive(batch), batch.length, socket.held], [0, 0, 0])
  socket.arrive(frame(5))
  queue.receive(batch)
  socket.failure = { code: 'ERR_XSKNET_RING_BROKEN', message: 'RX' }
  t.throws(() => queue.recycleAndReceive(batch), { code: 'ERR_XSKNET_RING_BROKEN' })
  t.is(batch.length, 0)
})

test('empty frames are written and sent by address, and what is given back is free', (t) => {
  const { socket, queue } = opened(t)
  const batch = queue.batch(8)
  t.deepEqual([queue.allocate(batch, 3), queue.allocate(batch), batch.length, queue.allocate(batch)], [3, 5, 8, 0])
  for (let n = 0; n < 2; n++) {
    batch.memory.fill(n + 1, batch.descriptors[2 * n], (batch.descriptors[2 * n] as number) + 60)
    batch.descriptors[2 * n + 1] = 60
  }
  t.is(socket.held, 8)
  batch.length = 2
  t.is(queue.transmit(batch), 2)
  queue.kick()
  t.deepEqual(socket.sent.map((bytes) => [bytes[0], bytes.length]), [[1, 60], [2, 60]]) // biome-ignore format: one line
  batch.descriptors.copyWithin(0, 14)
  batch.length = 1
  t.deepEqual([queue.recycle(batch), batch.length, socket.held, queue.recycle(batch)], [1, 0, 5, 0])
})

test('only a batch of the same UMEM is taken, and only a length that it can have', (t) => {
  const { queue } = opened(t)
  const batch = queue.batch(4)
  const other = opened(t).queue.batch(4)
  for (const call of [queue.receive, queue.allocate, queue.transmit, queue.recycle] as ((
    batch: DescriptorBatch,
  ) => unknown)[]) {
    other.length = 1
    t.throws(() => call.call(queue, other), { code: 'ERR_INVALID_ARG_VALUE' })
    t.throws(() => call.call(queue, { length: 1, capacity: 1 } as DescriptorBatch), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  for (const length of [5, -1, 0.5, Number.NaN]) {
    t.throws(() => {
      batch.length = length
    }, outside)
  }
  for (const capacity of [0, 0.5, 33, Number.NaN]) t.throws(() => queue.batch(capacity), outside)
})

test('when the port ends, batches are empty, their frames are given back, and calls throw', async (t) => {
  const { socket, port: one, queue } = opened(t)
  const batch = queue.batch(4)
  socket.arrive(frame(1), frame(2))
  queue.receive(batch)
  await one.close()
  t.deepEqual([batch.length, socket.held, socket.free], [0, 0, 32])
  t.throws(() => queue.receive(batch), { code: 'ERR_XSKNET_PORT_CLOSED' })
  t.throws(() => queue.batch(4), { code: 'ERR_XSKNET_PORT_CLOSED' })
})

test('a kept frame outlives its lease until it is sent or dropped, and counts meanwhile', async (t) => {
  const { batch, reader, socket, port: one } = await leased(t, [frame(1), frame(2), frame(3)])
  const kept = batch.at(1).keep() as KeptFrame
  t.throws(() => batch.at(1).length, ended)
  const second = batch.at(2).keep() as KeptFrame
  t.is(second.keep(), second)
  await reader.return?.()
  t.deepEqual([socket.held, (await one.stats()).chunks.kept], [2, 2])
  t.deepEqual([kept.length, kept.uint8(0), second.uint8(59)], [60, 2, 3])
  kept.length = 30
  t.true(kept.send())
  t.throws(() => kept.uint8(0), ended)
  await null // it leaves without a lease, at the end of the turn
  t.deepEqual(socket.sent.map((bytes) => [bytes[0], bytes.length]), [[2, 30]]) // biome-ignore format: one line
  second.drop()
  t.throws(() => second.drop(), ended)
  one.trySend(frame(9))
  await null
  await one.batches().return?.()
  t.is((await one.stats()).chunks.kept, 0)
})

test('no more frames are kept than allowed, and forgotten ones end with the port', async (t) => {
  const {
    batch,
    port: one,
    socket,
  } = await leased(
    t,
    Array.from({ length: 6 }, (_, n) => frame(n)),
  )
  const kept = [0, 1, 2, 3].map((place) => batch.at(place).keep() as KeptFrame) // a quarter of half of 32
  t.is(batch.at(4).keep(), undefined)
  t.is(batch.at(4).uint8(0), 4)
  kept[0]?.drop()
  t.truthy(batch.at(4).keep())
  await one.close()
  for (const each of kept) t.throws(() => each.length, ended)
  t.is(socket.held, 0)
})

test(
  'a frame is forwarded to another port as a copy where the UMEM is ' + 'another, and kept where there is no room',
  async (t) => {
    const { batch, socket } = await leased(t, [frame(1), frame(2), frame(3)])
    const other = opened(t, new Socket({ slots: 2 }))
    other.socket.stuck = true
    t.deepEqual([batch.at(0).forward(other.port), batch.at(1).forward(other.queue)], [true, true])
    const last = batch.at(2)
    t.false(last.forward(other.port))
    t.is(last.uint8(0), 3)
    other.socket.stuck = false
    await null
    t.deepEqual(other.socket.sent.map((bytes) => bytes[0]), [1, 2]) // biome-ignore format: one line
    t.is(socket.held, 3, 'the lease gives the chunks back')
    await other.port.close()
    t.throws(() => last.forward(other.port), { code: 'ERR_XSKNET_PORT_CLOSED' })
    t.throws(() => batch.at(0).length, ended)
  },
)

test('a frame is forwarded by its chunk where the UMEM is the same: to its own port, too', async (t) => {
  const { batch, port: one, socket } = await leased(t, [frame(1)])
  for (const nowhere of [undefined, null, {}, socket]) {
    t.throws(() => batch.at(0).forward(nowhere as never), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  t.true(batch.at(0).forward(one))
  t.is(socket.held, 1)
  await null
  t.deepEqual([socket.sent.length, socket.held], [1, 0])
})

test('a packet in several buffers is one frame: counted, read, copied, sent, kept and dropped as one', async (t) => {
  const long = Uint8Array.from({ length: 4000 }, (_, n) => n)
  const socket = new Socket({ multiBuffer: true, slots: 16 })
  const { batch, reader } = await leased(t, [frame(1), long, frame(2), long, long], socket)
  t.is(batch.length, 5)
  t.deepEqual([...batch].length, 5)
  const one = batch.at(1)
  t.deepEqual([one.length, one.packetLength, one.buffers, one.uint8(1791)], [1792, 4000, 3, 1791 & 255])
  t.deepEqual([one.bufferLength(0), one.bufferLength(2), batch.memory[one.bufferOffset(2)]], [1792, 416, 3584 & 255])
  for (const index of [3, -1, 0.5]) t.throws(() => one.bufferOffset(index), outside)
  t.deepEqual(one.copy(), long)
  one.length = 1790
  t.is(batch.at(1).packetLength, 3998)
  t.true(batch.at(1).send())
  t.deepEqual(batch.at(2).copy(), frame(2))
  const kept = batch.at(3).keep() as KeptFrame
  t.deepEqual([kept.buffers, kept.copy()], [3, long])
  batch.at(4).drop()
  const left: number[] = []
  for (const each of batch) left.push(each.length)
  t.deepEqual(left, [60, 60])
  await reader.return?.()
  t.deepEqual(socket.sent.map((bytes) => bytes.length), [1790, 1792, 416]) // biome-ignore format: one line
  t.is(socket.held, 3)
  t.deepEqual(kept.copy(), long)
  kept.drop()
})

test('descriptors of a packet in several buffers carry the bit that says so', (t) => {
  const { socket, queue } = opened(t, new Socket({ multiBuffer: true }))
  const batch = queue.batch(8)
  socket.arrive(frame(1, 3600), frame(2))
  t.is(queue.receive(batch), 4)
  const lengths = [1, 3, 5, 7].map((word) => batch.descriptors[word])
  t.deepEqual(lengths, [1792 + GOES_ON, 1792 + GOES_ON, 16, 60])
})

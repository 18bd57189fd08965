import test, { type ExecutionContext } from 'ava'
import type { Batch } from '../../../packages/xsknet/src/frames/batch.js'
import type { Frame } from '../../../packages/xsknet/src/frames/frame.js'
import { frame, port, Socket } from './socket.js'

const ended = { code: 'ERR_XSKNET_LEASE_ENDED' }
const outside = { code: 'ERR_OUT_OF_RANGE', instanceOf: RangeError }

/** The first batch of a port that has received the frames. */
async function lease(t: ExecutionContext, frames: Uint8Array[], socket = new Socket()) {
  const opened = port(socket)
  t.teardown(() => opened.destroy())
  const reader = opened.batches()
  socket.arrive(...frames)
  const { value } = await reader.next()
  return { socket, port: opened, reader, batch: value as Batch }
}

test('bytes are read and written in network byte order, within the length and nowhere else', async (t) => {
  const { batch } = await lease(t, [frame(0, 60)])
  const one = batch.at(0)
  one.setUint32(0, 0xdead_beef)
  one.setUint16(4, 0x1_0203)
  one.setUint8(6, 0x1ff)
  t.deepEqual([...one.copy().subarray(0, 8)], [0xde, 0xad, 0xbe, 0xef, 2, 3, 0xff, 0])
  t.deepEqual([one.uint8(0), one.uint16(1), one.uint32(0)], [0xde, 0xadbe, 0xdead_beef])
  t.deepEqual([one.uint8(59), one.uint16(58), one.uint32(56)], [0, 0, 0])
  const beyond: [(index: number) => unknown, number][] = [
    [(i) => one.uint8(i), 60],
    [(i) => one.uint16(i), 59],
    [(i) => one.uint32(i), 57],
    [(i) => one.setUint8(i, 1), 60],
    [(i) => one.setUint16(i, 1), 59],
    [(i) => one.setUint32(i, 1), 57],
  ]
  for (const [access, first] of beyond) {
    for (const index of [first, -1, 0.5, Number.NaN, 2 ** 32, Number.MAX_SAFE_INTEGER])
      t.throws(() => access(index), outside)
  }
  t.true(one.memory === batch.memory && one.bytes().buffer === batch.memory.buffer)
})

test('a frame grows up to its chunk and shrinks to nothing', async (t) => {
  const { batch } = await lease(t, [frame(1)])
  const one = batch.at(0)
  t.deepEqual([one.length, one.capacity, one.offset % 2048], [60, 1792, 256])
  one.length = 1792
  t.is(one.uint8(1791), 0)
  one.length = 0
  t.throws(() => one.uint8(0), outside)
  t.throws(() => one.send(), outside)
  for (const length of [1793, -1, 1.5, Number.NaN]) {
    t.throws(() => {
      one.length = length
    }, outside)
  }
})

test('the frame moves: at() and the loop return one object, allocate() another', async (t) => {
  const { batch } = await lease(t, [frame(1), frame(2), frame(3)])
  const one = batch.at(0)
  t.is(batch.at(2), one)
  t.is(one.uint8(0), 3)
  const values: number[] = []
  for (const each of batch) {
    t.is(each, one)
    const reply = batch.allocate() as Frame
    t.not(reply, one)
    reply.length = 1
    t.is(reply.capacity, 1792)
    values.push(each.uint8(0))
  }
  t.deepEqual(values, [1, 2, 3])
  for (const index of [3, -1, 0.5]) t.throws(() => batch.at(index), outside)
})

test(
  'frames leave in the order of send(), the rest is reclaimed, ' + 'and nothing is held when the lease ends',
  async (t) => {
    const { batch, reader, socket } = await lease(t, [frame(1), frame(2), frame(3), frame(4)])
    t.true(batch.at(3).send())
    const reply = batch.allocate() as Frame
    reply.length = 61
    reply.bytes().fill(9)
    t.true(reply.send())
    const first = batch.at(0)
    first.length = 30
    t.true(first.send())
    batch.at(1).drop()
    t.deepEqual([...batch].length, 1)
    t.is(socket.sent.length, 0)
    await reader.return?.()
    const shape = socket.sent.map((bytes) => [bytes[0], bytes.length])
    t.deepEqual(shape, [
      [4, 60],
      [9, 61],
      [1, 30],
    ])
    t.deepEqual([socket.held, socket.free], [0, 32])
  },
)

test('flush() lets frames leave in the middle of a lease', async (t) => {
  const { batch, socket } = await lease(t, [frame(1), frame(2)])
  batch.at(0).send()
  batch.flush()
  t.is(socket.sent.length, 1)
  t.is(batch.at(1).uint8(0), 2)
})

test('a frame that was sent or dropped cannot be touched, nor found again', async (t) => {
  const { batch } = await lease(t, [frame(1), frame(2)])
  for (const [place, leave] of [(one: Frame) => one.send(), (one: Frame) => one.drop()].entries()) {
    const one = batch.at(place)
    leave(one)
    t.throws(() => one.length, ended)
    t.throws(() => one.uint8(0), ended)
    t.throws(() => one.send(), ended)
    t.throws(() => batch.at(place).offset, ended)
  }
  t.is([...batch].length, 0)
})

const onFrame: Record<string, (one: Frame) => unknown> = {
  memory: (one) => one.memory,
  offset: (one) => one.offset,
  length: (one) => one.length,
  'length =': (one) => {
    one.length = 1
  },
  capacity: (one) => one.capacity,
  uint8: (one) => one.uint8(0),
  uint16: (one) => one.uint16(0),
  uint32: (one) => one.uint32(0),
  setUint8: (one) => one.setUint8(0, 1),
  setUint16: (one) => one.setUint16(0, 1),
  setUint32: (one) => one.setUint32(0, 1),
  bytes: (one) => one.bytes(),
  copy: (one) => one.copy(),
  send: (one) => one.send(),
  drop: (one) => one.drop(),
}
const onBatch: Record<string, (batch: Batch) => unknown> = {
  length: (batch) => batch.length,
  memory: (batch) => batch.memory,
  at: (batch) => batch.at(0),
  allocate: (batch) => batch.allocate(),
  flush: (batch) => batch.flush(),
  iterator: (batch) => batch[Symbol.iterator](),
}

const ways: Record<string, (leased: Awaited<ReturnType<typeof lease>>) => unknown> = {
  'asking for the next batch': ({ reader }) => {
    reader.next()
  },
  'leaving the loop': ({ reader }) => reader.return?.(),
  'close()': (leased) => {
    leased.port.close()
  },
  'destroy()': (leased) => {
    leased.port.destroy()
  },
}
for (const [way, endBy] of Object.entries(ways)) {
  test(`${way} ends the lease: every access to batch and frames throws, also inside a loop over it`, async (t) => {
    const leased = await lease(t, [frame(1), frame(2)])
    const { batch } = leased
    const fresh = batch.allocate() as Frame
    const [loop, one] = [batch[Symbol.iterator](), batch.at(0)]
    loop.next()
    await endBy(leased)
    for (const [name, access] of Object.entries(onFrame)) {
      t.throws(() => access(one), ended, name)
      t.throws(() => access(fresh), ended, name)
    }
    for (const [name, access] of Object.entries(onBatch)) t.throws(() => access(batch), ended, name)
    t.throws(() => loop.next(), ended)
  })
}

test('a batch and frame of an ended lease do not come to life with the next one', async (t) => {
  const { batch, reader, socket } = await lease(t, [frame(1)])
  const one = batch.at(0)
  socket.arrive(frame(2))
  const { value: next } = await reader.next()
  t.not(next, batch)
  t.is((next as Batch).at(0).uint8(0), 2)
  t.throws(() => one.uint8(0), ended)
  t.throws(() => batch.at(0), ended)
})

test('send() is false when no slot is left, and the frame stays; one kick a lease tries to make room', async (t) => {
  const socket = new Socket({ slots: 2 })
  const { batch } = await lease(
    t,
    [1, 2, 3, 4, 5].map((value) => frame(value)),
    socket,
  )
  t.deepEqual([...batch].length, 5)
  for (const place of [0, 1, 2])
    t.true(batch.at(place).send(), 'the kernel takes the first two when the third is queued')
  socket.stuck = true
  t.true(batch.at(3).send())
  const kicks = socket.calls.filter((call) => call === 'flush').length
  for (let time = 0; time < 10; time++) {
    const last = batch.at(4)
    t.false(last.send())
    t.is(last.uint8(0), 5)
  }
  t.is(socket.calls.filter((call) => call === 'flush').length, kicks + 1)
  socket.stuck = false
  batch.flush()
  t.true(batch.at(4).send())
})

test('allocate() fetches frames by the batch and ends with undefined when no chunk is free', async (t) => {
  const { batch, reader, socket } = await lease(t, [frame(1)])
  let fresh = 0
  while (batch.allocate()) fresh++
  t.is(fresh, 31)
  t.is(socket.calls.filter((call) => call === 'allocate').length, 3)
  await reader.return?.()
  t.is(socket.free, 32)
})

test('a packet costs no call', async (t) => {
  const { batch, socket } = await lease(t, [frame(1), frame(2), frame(3), frame(4)])
  const calls = socket.calls.length
  for (const each of batch) {
    each.setUint16(0, each.uint16(2))
    each.send()
  }
  t.is(socket.calls.length, calls)
})

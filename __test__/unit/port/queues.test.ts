import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { toFailure } from '../../../packages/xsknet/src/connection/protocol.js'
import { XsknetError } from '../../../packages/xsknet/src/errors.js'
import type { KeptFrame } from '../../../packages/xsknet/src/frames/frame.js'
import { notify, type Port } from '../../../packages/xsknet/src/port/port.js'
import { adoptQueue } from '../../../packages/xsknet/src/queue/adopt-queue.js'
import { frame, portOf, Socket } from './socket.js'

const closed = { code: 'ERR_XSKNET_PORT_CLOSED' }
const elsewhere = { code: 'ERR_XSKNET_QUEUE_HANDED_OVER' }
const busy = { code: 'ERR_XSKNET_READER_BUSY' }

const sockets = (count: number) => Array.from({ length: count }, () => new Socket())
/** The first bytes of all frames, until the loop ends. */
async function read(port: Port, seen: number[] = []): Promise<number[]> {
  for await (const batch of port.batches()) for (const one of batch) seen.push(one.uint8(0))
  return seen
}

/** Waits until a condition holds, turn by turn of the event loop. */
async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 5000; !holds(); await turn())
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`)
}

test('a port reads all its queues in turn, sends by the first, and sums their figures', async (t) => {
  const [left, right] = sockets(2) as [Socket, Socket]
  const port = portOf([left, right])
  t.is(port.queues.length, 2)
  t.is(port.queues[1], port.queue(1))
  t.throws(() => port.queue(2), { code: 'ERR_OUT_OF_RANGE' })
  left.arrive(frame(1), frame(1))
  right.arrive(frame(2))
  const seen: number[] = []
  const loop = read(port, seen)
  await until('it waits for both', () => left.waits + right.waits === 2)
  t.deepEqual(seen, [1, 1, 2])
  t.deepEqual([left.held, right.held], [0, 0])
  right.arrive(frame(3))
  await until('it has the third', () => seen.length === 4)
  left.arrive(frame(4))
  await until('it has the fourth', () => seen.length === 5)
  t.deepEqual(seen, [1, 1, 2, 3, 4])
  await port.send(frame(9))
  t.deepEqual([left.sent.length, right.sent.length], [1, 0])
  const { client, chunks, queues } = await port.stats()
  t.deepEqual([client.sent, chunks.total, queues.length], [1, 64, 2])
  await port.close()
  await loop
  t.true(left.closed && right.closed)
})

test('a queue that is never empty does not keep the others from being read', async (t) => {
  const [left, right] = sockets(2) as [Socket, Socket]
  const port = portOf([left, right])
  right.arrive(frame(2))
  left.arrive(frame(1))
  let [firsts, second] = [0, false]
  for await (const batch of port.batches()) {
    if (batch.at(0).uint8(0) === 2) second = true
    else firsts++
    // So slow that the event loop has to turn meanwhile, which must not begin the round anew.
    for (const end = performance.now() + 1.5; firsts % 3 === 2 && performance.now() < end; );
    left.arrive(frame(1))
    if (second) break
    if (firsts === 100) break
  }
  t.true(second)
  t.true(firsts <= 8, `${firsts}`)
  await port.close()
})

test('one reader for a port and its queues', async (t) => {
  const port = portOf(sockets(2))
  const one = port.queue(1).batches()
  const waiting = one.next()
  await t.throwsAsync(port.batches().next(), busy)
  t.throws(() => port.queue(1).token(), busy)
  const other = port.queue(0).batches()
  const otherWaiting = other.next()
  await one.return?.()
  await other.return?.()
  t.deepEqual([(await waiting).done, (await otherWaiting).done], [true, true])
  const all = port.batches()
  const allWaiting = all.next()
  await t.throwsAsync(port.queue(0).batches().next(), busy)
  await port.close()
  t.true((await allWaiting).done)
})

test('a queue that is closed leaves the port and its other queues alone', async (t) => {
  const [left, right] = sockets(2) as [Socket, Socket]
  const port = portOf([left, right])
  await port.queue(0).close()
  await port.queue(0).closed
  t.true(left.closed && !right.closed)
  t.throws(() => port.trySend(frame(1)), closed)
  const loop = read(port)
  right.arrive(frame(5))
  await turn()
  t.is((await port.stats()).queues.length, 2)
  await port.close()
  t.deepEqual(await loop, [5])
})

test('a queue is closed with its reason, and the port is not', async (t) => {
  const port = portOf(sockets(2))
  const reason = new Error('enough')
  const loop = port.queue(1).batches().next()
  const ending = port.queue(1).destroy(reason)
  await t.throwsAsync(loop, { is: reason })
  await ending
  await t.throwsAsync(port.queue(1).closed, { is: reason })
  await port.close()
  await port.closed
})

test('a queue that is handed over is of no use here but to wait for its end', async (t) => {
  const [left, right] = sockets(2) as [Socket, Socket]
  const port = portOf([left, right])
  const queue = port.queue(0)
  left.stuck = true
  for (let n = 0; n < 8; n++) queue.trySend(frame(1))
  const waiting = queue.send(frame(2))
  const token = queue.token()
  t.deepEqual(structuredClone(token), token)
  t.deepEqual([token.key, token.index, token.info.mac], [[1, 2, 3, 4], 0, port.info.mac])
  await t.throwsAsync(waiting, elsewhere)
  t.throws(() => queue.token(), elsewhere)
  t.throws(() => queue.trySend(frame(1)), elsewhere)
  t.throws(() => queue.stats(), elsewhere)
  await t.throwsAsync(queue.batches().next(), elsewhere)
  await t.throwsAsync(port.send(frame(1)), elsewhere)
  t.is(queue.ref().unref(), queue)
  const loop = read(port)
  right.arrive(frame(7))
  await until('it was read', () => right.held === 0)
  left.letter(null)
  await queue.closed
  t.throws(() => queue.stats(), closed)
  await port.close()
  t.deepEqual(await loop, [7])
})

test('what was sent before a queue is handed over was sent', async (t) => {
  const socket = new Socket()
  const port = portOf([socket])
  const sent = port.send(frame(1))
  port.queue(0).token()
  await sent
  t.is(socket.sent.length, 1)
  socket.letter(null)
  await port.close()
})

test('a queue whose memory is shared cannot be handed over, and goes on with all that it had', async (t) => {
  const socket = new Socket()
  socket.shared = true
  const port = portOf([socket])
  const queue = port.queue(0)
  socket.arrive(frame(1))
  let kept: KeptFrame | undefined
  for await (const batch of queue.batches()) {
    kept = batch.at(0).keep()
    break
  }
  const batch = queue.batch(4)
  queue.allocate(batch)
  t.throws(() => queue.token(), { code: 'ERR_XSKNET_NOT_SUPPORTED' })
  t.is(kept?.uint8(0), 1)
  t.deepEqual([socket.held, batch.length], [5, 4])
  batch.descriptors.forEach((_, word) => {
    if (word % 2 === 1) batch.descriptors[word] = 60
  })
  t.deepEqual([kept?.send(), queue.transmit(batch)], [true, 4])
  queue.kick()
  t.is(socket.sent.length, 5)
  await port.close()
})

test('what no queue gave away cannot be adopted', async (t) => {
  const port = portOf([new Socket()])
  const token = port.queue(0).token() // the binding has never heard of it
  t.throws(() => adoptQueue(token), { code: 'ERR_XSKNET_TOKEN_VOID' })
  for (const wrong of [
    undefined,
    null,
    7,
    {},
    { ...token, key: [1, 2, 3] },
    { ...token, key: [1, 2, 3, -1] },
    { ...token, info: null },
  ]) {
    t.throws(() => adoptQueue(wrong as never), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  await port.destroy()
})

test('close() ends a queue elsewhere, and waits for that, but not for ever; destroy() hurries', async (t) => {
  const socket = new Socket()
  const port = portOf([socket])
  port.queue(0).token()
  const start = performance.now()
  const closing = port.close()
  await turn()
  t.deepEqual(socket.posted, [{ over: { drain: true } }, 'recalled'])
  setTimeout(() => socket.letter(null), 50)
  await closing
  const took = performance.now() - start
  t.true(took >= 49 && took < 1000, `${took}`)

  const silent = new Socket()
  const other = portOf([silent])
  other.queue(0).token()
  const slowly = other.close()
  await turn()
  await other.destroy(new Error('enough'))
  await slowly
  t.true(performance.now() - start < 1000)
  await t.throwsAsync(other.closed, { message: 'enough' })

  const hanging = new Socket()
  const third = portOf([hanging])
  third.queue(0).token()
  await third.destroy(new Error('now'))
  t.like(hanging.posted[0], {
    over: { drain: false, failure: { code: 'ERR_XSKNET_PORT_CLOSED', cause: { message: 'now' } } },
  })
})

test('figures of a queue elsewhere are what its thread answers, or said last', async (t) => {
  const socket = new Socket()
  const port = portOf([socket, new Socket()])
  port.queue(0).token()
  const asked = port.stats()
  t.deepEqual(socket.posted, [{ report: true }])
  const { queues } = await asked
  const [before] = queues
  t.is(before?.chunks.total, 32)
  const again = port.stats()
  const stats = { ...before, client: { ...before?.client, received: 42 } }
  socket.letter(JSON.stringify({ stats }))
  t.is((await again).client.received, 42)
  socket.letter(null)
  t.is((await port.stats()).client.received, 42)
  await port.close()
})

test('a port is lost when a thread finds that its queue is; detached, threads are told to look', async (t) => {
  const socket = new Socket()
  const port = portOf([socket])
  port.queue(0).token()
  port[notify].detached()
  t.deepEqual(socket.posted, [{ detached: true }])
  const later = new Socket()
  const other = portOf([later])
  other[notify].detached()
  other.queue(0).token()
  t.deepEqual(later.posted, [{ detached: true }])
  const told = once(port, 'lost')
  socket.letter(JSON.stringify({ lost: toFailure(new XsknetError('ERR_XSKNET_PORT_LOST', 'gone')) }))
  const [loss] = await told
  t.like(loss, { code: 'ERR_XSKNET_PORT_LOST', message: 'gone' })
  await t.throwsAsync(port.closed, { is: loss })
  await t.throwsAsync(port.queue(0).closed, { is: loss })
})

test('a reader that spins looks on for so long before it sleeps, and lets the loop turn meanwhile', async (t) => {
  const socket = new Socket()
  const port = portOf([socket], {}, 200_000)
  const looks = () => socket.calls.filter((call) => call === 'receive').length
  let ticks = 0
  const ticker = setInterval(() => ticks++, 1)
  const start = performance.now()
  const seen: number[] = []
  const loop = read(port, seen)
  while (socket.waits === 0) await turn()
  const took = performance.now() - start
  clearInterval(ticker)
  t.true(took >= 200 && took < 5000, `${took} ms`)
  t.true(looks() > 100, `${looks()} looks`)
  t.true(ticks >= 2, `${ticks} ticks`)

  const before = looks()
  await turn()
  t.is(looks(), before, 'asleep')
  socket.arrive(frame(1))
  await until('it was read', () => seen.length === 1)
  t.true(looks() > before + 2, 'it spins again after a frame')
  await port.close()
  await loop
})

test('an explicit reader is told when frames are there and when there are none any more', async (t) => {
  const socket = new Socket()
  const port = portOf([socket])
  const queue = port.queue(0)
  const batch = queue.batch(4)
  t.is(queue.receive(batch), 0)
  const waiting = queue.readable()
  await t.throwsAsync(queue.readable(), busy)
  await t.throwsAsync(port.batches().next(), busy)
  t.is(socket.waits, 1)
  socket.arrive(frame(1), frame(2))
  t.true(await waiting)
  t.true(await queue.readable(), 'as long as they are there')
  t.is(queue.receive(batch), 2)
  t.is(queue.transmit(batch), 2)
  queue.kick()
  t.is(socket.sent.length, 2)

  const giveUp = new AbortController()
  const givenUp = queue.readable({ signal: giveUp.signal })
  giveUp.abort(new Error('enough'))
  await t.throwsAsync(givenUp, { message: 'enough' })
  await t.throwsAsync(queue.readable({ signal: giveUp.signal }), { message: 'enough' })
  t.is(socket.waits, 0)
  await t.throwsAsync(queue.readable({ signal: {} as never }), { code: 'ERR_INVALID_ARG_TYPE' })

  const loop = queue.batches().next()
  t.throws(() => queue.receive(batch), busy)
  await t.throwsAsync(queue.readable(), busy)
  socket.arrive(frame(3))
  await loop
  await port.close()
  t.false(await queue.readable())
  t.throws(() => queue.receive(batch), closed)
})

test('the end of a port ends the wait of an explicit reader', async (t) => {
  const [calmly, lost] = [portOf(sockets(1)), portOf(sockets(1))]
  const waits = [calmly.queue(0).readable(), lost.queue(0).readable()] as const
  await calmly.close()
  t.false(await waits[0])
  const loss = new XsknetError('ERR_XSKNET_PORT_LOST', 'gone')
  lost[notify].lost(loss)
  await t.throwsAsync(waits[1], { is: loss })
  await t.throwsAsync(lost.queue(0).readable(), { is: loss })
})

test('a reader that asks before each batch lets the event loop turn', async (t) => {
  const socket = new Socket()
  const port = portOf([socket])
  const queue = port.queue(0)
  const batch = queue.batch(4)
  let ticks = 0
  const ticker = setInterval(() => ticks++, 1)
  socket.arrive(frame(1))
  for (const end = Date.now() + 5000; ticks < 5 && Date.now() < end && (await queue.readable()); ) {
    queue.receive(batch)
    queue.recycle(batch)
    socket.arrive(frame(1)) // the next is always there already
  }
  clearInterval(ticker)
  t.is(ticks, 5)
  await port.close()
})

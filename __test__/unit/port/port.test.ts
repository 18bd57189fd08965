import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import { XsknetError } from '../../../packages/xsknet/src/errors.js'
import type { Batch } from '../../../packages/xsknet/src/frames/batch.js'
import type { Frame } from '../../../packages/xsknet/src/frames/frame.js'
import { notify, type Port } from '../../../packages/xsknet/src/port/port.js'
import { frame, port, Socket } from './socket.js'

const closed = { code: 'ERR_XSKNET_PORT_CLOSED' }
const lost = { code: 'ERR_XSKNET_PORT_LOST' }

/** Reads until the loop ends, and says how many frames came. */
async function read(from: Port, signal?: AbortSignal): Promise<number> {
  let frames = 0
  for await (const batch of from.batches({ signal })) frames += batch.length
  return frames
}

/** Waits until a condition holds, turn by turn of the event loop. */
async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 5000; !holds(); await turn())
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`)
}

// Reading

test('a loop gets what arrives before and while it waits, in batches of at most `max`', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  socket.arrive(frame(1), frame(2), frame(3))
  const sizes: number[] = []
  const loop = (async () => {
    for await (const batch of one.batches({ max: 2 })) sizes.push(batch.length)
  })()
  await until('the loop waits', () => socket.waits === 1)
  t.deepEqual(sizes, [2, 1])
  socket.arrive(frame(4))
  await until('the loop has it', () => sizes.length === 3)
  await one.close()
  await loop
})

test('a port has one reader, a reader has one next() at a time, and another may follow it', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  const first = one.batches()
  const waiting = first.next()
  await t.throwsAsync(one.batches().next(), { code: 'ERR_XSKNET_READER_BUSY' })
  await t.throwsAsync(first.next(), { code: 'ERR_XSKNET_READER_BUSY' })
  await first.return?.()
  t.deepEqual(await waiting, { done: true, value: undefined })
  t.deepEqual(await first.next(), { done: true, value: undefined })
  t.is(socket.waits, 0, 'nobody waits, so nothing keeps the process alive')
  const second = read(one)
  await one.close()
  t.is(await second, 0)
})

test('what the loop throws is thrown, its lease ends, and the port goes on', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  socket.arrive(frame(1), frame(2))
  const loop = async () => {
    for await (const batch of one.batches()) {
      batch.at(0).send()
      throw new Error('mine')
    }
  }
  await t.throwsAsync(loop(), { message: 'mine' })
  t.deepEqual([socket.sent.length, socket.held], [1, 0])
  socket.arrive(frame(3))
  for await (const batch of one.batches()) {
    t.is(batch.length, 1)
    break
  }
  await one.close()
})

test('an aborted signal ends the loop with its reason: before it, while it waits, and inside it', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  await t.throwsAsync(read(one, AbortSignal.abort(new Error('before'))), { message: 'before' })

  const waiting = new AbortController()
  const loop = read(one, waiting.signal)
  await until('the loop waits', () => socket.waits === 1)
  waiting.abort(new Error('while'))
  await t.throwsAsync(loop, { message: 'while' })
  t.is(socket.waits, 0)

  const inside = new AbortController()
  socket.arrive(frame(1))
  const body = (async () => {
    for await (const batch of one.batches({ signal: inside.signal })) {
      inside.abort(new Error('inside'))
      await turn()
      t.is(batch.at(0).uint8(0), 1, 'the turn of the loop is not cut short')
    }
  })()
  await t.throwsAsync(body, { message: 'inside' })
  t.is(socket.held, 0)
  await one.close()
})

test('however fast frames arrive, timers run', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  let ticks = 0
  const ticker = setInterval(() => ticks++, 1)
  socket.arrive(frame(1))
  for await (const batch of one.batches()) {
    t.is(batch.length, 1)
    socket.arrive(frame(1)) // the next is always there already
    if (ticks === 10) break
  }
  clearInterval(ticker)
  await one.close()
})

test('a busy reader is told of waiting frames once, and woken for nothing it asks how the device is', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  const reader = one.batches()
  const first = reader.next()
  socket.arrive(frame(1))
  await first
  t.is(socket.waits, 1, 'the watch goes on while the batch is dealt with')
  socket.wake(1)
  t.is(socket.waits, 0)
  const next = reader.next()
  socket.device = 'down'
  socket.wake(1)
  t.is(socket.waits, 0, 'a socket in error would wake for ever')
  socket.device = 'up'
  await until('it waits again', () => socket.waits === 1)
  socket.device = 'gone'
  socket.wake(1)
  await t.throwsAsync(next, lost)
})

test('options are checked at once', async (t) => {
  const one = port()
  t.teardown(() => one.destroy())
  t.throws(() => one.batches({ max: 0 }), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => one.batches({ max: 1.5 }), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => one.batches({ max: '1' as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => one.batches({ signal: {} as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => one.batches(null as never), { code: 'ERR_INVALID_ARG_TYPE' })
  const misspelt = {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /"options.maxx" .* is not an option.* Did you mean "max"\?$/,
  }
  t.throws(() => one.batches({ maxx: 3 } as never), misspelt)
  t.throws(() => one.queue(0).batches({ maxx: 3 } as never), misspelt)
  await t.throwsAsync(one.send(frame(1), { wait: true } as never), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /"options.wait"/,
  })
  await t.throwsAsync(one.queue(0).readable({ max: 3 } as never), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /"options.max"/,
  })
  t.throws(() => one.trySend('bytes' as never), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => one.trySend(new Uint8Array(0)), { code: 'ERR_OUT_OF_RANGE' })
})

/** A frame with this EtherType. */
const ofKind = (length: number, ...kind: number[]) => {
  const bytes = new Uint8Array(length)
  if (length >= 14) bytes.set(kind, 12)
  return bytes
}

test(
  'a frame shorter than an Ethernet header, or longer than the ' + 'MTU allows, is refused however it is sent',
  async (t) => {
    const socket = new Socket({ frames: 256 }) // one for each attempt
    const one = port(socket)
    t.teardown(() => one.destroy())
    const reader = one.batches()
    socket.arrive(frame(1))
    const batch = (await reader.next()).value as Batch
    const copied = (bytes: Uint8Array) => [() => one.send(bytes), () => one.trySend(bytes)]
    const framed = (bytes: Uint8Array) => {
      const fresh = () => {
        const allocated = batch.allocate() as Frame
        allocated.length = bytes.length
        allocated.bytes().set(bytes)
        return allocated
      }
      return [() => fresh().send(), () => fresh().forward(port())]
    }
    const short = { instanceOf: RangeError, code: 'ERR_OUT_OF_RANGE', message: /at least 14, an Ethernet header/ }
    for (const kind of [
      [0x08, 0x00],
      [0x81, 0x00],
      [0x88, 0xa8],
    ]) {
      for (const [ways, most] of [
        [copied, kind[0] === 0x08 ? 1514 : 1518],
        [framed, 1518],
      ] as const) {
        for (const length of [0, 1, 13]) {
          for (const send of ways(ofKind(length, ...kind))) await t.throwsAsync(async () => send(), short)
        }
        for (const length of [most + 1, 1792]) {
          for (const send of ways(ofKind(length, ...kind))) {
            const error = await t.throwsAsync(async () => send(), { code: 'ERR_XSKNET_FRAME_TOO_LONG' })
            t.deepEqual((error as XsknetError).details, { length, mtu: 1500, most })
          }
        }
        for (const length of [14, most]) {
          for (const send of ways(ofKind(length, ...kind))) t.not(await send(), false)
          batch.flush()
        }
      }
    }
    t.is(socket.sent.length, 3 * 2 * 3, 'all that were not refused, but those that another port has')
    t.is((await one.stats()).client.refusedSends, 0)
  },
)

test('`starved` tells how often reception had no chunk, once a second at most', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  const told: number[] = []
  one.on('starved', (times) => told.push(times))
  const loop = read(one)
  for (let time = 0; time < 3; time++) {
    socket.starve()
    if (time === 0) socket.starve()
    socket.arrive(frame(1))
    await turn()
  }
  t.deepEqual(told, [2])
  await one.close()
  await loop
})

// Sending

test('what is sent in one turn leaves by one kick, and is a copy', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  const bytes = frame(1)
  const sends = [one.send(bytes), one.send(frame(2))]
  t.true(one.trySend(frame(3)))
  bytes.fill(9)
  await Promise.all(sends)
  t.deepEqual(
    socket.sent.map(([first]) => first),
    [1, 2, 3],
  )
  t.is(socket.calls.filter((call) => call === 'flush').length, 1)
  await one.close()
})

test('senders wait for slots in their order, can give up, and trySend() does not overtake them', async (t) => {
  const socket = new Socket({ slots: 2 })
  socket.stuck = true
  const one = port(socket)
  const giveUp = new AbortController()
  const sends = [1, 2, 3, 4, 5].map((value) => one.send(frame(value), value === 4 ? { signal: giveUp.signal } : {}))
  t.is(socket.waits, 2, 'TX is more than half full: the kernel tells when it is not')
  t.false(one.trySend(frame(6)))
  giveUp.abort(new Error('too slow'))
  await t.throwsAsync(sends[3] as Promise<void>, { message: 'too slow' })
  socket.stuck = false
  socket.wake(2)
  await Promise.all(sends.filter((_, n) => n !== 3))
  t.deepEqual(
    socket.sent.map(([first]) => first),
    [1, 2, 3, 5],
  )
  t.is((await one.stats()).client.refusedSends, 1)
  t.true(one.trySend(frame(7)))
  await one.close()
  t.is(socket.sent.length, 5)
})

test('frames that the kernel did not take are tried again without being asked', async (t) => {
  const socket = new Socket()
  socket.stuck = true
  const one = port(socket)
  await one.send(frame(1))
  t.is(socket.sent.length, 0)
  socket.stuck = false
  await until('it has left', () => socket.sent.length === 1)
  await one.close()
})

// Ending

test('close() ends the loop, lets queued frames leave, closes the socket and then asks the daemon', async (t) => {
  const socket = new Socket()
  const order: string[] = []
  const one = port(socket, {
    close: async () => {
      order.push(socket.closed ? 'the daemon is asked, the socket is closed' : 'too early')
    },
  })
  one.on('close', () => order.push('close'))
  const loop = read(one)
  await turn()
  socket.stuck = true
  void one.trySend(frame(1))
  const closing = one.close()
  t.is(one.close(), closing)
  t.is(one.destroy !== undefined && (await loop), 0)
  socket.stuck = false
  await closing
  t.is(socket.sent.length, 1)
  t.deepEqual(order, ['the daemon is asked, the socket is closed', 'close'])
  await one.closed
  await t.throwsAsync(read(one), closed)
  await t.throwsAsync(one.send(frame(1)), closed)
  t.throws(() => one.trySend(frame(1)), closed)
  await t.throwsAsync(one.stats(), closed)
})

test(
  'close() gives up after a second if the kernel takes nothing, ' + 'and those who wait for a slot are told',
  async (t) => {
    const socket = new Socket({ slots: 1 })
    socket.stuck = true
    const one = port(socket)
    const sends = Promise.allSettled([one.send(frame(1)), one.send(frame(2))])
    const start = performance.now()
    await one.close()
    const took = performance.now() - start
    t.true(took >= 1000 && took < 2000, `${took} ms`)
    const [first, second] = await sends
    t.is(first.status, 'fulfilled')
    t.is(second.status === 'rejected' && second.reason.code, 'ERR_XSKNET_PORT_CLOSED')
  },
)

test(
  'destroy(reason) does not wait, hurries a close(), and tells the ' + 'reason to whoever reads, sends or looks',
  async (t) => {
    const socket = new Socket({ slots: 1 })
    socket.stuck = true
    const one = port(socket)
    const [loop, sends] = [read(one), Promise.allSettled([one.send(frame(1)), one.send(frame(2))])]
    const reason = new Error('enough')
    const start = performance.now()
    const destroyed = one.destroy(reason)
    t.is(one.close(), destroyed)
    await t.throwsAsync(loop, { is: reason })
    await destroyed
    await t.throwsAsync(one.closed, { is: reason })
    const [, second] = await sends
    t.like(second.status === 'rejected' && second.reason, { ...closed, cause: reason })

    const slow = new Socket()
    slow.stuck = true
    const two = port(slow)
    void two.trySend(frame(1))
    const closing = two.close()
    t.is(two.destroy(reason), closing)
    await closing
    await t.throwsAsync(two.closed, { is: reason })
    t.true(performance.now() - start < 1000)
  },
)

test('a lost port ends its loop and its senders with the loss, and can still be closed', async (t) => {
  const socket = new Socket({ slots: 1 })
  socket.stuck = true
  const one = port(socket)
  const [loop, sends] = [read(one), Promise.allSettled([one.send(frame(1)), one.send(frame(2))])]
  const told = once(one, 'lost')
  const loss = new XsknetError('ERR_XSKNET_PORT_LOST', 'the uplink is gone')
  one[notify].lost(loss)
  one[notify].lost(new XsknetError('ERR_XSKNET_PORT_LOST', 'told twice'))
  t.deepEqual(await told, [loss])
  await t.throwsAsync(loop, { is: loss })
  const [, second] = await sends
  t.is(second.status === 'rejected' && second.reason, loss)
  await t.throwsAsync(one.closed, { is: loss })
  await t.throwsAsync(one.send(frame(1)), { is: loss })
  await one.close()
  t.true(socket.closed)
})

for (const code of ['ERR_XSKNET_PORT_LOST', 'ERR_XSKNET_RING_BROKEN']) {
  test(`${code} from the socket is a loss, wherever it shows`, async (t) => {
    const failing = (act: (one: Port, socket: Socket) => unknown) => async () => {
      const socket = new Socket()
      const one = port(socket)
      const told = once(one, 'lost')
      await act(one, socket)
      const [loss] = await told
      t.is(loss.code, code)
      await t.throwsAsync(one.closed, { is: loss })
    }
    const fail = (socket: Socket) => {
      socket.failure = { code, message: 'found by the binding' }
    }
    await failing((one, socket) => {
      fail(socket)
      return t.throwsAsync(read(one), { code })
    })()
    await failing((one, socket) => {
      const sent = one.send(frame(1))
      fail(socket)
      return t.throwsAsync(sent, { code })
    })()
    await failing(async (one, socket) => {
      const loop = read(one)
      await until('the loop waits', () => socket.waits === 1)
      fail(socket)
      socket.wake(1)
      await t.throwsAsync(loop, { code })
    })()
    await failing(async (one, socket) => {
      socket.arrive(frame(1))
      const { value: batch } = await one.batches().next()
      fail(socket)
      t.throws(() => batch.flush(), { code })
      t.throws(() => batch.length, { code: 'ERR_XSKNET_LEASE_ENDED' })
    })()
  })
}

test('a port whose daemon is gone goes on, and looks after its device itself', async (t) => {
  const socket = new Socket()
  const one = port(socket)
  let times = 0
  one.on('detached', () => times++)
  one[notify].detached()
  one[notify].detached()
  t.is(times, 1)
  const loop = read(one)
  socket.arrive(frame(1))
  await turn()
  socket.device = 'gone'
  const keepsAlive = setTimeout(() => {}, 5000)
  await t.throwsAsync(loop, lost)
  clearTimeout(keepsAlive)
})

test('a forgotten port is collected, regardless of its socket’s callbacks, unless a reader waits', async (t) => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const socket = new Socket()
  const forget = async (use: (one: Port) => unknown) => {
    const one = port(socket)
    await use(one)
    return new WeakRef(one.queue(0))
  }
  const isHeld = async (queue: WeakRef<object>) => {
    for (let turns = 0; queue.deref() && turns < 20; turns++) {
      await turn()
      gc()
    }
    return queue.deref() !== undefined
  }
  const uses = [
    () => {},
    (one: Port) => one.send(frame(1)),
    async (one: Port) => {
      const reader = one.batches()
      const next = reader.next()
      await reader.return?.()
      await next
    },
  ]
  for (const use of uses) t.false(await isHeld(await forget(use)))
  const waiting = await forget((one) => {
    void one.queue(0).readable()
  })
  t.true(await isHeld(waiting))
  socket.arrive(frame(1)) // which it sees, so that it waits no longer
  socket.wake(1)
  t.false(await isHeld(waiting))
})

test('a promise without a consumer causes no unhandled rejection', async (t) => {
  const rejections: unknown[] = []
  const note = (reason: unknown) => rejections.push(reason)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  const refusing = { close: () => Promise.reject(new Error('the daemon refuses')) }
  port(new Socket(), refusing)[notify].lost(new XsknetError('ERR_XSKNET_PORT_LOST', 'gone'))
  void port().destroy(new Error('enough'))
  const socket = new Socket()
  const one = port(socket)
  one.trySend(frame(1))
  socket.failure = { code: 'ERR_XSKNET_PORT_LOST', message: 'gone' }
  for (let turns = 0; turns < 5; turns++) await turn()
  t.deepEqual(rejections, [])
  await t.throwsAsync(port(new Socket(), refusing).close(), { message: 'the daemon refuses' })
})

test('flows are asked of the daemon with the options that there are, and not once the port is closed', async (t) => {
  const asked: unknown[] = []
  const one = port(new Socket(), { changeFlows: async (...all) => void asked.push(all) })
  await one.claim(['udp'], { overrideHost: true })
  await one.replace(['udp'])
  await one.release(['udp', { protocol: 'tcp', destinationPort: 80 }])
  t.deepEqual(asked, [
    ['claimFlows', { flows: ['udp'], overrideHost: true }, { signal: undefined }],
    ['replaceFlows', { flows: ['udp'] }, { signal: undefined }],
    ['releaseFlows', { flows: ['udp', 'tcp dst port 80'] }, { signal: undefined }],
  ])
  await t.throwsAsync(one.claim(['udp', { vlan: 0 }]), { code: 'ERR_XSKNET_FLOW_INVALID', message: /index 1/ })
  await t.throwsAsync(one.replace([5 as never]), { code: 'ERR_INVALID_ARG_TYPE', message: /"flows\.0"/ })
  t.is(asked.length, 3)
  await t.throwsAsync(one.release(['udp'], { overrideHost: true } as object), { code: 'ERR_INVALID_ARG_VALUE' })
  await one.close()
  await t.throwsAsync(one.claim(['udp']), closed)
})

test('refusals are told with their bytes, until the port is closed', async (t) => {
  const refusal = { time: 1764600000123.25, reason: 'source_ip', length: 1500, bytes: '525400123456' }
  const asked: unknown[] = []
  const one = port(new Socket(), {
    refusals: async (...all) => {
      asked.push(all)
      return [refusal]
    },
  })
  const bytes = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56)
  t.deepEqual(await one.refusals(), [{ ...refusal, bytes }])
  t.deepEqual(asked, [[{ signal: undefined }]])
  await t.throwsAsync(one.refusals({ max: 5 } as object), { code: 'ERR_INVALID_ARG_VALUE' })
  await one.close()
  await t.throwsAsync(one.refusals(), closed)
  t.is(asked.length, 1)
})

test('groups are asked of the daemon, which says what the switches were not told', async (t) => {
  const asked: unknown[] = []
  const attempt = { hook: 'uplink', step: 'membership of ff02::fb', code: null, why: 'not done in VLAN 42' }
  const one = port(new Socket(), {
    joinGroups: async (...all) => {
      asked.push(all)
      return [attempt]
    },
    leaveGroups: async (...all) => void asked.push(all),
  })
  t.deepEqual(await one.join(['ff02::fb']), [attempt])
  await one.leave(['broadcast'])
  t.deepEqual(asked, [
    [['ff02::fb'], { signal: undefined }],
    [['broadcast'], { signal: undefined }],
  ])
  await t.throwsAsync(one.join([], { forever: true } as object), { code: 'ERR_INVALID_ARG_VALUE' })
  await one.close()
  await t.throwsAsync(one.join(['broadcast']), closed)
  await t.throwsAsync(one.leave(['broadcast']), closed)
})

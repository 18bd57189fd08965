import { closeSync, fstatSync, mkdtempSync, openSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { own } from 'xsknet/internal'
import { native } from '../../packages/xsknet/src/platform/native.js'
import { thisPlatform } from '../../packages/xsknetd/src/platform/native.js'
import { connectionLimits } from '../../packages/xsknetd/src/server/server.js'

const open = () => openSync('/proc/self/ns/net', 'r')
const target = (fd: number) => readlinkSync(`/proc/self/fd/${fd}`)
const isOpen = (fd: number) => {
  try {
    return fstatSync(fd) !== undefined
  } catch {
    return false
  }
}

test.serial('descriptors that are owned are closed once, and only what is open can be', (t) => {
  const [first, second] = [open(), open()]
  const owned = own([first, second])
  t.is(owned.length, 2)
  owned.close()
  t.deepEqual([isOpen(first), isOpen(second)], [false, false])
  t.is(owned.length, 0)
  const again = open()
  owned.close()
  t.true(isOpen(again))
  for (const fds of [[-1], [1_000_000], [again, again], [again, -1]]) {
    t.throws(() => own(fds), { code: 'EBADF' })
    t.true(isOpen(again), 'none is taken if not all are')
  }
  closeSync(again)
})

async function connection(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-descriptors-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const socket = join(folder, 'daemon.sock')
  const came: number[] = []
  let told = () => {}
  const listener = thisPlatform.listener()
  let admit = () => {}
  // Before the daemon knows who connects, the kernel lets no descriptor through.
  const admitted = new Promise<void>((resolve) => {
    admit = resolve
  })
  await listener.listen(socket, true, connectionLimits, (wire) => {
    wire.start(
      (_, __, descriptors) => {
        came.push(descriptors.length)
        descriptors.close()
        came.push(descriptors.length)
        wire.done()
        told()
      },
      () => {},
    )
    admit()
  })
  t.teardown(() => listener.close())
  const control = native().Control.connect(
    socket,
    () => {},
    () => {},
  )
  t.teardown(() => Promise.resolve(control.close()))
  await admitted
  const next = () =>
    new Promise<void>((resolve) => {
      told = resolve
    })
  return { control, came, next }
}

test.serial('descriptors go along with a message as copies, and arrive as what they are', async (t) => {
  const { control, came, next } = await connection(t)
  const fd = open()
  const before = target(fd)
  for (const fds of [[fd], [fd, fd, 0], undefined, []]) {
    const arrived = next()
    t.true(control.send(Buffer.from('{}'), fds))
    await arrived
  }
  t.deepEqual(came, [1, 0, 3, 0, 0, 0, 0, 0])
  t.is(target(fd), before, 'they stay the sender’s')
  closeSync(fd)
})

test.serial('a number that is not a descriptor is an error, and the connection goes on', async (t) => {
  const { control, came, next } = await connection(t)
  for (const fds of [[-1], [1_000_000], [0, -1]])
    t.throws(() => control.send(Buffer.from('{}'), fds), { code: 'EBADF' })
  const arrived = next()
  control.send(Buffer.from('{}'), [0])
  await arrived
  t.deepEqual(came, [1, 0])
})

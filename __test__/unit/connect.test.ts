import { execFile } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { release, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { connect, XsknetError } from 'xsknet'
import { openPinnedPort } from 'xsknet/internal'
import { type Answer, encode, RELEASE, type Request, readRequest } from 'xsknet/protocol'
import { thisPlatform } from '../../packages/xsknetd/src/platform/native.js'
import type { Connection } from '../../packages/xsknetd/src/platform/transport.js'
import { connectionLimits } from '../../packages/xsknetd/src/server/server.js'
import { example } from '../helpers/examples.js'
import { waitUntil } from '../helpers/program.js'
import { root } from '../helpers/workspace.js'

/** Whether the kernel keeps descriptors away from a socket that takes none (`SO_PASSRIGHTS`). */
const [major = 0, minor = 0] = release().split('.').map(Number)
const guards = major > 6 || (major === 6 && minor >= 16)

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return '' // closed meanwhile
  }
}

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'xsknet-connect-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** The transport of the real daemon, over which `serve` answers everything but `hello`. */
async function daemon(
  t: ExecutionContext,
  serve: (request: Request, wire: Connection) => void,
  limits: Partial<typeof connectionLimits> = {},
) {
  const socket = join(folder(t), 'daemon.sock')
  const listener = thisPlatform.listener()
  await listener.listen(socket, true, { ...connectionLimits, ...limits }, (wire) => {
    wire.start(
      (message) => {
        wire.done()
        const request = readRequest(message ?? new Uint8Array())
        if (request.operation === 'hello') answer(wire, request, example('hello.answer').result)
        else serve(request, wire)
      },
      () => {},
    )
  })
  t.teardown(() => listener.close())
  return socket
}

const answer = (wire: Connection, { id }: Request, result: unknown) => wire.send(encode({ version: 2, id, result }))
const silent = () => {}

test('a control socket that is closed while it is made is not left behind', async (t) => {
  for (let spin = 0; spin < 100; spin++) {
    const socket = join(folder(t), 'daemon.sock')
    const listener = thisPlatform.listener()
    const listening = listener.listen(socket, true, connectionLimits, silent)
    const until = performance.now() + spin / 200
    while (performance.now() < until);
    listener.closeNow()
    t.false(existsSync(socket), `after ${spin * 5} us`)
    // Whether it was in time to listen for a moment is a matter of chance.
    await listening.catch((error: XsknetError) => t.is(error.code, 'ERR_XSKNET_INTERNAL'))
    t.false(existsSync(socket), `after ${spin * 5} us, once the call has settled`)
  }
})

test('requests cross a real socket and back', async (t) => {
  const socket = await daemon(t, (request, wire) => answer(wire, request, example('status.answer').result))
  const net = await connect({ socket })
  const all = await Promise.all(Array.from({ length: 150 }, () => net.status()))
  for (const status of all) t.deepEqual(status, example('status.answer').result as never)
  await net.close()
})

test('a daemon of another release is told from one that is gone: which side is older and what to update', async (t) => {
  for (const [theirs, release, hint] of [
    [3, '0.2.0', 'Update the package xsknet to release 0.2.0 or a later one.'],
    [1, '0.0.9', `Update the package xsknetd to release ${RELEASE} or a later one.`],
  ] as const) {
    const socket = join(folder(t), 'daemon.sock')
    const listener = thisPlatform.listener()
    await listener.listen(socket, true, connectionLimits, (wire) => {
      const refusal = {
        version: theirs,
        id: null,
        error: { code: 'ERR_XSKNET_PROTOCOL_VERSION', message: 'no', details: { theirs: 2, ours: theirs, release } },
      }
      wire.start(
        () => {
          wire.send(Buffer.from(JSON.stringify(refusal)))
          wire.close()
        },
        () => {},
      )
    })
    t.teardown(() => listener.close())
    const error = await t.throwsAsync(connect({ socket }), {
      instanceOf: XsknetError,
      code: 'ERR_XSKNET_PROTOCOL_VERSION',
    })
    t.is(error?.hint, hint)
    t.like(error?.details, { theirs, ours: 2 })
  }
})

test('the socket comes from the option, else from $XSKNET_SOCKET', async (t) => {
  const socket = await daemon(t, silent)
  const script = "import { connect } from 'xsknet'; await (await connect()).close(); console.log('connected')"
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: root,
    env: { ...process.env, XSKNET_SOCKET: socket },
  })
  t.is((await run).stdout, 'connected\n')
  await t.throwsAsync(connect({ socket: `${socket}.other` }), { code: 'ERR_XSKNET_DAEMON_ABSENT' })
})

test('a connection keeps the process only while something waits, or after ref()', async (t) => {
  t.timeout(30_000)
  const socket = await daemon(t, (request, wire) => {
    if (request.operation === 'uplinks') return void answer(wire, request, { uplinks: [] })
    answer(wire, request, example('status.answer').result)
    setTimeout(() => wire.close(), 200)
  })
  const script = (held: boolean) => `
    import { connect } from 'xsknet'
    const net = await connect({ socket: ${JSON.stringify(socket)} })
    net.on('daemonGone', () => console.log('gone'))
    console.log((await net.uplinks()).length)
    if (${held}) {
      await net.status()
      net.ref()
    }`
  const run = async (held: boolean) => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script(held)], {
      cwd: root,
    })
    return stdout
  }
  t.is(await run(false), '0\n')
  t.is(await run(true), '0\ngone\n')
})

test('one connection too many is told so, every time', async (t) => {
  const bounds = { ...connectionLimits.root, connections: 1 }
  const socket = await daemon(t, silent, { root: bounds, strangers: bounds })
  const net = await connect({ socket })
  for (let times = 0; times < 20; times++)
    await t.throwsAsync(connect({ socket }), { code: 'ERR_XSKNET_LIMIT_REACHED' })
  await net.close()
})

test.serial('a client that sends a descriptor without the right to is told what is missing', async (t) => {
  if (process.geteuid?.() !== 0) return void t.pass('skipped: only root can become another user, and root may always')
  const uid = 65_534
  const came: [operation: string, descriptors: number][] = []
  const socket = join(folder(t), 'daemon.sock')
  chmodSync(dirname(socket), 0o755)
  const listener = thisPlatform.listener()
  t.teardown(() => listener.close())
  await listener.listen(socket, true, { ...connectionLimits, trusted: { uids: [uid], gids: [] } }, (wire) => {
    t.deepEqual([wire.credentials.uid, wire.sendsDescriptors], [uid, false])
    t.throws(() => wire.namespace(), { code: 'ERR_XSKNET_NAMESPACE_INVALID' })
    wire.start(
      (message, _, descriptors) => {
        wire.done()
        const request = readRequest(message ?? new Uint8Array())
        came.push([request.operation, descriptors.length])
        descriptors.close()
        const error = { code: 'ERR_XSKNET_NOT_PERMITTED', message: 'no', hint: 'pinned = true' } as const
        const told = request.operation === 'hello' ? { result: example('hello.answer').result } : { error }
        wire.send(encode({ version: 2, id: request.id, ...told } as Answer))
      },
      () => {},
    )
  })
  // Loaded before the user changes, who may not read it.
  await t.throwsAsync(connect({ socket: `${socket}.other` }))
  process.seteuid?.(uid)
  const connecting = connect({ socket })
  const net = await connecting.finally(() => process.seteuid?.(0))
  const namespace = openSync('/proc/self/ns/net', 'r')
  t.teardown(() => closeSync(namespace))
  const port = { uplink: 'eth0', addresses: ['192.0.2.10'] }
  const make = () => Promise.reject(new Error('it was opened'))
  const denied = await t.throwsAsync(openPinnedPort(net, port, namespace, make), { code: 'ERR_XSKNET_NOT_PERMITTED' })
  t.is((denied as XsknetError).hint, 'pinned = true')
  await net.close()
  const [, opening] = came
  // An older kernel lets it through, and the policy refuses it all the same.
  t.is(opening?.[0], 'openPinnedPort')
  if (guards) t.is(opening?.[1], 0)
})

test('a client that may send descriptors is identified by the network namespace of its process', async (t) => {
  const socket = join(folder(t), 'daemon.sock')
  const listener = thisPlatform.listener()
  t.teardown(() => listener.close())
  const wires: Connection[] = []
  const own = { uids: [process.geteuid?.() ?? 0], gids: [] }
  await listener.listen(socket, true, { ...connectionLimits, trusted: own, descriptors: own }, (wire) => {
    wires.push(wire)
    wire.start(
      (message) => answer(wire, readRequest(message ?? new Uint8Array()), example('hello.answer').result),
      () => {},
    )
  })
  const links = () => readdirSync('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`))
  const namespaces = () => links().filter((link) => link === readlinkSync('/proc/self/ns/net')).length
  const net = await connect({ socket })
  const [wire] = wires as [Connection]
  const before = namespaces()
  const namespace = wire.namespace()
  t.deepEqual([namespace.length, namespaces()], [1, before + 1])
  namespace.close()
  t.is(namespaces(), before)
  await net.close()
  await waitUntil('over', () => {
    try {
      wire.namespace().close()
      return false
    } catch (error) {
      t.is((error as XsknetError).code, 'ERR_XSKNET_NAMESPACE_INVALID')
      return true
    }
  })
})

test('what a daemon says before it closes is heard, however much it has not read', async (t) => {
  const socket = await daemon(t, (_, wire) => {
    wire.send(encode(example('refused.answer') as unknown as Answer))
    wire.close()
  })
  const net = await connect({ socket })
  const gone = once(net, 'daemonGone')
  for (const { status } of await Promise.allSettled(Array.from({ length: 50 }, () => net.status())))
    t.is(status, 'rejected')
  const [error] = (await gone) as [XsknetError]
  t.is((error.cause as XsknetError).code, 'ERR_XSKNET_LIMIT_REACHED')
})

test('the kernel’s refusals have their names, numbers and a hint', async (t) => {
  const path = folder(t)
  const refusal = async (socket: string) => {
    const error = (await t.throwsAsync(connect({ socket }), { instanceOf: XsknetError })) as XsknetError
    const { code, syscall } = error.cause as NodeJS.ErrnoException
    t.is(error.details.socket, socket)
    return [error.code, syscall, code]
  }
  t.deepEqual(await refusal(join(path, 'nothing')), ['ERR_XSKNET_DAEMON_ABSENT', 'connect', 'ENOENT'])

  writeFileSync(join(path, 'file'), '')
  t.deepEqual(await refusal(join(path, 'file')), ['ERR_XSKNET_DAEMON_ABSENT', 'connect', 'ECONNREFUSED'])
  t.deepEqual(await refusal(join(path, 'file', 'below')), ['ERR_XSKNET_DAEMON_ABSENT', 'connect', 'ENOTDIR'])
  t.deepEqual(await refusal(join(path, 'x'.repeat(120))), ['ERR_XSKNET_KERNEL_REFUSED', 'connect', 'ENAMETOOLONG'])

  const stream = createServer().listen(join(path, 'stream'))
  t.teardown(() => stream.close())
  await once(stream, 'listening')
  t.deepEqual(await refusal(join(path, 'stream')), ['ERR_XSKNET_DAEMON_ABSENT', 'connect', 'EPROTOTYPE'])
})

for (const [title, options, code] of [
  ['null', null, 'ERR_INVALID_ARG_TYPE'],
  ['a socket that is a number', { socket: 3 }, 'ERR_INVALID_ARG_TYPE'],
  ['an empty socket', { socket: '' }, 'ERR_INVALID_ARG_VALUE'],
  ['a socket with a zero byte', { socket: '/run/a\0b' }, 'ERR_INVALID_ARG_VALUE'],
  ['a signal that is none', { signal: 'now' }, 'ERR_INVALID_ARG_TYPE'],
  ['an option that it does not have', { path: '/run/xsknet/x.sock' }, 'ERR_INVALID_ARG_VALUE'],
] as const) {
  test(`connect() rejects ${title} with ${code}`, async (t) => {
    await t.throwsAsync(connect(options as never), { instanceOf: TypeError, code })
  })
}

test('a signal that was aborted before connects nowhere', async (t) => {
  const reason = new Error('enough')
  t.is(await t.throwsAsync(connect({ socket: '/nowhere', signal: AbortSignal.abort(reason) })), reason)
})

import { existsSync, readdirSync, statSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { DaemonStatus, PortInfo } from 'xsknet'
import { Client } from '../helpers/client.js'
import { Daemon, NOBODY } from '../helpers/daemon.js'
import { Embedding } from '../helpers/embedding.js'
import { CARD, Lab, portAddresses, portPrefixes } from '../helpers/lab.js'
import { run, waitUntil } from '../helpers/program.js'
import type { Thread } from '../helpers/programs/embedding.js'
import { programsOf, root } from '../helpers/workspace.js'

async function setUp(t: ExecutionContext): Promise<Lab> {
  const lab = await Lab.create(t)
  await lab.snapshot()
  return lab
}

const asBefore = async (t: ExecutionContext, lab: Lab, why?: string) => t.deepEqual(await lab.compare(), [], why)

const PORT = { uplink: CARD, addresses: [...portPrefixes(0)] }

/** A program with a daemon, and with an open port of it. */
async function embedding(lab: Lab): Promise<Embedding> {
  const program = Embedding.start(lab)
  const { socket } = await program.daemon()
  await program.ask({ do: 'connect', socket })
  await program.ask({ do: 'open', ...PORT })
  return program
}

/** A client as another process, by default as nobody. */
const stranger = (lab: Lab, socket: string, uid = NOBODY) =>
  Client.start(lab, '__test__/helpers/programs/client.ts', { socket, uid })

const status = async (socket: string): Promise<DaemonStatus> => {
  const cli = `${root}packages/xsknetd/dist/cli.js`
  const { code, stdout, stderr } = await run([process.execPath, cli, 'status', '--json', '--socket', socket])
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

/** One more uplink of the lab's host, whose far end is on the host, too. */
async function card(lab: Lab, n: number): Promise<string> {
  await lab.host.output('ip', 'link', 'add', `card${n}`, 'type', 'veth', 'peer', 'name', `far${n}`)
  for (const end of [`card${n}`, `far${n}`]) {
    await lab.host.output('ip', 'link', 'set', end, 'addrgenmode', 'none')
    await lab.host.output('ip', 'link', 'set', end, 'up')
  }
  return `card${n}`
}

test.serial(
  'any number of daemons run side by side, in one process and in several, each with a name of its own',
  async (t) => {
    const lab = await Lab.create(t)
    const [card1, card2] = [await card(lab, 1), await card(lab, 2)]
    await lab.snapshot()
    const [one, other] = [Embedding.start(lab), Embedding.start(lab)]
    const daemons = await Promise.all([
      one.daemon({}, 'a'),
      one.daemon({ uplinks: [card1] }, 'b'),
      other.daemon({ uplinks: [card2] }),
    ])
    const { pid } = one.program
    t.deepEqual(
      daemons.map(({ instance }) => instance).sort(),
      [`embedded-${pid}-0`, `embedded-${pid}-1`, `embedded-${other.program.pid}-0`].sort(),
    )
    for (const [n, { socket, instance }] of daemons.entries()) {
      t.is(socket, `/run/xsknet/${instance}.sock`)
      const client = stranger(lab, socket, 0)
      await client.ask({ do: 'connect' })
      const info = await client.ask<PortInfo>({ do: 'open', uplink: `card${n}`, addresses: portPrefixes(0) })
      t.is(info.uplink, `card${n}`)
      t.is((await status(socket)).instance, instance)
    }
    // An uplink has one owner, and a second daemon says who that is.
    await t.throwsAsync(other.daemon({}, 'late'), { code: 'ERR_XSKNET_DEVICE_MANAGED', message: /card0/ })
    await one.ask({ do: 'stop', as: 'a' })
    await other.daemon({}, 'late')
    for (const as of ['daemon', 'late']) await other.ask({ do: 'stop', as })
    await one.ask({ do: 'stop', as: 'b' })
    await asBefore(t, lab)
  },
)

test.serial('without grants its socket is for its user alone; with grants, or a name, it is for all', async (t) => {
  const lab = await setUp(t)
  const program = Embedding.start(lab)
  const mode = (path: string) => statSync(path).mode & 0o777
  const { socket } = await program.daemon()
  t.is(mode(socket), 0o600)
  const nobody = stranger(lab, socket)
  await t.throwsAsync(nobody.ask({ do: 'connect' }), { code: 'ERR_XSKNET_NOT_PERMITTED' })
  await program.ask({ do: 'stop' })

  const grants = [{ user: NOBODY, uplinks: [CARD], addresses: ['192.0.2.8/29'] }]
  const granting = await program.daemon({ grants })
  t.is(mode(granting.socket), 0o666)
  await nobody.ask({ do: 'connect', socket: granting.socket })
  await nobody.ask({ do: 'open', uplink: CARD, addresses: [portPrefixes(0)[0]] })
  await program.ask({ do: 'stop' })

  const named = await program.daemon({ instance: `${lab.instances}named` })
  t.deepEqual([named.instance, mode(named.socket)], [`${lab.instances}named`, 0o666])
  await program.ask({ do: 'stop' })
  const elsewhere = await program.daemon({ socket: `${lab.folder}/own.sock` })
  t.deepEqual([elsewhere.socket, mode(elsewhere.socket)], [`${lab.folder}/own.sock`, 0o600])
  await program.ask({ do: 'stop' })
  t.false(existsSync(elsewhere.socket))
  await asBefore(t, lab)
})

const ENDS = [
  { what: 'process.exit()', how: { how: 'exit' }, code: 7 },
  { what: 'an exception that nobody catches', how: { how: 'throw' }, code: 1 },
  {
    what: 'process.exit() while a port is opened',
    how: { how: 'exit', port: { ...PORT, addresses: portPrefixes(1) } },
    code: 7,
  },
] as const

for (const { what, how, code } of ENDS) {
  test.serial(`${what} closes it, with a port open`, async (t) => {
    const lab = await setUp(t)
    // The moment matters only while something is being opened.
    for (const after of 'port' in how ? [0, 10, 40] : [undefined]) {
      const program = await embedding(lab)
      program.tell({ do: 'end', ...how, after })
      t.like(await program.program.end(), { code, signal: null }, program.program.lines.join('\n'))
      await asBefore(t, lab, `after ${after} ms`)
    }
  })
}

test.serial('process.exit() while it starts leaves nothing, at any moment', async (t) => {
  const lab = await setUp(t)
  for (const after of [0, 10, 40, 90, 200]) {
    const program = Embedding.start(lab)
    program.tell({ do: 'end', how: 'exit', after, options: { uplinks: [CARD], socket: `${lab.folder}/own.sock` } })
    t.like(await program.program.end(), { code: 7, signal: null }, program.program.lines.join('\n'))
    t.false(existsSync(`${lab.folder}/own.sock`))
    await asBefore(t, lab, `after ${after} ms`)
  }
})

test.serial('a process lives as long as its daemon, unless that is unreferenced: then its end closes it', async (t) => {
  const lab = await setUp(t)
  const kept = await embedding(lab)
  await kept.ask({ do: 'closeOnSignals' })
  await kept.ask({ do: 'disconnect' })
  kept.tell({ do: 'end', how: 'fall off' })
  const [socket] = readdirSync('/run/xsknet').filter((name) => name === `embedded-${kept.program.pid}-0.sock`)
  for (let times = 0; times < 3; times++) t.is((await status(`/run/xsknet/${socket}`)).pid, kept.program.pid)
  t.deepEqual(await kept.program.stop('SIGTERM'), { code: 0, signal: null })
  await asBefore(t, lab)

  const free = await embedding(lab)
  await free.ask({ do: 'unref' })
  free.tell({ do: 'end', how: 'fall off' })
  t.deepEqual(await free.program.end(), { code: 0, signal: null }, free.program.lines.join('\n'))
  await asBefore(t, lab)
})

test.serial(
  'the program of docs/embedded.md answers pings, and ends at SIGTERM without leaving anything',
  async (t) => {
    const lab = await setUp(t)
    const [shown = ''] = programsOf('docs/embedded.md')
    const page = shown.replaceAll("'eth0'", `'${CARD}'`)
    t.not(page, shown)
    const program = lab.host.spawn(process.execPath, '--input-type=module', '--eval', page)
    await program.waitFor(/^answering for 192\.0\.2\.10\/24, 2001:db8::10\/64/)
    for (const address of portAddresses(0)) t.deepEqual(await lab.remote.unanswered(address, 20), [])
    t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null }, program.lines.join('\n'))
    await asBefore(t, lab)
  },
)

test.serial('a daemon that its program has forgotten goes on', async (t) => {
  const lab = await setUp(t)
  const program = Embedding.start(lab)
  const { socket } = await program.daemon()
  await program.ask({ do: 'forget' })
  const client = stranger(lab, socket, 0)
  await client.ask({ do: 'connect' })
  await client.ask({ do: 'open', ...PORT })
  await client.ask({ do: 'answer' })
  t.is((await lab.udpEcho(portAddresses(0)[0], [100])).identical, 1)
  program.tell({ do: 'end', how: 'exit' })
  t.like(await program.program.end(), { code: 7 })
  t.like(await client.event('lost', 5000), { code: 'ERR_XSKNET_PORT_LOST' })
  await asBefore(t, lab)
})

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  test.serial(`after ${signal} without a handler, the next daemon puts back what was left`, async (t) => {
    const lab = await setUp(t)
    for (const next of ['embedded', 'xsknetd run'] as const) {
      const dead = await embedding(lab)
      const instance = `embedded-${dead.program.pid}-0`
      t.like(await dead.program.stop(signal), { signal })
      t.true(existsSync(`/run/xsknet/${instance}.journal`))
      if (next === 'embedded') {
        const program = Embedding.start(lab)
        await program.daemon()
        t.like(await program.event('log instance-swept'), { instance })
        await program.ask({ do: 'stop' })
      } else {
        const daemon = await Daemon.start(lab)
        await daemon.program.waitFor(new RegExp(` instance-swept instance=${instance}$`))
        t.deepEqual(await daemon.stop(), { code: 0, signal: null })
      }
      await asBefore(t, lab, next)
    }
  })
}

test.serial('a program with a daemon inside that is started again answers the first ping at once', async (t) => {
  const lab = await setUp(t)
  const macs = new Set<string>()
  for (const start of ['first', 'second']) {
    const program = Embedding.start(lab)
    const { socket } = await program.daemon()
    await program.ask({ do: 'connect', socket })
    const { mac } = await program.ask<PortInfo>({ do: 'open', ...PORT })
    await program.ask({ do: 'answer' })
    for (const address of portAddresses(0)) {
      // The far end has asked for the first one's MAC.
      if (macs.size === 0) t.deepEqual(await lab.remote.unanswered(address, 1), [])
      const time = await lab.remote.answerTime(address)
      t.true(time <= 100, `${start}, ${address}: ${time} ms`)
    }
    macs.add(mac)
    await program.ask({ do: 'stop' })
  }
  t.is(macs.size, 2, 'each is known by another MAC')
  await asBefore(t, lab)
})

test.serial(
  'what was left in another network namespace is not touched, and a living daemon is not either',
  async (t) => {
    const elsewhere = await Lab.create(t)
    const lab = await setUp(t)
    const dead = await embedding(elsewhere)
    t.like(await dead.program.kill(), { signal: 'SIGKILL' })
    const living = Embedding.start(elsewhere)
    // The dead one was swept here, where it belongs.
    const { socket } = await living.daemon()
    t.like(await living.event('log instance-swept'), { instance: `embedded-${dead.program.pid}-0` })
    await living.ask({ do: 'connect', socket })
    await living.ask({ do: 'open', ...PORT })
    await living.ask({ do: 'answer' })

    const card1 = await card(elsewhere, 1)
    const second = Embedding.start(elsewhere)
    const { instance } = await second.daemon({ uplinks: [card1] })
    t.like(await second.program.kill(), { signal: 'SIGKILL' })

    const program = Embedding.start(lab)
    await program.daemon()
    await program.ask({ do: 'stop' })
    t.deepEqual(
      program.program.lines.filter((line) => line.includes('swept')),
      [],
    )
    t.true(existsSync(`/run/xsknet/${instance}.journal`))
    t.is((await elsewhere.udpEcho(portAddresses(0)[0], [100])).identical, 1)
    const last = Embedding.start(elsewhere)
    await last.daemon({ uplinks: [card1] })
    t.like(await last.event('log instance-swept'), { instance })
    for (const embedding of [last, living]) await embedding.ask({ do: 'stop' })
    await asBefore(t, lab)
  },
)

const THREADS: [stage: string, how: Thread['how']][] = [
  ['starting', 'terminate'],
  ['starting', 'exit'],
  ['connected', 'terminate'],
  ['opening', 'terminate'],
  ['opening', 'exit'],
  ['reading', 'terminate'],
  ['reading', 'throw'],
  ['reading', 'fall off'],
]

test.serial(
  'a thread that has a daemon takes it along, however it ends, and the threads beside it go on',
  async (t) => {
    const lab = await Lab.create(t)
    const card1 = await card(lab, 1)
    await lab.snapshot()
    const program = Embedding.start(lab)
    // The binding lives on in the process for a part of them, and goes with the thread for the others.
    for (const beside of [false, true]) {
      const besides = beside ? (await program.daemon({ uplinks: [card1] })).instance : undefined
      for (const [stage, how] of THREADS) {
        const name = `thread-${how}-${stage}`
        const port = { ...PORT, name: 'thread' }
        const thread = program.ask<string[]>({ do: 'thread', options: { uplinks: [CARD] }, port, stage, how })
        const flood =
          stage === 'reading'
            ? setInterval(() => void lab.udpEcho(portAddresses(0)[0], [1]).catch(() => {}), 50)
            : undefined
        const stages = await thread.finally(() => clearInterval(flood))
        t.true(stages.includes(stage), `${name}: ${stages}`)
        // Undone before the thread was gone; only BPF objects take their time to vanish.
        t.deepEqual(instancesOf(program.program.pid), beside ? [besides] : [], name)
        if (!beside) await asBefore(t, lab, name)
      }
    }
    await program.ask({ do: 'stop' })
    await asBefore(t, lab)
    t.deepEqual(await program.program.endInput(), { code: 0, signal: null }, program.program.lines.join('\n'))
    // Nothing complained on its way out.
    t.deepEqual(
      program.program.lines.filter((line) => !line.startsWith('{')),
      [],
    )
  },
)

/** Instances of one process of which something is on the host; others may run daemons on this machine, too. */
function instancesOf(pid: number): string[] {
  const files = existsSync('/run/xsknet') ? readdirSync('/run/xsknet') : []
  return files
    .filter((file) => file.startsWith(`embedded-${pid}-`) && file.endsWith('.journal'))
    .map((file) => file.slice(0, -8))
}

for (const how of ['spin', 'wait'] as const) {
  test.serial(`a blocked event loop (${how}) delays a request for a port, and never a packet`, async (t) => {
    const lab = await setUp(t)
    const program = Embedding.start(lab)
    const { socket } = await program.daemon()
    const [client, other] = [stranger(lab, socket, 0), stranger(lab, socket, 0)]
    await Promise.all([client.ask({ do: 'connect' }), other.ask({ do: 'connect' })])
    const { mac, addresses } = await client.ask<PortInfo>({ do: 'open', ...PORT })
    await client.ask({ do: 'answer' })
    const loop = lab.closedLoop({ mac, address: addresses[0] as string, port: 7 }, { outstanding: 64 })
    await waitUntil('answered', async () => (await loop.progress()).answered > 1000)

    const milliseconds = 2000
    const blocked = program.ask({ do: 'block', milliseconds, how })
    await program.event('blocking')
    const began = performance.now()
    const { answered } = await loop.progress()
    const opened = other
      .ask({ do: 'open', uplink: CARD, addresses: portPrefixes(1) })
      .then(() => performance.now() - began)
    await waitUntil(
      'answered all the while',
      async () => (await loop.progress()).answered > answered + 20_000,
      milliseconds,
    )
    t.true(performance.now() - began < milliseconds)
    await blocked
    const delay = await opened
    t.true(delay > milliseconds - 500, `the port was open after ${delay} ms`)
    const { sent, answered: all, lost, repeated, corrupt, longestWait } = await loop.stop()
    t.deepEqual([all, lost, repeated, corrupt], [sent, 0, 0, 0])
    t.log(
      `${all} answers, the longest wait was ${(longestWait * 1000).toFixed(1)} ` +
        `ms; the port opened after ${delay.toFixed(0)} ms`,
    )
    t.true(longestWait < 1, `${longestWait} s`)
    await program.ask({ do: 'stop' })
    await asBefore(t, lab)
  })
}

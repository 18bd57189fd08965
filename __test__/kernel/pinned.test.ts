import { execFileSync } from 'node:child_process'
import { copyFileSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { PortEntry, PortInfo, PortStats } from 'xsknet'
import { rightsOf, withRightsOf } from '../helpers/client.js'
import type { Said } from '../helpers/conversation.js'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD, type Looped, Machine, portAddresses, portPrefixes, type Traffic, UNJUDGED } from '../helpers/lab.js'
import { Program, waitUntil } from '../helpers/program.js'
import { Answering, Scene } from '../helpers/scene.js'
import { root } from '../helpers/workspace.js'

const NEIGHBOUR = 1001

/** {@link NOBODY} may have pinned ports, the neighbour others. */
const config = `${GRANT}pinned = true
[[grant]]
user = ${NEIGHBOUR}
uplinks = ["${CARD}"]
addresses = ["192.0.2.8/29", "2001:db8::10/124"]
ports = 4
memory = "64MiB"
`

const LOSSLESS = { lost: 0, repeated: 0, corrupt: 0 }
/** The neighbour's answered frames after which something has gone on long enough. */
const MEANWHILE = 10_000

/** A client of nobody's, with CAP_NET_RAW alone, in a network namespace of its own, that answers by a pinned port. */
async function pinned(scene: Scene, n = 0, how: 'shared' | 'alone' = 'shared', sizes: object = {}): Promise<Answering> {
  const client = scene.stranger({ capability: 'net_raw' })
  if (how === 'shared') await client.ask({ do: 'connect' })
  const info = await client.ask<PortInfo>({
    do: 'openPinned',
    alone: how === 'alone',
    uplink: CARD,
    addresses: portPrefixes(n),
    ...sizes,
  })
  await client.ask({ do: 'answer' })
  return new Answering(client, info)
}

/** The network namespace of a client, for root. */
const homeOf = ({ client }: Answering) => new Machine(`/proc/${client.program.pid}/ns/net`)

const pings = async (t: ExecutionContext, { lab }: Scene, address: string, count: number) => {
  t.deepEqual(await lab.remote.unanswered(address, count), [])
}

/** Some datagrams there and back, by port `n` of the lab. */
const echoes = async (t: ExecutionContext, { lab }: Scene, n: number) => {
  t.is((await lab.udpEcho(portAddresses(n)[0], [1, 64, 1472])).identical, 3)
}

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length
const portsOf = ({ daemon }: Scene) => daemon.ask<PortEntry[]>('ports')

test.serial(
  'a client with CAP_NET_RAW alone makes its own socket, answers everything, and accounts for every frame',
  async (t) => {
    const scene = await Scene.open(t, { config })
    const { lab, daemon } = scene
    const before = descriptorsOf(daemon.program.pid)
    const port = await pinned(scene)

    const { uid, capabilities, noNewPrivs, network } = rightsOf(port.client.program.pid)
    const netRaw = 1n << 13n
    t.deepEqual({ uid, noNewPrivs }, { uid: NOBODY, noNewPrivs: true })
    for (const [set, has] of Object.entries(capabilities)) t.is(has, netRaw, set)
    t.not(network, readlinkSync(lab.host.namespace))
    t.regex(await homeOf(port).output('ip', 'link', 'show', port.info.inner), /LOWER_UP/)

    const { bindMode, attempts } = port.info
    t.is(bindMode, 'copy')
    t.true(
      attempts.some(({ hook, step, code }) => hook === 'bind' && step === 'copy' && code === null),
      JSON.stringify(attempts),
    )
    t.true(attempts.some(({ hook }) => hook === 'guard'))

    const [v4, v6] = portAddresses(0)
    await pings(t, scene, v4, 200)
    await pings(t, scene, v6, 200)
    const lengths = [1, 18, 64, 512, 1400, 1452]
    t.is((await lab.udpEcho(v4, [...lengths, 1472])).identical, lengths.length + 1)
    t.is((await lab.udpEcho(v6, lengths)).identical, lengths.length)
    const { answered, lost, repeated, corrupt } = await lab.closedLoop(port.target(), { frames: 100_000 }).done
    t.deepEqual({ answered, lost, repeated, corrupt }, { answered: 100_000, ...LOSSLESS })
    const { icmp, strange, unsent } = await port.seen()
    t.deepEqual({ icmp, strange, unsent }, { icmp: 2 * (200 + UNJUDGED), strange: 0, unsent: 0 })
    await scene.assertAccounted(t, port)
    const { client, daemon: kernel } = await port.stats()
    t.is(kernel?.program.toSocket, client.received)

    await port.client.ask({ do: 'close' })
    t.is(await port.client.ask({ do: 'ended' }), null)
    t.deepEqual(await portsOf(scene), [])
    t.notRegex(await homeOf(port).output('ip', 'link'), new RegExp(port.info.inner))
    // Its connection, and the handle on its process.
    await waitUntil('without the port’s descriptors', () => descriptorsOf(daemon.program.pid) <= before + 2)
    await scene.end(t)
  },
)

test.serial('without a network, the port has a connection of its own, which ends with it', async (t) => {
  const scene = await Scene.open(t, { config })
  const port = await pinned(scene, 0, 'alone')
  await echoes(t, scene, 0)
  t.is((await scene.daemon.ask<{ clients: number }>('status')).clients, 2)
  await port.client.ask({ do: 'close' })
  await waitUntil('without it', async () => (await scene.daemon.ask<{ clients: number }>('status')).clients === 1)
  await scene.end(t)
})

type Deed = (home: Machine, device: string) => Promise<unknown>
const deeds: [what: string, deed: Deed, change: RegExp][] = [
  ['deletes its end', (home, device) => home.deleteLink(device), /deleted|gone|removed/],
  // TSO takes checksums and scattered frames.
  [
    'turns TSO on',
    (home, device) => home.output('ethtool', '-K', device, 'tx', 'on', 'sg', 'on', 'tso', 'on'),
    /the offloads? tx-.* switched on/,
  ],
  [
    'changes its MAC',
    (home, device) => home.output('ip', 'link', 'set', device, 'address', '02:00:00:00:00:99'),
    /MAC.*02:00:00:00:00:99/,
  ],
  ['changes its MTU', (home, device) => home.output('ip', 'link', 'set', device, 'mtu', '1400'), /MTU.*1500.*1400/],
]
for (const [what, deed, change] of deeds) {
  test.serial(`a client ${what}: its port is lost with that reason, and a neighbour loses nothing`, async (t) => {
    const scene = await Scene.open(t, { config })
    const neighbour = await scene.answering(1, { uid: NEIGHBOUR })
    const port = await pinned(scene)
    await echoes(t, scene, 0)
    const loop: Traffic<Looped> = scene.lab.closedLoop(neighbour.target(), { outstanding: 64 })
    const past = async (more: number) => {
      const { answered } = await loop.progress()
      await waitUntil('going on', async () => (await loop.progress()).answered >= answered + more)
    }
    await past(MEANWHILE)

    await deed(homeOf(port), port.info.inner)
    const lost = await port.client.event<
      Said & { code: string; message: string; details: { port: number; change?: string } }
    >('lost')
    t.is(lost.code, 'ERR_XSKNET_PORT_LOST')
    t.regex(lost.message, change)
    t.is(lost.details.port, port.info.port)
    if (!/delete/.test(what)) t.regex(lost.details.change ?? '', change)
    t.is(await port.client.ask({ do: 'ended' }), 'ERR_XSKNET_PORT_LOST')
    t.is(await port.client.ask({ do: 'closed' }), 'ERR_XSKNET_PORT_LOST')
    await waitUntil('without it', async () => (await portsOf(scene)).length === 1)
    t.notRegex(await homeOf(port).output('ip', 'link'), new RegExp(port.info.inner))

    await past(MEANWHILE)
    const done = await loop.stop()
    t.deepEqual([done.answered, done.lost, done.repeated, done.corrupt], [done.sent, 0, 0, 0])

    // The addresses are free again, and the client is none the worse.
    const again = await port.client.ask<PortInfo>({
      do: 'openPinned',
      as: 'again',
      uplink: CARD,
      addresses: portPrefixes(0),
    })
    t.is(again.uplink, CARD)
    await scene.end(t)
  })
}

test.serial('a client that is killed leaves nothing', async (t) => {
  const scene = await Scene.open(t, { config })
  const { daemon } = scene
  const before = descriptorsOf(daemon.program.pid)
  const sizes = { ringSize: 512 } // two of the default size are all of the user's RLIMIT_MEMLOCK
  const [first, second] = [await pinned(scene, 0, 'shared', sizes), await pinned(scene, 1, 'shared', sizes)]
  await echoes(t, scene, 0)
  await first.client.kill()
  await waitUntil('without its port', async () => (await portsOf(scene)).length === 1)
  await echoes(t, scene, 1)
  await second.client.kill()
  await waitUntil('without its port', async () => (await portsOf(scene)).length === 0)
  await waitUntil('without its descriptors', () => descriptorsOf(daemon.program.pid) <= before)
  await scene.end(t)
})

test.serial('a client opens and closes as often as it likes, and nothing piles up', async (t) => {
  const scene = await Scene.open(t, { config })
  const { pid } = scene.daemon.program
  // A named port has the same MAC each time, which its neighbours remember.
  const named = { name: 'again' }
  const port = await pinned(scene, 0, 'shared', named)
  await port.client.ask({ do: 'close' })
  const before = [descriptorsOf(port.client.program.pid), descriptorsOf(pid)]
  for (let round = 0; round < 20; round++) {
    await port.client.ask({ do: 'openPinned', uplink: CARD, addresses: portPrefixes(0), ...named })
    if (round % 5 === 0) {
      await port.client.ask({ do: 'answer' })
      await echoes(t, scene, 0)
    }
    await port.client.ask({ do: 'close' })
  }
  await waitUntil('as before', () => `${[descriptorsOf(port.client.program.pid), descriptorsOf(pid)]}` === `${before}`)
  await scene.end(t)
})

test.serial('the daemon’s end takes the port away, and leaves nothing in the client’s namespace', async (t) => {
  const scene = await Scene.open(t, { config })
  const port = await pinned(scene)
  await scene.end(t)
  t.is((await port.client.event('lost')).code, 'ERR_XSKNET_PORT_LOST')
  t.notRegex(await homeOf(port).output('ip', 'link'), new RegExp(port.info.inner))
})

test.serial(
  'without the grant, or the capability, it is refused, nothing stays, and the error says what is missing',
  async (t) => {
    const scene = await Scene.open(t, { config })
    const open = { do: 'openPinned', uplink: CARD, addresses: portPrefixes(0) }

    const ungranted = await scene.client({ uid: NEIGHBOUR, capability: 'net_raw' })
    const denied = await t.throwsAsync(ungranted.ask(open), { code: 'ERR_XSKNET_NOT_PERMITTED' })
    t.regex(
      (denied as Error & { hint: string }).hint,
      /^In the 2nd \[\[grant\]\] of .*, this would allow it:\npinned = true$/,
    )

    const powerless = await scene.client()
    const refused = (await t.throwsAsync(powerless.ask(open), { code: 'ERR_XSKNET_SOCKET_REFUSED' })) as Error & {
      hint: string
    }
    t.regex(`${refused.message} ${refused.hint}`, /CAP_NET_RAW/)
    await waitUntil('given back', async () => (await portsOf(scene)).length === 0)
    const links = await new Machine(`/proc/${powerless.program.pid}/ns/net`).output('ip', '-o', 'link')
    t.is(links.trim().split('\n').length, 1, links)
    await scene.end(t)
  },
)

test.serial('options are for the socket that is made, and what cannot be is refused', async (t) => {
  const scene = await Scene.open(t, { config })
  const client = await scene.client({ capability: 'net_raw' })
  const open = (as: string, options: object) =>
    client.ask<PortInfo>({ do: 'openPinned', as, uplink: CARD, addresses: portPrefixes(0), ...options })
  await t.throwsAsync(open('none', { zeroCopy: 'require' }), { code: 'ERR_XSKNET_SOCKET_REFUSED' })
  await t.throwsAsync(open('none', { headroom: 1000, multiBuffer: false }), { code: 'ERR_XSKNET_MTU_TOO_LARGE' })
  await t.throwsAsync(open('none', { ringSize: 3 }), { code: 'ERR_XSKNET_LAYOUT_INVALID' })
  await open('small', { ringSize: 64, frames: 256, frameSize: 4096 })
  const { chunks } = await client.ask<PortStats>({ do: 'stats', as: 'small' })
  t.is(chunks.total, 256)
  await scene.end(t)
})

test.serial('the program in C counts the frames that come to its pinned port', async (t) => {
  const scene = await Scene.open(t, { config })
  const { lab, daemon } = scene
  const program = `${lab.folder}/pinned`
  copyFileSync(`${root}examples/pinned.c`, `${program}.c`)
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', `${program}.c`, '-o', program, '-lxdp', '-lbpf'])
  const frames = 20_000
  const rights = withRightsOf(NOBODY, 'net_raw')
  const client = new Program([
    'unshare',
    '--net',
    '--',
    ...rights,
    program,
    daemon.socket,
    CARD,
    portPrefixes(0)[0],
    `${frames}`,
  ])
  t.teardown(() => client.kill().then(() => {}))
  await client.waitFor(/^counting/)

  const [port] = await portsOf(scene)
  const target = { mac: port?.mac as string, address: portAddresses(0)[0], port: 7 }
  // Slow enough for FILL: whatever is sent arrives.
  const { sent } = await lab.flood(target, { frames: frames - 1, rate: 50_000 }).done
  const statistics = () => daemon.ask<{ ports: { statistics: PortStats['daemon'] }[] }>('stats', `${port?.port}`)
  await waitUntil('through', async () => (await statistics()).ports[0]?.statistics?.program.toSocket === sent)
  t.is((await statistics()).ports[0]?.statistics?.socket, null, 'it has not shared its socket')
  t.true(client.running, 'one is missing')

  await lab.flood(target, { frames: 1 }).done
  t.deepEqual(await client.end(), { code: 0, signal: null })
  t.true(client.lines.includes(`${frames} frames`))
  await waitUntil('without its port', async () => (await portsOf(scene)).length === 0)

  const refused = new Program([...rights, program, daemon.socket, 'nosuch0', portPrefixes(0)[0], '1'])
  t.deepEqual(await refused.ended, { code: 1, signal: null })
  t.regex(refused.lines.join('\n'), /ERR_XSKNET_NOT_PERMITTED/)
  await scene.end(t)
})

test('docs/pinned.md shows the program in C as it is', (t) => {
  const [, shown] = /^```c\n(.*?)^```$/ms.exec(readFileSync(`${root}docs/pinned.md`, 'utf8')) ?? []
  t.is(shown, readFileSync(`${root}examples/pinned.c`, 'utf8'))
})

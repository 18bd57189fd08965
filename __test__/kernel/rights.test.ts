import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import test from 'ava'
import { rightsOf } from '../helpers/client.js'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD, portAddresses, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'

const SECOND = 1001
const STRANGER = 1002

const descriptorsOf = (pid: number) =>
  readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)]
    } catch {
      return [] // closed in between
    }
  })

/** The inodes of the UNIX sockets in a process's network namespace. */
const unixSockets = (pid: number | 'self') =>
  new Set(
    readFileSync(`/proc/${pid}/net/unix`, 'utf8')
      .split('\n')
      .map((line) => line.split(/\s+/)[6]),
  )

test.serial(
  'a client has no right, no capability, a network of its own, and no special descriptor before it connects',
  async (t) => {
    const scene = await Scene.open(t)
    const client = scene.stranger()
    const pid = await client.ask<number>({ do: 'pid' })
    const { uid, gid, capabilities, noNewPrivs, network } = rightsOf(pid)
    t.is(pid, client.program.pid)
    t.deepEqual({ uid, gid, noNewPrivs }, { uid: NOBODY, gid: NOBODY, noNewPrivs: true })
    t.deepEqual(capabilities, { inheritable: 0n, permitted: 0n, effective: 0n, bounding: 0n, ambient: 0n })
    t.not(network, rightsOf('self').network)
    t.not(network, readlinkSync(scene.lab.host.namespace))

    // Its pipes to this test are UNIX sockets. Any other family, AF_XDP, AF_PACKET and netlink among them, is not in
    // these tables.
    const [here, there] = [unixSockets('self'), unixSockets(pid)]
    const before = descriptorsOf(pid)
    const sockets = before.flatMap((what) => /^socket:\[(\d+)\]$/.exec(what)?.[1] ?? [])
    t.true(sockets.length > 0)
    t.deepEqual(
      sockets.filter((inode) => !here.has(inode) && !there.has(inode)),
      [],
    )
    t.deepEqual(
      before.filter((what) => /bpf/i.test(what)),
      [],
    )

    await client.ask({ do: 'connect' })
    await client.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(0) })
    const gained = descriptorsOf(pid).filter((what) => /bpf/i.test(what))
    t.deepEqual(gained, [], 'an open port brings no descriptor of a map or program')
    t.deepEqual(rightsOf(pid).capabilities, capabilities)
    await scene.end(t)
  },
)

test.serial('after the hand-over the daemon maps no UMEM', async (t) => {
  const scene = await Scene.open(t)
  await scene.answering()
  const shared = readFileSync(`/proc/${scene.daemon.program.pid}/maps`, 'utf8')
    .split('\n')
    .filter((line) => / rw-s /.test(line) && !line.endsWith('[io_uring]'))
  t.deepEqual(shared, [])
  await scene.end(t)
})

test.serial(
  'two clients of different users get their own frames and never each other’s, and reach one another',
  async (t) => {
    const config = `${GRANT}
[[grant]]
user = ${SECOND}
uplinks = ["${CARD}"]
addresses = ["${portAddresses(1)[0]}", "${portAddresses(1)[1]}"]
ports = 1
memory = "64MiB"
`
    const scene = await Scene.open(t, { config })
    const { lab } = scene
    const first = await scene.answering(0)
    const second = await scene.answering(1, { uid: SECOND })
    t.is(rightsOf(second.client.program.pid).uid, SECOND)

    const loops = [first, second].map((port) => lab.closedLoop(port.target(), { frames: 50_000, outstanding: 64 }))
    for (const { done } of loops) {
      const { answered, lost, corrupt, repeated } = await done
      t.deepEqual({ answered, lost, corrupt, repeated }, { answered: 50_000, lost: 0, corrupt: 0, repeated: 0 })
    }
    for (const port of [first, second]) t.is((await port.seen()).strange, 0)

    await first.client.ask({ do: 'send', to: second.target(9), count: 1000 })
    await waitUntil('arrived next door', async () => (await second.seen()).udp >= 51_000)
    t.is((await second.seen()).udp, 51_000)
    await scene.assertAccounted(t, first, second)
    await scene.end(t)
  },
)

test.serial('a user without a grant is refused, and told which lines would have allowed it', async (t) => {
  const scene = await Scene.open(t)
  const client = await scene.client({ uid: STRANGER })
  t.deepEqual(await client.ask({ do: 'uplinks' }), [])
  const error = await t.throwsAsync(client.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(0) }), {
    code: 'ERR_XSKNET_NOT_PERMITTED',
  })
  const { hint } = error as Error & { hint: string }
  for (const line of ['[[grant]]', `user = ${STRANGER}`, CARD, portAddresses(0)[0]]) t.true(hint.includes(line), hint)
  await scene.end(t)
})

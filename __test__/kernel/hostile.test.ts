import { chmodSync, copyFileSync, readdirSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { PortEntry } from 'xsknet'
import { Client, withRightsOf } from '../helpers/client.js'
import { NOBODY } from '../helpers/daemon.js'
import { CARD, type Looped, portAddresses, rustExample, type Traffic } from '../helpers/lab.js'
import { Program, waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'

const OTHER = 1001
/** Each deed goes on for so many answered frames of the neighbour. */
const MEANWHILE = 40_000

/** Without any grant. */
const STRANGER = 1002

/** The hostile client may have ports, pinned ones too, unless it is the stranger. */
const config = [NOBODY, OTHER]
  .map(
    (user) =>
      `[[grant]]\nuser = ${user}\nuplinks = ["${CARD}"]\naddresses = ["192.0.2.8/29", ` +
      '"2001:db8::10/124"]\nports = 4\nmemory = "64MiB"\npinned = true\n',
  )
  .join('')

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length

/** Where nobody may read it. */
function stagedHostile(folder: string): string {
  const staged = `${folder}/hostile`
  copyFileSync(rustExample('hostile'), staged)
  chmodSync(staged, 0o755)
  return staged
}

/**
 * Has a client do its worst, and finds that the daemon stays, answers others in time, leaks nothing, and that the other
 * port loses nothing.
 */
async function against(
  t: ExecutionContext,
  deed: string,
  during?: (scene: Scene, hostile: Program) => Promise<void>,
  uid = NOBODY,
) {
  const scene = await Scene.open(t, { config })
  const { lab, daemon } = scene
  const neighbour = await scene.answering(0, { uid: OTHER })
  const asking = await scene.client({ uid: OTHER })
  const before = descriptorsOf(daemon.program.pid)
  const loop: Traffic<Looped> = lab.closedLoop(neighbour.target(), { outstanding: 64 })

  const hostile = new Program([
    ...withRightsOf(uid),
    stagedHostile(lab.folder),
    daemon.socket,
    deed,
    CARD,
    portAddresses(1)[0],
  ])
  t.teardown(() => hostile.kill().then(() => {}))
  await hostile.waitFor(/^ready/)
  await during?.(scene, hostile)

  const { answered } = await loop.progress()
  let slowest = 0
  await waitUntil(
    'going on',
    async () => {
      const asked = performance.now()
      await asking.ask({ do: 'uplinks' })
      slowest = Math.max(slowest, performance.now() - asked)
      return (await loop.progress()).answered > answered + MEANWHILE
    },
    20_000,
  )
  t.true(slowest < 100, `the daemon answered others in ${slowest} ms`)

  await hostile.kill()
  await waitUntil(
    'without the hostile client’s ports',
    async () => (await daemon.ask<PortEntry[]>('ports')).length === 1,
    2000,
  )
  await waitUntil('without its descriptors', () => descriptorsOf(daemon.program.pid) <= before, 3000)
  const done = await loop.stop()
  t.deepEqual([done.answered, done.lost, done.corrupt, done.repeated], [done.sent, 0, 0, 0])
  await scene.end(t)
}

const closes = (why: string) => async (_: Scene, hostile: Program) => {
  await hostile.waitFor(new RegExp(`^answer .*${why}`))
  await hostile.waitFor(/^ended/)
}

test.serial('a client truncates its UMEM to nothing', (t) => against(t, 'truncate'))

test.serial('a client writes noise into every index and entry of its rings while frames come for it', (t) =>
  against(t, 'garbage', async ({ lab, daemon }) => {
    const [port] = (await daemon.ask<PortEntry[]>('ports')).filter(({ uid }) => uid === NOBODY)
    if (!port) throw new Error('the hostile client has no port')
    await lab.flood({ mac: port.mac, address: portAddresses(1)[0], port: 9 }, { frames: 20_000 }).done
  }),
)

test.serial('a client goes silent with full rings', (t) =>
  against(t, 'silent', async ({ lab, daemon }) => {
    const [port] = (await daemon.ask<PortEntry[]>('ports')).filter(({ uid }) => uid === NOBODY)
    if (!port) throw new Error('the silent client has no port')
    await lab.flood({ mac: port.mac, address: portAddresses(1)[0], port: 9 }, { frames: 20_000 }).done
  }),
)

test.serial('a client asks without end', (t) => against(t, 'flood'))
test.serial('a client asks without end and never reads an answer', (t) => against(t, 'deaf'))
test.serial('a client sends 64 KiB of noise', (t) => against(t, 'nonsense', closes('ERR_XSKNET_MESSAGE_MALFORMED')))
test.serial('a client sends half a message and then nothing', (t) =>
  against(t, 'half', closes('ERR_XSKNET_MESSAGE_MALFORMED')),
)
test.serial('a client sends 200 descriptors', (t) =>
  against(t, 'descriptors', closes('ERR_XSKNET_UNEXPECTED_DESCRIPTORS')),
)
test.serial('a client says nothing at all', (t) => against(t, 'silence', closes('ERR_XSKNET_HELLO_MISSING')))
test.serial('a client connects a thousand times', (t) => against(t, 'crowd'))

/** A client with a grant, and root, come, say hello and ask, within 100 ms each time. */
const others = async (t: ExecutionContext, { lab, daemon }: Scene) => {
  for (const uid of [OTHER, 0]) {
    const client = Client.start(lab, '__test__/helpers/programs/client.ts', { socket: daemon.socket, uid })
    let slowest = 0
    // The first time, the client itself has much to load.
    for (let times = -1; times < 10; times++) {
      const begun = performance.now()
      await client.ask({ do: 'connect' })
      await client.ask({ do: 'uplinks' })
      if (times >= 0) slowest = Math.max(slowest, performance.now() - begun)
      await client.ask({ do: 'disconnect' })
    }
    await client.kill()
    t.true(slowest < 100, `user ${uid} waited ${slowest} ms`)
  }
}

for (const [what, uid] of [
  ['a client', NOBODY],
  ['a stranger', STRANGER],
] as const) {
  test.serial(`${what} sends the costliest requests over all the connections it gets`, (t) =>
    against(t, 'long', (scene) => others(t, scene), uid),
  )
  test.serial(`${what} sends descriptors whose close takes long`, (t) =>
    against(t, 'blocking', (scene) => others(t, scene), uid),
  )
}

test.serial('a stranger connects a thousand times', (t) => against(t, 'crowd', (scene) => others(t, scene), STRANGER))

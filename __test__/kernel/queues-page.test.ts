import test, { type ExecutionContext } from 'ava'
import { CARD, portAddresses } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import { compiled } from '../helpers/stage.js'
import { programsOf } from '../helpers/workspace.js'

const [sending, batches, descriptors, threads, sleeping, ...more] = programsOf('docs/queues.md').map((text) =>
  text.replaceAll("'eth0'", `'${CARD}'`),
)

/** Runs a program of the page, as root, on the lab's host. */
function run(scene: Scene, name: string, program = '') {
  const path = compiled(scene.lab.folder, name, program)
  return scene.lab.host.spawn('env', `XSKNET_SOCKET=${scene.daemon.socket}`, process.execPath, path)
}

test('docs/queues.md has a program for each of its ways', (t) => t.deepEqual(more, []))

test.serial('the program of docs/queues.md that sends sends', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'sending', sending)
  const told = await program.waitFor(/^100 frames sent by /)
  const [, mac = ''] = /by (\S+) in/.exec(told) ?? []
  t.deepEqual(await program.end(), { code: 0, signal: null }, program.lines.join('\n'))
  // The daemon tried the port with one more before.
  await waitUntil('all are on the wire', async () => (await scene.lab.framesFrom(mac)) >= 100)
  await scene.end(t)
})

for (const [name, text] of Object.entries({ batches, descriptors, threads })) {
  test.serial(`the program of docs/queues.md with ${name} sends back what it gets, and ends at SIGTERM`, async (t) => {
    await echoes(t, name, text)
  })
}

test.serial('the program of docs/queues.md whose thread sleeps counts what comes, and ends at SIGTERM', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'sleeping', sleeping)
  const [, mac = ''] = /comes to (\S+)/.exec(await program.waitFor(/comes to /)) ?? []
  await scene.lab.flood({ mac, address: portAddresses(0)[0], port: 9 }, { frames: 500, rate: 1000 }).done
  t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null }, program.lines.join('\n'))
  const [counted = ''] = program.lines.slice(-1)
  t.true(Number(/^(\d+) frames$/.exec(counted)?.[1]) >= 500, counted)
  await scene.end(t)
})

async function echoes(t: ExecutionContext, name: string, text: string | undefined): Promise<void> {
  const scene = await Scene.open(t)
  const program = run(scene, name, text)
  const [, mac = ''] = /back as (\S+)/.exec(await program.waitFor(/back as /)) ?? []
  const to = { mac, address: portAddresses(0)[0], port: 7 }
  const { sent, answered, lost, corrupt, repeated } = await scene.lab.closedLoop(to, { frames: 5000 }).done
  t.deepEqual({ answered, lost, corrupt, repeated }, { answered: sent, lost: 0, corrupt: 0, repeated: 0 })
  t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null }, program.lines.join('\n'))
  await scene.end(t)
}

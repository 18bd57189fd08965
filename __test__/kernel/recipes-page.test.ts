import test from 'ava'
import { Daemon } from '../helpers/daemon.js'
import { CARD, portAddresses } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import { compiled } from '../helpers/stage.js'
import { programsOf } from '../helpers/workspace.js'

const [serving, nextHop, ...more] = programsOf('docs/recipes.md').map((text) => text.replaceAll("'eth0'", `'${CARD}'`))

function run(scene: Scene, name: string, program = '') {
  const path = compiled(scene.lab.folder, name, program)
  return scene.lab.host.spawn('env', `XSKNET_SOCKET=${scene.daemon.socket}`, process.execPath, path)
}

test('docs/recipes.md has the programs that are tried here', (t) => t.deepEqual(more, []))

test.serial('the program of docs/recipes.md that serves for ever survives its daemon, with the same MAC', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'serving', serving)
  const served = () => program.lines.filter((line) => line.startsWith('serving as '))
  const answers = async () => t.deepEqual(await scene.lab.remote.unanswered(portAddresses(0)[0] as string, 20), [])
  await program.waitFor(/^serving as /)
  await answers()
  await scene.daemon.stop()
  await program.waitFor(/ERR_XSKNET_\w+\): trying again/)
  const next = await Daemon.start(scene.lab)
  await waitUntil('served again', async () => served().length === 2, 5000)
  await answers()
  t.is(new Set(served()).size, 1)
  t.deepEqual(await program.stop('SIGTERM'), { code: 0, signal: null }, program.lines.join('\n'))
  await next.stop()
  t.deepEqual(await scene.lab.compare(), [])
})

test.serial('the program of docs/recipes.md that asks for the next hop finds it', async (t) => {
  const scene = await Scene.open(t)
  const program = run(scene, 'next-hop', nextHop)
  t.deepEqual(await program.end(), { code: 0, signal: null }, program.lines.join('\n'))
  t.true(program.lines.includes(`192.0.2.2 is at ${scene.lab.farMac}`), program.lines.join('\n'))
  await scene.end(t)
})

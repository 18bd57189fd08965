import { spawnSync } from 'node:child_process'
import test from 'ava'
import { nodes } from '../../helpers/installed.js'
import { root } from '../../helpers/workspace.js'

/**
 * Starts a daemon that fails, sends its process SIGUSR1, and reports whether the inspector opened and listeners ran.
 */
const program = (thread: 'main' | 'worker', listens: boolean) => `
  import inspector from 'node:inspector'
  import { Worker } from 'node:worker_threads'
  let heard = 0
  if (${listens}) process.on('SIGUSR1', () => heard++)
  const start = "import('xsknetd').then(({ startDaemon }) => startDaemon({ uplinks: [] }))"
  const ask = start + '.catch(({ code }) => console.log(code))'
  if (${thread === 'main'}) await eval(ask)
  else await new Promise((end) => new Worker(ask, { eval: true }).once('exit', end))
  process.kill(process.pid, 'SIGUSR1')
  // Node opens it from a thread of its own: it would have said so on standard error by then.
  await new Promise((settle) => setTimeout(settle, 200))
  console.log(inspector.url() ?? 'closed', heard)`

for (const [version, node] of nodes()) {
  for (const thread of ['main', 'worker'] as const) {
    test(`Node ${version}: in the ${thread} thread, SIGUSR1 opens no inspector, and listeners are called`, (t) => {
      for (const listens of [false, true]) {
        const words = ['--input-type=module', '--eval', program(thread, listens)]
        const { stdout, stderr, status } = spawnSync(node, words, { encoding: 'utf8', cwd: root, timeout: 20_000 })
        t.is(stdout, `ERR_XSKNET_CONFIGURATION_INVALID\nclosed ${Number(listens)}\n`, stderr)
        t.is(status, 0)
        t.notRegex(stderr, /Debugger/)
      }
    })
  }
}

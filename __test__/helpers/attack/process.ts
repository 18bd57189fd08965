import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'xsknet'
import type { Attack } from './attack.js'
import type { Field } from './field.js'
import { STRANGER } from './parties.js'

/** Node's own. */
const INSPECTOR = 9229
/** Milliseconds in which Node opens an inspector, many times over. */
const WATCHED = 500

/** Ports of the daemon's namespace on which somebody listens, over IPv4 and IPv6. */
function listening({ daemon }: Field): number[] {
  const { pid } = daemon.program
  return ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
      .split('\n')
      .slice(1)
      .flatMap((line) => {
        const [, local, , state] = line.trim().split(/\s+/)
        return state === '0A' && local ? [Number.parseInt(local.split(':')[1] as string, 16)] : []
      }),
  )
}

/** What whoever reaches an inspector does first. */
const REACH = `fetch('http://127.0.0.1:${INSPECTOR}/json')
  .then((answer) => answer.text())
  .then((text) => console.log('reached', text.length), () => console.log('nothing'))`

/** Somebody has the daemon open Node's inspector, by which everybody runs code as root. */
export const inspector: Attack = {
  name: 'inspector',
  defence: 'no signal opens an inspector, however the daemon is started',
  async prepare(field) {
    const { daemon } = field
    const before = listening(field)
    let signals = 0
    return {
      async variant(random) {
        signals = random.pick([1, 2, 10])
        for (let n = 0; n < signals; n++) daemon.program.signal('SIGUSR1')
        return `SIGUSR1, ${signals} times`
      },
      async judge() {
        const opened = () => listening(field).filter((port) => !before.includes(port))
        const deadline = performance.now() + WATCHED
        while (opened().length === 0 && performance.now() < deadline) await sleep(10)
        const ports = opened()
        const reach = field.spawn(STRANGER, process.execPath, '-e', REACH)
        const line = await reach.waitFor(/^(reached|nothing)/)
        const faults = []
        if (ports.length > 0) faults.push(`the daemon listens at ${ports.join(', ')}`)
        if (line !== 'nothing') faults.push(`user ${STRANGER} reaches the inspector: ${line}`)
        if (!daemon.program.running) faults.push('the daemon has ended')
        else await field.rootWaits()
        return { saw: ports.length === 0 ? 'nothing that listens' : `port ${ports.join(', ')}: ${line}`, faults }
      },
    }
  },
}

/** Says, as long as it is loaded, in whose process. */
const MODULE = `
const { appendFileSync } = require('node:fs')
setInterval(() => appendFileSync(__filename + '.pids', process.pid + '\\n'), 10).unref()
`
/** A provider of OpenSSL that provides nothing. */
const PROVIDER = `
struct entry { int id; void (*function)(void); };
static const struct entry none[] = { { 0, 0 } };
int OSSL_provider_init(const void *handle, const struct entry *in, const struct entry **out, void **context)
{
	(void)handle, (void)in;
	*out = none;
	*context = (void *)none;
	return 1;
}
`
const provides = (library: string) => `nodejs_conf = conf
openssl_conf = conf
[conf]
providers = providers
[providers]
default = default_section
evil = evil_section
[default_section]
activate = 1
[evil_section]
module = ${library}
activate = 1
`

/** Code that variables name is in the daemon. */
export const environment: Attack = {
  name: 'environment',
  defence: 'the daemon runs in an environment of its own, so that no variable loads code into it',
  daemon: {
    env: ({ folder }) => {
      const [module, library, config] = [`${folder}/evil.cjs`, `${folder}/evil.so`, `${folder}/evil.cnf`]
      writeFileSync(module, MODULE)
      writeFileSync(`${module}.pids`, '')
      execFileSync('gcc', ['-shared', '-fPIC', '-x', 'c', '-o', library, '-'], { input: PROVIDER })
      writeFileSync(config, provides(library))
      return { NODE_OPTIONS: `--require=${module}`, NODE_REPL_EXTERNAL_MODULE: module, OPENSSL_CONF: config }
    },
  },
  variants: 1,
  async prepare(field) {
    const { lab, daemon } = field
    const told = `${lab.folder}/evil.cjs.pids`
    return {
      variant: async () => 'a daemon that was started with NODE_OPTIONS, NODE_REPL_EXTERNAL_MODULE and OPENSSL_CONF',
      async judge() {
        const net = await connect({ socket: daemon.socket })
        const { pid } = await net.status()
        await net.close()
        writeFileSync(told, '')
        const isLoaded = () => readFileSync(told, 'utf8').split('\n').includes(`${pid}`)
        const deadline = performance.now() + WATCHED
        while (!isLoaded() && performance.now() < deadline) await sleep(10)
        const faults = []
        if (isLoaded()) faults.push('the module of NODE_OPTIONS runs in the daemon')
        if (readFileSync(`/proc/${pid}/maps`, 'utf8').includes('/evil.so'))
          faults.push('the library of OPENSSL_CONF is in the daemon')
        return { saw: faults.length === 0 ? 'nothing of it in the daemon' : faults.join('; '), faults }
      },
    }
  },
}

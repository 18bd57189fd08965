import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Daemon, NOBODY } from '../helpers/daemon.js'
import { executable, install, nodes, packed } from '../helpers/installed.js'
import { portAddresses } from '../helpers/lab.js'
import { Scene } from '../helpers/scene.js'
import { npmManifest, root } from '../helpers/workspace.js'

const { version } = npmManifest('packages/xsknetd')
const newest24 = nodes().find(([version]) => version.startsWith('24.'))?.[0]
const head = `xsknetd ${version}\nprotocol 2\nnode ${newest24}\nBPF objects`

/** Runs a command to its end, with nothing in its environment that is not said here. */
const bare = ([file = '', ...args]: string[], env: NodeJS.ProcessEnv = {}) =>
  spawnSync(file, args, { encoding: 'utf8', env, timeout: 20_000 })

function folder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-executable-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

test('it needs no library but those that a Node without libatomic needs', (t) => {
  const needed = execFileSync('readelf', ['-d', executable], { encoding: 'utf8' }).matchAll(/\(NEEDED\).*\[(.*)\]/g)
  t.deepEqual([...needed].map(([, library]) => library).sort(), [
    'ld-linux-x86-64.so.2',
    'libc.so.6',
    'libdl.so.2',
    'libgcc_s.so.1',
    'libm.so.6',
    'libpthread.so.0',
    'libstdc++.so.6',
  ])
})

test('the same build makes the same executable again', (t) => {
  const again = join(folder(t), 'xsknetd')
  execFileSync(process.execPath, [`${root}scripts/executable.mjs`, again], { stdio: 'pipe' })
  t.true(readFileSync(again).equals(readFileSync(executable)))
})

test('beside it lie the licences of all that is in it', (t) => {
  const text = readFileSync(`${executable}.licenses.txt`, 'utf8')
  const own = readFileSync(`${root}LICENSE`, 'utf8').trim()
  t.is(text.split(own).length, 2, 'ours, once')
  t.regex(text, /Node\.js is licensed for use as follows/)
  t.regex(text, /OpenSSL, located at deps\/openssl/)
  for (const name of ['valibot', 'smol-toml']) {
    const folder = realpathSync(`${root}packages/xsknetd/node_modules/${name}`)
    const [file = ''] = readdirSync(folder).filter((file) => /^licen[cs]e/i.test(file))
    t.true(text.includes(readFileSync(join(folder, file), 'utf8').trim()), name)
  }
})

test('an unprivileged user runs it from a read-only folder with an empty environment', (t) => {
  const place = folder(t)
  copyFileSync(executable, join(place, 'xsknetd'))
  chmodSync(place, 0o555)
  const asNobody = [
    '/usr/bin/setpriv',
    `--reuid=${NOBODY}`,
    `--regid=${NOBODY}`,
    '--clear-groups',
    '--',
    join(place, 'xsknetd'),
  ]
  const told = bare([...asNobody, '--version'])
  t.like(told, { status: 0, stderr: '' })
  const cli = `${root}packages/xsknetd/dist/cli.js`
  const objects = (text: string) => text.slice(text.indexOf('BPF objects'))
  t.true(told.stdout.startsWith(head), told.stdout)
  t.is(objects(told.stdout), objects(execFileSync(process.execPath, [cli, '--version'], { encoding: 'utf8' })))

  const alone = bare([...asNobody, 'status', '--socket', '/nowhere/x.sock'])
  t.is(alone.status, 1)
  t.regex(alone.stderr, /^xsknetd: no daemon listens on \/nowhere\/x\.sock\n/)
  t.regex(bare([...asNobody, '--help']).stdout, /xsknetd run --uplink/)
  t.is(bare([...asNobody, 'start']).status, 2)
})

test('NODE_OPTIONS does not steer it', (t) => {
  const script = join(folder(t), 'steer.cjs')
  writeFileSync(script, 'console.log("steered")')
  const env = { NODE_OPTIONS: `--require ${script}` }
  t.is(bare([process.execPath, '--eval', ''], env).stdout, 'steered\n')
  t.like(bare([executable, 'help'], env), { status: 0, stdout: bare([executable, 'help']).stdout })
})

test('what else steers Node does not reach the daemon in it', (t) => {
  const config = join(folder(t), 'none.toml')
  // The second start finds the words as they were.
  const refused = bare([executable, 'run', '--config', config], {
    OPENSSL_CONF: '/dev/null',
    NODE_EXTRA_CA_CERTS: '/dev/null',
  })
  t.is(refused.status, 2)
  t.regex(refused.stderr, /^xsknetd: cannot read the configuration file .*none\.toml\n/)
  t.deepEqual(refused.stderr, bare([executable, 'run', '--config', config]).stderr)
})

/** Runs it where these folders are empty and nothing in them may be executed; it lies in /mnt then. */
function noexec(folders: readonly string[], words: string[], env?: NodeJS.ProcessEnv) {
  // In an own mount namespace. Its folder comes along because it may lie in one of these.
  const mounts = [
    `mount --bind '${packed}' /mnt`,
    ...folders.map((folder) => `mount -t tmpfs -o noexec tmpfs ${folder}`),
  ]
  const script = [...mounts, 'exec /mnt/xsknetd "$@"'].join(' && ')
  return bare(['/usr/bin/unshare', '--mount', '--propagation', 'private', '/bin/sh', '-c', script, 'sh', ...words], env)
}

test('a folder mounted noexec is skipped', (t) => {
  const told = noexec(['/dev/shm'], ['--version'])
  t.like(told, { status: 0, stderr: '' })
  t.regex(told.stdout, /\n {2}datapath +[0-9a-f]{12}\n/)
})

test('if every folder is mounted noexec, the error names each one, and $TMPDIR helps', (t) => {
  const folders = ['/dev/shm', '/run', '/tmp', '/var/tmp']
  const status = ['status', '--socket', '/nowhere/x.sock']
  const refused = noexec(folders, status)
  t.is(refused.status, 1)
  t.regex(refused.stderr, /^xsknetd: the binding inside this executable does not load/)
  for (const folder of folders) t.regex(refused.stderr, new RegExp(`${folder}: [^;]*failed to map segment`))
  t.regex(refused.stderr, /\n {2}hint: .*noexec.*\$TMPDIR/)
  t.regex(refused.stderr, /\(ERR_XSKNET_UNSUPPORTED_PLATFORM\)\n$/)
  t.regex(noexec(folders, status, { TMPDIR: '/mnt' }).stderr, /no daemon listens/)
})

for (const [binding, carrier, words] of [
  ['xsknet', 'client', ['status', '--socket', '/nowhere/x.sock']],
  ['xsknetd', 'daemon', ['--version']],
] as const) {
  test(`a binding of ${binding} that is not the one that was packed is not loaded`, (t) => {
    const place = folder(t)
    install(place)
    const suffix = 'linux-x64-gnu'
    const original = readFileSync(`${place}/node_modules/@xsknet/${carrier}-${suffix}/${binding}.${suffix}.node`)
    const bytes = readFileSync(executable)
    const at = bytes.indexOf(original)
    t.true(at > 0, 'the executable has the binding of the tarball')
    const middle = at + (original.length >> 1)
    bytes[middle] = (bytes[middle] as number) ^ 1
    const changed = join(place, 'changed')
    writeFileSync(changed, bytes, { mode: 0o755 })
    const { stdout, stderr } = bare([changed, ...words])
    t.regex(stdout + stderr, /does not load \(\/dev\/shm: .*SHA-256 [0-9a-f]{64} instead of [0-9a-f]{64}; \/run: /)
  })
}

/** The files that a process has mapped and that no folder has a name for. */
function namelessMappings(pid: number): string[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
  return [...new Set(lines.flatMap((line) => /^\S+ r-x\S* \S+ \S+ \d+ +(\/.*) \(deleted\)$/.exec(line)?.[1] ?? []))]
}

test.serial(
  'it is the daemon where there is no Node, for clients out of the tarballs, and leaves nothing of itself',
  async (t) => {
    const scene = await Scene.open(t, { command: ['/usr/bin/env', '--ignore-environment', executable] })
    const { lab, daemon } = scene
    install(lab.folder)
    const port = await scene.answering()
    for (const address of portAddresses(0)) t.deepEqual(await lab.remote.unanswered(address, 100), [])
    const { daemon: name } = await daemon.ask<{ daemon: string }>('status')
    t.is(name, `xsknetd ${version}`)

    const clients = readFileSync(`/proc/${port.client.program.pid}/maps`, 'utf8')
    t.true(clients.includes(`${lab.folder}/node_modules/@xsknet/client-linux-x64-gnu/`))

    const { pid } = daemon.program
    t.is(readFileSync(`/proc/${pid}/environ`, 'utf8'), '')
    const [mapped = '', ...others] = namelessMappings(pid)
    t.regex(mapped, /^\/dev\/shm\/#\d+$/)
    t.deepEqual(others, [])
    const links = readdirSync(`/proc/${pid}/fd`).map((fd) => statSync(`/proc/${pid}/fd/${fd}`))
    const [file, ...more] = links.filter((file) => file.isFile() && file.ino === Number(mapped.split('#')[1]))
    t.like(file, { nlink: 0, uid: 0, mode: 0o100500 })
    t.is(more.length, 0)
    await scene.assertAccounted(t, port)

    // A file without a name cannot outlive it; what it did to the host is put back by the next start.
    t.like(await daemon.kill(), { signal: 'SIGKILL' })
    const next = await Daemon.start(lab, { command: [executable] })
    t.deepEqual(await next.stop(), { code: 0, signal: null }, next.program.lines.join('\n'))
    t.deepEqual(await lab.compare(), [])
  },
)

import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { install, nodes } from '../helpers/installed.js'
import { npmManifest, root } from '../helpers/workspace.js'

const place = realpathSync(mkdtempSync(join(tmpdir(), 'xsknet-consumers-')))
/** An install, and one of which the native parts were left out. */
const complete = join(place, 'complete')
const bare = join(place, 'bare')

test.before(() => {
  mkdirSync(complete)
  install(complete)
  mkdirSync(bare)
  install(bare, { native: false })
})
test.after.always(() => rmSync(place, { recursive: true }))

/** What each entry exports, among other things. */
const entries = {
  xsknet: ['connect', 'errorCodes', 'versions', 'XsknetError'],
  'xsknet/headers': ['arp', 'ethernet', 'icmp', 'ipv4', 'udp'],
  'xsknet/protocol': ['PROTOCOL_VERSION', 'encode', 'fromFailure'],
  xsknetd: ['startDaemon'],
}

/** Runs a program in an installed folder, and gives what it prints as JSON. */
function run<T>(node: string, folder: string, file: string, text: string, ...words: string[]): T {
  const path = join(folder, file)
  writeFileSync(path, text)
  // Without an environment of ours: no loader, no options.
  const printed = execFileSync(node, [path, ...words], {
    cwd: folder,
    encoding: 'utf8',
    env: {},
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return JSON.parse(printed) as T
}

const names = Object.keys(entries)
const imports = `
  import { createRequire } from 'node:module'
  const require = createRequire(import.meta.url)
  const told = {}
  for (const name of ${JSON.stringify(names)}) {
    const module = await import(name)
    told[name] = { exports: Object.keys(module), same: require(name) === module }
  }
  console.log(JSON.stringify(told))`
const requires = `
  const told = {}
  for (const name of ${JSON.stringify(names)}) told[name] = { exports: Object.keys(require(name)) }
  const { versions } = require('xsknet')
  console.log(JSON.stringify({ told, binding: versions().binding }))`

/**
 * Tells what comes of the first use of the native part, and what else still works; the words are platform and
 * architecture.
 */
const uses = (load: string) => `
  const [platform, arch] = process.argv.slice(2)
  Object.defineProperty(process, 'platform', { value: platform })
  Object.defineProperty(process, 'arch', { value: arch })
  const tell = ({ code, hint, details }) => ({ code, hint, problem: details?.problem })
  async function main(load) {
    const { connect, versions, XsknetError } = await load('xsknet')
    const headers = await load('xsknet/headers')
    const { PROTOCOL_VERSION } = await load('xsknet/protocol')
    const { startDaemon } = await load('xsknetd')
    const errors = []
    const failed = (error) => errors.push({ ...tell(error), typed: error instanceof XsknetError })
    try { versions() } catch (error) { failed(error) }
    await connect({ socket: '/nowhere/x.sock' }).catch(failed)
    await startDaemon({ uplinks: ['nowhere0'], instance: 'xsknet-consumers', log() {} }).catch(failed)
    console.log(JSON.stringify({ errors, headers: typeof headers.udp, protocol: PROTOCOL_VERSION }))
  }
  main(${load})`

interface Used {
  errors: { code: string; hint: string; problem: string; typed: boolean }[]
  headers: string
  protocol: number
}

const failures: [what: string, folder: string, platform: string, arch: string, problem: string, hint: RegExp][] = [
  ['without the platform packages', bare, 'linux', 'x64', 'missing', /without --omit=optional/],
  ['on another system', bare, 'darwin', 'arm64', 'platform', /part of Linux/],
  ['on another system that the platform packages came along to', complete, 'win32', 'x64', 'platform', /part of Linux/],
  ['on another processor', complete, 'linux', 'arm64', 'architecture', /x64/],
]

test('there is a Node of every line that is supported', (t) => {
  const lines = nodes().map(([version]) => version.split('.')[0])
  t.deepEqual(lines, ['20', '22', '24', '26'])
})

for (const [version, node] of nodes()) {
  test(`Node ${version}: import and require() give the same modules, with everything in them`, (t) => {
    const imported = run<Record<string, { exports: string[]; same: boolean }>>(
      node,
      complete,
      `${version}.mjs`,
      imports,
    )
    const { told, binding } = run<{ told: Record<string, { exports: string[] }>; binding: string }>(
      node,
      complete,
      `${version}.cjs`,
      requires,
    )
    for (const [name, some] of Object.entries(entries)) {
      const { exports = [], same } = imported[name] ?? {}
      t.deepEqual(
        some.filter((one) => !exports.includes(one)),
        [],
        name,
      )
      t.true(same, name)
      t.deepEqual(told[name]?.exports, exports, name)
    }
    t.is(binding, npmManifest('packages/xsknet').version)
  })

  test(`Node ${version}: the program of the package starts, and finds its BPF objects`, (t) => {
    const bin = join(complete, 'node_modules/.bin/xsknetd')
    const told = execFileSync(node, [bin, '--version'], { encoding: 'utf8', env: {} })
    t.regex(told, new RegExp(`^xsknetd .*\nprotocol 2\nnode ${version}\nBPF objects .*\n {2}datapath +[0-9a-f]{12}\n`))
  })

  for (const [what, folder, platform, arch, problem, hint] of failures) {
    test(`Node ${version}: ${what} the packages can be imported, and the native part fails with its code`, (t) => {
      for (const [file, load] of [
        ['mjs', '(name) => import(name)'],
        ['cjs', 'require'],
      ]) {
        const { errors, headers, protocol } = run<Used>(
          node,
          folder,
          `${version}-uses.${file}`,
          uses(load as string),
          platform,
          arch,
        )
        t.is(errors.length, 3)
        for (const error of errors) {
          t.like(error, { code: 'ERR_XSKNET_UNSUPPORTED_PLATFORM', problem, typed: true })
          t.regex(error.hint, hint)
        }
        t.deepEqual([headers, protocol], ['function', 2])
      }
    })
  }
}

test('npx finds the program', (t) => {
  const told = execFileSync('npx', ['--offline', '--no-install', 'xsknetd', '--version'], {
    cwd: complete,
    encoding: 'utf8',
  })
  t.true(told.startsWith(`xsknetd ${npmManifest('packages/xsknetd').version}\n`), told)
})

/** A program as a user would write it; `// wrong` marks what must not compile. */
const consumer = `
import { connect, type Network, type Port, type PortInfo, XsknetError, type XsknetErrorCode } from 'xsknet'
import { arp, icmp, ndp, udp } from 'xsknet/headers'
import { PROTOCOL_VERSION } from 'xsknet/protocol'
import { type Daemon, type DaemonOptions, startDaemon } from 'xsknetd'

export async function serve(options: DaemonOptions, signal: AbortSignal): Promise<XsknetErrorCode | undefined> {
  const grants = [{ user: 'nobody', uplinks: ['eth0'], addresses: ['192.0.2.8/29'] }]
  const daemon: Daemon = await startDaemon({ ...options, grants })
  try {
    const network: Network = await connect({ socket: daemon.socket, signal })
    const port: Port = await network.openPort({ uplink: 'eth0', addresses: ['192.0.2.10/24'], zeroCopy: 'prefer' })
    const info: PortInfo = port.info
    for await (const frames of port.batches({ max: 64, signal })) {
      for (const frame of frames) {
        if (arp.answer(frame, port) || ndp.answer(frame, port) || icmp.echo(frame, port)) frame.send()
        const length: number | undefined = udp(frame)?.payloadLength
        if (length === info.mtu) frame.drop()
      }
    }
    await port.send(new Uint8Array(60), { signal })
    await port.close()
  } catch (error) {
    if (error instanceof XsknetError) return error.code
    throw error
  } finally {
    await daemon.close()
  }
  return undefined
}

export const version: 2 = PROTOCOL_VERSION
`
const misuse = `
import { connect, XsknetError } from 'xsknet'
import { udp } from 'xsknet/headers'
import { startDaemon } from 'xsknetd'
export async function misuse() {
  const network = await connect({ socket: 1 }) // wrong
  const port = await network.openPort({ addresses: ['192.0.2.10/24'] }) // wrong
  await port.send('text') // wrong
  const never: boolean = new XsknetError('ERR_XSKNET_INTERNAL', '').code === 'ERR_XSKNET_NEVER' // wrong
  const length: string = udp(network) // wrong
  await startDaemon({ uplinks: 'eth0' }) // wrong
  const { nothing } = await import('xsknet') // wrong
  return [never, length, nothing]
}
`
const wrong = misuse.split('\n').flatMap((line, at) => (line.endsWith('// wrong') ? [at + 1] : []))

test(
  'TypeScript compiles what is right from .mts and .cts with strict, nodenext and every declaration checked, ' +
    'and nothing else',
  async (t) => {
    t.timeout(120_000, 'the compiler is slow')
    const folder = join(place, 'types')
    mkdirSync(folder)
    install(folder)
    // A user has it from the registry.
    mkdirSync(join(folder, 'node_modules/@types'))
    symlinkSync(realpathSync(`${root}node_modules/@types/node`), join(folder, 'node_modules/@types/node'))
    for (const ending of ['mts', 'cts']) {
      writeFileSync(join(folder, `consumer.${ending}`), consumer)
      writeFileSync(join(folder, `misuse.${ending}`), misuse)
    }
    const compilerOptions = {
      module: 'nodenext',
      target: 'es2022',
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.mts', '*.cts'] }))
    const { stdout } = await promisify(execFile)(`${root}node_modules/.bin/tsc`, ['--pretty', 'false'], {
      cwd: folder,
    }).catch((error: { stdout: string }) => error)
    const errors = stdout.split('\n').filter((line) => /^\S.*error TS/.test(line))
    const where = errors.map((line) => /^(.*)\((\d+),\d+\): error/.exec(line)?.slice(1).join(':') ?? line)
    const expected = ['cts', 'mts'].flatMap((ending) => wrong.map((line) => `misuse.${ending}:${line}`))
    t.true(wrong.length > 5)
    t.deepEqual([...new Set(where)].sort(), expected.sort(), errors.join('\n'))
  },
)

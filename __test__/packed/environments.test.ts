import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { build, type Format } from 'esbuild'
import { install, nodes } from '../helpers/installed.js'
import { npmManifest, root } from '../helpers/workspace.js'

const place = realpathSync(mkdtempSync(join(tmpdir(), 'xsknet-environments-')))
/** An install. */
const project = join(place, 'project')
/** A folder with nothing installed in or above it. */
const elsewhere = join(place, 'elsewhere')

test.before(() => {
  for (const folder of [project, elsewhere]) mkdirSync(folder)
  install(project)
})
test.after.always(() => rmSync(place, { recursive: true }))

const tools = `${root}__test__/node_modules/`
const require = createRequire(tools)
const { devDependencies: wanted = {} } = npmManifest('__test__')
const versionOf = (name: string) => wanted[name]?.replace(/^npm:.*@/, '') ?? 'none'

/** What is tried, by the names in docs/packages.md. */
const tried = {
  ...Object.fromEntries(nodes().map(([version]) => [`Node ${Number.parseInt(version, 10)}`, version])),
  Bun: versionOf('@oven/bun-linux-x64'),
  Deno: versionOf('@deno/linux-x64-glibc'),
  esbuild: npmManifest('').devDependencies?.esbuild ?? 'none',
  webpack: versionOf('webpack'),
  'TypeScript 5': versionOf('typescript-5.4'),
  'TypeScript 7': npmManifest('').devDependencies?.typescript ?? 'none',
  '@types/node': npmManifest('').devDependencies?.['@types/node'] ?? 'none',
}

for (const [name, version] of Object.entries(tried)) {
  test(`docs/packages.md tells that ${name} ${version} was tried`, (t) => {
    const text = readFileSync(`${root}docs/packages.md`, 'utf8')
    t.regex(text, new RegExp(`^\\| .*${name.replace(/ \d+$/, '')}.*\\b${version.replaceAll('.', '\\.')}\\b`, 'm'))
  })
}

interface Told {
  /** Of each call that needs the native part. */
  errors: { code: string; hint: string; problem: string | null }[]
  headers: string
}

const program = `
  import { connect, versions, XsknetError } from 'xsknet'
  import { udp } from 'xsknet/headers'
  import { startDaemon } from 'xsknetd'
  const errors = []
  const failed = (error) => {
    if (!(error instanceof XsknetError)) throw error
    errors.push({ code: error.code, hint: error.hint, problem: error.details.problem ?? null })
  }
  async function main() {
    try { versions() } catch (error) { failed(error) }
    await connect({ socket: '/nowhere/x.sock' }).catch(failed)
    // Without an uplink, where the native part loads: nothing of the machine is touched.
    await startDaemon({ uplinks: process.argv.slice(2), instance: 'xsknet-environments' }).catch(failed)
    console.log(JSON.stringify({ errors, headers: typeof udp }))
  }
  main()`

/** Runs a program, without an environment of ours, and gives what it prints as JSON. */
function run(command: readonly string[], folder = project): Told {
  const [file = '', ...words] = command
  const env = { HOME: place, DENO_NO_UPDATE_CHECK: '1' }
  const { status, stdout, stderr } = spawnSync(file, words, { cwd: folder, encoding: 'utf8', env, timeout: 30_000 })
  if (status !== 0) throw new Error(`${command.join(' ')} ended with ${status}:\n${stdout}${stderr}`)
  return JSON.parse(stdout) as Told
}

/** The messages where the native part loads: the daemon and the uplink are missing. */
const WORKS = ['ERR_XSKNET_DAEMON_ABSENT', 'ERR_XSKNET_CONFIGURATION_INVALID']
const codes = ({ errors }: Told) => errors.map(({ code }) => code)

const source = (file: string) => {
  writeFileSync(join(project, file), program)
  return file
}

for (const [name, command] of [
  ['Bun', [`${tools}@oven/bun-linux-x64/bin/bun`]],
  ['Deno', [`${tools}@deno/linux-x64-glibc/deno`, 'run', '--allow-all']],
] as const) {
  test(`${name} imports the packages, and is told that it takes Node to use them`, (t) => {
    const { errors, headers } = run([...command, source(`${name}.mjs`), 'nowhere0'])
    t.is(headers, 'function')
    t.is(errors.length, 3)
    for (const { code, hint, problem } of errors) {
      t.is(code, 'ERR_XSKNET_UNSUPPORTED_PLATFORM')
      t.is(problem, 'runtime')
      t.regex(
        hint,
        new RegExp(`^Run the program with Node 20\\.19 or later: .*${name} ${tried[name].replaceAll('.', '\\.')}`),
      )
    }
  })
}

for (const [version, node] of nodes()) {
  const forbidding = [['--no-addons']]
  if (Number.parseInt(version, 10) >= 24) forbidding.push(['--permission', '--allow-fs-read=*'])
  for (const words of forbidding) {
    test(`Node ${version} ${words.join(' ')}: the word that stands in the way is named`, (t) => {
      const { errors } = run([node, ...words, source(`${version}.mjs`), 'nowhere0'])
      t.is(errors.length, 3)
      for (const error of errors) {
        t.like(error, { code: 'ERR_XSKNET_UNSUPPORTED_PLATFORM', problem: 'addons' })
        t.regex(error.hint, /without --no-addons; with --permission, add --allow-addons/)
      }
    })
  }
}

/** Makes a bundle of the program. */
type Bundle = (file: string) => Promise<unknown>

const esbuilt =
  (format: Format): Bundle =>
  (outfile) =>
    build({
      absWorkingDir: project,
      entryPoints: [source('bundled.mjs')],
      bundle: true,
      platform: 'node',
      format,
      outfile,
      // It warns that import.meta is empty in CommonJS.
      logLevel: 'error',
    })

const webpacked =
  (module: boolean): Bundle =>
  (file) => {
    const config = {
      mode: 'production',
      optimization: { minimize: false }, // for speed
      target: 'node20',
      context: project,
      entry: `./${source('bundled.mjs')}`,
      experiments: { outputModule: module },
      output: { path: join(file, '..'), filename: file.split('/').at(-1), module },
    }
    return new Promise((resolve, reject) => {
      require('webpack')(
        config,
        (error: Error | null, stats: { hasErrors(): boolean; toString(): string } | undefined) => {
          if (error || stats?.hasErrors()) reject(error ?? new Error(stats?.toString()))
          else resolve(undefined)
        },
      )
    })
  }

for (const [name, file, bundle] of [
  ['esbuild, to CommonJS', 'esbuilt.cjs', esbuilt('cjs')],
  ['esbuild, to a module', 'esbuilt.mjs', esbuilt('esm')],
  ['webpack, to CommonJS', 'webpacked.cjs', webpacked(false)],
  ['webpack, to a module', 'webpacked.mjs', webpacked(true)],
] as const) {
  test.serial(
    `${name}: a bundle works where the packages are installed, and elsewhere says to leave them out of it`,
    async (t) => {
      const bundled = join(project, 'out', file)
      await bundle(bundled)
      t.deepEqual(codes(run([process.execPath, bundled])), WORKS)

      cpSync(bundled, join(elsewhere, file))
      // Webpack writes down where the package was.
      const modules = join(project, 'node_modules')
      const hidden = join(place, 'hidden')
      execFileSync('mv', [modules, hidden])
      try {
        const { errors, headers } = run([process.execPath, join(elsewhere, file), 'nowhere0'], elsewhere)
        t.is(headers, 'function')
        for (const error of errors) {
          t.like(error, { code: 'ERR_XSKNET_UNSUPPORTED_PLATFORM', problem: 'bundled' })
          t.regex(error.hint, /^Leave xsknetd? out of the bundle \(`external` of esbuild, `externals` of webpack\)/)
        }
        t.is(errors.length, 3)
      } finally {
        execFileSync('mv', [hidden, modules])
      }
    },
  )
}

const typed = `
  import { connect, type Port } from 'xsknet'
  import { arp } from 'xsknet/headers'
  import { encode } from 'xsknet/protocol'
  import { startDaemon } from 'xsknetd'
  export const daemon = await startDaemon({ uplinks: ['eth0'] })
  const net = await connect()
  const port: Port = await net.openPort({ uplink: 'eth0', addresses: ['192.0.2.10/24'] })
  for await (const frames of port.batches()) {
    for (const frame of frames) if (arp.answer(frame, port)) frame.send()
  }
  encode({ version: 2, id: 1, operation: 'status' })
  await net.close()`

for (const [version, compiler] of [
  [tried['TypeScript 5'], `${tools}typescript-5.4/bin/tsc`],
  [tried['TypeScript 7'], `${root}node_modules/typescript/bin/tsc`],
] as const) {
  test.serial(
    `TypeScript ${version}: declarations are checked without an error beside @types/node, and not without that`,
    (t) => {
      writeFileSync(join(project, 'typed.ts'), typed)
      const words = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--skipLibCheck', 'false']
      const check = (...more: string[]) =>
        spawnSync(process.execPath, [compiler, ...words, ...more, 'typed.ts'], { cwd: project, encoding: 'utf8' })
      t.regex(check().stdout, /Cannot find (module|name) 'node:events'/)
      const types = join(project, 'node_modules/@types')
      mkdirSync(types)
      symlinkSync(realpathSync(`${root}node_modules/@types/node`), join(types, 'node'))
      try {
        t.like(check('--types', 'node'), { status: 0, stdout: '' })
      } finally {
        rmSync(types, { recursive: true })
      }
    },
  )
}

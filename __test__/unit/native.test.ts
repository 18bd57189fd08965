import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { versions } from 'xsknet'
import { XsknetError } from '../../packages/xsknet/src/errors.js'
import { requireBinding, type System } from '../../packages/xsknet/src/platform/platform.js'
import { crates, npmManifest, root } from '../helpers/workspace.js'

const crate = crates().find(({ name }) => name === 'xsknet-node')

test('the binding has the version of its crate and of the package that loads it', (t) => {
  const { binding } = versions()
  t.is(binding, crate?.version ?? 'no crate')
  t.is(binding, npmManifest('packages/xsknet').version)
})

test('the binding names the Node-API version of its napi feature, and this Node has it', (t) => {
  const { nodeApi } = versions()
  const napi = crate?.dependencies.find(({ name }) => name === 'napi')
  t.deepEqual(napi?.features, [`napi${nodeApi}`])
  t.true(nodeApi <= Number(process.versions.napi))
})

test('without a binding the package can be imported, and the first native call throws with a typed error', (t) => {
  const bare = mkdtempSync(join(tmpdir(), 'xsknet-without-binding-'))
  t.teardown(() => rmSync(bare, { recursive: true }))
  const copied = (part: string) =>
    cpSync(`${root}packages/xsknet/${part}`, join(bare, part), { recursive: true, dereference: true })
  for (const part of ['package.json', 'dist', 'node_modules/valibot']) copied(part)

  const script = `
    import { connect, versions } from './dist/index.js'
    import './dist/headers/index.js'
    import './dist/connection/protocol.js'
    const tell = ({ code, hint, details: { problem }, cause }) =>
      console.log(JSON.stringify({ code, hint, problem, cause: cause.code }))
    try { versions() } catch (error) { tell(error) }
    await connect().catch(tell)`
  const printed = execFileSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: bare,
    encoding: 'utf8',
  })
  const told = printed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.is(told.length, 2)
  for (const error of told)
    t.deepEqual(error, {
      code: 'ERR_XSKNET_UNSUPPORTED_PLATFORM',
      hint: 'Reinstall xsknet without --omit=optional. In a clone, `npm run build` makes the binding.',
      problem: 'missing',
      cause: 'MODULE_NOT_FOUND',
    })
})

const place = { owner: 'xsknet', built: '../native/built.node', carrier: '@xsknet/carrier' }
const debian: System = { platform: 'linux', arch: 'x64', glibc: '2.36' }
const missing = (id: string) =>
  Object.assign(new Error(`Cannot find module '${id}'\nRequire stack:`), { code: 'MODULE_NOT_FOUND' })
const disabled = Object.assign(new Error('loading addons is disabled'), { code: 'ERR_DLOPEN_DISABLED' })
const refusal = Object.assign(new Error('carrier.node: file too short'), { code: 'ERR_DLOPEN_FAILED' })

/** Neither is there, except what `found` has; an error among that is thrown. */
const loading = (found: Record<string, unknown>) => (id: string) => {
  const what = found[id] ?? (id === '../package.json' ? { name: place.owner } : missing(id))
  if (what instanceof Error) throw what
  return what
}

const refusals: [
  what: string,
  found: Record<string, unknown>,
  system: System,
  problem: string,
  says: RegExp,
  hint: RegExp,
][] = [
  [
    'another system',
    {},
    { ...debian, platform: 'darwin', glibc: undefined },
    'platform',
    /for darwin$/,
    /part of Linux/,
  ],
  [
    'another system, although the package is there',
    { [place.carrier]: {} },
    { ...debian, platform: 'darwin', glibc: undefined },
    'platform',
    /for darwin$/,
    /part of Linux/,
  ],
  ['another processor', {}, { ...debian, arch: 'arm64' }, 'architecture', /for arm64$/, /x64/],
  ['musl', {}, { ...debian, glibc: undefined }, 'libc', /musl$/, /glibc 2\.34 or newer: not Alpine/],
  [
    'musl, although the package is there',
    { [place.carrier]: refusal },
    { ...debian, glibc: undefined },
    'libc',
    /musl$/,
    /Alpine/,
  ],
  [
    'Bun',
    { [place.carrier]: {} },
    { ...debian, runtime: 'Bun 1.4.5' },
    'runtime',
    /on Bun 1\.4\.5$/,
    /with Node 20\.19 or later/,
  ],
  [
    '--no-addons',
    { [place.carrier]: disabled },
    debian,
    'addons',
    /does not load native addons$/,
    /without --no-addons/,
  ],
  [
    'a bundle',
    { '../package.json': { name: 'mine' } },
    debian,
    'bundled',
    /@xsknet\/carrier is not installed/,
    /^Leave xsknet out/,
  ],
  [
    'a bundle alone',
    { '../package.json': missing('../package.json') },
    debian,
    'bundled',
    /part of a bundle/,
    /`externals` of webpack/,
  ],
  [
    'an install without optional packages',
    {},
    debian,
    'missing',
    /@xsknet\/carrier is not installed$/,
    /--omit=optional/,
  ],
  [
    'a file that does not load',
    { [place.carrier]: refusal },
    debian,
    'refused',
    /: carrier\.node: file too short$/,
    /damaged/,
  ],
  [
    'a build that does not load',
    { [place.built]: refusal, [place.carrier]: {} },
    debian,
    'refused',
    /too short$/,
    /damaged/,
  ],
  [
    'an older glibc',
    { [place.carrier]: refusal },
    { ...debian, glibc: '2.9' },
    'libc',
    /on glibc 2\.9$/,
    /2\.34 or newer/,
  ],
  [
    'a part of the package that is missing',
    { [place.carrier]: missing('./part.node') },
    debian,
    'refused',
    /part\.node/,
    /damaged/,
  ],
]

for (const [what, found, system, problem, says, hint] of refusals) {
  test(`a binding that does not load because of ${what} is refused with the reason`, (t) => {
    const error = t.throws(() => requireBinding(loading(found), place, system), {
      instanceOf: XsknetError,
      message: says,
    })
    t.is(error?.code, 'ERR_XSKNET_UNSUPPORTED_PLATFORM')
    t.regex(error?.hint ?? '', hint)
    const { platform, arch, glibc, runtime } = system
    t.deepEqual(
      error?.details,
      runtime ? { problem, runtime } : { problem, platform, arch, ...(glibc ? { glibc } : {}) },
    )
    t.is(
      error?.cause instanceof Error,
      !['platform', 'architecture', 'runtime'].includes(problem),
      'elsewhere it is not even looked for',
    )
  })
}

test('what a clone has built goes before what is installed, and the installed one serves without it', (t) => {
  const both = { [place.built]: 'built', [place.carrier]: 'installed' }
  t.is(requireBinding(loading(both), place, debian), 'built')
  t.is(requireBinding(loading({ [place.carrier]: 'installed' }), place, debian), 'installed')
})

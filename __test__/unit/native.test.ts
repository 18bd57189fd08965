import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { versions } from 'xsknet'
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
    import './dist/protocol.js'
    const tell = ({ code, hint, details, cause }) => console.log(JSON.stringify({ code, hint, details, cause: cause.code }))
    try { versions() } catch (error) { tell(error) }
    await connect().catch(tell)`
  const printed = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { cwd: bare, encoding: 'utf8' })
  const told = printed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.is(told.length, 2)
  for (const error of told)
    t.deepEqual(error, {
      code: 'ERR_XSKNET_UNSUPPORTED_PLATFORM',
      hint: 'In a clone, `npm run build` makes it.',
      details: { platform: process.platform, arch: process.arch },
      cause: 'MODULE_NOT_FOUND',
    })
})

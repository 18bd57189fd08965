import { readdirSync, readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import test from 'ava'
import { errorCodes, XsknetError } from 'xsknet'
import { root } from '../helpers/workspace.js'

test('an error carries its code, hint, details and cause', (t) => {
  const cause = Object.assign(new Error('bind failed'), { errno: -16, syscall: 'bind' })
  const error = new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', 'it did not load', {
    hint: 'build it',
    details: { arch: 'x64' },
    cause,
  })
  t.true(error instanceof Error)
  t.is(`${error}`, 'XsknetError: it did not load')
  t.is(error.code, 'ERR_XSKNET_UNSUPPORTED_PLATFORM')
  t.is(error.hint, 'build it')
  t.deepEqual(error.details, { arch: 'x64' })
  t.is(error.cause, cause)
})

test('what Node prints of an uncaught error shows the hint and the cause', (t) => {
  const error = new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', 'it did not load', {
    hint: 'build it',
    cause: new Error('no file'),
  })
  t.regex(inspect(error), /XsknetError: it did not load.*hint: 'build it'.*\[cause\]: Error: no file/s)
})

test('an error without a cause has none, rather than one that is undefined', (t) => {
  const error = new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', 'it did not load')
  t.false('cause' in error)
  t.is(error.hint, undefined)
  t.deepEqual(error.details, {})
})

/** The sources that make errors, and the documents that speak of them. */
function* sources(): Generator<[file: string, text: string]> {
  const folders = ['packages/xsknet/src', 'packages/xsknetd/src', 'crates/node-xsknet/src', 'crates/node-xsknetd/src', 'docs']
  for (const folder of folders) {
    for (const file of readdirSync(root + folder, { recursive: true, encoding: 'utf8' })) {
      if (/\.(ts|rs|md|json)$/.test(file)) yield [`${folder}/${file}`, readFileSync(`${root}${folder}/${file}`, 'utf8')]
    }
  }
}

test('every code that is named anywhere is in the list, and every code of the list is raised somewhere', (t) => {
  const raised = new Set<string>()
  for (const [file, text] of sources()) {
    if (file.endsWith('src/errors.ts')) continue
    for (const [code] of text.matchAll(/\bERR_XSKNET_[A-Z_]*[A-Z]\b/g)) {
      t.true(code in errorCodes, `${code} of ${file}`)
      if (!file.startsWith('docs/')) raised.add(code)
    }
    // The daemon's binding names its codes without what they have in common.
    if (file.endsWith('.rs')) for (const [, code] of text.matchAll(/"([A-Z]+(?:_[A-Z]+)+)"/g)) raised.add(`ERR_XSKNET_${code}`)
  }
  t.deepEqual(
    Object.keys(errorCodes).filter((code) => !raised.has(code)),
    [],
  )
})

test('each code says what it means in one sentence', (t) => {
  for (const [code, meaning] of Object.entries(errorCodes)) {
    t.regex(code, /^ERR_XSKNET_[A-Z]+(_[A-Z]+)*$/)
    t.regex(meaning, /^[A-Z].{10,120}\.$/, code)
  }
})

import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { root } from '../helpers/workspace.js'

const here = `${root}__test__/types/`
const sources = readdirSync(here).filter((file) => file.endsWith('-d.ts'))
const marker = /^[ \t]*\/\/ @ts-expect-error .*$/gm

/** Compiles the type tests as a user of the built package would, and returns the lines that did not. */
async function compiled(
  t: ExecutionContext,
  change: (source: string) => string = (source) => source,
): Promise<string[]> {
  t.timeout(120_000, 'the compiler is slow')
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-types-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  symlinkSync(`${root}node_modules`, join(folder, 'node_modules'))
  for (const file of [...sources, 'exactly.ts'])
    writeFileSync(join(folder, file), change(readFileSync(here + file, 'utf8')))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: `${root}tsconfig.json`, include: ['.'] }))
  const run = promisify(execFile)(`${root}node_modules/.bin/tsc`, ['-p', folder, '--pretty', 'false'], { cwd: folder })
  const output = await run.then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  )
  return output.split('\n').filter((line) => /^\S.* error TS/.test(line))
}

test('what should compile does, and what should not does not', async (t) => {
  t.true(sources.length > 1)
  t.deepEqual(await compiled(t), [])
})

test('each use that should not compile is an error of its own once it is not expected', async (t) => {
  const errors = await compiled(t, (source) => source.replace(marker, ''))
  for (const file of sources) {
    const lines = readFileSync(here + file, 'utf8').split('\n')
    const expected = lines.flatMap((line, at) => (/^\s*\/\/ @ts-expect-error/.test(line) ? [at + 2] : []))
    const found = errors.flatMap((error) => (error.startsWith(`${file}(`) ? [Number(/\((\d+),/.exec(error)?.[1])] : []))
    t.true(expected.length > 3)
    t.deepEqual([...new Set(found)], expected, file)
  }
})

test('a type that is any, wider or narrower than it should be does not pass for exact', async (t) => {
  const errors = await compiled(t, (source) =>
    source.replace(
      /^export const exactly.*/ms,
      (exactly) => `${exactly}
        exactly<string>()('' as any)
        exactly<string>()('' as string | undefined)
        exactly<string>()('x' as 'x')`,
    ),
  )
  t.is(errors.length, 3, errors.join('\n'))
  t.true(errors.every((error) => error.startsWith('exactly.ts(')))
})

/** The declarations, without their comments. */
function declarations(folder: string): [file: string, text: string][] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.d.ts'))
  return files.map((file) => [file, readFileSync(join(folder, file), 'utf8').replace(/\/\*.*?\*\/|\/\/.*$/gms, '')])
}

test('no declaration of the packages says any', (t) => {
  const folders = ['xsknet', 'xsknetd'].flatMap((name) => [
    `${root}packages/${name}/dist`,
    `${root}packages/${name}/native`,
  ])
  const all = folders.flatMap(declarations)
  t.true(all.length > 10)
  const saying = (word: RegExp) => all.flatMap(([file, text]) => (word.test(text) ? [file] : []))
  t.deepEqual(saying(/\bany\b/), [])
  t.true(saying(/\bunknown\b/).includes('errors.d.ts'), 'the same search finds what is there')
})

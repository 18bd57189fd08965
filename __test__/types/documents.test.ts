import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { root } from '../helpers/workspace.js'

const programs = [...readFileSync(`${root}README.md`, 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(
  ([, program]) => program as string,
)

test('the programs of the README compile against the built package', (t) => {
  t.timeout(120_000, 'the compiler is slow')
  t.true(programs.length > 0)
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-readme-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  symlinkSync(`${root}node_modules`, join(folder, 'node_modules'))
  for (const [n, program] of programs.entries()) writeFileSync(join(folder, `${n}.ts`), program)
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: `${root}tsconfig.json`, include: ['.'] }))
  t.notThrows(() => execFileSync(`${root}node_modules/.bin/tsc`, ['-p', folder], { cwd: folder, encoding: 'utf8' }))
})

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { programsOf, root } from '../helpers/workspace.js'

const pages = [
  'README.md',
  ...readdirSync(`${root}docs`).flatMap((file) => (file.endsWith('.md') ? [`docs/${file}`] : [])),
]
const programs = pages.flatMap((page) => programsOf(page))

test('the programs of the README and the documents compile against the built packages', (t) => {
  t.timeout(120_000, 'the compiler is slow')
  t.true(programs.length > 3)
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-readme-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  symlinkSync(`${root}node_modules`, join(folder, 'node_modules'))
  for (const [n, program] of programs.entries()) writeFileSync(join(folder, `${n}.ts`), program)
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: `${root}tsconfig.json`, include: ['.'] }))
  t.notThrows(() => execFileSync(`${root}node_modules/.bin/tsc`, ['-p', folder], { cwd: folder, encoding: 'utf8' }))
})

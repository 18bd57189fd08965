import { readdirSync, readFileSync, statSync } from 'node:fs'
import test from 'ava'
import { npmManifest, root } from '../helpers/workspace.js'

/** The modules that a script of ours loads before its first line runs: those of its own imports, and of theirs. */
function loadedFirst(script: string, seen = new Map<string, string[]>()): Map<string, string[]> {
  if (seen.has(script)) return seen
  const text = readFileSync(`${root}${script}`, 'utf8')
  const named = [...text.matchAll(/^(?:import|export) (?:[\w*, ]+|\{[^}]*\}) from '([^']+)'/gm)].map(
    ([, name]) => name as string,
  )
  seen.set(script, named)
  for (const name of named) {
    if (name.startsWith('.')) loadedFirst(new URL(name, `file:///${script}`).pathname.slice(1), seen)
  }
  return seen
}

const commands = npmManifest('.').scripts ?? {}
const scripts = Object.values(commands).flatMap((command) => command.match(/scripts\/[\w-]+\.mjs/) ?? [])

test('every command of the workspace is a script of ours', (t) => {
  t.is(scripts.length, Object.keys(commands).length)
})

for (const script of new Set(scripts)) {
  // Set-up is what installs packages, and each of these begins by running it.
  test(`${script} starts in a clone in which no package is installed yet`, (t) => {
    const strangers = [...loadedFirst(script)].flatMap(([file, names]) =>
      names.filter((name) => !name.startsWith('node:') && !name.startsWith('.')).map((name) => `${file}: ${name}`),
    )
    t.deepEqual(strangers, [])
  })
}

test('npm test runs every folder of tests', (t) => {
  const script = readFileSync(`${root}scripts/test.mjs`, 'utf8')
  const lists = [...script.matchAll(/^const (?:PURE|KERNEL) = (.*)$/gm)].map(([, list = '']) => list)
  const named = lists.flatMap((list) => list.match(/__test__\/\w+/g) ?? [])
  const folders = readdirSync(`${root}__test__`).filter((name) => name !== 'node_modules' && name !== 'helpers')
  const withTests = folders.map((name) => `__test__/${name}`).filter((path) => statSync(`${root}${path}`).isDirectory())
  t.deepEqual(named.toSorted(), withTests.toSorted())
})

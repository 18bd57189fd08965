import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'ava'
import { root } from '../helpers/workspace.js'

/** What crates/path/src/slate.rs says: the place of each word, the size of the head, and the marks in descriptors. */
const layout: Record<string, number> = createRequire(import.meta.url)(
  `${root}packages/xsknet/native/xsknet.linux-x64-gnu.node`,
).slateLayout()

/** Numbers that stand beside the words in the package, and that are nothing to the binding. */
const OWN = ['FETCH']

const names = Object.keys(layout)
const sides = texts(`${root}packages/xsknet/src`).filter((text) => /^(export )?const (QUEUED|CONTINUES) =/m.test(text))

test('the binding has a place for each word, in front of the tables, and marks that no frame can be taken for', (t) => {
  const { HEAD, NOWHERE, CONTINUES, ...words } = layout
  const places = Object.values(words)
  t.is(new Set(places).size, 11)
  t.true(places.every((place) => place < (HEAD ?? 0)))
  t.deepEqual([NOWHERE, CONTINUES], [2 ** 32 - 1, 2 ** 31])
})

test('every word and mark has the same number in the package as in the binding', (t) => {
  t.deepEqual(only(Object.assign({}, ...sides.map(constants)), names), layout)
})

test('the package knows no word that the binding does not know', (t) => {
  const [words] = sides.filter((text) => text.includes('const QUEUED ='))
  const strays = Object.keys(constants(words ?? '')).filter((name) => ![...names, ...OWN].includes(name))
  t.deepEqual(strays, [])
})

test('the socket that unit tests play has the same words, or has them from the package', (t) => {
  const text = readFileSync(`${root}__test__/unit/port/socket.ts`, 'utf8')
  const imported = [...text.matchAll(/^import \{([^}]+)\} from/gm)].flatMap(([, list]) => list?.split(/[\s,]+/) ?? [])
  const { CONTINUES: _, ...played } = only(layout, subtract(names, imported))
  t.deepEqual(only(constants(text), names), played)
})

/** All files of TypeScript in a folder. */
function texts(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  return files.map((file) => readFileSync(`${folder}/${file}`, 'utf8'))
}

/** The numbers that a file names at its top level: `const NAME = 1`, or `const [A, B] = [1, 2]`. */
function constants(text: string): Record<string, number> {
  const declarations = text.matchAll(/^(?:export )?const (?:\[([\w, ]+)\]|(\w+)) = (?:\[([\w, ]+)\]|(\w+))$/gm)
  const entries = [...declarations].flatMap(([, several, one, values, value]) => {
    const numbers = (values ?? value ?? '').split(', ').map((number) => Number(number.replaceAll('_', '')))
    return (several ?? one ?? '').split(', ').map((name, n) => [name, numbers[n]] as const)
  })
  return Object.fromEntries(entries.filter((entry): entry is [string, number] => Number.isInteger(entry[1])))
}

function only(numbers: Record<string, number>, wanted: readonly string[]): Record<string, number> {
  return Object.fromEntries(Object.entries(numbers).filter(([name]) => wanted.includes(name)))
}

function subtract(all: readonly string[], some: readonly string[]): string[] {
  return all.filter((name) => !some.includes(name))
}

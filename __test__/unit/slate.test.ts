import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'ava'
import { root } from '../helpers/workspace.js'

/** What crates/path/src/slate.rs says: the place of each word, the size of the head, and the marks in descriptors. */
const layout: Record<string, number> = createRequire(import.meta.url)(
  `${root}packages/xsknet/native/xsknet.linux-x64-gnu.node`,
).slateLayout()

/** Numbers of the package's slate that are nothing to the binding. */
const OWN = ['FETCH']

const names = Object.keys(layout)

test('the binding has a place for each word, in front of the tables, and marks that no frame can be taken for', (t) => {
  const { HEAD, NOWHERE, CONTINUES, ...words } = layout
  const places = Object.values(words)
  t.is(new Set(places).size, 11)
  t.true(places.every((place) => place < (HEAD ?? 0)))
  t.deepEqual([NOWHERE, CONTINUES], [2 ** 32 - 1, 2 ** 31])
})

test('every word and mark has the same number in the package as in the binding', (t) => {
  const [slate, frame] = ['slate.ts', 'frame.ts'].map(ofPackage)
  t.deepEqual(only({ ...slate, ...frame }, names), layout)
})

test('the package knows no word that the binding does not know', (t) => {
  const strays = Object.keys(ofPackage('slate.ts')).filter((name) => !names.includes(name) && !OWN.includes(name))
  t.deepEqual(strays, [])
})

test('the socket that unit tests play has the same words', (t) => {
  const { CONTINUES: _, ...played } = layout
  t.deepEqual(only(constants(`${root}__test__/unit/port/socket.ts`), names), played)
})

/** The constants of a file of packages/xsknet/src, in whatever folder it is. */
function ofPackage(file: string): Record<string, number> {
  const source = `${root}packages/xsknet/src`
  const [path, ...others] = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
    (path) => path === file || path.endsWith(`/${file}`),
  )
  if (path === undefined || others.length > 0) throw new Error(`one ${file} was expected in packages/xsknet/src`)
  return constants(`${source}/${path}`)
}

/** The numbers that a file names at its top level: `const NAME = 1`, or `const [A, B] = [1, 2]`. */
function constants(path: string): Record<string, number> {
  const text = readFileSync(path, 'utf8')
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

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'ava'
import { root } from '../../helpers/workspace.js'

/** The folders of the daemon's sources; each may import from those before it. */
const LAYERS = ['runtime', 'log', 'policy', 'platform', 'configuration', 'ports', 'server', 'daemon', 'cli']

const source = `${root}packages/xsknetd/src`
const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
/** What each file imports, types included. */
const imports = new Map(
  files.map((file) => {
    const text = readFileSync(`${source}/${file}`, 'utf8')
    const paths = [...text.matchAll(/(?:from |import\()'(\.[^']+)\.js'/g)].map(([, path]) => path as string)
    return [file, paths.map((path) => `${join(dirname(file), path)}.ts`)]
  }),
)

test('a folder of the daemon imports only from those below it', (t) => {
  const folders = new Set(files.map(dirname).filter((folder) => folder !== '.'))
  t.deepEqual([...folders].sort(), [...LAYERS].sort())
  const layerOf = (file: string) => LAYERS.indexOf(dirname(file))
  const upward = files.flatMap((file) =>
    (imports.get(file) ?? [])
      .filter((imported) => dirname(file) !== '.' && layerOf(imported) > layerOf(file))
      .map((imported) => `${file} imports ${imported}`),
  )
  t.deepEqual(upward, [])
})

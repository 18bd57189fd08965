import { execFileSync, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, extname, join, relative, resolve } from 'node:path'
import { NOBODY, STATE } from './daemon.js'
import { root } from './workspace.js'

/**
 * Puts a program, all others of its folder, and the packages into a folder where everybody may read them, as an install
 * would: a clone may lie where nobody else may go.
 *
 * @param path In TypeScript or JavaScript, by its path in the repository.
 * @returns Its path in there, in JavaScript. /
 */
export function stagedProgram(folder: string, path: string): string {
  const program = resolve(root, path)
  const programs = dirname(program)
  // What they import from other folders comes along, so places are those of the repository.
  const base = join(folder, 'programs')
  const staged = join(base, relative(root, programs))
  if (!existsSync(join(folder, 'node_modules'))) stagePackages(folder)
  if (!complete.has(staged)) {
    complete.add(staged)
    mkdirSync(staged, { recursive: true })
    const files = readdirSync(programs).map((file) => join(programs, file))
    for (const file of files) if (extname(file) === '.js') copyFileSync(file, join(staged, basename(file)))
    const sources = files.filter((file) => extname(file) === '.ts')
    for (const [path, text] of javascript(programs, sources, base)) {
      mkdirSync(dirname(join(base, path)), { recursive: true })
      writeFileSync(join(base, path), text)
    }
  }
  // Whatever the umask, here and in the clone. A daemon's secret may be here, too, which it wants for itself.
  const shown = readdirSync(folder).filter((name) => name !== STATE)
  execFileSync('chmod', ['-R', 'a+rX', ...shown.map((name) => join(folder, name))])
  return join(staged, basename(program).replace(/ts$/, 'js'))
}

/** Puts the text of a program into the folder, beside the packages, and returns its path in there, in JavaScript. */
export function compiled(folder: string, name: string, text: string): string {
  if (!existsSync(join(folder, 'node_modules'))) stagePackages(folder)
  const source = join(folder, `${name}.ts`)
  writeFileSync(source, text)
  tsc('--outDir', folder, source)
  return join(folder, `${name}.js`)
}

function stagePackages(folder: string): void {
  const modules = join(folder, 'node_modules')
  for (const name of ['xsknet', 'xsknetd']) {
    const from = `${root}packages/${name}`
    const { bundledDependencies } = JSON.parse(readFileSync(`${from}/package.json`, 'utf8')) as {
      bundledDependencies: string[]
    }
    for (const part of ['package.json', 'dist', 'native']) copy(`${from}/${part}`, `${modules}/${name}/${part}`)
    for (const name of bundledDependencies) copy(realpathSync(`${from}/node_modules/${name}`), `${modules}/${name}`)
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
}

/** The folders that are staged. */
const complete = new Set<string>()

/** Folders of programs in JavaScript: each is compiled once in a process, which takes longer than most tests. */
const compiledFolders = new Map<string, Map<string, string>>()

/** A folder's programs and what they import, by paths in the repository. `base` is used meanwhile. */
function javascript(folder: string, sources: readonly string[], base: string): Map<string, string> {
  const known = compiledFolders.get(folder)
  if (known) return known
  const texts = new Map<string, string>()
  const out = mkdtempSync(join(base, 'compiled-'))
  try {
    if (sources.length > 0) tsc('--rootDir', root, '--outDir', out, ...sources)
    for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name)
      if (entry.isFile()) texts.set(relative(out, path), readFileSync(path, 'utf8'))
    }
  } finally {
    rmSync(out, { recursive: true })
  }
  compiledFolders.set(folder, texts)
  return texts
}

/** Types are checked by `npm run check`. */
function tsc(...words: string[]): void {
  const options = ['--ignoreConfig', '--noCheck', '--target', 'es2022', '--module', 'nodenext']
  execFileSync(`${root}node_modules/.bin/tsc`, [...options, ...words], { cwd: root, stdio: 'inherit' })
}

/** A Node that {@link NOBODY} can run: version managers keep theirs in a home folder. */
export function stagedNode(folder: string, node: string): string {
  // By `env`, because setpriv still has root's capabilities at the moment that it executes something.
  const asNobody = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--', 'env', node, '--version']
  if (spawnSync('setpriv', asNobody).status === 0) return node
  const reachable = join(folder, 'node')
  if (!existsSync(reachable)) copyFileSync(node, reachable)
  return reachable
}

function copy(from: string, to: string): void {
  cpSync(from, to, { recursive: true, dereference: true })
}

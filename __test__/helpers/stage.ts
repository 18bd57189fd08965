import { execFileSync, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
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
    compile(
      files.filter((file) => extname(file) === '.ts'),
      base,
    )
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
  const options = ['--ignoreConfig', '--noCheck', '--target', 'es2022', '--module', 'nodenext', '--outDir', folder]
  execFileSync(`${root}node_modules/.bin/tsc`, [...options, source], { cwd: root, stdio: 'inherit' })
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

/** Types are checked by `npm run check`. */
function compile(files: readonly string[], folder: string): void {
  const options = [
    '--ignoreConfig',
    '--noCheck',
    '--target',
    'es2022',
    '--module',
    'nodenext',
    '--rootDir',
    root,
    '--outDir',
    folder,
  ]
  if (files.length > 0)
    execFileSync(`${root}node_modules/.bin/tsc`, [...options, ...files], { cwd: root, stdio: 'inherit' })
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

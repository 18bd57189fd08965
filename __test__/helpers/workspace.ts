import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The root of the repository, with a slash at its end. */
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** The programs in TypeScript that a page of the repository shows. */
export function programsOf(page: string): string[] {
  return [...readFileSync(`${root}${page}`, 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(
    ([, program]) => program as string,
  )
}

/** What a crate's manifest says, as cargo understands it. */
export interface Crate {
  name: string
  version: string
  manifest_path: string
  dependencies: Dependency[]
}

export interface Dependency {
  name: string
  /** `null` is a normal one. */
  kind: null | 'dev' | 'build'
  optional: boolean
  features: string[]
}

/** Every crate of the Cargo workspace. */
export function crates(): Crate[] {
  const json = execFileSync('cargo', ['metadata', '--no-deps', '--offline', '--format-version', '1'], {
    cwd: root,
    encoding: 'utf8',
  })
  return (JSON.parse(json) as { packages: Crate[] }).packages
}

export interface Manifest {
  name: string
  version: string
  scripts?: Record<string, string>
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  bundledDependencies?: string[]
}

/** The names of all crates that go into one, at any depth, with the features that it asks for. */
export function tree(crate: string): string[] {
  const args = ['tree', '--offline', '--package', crate, '--edges', 'normal', '--prefix', 'none', '--format', '{p}']
  const lines = execFileSync('cargo', args, { cwd: root, encoding: 'utf8' }).split('\n')
  return lines.flatMap((line) => line.split(' ', 1)).filter((name) => name !== '')
}

/** What an npm package's manifest says; `folder` is relative to the root. */
export function npmManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(`${root}${folder}/package.json`, 'utf8'))
}

/** A binary of each Node that is supported, the oldest first. */
export function nodes(): { version: number; path: string }[] {
  return Object.keys(npmManifest('__test__').devDependencies ?? {})
    .flatMap((name) => {
      const version = Number(name.match(/^node-(\d+)$/)?.[1])
      return version > 0 ? [{ version, path: `${root}__test__/node_modules/${name}/bin/node` }] : []
    })
    .sort((a, b) => a.version - b.version)
}

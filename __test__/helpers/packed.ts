import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { tarballs } from './installed.js'

/** What is in a tarball. */
export interface Unpacked {
  name: string
  folder: string
  /** Paths of all files, in order. */
  files: string[]
  manifest: Record<string, unknown> & { version: string }
}

/** Unpacks every tarball for the length of a test file, in the order of their names. */
export function unpacked(): Unpacked[] {
  const place = mkdtempSync(join(tmpdir(), 'xsknet-unpacked-'))
  test.after.always(() => rmSync(place, { recursive: true }))
  const found = tarballs().map((tarball, index) => {
    const parent = join(place, String(index))
    mkdirSync(parent)
    execFileSync('tar', ['-xzf', tarball, '-C', parent])
    const folder = join(parent, 'package')
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return { name: manifest.name as string, folder, files: filesIn(folder), manifest }
  })
  return found.sort((one, other) => (one.name < other.name ? -1 : 1))
}

/** The paths of all files in a folder, at any depth. */
export function filesIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  return entries
    .flatMap((entry) => (entry.isFile() ? [join(entry.parentPath, entry.name).slice(folder.length + 1)] : []))
    .sort()
}

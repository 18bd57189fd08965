// How every script calls cargo. napi always names the target, and naming it too lets all builds share one cache.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { must, output, root, Stop } from './run.mjs'

/** The target triple of this machine, such as `x86_64-unknown-linux-gnu`. */
export function hostTriple() {
  const triple = output('rustc', ['-vV'])?.match(/^host: (.+)$/m)?.[1]
  if (!triple) throw new Stop('`rustc -vV` does not print its host: is Rust installed? https://rustup.rs')
  return triple
}

/** The options that every cargo build here has in common. */
export const release = () => ['--release', '--target', hostTriple()]

export const cargoHome = () => process.env.CARGO_HOME ?? join(homedir(), '.cargo')

const CONFIG = `${root}.cargo/config.toml`

/**
 * Makes rustc write no path of this machine into what it compiles, nor the host of a registry, after which cargo names
 * a folder. In cargo's own configuration, so that cargo called by hand builds the same and one cache serves both.
 */
export async function configureCargo() {
  const sources = join(cargoHome(), 'registry/src')
  if (!existsSync(sources)) await must('cargo', ['fetch', '--locked', '--target', hostTriple()])
  const sysroot = output('rustc', ['--print', 'sysroot'])?.trim() ?? ''
  // Where several fit, the last one counts.
  const places = [
    [sysroot, '/rust'],
    [cargoHome(), '/cargo'],
    ...readdirSync(sources).map((registry) => [join(sources, registry), '/crates']),
    [root.slice(0, -1), '/xsknet'],
  ]
  const flags = places.map(([from, to]) => `--remap-path-prefix=${from}=${to}`)
  // cargo does not look into its configuration where the environment has flags.
  if (process.env.RUSTFLAGS) process.env.RUSTFLAGS += ` ${flags.join(' ')}`

  const list = JSON.stringify(flags, undefined, 2)
  const text = `# Made by \`npm run setup\`.\n[target.${hostTriple()}]\nrustflags = ${list}\n`
  if (existsSync(CONFIG) && readFileSync(CONFIG, 'utf8') === text) return
  mkdirSync(`${root}.cargo`, { recursive: true })
  writeFileSync(CONFIG, text)
}

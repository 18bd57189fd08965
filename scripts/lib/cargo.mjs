// How every script calls cargo. napi always names the target, and naming it too lets all builds share one cache.
import { output, Stop } from './run.mjs'

/** The target triple of this machine, such as `x86_64-unknown-linux-gnu`. */
export function hostTriple() {
  const triple = output('rustc', ['-vV'])?.match(/^host: (.+)$/m)?.[1]
  if (!triple) throw new Stop('rustc does not tell its host: is Rust installed? https://rustup.rs')
  return triple
}

/** The options that every cargo build here has in common. */
export const release = () => ['--release', '--target', hostTriple()]

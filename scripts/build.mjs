// Builds the npm packages, each binding before its package, because TypeScript reads the types that it generates; and
// the lab and other programs in Rust that tests and the demo run.
import { chmodSync } from 'node:fs'
import { release } from './lib/cargo.mjs'
import { installed, isMain, main, must, root } from './lib/run.mjs'
import { setup } from './setup.mjs'

export async function build() {
  await buildPackages()
  // Of the whole workspace, as its tests are built: other features would compile all below the examples once more.
  await must('cargo', ['build', '--quiet', ...release(), '--workspace', '--examples'])
}

export async function buildPackages() {
  for (const name of ['xsknet', 'xsknetd']) {
    const cwd = `${root}packages/${name}`
    const manifest = `../../crates/node-${name}/Cargo.toml`
    const files = ['--output-dir', 'native', '--no-js', '--dts', 'binding.d.ts']
    await must(installed('napi'), ['build', '--platform', '--release', '--manifest-path', manifest, ...files], { cwd })
    await must(installed('tsc'), ['-p', cwd])
  }
  chmodSync(`${root}packages/xsknetd/dist/cli.js`, 0o755) // as npm does where it installs a package
}

if (isMain(import.meta.url)) {
  await main(async () => {
    await setup()
    await build()
  })
}

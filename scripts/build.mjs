// Builds the npm packages: the binding first, because TypeScript reads the types that it generates.
import { installed, isMain, main, must, root } from './lib/run.mjs'
import { setup } from './setup.mjs'

export async function build() {
  const xsknet = `${root}packages/xsknet`
  const manifest = '../../crates/node-xsknet/Cargo.toml'
  const files = ['--output-dir', 'native', '--no-js', '--dts', 'binding.d.ts']
  await must(installed('napi'), ['build', '--platform', '--release', '--manifest-path', manifest, ...files], { cwd: xsknet })
  await must(installed('tsc'), ['-p', xsknet])
}

if (isMain(import.meta.url)) {
  await main(async () => {
    await setup()
    await build()
  })
}

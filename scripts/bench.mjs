// npm run bench: prepares the machine, builds, and runs bench/main.ts with all that follows `--`.
import { copyFileSync, mkdirSync } from 'node:fs'
import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { missingForBench } from './lib/host.mjs'
import { inTypeScript, main, must, root, run } from './lib/run.mjs'
import { install, setup } from './setup.mjs'

await main(async () => {
  await setup()
  await install(missingForBench)
  await build()
  await buildLoopback()
  return run(process.execPath, inTypeScript('bench/main.ts', ...process.argv.slice(2)))
})

/** The client's binding with a socket in plain memory, which no package has. */
async function buildLoopback() {
  await must('cargo', ['build', '--quiet', ...release(), '-p', 'xsknet-node', '--features', 'loopback'])
  const target = process.env.CARGO_TARGET_DIR ?? `${root}target`
  mkdirSync(`${target}/bench`, { recursive: true })
  const [, machine] = release()
    .join(' ')
    .match(/--target (\S+)/)
  copyFileSync(`${target}/${machine}/release/libxsknet_node.so`, `${target}/bench/loopback.node`)
}

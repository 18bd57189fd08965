// npm run bench: prepares the machine, builds, and runs bench/main.ts with all that follows `--`.
import { build } from './build.mjs'
import { missingForBench } from './lib/host.mjs'
import { inTypeScript, main, run } from './lib/run.mjs'
import { install, setup } from './setup.mjs'

await main(async () => {
  await setup()
  await install(missingForBench)
  await build()
  return run(process.execPath, inTypeScript('bench/main.ts', ...process.argv.slice(2)))
})

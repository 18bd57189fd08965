// npm start: the demo. What follows `--` goes to it, signals reach it, and its exit code is ours.
import { build } from './build.mjs'
import { inTypeScript, main, run } from './lib/run.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  await setup()
  console.log('\nBuilding. The first build takes some minutes, later ones seconds.')
  await build()
  return run(process.execPath, inTypeScript('scripts/demo/main.ts', ...process.argv.slice(2)))
})

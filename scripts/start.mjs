// npm start: the demo. What follows `--` goes to it, signals reach it, and its exit code is ours.
import { release } from './lib/cargo.mjs'
import { main, must, run } from './lib/run.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  await setup()
  const demo = [...release(), '-p', 'xsknet-port', '--example', 'demo']
  console.log('\nBuilding the demo. The first build takes some minutes, later ones seconds.')
  await must('cargo', ['build', ...demo])
  return run('cargo', ['run', '--quiet', ...demo, '--', ...process.argv.slice(2)])
})

// npm run check: formats, lints and types of everything. `npm run check -- --fix` repairs what can be repaired.
import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { installed, main, run } from './lib/run.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  const fix = process.argv.includes('--fix')
  await setup()
  await build()

  const checks = [
    ['cargo', 'fmt', '--all', ...(fix ? [] : ['--check'])],
    ['cargo', 'clippy', '--workspace', '--all-targets', ...release(), '--', '-D', 'warnings'],
    [installed('biome'), 'check', '--error-on-warnings', ...(fix ? ['--write'] : []), '.'],
    [installed('tsc'), '--noEmit'],
  ]
  const failed = []
  for (const [command, ...args] of checks) {
    if ((await run(command, args)) !== 0) failed.push(`${command.split('/').at(-1)} ${args[0]}`)
  }
  console.log(failed.length > 0 ? `\nnot clean: ${failed.join(', ')}` : '\nclean')
  return failed.length > 0 ? 1 : 0
})

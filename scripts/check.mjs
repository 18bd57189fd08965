// npm run check: formats, lints, types and the lengths of lines. `npm run check -- --fix` repairs what can be repaired.
import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { tooLongLines } from './lib/columns.mjs'
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
  const lines = tooLongLines()
  for (const line of lines) console.log(line)
  if (lines.length > 0) failed.push(`${lines.length} lines of more than 120 columns`)
  console.log(failed.length > 0 ? `\nnot clean: ${failed.join(', ')}` : '\nclean')
  return failed.length > 0 ? 1 : 0
})

// npm test: set-up, build, the tests of every crate, the tests in __test__; the last line is their sum.
// `npm test -- cargo` or `npm test -- ava` runs one half.

import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { installed, main, run, Stop } from './lib/run.mjs'
import { cargoTests, Tally, tapTests } from './lib/tally.mjs'
import { setup } from './setup.mjs'

const halves = { cargo, ava }

await main(async () => {
  const chosen = process.argv.slice(2)
  const stranger = chosen.find((half) => !Object.hasOwn(halves, half))
  if (stranger) throw new Stop(`npm test knows \`cargo\` and \`ava\`, not \`${stranger}\``)

  const tally = new Tally()
  try {
    await setup()
    for (const half of chosen.length > 0 ? chosen : Object.keys(halves)) await halves[half](tally)
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    tally.fail(error.message)
  }
  return tally.end()
})

async function cargo(tally) {
  let text = ''
  // One at a time: a kernel test builds devices and programs of its own and judges by their counters and by time.
  const args = ['test', '--workspace', '--no-fail-fast', ...release(), '--', '--test-threads=1']
  const code = await run('cargo', args, { onStdout: (chunk) => (text += chunk) })
  tally.add('cargo test', code, cargoTests(text))
}

async function ava(tally) {
  let text = ''
  await build()
  const code = await run(installed('ava'), ['--tap'], { onStdout: (chunk) => (text += chunk) })
  tally.add('ava', code, tapTests(text))
}

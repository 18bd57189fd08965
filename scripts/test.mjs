// npm test: set-up, build, the tests of every crate, the tests in __test__ on each Node; the last line is their sum.
// `npm test -- cargo` or `npm test -- ava` runs one half.

import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { main, output, root, run, Stop } from './lib/run.mjs'
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
  await build()
  const nodes = [process.execPath, `${root}__test__/node_modules/node-22/bin/node`]
  for (const [version, node] of new Map(nodes.map((node) => [majorOf(node), node]))) {
    let text = ''
    // One at a time, for the same reason.
    const args = [`${root}node_modules/ava/entrypoints/cli.mjs`, '--tap', '--serial']
    const code = await run(node, args, { onStdout: (chunk) => (text += chunk) })
    tally.add(`ava on Node ${version}`, code, tapTests(text))
  }
}

function majorOf(node) {
  const major = output(node, ['--version'])?.match(/\d+/)?.[0]
  if (!major) throw new Stop(`${node} does not tell its version`)
  return major
}

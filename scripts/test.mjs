// npm test: set-up, build, the tests of every crate, the packages, the tests in __test__ on this Node, and those that use a
// binding on every other one; the last line is the sum. `npm test -- cargo` or `npm test -- ava` runs one half.

import { readFileSync } from 'node:fs'
import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { main, output, root, run, Stop } from './lib/run.mjs'
import { cargoTests, Tally, tapTests } from './lib/tally.mjs'
import { pack } from './pack.mjs'
import { setup } from './setup.mjs'

const halves = { cargo, ava }

/** A binary of each Node that is supported, by its major version. */
const NODES = Object.keys(JSON.parse(readFileSync(`${root}__test__/package.json`, 'utf8')).devDependencies).flatMap((name) => {
  const version = name.match(/^node-(\d+)$/)?.[1]
  return version ? [[version, `${root}__test__/node_modules/${name}/bin/node`]] : []
})

/** What each of them runs beside the one that runs everything: all the rest is the same JavaScript everywhere. */
const BINDING = ['unit/native', 'unit/connect', 'unit/descriptors', 'kernel/ways'].map((name) => `__test__/${name}.test.ts`)

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
  const code = await run('cargo', args, {
    onStdout: (chunk) => {
      text += chunk
      tally.timings.hear(chunk)
    },
  })
  tally.add('cargo test', code, cargoTests(text))
}

async function ava(tally) {
  await build()
  await pack()
  const own = process.versions.node.split('.')[0]
  await avaOn(process.execPath, own, [], tally)
  for (const [version, node] of NODES) if (version !== own) await avaOn(node, version, BINDING, tally)
}

/** @param {string[]} files Some of the tests; all of them if empty. */
async function avaOn(node, version, files, tally) {
  const found = output(node, ['--version'])
  if (!found?.startsWith(`v${version}.`)) throw new Stop(`${node} is no Node ${version}: it says ${found?.trim() ?? 'nothing'}`)
  const began = performance.now()
  let text = ''
  // One at a time: a kernel test judges by counters and by time.
  const args = [`${root}node_modules/ava/entrypoints/cli.mjs`, '--tap', '--serial', ...files]
  const code = await run(node, args, {
    onStdout: (chunk) => {
      text += chunk
      tally.timings.hear(chunk)
    },
  })
  const seconds = Math.round((performance.now() - began) / 1000)
  tally.add(`ava ${files.length === 0 ? 'on' : 'with the binding on'} Node ${found.trim()}, ${seconds} s`, code, tapTests(text))
}

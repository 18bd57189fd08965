// npm test: set-up, build, the tests of every crate, of the packages and in __test__ on this Node, and those that use a
// binding on every other one; the last line is the sum. `npm test -- cargo`, `-- pure` or `-- kernel` runs one part.
//
// Kernel tests judge by counters and by time, so they run one at a time. They mostly wait for the kernel, so that what
// needs no kernel (builds, packing, pure tests) runs beside those of the crates, at a lower priority.

import { readFileSync } from 'node:fs'
import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { inSeconds, main, output, root, run, Stop } from './lib/run.mjs'
import { cargoTests, Tally, tapTests } from './lib/tally.mjs'
import { pack } from './pack.mjs'
import { setup } from './setup.mjs'

const parts = { cargo: [compile, cargo], pure: [build, pack, pure], kernel: [build, pack, kernel] }
const everything = [compile, cargoBesidePure, kernel]

/** The folders of tests that make no device and start no daemon. */
const PURE = ['__test__/unit', '__test__/types', '__test__/packed']
const KERNEL = ['__test__/kernel']

/** What runs on each other Node that is supported: all the rest is the same JavaScript everywhere. */
const BINDING = {
  pure: ['native', 'connect', 'descriptors'].map((name) => `__test__/unit/${name}.test.ts`),
  kernel: ['__test__/kernel/port-kinds.test.ts'],
}

/** A binary of each Node that is supported, by its major version, but this one. */
const OTHER_NODES = Object.keys(
  JSON.parse(readFileSync(`${root}__test__/package.json`, 'utf8')).devDependencies,
).flatMap((name) => {
  const version = name.match(/^node-(\d+)$/)?.[1]
  const other = version && version !== process.versions.node.split('.')[0]
  return other ? [[version, `${root}__test__/node_modules/${name}/bin/node`]] : []
})

await main(async () => {
  const chosen = process.argv.slice(2)
  const unknown = chosen.find((part) => !Object.hasOwn(parts, part))
  if (unknown) throw new Stop(`npm test knows ${Object.keys(parts).join(', ')}, not \`${unknown}\``)

  const tally = new Tally()
  try {
    for (const step of [setup, ...(chosen.length > 0 ? chosen.flatMap((part) => parts[part]) : everything)]) {
      const began = performance.now()
      await step(tally)
      tally.stages.push([step.name, inSeconds(began)])
    }
  } catch (error) {
    if (!(error instanceof Stop)) throw error
    tally.fail(error.message)
  }
  return tally.end()
})

async function compile() {
  const code = await run('cargo', ['test', '--workspace', '--no-run', ...release()])
  if (code !== 0) throw new Stop(`the Rust tests do not compile: cargo ended with exit code ${code}`)
}

async function cargo(tally) {
  await counted(tally, 'cargo test', cargoTests, 'cargo', [
    ...['test', '--workspace', '--no-fail-fast', ...release()],
    ...['--', '--test-threads=1'],
  ])
}

async function cargoBesidePure(tally) {
  const script = [`${root}scripts/test.mjs`, 'pure']
  const aside = counted(tally, 'pure tests', tapTests, 'nice', ['-n', '10', process.execPath, ...script], {
    aside: true,
  })
  const [, ended] = await Promise.allSettled([cargo(tally), aside])
  if (ended.status === 'rejected') throw ended.reason
}

async function pure(tally) {
  await ava(tally, process.execPath, 'pure', PURE)
  for (const [version, node] of OTHER_NODES) await ava(tally, node, `pure, Node ${version}`, BINDING.pure)
}

async function kernel(tally) {
  await ava(tally, process.execPath, 'kernel', KERNEL)
  for (const [version, node] of OTHER_NODES) await ava(tally, node, `kernel, Node ${version}`, BINDING.kernel)
}

/** @param {string[]} files Folders and files of tests. */
async function ava(tally, node, what, files) {
  if (!output(node, ['--version'])) throw new Stop(`${node} does not start`)
  await counted(tally, `ava, ${what}`, tapTests, node, [
    ...[`${root}node_modules/ava/entrypoints/cli.mjs`, '--tap', '--serial'],
    ...files,
  ])
}

async function counted(tally, name, read, command, args, options = {}) {
  const began = performance.now()
  const timings = tally.timings()
  let text = ''
  const code = await run(command, args, {
    ...options,
    onStdout: (chunk) => {
      text += chunk
      timings.hear(chunk)
    },
  })
  tally.add(`${name}, ${inSeconds(began)} s`, code, read(text))
}

// npm test: set-up, build, the tests of every crate, of the packages and in __test__ on this Node, and those that use a
// binding on every other one; the last line is the sum. `npm test -- cargo`, `-- pure` or `-- kernel` runs one part.
//
// Kernel tests mostly wait for the kernel, so two of them run at a time, and pure tests beside them at the lowest
// priority. What judges others by time runs alone at the end.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { build } from './build.mjs'
import { hostTriple, release } from './lib/cargo.mjs'
import { inSeconds, main, output, root, run, Stop } from './lib/run.mjs'
import { cargoTests, Tally, tapTests } from './lib/tally.mjs'
import { pack } from './pack.mjs'
import { setup } from './setup.mjs'

const parts = { cargo: [compile, cargo], pure: [build, pack, pure], kernel: [build, pack, kernel] }
const everything = [compile, build, pack, sideBySide, alone]

/** The folders of tests that make no device and start no daemon. */
const PURE = ['__test__/unit', '__test__/types', '__test__/packed']
const KERNEL = '__test__/kernel'

/** Of the kernel tests, those that judge by CPU time, or by how long others wait. */
const ALONE = ['attack', 'fair', 'idle'].map((name) => `${KERNEL}/${name}.test.ts`)

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

async function cargo(tally, options) {
  const words = ['test', '--workspace', '--no-fail-fast', ...release(), '--', '--test-threads=1']
  await counted(tally, 'cargo test', cargoTests, 'cargo', words, options)
}

async function pure(tally, options) {
  await ava(tally, process.execPath, 'pure', PURE, options)
  for (const [version, node] of OTHER_NODES) await ava(tally, node, `pure, Node ${version}`, BINDING.pure, options)
}

async function kernel(tally) {
  for (const job of kernelTests()) await job(tally)
  await alone(tally)
}

/** One job a file, and one a Node: a lane takes the next one when it has ended the one before. */
function kernelTests() {
  const files = readdirSync(root + KERNEL).map((name) => `${KERNEL}/${name}`)
  return [
    ...files.filter((file) => !ALONE.includes(file)).map(kernelJob),
    ...OTHER_NODES.map(([version, node]) => {
      return (tally, options) => ava(tally, node, `kernel, Node ${version}`, BINDING.kernel, options)
    }),
  ]
}

function kernelJob(file) {
  return (tally, options) => ava(tally, process.execPath, 'kernel', [file], options)
}

async function sideBySide(tally) {
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-beside-'))
  const left = join(folder, 'left')
  const options = { aside: true, env: { XSKNET_BESIDE_TESTS: left } }
  const jobs = kernelTests()
  const lane = async () => {
    for (let job = jobs.shift(); job; job = jobs.shift()) await job(tally, options)
  }
  try {
    const lanes = [cargo(tally, options).then(lane), lane(), pure(tally, { ...options, nice: true })]
    const ended = await Promise.allSettled(lanes)
    for (const { reason } of ended) if (reason) throw reason
    // What a test saw of BPF objects may have been those of the test beside it. Now nothing of either may be there.
    const leftBehind = `${root}target/${hostTriple()}/release/examples/left_behind`
    if ((await run(leftBehind, [left])) !== 0) tally.fail('tests left BPF objects behind: they are listed above')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function alone(tally) {
  for (const file of ALONE) await kernelJob(file)(tally)
}

/** @param {string[]} files Folders and files of tests. */
async function ava(tally, node, what, files, options) {
  if (!output(node, ['--version'])) throw new Stop(`${node} does not start`)
  const words = [`${root}node_modules/ava/entrypoints/cli.mjs`, '--tap', '--serial', ...files]
  const [file, ...others] = files
  const prefix = others.length === 0 && file.endsWith('.test.ts') ? `${basename(file, '.test.ts')} › ` : ''
  await counted(tally, `ava, ${what}`, (text) => tapTests(text, prefix), node, words, { ...options, prefix })
}

async function counted(tally, name, read, command, args, { nice = false, prefix, ...options } = {}) {
  const began = performance.now()
  const timings = tally.timings(prefix)
  let text = ''
  const [program, ...words] = nice ? ['nice', '-n', '19', command, ...args] : [command, ...args]
  const code = await run(program, words, {
    ...options,
    onStdout: (chunk) => {
      text += chunk
      timings.hear(chunk)
    },
  })
  tally.add(name, code, read(text), inSeconds(began))
}

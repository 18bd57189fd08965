// npm test: set-up, build, the tests of every crate, of the packages and in __test__ on this Node, and those that use a
// binding on every other one; the last line is the sum. `npm test -- cargo`, `-- pure` or `-- kernel` runs one part.
//
// Kernel tests mostly wait for the kernel. So two lanes of them run side by side, and beside both what needs no kernel
// (builds, packing, pure tests), at a lower priority. Those that judge by time, or by all that is on the machine, run
// at the end, alone.

import { readdirSync, readFileSync } from 'node:fs'
import { build } from './build.mjs'
import { release } from './lib/cargo.mjs'
import { inSeconds, main, must, output, root, run, Stop } from './lib/run.mjs'
import { cargoTests, Tally, tapTests } from './lib/tally.mjs'
import { pack } from './pack.mjs'
import { setup } from './setup.mjs'

const parts = { cargo: [compile, cargo], pure: [build, pack, pure], kernel: [build, pack, kernel] }
const everything = [compile, lanes, alone]

/** The folders of tests that make no device and start no daemon. */
const PURE = ['__test__/unit', '__test__/types', '__test__/packed']
const KERNEL = '__test__/kernel'

/** Kernel tests that judge by time, or by the names and mounts of the whole machine. */
const ALONE = ['attack', 'fair', 'idle', 'lab-command'].map((name) => `${KERNEL}/${name}.test.ts`)
const BESIDE_OTHERS = readdirSync(`${root}${KERNEL}`)
  .map((name) => `${KERNEL}/${name}`)
  .filter((file) => file.endsWith('.test.ts') && !ALONE.includes(file))

/** For what has to wait where the kernel tests want the processor. */
const NICE = ['nice', '-n', '10']

/** For mounts as on a machine that has just started, so that one lane does not see the instances of the other. */
const OWN_MOUNTS = ['unshare', '--mount', '--propagation', 'private', 'sh', `${root}scripts/lib/own-mounts.sh`]

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

async function cargo(tally, { through = [], ...options } = {}) {
  const command = ['cargo', 'test', '--workspace', '--no-fail-fast', ...release(), '--', '--test-threads=1']
  const [program, ...args] = [...through, ...command]
  await counted(tally, 'cargo test', cargoTests, program, args, options)
}

async function lanes(tally) {
  const [nice, ...args] = [...NICE, process.execPath, `${root}scripts/pack.mjs`]
  const packed = must(nice, args, { aside: true })
  const jobs = [
    ...BESIDE_OTHERS.map((file) => (options) => ava(tally, process.execPath, 'kernel', [file], options)),
    ...OTHER_NODES.map(([version, node]) => (options) => {
      return ava(tally, node, `kernel, Node ${version}`, BINDING.kernel, options)
    }),
  ]
  const work = async (lane) => {
    await packed
    for (let job = jobs.shift(); job; job = jobs.shift()) await job({ env: lane, aside: true })
  }
  const [first, second] = ['first', 'second'].map((name) => ({ XSKNET_TEST_LANE: `${process.pid}/${name}` }))
  const ended = await Promise.allSettled([
    cargo(tally, { env: first, through: OWN_MOUNTS }).then(() => work(first)),
    work(second),
    packed.then(() => pure(tally, { aside: true, through: NICE })),
  ])
  for (const { reason } of ended) if (reason) throw reason
}

async function pure(tally, options) {
  await ava(tally, process.execPath, 'pure', PURE, options)
  for (const [version, node] of OTHER_NODES) await ava(tally, node, `pure, Node ${version}`, BINDING.pure, options)
}

async function kernel(tally) {
  await ava(tally, process.execPath, 'kernel', [KERNEL])
  for (const [version, node] of OTHER_NODES) await ava(tally, node, `kernel, Node ${version}`, BINDING.kernel)
}

async function alone(tally) {
  await ava(tally, process.execPath, 'kernel', ALONE)
}

/**
 * @param {string[]} files Folders and files of tests.
 * @param {object} options Those of `run`, and the command that it goes `through`.
 */
async function ava(tally, node, what, files, { through = [], ...options } = {}) {
  if (!output(node, ['--version'])) throw new Stop(`${node} does not start`)
  const command = [node, `${root}node_modules/ava/entrypoints/cli.mjs`, '--tap', '--serial', ...files]
  const [program, ...args] = [...through, ...command]
  await counted(tally, `ava, ${what}`, tapTests, program, args, options)
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
  tally.add(name, inSeconds(began), code, read(text))
}

// npm run test:kernels: tries the packages in virtual machines, on other kernels and with the drivers of real NICs.
// docs/kernels.md describes it. `npm run test:kernels -- 6.12 igb veth` tries these alone.
import { build } from './build.mjs'
import { fetchLists } from './kernels/archive.mjs'
import { chooseKernels, fetchTools, makeKernel, makeSystem } from './kernels/image.mjs'
import { runMachine } from './kernels/machine.mjs'
import { judge, report } from './kernels/report.mjs'
import { drivers } from './kernels/table.mjs'
import { isMain, main, Stop } from './lib/run.mjs'
import { pack } from './pack.mjs'
import { setup } from './setup.mjs'

async function testKernels() {
  if (process.getuid() !== 0) throw new Stop('test:kernels takes root: it makes taps for the machines')
  const words = process.argv.slice(2)
  const named = drivers.filter(({ driver }) => words.includes(driver))
  const wanted = words.filter((word) => /^\d/.test(word))
  const strange = words.find((word) => !wanted.includes(word) && !named.some(({ driver }) => driver === word))
  if (strange)
    throw new Stop(
      `\`${strange}\` is neither a kernel, such as 6.12, nor one of ${drivers.map((each) => each.driver).join(', ')}`,
    )

  await setup()
  await build()
  await pack()
  return tryAll(wanted, named.length > 0 ? named : drivers)
}

/** Makes what is missing, and runs every driver on every kernel, one machine at a time. */
export async function tryAll(wanted, chosen) {
  fetchLists()
  fetchTools()
  const kernels = chooseKernels(wanted)
  if (kernels.length === 0)
    throw new Stop(
      `no such kernel; there are ${chooseKernels([])
        .map((each) => each.kernel)
        .join(', ')}`,
    )
  makeSystem()
  const runs = []
  for (const kernel of kernels) {
    const folder = makeKernel(kernel)
    for (const driver of chosen) runs.push(await tryOne({ ...kernel, folder }, driver))
  }
  console.log(`\n${report(runs)}`)
  const unexpected = runs.flatMap((run) => run.unexpected).length
  const tried = runs.flatMap((run) => run.steps).length
  console.log(`\n${tried} steps, ${unexpected} failed that should not`)
  return unexpected > 0 ? 1 : 0
}

async function tryOne(kernel, driver) {
  console.log(`\nLinux ${kernel.version}, ${driver.driver}`)
  const steps = []
  let ended = false
  await runMachine(kernel, driver, (line) => {
    if (line === 'end') ended = true
    if (!line.startsWith('step|')) return
    const [, mode, step, verdict, seconds, ...text] = line.split('|')
    steps.push({ mode, step, failed: verdict !== 'pass', text: text.join('|') })
    console.log(`${seconds.padStart(7)}  ${mode.padEnd(11)}  ${verdict === 'pass' ? '  ok' : 'FAIL'}  ${step}`)
    if (verdict !== 'pass') console.log(`         ${text.join('|')}`)
  })
  if (!ended) steps.push({ mode: '-', step: 'end', failed: true, text: 'the machine ended before its steps did' })
  return judge(kernel.kernel, driver.driver, steps)
}

if (isMain(import.meta.url)) await main(testKernels)

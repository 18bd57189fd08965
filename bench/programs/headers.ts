// Prints, as JSON, nanoseconds a call of every reader, answer and builder of `xsknet/headers`: in the quietest of some
// stretches. Run by the Node that is measured.
import { answers, builders, copies, type HeaderCalls, readers } from '../../__test__/helpers/header-calls.js'

const STRETCHES = 15
const CALLS = 100_000

/**
 * Nanoseconds a call. The compilers need the first calls to make up their minds; what disturbs a stretch is no cost of
 * theirs.
 */
function timed(run: (times: number) => unknown): number {
  for (let warmUp = 0; warmUp < 5; warmUp++) run(CALLS)
  const times = Array.from({ length: STRETCHES }, () => {
    const began = process.hrtime.bigint()
    run(CALLS)
    return Number(process.hrtime.bigint() - began) / CALLS
  })
  return Math.min(...times)
}

const nanoseconds = ({ name, run }: HeaderCalls): [string, number] => [name, timed(run)]
const withoutCopy = ({ name, run, packet }: HeaderCalls): [string, number] => {
  return [name, Math.max(0, timed(run) - timed((times) => copies(packet, times)))]
}
const all = [...readers.map(nanoseconds), ...answers.map(withoutCopy), ...builders.map(nanoseconds)]
console.log(JSON.stringify(Object.fromEntries(all)))

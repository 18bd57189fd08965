// What a packet costs beside time: instructions and system calls. Both are counted in runs of their own, since counting disturbs.
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { Program } from '../__test__/helpers/program.js'
import { MEASURED } from './place.js'
import { compiled } from './programs.js'

/** What a thread executed; `kernel` is unknown where the machine cannot count. */
export interface Instructions {
  user: number
  kernel: number | undefined
}

/** Runs something that handles so many packets, and says how many those were. */
type Run = (packets: number) => Promise<number>

/** Milliseconds that a run may take whose instructions are counted one by one. */
const PATIENCE = 60_000

type Counted = Instructions & { packets: number }

let counters: boolean | undefined

/** Whether the machine has counters of instructions: many virtual ones have none. */
export function hasCounters(): boolean {
  counters ??= /^\d/.test(spawnSync('perf', ['stat', '-x,', '-e', 'instructions:u', 'true'], { encoding: 'utf8' }).stderr ?? '')
  return counters
}

/**
 * Instructions a packet, by the difference of a longer and a shorter run, so that what a run costs beside its packets counts for
 * nothing. `perf stat` counts where the machine can, else the thread is sent through its instructions one by one, which takes a
 * microsecond or more each: so there are few packets then. `nudge` has the thread do next to nothing.
 */
export async function instructionsPerPacket(thread: number, run: Run, nudge: () => Promise<unknown>): Promise<Instructions> {
  const [few, many] = hasCounters() ? [100_000, 1_100_000] : [256, 4_352]
  const count = hasCounters() ? counted : stepped
  await run(few)
  const short = await count(thread, () => run(few), nudge)
  const long = await count(thread, () => run(many), nudge)
  const packets = long.packets - short.packets
  const per = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined ? undefined : (a - b) / packets
  return { user: (long.user - short.user) / packets, kernel: per(long.kernel, short.kernel) }
}

async function counted(thread: number, run: () => Promise<number>): Promise<Counted> {
  const perf = new Program(['perf', 'stat', '-x,', '-e', 'instructions:u,instructions:k', '-t', `${thread}`])
  await new Promise((settle) => setTimeout(settle, 200)) // perf does not say when it has begun
  const packets = await run()
  await perf.stop('SIGINT')
  const value = (event: string) => Number(perf.lines.find((line) => line.includes(event))?.split(',')[0])
  return { packets, user: value('instructions:u'), kernel: value('instructions:k') }
}

async function stepped(thread: number, run: () => Promise<number>, nudge: () => Promise<unknown>): Promise<Counted> {
  const steps = new Program(['taskset', '-c', `${MEASURED}`, compiled('steps'), `${thread}`])
  await steps.waitFor(/^counting$/)
  // On a busy machine it may take for ever: then the thread goes on as it will, and nothing is known of it.
  let late: Promise<unknown> | undefined
  const timer = setTimeout(() => {
    late = steps.endInput()
  }, PATIENCE)
  const packets = await run()
  clearTimeout(timer)
  const ended = late ?? steps.endInput()
  await nudge()
  await ended
  return { packets, user: late ? Number.NaN : Number(await steps.waitFor(/^\d+$/)), kernel: undefined }
}

/** System calls a packet of all threads of a process, by name, the most frequent first. */
export async function systemCallsPerPacket(pid: number, run: () => Promise<number>): Promise<{ all: number; names: string }> {
  const file = `/tmp/xsknet-bench-${process.pid}-strace`
  const strace = new Program(['strace', '-c', '-f', '-S', 'calls', '-o', file, '-p', `${pid}`])
  try {
    await strace.waitFor(/attached/)
    const packets = await run()
    await strace.stop('SIGINT')
    const calls = readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const [, number, name] = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)\s*$/.exec(line) ?? []
        return name && name !== 'total' ? [{ name, number: Number(number) }] : []
      })
    const all = calls.reduce((sum, { number }) => sum + number, 0) / packets
    const names = calls.slice(0, 3).map(({ name, number }) => `${name} ${perPacket(number / packets)}`)
    return { all, names: names.join(', ') }
  } finally {
    if (strace.running) await strace.kill()
    rmSync(file, { force: true })
  }
}

/** Such as `0.0079`, or `1 / 128` packets. */
export function perPacket(calls: number): string {
  if (calls === 0) return '0'
  return calls < 0.1 ? `1/${Math.round(1 / calls)}` : calls.toFixed(2)
}

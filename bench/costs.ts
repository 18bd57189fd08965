// What a packet costs beside time: instructions and system calls. Both are counted in runs of their own, since counting
// disturbs.
import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { Program } from '../__test__/helpers/program.js'
import { MEASURED } from './place.js'
import type { Order, Result } from './programs/watch.js'
import { compiled } from './programs.js'

/** What a thread executed; `kernel` is unknown where the machine cannot count. */
export interface Instructions {
  user: number
  kernel: number | undefined
}

/** Handles packets as it is told to. */
type Run = (order: Order) => Promise<Pick<Result, 'frames' | 'sent' | 'marked'>>

/** Milliseconds that a run may take whose instructions are counted one by one. */
const PATIENCE = 60_000

/** Packets until a loop is compiled as it will stay. */
const WARM = 1 << 20

type Counted = Instructions & { packets: number }

let counters: boolean | undefined

/** Whether the machine has counters of instructions: many virtual ones have none. */
export function hasCounters(): boolean {
  counters ??= /^\d/.test(
    spawnSync('perf', ['stat', '-x,', '-e', 'instructions:u', 'true'], { encoding: 'utf8' }).stderr ?? '',
  )
  return counters
}

/**
 * Instructions a packet, by the difference of a longer and a shorter run, so that what a run costs beside its packets
 * counts for nothing. `perf stat` counts where the machine can, else the thread is sent through its instructions one by
 * one, which takes some twenty microseconds each: so there are few packets then, after many that are not counted.
 *
 * @param atLeast Packets that a run handles at least. /
 */
export async function instructionsPerPacket(thread: number, run: Run, atLeast = 256): Promise<Instructions> {
  const [few, many] = hasCounters() ? [100_000, 1_100_000] : [atLeast, atLeast + Math.max(512, atLeast)]
  const count = hasCounters() ? counted : stepped
  const short = await least(() => count(thread, run, few))
  const long = await least(() => count(thread, run, many))
  const packets = long.packets - short.packets
  const per = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined ? undefined : (a - b) / packets
  return { user: (long.user - short.user) / packets, kernel: per(long.kernel, short.kernel) }
}

/** The lesser of two counts: what comes between, a compiler or a collection, only adds. */
async function least(count: () => Promise<Counted>): Promise<Counted> {
  const [one, other] = [await count(), await count()]
  return one.user / one.packets < other.user / other.packets ? one : other
}

async function counted(thread: number, run: Run, frames: number): Promise<Counted> {
  await run({ frames: WARM })
  const perf = new Program(['perf', 'stat', '-x,', '-e', 'instructions:u,instructions:k', '-t', `${thread}`])
  await new Promise((settle) => setTimeout(settle, 200)) // perf does not say when it has begun
  const packets = handled(await run({ frames }))
  await perf.stop('SIGINT')
  const value = (event: string) => Number(perf.lines.find((line) => line.includes(event))?.split(',')[0])
  return { packets, user: value('instructions:u'), kernel: value('instructions:k') }
}

/** In the midst of a run, because a loop that begins is not the one that was compiled. */
async function stepped(thread: number, run: Run, frames: number): Promise<Counted> {
  const steps = new Program(['taskset', '-c', `${MEASURED}`, compiled('steps'), `${thread}`])
  await steps.waitFor(/^waiting$/)
  // On a busy machine it may take for ever: then the thread goes on as it will, and nothing is known of it.
  let late: Promise<unknown> | undefined
  const timer = setTimeout(() => {
    late = steps.endInput()
  }, PATIENCE)
  const result = await run({ mark: WARM, frames: WARM + frames })
  clearTimeout(timer)
  await late
  const user = late ? Number.NaN : Number(await steps.waitFor(/^\d+$/))
  return { packets: handled(result) - result.marked, user, kernel: undefined }
}

/** A loop receives, or sends, or both alike. */
const handled = ({ frames, sent = 0 }: { frames: number; sent?: number }) => Math.max(frames, sent)

/** What of them is about packets, and not the engine's memory and threads. */
const PACKETS = new Set([
  'sendto',
  'sendmsg',
  'recvfrom',
  'recvmsg',
  'poll',
  'ppoll',
  'epoll_pwait',
  'epoll_wait',
  'read',
  'write',
])

/** System calls a packet of all threads of a process: all, those about packets, and the most frequent by name. */
export async function systemCallsPerPacket(
  pid: number,
  run: () => Promise<Pick<Result, 'frames' | 'sent'>>,
): Promise<{ all: number; about: number; names: string }> {
  const file = `/tmp/xsknet-bench-${process.pid}-strace`
  const strace = new Program(['strace', '-c', '-f', '-S', 'calls', '-o', file, '-p', `${pid}`])
  try {
    await strace.waitFor(/attached/)
    const packets = handled(await run())
    await strace.stop('SIGINT')
    const calls = readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const [, number, name] = /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)\s*$/.exec(line) ?? []
        return name && name !== 'total' ? [{ name, number: Number(number) }] : []
      })
    const sum = (some: typeof calls) => some.reduce((total, { number }) => total + number, 0) / packets
    const about = sum(calls.filter(({ name }) => PACKETS.has(name)))
    const names = calls.slice(0, 3).map(({ name, number }) => `${name} ${perPacket(number / packets)}`)
    return { all: sum(calls), about, names: names.join(', ') }
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

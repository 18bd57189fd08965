import { readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from './client.js'
import { Daemon, NOBODY } from './daemon.js'
import { examples } from './examples.js'
import { CARD, Lab, type Owner, portAddresses } from './lab.js'
import { waitUntil } from './program.js'
import { root } from './workspace.js'

const cli = `${root}packages/xsknetd/dist/cli.js`

export interface FuzzOptions {
  seconds: number
  seed: number
}

/** What came of sending nonsense to a daemon that runs. */
export interface FuzzReport {
  connections: number
  messages: number
  /** How often which code came as an answer. */
  answers: Record<string, number>
  /** What was against the protocol, or left over. */
  faults: string[]
  /** Milliseconds that somebody else's requests took meanwhile. */
  others: { asked: number; median: number; late: number; slowest: number }
  /** Bytes that the daemon has more than before, after its garbage was collected. */
  growth: Memory
}

interface Memory {
  heap: number
  external: number
  rss: number
}

/** Milliseconds within which others should be answered. */
const LATE = 100

const OTHER = 1001
const STRANGER = 1002

/**
 * {@link NOBODY} may have something, so that its requests get far; {@link OTHER} is decent; {@link STRANGER} may have
 * nothing.
 */
const config = [
  { user: NOBODY, addresses: ['192.0.2.10', '192.0.2.11', '2001:db8::10/124', '2001:db8::1:0/112'] },
  { user: OTHER, addresses: ['192.0.2.12'] },
]
  .map(({ user, addresses }) => {
    return (
      `[[grant]]\nuser = ${user}\nuplinks = ["${CARD}"]\naddresses = ${JSON.stringify(addresses)}\nports = ` +
      '6\nmemory = "48MiB"\npinned = true\nbusyPoll = true\nhugePages = true\nbpfRings = true\n'
    )
  })
  .join('')

/** Has a daemon tell its memory at SIGUSR2, without its garbage. */
const TELL_MEMORY = `
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')
process.on('SIGUSR2', () => {
  gc()
  const { heapUsed: heap, external, rss } = process.memoryUsage()
  console.error('memory', JSON.stringify({ heap, external, rss }))
})
`

/**
 * Clients without manners against a daemon, for so long, beside one that has some. The machine is as before at the end.
 */
export async function fuzz(owner: Owner, { seconds, seed }: FuzzOptions): Promise<FuzzReport> {
  const lab = await Lab.create(owner)
  await lab.snapshot()
  const daemon = await startTelling(lab)
  const other = await connected(lab, daemon, OTHER)
  await other.ask({ do: 'open', uplink: CARD, addresses: ['192.0.2.12'] })

  const faults: string[] = []
  const nobody = Client.start(lab, FUZZER, { socket: daemon.socket })
  const stranger = Client.start(lab, FUZZER, { socket: daemon.socket, uid: STRANGER })
  const round = (seconds: number, seed: number) =>
    Promise.all([
      nobody.ask<Fuzzed>({ do: 'fuzz', ...orders(daemon), seconds, seed, parallel: 12 }),
      stranger.ask<Fuzzed>({ do: 'fuzz', ...orders(daemon), seconds, seed: seed ^ 0x8000_0000, parallel: 4 }),
    ])

  // What grows once does not count: code, caches, the pools of threads.
  await round(Math.min(5, seconds / 4), seed + 1_000_000_000)
  await quiet(daemon)
  const before = await left(lab, daemon)
  const memoryBefore = await memory(daemon)

  const asking = new AbortController()
  const times = timed(other, asking.signal)
  const fuzzed = await round(seconds, seed)
  asking.abort()
  const others = await times

  await quiet(daemon).catch((error: Error) => faults.push(error.message))
  const settled = async () => difference(before, await left(lab, daemon)).length === 0
  await waitUntil('as before', settled).catch(async () => faults.push(...difference(before, await left(lab, daemon))))
  const memoryAfter = await memory(daemon)
  if (daemon.program.lines.some((line) => / uncaught /.test(line)))
    faults.push('the daemon logged an error that nobody foresaw')

  const { code, signal } = await daemon.stop()
  if (code !== 0) faults.push(`the daemon ended with ${signal ?? code}`)
  faults.push(...fuzzed.flatMap(({ faults }) => faults), ...(await lab.compare()))
  return {
    connections: sum(fuzzed.map(({ connections }) => connections)),
    messages: sum(fuzzed.map(({ messages }) => messages)),
    answers: added(fuzzed.map(({ answers }) => answers)),
    faults,
    others,
    growth: {
      heap: memoryAfter.heap - memoryBefore.heap,
      external: memoryAfter.external - memoryBefore.external,
      rss: memoryAfter.rss - memoryBefore.rss,
    },
  }
}

/** The same for people. */
export function shown(seed: number, { connections, messages, answers, others, growth }: FuzzReport): string[] {
  const { heap, external, rss } = growth
  const ms = (milliseconds: number) => milliseconds.toFixed(1)
  const kib = (bytes: number) => Math.round(bytes / 1024)
  return [
    `seed ${seed}: ${messages} messages over ${connections} connections`,
    ...Object.entries(answers).map(([code, times]) => `  ${times} ${code}`),
    `others: ${others.asked} requests, median ${ms(others.median)} ms, ${others.late} ` +
      `above ${LATE} ms, slowest ${ms(others.slowest)} ms`,
    `the daemon grew by ${kib(heap)} KiB of heap, ${kib(external)} KiB beside it, ${kib(rss)} KiB in all`,
  ]
}

const FUZZER = '__test__/helpers/programs/fuzzer.ts'

interface Fuzzed {
  connections: number
  messages: number
  answers: Record<string, number>
  faults: string[]
}

function orders({ socket }: Daemon) {
  const requests = [...examples.values()].filter(({ direction }) => direction === 'request')
  // `hello` first.
  requests.sort((a, b) => Number(b.operation === 'hello') - Number(a.operation === 'hello'))
  const addresses = [...portAddresses(0), ...portAddresses(1), portAddresses(2)[1]]
  return { socket, uplink: CARD, addresses, examples: requests.map(({ message }) => message) }
}

async function startTelling(lab: Lab): Promise<Daemon> {
  const telling = `${lab.folder}/memory.mjs`
  writeFileSync(telling, TELL_MEMORY)
  return Daemon.start(lab, { config, command: [process.execPath, `--import=${telling}`, cli] })
}

async function connected(lab: Lab, { socket }: Daemon, uid: number): Promise<Client> {
  const client = Client.start(lab, '__test__/helpers/programs/client.ts', { socket, uid })
  await client.ask({ do: 'connect' })
  return client
}

/** How long a decent client waits for its answers. */
async function timed(client: Client, signal: AbortSignal): Promise<FuzzReport['others']> {
  const times: number[] = []
  while (!signal.aborted) {
    const asked = performance.now()
    await client.ask({ do: 'uplinks' })
    times.push(performance.now() - asked)
    await sleep(20) // the daemon would make it wait if it asked without a pause
  }
  times.sort((a, b) => a - b)
  const late = times.filter((time) => time > LATE).length
  return {
    asked: times.length,
    median: times[times.length >> 1] ?? Number.NaN,
    late,
    slowest: times.at(-1) ?? Number.NaN,
  }
}

/** Waits until nobody but {@link OTHER} has a port, and the others' are undone: they are off the list before. */
async function quiet(daemon: Daemon): Promise<void> {
  const pinned = () =>
    readdirSync(`/sys/fs/bpf/xsknet/${daemon.instance}/v1/${CARD}`).filter((name) => name.startsWith('port-'))
  await waitUntil('without the ports of clients that are gone', async () => {
    const ports = await daemon.ask<{ uid: number }[]>('ports')
    return ports.every(({ uid }) => uid === OTHER) && pinned().length === ports.length
  })
}

async function memory(daemon: Daemon): Promise<Memory> {
  const { program } = daemon
  const from = program.lines.length
  program.signal('SIGUSR2')
  const line = await program.until('its memory', 10_000, () =>
    program.lines.slice(from).find((line) => line.startsWith('memory ')),
  )
  return JSON.parse(line.slice('memory '.length))
}

/** Everything of a daemon that must not pile up, by kind. */
async function left(lab: Lab, daemon: Daemon): Promise<Record<string, string[]>> {
  const { pid } = daemon.program
  const links = async (...enter: string[]) => (await lab.host.output(...enter, 'ip', '-o', 'link')).trim().split('\n')
  return {
    pid: [daemon.program.running ? `${pid}` : 'none'],
    descriptors: readdirSync(`/proc/${pid}/fd`).map((fd) => kindOf(`/proc/${pid}/fd/${fd}`)),
    devices: await links(),
    'inner devices': await links('nsenter', `--net=/run/xsknet/${daemon.instance}/netns`),
    pins: readdirSync(`/sys/fs/bpf/xsknet/${daemon.instance}`, { recursive: true }).map(String),
    files: readdirSync('/run/xsknet').filter((file) => file.startsWith(daemon.instance)),
  }
}

function kindOf(descriptor: string): string {
  try {
    return readlinkSync(descriptor).replace(/\d+/g, 'N')
  } catch {
    return 'gone'
  }
}

/** What there is more of, or less. Devices and pins have names of their own; of descriptors the number counts. */
function difference(before: Record<string, string[]>, after: Record<string, string[]>): string[] {
  return Object.entries(before).flatMap(([kind, had]) => {
    const has = [...(after[kind] ?? [])]
    const missing = had.filter((what) => {
      const at = has.indexOf(what)
      if (at >= 0) has.splice(at, 1)
      return at < 0
    })
    return [...has.map((what) => `${kind}: left over ${what}`), ...missing.map((what) => `${kind}: missing ${what}`)]
  })
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)

function added(counts: readonly Record<string, number>[]): Record<string, number> {
  const names = [...new Set(counts.flatMap((one) => Object.keys(one)))].sort()
  return Object.fromEntries(names.map((name) => [name, sum(counts.map((one) => one[name] ?? 0))]))
}

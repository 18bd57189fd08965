// A program with daemons inside it, and a client beside them, that does what a test tells it to.
import { Worker } from 'node:worker_threads'
import type { PortOptions } from 'xsknet'
import { type Daemon, type DaemonOptions, startDaemon } from 'xsknetd'
import { collectGarbage } from './garbage.js'
import { type Opening, open, orders } from './orders.js'
import { say, serve } from './serve.js'

/** What a thread has to do, and where it is ended, or ends itself. */
export interface Thread {
  /** Of a daemon of its own. */
  options?: DaemonOptions | undefined
  /** Else, of one that is there. */
  socket?: string | undefined
  /** Whether it makes its socket itself. */
  pinned?: boolean
  port: PortOptions
  stage: string
  how: 'terminate' | 'exit' | 'throw' | 'fall off'
}

const daemons = new Map<string, Daemon>()

function running(name: string): Daemon {
  const found = daemons.get(name)
  if (!found) throw new Error(`there is no daemon ${name} here`)
  return found
}

function start({ as = 'daemon', options }: { as?: string; options: DaemonOptions }): Promise<Daemon> {
  return startDaemon({ ...options, log: (event, fields) => say(`log ${event}`, { as, ...fields }) })
}

serve({
  ...orders,

  start: async (order: { as?: string; options: DaemonOptions }) => {
    const daemon = await start(order)
    daemons.set(order.as ?? 'daemon', daemon)
    const { socket, instance } = daemon
    return { socket, instance }
  },
  stop: ({ as = 'daemon' }: { as?: string }) => running(as).close(),
  unref: ({ as = 'daemon' }: { as?: string }) => void running(as).unref(),

  /** As the documentation has it. */
  closeOnSignals: () => {
    const daemon = running('daemon')
    process.once('SIGTERM', () => void daemon.close())
    process.once('SIGINT', () => void daemon.close())
  },

  /** Drops all that is known of the daemons, and collects garbage until what was dropped with it is gone. */
  forget: async () => {
    daemons.clear()
    await collectGarbage()
  },

  /** Lets nothing else run on this thread for a while; says so before. */
  block: async ({ milliseconds, how }: { milliseconds: number; how: 'spin' | 'wait' }) => {
    say('blocking')
    await new Promise(setImmediate)
    const end = performance.now() + milliseconds
    if (how === 'wait') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
    else while (performance.now() < end);
  },

  /** Ends the process; `after` so many milliseconds, while it does what else it is told to. */
  end: ({ how, after, ...doing }: { how: string; after?: number; options?: DaemonOptions; port?: PortOptions }) => {
    if (doing.options) void start({ options: doing.options })
    if (doing.port) void open(doing.port as Opening, (options, network) => network.openPort(options))
    const end = () => {
      if (how === 'exit') process.exit(7)
      if (how === 'throw') throw new Error('nobody caught this')
      process.stdin.destroy() // nothing else keeps the process
    }
    if (after === undefined) setImmediate(end)
    else setTimeout(end, after)
  },

  /** Runs a thread with a daemon of its own to its end; how far it came. */
  thread: async ({ id: _, do: __, ...thread }: Thread & { id: number; do: string }) => {
    const worker = new Worker(new URL(`embedding-thread${extension}`, import.meta.url), { workerData: thread })
    const stages: string[] = []
    worker.on('message', (stage: string) => {
      stages.push(stage)
      if (thread.how === 'terminate' && stage === thread.stage) void worker.terminate()
    })
    worker.on('error', (error) => stages.push(error.message))
    await new Promise((settle) => worker.once('exit', settle))
    return stages
  },
})

const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))

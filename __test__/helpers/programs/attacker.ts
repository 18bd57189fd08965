// A client that does what an attack needs, beside what every client can do: messages of its own making, descriptors
// that it keeps or passes on, frames by the thousand. It also is the good client beside an attack, which tells how long
// it has to wait.
import { spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'xsknet'
import { PROTOCOL_VERSION } from 'xsknet/protocol'
import { holding, orders } from './orders.js'
import { serve } from './serve.js'

/** Milliseconds that requests took, and what was refused. */
export interface Times {
  opens: number[]
  stats: number[]
  failed: string[]
}

/** An answer as it came, and the descriptors that came beside it. */
export interface Answered {
  answer: {
    result?: Record<string, unknown>
    error?: { code: string; message: string; hint?: string; details?: object }
  }
  fds: number[]
}

/** What became of many messages. */
export interface Pestered {
  connections: number
  /** Of those that were tried. */
  refused: number
  messages: number
}

/** A part of the package that no program should need: it sends what `connect()` never would. */
interface Binding {
  Control: {
    connect(
      path: string,
      onMessage: (message: Uint8Array, descriptors: object | null) => void,
      onEnd: (error: Error | null) => void,
    ): Raw
  }
}

interface Raw {
  send(message: Uint8Array, fds: number[]): boolean
  close(): void
}

const { platform, arch } = process
const file = new URL(`../native/xsknet.${platform}-${arch}-gnu.node`, import.meta.resolve('xsknet'))
const { Control } = createRequire(import.meta.url)(file.pathname) as Binding

const socket = process.env.XSKNET_SOCKET ?? ''
const HELLO = message({ id: 0, operation: 'hello', client: 'attacker' })
/** A request that is never answered hangs up. */
const PATIENCE = 20_000

function message(request: object): Buffer {
  return Buffer.from(JSON.stringify({ version: PROTOCOL_VERSION, ...request }))
}

/** Connections by name, which hear what they are told. */
class Line {
  readonly #raw: Raw
  readonly #waiting = new Map<number, (answered: Answered) => void>()
  /** Descriptors are closed with what holds them. */
  readonly #holders: object[] = []
  /** Descriptors can be sent once the daemon has accepted the connection. */
  readonly #greeted: Promise<unknown>
  #ended = false
  #id = 0

  constructor() {
    this.#raw = Control.connect(
      socket,
      (bytes, descriptors) => {
        if (descriptors) this.#holders.push(descriptors)
        const answer = JSON.parse(Buffer.from(bytes).toString())
        const came = descriptors ? [...held()].filter(([, what]) => !known.has(what)) : []
        for (const [, what] of came) known.add(what)
        this.#waiting.get(answer.id ?? this.#id)?.({ answer, fds: came.map(([fd]) => fd) })
      },
      () => {
        this.#ended = true
        for (const done of this.#waiting.values())
          done({ answer: { error: { code: 'ENDED', message: 'the connection has ended' } }, fds: [] })
      },
    )
    this.#greeted = new Promise((done) => this.#waiting.set(0, done))
    this.#raw.send(HELLO, [])
    for (const what of held().values()) known.add(what)
  }

  async ask(request: object, fds: readonly number[]): Promise<Answered> {
    if (fds.length > 0) await this.#greeted
    const id = ++this.#id
    const answered = new Promise<Answered>((done) => this.#waiting.set(id, done))
    if (this.#ended) throw new Error('the connection has ended')
    while (!this.#raw.send(message({ ...request, id }), [...fds])) await sleep(2)
    const late = sleep(PATIENCE, undefined, { ref: false }).then(() => Promise.reject(new Error('no answer came')))
    return Promise.race([answered, late]).finally(() => this.#waiting.delete(id))
  }

  close(): void {
    this.#raw.close()
  }
}

const lines = new Map<string, Line>()

/** Descriptors, and what is behind each. */
function held(): Map<number, string> {
  const all = new Map<number, string>()
  for (const fd of readdirSync('/proc/self/fd').map(Number)) {
    try {
      const { dev, ino } = fstatSync(fd)
      all.set(fd, `${dev}:${ino}`)
    } catch {
      // It was that of the folder.
    }
  }
  return all
}

/**
 * What did not just come: copies of a descriptor are not told apart, and what is new is always something of its own.
 */
const known = new Set<string>(held().values())

let timing = false
let enough = 0

serve({
  ...orders,

  /** Asks for something by a connection of this name, and keeps what comes with the answer. */
  rawAsk: ({ by = 'line', request, fds = [] }: { by?: string; request: object; fds?: number[] }) => {
    const line = lines.get(by) ?? new Line()
    lines.set(by, line)
    return line.ask(request, fds)
  },
  hangUp: ({ by = 'line' }: { by?: string }) => {
    lines.get(by)?.close()
    lines.delete(by)
  },
  openFile: ({ path }: { path: string }) => openSync(path, 'r'),
  /** Closes descriptors, or has another process keep them, which then is all that does. */
  closeFds: ({ fds }: { fds: number[] }) => {
    for (const fd of fds) closeSync(fd)
  },
  passFds: ({ fds }: { fds: number[] }) => {
    const child = spawn('sleep', ['3600'], { stdio: ['ignore', 'ignore', 'ignore', ...fds] })
    for (const fd of fds) closeSync(fd)
    return child.pid
  },
  /** Each as it is, one behind the other. */
  frames: async ({ as = 'port', frames }: { as?: string; frames: string[] }) => {
    const { port } = holding(as)
    for (const frame of frames) await port.send(Buffer.from(frame, 'hex'))
  },
  /** One frame over and over, as fast as it goes. */
  storm: async ({ as = 'port', frame, seconds }: { as?: string; frame: string; seconds: number }) => {
    const { port } = holding(as)
    const bytes = Buffer.from(frame, 'hex')
    let sent = 0
    for (const until = performance.now() + seconds * 1000; performance.now() < until; ) {
      for (let n = 0; n < 64; n++) if (port.trySend(bytes)) sent++
      await new Promise((resolve) => setImmediate(resolve))
    }
    return sent
  },
  /** Keeps all frames that come. */
  record: ({ as = 'port' }: { as?: string }) => {
    const { port } = holding(as)
    const frames: string[] = []
    recorded.set(as, frames)
    void (async () => {
      for await (const batch of port.batches()) {
        for (const frame of batch) {
          frames.push(Buffer.from(frame.memory.subarray(frame.offset, frame.offset + frame.length)).toString('hex'))
        }
      }
    })().catch(() => {})
  },
  /** What has come since this was last asked. */
  recorded: ({ as = 'port' }: { as?: string }) => recorded.get(as)?.splice(0) ?? [],

  pester,

  /** Opens a port, asks for its statistics and closes it, over and over, and says how long each took. */
  time: async ({ uplink, addresses }: { uplink: string; addresses: string[] }): Promise<Times> => {
    const times: Times = { opens: [], stats: [], failed: [] }
    timing = true
    enough = 0
    const net = await connect()
    while (timing || (times.opens.length < enough && times.failed.length === 0)) {
      try {
        const began = performance.now()
        const port = await net.openPort({ uplink, addresses, frames: 512, ringSize: 256 })
        const opened = performance.now()
        await port.stats()
        times.opens.push(opened - began)
        times.stats.push(performance.now() - opened)
        await port.close()
      } catch (error) {
        if (times.failed.length < 100) times.failed.push((error as Error).message)
      }
      await sleep(10)
    }
    await net.close()
    return times
  },
  stopTiming: (order: { enough: number }) => {
    timing = false
    enough = order.enough
  },
})

const recorded = new Map<string, string[]>()

interface Pester {
  connections: number
  /** Sent over and over. */
  messages: string[]
  seconds: number
  /** Says `hello` first. */
  greets: boolean
  /** Hangs up after so many messages, and connects again. */
  each: number
}

/** Many connections that never rest. */
async function pester({ connections, messages, seconds, greets, each }: Pester): Promise<Pestered> {
  const pestered: Pestered = { connections: 0, refused: 0, messages: 0 }
  const until = performance.now() + seconds * 1000
  const bytes = messages.map((text) => Buffer.from(text))
  const one = async () => {
    while (performance.now() < until) {
      let ended = false
      let raw: Raw
      try {
        raw = Control.connect(
          socket,
          () => {},
          () => {
            ended = true
          },
        )
      } catch {
        pestered.refused++
        await sleep(2)
        continue
      }
      pestered.connections++
      try {
        if (greets) raw.send(HELLO, [])
        let sent = 0
        while (!ended && performance.now() < until && sent < each) {
          const next = bytes[sent % bytes.length]
          if (next && raw.send(next, [])) {
            sent++
            pestered.messages++
          } else await sleep(1)
          if (sent % 16 === 0) await new Promise((resolve) => setImmediate(resolve))
        }
        // Where nothing is to be sent, it stays until it is hung up on.
        while (bytes.length === 0 && each > 0 && !ended && performance.now() < until) await sleep(5)
      } catch {
        // Hung up on in the middle.
      }
      raw.close()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await Promise.all(Array.from({ length: connections }, one))
  return pestered
}

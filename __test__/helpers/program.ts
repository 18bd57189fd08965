import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { nodeVariables } from '../../packages/xsknetd/src/runtime/node-environment.js'

/** How a program ended. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
}

/** A program that has ended, and all that it wrote. */
export interface Finished extends Ended {
  stdout: string
  stderr: string
}

/** Puts a command under this process: the kernel kills it when this process dies, however that happens. */
const mortal = (command: readonly string[]) => ['setpriv', '--pdeathsig', 'KILL', '--', ...command]

/**
 * The command, inside a network namespace. None of the programs in front forks, so signals and the process id are its
 * own.
 */
export const inside = (namespace: string, command: readonly string[]) => [
  'nsenter',
  `--net=${namespace}`,
  '--',
  ...command,
]

/** Runs a program to its end. */
export async function run(command: readonly string[]): Promise<Finished> {
  const child = launch(command)
  child.stdin?.end()
  const wrote = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]?.setEncoding('utf8').on('data', (text: string) => {
      wrote[stream] += text
    })
  }
  const [code, signal] = (await once(child, 'close')) as [Ended['code'], Ended['signal']]
  return { code, signal, ...wrote }
}

// A group of its own: Ctrl-C in a terminal is for the one who started us, who then ends everything in order.
function launch(command: readonly string[], { env, cwd, immortal }: LaunchOptions = {}): ChildProcess {
  const [file, ...args] = immortal ? command : mortal(command)
  return spawn(file as string, args, { detached: true, env: { ...ambient, LC_ALL: 'C', ...env }, cwd })
}

/** This environment without what would have each daemon start twice: once more without it. */
const ambient = { ...process.env }
for (const name of nodeVariables(ambient)) delete ambient[name]

interface LaunchOptions {
  env?: NodeJS.ProcessEnv
  cwd?: string
  /** It is not killed when this process dies, since it ends by itself. */
  immortal?: boolean
}

export interface ProgramOptions extends LaunchOptions {
  /** Hears of every line on standard output. */
  heed?: (line: string) => void
}

/** A program that runs, and the lines that it has written so far. */
export class Program {
  /** Standard output and standard error. */
  readonly lines: string[] = []
  /** Settles once it has ended and all its lines are read. */
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess
  readonly #name: string
  readonly #waiting = new Set<() => void>()
  #over = false

  constructor(command: readonly string[], { heed, ...options }: ProgramOptions = {}) {
    this.#name = command.join(' ')
    this.#child = launch(command, options)
    for (const stream of ['stdout', 'stderr'] as const) {
      createInterface({ input: this.#child[stream] as NodeJS.ReadableStream }).on('line', (line) => {
        this.lines.push(line)
        if (stream === 'stdout') heed?.(line)
        this.#tell()
      })
    }
    // What it does not read any more is nobody's loss.
    this.#child.stdin?.on('error', () => {})
    this.ended = once(this.#child, 'close').then(([code, signal]) => {
      this.#over = true
      this.#tell()
      return { code, signal }
    })
  }

  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error(`${this.#name} was not started`)
    return pid
  }

  /** Whether it still runs. */
  get running(): boolean {
    return !this.#over
  }

  write(line: string): void {
    this.#child.stdin?.write(`${line}\n`)
  }

  /**
   * The first line that matches, be it written already; throws and shows all lines if the program ends before, or time
   * does.
   */
  async waitFor(pattern: RegExp, milliseconds = 10_000): Promise<string> {
    let looked = 0
    return this.until(`a line like ${pattern}`, milliseconds, () => {
      while (looked < this.lines.length) {
        const line = this.lines[looked++] as string
        if (pattern.test(line)) return line
      }
      return undefined
    })
  }

  /** Waits until `find`, asked at every new line, finds something. */
  async until<T>(what: string, milliseconds: number, find: () => T | undefined): Promise<T> {
    const deadline = Date.now() + milliseconds
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      if (this.#over) throw new Error(`${this.#name} ended without ${what}:\n${this.lines.join('\n')}`)
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`${this.#name}: not ${what} within ${milliseconds} ms:\n${this.lines.join('\n')}`)
      await this.#news(left)
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Asks it to end, and waits for that. */
  stop(signal: NodeJS.Signals = 'SIGTERM', milliseconds?: number): Promise<Ended> {
    this.signal(signal)
    return this.end(milliseconds)
  }

  /** Waits for its end; throws, and kills it, if that does not come in time. */
  async end(milliseconds = 10_000): Promise<Ended> {
    const late = AbortSignal.timeout(milliseconds)
    const ended = await Promise.race([this.ended, once(late, 'abort')])
    if (!late.aborted) return ended as Ended
    await this.kill()
    throw new Error(`${this.#name} did not end within ${milliseconds} ms:\n${this.lines.join('\n')}`)
  }

  async kill(): Promise<Ended> {
    this.signal('SIGKILL')
    return this.ended
  }

  /** Closes its standard input, which ends those that live by it. */
  async endInput(): Promise<Ended> {
    this.#child.stdin?.end()
    return this.ended
  }

  /** Settles with the next line, at the end, or when time is up. */
  #news(milliseconds: number): Promise<void> {
    return new Promise((settle) => {
      const done = () => {
        clearTimeout(timer)
        this.#waiting.delete(done)
        settle()
      }
      const timer = setTimeout(done, milliseconds)
      this.#waiting.add(done)
    })
  }

  #tell() {
    for (const done of [...this.#waiting]) done()
  }
}

/** Waits for a condition of any other kind. */
export async function waitUntil(
  what: string,
  holds: () => boolean | Promise<boolean>,
  milliseconds = 10_000,
): Promise<void> {
  const deadline = Date.now() + milliseconds
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not ${what} within ${milliseconds} ms`)
    await new Promise((settle) => setTimeout(settle, 5))
  }
}

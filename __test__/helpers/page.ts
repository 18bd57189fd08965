import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FreshMachine, Place, program } from './fresh.js'
import type { Owner } from './lab.js'
import { type Finished, Program, run } from './program.js'
import { root } from './workspace.js'

/** A block of a page: commands, or what those before it write. */
export interface Block {
  kind: 'sh' | 'text'
  /** Of commands: a terminal in which they stay, or that they end with an error. */
  how: string
  text: string
  line: number
}

/** All blocks of a page of the repository; those that are neither commands nor their output are an error. */
export function blocksOf(page: string): Block[] {
  const source = readFileSync(root + page, 'utf8')
  return [...source.matchAll(/^```(\S*) ?([^\n]*)\n(.*?)^```$/gms)].map((match) => {
    const [, kind, how = '', text = ''] = match
    const line = source.slice(0, match.index).split('\n').length
    if (kind !== 'sh' && kind !== 'text') throw new Error(`${page}:${line}: \`${kind}\` is neither \`sh\` nor \`text\``)
    return { kind, how, text, line }
  })
}

/** The first line that is not there, in this order; `…` stands for anything. */
export function missing(text: string, output: string): string | undefined {
  const lines = output.split('\n').map((line) => line.trimEnd())
  let next = 0
  for (const wanted of text.split('\n').filter((line) => !/^…?$/.test(line))) {
    const parts = wanted.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    const pattern = new RegExp(`^${parts.join('.*')}$`)
    const found = lines.findIndex((line, at) => at >= next && pattern.test(line))
    if (found < 0) return wanted
    next = found + 1
  }
  return undefined
}

/** Does what a page says, on a fresh machine, from top to bottom. */
export class Reader {
  readonly #place: Place
  readonly #path: string
  readonly #machine: FreshMachine
  readonly #env: Record<string, string>
  readonly #terminals = new Map<string, Program>()
  #folder: string

  private constructor(place: Place, path: string, machine: FreshMachine, env: Record<string, string>) {
    this.#place = place
    this.#path = path
    this.#machine = machine
    this.#env = env
    this.#folder = place.folder
  }

  /** @param tools Programs that the reader has beside coreutils, a shell, Node and npm. */
  static async sit(owner: Owner, node: string, tools: readonly string[], env: Record<string, string>): Promise<Reader> {
    const place = new Place(owner)
    const path = place.path('bin', [...place.nodeAndNpm(node), ...['sh', ...tools].map(program)])
    return new Reader(place, path, await FreshMachine.start(owner), env)
  }

  /** Reads all blocks; throws at the first that does not go as it says. */
  async read(page: string): Promise<void> {
    let output: (() => Promise<string>) | undefined
    const blocks = blocksOf(page)
    for (const [at, { kind, how, text, line }] of blocks.entries()) {
      const fail = (why: string) => new Error(`${page}:${line}: ${why}`)
      if (kind === 'text') {
        if (!output) throw fail('nobody has written anything yet')
        const written = await output()
        const absent = missing(text, written)
        if (absent !== undefined) throw fail(`no line \`${absent}\` in\n${written}`)
      } else if (how === '' || how === 'fails') {
        const { code, stdout, stderr } = await this.#run(text)
        const written = stdout + stderr
        if ((code === 0) !== (how === '')) throw fail(`it ended with ${code}:\n${written}`)
        output = async () => written
      } else {
        const terminal = await this.#stay(how, text)
        const wanted = blocks[at + 1]
        if (wanted?.kind !== 'text') throw fail('what stays has to be seen to have begun')
        const begun = () => missing(wanted.text, terminal.lines.join('\n')) === undefined || undefined
        output = async () => {
          await terminal.until(wanted.text, 20_000, begun)
          return terminal.lines.join('\n')
        }
      }
      // The page says when: before a terminal is used again, and at its end.
      if (blocks[at + 1]?.text.includes('lab --down')) await this.interrupt()
    }
  }

  /** Ctrl-C in all terminals; what they wrote. */
  async interrupt(): Promise<string[]> {
    const all = [...this.#terminals.values()].reverse() // the program before its daemon
    for (const terminal of all) await this.#end(terminal)
    this.#terminals.clear()
    return all.flatMap(({ lines }) => lines)
  }

  /** In the first terminal, which goes where `cd` leads it. */
  async #run(commands: string): Promise<Finished> {
    const where = join(this.#place.folder, 'where')
    const finished = await run(this.#shell(`${commands}\npwd > '${where}'`))
    if (finished.code === 0) this.#folder = readFileSync(where, 'utf8').trim()
    return finished
  }

  async #stay(terminal: string, commands: string): Promise<Program> {
    if (this.#terminals.has(terminal)) await this.interrupt()
    const program = new Program(this.#shell(commands))
    this.#terminals.set(terminal, program)
    return program
  }

  /** To the whole group, as a terminal does. */
  async #end(terminal: Program): Promise<void> {
    if (terminal.running) process.kill(-terminal.pid, 'SIGINT')
    await terminal.end()
  }

  #shell(commands: string): string[] {
    const script = join(this.#place.folder, `script-${this.#terminals.size}`)
    writeFileSync(script, `set -e\ncd '${this.#folder}'\n${commands}`)
    return this.#machine.inside(this.#place.command(this.#path, this.#env, ['sh', script]))
  }
}

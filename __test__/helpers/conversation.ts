import { Program, type ProgramOptions } from './program.js'

/** What a program says of its own accord. */
export interface Said {
  event: string
  [field: string]: unknown
}

/** What a program is to do, and the fields that go with it. */
export interface Wish {
  do: string
  [field: string]: unknown
}

/** What was asked of a program, and what will come of it. */
export interface Order<T> {
  id: number
  done: Promise<T>
}

/**
 * A program that takes orders in lines of JSON, `{ id, do, … }`, and answers each with `{ id, done }` or `{ id, error
 * }`, in whatever order they are done. In between it may say `{ event, … }`, and write any other line. /
 */
export class Conversation {
  readonly program: Program
  readonly #asked = new Map<number, { done: (value: never) => void; failed: (error: Error) => void }>()
  readonly #said: Said[] = []
  #lastId = 0

  constructor(command: readonly string[], options: ProgramOptions = {}) {
    this.program = new Program(command, { ...options, heed: (line) => this.#hear(line) })
    const gone = () => {
      for (const { failed } of this.#asked.values())
        failed(new Error(`it ended before it answered:\n${this.program.lines.join('\n')}`))
      this.#asked.clear()
    }
    this.program.ended.then(gone, gone)
  }

  order<T>(what: Wish): Order<T> {
    const id = ++this.#lastId
    const done = new Promise<T>((done, failed) => this.#asked.set(id, { done, failed }))
    if (this.program.running) this.program.write(JSON.stringify({ id, ...what }))
    else this.#settle(id)?.failed(new Error(`cannot ${what.do}: it has ended:\n${this.program.lines.join('\n')}`))
    return { id, done }
  }

  ask<T>(what: Wish): Promise<T> {
    return this.order<T>(what).done
  }

  /** The first event of this name that nobody has waited for yet. */
  async event<T extends Said>(name: string, milliseconds = 10_000): Promise<T> {
    return this.program.until(`the event ${name}`, milliseconds, () => {
      const at = this.#said.findIndex(({ event }) => event === name)
      return at < 0 ? undefined : (this.#said.splice(at, 1)[0] as T)
    })
  }

  #hear(line: string) {
    if (!line.startsWith('{')) return
    const message = JSON.parse(line)
    if ('event' in message) this.#said.push(message)
    else if ('error' in message) this.#settle(message.id)?.failed(reason(message.error))
    else this.#settle(message.id)?.done(message.done as never)
  }

  #settle(id: number) {
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    return asked
  }
}

/** Programs in TypeScript tell an error with its code and details. */
function reason(error: string | { message: string }): Error {
  return typeof error === 'string' ? new Error(error) : Object.assign(new Error(error.message), error)
}

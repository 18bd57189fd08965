import type { DaemonOptions } from 'xsknetd'
import { Conversation, type Said, type Wish } from './conversation.js'
import { STATE } from './daemon.js'
import { CARD, type Lab } from './lab.js'
import { inside, type Program } from './program.js'
import { root } from './workspace.js'

/** A program on the lab's host that has daemons inside it, as root: `programs/embedding.ts`. */
export class Embedding {
  readonly program: Program
  readonly #conversation: Conversation

  private constructor(conversation: Conversation) {
    this.#conversation = conversation
    this.program = conversation.program
  }

  static start(lab: Lab): Embedding {
    const node = [process.execPath, '--import=@oxc-node/core/register', '__test__/helpers/programs/embedding.ts']
    const conversation = new Conversation(inside(lab.host.namespace, node), {
      cwd: root,
      env: { STATE_DIRECTORY: `${lab.folder}/${STATE}` },
    })
    lab.owner.teardown(async () => {
      if (conversation.program.running) await conversation.program.kill()
    })
    return new Embedding(conversation)
  }

  /** Starts a daemon in it, on the lab's uplink unless told otherwise. */
  daemon(options: Partial<DaemonOptions> = {}, as?: string): Promise<{ socket: string; instance: string }> {
    return this.ask({ do: 'start', as, options: { uplinks: [CARD], ...options } })
  }

  /** Gives the program an order. */
  ask<T>(what: Wish): Promise<T> {
    return this.#conversation.ask(what)
  }

  /** The same, for what ends it before it could answer. */
  tell(what: Wish): void {
    this.ask(what).catch(() => {})
  }

  /** What the program said of its own accord. */
  event<T extends Said>(name: string, milliseconds?: number): Promise<T> {
    return this.#conversation.event(name, milliseconds)
  }
}

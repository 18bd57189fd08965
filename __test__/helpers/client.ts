import { readFileSync, readlinkSync } from 'node:fs'
import { Conversation, type Said, type Wish } from './conversation.js'
import { NOBODY } from './daemon.js'
import type { Lab } from './lab.js'
import type { Ended, Program } from './program.js'
import { stagedNode, stagedProgram } from './stage.js'

export interface ClientOptions {
  /** Where the daemon listens. */
  socket: string
  /** Words of the command line. */
  args?: readonly string[]
  /** Who runs it, {@link NOBODY} unless set; 0 keeps root's capabilities. */
  uid?: number
  /** The one capability that it has, such as `net_raw`; none unless set. */
  capability?: string
  env?: NodeJS.ProcessEnv
  /** The Node that runs it; this one unless set. */
  node?: string
  /** Words for Node itself. */
  nodeArgs?: readonly string[]
}

/** What the kernel says a process may do. */
export interface Rights {
  uid: number
  gid: number
  groups: number[]
  /** The five sets: inheritable, permitted, effective, bounding, ambient. */
  capabilities: Record<'inheritable' | 'permitted' | 'effective' | 'bounding' | 'ambient', bigint>
  noNewPrivs: boolean
  /** Such as `net:[4026531840]`. */
  network: string
}

/**
 * A program that uses the package as its users do: out of a folder of its own, in an own network namespace, and without
 * any right or capability. /
 */
export class Client {
  readonly program: Program
  readonly #conversation: Conversation

  private constructor(conversation: Conversation) {
    this.#conversation = conversation
    this.program = conversation.program
  }

  /** Starts a program in TypeScript or JavaScript, named by its path in the repository. */
  static start(lab: Lab, path: string, options: ClientOptions): Client {
    const { socket, args = [], uid = NOBODY, capability, env, node = process.execPath, nodeArgs = [] } = options
    const script = stagedProgram(lab.folder, path)
    const command = [...withRightsOf(uid, capability), stagedNode(lab.folder, node), ...nodeArgs, script, ...args]
    const conversation = new Conversation(['unshare', '--net', '--', ...command], {
      cwd: lab.folder,
      env: { ...env, XSKNET_SOCKET: socket },
    })
    lab.owner.teardown(async () => {
      if (conversation.program.running) await conversation.program.kill()
    })
    return new Client(conversation)
  }

  /** Gives the program an order, as `programs/serve.ts` takes them. */
  ask<T>(what: Wish): Promise<T> {
    return this.#conversation.ask(what)
  }

  /** What the program said of its own accord. */
  event<T extends Said>(name: string, milliseconds?: number): Promise<T> {
    return this.#conversation.event(name, milliseconds)
  }

  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    return this.program.stop(signal)
  }

  kill(): Promise<Ended> {
    return this.program.kill()
  }

  /** Read from /proc, so not by the program's own word. */
  rights(): Rights {
    return rightsOf(this.program.pid)
  }
}

export function rightsOf(pid: number | 'self'): Rights {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string) => new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(status)?.[1] ?? ''
  const numbers = (name: string) => field(name).split(/\s+/).filter(Boolean).map(Number)
  const set = (name: string) => BigInt(`0x${field(name)}`)
  return {
    uid: numbers('Uid')[1] as number,
    gid: numbers('Gid')[1] as number,
    groups: numbers('Groups'),
    capabilities: {
      inheritable: set('CapInh'),
      permitted: set('CapPrm'),
      effective: set('CapEff'),
      bounding: set('CapBnd'),
      ambient: set('CapAmb'),
    },
    noNewPrivs: field('NoNewPrivs') === '1',
    network: readlinkSync(`/proc/${pid}/ns/net`),
  }
}

/** The words in front of a command that take away all rights but those of the user, and one capability at most. */
export function withRightsOf(uid: number, capability?: string): string[] {
  if (uid === 0) return []
  const all = capability === undefined ? '-all' : `-all,+${capability}`
  const nothing = [`--bounding-set=${all}`, `--inh-caps=${all}`, `--ambient-caps=${all}`, '--no-new-privs']
  // A change of the user clears the signal that comes with its parent's death.
  return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', ...nothing, '--pdeathsig', 'KILL', '--']
}

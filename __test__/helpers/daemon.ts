import { writeFileSync } from 'node:fs'
import { CARD, type Lab } from './lab.js'
import { type Ended, type Finished, inside, Program, run } from './program.js'
import { root } from './workspace.js'

const cli = `${root}packages/xsknetd/dist/cli.js`

/** Where in a lab's folder its daemons keep their secret. */
export const STATE = 'state'

/** The uid and gid of somebody without rights. */
export const NOBODY = 65_534

export interface DaemonOptions {
  /** Where the uplink's program runs; the daemon's own choice unless set. */
  mode?: 'native' | 'skb'
  /** The uplinks to be managed; the lab's one unless set. */
  uplinks?: string[]
  /** The text of a configuration file. Unless set, {@link NOBODY} may have all that the lab keeps for ports. */
  config?: string
  /** Further words of the command line. */
  args?: string[]
  /** Sets it apart from other daemons of the lab; `a` unless set. */
  suffix?: string
  /** The Node that runs it; this one unless set. */
  node?: string
  /** What starts it, in place of Node and the program of the clone. */
  command?: readonly string[]
}

/** What {@link NOBODY} may have unless a test says otherwise. */
export const GRANT = `
[[grant]]
user = ${NOBODY}
uplinks = ["${CARD}"]
addresses = ["192.0.2.8/29", "2001:db8::10/124", "2001:db8::100/120"]
ports = 64
memory = "1GiB"
busyPoll = true
`

/** An `xsknetd` on the lab's host. */
export class Daemon {
  readonly instance: string
  readonly socket: string
  /** Its process; its lines are its log. */
  readonly program: Program
  readonly #command: readonly string[]

  private constructor(instance: string, command: readonly string[], program: Program) {
    this.instance = instance
    this.socket = socketOf(instance)
    this.#command = command
    this.program = program
  }

  /** Returns once it is ready; throws and shows its log if it does not come to that. */
  static async start(lab: Lab, options: DaemonOptions = {}): Promise<Daemon> {
    const daemon = Daemon.launch(lab, options)
    await daemon.program.waitFor(/\bready\b/, 20_000)
    return daemon
  }

  /** Returns at once. */
  static launch(lab: Lab, options: DaemonOptions = {}): Daemon {
    const {
      mode,
      uplinks = [CARD],
      config = GRANT,
      args = [],
      suffix = 'a',
      node = process.execPath,
      command = [node, cli],
    } = options
    const instance = `${lab.instances}${suffix}`
    const file = `${lab.folder}/${instance}.toml`
    writeFileSync(file, config)
    const words = ['run', '--instance', instance, '--socket', socketOf(instance), '--config', file]
    for (const uplink of uplinks) words.push('--uplink', uplink)
    if (mode) words.push('--mode', mode)
    // Its secret goes with the lab.
    const env = { STATE_DIRECTORY: `${lab.folder}/${STATE}` }
    const program = new Program(inside(lab.host.namespace, [...command, ...words, ...args]), { env })
    const daemon = new Daemon(instance, command, program)
    lab.owner.teardown(async () => {
      if (program.running) await program.stop()
    })
    return daemon
  }

  /** Runs `xsknetd status|ports|stats` against it, as root. */
  cli(...words: string[]): Promise<Finished> {
    return run([...this.#command, ...words, '--socket', this.socket])
  }

  /** The same, and what it tells as JSON. */
  async ask<T>(...words: string[]): Promise<T> {
    const { code, stdout, stderr } = await this.cli(...words, '--json')
    if (code !== 0) throw new Error(`xsknetd ${words.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
    return JSON.parse(stdout) as T
  }

  /** Asks it to end, as a service manager would. */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    return this.program.stop(signal)
  }

  /** Ends it as nothing should. */
  kill(): Promise<Ended> {
    return this.program.kill()
  }
}

const socketOf = (instance: string) => `/run/xsknet/${instance}.sock`

import { chmodSync, copyFileSync, existsSync } from 'node:fs'
import { connect } from 'xsknet'
import { Client, type ClientOptions, withRightsOf } from '../client.js'
import { Daemon, type DaemonOptions } from '../daemon.js'
import { FAR, type Lab, rustExample } from '../lab.js'
import { inside, Program, waitUntil } from '../program.js'
import { Bystander } from './bystander.js'
import { Capture } from './capture.js'
import { GOOD, GRANTS } from './parties.js'

/** How a daemon is started that an attack wants for itself. */
export type Wanted = Pick<DaemonOptions, 'config' | 'mode'> & { env?: (lab: Lab) => Record<string, string> }

/** Where an attack takes place: a lab, a daemon, and a good client. */
export class Field {
  readonly lab: Lab
  readonly daemon: Daemon
  readonly bystander: Bystander
  /** Whether an attack may take minutes. */
  readonly isThorough: boolean
  readonly #programs: Program[] = []
  readonly #adopted: number[] = []
  static #number = 0

  private constructor(lab: Lab, daemon: Daemon, isThorough: boolean) {
    this.lab = lab
    this.daemon = daemon
    this.bystander = new Bystander(lab, daemon)
    this.isThorough = isThorough
  }

  static async open(lab: Lab, options: Wanted = {}, isThorough = false): Promise<Field> {
    await lab.snapshot()
    // Ports of an earlier daemon had other MACs.
    await lab.remote.output('ip', 'neigh', 'flush', 'dev', FAR)
    const { env, ...rest } = options
    const daemon = await underneath(env?.(lab) ?? {}, () =>
      Daemon.start(lab, { config: GRANTS, suffix: `${Field.#number++}`, ...rest }),
    )
    return new Field(lab, daemon, isThorough)
  }

  /**
   * A program in TypeScript that does what it is told to, `programs/attacker.ts`, in a network namespace of its own.
   */
  client(uid: number, options: Partial<ClientOptions> = {}, program = '__test__/helpers/programs/attacker.ts'): Client {
    const client = Client.start(this.lab, program, { socket: this.daemon.socket, uid, ...options })
    this.#programs.push(client.program)
    return client
  }

  /** The same, connected as the package does. */
  async connected(uid: number): Promise<Client> {
    const client = this.client(uid)
    await client.ask({ do: 'connect' })
    return client
  }

  /** A program in Rust, an example of a crate, on the lab's host. */
  program(name: string, uid: number, ...words: string[]): Program {
    const staged = `${this.lab.folder}/${name}`
    if (!existsSync(staged)) {
      copyFileSync(rustExample(name), staged)
      chmodSync(staged, 0o755)
    }
    const program = new Program(inside(this.lab.host.namespace, [...withRightsOf(uid), staged, ...words]))
    this.#programs.push(program)
    return program
  }

  /** Any program of the machine, by a user, on the lab's host. */
  spawn(uid: number, ...command: string[]): Program {
    return this.spawnIn(this.lab.host.namespace, uid, ...command)
  }

  /** The same in another network namespace. */
  spawnIn(namespace: string, uid: number, ...command: string[]): Program {
    const program = new Program(inside(namespace, [...withRightsOf(uid), ...command]))
    this.#programs.push(program)
    return program
  }

  /** What comes to the far end from now on, but for the closed loop of the client beside. */
  capture(): Promise<Capture> {
    const { mac } = this.bystander.info
    return Capture.start(this.lab, this.#programs, [mac])
  }

  /** How long root waits for the answer to its first request; milliseconds. */
  async rootWaits(): Promise<number> {
    const began = performance.now()
    const net = await connect({ socket: this.daemon.socket })
    await net.status()
    const took = performance.now() - began
    await net.close()
    return took
  }

  /** Takes over a process that a client started, to be ended with all others. */
  adopt(pid: number): number {
    this.#adopted.push(pid)
    return pid
  }

  endAdopted(): void {
    for (const pid of this.#adopted.splice(0)) process.kill(pid, 'SIGKILL')
  }

  /** Ends all attackers and victims, so that another attack can begin; what is left of them. */
  async rest(): Promise<string[]> {
    await this.#clear()
    const net = await connect({ socket: this.daemon.socket })
    try {
      await waitUntil('without their ports', async () => (await net.ports()).every(({ uid }) => uid === GOOD), 5000)
      return []
    } catch (error) {
      return [(error as Error).message]
    } finally {
      await net.close()
    }
  }

  /** Ends all clients and the daemon; what is not as before. */
  async end(): Promise<string[]> {
    await this.bystander.leave()
    await this.#clear()
    const { lines } = this.daemon.program
    const { code, signal } = await this.daemon.stop()
    const faults = []
    if (code !== 0) faults.push(`the daemon ended with ${signal ?? code}: ${lines.slice(-5).join('\n')}`)
    if (lines.some((line) => / uncaught /.test(line))) faults.push('the daemon logged an error that nobody foresaw')
    return [...faults, ...(await this.lab.compare())]
  }

  async #clear(): Promise<void> {
    this.endAdopted()
    await Promise.all(this.#programs.splice(0).map(async (program) => program.running && program.kill()))
  }
}

/** A lab, with one field that all attacks share which use the daemon's default settings. */
export class AttackLab {
  readonly #lab: Lab
  readonly #isThorough: boolean
  #shared: Field | undefined

  constructor(lab: Lab, { isThorough = false } = {}) {
    this.#lab = lab
    this.#isThorough = isThorough
  }

  async take(options: Wanted | undefined): Promise<Field> {
    if (options === undefined && this.#shared?.daemon.program.running) return this.#shared
    await this.end()
    const field = await Field.open(this.#lab, options, this.#isThorough)
    if (options === undefined) this.#shared = field
    return field
  }

  /** Where nothing has gone wrong it stays for the next attack; what is left of this one. */
  async giveBack(field: Field, isSound: boolean): Promise<string[]> {
    if (isSound && field === this.#shared) {
      const left = await field.rest()
      if (left.length === 0) return []
      return [...left, ...(await this.end())]
    }
    if (field === this.#shared) this.#shared = undefined
    return field.end()
  }

  /** What is not as before. */
  async end(): Promise<string[]> {
    const shared = this.#shared
    this.#shared = undefined
    return (await shared?.end()) ?? []
  }
}

/** Does something with variables in the environment that children inherit. */
async function underneath<T>(env: Record<string, string>, work: () => Promise<T>): Promise<T> {
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, env)
  try {
    return await work()
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

import { existsSync } from 'node:fs'
import { Conversation, type Order, type Wish } from './conversation.js'
import { type Finished, inside, Program, run } from './program.js'
import { root } from './workspace.js'

/** Who undoes what was set up, the last first: ava's `t`. */
export interface Owner {
  teardown(undo: () => Promise<void>): void
}

export interface LabOptions {
  /** MTU of the wire; 1500 unless set. */
  mtu?: number
  /** GRO at the far end, without which frames cannot be redirected natively out of the uplink; on unless set. */
  farGro?: boolean
}

/** A UDP port of a machine on the wire. An address may have a prefix length. */
export interface Target {
  mac: string
  address: string
  port: number
}

/** Traffic ends at the one or the other, or, without flows, at 4,000,000 frames. */
export interface Amount {
  frames?: number
  seconds?: number
  /**
   * So many flows, 1 to 64, that take turns: each has numbers of its own, which must stay in order. Numbers are told
   * apart unless set.
   */
  flows?: number
}

/** How datagrams come that nobody answers. */
export interface Flooding {
  /** A second; as fast as it goes unless set. */
  rate?: number
  /** As XDP frames, for which the uplink's program must be native. */
  live?: boolean
  /** The IPv4 address that they say to come from, the remote host's unless set. */
  from?: string
  /**
   * By chance to so many UDP ports from that of the target on, each with the time of its sending in place of a number:
   * in nanoseconds of CLOCK_MONOTONIC, as `process.hrtime.bigint()`. Of `live` frames only, and endless.
   */
  ports?: number
}

/** What became of a closed loop: `lost` were not answered a second after the last answer came. */
export interface Looped {
  sent: number
  answered: number
  lost: number
  repeated: number
  /** Of a flow: behind a higher number, so repeated or overtaken. */
  late: number
  corrupt: number
  seconds: number
  /** The longest time, in seconds, between one answer and the next. */
  longestWait: number
}

/** What became of a flood; frames that are `lostAtTheFarEnd` never were on the wire. */
export interface Flooded {
  sent: number
  lostAtTheFarEnd: number
  seconds: number
}

/** Numbered datagrams that came to the remote host: `frames = distinct + repeated + late + corrupt`. */
export interface Arrived {
  frames: number
  distinct: number
  repeated: number
  /** Of a flow: behind a higher number, so repeated or overtaken. */
  late: number
  corrupt: number
}

interface Built {
  instances: string
  folder: string
  host: string
  remote: string
  cardMac: string
  farMac: string
}

/** The uplink, and the wire's far end. */
export const CARD = 'card0'
export const FAR = 'far0'
export const HOST = { v4: '192.0.2.1', v6: '2001:db8::1' }
export const REMOTE = { v4: '192.0.2.2', v6: '2001:db8::2' }

/** The addresses that the lab keeps for port `n`, from 0 to 5. */
export const portAddresses = (n: number): [v4: string, v6: string] => [
  `192.0.2.${10 + n}`,
  `2001:db8::${(16 + n).toString(16)}`,
]

/** The same with the prefix lengths of the wire. */
export const portPrefixes = (n: number): [v4: string, v6: string] => {
  const [v4, v6] = portAddresses(n)
  return [`${v4}/24`, `${v6}/64`]
}

/** Names of instances begin so, and what begins so may be swept. */
const prefix = process.env.XSKNET_LAB_PREFIX ?? 'lab-'

/** The path of a program that `npm run build` makes of an example of a crate. */
export function rustExample(name: string): string {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64'
  const target = process.env.CARGO_TARGET_DIR ?? `${root}target`
  const path = `${target}/${machine}-unknown-linux-gnu/release/examples/${name}`
  if (!existsSync(path)) throw new Error(`there is no ${path}: npm run build makes it`)
  return path
}

/**
 * Two machines and a wire, which nothing outlives: the lab ends with its standard input, so with this process, and
 * sweeps what its daemons left. /
 */
export class Lab {
  /** The machine with the uplink, and what runs on it. */
  readonly host: Machine
  /** The machine at the wire's far end. */
  readonly remote: Machine
  readonly cardMac: string
  readonly farMac: string
  /** Everybody may enter it; it goes with the lab. */
  readonly folder: string
  /** Names of its instances begin so. */
  readonly instances: string
  readonly owner: Owner
  readonly #conversation: Conversation

  private constructor(conversation: Conversation, built: Built, owner: Owner) {
    this.#conversation = conversation
    this.owner = owner
    this.host = new Machine(built.host)
    this.remote = new Machine(built.remote)
    this.cardMac = built.cardMac
    this.farMac = built.farMac
    this.folder = built.folder
    this.instances = built.instances
  }

  static async create(owner: Owner, { mtu = 1500, farGro = true }: LabOptions = {}): Promise<Lab> {
    if (process.getuid?.() !== 0) throw new Error('a lab takes root: it makes network namespaces and devices')
    const command = [rustExample('lab'), '--prefix', prefix, '--mtu', `${mtu}`, ...(farGro ? [] : ['--no-far-gro'])]
    // The lab outlives us by the moment that it takes to sweep.
    const conversation = new Conversation(command, { immortal: true })
    owner.teardown(async () => {
      await conversation.program.endInput()
    })
    const built = JSON.parse(await conversation.program.waitFor(/^{"/)) as Built
    const lab = new Lab(conversation, built, owner)
    owner.teardown(async () => {
      await Promise.all([lab.host.end(), lab.remote.end()])
    })
    return lab
  }

  /** Asks the echo port of a machine over UDP, once with each length; how many answers equalled their question. */
  udpEcho(to: string, lengths: readonly number[]): Promise<{ identical: number; seconds: number }> {
    return this.#conversation.ask({ do: 'udpEcho', to, lengths })
  }

  /**
   * Numbered datagrams that a port must send back unchanged; at most `outstanding` are on their way, 192 unless set.
   */
  closedLoop(to: Target, amount: Amount & { outstanding?: number }): Traffic<Looped> {
    return this.#traffic({ do: 'closedLoop', to: plain(to), ...amount })
  }

  /** Numbered datagrams. */
  flood(to: Target, amount: Amount & Flooding): Traffic<Flooded> {
    return this.#traffic({ do: 'flood', to: plain(to), ...amount })
  }

  /** Frames out of the wire's far end, each as it is, one behind the other. */
  async sendFrames(frames: readonly Uint8Array[]): Promise<void> {
    await this.#conversation.ask({ do: 'frames', frames: frames.map((frame) => Buffer.from(frame).toString('hex')) })
  }

  /**
   * The numbered datagrams that came to a UDP port of the remote host since this was first asked; or the `flows` to as
   * many ports from there on. /
   */
  sink(port: number, { numbers, flows }: { numbers?: number; flows?: number } = {}): Promise<Arrived> {
    return this.#conversation.ask({ do: 'sink', port, numbers, flows })
  }

  /** Has numbered datagrams of so many flows end in an XDP program, before an skb is made of them. At most once. */
  sinkNatively(port: number, { flows }: { flows: number }): Promise<void> {
    return this.#conversation.ask({ do: 'sinkNatively', port, flows })
  }

  /** All frames that came to the far end from this MAC since the lab was built. */
  framesFrom(mac: string): Promise<number> {
    return this.#conversation.ask({ do: 'framesFrom', mac })
  }

  /** Remembers the host: devices, addresses, filters, offloads, files and mounts of instances, BPF objects. */
  snapshot(): Promise<void> {
    return this.#conversation.ask({ do: 'snapshot' })
  }

  /** What is not as it was at the {@link snapshot}, at the latest so many seconds from now. */
  compare(seconds = 5): Promise<string[]> {
    return this.#conversation.ask({ do: 'compare', seconds })
  }

  #traffic<T>(what: Wish): Traffic<T> {
    return new Traffic(this.#conversation, what)
  }
}

/** A closed loop or a flood under way. */
export class Traffic<T> {
  readonly done: Promise<T>
  readonly #order: Order<T>
  readonly #conversation: Conversation

  constructor(conversation: Conversation, what: Wish) {
    this.#conversation = conversation
    this.#order = conversation.order(what)
    this.done = this.#order.done
    // Whoever awaits it later still gets the error.
    this.done.catch(() => {})
  }

  progress(): Promise<{ sent: number; answered: number }> {
    return this.#conversation.ask({ do: 'progress', of: this.#order.id })
  }

  /** Sends no more, and waits for what is on its way. */
  async stop(): Promise<T> {
    await this.#conversation.ask({ do: 'stop', of: this.#order.id })
    return this.done
  }
}

/**
 * Pings beyond those that are judged: ping waits no longer for its last answer than its interval, or twice the longest
 * time so far. /
 */
export const UNJUDGED = 64

/** A network namespace of the lab, and programs inside it. */
export class Machine {
  /** A path that names it as long as the lab lives. */
  readonly namespace: string
  readonly #programs: Program[] = []

  constructor(namespace: string) {
    this.namespace = namespace
  }

  /** Runs a program to its end. */
  run(...command: string[]): Promise<Finished> {
    return run(inside(this.namespace, command))
  }

  /** Runs a program that must succeed, and returns what it wrote. */
  async output(...command: string[]): Promise<string> {
    const { code, signal, stdout, stderr } = await this.run(...command)
    if (code !== 0) throw new Error(`${command.join(' ')} ended with ${signal ?? code}:\n${stdout}${stderr}`)
    return stdout
  }

  /** The numbers of those among `count` pings, one a millisecond, that were not answered. */
  async unanswered(address: string, count: number): Promise<number[]> {
    const { stdout } = await this.run('ping', '-n', '-i', '0.001', '-W', '1', '-c', `${count + UNJUDGED}`, address)
    const answered = new Set([...stdout.matchAll(/ icmp_seq=(\d+) /g)].map(([, number]) => Number(number)))
    return Array.from({ length: count }, (_, n) => n + 1).filter((number) => !answered.has(number))
  }

  /** Milliseconds until the answer to a single ping; infinite where none comes within a second. */
  async answerTime(address: string): Promise<number> {
    const { stdout } = await this.run('ping', '-n', '-c', '1', '-W', '1', address)
    const [, time] = / time=([\d.]+) ms/.exec(stdout) ?? []
    return Number(time ?? Number.POSITIVE_INFINITY)
  }

  /** Starts a program, which ends with the lab at the latest. */
  spawn(...command: string[]): Program {
    const program = new Program(inside(this.namespace, command))
    this.#programs.push(program)
    return program
  }

  async deleteLink(name: string): Promise<void> {
    await this.output('ip', 'link', 'delete', name)
  }

  async end(): Promise<void> {
    await Promise.all(this.#programs.map((program) => program.kill()))
  }
}

const plain = ({ mac, address, port }: Target): Target => ({ mac, address: address.split('/')[0] as string, port })

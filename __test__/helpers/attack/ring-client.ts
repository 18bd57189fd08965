import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync } from 'node:fs'
import type { PortEntry, PortInfo, PortStatistics } from 'xsknet'
import type { Client } from '../client.js'
import { CARD, FAR, type Lab, type Looped, portAddresses, portPrefixes, REMOTE, type Traffic } from '../lab.js'
import { type Program, waitUntil } from '../program.js'
import type { Attack } from './attack.js'
import type { Field } from './field.js'
import { ATTACKER, GOOD_GRANT, grant, PORTS, VICTIM } from './parties.js'

const RINGS = 'bpfRings = true\nringSize = 4096\n'
const config = [
  GOOD_GRANT,
  grant(VICTIM, [PORTS.victim], RINGS),
  grant(ATTACKER, [PORTS.attacker, PORTS.accomplice], RINGS),
].join('')

/** Frames that the attacker has at the guard in one variant, at least. */
const FEW = 20_000
const MANY = 1_000_000
/** Calls of one order, each of 64 frames. */
const CALLS = 200
/** Frames with the MAC of a port by which the daemon tells the network of it, at most. */
const ANNOUNCEMENTS = 16
/** Milliseconds that an order may take on a busy machine. */
const LONG = 120_000

const ADDRESS = portAddresses(PORTS.attacker)[0]

/** A client with BPF rings in C, and its victim, another user's port that answers numbered questions all the while. */
class Scene {
  readonly field: Field
  attacker: Program
  readonly #command: readonly string[]
  readonly #victim: Client
  readonly #victimMac: string
  readonly #loop: Traffic<Looped>
  readonly #kernelSaid = kernelSays()
  /** What comes to the far end and must not have left: one program for each port that the attacker has had. */
  readonly #alerts: Program[] = []
  #mac = ''
  #port = 0
  /** Frames that have come from this MAC, less those that the guard has let out. */
  #announced = 0

  private constructor(
    field: Field,
    command: readonly string[],
    victim: Client,
    victimMac: string,
    loop: Traffic<Looped>,
  ) {
    this.field = field
    this.#command = command
    this.attacker = field.spawn(ATTACKER, ...command)
    this.#victim = victim
    this.#victimMac = victimMac
    this.#loop = loop
  }

  static async open(field: Field): Promise<Scene> {
    const { lab, daemon } = field
    const victim = await field.connected(VICTIM)
    const open = { do: 'open', uplink: CARD, addresses: portPrefixes(PORTS.victim), rings: 'bpf' }
    const info = await victim.ask<PortInfo>(open)
    await victim.ask({ do: 'answer' })
    const address = portAddresses(PORTS.victim)[0]
    // No more than the client beside: what is lost shall not be for want of a processor.
    const loop = lab.closedLoop({ mac: info.mac, address, port: 7 }, { outstanding: 8 })
    const command = ringClient(lab, daemon.socket, PORTS.attacker, info.mac, address)
    const scene = new Scene(field, command, victim, info.mac, loop)
    await scene.openPort()
    return scene
  }

  /** Another attacker takes the place of this one, which ends. */
  async renew(): Promise<void> {
    await this.#endAttacker()
    this.attacker = this.field.spawn(ATTACKER, ...this.#command)
    await this.openPort()
  }

  /** Has the attacker do something; what it answers. */
  order(order: string): Promise<string> {
    return ordered(this.attacker, order)
  }

  /** Opens the attacker's port. */
  async openPort(): Promise<void> {
    const [, port, mac] = /^(\d+) (\S+)$/.exec(await this.order('open')) ?? []
    if (!mac) throw new Error(`the attacker has no port: ${this.attacker.lines.slice(-3).join('\n')}`)
    this.#mac = mac
    this.#port = Number(port)
    await this.#watch()
    const { toUplink } = (await this.statistics()).guard
    this.#announced = (await this.field.lab.framesFrom(mac)) - toUplink
  }

  /** Frames of the attacker's MAC that it may not send, and frames of the attacker's making with its victim's. */
  async #watch(): Promise<void> {
    // `vlan` stands last: it moves what is read behind it.
    const allowed = `(ip src host ${ADDRESS} and not udp dst port 68 and not vlan)`
    const address = asNumber(ADDRESS)
    const asked = `(arp and (arp[14:4] = ${address} or (arp[14:4] = 0 and arp[24:4] = ${address})))`
    const own = `ether src ${this.#mac} and not ${asked} and not ip6 and not ${allowed}`
    const forged = `ether src ${this.#victimMac} and udp[8:4] = 0xaaaaaaaa`
    const words = ['-i', FAR, '-Q', 'in', '-p', '-n', '-e', '--immediate-mode', '-l', '-Z', 'root']
    const alerts = this.field.lab.remote.spawn('tcpdump', ...words, `(${forged}) or (${own})`)
    this.#alerts.push(alerts)
    await alerts.waitFor(/listening on/)
  }

  /** What the daemon counts at the attacker's port. */
  async statistics(): Promise<PortStatistics> {
    const { ports } = await this.field.daemon.ask<{ ports: Told[] }>('stats', `${this.#port}`)
    const own = ports.find(({ uid }) => uid === ATTACKER)
    if (!own) throw new Error('the attacker has no port')
    return own.statistics
  }

  /** What does not add up at the attacker's port. */
  async sums(): Promise<string[]> {
    const { guard, rings } = await this.statistics()
    const far = (await this.field.lab.framesFrom(this.#mac)) - this.#announced
    const onward = guard.toPort + guard.toUplink + Object.values(guard.dropped).reduce((sum, n) => sum + n, 0)
    const faults: string[] = []
    if (rings?.sent !== guard.seen || guard.seen !== onward) {
      faults.push(`${rings?.sent} entries were taken, ${guard.seen} judged and ${onward} counted`)
    }
    // Some more announce its addresses. Fewer are lost where the far end has no room.
    if (far > guard.toUplink + ANNOUNCEMENTS) faults.push(`${far} frames left, of ${guard.toUplink} that were allowed`)
    return faults
  }

  /** What came of it for others; the traffic ends. */
  async faults(): Promise<string[]> {
    const faults: string[] = []
    const { sent, answered, lost, repeated, corrupt } = await this.#loop.stop()
    if (answered !== sent || lost + repeated + corrupt > 0 || answered < 1000) {
      faults.push(`of the victim’s ${sent} frames ${answered} were answered, ${repeated} twice, ${corrupt} changed`)
    }
    const alerts = this.#alerts.flatMap(({ lines }) => lines.filter((line) => / > /.test(line)))
    if (alerts.length > 0) faults.push(`${alerts.length} frames left that must not, the first: ${alerts[0]}`)
    await Promise.all(this.#alerts.map((program) => program.kill()))
    const said = kernelSays().slice(this.#kernelSaid.length)
    if (said.length > 0) faults.push(`the kernel said ${said.join('; ')}`)
    if (!this.field.daemon.program.running) faults.push('the daemon has ended')
    return faults
  }

  /** Ends both, and waits until the daemon has no port of theirs. */
  async end(): Promise<void> {
    await this.#endAttacker()
    if (this.#victim.program.running) await this.#victim.kill()
    await this.#withoutPortsOf(VICTIM)
  }

  async #endAttacker(): Promise<void> {
    if (this.attacker.running) await this.attacker.kill()
    this.field.endAdopted()
    await this.#withoutPortsOf(ATTACKER)
  }

  async #withoutPortsOf(user: number): Promise<void> {
    const none = async () => (await this.field.daemon.ask<PortEntry[]>('ports')).every(({ uid }) => uid !== user)
    await waitUntil(`without ports of user ${user}`, none, 5000)
  }
}

/** The command of `ring-client.c` for port `n` of the lab, whose victim has these addresses. */
export function ringClient(lab: Lab, socket: string, n: number, victimMac: string, victim: string): string[] {
  const program = `${lab.folder}/ring-client`
  if (!existsSync(program)) {
    const source = new URL('ring-client.c', import.meta.url).pathname
    execFileSync('gcc', ['-O1', '-pthread', '-o', program, source])
    chmodSync(program, 0o755)
  }
  return [program, socket, portAddresses(n)[0], lab.farMac, REMOTE.v4, victimMac, victim]
}

/** What a `ring-client` answers to an order. */
export async function ordered(program: Program, order: string, milliseconds = LONG): Promise<string> {
  const at = program.lines.length
  program.write(order)
  const name = `${order.split(' ')[0]} `
  const answer = () => program.lines.slice(at).find((line) => line.startsWith(name))
  await waitUntil(`an answer to ${order}`, () => answer() !== undefined || !program.running, milliseconds)
  const answered = answer()
  if (answered === undefined) throw new Error(`ring-client ended: ${program.lines.slice(at).join('\n')}`)
  return answered.slice(name.length)
}

interface Told {
  uid: number
  statistics: PortStatistics
}

const asNumber = (address: string): number => address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0)

/** Warnings and worse. */
function kernelSays(): string[] {
  const told = execFileSync('dmesg', ['--level', 'emerg,alert,crit,err,warn'], { encoding: 'utf8' })
  return told.split('\n').filter(Boolean)
}

/** Everything in the memory of BPF rings is written over while frames go, and the program is run as it should not. */
export const ringSlots: Attack = {
  name: 'ring-slots',
  // Its eight threads delay openings of others beyond what is allowed beside an attack: docs/security.md.
  isLong: true,
  defence: 'the programs take nothing in the memory of BPF rings at its word, however often and as what they are run',
  daemon: { mode: 'native', config },
  async prepare(field) {
    let scene: Scene
    let turn = 0
    const faults: string[] = []
    return {
      async variant(random) {
        scene = await Scene.open(field)
        const deed = turn++ % 2 === 0 ? 'scribble' : 'run'
        const enough = field.isThorough ? MANY : FEW
        faults.length = 0
        // A run at random is often refused, and then nothing is sent.
        const calls = (deed === 'scribble' ? CALLS : 16 * CALLS) * (field.isThorough ? 8 : 1)
        const wanted = deed === 'scribble' ? enough : enough / 20
        let seen = 0
        do {
          await scene.order(`${deed} ${random.below(2 ** 31)} ${calls}`)
          seen = (await scene.statistics()).guard.seen
        } while (seen < wanted)
        faults.push(...(await scene.sums()))
        return `${deed}, ${seen} frames judged`
      },
      async judge() {
        faults.push(...(await scene.faults()))
        await scene.end()
        return { saw: 'none that was not allowed, and its own untouched', faults }
      },
    }
  },
}

/** What a descriptor gives beyond mapping it: everything else is refused. */
const POWERS = [
  'memory: bind to the program',
  'memory: get info',
  'memory: look up',
  'memory: look up in a batch',
  'memory: next key',
  'memory: update',
  'memory: update in a batch',
  'control: bind to the program',
  'control: get info',
  'control: look up',
  'control: look up in a batch',
  'control: update',
  'control: update in a batch',
  'wake: bind to the program',
  'wake: get info',
  'program: BPF_PROG_TEST_RUN',
  'program: get info',
  // The writer's own loss.
  'memory: freeze',
  'control: freeze',
  'wake: freeze',
]

/** What the daemon logs where the kernel does not let it keep clients from attaching their programs. */
const UNGUARDED = /clients with BPF rings can attach their programs/

/** The descriptors of BPF rings are used for all that the kernel offers, kept, and passed on. */
export const ringDescriptors: Attack = {
  name: 'ring-descriptors',
  defence: 'a program can be attached to no device of others, sends only what is run live, and nothing after its port',
  daemon: { mode: 'native', config },
  variants: 1,
  async prepare(field) {
    const { lab } = field
    let scene: Scene
    const faults: string[] = []
    const expect = (what: string, told: string, pattern: RegExp) => {
      if (!pattern.test(told)) faults.push(`${what}: ${told}`)
    }
    return {
      async variant(random) {
        faults.length = 0
        scene = await Scene.open(field)
        expect('good frames', await scene.order('send'), /^64 taken, ok$/)
        const isGuarded = !field.daemon.program.lines.some((line) => UNGUARDED.test(line))
        expect('at the host’s devices', await scene.order('attach'), isGuarded ? /^0 done, \d+ EPERM$/ : /^\d+ done/)
        const lost = await lab.host.unanswered('127.0.0.1', 1)
        if (lost.length > 0) faults.push('the host’s loopback does not answer')

        // The program of a port that was closed sends nothing, even where another port has the place of its rings.
        if (random.below(2) === 0) field.adopt(Number(await scene.order('pass')))
        expect('closing', await scene.order('close'), /^done$/)
        const next = await field.connected(ATTACKER)
        const open = { do: 'open', uplink: CARD, addresses: portPrefixes(PORTS.accomplice), rings: 'bpf' }
        await next.ask<PortInfo>(open)
        expect('once its port was closed', await scene.order('send'), /^0 taken, ok$/)
        await next.kill()

        // Its own devices may have the program; a frame that they receive is not a live run.
        await scene.renew()
        expect('in a namespace of its own', await scene.order('tagged'), /^attached by netlink, ok by .*, 0 taken$/)
        faults.push(...(await scene.sums()))

        await scene.renew()
        await scene.order('powers')
        const told = scene.attacker.lines.filter((line) => /^ {2}\w+: .* ok$/.test(line) && !line.includes(' mmap '))
        const powers = told.map((line) => line.trim().replace(/ ok$/, ''))
        const more = powers.filter((power) => !POWERS.includes(power) && (isGuarded || !/LINK_CREATE/.test(power)))
        faults.push(...more.map((power) => `it can ${power}`))
        faults.push(...POWERS.filter((power) => !powers.includes(power)).map((power) => `it cannot ${power}`))
        const where = 'in the host’s namespace and in another one, during a port and after it'
        const unguarded = '; this kernel does not let the daemon keep it from the host’s devices'
        return `all that the kernel offers, ${where}${isGuarded ? '' : unguarded}`
      },
      async judge() {
        faults.push(...(await scene.faults()))
        await scene.end()
        return { saw: 'nothing of it', faults }
      },
    }
  },
}

const PORTS_IN_TURN = 1000

/** Ports with BPF rings are opened and closed without end. */
export const ringOpenings: Attack = {
  name: 'ring-openings',
  defence: 'a port with BPF rings leaves nothing that makes the next one slower',
  daemon: { mode: 'native', config },
  variants: 1,
  isLong: true,
  async prepare(field) {
    let told = ''
    return {
      async variant() {
        const command = ringClient(field.lab, field.daemon.socket, PORTS.attacker, '02:00:00:00:00:01', REMOTE.v4)
        const program = field.spawn(ATTACKER, ...command)
        told = await ordered(program, `cycle ${PORTS_IN_TURN}`, 5 * LONG)
        await program.kill()
        return `${PORTS_IN_TURN} ports`
      },
      async judge() {
        const [, done, first, last] = /^(\d+) done, first ([\d.]+) ms, last ([\d.]+) ms$/.exec(told) ?? []
        // Other work of the machine comes and goes.
        const isSlower = Number(last) > 1.5 * Number(first)
        return { saw: told, faults: Number(done) === PORTS_IN_TURN && !isSlower ? [] : [told] }
      },
    }
  },
}

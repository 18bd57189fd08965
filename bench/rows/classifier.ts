// What flows cost each packet in the uplink's program, by the kernel's statistics of that program, on live frames.
import { setTimeout as sleep } from 'node:timers/promises'
import type { PortInfo } from 'xsknet'
import { Client } from '../../__test__/helpers/client.js'
import { Daemon, GRANT } from '../../__test__/helpers/daemon.js'
import { CARD, HOST, Lab, portPrefixes, rustExample, type Target } from '../../__test__/helpers/lab.js'
import { Program } from '../../__test__/helpers/program.js'
import type { Check, Claim } from '../comparison.js'
import { MEASURED, pin } from '../place.js'
import { median } from '../statistics.js'
import type { Undo } from '../undo.js'

const FEW = 10
const MANY = 10_000
/** UDP ports that flows are for, and some that none is for. */
const CLAIMED = 20_000
const UNCLAIMED = 40_000
/** A port has 4,096 flows at most, so three share them. */
const PORTS = 3
/** Values of one expression, so that it is not too long. */
const VALUES = 64
/** Fewer runs of the program in a measurement say that the generator did not come up. */
const FEWEST_RUNS = 50_000
/** Seconds of the same before what counts. */
const WARM_UP = 0.3

/** Nanoseconds of a packet. */
interface Costs {
  redirect: number
  hit: number
  miss: number
}

export const classifier: Check = {
  name: 'classifier',
  async measure({ undo, rounds, seconds }) {
    const claims: Claim[] = []
    for (const kinds of [1, 16]) {
      const uplink = await Uplink.open(undo)
      const costs: Record<number, Costs[]> = { [FEW]: [], [MANY]: [] }
      for (let round = -1; round < rounds; round++) {
        for (const flows of round % 2 === 0 ? [FEW, MANY] : [MANY, FEW]) {
          const measured = await uplink.costs(flows, kinds, seconds / 4)
          if (round >= 0) costs[flows]?.push(measured)
        }
      }
      await undo.now()
      claims.push(...told(costs, kinds))
    }
    return claims
  },
}

/** The bounds are those of flows of one kind, as a port has them that claims some ports of an address. */
function told(costs: Record<number, Costs[]>, kinds: number): Claim[] {
  const of = (flows: number, cost: (costs: Costs) => number) => median((costs[flows] ?? []).map(cost))
  const most = (bound: number) => (kinds === 1 ? { most: bound } : {})
  const name = `classifier, ${kinds === 1 ? 'one kind' : `${kinds} kinds`}`
  return [
    { name: `${name}: a redirect by MAC`, value: of(FEW, ({ redirect }) => redirect), unit: 'ns/packet' },
    ...[FEW, MANY].flatMap((flows) => [
      {
        name: `${name}, ${flows.toLocaleString('en')} flows: hit`,
        value: of(flows, ({ hit, redirect }) => hit - redirect),
        unit: 'ns/packet over the redirect',
        ...most(45),
      },
      {
        name: `${name}, ${flows.toLocaleString('en')} flows: miss`,
        value: of(flows, ({ miss, redirect }) => miss - redirect),
        unit: 'ns/packet over the redirect',
        ...most(120),
      },
    ]),
    {
      name: `${name}: a hit of ${MANY.toLocaleString('en')} flows`,
      value: of(MANY, ({ hit }) => hit) / of(FEW, ({ hit }) => hit),
      unit: `times one of ${FEW}`,
      ...most(1.5),
    },
  ]
}

/** A lab's uplink, and a client with ports whose flows change. */
class Uplink {
  readonly #lab: Lab
  readonly #client: Client
  readonly #runTime: RunTime
  readonly #port: Target

  private constructor(lab: Lab, client: Client, runTime: RunTime, port: Target) {
    this.#lab = lab
    this.#client = client
    this.#runTime = runTime
    this.#port = port
  }

  static async open(undo: Undo): Promise<Uplink> {
    const lab = await Lab.create(undo)
    const config = `${GRANT}flows = ["udp"]\noverrideHost = true\n`
    const { socket } = await Daemon.start(lab, { mode: 'native', config })
    const client = Client.start(lab, '__test__/helpers/programs/client.ts', { socket })
    pin(client.program.pid, MEASURED)
    await client.ask({ do: 'connect' })
    const infos: PortInfo[] = []
    for (let n = 0; n < PORTS; n++) {
      const as = `${n}`
      infos.push(await client.ask({ do: 'open', as, uplink: CARD, addresses: portPrefixes(n).slice(0, 1) }))
      await client.ask({ do: 'swallow', as })
    }
    const [{ mac, addresses }] = infos as [PortInfo]
    const port = { mac, address: addresses[0] as string, port: UNCLAIMED }
    const [device] = JSON.parse(await lab.host.output('ip', '-json', 'link', 'show', 'dev', CARD))
    return new Uplink(lab, client, RunTime.of(device.xdp.prog.id, undo), port)
  }

  /** What packets cost while the ports have so many flows, of so many kinds of which the last one hits. */
  async costs(flows: number, kinds: number, seconds: number): Promise<Costs> {
    for (let n = 0; n < PORTS; n++) {
      const numbers = Array.from({ length: flows }, (_, at) => at).filter((at) => at % PORTS === n)
      const texts = [...expressions(numbers), ...(n === 0 ? otherKinds(kinds - 1) : [])]
      await this.#client.ask({ do: 'replace', as: `${n}`, flows: texts, overrideHost: true })
    }
    const host = { mac: this.#lab.cardMac, address: HOST.v4 }
    return {
      redirect: await this.#cost(this.#port, MANY, seconds),
      hit: await this.#cost({ ...host, port: CLAIMED }, flows, seconds),
      miss: await this.#cost({ ...host, port: UNCLAIMED }, MANY, seconds),
    }
  }

  /** Of a packet to one of some UDP ports, by chance. */
  async #cost(to: Target, ports: number, seconds: number): Promise<number> {
    const flood = this.#lab.flood(to, { live: true, flows: 1, ports })
    try {
      await sleep(WARM_UP * 1000)
      const before = await this.#runTime.read()
      await sleep(seconds * 1000)
      const after = await this.#runTime.read()
      const runs = after.runs - before.runs
      if (runs < FEWEST_RUNS) throw new Error(`the uplink's program ran ${runs} times in ${seconds} s`)
      return (after.nanoseconds - before.nanoseconds) / runs
    } finally {
      await flood.stop()
    }
  }
}

/** Of one kind: a UDP port of the host's address. */
function expressions(numbers: readonly number[]): string[] {
  const texts: string[] = []
  for (let at = 0; at < numbers.length; at += VALUES) {
    const ports = numbers.slice(at, at + VALUES).map((number) => CLAIMED + number)
    texts.push(`dst host ${HOST.v4} and udp dst port (${ports.join(' or ')})`)
  }
  return texts
}

/** So many kinds, none of which matches. They are searched before the others, which have no source. */
function otherKinds(count: number): string[] {
  const length = (at: number) => 8 + at
  return Array.from(
    { length: count },
    (_, at) => `src net 10.0.0.0/${length(at)} and dst host ${HOST.v4} and udp dst port ${CLAIMED + at}`,
  )
}

/** The kernel's statistics of a program. */
class RunTime {
  readonly #program: Program
  #asked = 0

  private constructor(program: Program) {
    this.#program = program
  }

  static of(program: number, undo: Undo): RunTime {
    const runTime = new Program([rustExample('run_time'), `${program}`])
    undo.teardown(async () => {
      await runTime.endInput()
    })
    return new RunTime(runTime)
  }

  async read(): Promise<{ nanoseconds: number; runs: number }> {
    const at = this.#asked++
    this.#program.write('')
    const line = await this.#program.until('the statistics of a program', 5000, () => this.#program.lines[at])
    const [nanoseconds, runs] = line.split(' ').map(Number)
    if (!nanoseconds || !runs) throw new Error(`no statistics: ${line}`)
    return { nanoseconds, runs }
  }
}

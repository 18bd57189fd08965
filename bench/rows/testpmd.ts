// dpdk-testpmd behind a port like any other, with the same programs, guard and pair: its driver is kept from bringing a
// program of its own.
import { inside, Program } from '../../__test__/helpers/program.js'
import type { Contest, Family, Reading } from '../comparison.js'
import {
  afresh,
  type C,
  type Fresh,
  GENERATOR,
  MEASURED,
  Place,
  RING_SIZE,
  type Setting,
  type Side,
  target,
  turn,
} from '../place.js'
import { compiled } from '../programs.js'
import type { Undo } from '../undo.js'
import { perSecond, whole } from './frames.js'
import { forwarding } from './sending.js'

/** Looks at counters so long after it is told to begin: milliseconds. */
const LEAD = 100

export const testpmdRxdrop: Family = {
  rows: [{ name: 'testpmd rxdrop', unit: 'packets/s', better: 'more', bound: { least: 0.95, goal: 1 } }],
  prepare: async ({ seconds, ...setting }) => {
    const place = await Place.open(setting)
    const ours = async (side: Side, seconds: number) => {
      const result = await place.flooding(target(side), () => side.order('rxdrop', { seconds }))
      whole('testpmd rxdrop', result)
      return perSecond('testpmd rxdrop', result.frames, result)
    }
    const peer = ({ port, testpmd }: Behind) =>
      place.flooding(target(port), () =>
        testpmd.forwarding(async () => {
          const first = await testpmd.received()
          await new Promise((settle) => setTimeout(settle, seconds * 1000))
          const last = await testpmd.received()
          if (last.packets === first.packets) throw new Error('testpmd rxdrop: no frame came')
          return reading('testpmd rxdrop', last.packets - first.packets, (last.at - first.at) / 1000)
        }),
      )
    return {
      ours: () => turn(() => place.client(0), seconds, ours),
      peer: () => afresh(() => behind(place, setting, 'rxonly'), peer),
    } satisfies Contest
  },
}

export const testpmdMacswap: Family = {
  rows: [{ name: 'testpmd macswap', unit: 'packets/s', better: 'more', bound: { least: 0.9, goal: 1 } }],
  prepare: async ({ seconds, ...setting }) => {
    const place = await Place.open(setting)
    const ours = async (side: Side, seconds: number) => {
      const { came, result } = await place.arriving(side, () => forwarding(place, side, 'l2fwd', { seconds }))
      return perSecond('testpmd macswap', came, result)
    }
    const peer = async ({ port, testpmd }: Behind) => {
      // What is under way at the end comes a moment later, and belongs to no side's time: so count while it runs.
      const { result } = await place.arriving(port, () =>
        place.flooding(
          target(port),
          () =>
            testpmd.forwarding(async () => {
              const first = { at: performance.now(), frames: await place.lab.framesFrom(port.mac) }
              await new Promise((settle) => setTimeout(settle, seconds * 1000))
              const last = { at: performance.now(), frames: await place.lab.framesFrom(port.mac) }
              return reading('testpmd macswap', last.frames - first.frames, (last.at - first.at) / 1000)
            }),
          { from: port.address },
        ),
      )
      if (result.figures['testpmd macswap'] === 0) throw new Error('testpmd macswap: no frame came back')
      return result
    }
    return {
      ours: () => turn(() => place.client(0), seconds, ours),
      peer: () => afresh(() => behind(place, setting, 'macswap'), peer),
    } satisfies Contest
  },
}

interface Behind extends Fresh {
  port: C
  testpmd: Testpmd
}

/** A port, and testpmd in it. It does not warm up: it compiles nothing, and its rate falls after some seconds. */
async function behind(place: Place, { undo, ringSize }: Setting, mode: 'rxonly' | 'macswap'): Promise<Behind> {
  const port = await place.empty(1)
  const testpmd = await Testpmd.start(undo, port, mode, ringSize)
  const end = async () => {
    await testpmd.end()
    await port.end()
  }
  return { port, testpmd, end }
}

/** It polls, so it has a core for itself. */
const reading = (name: string, frames: number, seconds: number): Reading => ({ figures: { [name]: frames / seconds } })

/** Told what to do by its command line, as a person would. */
class Testpmd {
  readonly #program: Program

  private constructor(program: Program) {
    this.#program = program
  }

  static async start(
    undo: Undo,
    { pid, device, xsks }: C,
    mode: 'rxonly' | 'macswap',
    ringSize = RING_SIZE,
  ): Promise<Testpmd> {
    const command = [
      ...[
        'env',
        `LD_PRELOAD=${compiled('behind')}`,
        `XSKNET_XSKS=${xsks}`,
        'stdbuf',
        '-oL',
        'dpdk-testpmd',
        '-l',
        `${GENERATOR},${MEASURED}`,
        '--main-lcore',
        `${GENERATOR}`,
      ],
      ...['--no-pci', '--no-huge', '-m', '256', '--no-shconf', '--no-telemetry'],
      // Without its busy polling, which a veth does not have: it would be a system call for every look at the ring.
      ...['--vdev', `net_af_xdp0,iface=${device},busy_budget=0`],
      ...['--', '-i', '--nb-cores=1', `--forward-mode=${mode}`, '--port-topology=loop', '--burst=64'],
      ...[`--rxd=${ringSize}`, `--txd=${ringSize}`, `--total-num-mbufs=${4 * ringSize}`, '--no-mlockall'],
    ]
    const program = new Program(inside(`/proc/${pid}/ns/net`, command))
    undo.teardown(async () => {
      if (program.running) await program.kill()
    })
    await program.waitFor(/^Done|testpmd> *$/, 30_000)
    return new Testpmd(program)
  }

  end() {
    return this.#program.kill()
  }

  /** It forwards, or reads, for as long as something takes. */
  async forwarding<T>(use: () => Promise<T>): Promise<T> {
    this.#program.write('start')
    await new Promise((settle) => setTimeout(settle, LEAD))
    try {
      return await use()
    } finally {
      await this.#after(/^Done\.$/, 'stop')
    }
  }

  /** Packets that it has received since it was started, and when it said so. */
  async received(): Promise<{ packets: number; at: number }> {
    const line = await this.#after(/RX-packets: *(\d+)/, 'show port stats 0')
    return { packets: Number(/RX-packets: *(\d+)/.exec(line)?.[1]), at: performance.now() }
  }

  /** The first line like this after an order. */
  async #after(pattern: RegExp, order: string): Promise<string> {
    let looked = this.#program.lines.length
    this.#program.write(order)
    return this.#program.until(`an answer to ${order}`, 5000, () => {
      while (looked < this.#program.lines.length) {
        const line = this.#program.lines[looked++] as string
        if (pattern.test(line)) return line
      }
      return undefined
    })
  }
}

// dpdk-testpmd behind a port like any other, with the program that its driver brings at the port's inner end instead of ours: uplink
// program, DEVMAP, guard and pair are the same.
import { Machine } from '../../__test__/helpers/lab.js'
import { inside, Program } from '../../__test__/helpers/program.js'
import type { Contest, Family, Reading } from '../comparison.js'
import { type C, GENERATOR, MEASURED, Place, target } from '../place.js'
import type { Undo } from '../undo.js'
import { perSecond, whole } from './frames.js'
import { forwarding } from './sending.js'

/** Looks at counters so long after it is told to begin: milliseconds. */
const LEAD = 100

export const testpmdRxdrop: Family = {
  rows: [{ name: 'testpmd rxdrop', unit: 'packets/s', better: 'more', bound: { least: 1, goal: 1.2 } }],
  prepare: async ({ undo, seconds }) => {
    const place = await Place.open(undo)
    const ours = await place.client(0)
    const port = await place.empty(1)
    const testpmd = await Testpmd.start(undo, port, 'rxonly')
    const peer = () =>
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
      ours: async () => {
        const result = await place.flooding(target(ours), () => ours.order('rxdrop', { seconds }))
        whole('testpmd rxdrop', result)
        return perSecond('testpmd rxdrop', result.frames, result)
      },
      peer,
    } satisfies Contest
  },
}

export const testpmdMacswap: Family = {
  rows: [{ name: 'testpmd macswap', unit: 'packets/s', better: 'more', bound: { least: 1, goal: 1.2 } }],
  prepare: async ({ undo, seconds }) => {
    const place = await Place.open(undo)
    const ours = await place.client(0)
    const port = await place.empty(1)
    const testpmd = await Testpmd.start(undo, port, 'macswap')
    return {
      ours: async () => {
        const { came, result } = await place.arriving(ours, () => forwarding(place, ours, 'l2fwd', { seconds }))
        return perSecond('testpmd macswap', came, result)
      },
      peer: async () => {
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
      },
    } satisfies Contest
  },
}

/** It polls, so it has a core for itself. */
const reading = (name: string, frames: number, seconds: number): Reading => ({ figures: { [name]: frames / seconds } })

/** Told what to do by its command line, as a person would. */
class Testpmd {
  readonly #program: Program

  private constructor(program: Program) {
    this.#program = program
  }

  static async start(undo: Undo, { pid, device }: C, mode: 'rxonly' | 'macswap'): Promise<Testpmd> {
    const home = new Machine(`/proc/${pid}/ns/net`)
    await detachProgram(home, device)
    const command = [
      ...[
        'env',
        'LIBXDP_SKIP_DISPATCHER=1',
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
      ...['--rxd=2048', '--txd=2048', '--total-num-mbufs=16384', '--no-mlockall'],
    ]
    const program = new Program(inside(home.namespace, command))
    undo.teardown(async () => {
      if (program.running) await program.kill()
    })
    await program.waitFor(/^Done|testpmd> *$/, 30_000)
    return new Testpmd(program)
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

/** The driver of testpmd insists on a program of its own. Ours is this port's alone, so its link is known by it. */
async function detachProgram(home: Machine, device: string): Promise<void> {
  const [{ xdp }] = JSON.parse(await home.output('ip', '-j', 'link', 'show', device)) as [{ xdp?: { prog?: { id: number } } }]
  const links = JSON.parse(await home.output('bpftool', '-j', 'link', 'show')) as { id: number; prog_id: number }[]
  const link = links.find(({ prog_id }) => prog_id === xdp?.prog?.id)
  if (!link) throw new Error(`${device} has no program that could be taken off`)
  await home.output('bpftool', 'link', 'detach', 'id', `${link.id}`)
}

// What a client does when it is told to.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { connect, type Network, type Port, type PortOptions } from 'xsknet'
import type { Orders } from '../../__test__/helpers/programs/serve.js'
import * as batches from './batches.js'
import * as echoes from './echoes.js'
import { forward } from './forward.js'
import { garbageOf } from './garbage.js'
import * as rings from './rings.js'
import type { Order, Result } from './watch.js'

let net: Network
let port: Port
let beside: Port
let threads: Worker[] = []
let made: rings.Rings | undefined
const descriptors = () => (made ??= new rings.Rings(port.queue(0)))

export const orders: Orders = {
  open: async ({ id: _, do: __, socket, ...options }: PortOptions & { id: number; do: string; socket?: string }) => {
    net = await connect({ socket })
    port = await net.openPort(options)
    return port.info
  },
  /** A second port, which has the first one's UMEM or one of its own. */
  'open beside': async ({
    id: _,
    do: __,
    shared,
    ...options
  }: PortOptions & { id: number; do: string; shared: boolean }) => {
    beside = await net.openPort({ ...options, ...(shared && { umemOf: port }) })
    return beside.info
  },
  forward: (order: Order) => forward(port, beside, order),
  verify: (order: Order) => rings.verify(descriptors(), order),
  rxdrop: (order: Order) => rings.rxdrop(descriptors(), order),
  l2fwd: (order: Order) => rings.l2fwd(descriptors(), order),
  txonly: (order: Order) => rings.txonly(descriptors(), order),
  'rxdrop in batches': (order: Order) => batches.rxdrop(port, order),
  'l2fwd in batches': (order: Order) => batches.l2fwd(port, order),
  asleep: (order: Order) => rings.asleep(descriptors(), order),
  'asleep in the loop': (order: Order) => batches.rxdrop(port, order),
  echo: () => void echoes.answer(port),
  ask: (order: echoes.Questions) => echoes.ask(port, order),
  /** Says so, and then listens to nothing but its port. */
  'echo spinning': () => {
    const made = descriptors()
    setTimeout(() => echoes.answerSpinning(made), 10)
  },
  'ask spinning': (order: echoes.Questions) => echoes.askSpinning(port, descriptors(), order),
  garbage: ({ level, stretches, frames = 0, ...order }: Order & { level: 'rings' | 'batches'; stretches: number }) =>
    garbageOf(stretches, frames, (frames) =>
      level === 'rings'
        ? rings.rxdrop(descriptors(), { ...order, frames })
        : batches.rxdrop(port, { ...order, frames }),
    ),
  /** Opens further ports, and waits at each for frames. */
  wait: async ({ ports }: { ports: PortOptions[] }) => {
    const opened = await Promise.all(ports.map((options) => net.openPort(options)))
    for (const each of [port, ...opened]) void batches.rxdrop(each, {})
  },
  /** Gives each queue to a thread, bound to a processor. */
  'hand over': ({ processors }: { processors: number[] }) => {
    threads = processors.map((processor, index) => {
      const workerData = { token: port.queue(index).token(), processor }
      return new Worker(new URL('./queue-thread.js', import.meta.url), { workerData })
    })
  },
  'read in threads': ({ id: _, do: __, ...order }: Order & { id: number; do: string }) =>
    Promise.all(
      threads.map(async (thread) => {
        const told = once(thread, 'message')
        thread.postMessage(order)
        return (await told)[0] as Result
      }),
    ),
  stats: () => port.stats(),
}

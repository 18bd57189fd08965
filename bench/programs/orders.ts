// What a client does when it is told to.
import { connect, type Port, type PortOptions } from 'xsknet'
import type { Orders } from '../../__test__/helpers/programs/serve.js'
import * as batches from './batches.js'
import * as echoes from './echoes.js'
import { garbageOf } from './garbage.js'
import * as rings from './rings.js'
import type { Order } from './watch.js'

let port: Port
let made: rings.Rings | undefined
const descriptors = () => (made ??= new rings.Rings(port.queue(0)))

export const orders: Orders = {
  open: async ({ id: _, do: __, socket, ...options }: PortOptions & { id: number; do: string; socket?: string }) => {
    port = await (await connect({ socket })).openPort(options)
    return port.info
  },
  // Over descriptors, or, asleep while nothing comes, in batches with leases.
  verify: (order: Order) => rings.verify(descriptors(), order),
  rxdrop: (order: Order) => rings.rxdrop(descriptors(), order),
  l2fwd: (order: Order) => rings.l2fwd(descriptors(), order),
  txonly: (order: Order) => rings.txonly(descriptors(), order),
  'rxdrop in batches': (order: Order) => batches.rxdrop(port, order),
  'l2fwd in batches': (order: Order) => batches.l2fwd(port, order),
  asleep: (order: Order) => batches.rxdrop(port, order),
  echo: () => void echoes.answer(port),
  ask: (order: echoes.Questions) => echoes.ask(port, order),
  garbage: (order: Order & { level: 'rings' | 'batches' }) =>
    garbageOf(() => (order.level === 'rings' ? rings.rxdrop(descriptors(), order) : batches.rxdrop(port, order))),
  /** Opens further ports, and waits at each for frames. */
  wait: async ({ ports }: { ports: PortOptions[] }) => {
    const net = await connect()
    const opened = await Promise.all(ports.map((options) => net.openPort(options)))
    for (const each of [port, ...opened]) void batches.rxdrop(each, {})
  },
  nothing: () => null,
  stats: () => port.stats(),
}

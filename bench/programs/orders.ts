// What a client does when it is told to.
import { connect, type Port, type PortOptions } from 'xsknet'
import type { Orders } from '../../__test__/helpers/programs/serve.js'
import * as batches from './batches.js'
import * as echoes from './echoes.js'
import { garbageOf } from './garbage.js'
import type { Order } from './watch.js'

let port: Port

export const orders: Orders = {
  open: async ({ id: _, do: __, socket, ...options }: PortOptions & { id: number; do: string; socket?: string }) => {
    port = await (await connect({ socket })).openPort(options)
    return port.info
  },
  rxdrop: (order: Order) => batches.rxdrop(port, order),
  verify: (order: Order) => batches.verify(port, order),
  asleep: (order: Order) => batches.rxdrop(port, order),
  l2fwd: (order: Order) => batches.l2fwd(port, order),
  txonly: (order: Order) => batches.txonly(port, order),
  echo: () => void echoes.answer(port),
  ask: (order: echoes.Questions) => echoes.ask(port, order),
  garbage: (order: Order) => garbageOf(() => batches.rxdrop(port, order)),
  /** Opens further ports, and waits at each for frames. */
  wait: async ({ ports }: { ports: PortOptions[] }) => {
    const net = await connect()
    const opened = await Promise.all(ports.map((options) => net.openPort(options)))
    for (const each of [port, ...opened]) void batches.rxdrop(each, {})
  },
  nothing: () => null,
  stats: () => port.stats(),
}

// What reading costs beside the kernel: the rings of a socket in plain memory, which a thread keeps full. Not part of any release: the
// binding is built with the feature `loopback`, and the queue on it is made as a port would make it.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { PortInfo, Queue } from 'xsknet'
import { serve } from '../../__test__/helpers/programs/serve.js'
import { Rings, rxdrop } from './rings.js'
import type { Order } from './watch.js'

interface Loopback {
  socket(): unknown
  stop(): void
}

type NewQueue = new (socket: unknown, info: Partial<PortInfo>, index: number, owner: object, settings: object) => Queue

const [binding = '', packages = ''] = process.argv.slice(2)
let rings: Rings
/** Held, because its thread ends with it. */
let loopback: Loopback

serve({
  open: async ({ packet, slots }: { packet: string; slots: number }) => {
    const { Loopback } = createRequire(import.meta.url)(binding) as {
      Loopback: new (packet: Uint8Array, slots: number) => Loopback
    }
    const { Queue } = (await import(pathToFileURL(`${packages}/xsknet/dist/queue.js`).href)) as { Queue: NewQueue }
    loopback = new Loopback(Buffer.from(packet, 'hex'), slots)
    const owner = { lost() {}, starved() {} }
    const queue = new Queue(loopback.socket(), { name: 'loopback', uplink: 'memory' }, 0, owner, { spinMicroseconds: 0 })
    rings = new Rings(queue)
  },
  headroom: (order: Order) => rxdrop(rings, order),
  nothing: () => null,
})

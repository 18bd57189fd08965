// Frames from one port of an uplink to another, which no wire sees. The one that sends has the measured processor.
import type { Family } from '../comparison.js'
import { type Fresh, GENERATOR, headerOf, Place, PORT, pin, type Side, turn } from '../place.js'
import { perSecond, whole } from './frames.js'

const NAME = 'rings port to port'
const LENGTH = 64
/** Seconds that frames come before the receiver begins, and after its end. */
const MARGIN = 0.2

interface Pair extends Fresh {
  sender: Side
  receiver: Side
}

/** Ours on BPF rings, the peers in C on ports of AF_XDP. */
export const portToPort: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more', bound: { least: 3, goal: 6 } }],
  async prepare({ seconds, ...setting }) {
    const place = await Place.open(setting)
    const pair = async (open: (n: number) => Promise<Side>): Promise<Pair> => {
      const [sender, receiver] = [await open(0), await open(1)]
      pin(receiver.pid, GENERATOR)
      return { sender, receiver, end: () => Promise.all([sender.end(), receiver.end()]) }
    }
    const read = async ({ sender, receiver }: Pair, seconds: number) => {
      const { mac, address } = sender
      const header = headerOf(mac, address, receiver.mac, receiver.address, LENGTH)
      const sending = sender.order('txonly', { length: LENGTH, header, seconds: seconds + 2 * MARGIN })
      const [received, { sent }] = await Promise.all([receiver.order('rxdrop', { port: PORT, seconds }), sending])
      whole(NAME, received)
      const reading = perSecond(NAME, received.datagrams, received)
      return { ...reading, aside: { ...reading.aside, 'frames sent': sent } }
    }
    return {
      ours: () => turn(() => pair((n) => place.client(n, { rings: 'bpf' })), seconds, read),
      peer: () => turn(() => pair((n) => place.peer(n)), seconds, read),
    }
  },
}

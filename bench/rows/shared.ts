// Forwarding between two ports of one client: with one UMEM, so that no byte moves, against a UMEM each, so that frames are copied.
import type { PortInfo } from 'xsknet'
import { CARD, portPrefixes } from '../../__test__/helpers/lab.js'
import type { Family } from '../comparison.js'
import { Place, PORT, SIZES, type TypeScript, target } from '../place.js'
import { perSecond } from './frames.js'

const NAME = 'shared UMEM'

export const shared: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more' }],
  async prepare({ undo, seconds }) {
    const place = await Place.open(undo)
    // As many chunks altogether as the two UMEMs of the other side have.
    const pair = async (n: number, isShared: boolean) => {
      const client = await place.client(n, isShared ? { frames: 2 * SIZES.frames } : {})
      const sizes = isShared ? { ringSize: SIZES.ringSize } : SIZES
      const order = { do: 'open beside', shared: isShared, uplink: CARD, addresses: portPrefixes(n + 1), ...sizes }
      const info = await client.ask<PortInfo>(order)
      return { client, mac: info.mac, address: (info.addresses[0] as string).split('/')[0] as string }
    }
    const [ours, peer] = [await pair(0, true), await pair(2, false)]
    const read = async ({ client, mac, address }: { client: TypeScript; mac: string; address: string }) => {
      const run = () => place.flooding(target(client), () => client.order('forward', { port: PORT, seconds }), { from: address })
      const { came, result } = await place.arriving({ mac, address }, run)
      if (came === 0) throw new Error(`${NAME}: of ${result.sent} frames forwarded none came`)
      return perSecond(NAME, came, result)
    }
    return { ours: () => read(ours), peer: () => read(peer) }
  },
}

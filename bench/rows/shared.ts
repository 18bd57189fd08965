// Forwarding between two ports of one client: with one UMEM, so that no byte moves, against a UMEM each, so that frames
// are copied.
import type { PortInfo } from 'xsknet'
import { CARD, portPrefixes } from '../../__test__/helpers/lab.js'
import type { Family } from '../comparison.js'
import { type Fresh, Place, PORT, RING_SIZE, type TypeScript, target, turn } from '../place.js'
import { perSecond } from './frames.js'

const NAME = 'shared UMEM'

interface Pair extends Fresh {
  client: TypeScript
  mac: string
  address: string
}

export const shared: Family = {
  rows: [{ name: NAME, unit: 'packets/s', better: 'more' }],
  async prepare({ seconds, ...setting }) {
    const place = await Place.open(setting)
    const { ringSize = RING_SIZE } = setting
    // As many chunks altogether as the two UMEMs of the other side have.
    const pair = async (n: number, isShared: boolean) => {
      const client = await place.client(n, isShared ? { frames: 4 * ringSize } : {})
      const order = { do: 'open beside', shared: isShared, uplink: CARD, addresses: portPrefixes(n + 1), ringSize }
      const info = await client.ask<PortInfo>(order)
      const address = (info.addresses[0] as string).split('/')[0] as string
      return { client, mac: info.mac, address, end: () => client.end() }
    }
    const read = async ({ client, mac, address }: Pair, seconds: number) => {
      const run = () =>
        place.flooding(target(client), () => client.order('forward', { port: PORT, seconds }), { from: address })
      const { came, result } = await place.arriving({ mac, address }, run)
      if (came === 0) throw new Error(`${NAME}: of ${result.sent} frames forwarded none came`)
      return perSecond(NAME, came, result)
    }
    return {
      ours: () => turn(() => pair(0, true), seconds, read),
      peer: () => turn(() => pair(2, false), seconds, read),
    }
  },
}

import type { PortInfo } from 'xsknet'
import * as p from '../../unit/headers/packets.js'
import type { Client } from '../client.js'
import { CARD, HOST, portPrefixes } from '../lab.js'
import type { Attack } from './attack.js'
import { ATTACKER, PORTS } from './parties.js'

/** What a port may send of each kind in a second, and at once; what a test's clocks are apart. */
const RATE = 1000
const SLACK = 300
const SECONDS = 1

/** Two ports send as fast as they can what everybody has to look at. */
export const storms: Attack = {
  name: 'storms',
  defence: 'broadcast, multicast and unknown unicast of a port are limited by the second',
  variants: 3,
  async prepare(field) {
    const { lab } = field
    const attackers: [Client, PortInfo][] = []
    for (const n of [PORTS.attacker, PORTS.accomplice]) {
      const client = await field.connected(ATTACKER)
      attackers.push([client, await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(n) })])
    }
    const kinds = [
      ['broadcast', () => p.BROADCAST],
      ['multicast', () => p.mac('01:00:5e:00:00:fb')],
      ['unknown unicast', (bytes: number) => Buffer.from([0x02, 0xee, 0xee, 0xee, 0xee, bytes])],
      ['IPv6 multicast', () => p.mac('33:33:00:00:00:fb')],
    ] as const
    let turn = 0
    let came: { sent: number; arrived: number; seconds: number }[] = []
    return {
      async variant(random) {
        const [what, to] = kinds[turn++ % kinds.length] as (typeof kinds)[number]
        came = await Promise.all(
          attackers.map(async ([client, { mac, addresses }]) => {
            const source = p.ip4Address((addresses[0] as string).replace(/\/.*/, ''))
            const fields = {
              source,
              destination: p.ip4Address(HOST.v4),
              sourcePort: 9,
              destinationPort: 9,
              checksum: 0,
            }
            const frame = p.udp4(fields, { from: p.mac(mac), to: to(random.below(256)) }).toString('hex')
            const [before, began] = [await lab.framesFrom(mac), performance.now()]
            const sent = await client.ask<number>({ do: 'storm', frame, seconds: SECONDS })
            await settled(client)
            return { sent, arrived: (await lab.framesFrom(mac)) - before, seconds: (performance.now() - began) / 1000 }
          }),
        )
        return `two ports send ${what} as fast as they can`
      },
      async judge() {
        const faults = came.flatMap(({ sent, arrived, seconds }) => {
          const most = RATE * (seconds + 1) + SLACK
          return arrived > most
            ? [
                `${arrived} of ${sent} frames came to the far end in ${seconds.toFixed(1)} s, ` +
                  `${Math.floor(most)} are right`,
              ]
            : []
        })
        for (const { sent } of came)
          if (sent < 2 * RATE + SLACK) faults.push(`only ${sent} frames were sent, so nothing was tried`)
        return {
          saw: `${came.map(({ sent, arrived }) => `${arrived} of ${sent}`).join(' and ')} frames at the far end`,
          faults,
        }
      },
    }
  },
}

/** Waits until the kernel has sent what was queued. */
async function settled(client: Client): Promise<void> {
  const left = async () => (await client.ask<{ chunks: { tx: number } }>({ do: 'stats' })).chunks.tx
  for (const deadline = performance.now() + 2000; (await left()) > 0 && performance.now() < deadline; );
}

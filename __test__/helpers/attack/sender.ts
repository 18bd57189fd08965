import type { PortInfo } from 'xsknet'
import { ip4Address, mac, udp4 } from '../../unit/headers/packets.js'
import type { Client } from '../client.js'
import { REMOTE } from '../lab.js'

/** Datagrams of a port to the wire's far end, each of its own. */
export class Sender {
  readonly #client: Client
  readonly #info: PortInfo
  readonly #to: Buffer
  #number = 0

  constructor(client: Client, info: PortInfo, to: string) {
    this.#client = client
    this.#info = info
    this.#to = mac(to)
  }

  datagrams(count: number): Buffer[] {
    const source = ip4Address((this.#info.addresses[0] as string).replace(/\/.*/, ''))
    const tags: [number, number][] = this.#info.vlan === null ? [] : [[0x8100, this.#info.vlan]]
    return Array.from({ length: count }, () => {
      const payload = Buffer.alloc(32)
      payload.writeUInt32BE(this.#number++)
      const fields = {
        source,
        destination: ip4Address(REMOTE.v4),
        sourcePort: 9,
        destinationPort: 9,
        checksum: 0,
        payload,
      }
      return udp4(fields, { to: this.#to, from: mac(this.#info.mac), tags })
    })
  }

  async send(frames: readonly Buffer[], as = 'port'): Promise<void> {
    await this.#client.ask({ do: 'frames', as, frames: frames.map((frame) => frame.toString('hex')) })
  }
}

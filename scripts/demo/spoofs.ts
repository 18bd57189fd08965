import { arp, checksum, ethernet, ipv6, ndp, type Packet, parseIpv4, parseIpv6, parseMac, udp } from 'xsknet/headers'
import { HOST, REMOTE } from '../../__test__/helpers/lab.js'

/** A frame that no port may send. */
export interface Spoof {
  what: string
  /** Under which the guard counts it. */
  reason: string
  frame: Uint8Array
}

const STRANGER = '02:00:5e:00:53:01'
const BROADCAST = parseMac('ff:ff:ff:ff:ff:ff')
/** Where a message stands behind Ethernet and IPv6. */
const ICMPV6 = 54

/** Each forges one thing of an otherwise honest frame of this port. */
export function spoofs({ mac, addresses }: { mac: string; addresses: readonly string[] }): Spoof[] {
  const honest = { mac, addresses, vlan: null }
  const plain = addresses.map((address) => address.replace(/\/.*/, ''))
  const own6 = found(plain, '2001:')
  const to = { sourcePort: 9, destinationPort: 9, destination: parseIpv4(REMOTE.v4), destinationMac: BROADCAST }
  const datagram = (station: { mac: string; vlan: number | null }, source?: number) =>
    built((packet) => {
      udp.build(
        packet,
        { info: { addresses, ...station } },
        source === undefined ? to : { ...to, source },
        Buffer.from('x'),
      )
    })
  return [
    { what: 'a MAC of others', reason: 'source_mac', frame: datagram({ ...honest, mac: STRANGER }) },
    { what: 'an address of others', reason: 'source_ip', frame: datagram(honest, parseIpv4('192.0.2.99')) },
    {
      what: 'ARP for others',
      reason: 'arp',
      frame: built((packet) =>
        arp.request(packet, { info: { ...honest, addresses: [HOST.v4] } }, parseIpv4(REMOTE.v4)),
      ),
    },
    {
      what: "a neighbour's name",
      reason: 'nd',
      frame: built((packet) => {
        ndp.solicit(packet, { info: { mac: STRANGER, addresses: [REMOTE.v6], vlan: null } }, parseIpv6(own6))
        ndp.answer(packet, { info: honest })
        const target = new DataView(packet.memory.buffer, ICMPV6 + 8)
        for (const [i, word] of parseIpv6(HOST.v6).entries()) target.setUint32(4 * i, word)
        stamp(packet)
      }),
    },
    {
      what: "a router's word",
      reason: 'rogue',
      frame: built((packet) => advertiseRouter(packet, mac, found(plain, 'fe80:'))),
    },
    { what: 'a VLAN tag', reason: 'vlan', frame: datagram({ ...honest, vlan: 7 }) },
  ]
}

/** RFC 4861, section 4.2, without options. */
function advertiseRouter(packet: Packet, mac: string, linkLocal: string): void {
  const [source, destination] = [parseIpv6(linkLocal), parseIpv6('ff02::1')]
  const at = ethernet.write(packet, {
    source: parseMac(mac),
    destination: parseMac('33:33:00:00:00:01'),
    etherType: 0x86dd,
  })
  ipv6.write(packet, at, { source, destination, protocol: 58, hopLimit: 255 }, 16)
  packet.memory.set([134, 0, 0, 0, 64, 0, 7, 8], ICMPV6)
  stamp(packet)
}

/**
 * The checksum of ICMPv6, with a pseudo-header of both addresses, which stand in front of the message, its length and
 * 58.
 */
function stamp({ memory, length }: Packet): void {
  const view = new DataView(memory.buffer, ICMPV6)
  view.setUint16(2, 0)
  const initial = ~checksum(memory, ICMPV6 - 32, 32, length - ICMPV6 + 58) & 0xffff
  view.setUint16(2, checksum(memory, ICMPV6, length - ICMPV6, initial))
}

function found(addresses: readonly string[], start: string): string {
  const address = addresses.find((text) => text.startsWith(start))
  if (!address) throw new Error(`the port has no address that starts with ${start}`)
  return address
}

function built(build: (packet: Packet) => void): Uint8Array {
  const packet = { memory: new Uint8Array(256), offset: 0, length: 0, capacity: 256 }
  build(packet)
  return packet.memory.subarray(0, packet.length)
}

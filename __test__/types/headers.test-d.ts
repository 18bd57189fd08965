// Compiled, never run: every @ts-expect-error is a use that must not compile.
import { connect, type Frame } from 'xsknet'
import {
  arp,
  checksum,
  type Ethernet,
  ethernet,
  type Icmp,
  type Ipv4,
  type Ipv6,
  type Ipv6Words,
  icmp,
  ipv4,
  ipv6,
  type Neighbour,
  ndp,
  type Packet,
  parseIpv4,
  parseIpv6,
  parseMac,
  type Station,
  type Udp,
  udp,
} from 'xsknet/headers'
import { exactly } from './exactly.js'

const net = await connect()
const port = await net.openPort({ uplink: 'eth0', addresses: ['192.0.2.10/24'] })
declare const frame: Frame

// What the package hands out is what the headers take.
const packet: Packet = frame
const station: Station = port
const own: Packet = { memory: new Uint8Array(2048), offset: 0, length: 0, capacity: 2048 }
exactly<boolean>()(arp.answer(frame, port))
exactly<boolean>()(ndp.answer(packet, station))
exactly<boolean>()(icmp.echo(own, { info: { mac: '02:00:00:00:00:0a', addresses: ['192.0.2.10'], vlan: null } }))

exactly<Ethernet | undefined>()(ethernet(frame))
exactly<Ipv4 | undefined>()(ipv4(frame))
exactly<Ipv6 | undefined>()(ipv6(frame))
exactly<Icmp | undefined>()(icmp(frame))
exactly<Neighbour | undefined>()(ndp(frame))
exactly<Udp | undefined>()(udp(frame))
exactly<number | undefined>()(udp(frame)?.destinationPort)
exactly<string | undefined>()(udp(frame)?.sourceAddress)
exactly<Uint8Array | undefined>()(udp(frame)?.payload())
exactly<number | undefined>()(arp(frame)?.senderMac)
exactly<number>()(checksum(frame.memory, frame.offset, frame.length))
exactly<boolean>()(udp.reply(frame, 100))
exactly<boolean>()(udp.answer(frame, port, 100))

const to = { sourcePort: 1, destinationMac: parseMac('02:00:00:00:00:14'), destinationPort: 2 }
udp.build(frame, port, { ...to, destination: parseIpv4('192.0.2.20') }, new Uint8Array(4))
udp.build(frame, port, { ...to, destination: parseIpv6('2001:db8::20'), source: undefined, hopLimit: undefined }, 4)
const words: Ipv6Words = [0x2001_0db8, 0, 0, 0x20]
ndp.solicit(frame, port, words)
const offset: number = ethernet.write(frame, { destination: 1, source: 2, etherType: 0x0800, vlan: undefined })
exactly<number>()(ipv4.write(frame, offset, { source: 1, destination: 2, protocol: 253 }, 10))

// @ts-expect-error addresses are numbers in the path of a packet
udp.build(frame, port, { ...to, destination: '192.0.2.20' }, 4)
// @ts-expect-error addresses are numbers in the path of a packet
arp.request(frame, port, '192.0.2.20')
// @ts-expect-error a flyweight is got from `udp()`
new Udp()
const query = udp(frame)
// @ts-expect-error lengths follow from `udp.reply`
if (query) query.payloadLength = 3
// @ts-expect-error what could not be read is undefined
query.destinationPort

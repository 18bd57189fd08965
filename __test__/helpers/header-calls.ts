// Every function of `xsknet/headers` that a program calls for each packet, in a loop of its own, so that each is
// compiled for itself. The figures of the benchmark and the test of what is allocated are of the same calls.
import {
  arp,
  checksum,
  ethernet,
  icmp,
  ipv4,
  ipv6,
  ndp,
  type Packet,
  parseIpv4,
  parseIpv6,
  parseMac,
  udp,
} from 'xsknet/headers'
import * as p from '../unit/headers/packets.js'

/** The calls of one function. */
export interface HeaderCalls {
  /** The function, and where there are two kinds, which. */
  name: string
  /** What the packet holds before each call; empty where the function writes it anew. */
  packet: Uint8Array
  /** Calls it so many times, and returns how often it did what it is for. */
  run(times: number): number
}

// Like a frame: somewhere in a large memory.
const memory = new Uint8Array(1 << 20)
const held: Packet = { memory, offset: 4096 + 256, length: 0, capacity: 1792 }
const station = p.STATION

const peerMac = parseMac('02:00:00:00:00:14')
const [peer4, peer6] = [parseIpv4('192.0.2.20'), parseIpv6('2001:db8::20')]
const to4 = { sourcePort: 53, destinationMac: peerMac, destination: peer4, destinationPort: 40_000 }
// Its fields stand in another order: V8 keeps the numbers of an object otherwise where others of its kind have none.
const to6 = { destination: peer6, sourcePort: 53, destinationMac: peerMac, destinationPort: 40_000 }
const from4 = { source: parseIpv4('192.0.2.10'), ...to4 }
const from6 = { source: parseIpv6('2001:db8::10'), ...to6 }
const link = { destination: peerMac, source: parseMac('02:00:00:00:00:0a'), etherType: 0x0800 }
const over4 = { source: parseIpv4('192.0.2.10'), destination: peer4, protocol: 17 }
const over6 = { protocol: 17, source: parseIpv6('2001:db8::10'), destination: peer6 }
/** Bytes of a payload, as of the shortest frame. */
const PAYLOAD = 18
const payload = p.payloadOf(PAYLOAD)

const packets = {
  arp: p.arpFrame(),
  solicitation: p.solicitation(),
  echo4: p.echoRequest4({ payload }),
  echo6: p.echoRequest6({ payload }),
  udp4: p.udp4({ payload }),
  udp6: p.udp6({ payload }),
  options4: p.udp4({ payload, options: p.hex('94040000') }),
  options6: p.udp6({ payload, extensions: [p.HOP_BY_HOP, p.DESTINATION_OPTIONS] }),
}

function refill(bytes: Uint8Array): void {
  memory.set(bytes, held.offset)
  held.length = bytes.length
}

/** Copying the packet, as before each call of what changes it: its time is not that function's. */
export function copies(bytes: Uint8Array, times: number): void {
  for (let i = 0; i < times; i++) refill(bytes)
}

const nothing = new Uint8Array()
const reader = (name: string, packet: Uint8Array, run: HeaderCalls['run']): HeaderCalls => ({ name, packet, run })
const answer = reader
const builder = (name: string, run: HeaderCalls['run']): HeaderCalls => ({ name, packet: nothing, run })

/** What reads. The packet stays as it is, so it is copied once. */
export const readers: readonly HeaderCalls[] = [
  reader('ethernet', packets.udp4, (times) => {
    refill(packets.udp4)
    let done = 0
    for (let i = 0; i < times; i++) if (ethernet(held)?.etherType === 0x0800) done++
    return done
  }),
  reader('arp', packets.arp, (times) => {
    refill(packets.arp)
    let done = 0
    for (let i = 0; i < times; i++) if (arp(held)?.operation === 1) done++
    return done
  }),
  reader('ipv4', packets.udp4, (times) => {
    refill(packets.udp4)
    let done = 0
    for (let i = 0; i < times; i++) if (ipv4(held)?.protocol === 17) done++
    return done
  }),
  reader('ipv6', packets.udp6, (times) => {
    refill(packets.udp6)
    let done = 0
    for (let i = 0; i < times; i++) if (ipv6(held)?.protocol === 17) done++
    return done
  }),
  reader('icmp', packets.echo4, (times) => {
    refill(packets.echo4)
    let done = 0
    for (let i = 0; i < times; i++) if (icmp(held)?.type === 8) done++
    return done
  }),
  reader('ndp', packets.solicitation, (times) => {
    refill(packets.solicitation)
    let done = 0
    for (let i = 0; i < times; i++) if (ndp(held)?.type === 135) done++
    return done
  }),
  reader('udp, IPv4', packets.udp4, (times) => {
    refill(packets.udp4)
    let done = 0
    for (let i = 0; i < times; i++) if (udp(held)?.destinationPort === 53) done++
    return done
  }),
  reader('udp, IPv6', packets.udp6, (times) => {
    refill(packets.udp6)
    let done = 0
    for (let i = 0; i < times; i++) if (udp(held)?.destinationPort === 53) done++
    return done
  }),
  reader('udp, IPv4 options', packets.options4, (times) => {
    refill(packets.options4)
    let done = 0
    for (let i = 0; i < times; i++) if (udp(held)?.destinationPort === 53) done++
    return done
  }),
  reader('udp, IPv6 options', packets.options6, (times) => {
    refill(packets.options6)
    let done = 0
    for (let i = 0; i < times; i++) if (udp(held)?.destinationPort === 53) done++
    return done
  }),
  reader('udp.checksumOk, IPv4', packets.udp4, (times) => {
    refill(packets.udp4)
    let done = 0
    for (let i = 0; i < times; i++) if (udp(held)?.checksumOk) done++
    return done
  }),
  reader('udp.checksumOk, IPv6', packets.udp6, (times) => {
    refill(packets.udp6)
    let done = 0
    for (let i = 0; i < times; i++) if (udp(held)?.checksumOk) done++
    return done
  }),
  reader('checksum', packets.udp4, (times) => {
    refill(packets.udp4)
    let done = 0
    for (let i = 0; i < times; i++) if (checksum(memory, held.offset + 14, 20) === 0) done++
    return done
  }),
  reader('checksum.update', packets.udp4, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) if (checksum.update(0x1234, i & 0xffff, 7) !== 0) done++
    return done
  }),
]

/** What changes a packet into another one. It is copied before each call. */
export const answers: readonly HeaderCalls[] = [
  answer('arp.answer', packets.arp, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.arp)
      if (arp.answer(held, station)) done++
    }
    return done
  }),
  answer('ndp.answer', packets.solicitation, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.solicitation)
      if (ndp.answer(held, station)) done++
    }
    return done
  }),
  answer('icmp.echo, IPv4', packets.echo4, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.echo4)
      if (icmp.echo(held, station)) done++
    }
    return done
  }),
  answer('icmp.echo, IPv6', packets.echo6, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.echo6)
      if (icmp.echo(held, station)) done++
    }
    return done
  }),
  answer('udp.answer, IPv4', packets.udp4, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.udp4)
      if (udp.answer(held, station, PAYLOAD)) done++
    }
    return done
  }),
  answer('udp.answer, IPv6', packets.udp6, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.udp6)
      if (udp.answer(held, station, PAYLOAD)) done++
    }
    return done
  }),
  answer('udp.reply, IPv4', packets.udp4, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.udp4)
      if (udp.reply(held, PAYLOAD)) done++
    }
    return done
  }),
  answer('udp.reply, IPv6', packets.udp6, (times) => {
    let done = 0
    for (let i = 0; i < times; i++) {
      refill(packets.udp6)
      if (udp.reply(held, PAYLOAD)) done++
    }
    return done
  }),
]

/** What writes a packet, or a part of one. */
export const builders: readonly HeaderCalls[] = [
  builder('ethernet.write', (times) => {
    let done = 0
    for (let i = 0; i < times; i++) if (ethernet.write(held, link) > 0) done++
    return done
  }),
  builder('ipv4.write', (times) => {
    let done = 0
    for (let i = 0; i < times; i++) if (ipv4.write(held, 14, over4, PAYLOAD) > 0) done++
    return done
  }),
  builder('ipv6.write', (times) => {
    let done = 0
    for (let i = 0; i < times; i++) if (ipv6.write(held, 14, over6, PAYLOAD) > 0) done++
    return done
  }),
  builder('arp.request', (times) => {
    for (let i = 0; i < times; i++) arp.request(held, station, peer4)
    return times
  }),
  builder('ndp.solicit', (times) => {
    for (let i = 0; i < times; i++) ndp.solicit(held, station, peer6)
    return times
  }),
  builder('udp.build, IPv4', (times) => {
    for (let i = 0; i < times; i++) udp.build(held, station, to4, PAYLOAD)
    return times
  }),
  builder('udp.build, IPv6', (times) => {
    for (let i = 0; i < times; i++) udp.build(held, station, to6, PAYLOAD)
    return times
  }),
  builder('udp.build, IPv4, with a source', (times) => {
    for (let i = 0; i < times; i++) udp.build(held, station, from4, PAYLOAD)
    return times
  }),
  builder('udp.build, IPv6, with a source', (times) => {
    for (let i = 0; i < times; i++) udp.build(held, station, from6, PAYLOAD)
    return times
  }),
  builder('udp.build, IPv4, copied', (times) => {
    for (let i = 0; i < times; i++) udp.build(held, station, to4, payload)
    return times
  }),
  builder('udp.build, IPv6, copied', (times) => {
    for (let i = 0; i < times; i++) udp.build(held, station, to6, payload)
    return times
  }),
]

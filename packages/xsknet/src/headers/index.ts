/**
 * Reads and writes headers in place, in the bytes of a batch: no native call and no allocation per packet. `udp(frame)`
 * and its siblings return the same object each time, moved to that packet: it is valid until the next call, and no
 * longer than the frame. They return `undefined` for a packet that they cannot read. No bytes of a packet make them
 * throw; a frame whose lease has ended does.
 *
 * Addresses are numbers: a MAC has 48 bits, an IPv4 address 32, an IPv6 address four words of 32. Compare these, and
 * parse and format text outside the loop. V8 may allocate an object of 16 bytes for a number above 2^31 where a getter
 * is not inlined; `isFrom` and `isTo` of a datagram compare without allocating. V8 also allocates where it reads such a
 * number from objects of several shapes: pass `udp.build` objects with the same fields in the same order.
 *
 * @module
 */
export { formatIpv4, formatIpv6, formatMac, type Ipv6Words, parseIpv4, parseIpv6, parseMac } from './address.js'
export { type Arp, type ArpPackets, arp } from './arp.js'
export { type Checksum, checksum } from './checksum.js'
export { type Ethernet, type EthernetFields, type EthernetHeaders, ethernet } from './ethernet.js'
export { type Icmp, type IcmpMessages, icmp } from './icmp.js'
export { type Ipv4, type Ipv4Fields, type Ipv4Headers, ipv4 } from './ipv4.js'
export { type Ipv6, type Ipv6Fields, type Ipv6Headers, ipv6 } from './ipv6.js'
export { type Neighbour, type NeighbourMessages, ndp } from './ndp.js'
export type { Packet, Station } from './packet.js'
export { type Udp, type UdpDatagrams, type UdpFields, udp } from './udp.js'

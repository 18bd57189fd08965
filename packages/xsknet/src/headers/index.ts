/**
 * Headers read and written in place, over the bytes of a batch: no native call and no allocation a packet. `udp(frame)`
 * and its siblings return the same object each time, moved to that packet: it is good until the next call, and no
 * longer than the frame. What they could not read, they call `undefined`; no bytes make them throw, but a frame whose
 * lease has ended does.
 *
 * Addresses are numbers: a MAC of 48 bits, an IPv4 address of 32, an IPv6 address four words of 32. Compare these, and
 * parse and format text outside the loop. V8 may put a number above 2^31 into an object of 16 bytes where a getter is
 * not inlined; `isFrom` and `isTo` of a datagram compare without. It does so, too, where it reads such a number from
 * objects of several shapes: give `udp.build` objects with the same fields in the same order, and it allocates nothing.
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

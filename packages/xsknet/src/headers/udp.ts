import { wrongValue } from '../arguments.js'
import { formatIpv4, type Ipv6Words } from './address.js'
import { int32, setUint16, swap, uint16, uint32 } from './bytes.js'
import { mustFit, mustHold } from './checks.js'
import { sum, update } from './checksum.js'
import { isMac, LAST_MAC, writeFrom } from './ethernet.js'
import { HOP_LIMIT, pseudoSum, reply as replyIp } from './ip.js'
import { writeBetween } from './ipv4.js'
import { setWords, textAt, writeBeside } from './ipv6.js'
import { at, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_UDP, readIp, TYPE_IPV4, TYPE_IPV6 } from './layers.js'
import type { Packet, Station } from './packet.js'
import { isBetweenStations } from './senders.js'
import { type Host, hostOf } from './station.js'

const UDP_LENGTH = 8
/** Below it servers listen, and clients do not ask from there (RFC 6335, section 6: the system ports). */
const FIRST_CLIENT_PORT = 1024

/** The fields of a UDP datagram that {@link UdpDatagrams.build} needs besides the station that sends it. */
export interface UdpFields {
  /** The sender's UDP port, 0 to 65,535. */
  sourcePort: number
  /** The receiver's MAC, or that of the next hop, as `parseMac` returns it. `arp` and `ndp` resolve it. */
  destinationMac: number
  /** An IPv4 address as `parseIpv4` returns it, or an IPv6 address as `parseIpv6` returns it. */
  destination: number | Ipv6Words
  /** The receiver's UDP port, 0 to 65,535. */
  destinationPort: number
  /** Default: the station's address on the destination's network, else its first one of that kind. */
  source?: number | Ipv6Words | undefined
  /** The hop limit, or the time to live of IPv4: 0 to 255. Default: 64. */
  hopLimit?: number | undefined
}

/** A UDP datagram in the packet of the last call of `udp()`. */
export class Udp {
  #memory: Uint8Array = new Uint8Array()
  #start = 0
  #version = 0
  #network = 0
  #at = 0
  #end = 0

  static read(packet: Packet): Udp | undefined {
    if (!readUdp(packet)) return undefined
    one.#memory = at.memory
    one.#start = at.start
    one.#version = at.version
    one.#network = at.network
    one.#at = at.transport
    one.#end = at.transportEnd
    return one
  }

  /** The version of IP: 4 or 6. */
  get version(): number {
    return this.#version
  }
  /** The sender's UDP port. Setting it updates the checksum. */
  get sourcePort(): number {
    return uint16(this.#memory, this.#at)
  }
  set sourcePort(port: number) {
    this.#replace(this.#at, port)
  }
  /** The receiver's UDP port. Setting it updates the checksum. */
  get destinationPort(): number {
    return uint16(this.#memory, this.#at + 2)
  }
  set destinationPort(port: number) {
    this.#replace(this.#at + 2, port)
  }
  /** The sender's IPv4 address as a uint32; of an IPv6 address only the last 32 bits: check `version` first. */
  get source(): number {
    return uint32(this.#memory, this.#network + (this.#version === 4 ? 12 : 20))
  }
  /** The receiver's IPv4 address as a uint32; of an IPv6 address only the last 32 bits: check `version` first. */
  get destination(): number {
    return uint32(this.#memory, this.#network + (this.#version === 4 ? 16 : 36))
  }
  /**
   * A word of the sender's address as a uint32, 0 being the most significant. An IPv4 address is word 3 of the
   * IPv4-mapped IPv6 address, `::ffff:192.0.2.10`, so that one table can hold both.
   */
  sourceWord(word: number): number {
    if (this.#version === 4) return word === 3 ? this.source : mappedWord(word)
    return uint32(this.#memory, this.#network + 8 + 4 * (word & 3))
  }
  /** A word of the receiver's address, as `sourceWord`. */
  destinationWord(word: number): number {
    if (this.#version === 4) return word === 3 ? this.destination : mappedWord(word)
    return uint32(this.#memory, this.#network + 24 + 4 * (word & 3))
  }
  /** Whether the sender has this address, as `parseIpv4` or `parseIpv6` gives it. Allocates nothing. */
  isFrom(address: number | Ipv6Words): boolean {
    return this.#is(address, this.#network + (this.#version === 4 ? 12 : 8))
  }
  /** Whether the receiver has this address, as `parseIpv4` or `parseIpv6` gives it. Allocates nothing. */
  isTo(address: number | Ipv6Words): boolean {
    return this.#is(address, this.#network + (this.#version === 4 ? 16 : 24))
  }
  /** The sender's address as text. Allocates. */
  get sourceAddress(): string {
    return this.#version === 4 ? formatIpv4(this.source) : textAt(this.#memory, this.#network + 8)
  }
  /** The receiver's address as text. Allocates. */
  get destinationAddress(): string {
    return this.#version === 4 ? formatIpv4(this.destination) : textAt(this.#memory, this.#network + 24)
  }
  /**
   * Whether the datagram's checksum is right, and that of an IPv4 header too; computed at each access, over all bytes.
   * In IPv4 a datagram may have no checksum, in IPv6 it must have one (RFC 8200, section 8.1).
   */
  get checksumOk(): boolean {
    const memory = this.#memory
    const length = this.#end - this.#at
    if (this.#version === 4 && sum(memory, this.#network, this.#at - this.#network) !== 0xffff) return false
    if (uint16(memory, this.#at + 6) === 0) return this.#version === 4
    return (
      sum(memory, this.#at, length, pseudoSum(memory, this.#network, this.#version, PROTOCOL_UDP, length)) === 0xffff
    )
  }
  /** Offset of the payload from the packet's first byte, in bytes. */
  get payloadOffset(): number {
    return this.#at + UDP_LENGTH - this.#start
  }
  /** Bytes of the payload, without the padding of a short packet. */
  get payloadLength(): number {
    return this.#end - this.#at - UDP_LENGTH
  }
  /** A view of the payload's bytes, in the packet's `memory`. Allocates. */
  payload(): Uint8Array {
    return this.#memory.subarray(this.#at + UDP_LENGTH, this.#end)
  }

  #is(address: number | Ipv6Words, offset: number): boolean {
    if (typeof address === 'number') return this.#version === 4 && int32(this.#memory, offset) === (address | 0)
    for (let word = 0; word < 4; word++) {
      if (int32(this.#memory, offset + 4 * word) !== ((address[word] ?? 0) | 0)) return false
    }
    return this.#version === 6
  }

  #replace(field: number, value: number): void {
    const memory = this.#memory
    const before = uint16(memory, field)
    setUint16(memory, field, value)
    const checksum = uint16(memory, this.#at + 6)
    // 0 says that there is none; a sum of 0 is written as its other name.
    if (checksum !== 0) setUint16(memory, this.#at + 6, update(checksum, before, uint16(memory, field)) || 0xffff)
  }
}

const one = new Udp()

/** The functions of {@link udp}. */
export interface UdpDatagrams {
  /**
   * The packet's UDP datagram, over IPv4 or IPv6, behind up to two VLAN tags; `undefined` if there is none, if it is
   * truncated or a fragment, or if its lengths are not valid. Checksums are not verified: see `checksumOk`. Returns the
   * same object each time, which the next call moves. Allocates nothing.
   */
  (packet: Packet): Udp | undefined
  /**
   * Turns a client's datagram to the station's MAC and address, in its VLAN, into the reply, as {@link
   * UdpDatagrams.reply} does. There is no reply to a datagram from a port below 1024 or from its own destination port:
   * a server may have sent it, and two servers would reply to each other forever. One forged datagram is enough to
   * start that. Nor is there one to a sender that is not valid (see `reply`) or that has the station's own MAC or
   * address. The checksum is not verified: see `checksumOk`. Allocates nothing.
   *
   * @returns Whether the packet is now a reply that can be sent; if not, it is unchanged.
   * @throws What `reply` throws.
   */
  answer(packet: Packet, station: Station, payloadLength: number): boolean
  /**
   * Turns a datagram into its reply: swaps MACs, addresses and ports, and sets lengths, hop limit (64) and checksums
   * for a payload of `payloadLength` bytes, which must already stand in place of the old one. It does not pad. It does
   * not check to which station or ports the datagram was sent; `answer` does.
   *
   * There is no reply to a datagram that is broadcast or multicast, that has a source route, or whose sender is not
   * valid: a broadcast or multicast MAC or address, `0.0.0.0`, `::`, a loopback address, or the receiver's own MAC or
   * address.
   *
   * IP options and extension headers are removed. The payload then moves, and `payloadOffset` changes. Allocates
   * nothing.
   *
   * @returns Whether the packet is now a reply; if not, it is unchanged.
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` where the packet does not hold a whole UDP datagram.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where the payload is longer than a datagram can carry.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` where the packet cannot hold it.
   */
  reply(packet: Packet, payloadLength: number): boolean
  /**
   * Makes the packet a datagram of the station, from Ethernet header to payload, checksums included. Allocates nothing
   * where all `fields` that a program gives it have one shape: the same fields, in the same order. V8 takes 16 bytes
   * for each number above 2^31 that it reads from objects of several shapes, such as those of IPv4 and IPv6.
   *
   * @param payload Bytes, which are copied; or how many stand already where the payload goes: 42 bytes behind the
   * packet's start with IPv4, 62 with IPv6, 4 more in a VLAN.
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` where source and destination are of two kinds, or the station has no
   * address of the destination's kind.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where a field cannot hold its number, or no datagram can carry so much.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` where the packet cannot hold it.
   */
  build(packet: Packet, station: Station, fields: UdpFields, payload: Uint8Array | number): void
}

/** Reads, answers and builds UDP datagrams (RFC 768). */
export const udp: UdpDatagrams = Object.assign(Udp.read, { answer, reply, build })

/** Of the IPv6 address that stands for an IPv4 address: the words before it (RFC 4291, section 2.5.5.2). */
function mappedWord(word: number): number {
  return word === 2 ? 0xffff : 0
}

function readUdp(packet: Packet): boolean {
  if (!readIp(packet) || at.protocol !== PROTOCOL_UDP || at.fragment) return false
  if (at.transport + UDP_LENGTH > at.transportEnd) return false
  const length = uint16(at.memory, at.transport + 4)
  if (length < UDP_LENGTH || at.transport + length > at.transportEnd) return false
  // IP may carry more bytes than the datagram; they are ignored.
  at.transportEnd = at.transport + length
  return true
}

function answer(packet: Packet, station: Station, payloadLength: number): boolean {
  if (!readUdp(packet) || !hostOf(station).isAsked()) return false
  const sourcePort = uint16(at.memory, at.transport)
  if (sourcePort < FIRST_CLIENT_PORT || sourcePort === uint16(at.memory, at.transport + 2)) return false
  replyToRead(packet, lengthOf(packet, payloadLength))
  return true
}

function reply(packet: Packet, payloadLength: number): boolean {
  if (!readUdp(packet)) throw wrongValue('packet', 'must hold a whole UDP datagram', `${packet.length} bytes`)
  const length = lengthOf(packet, payloadLength)
  if (!isBetweenStations()) return false
  replyToRead(packet, length)
  return true
}

/**
 * The length of a UDP header and this payload, for the datagram that was read last. Throws if it or the packet cannot
 * hold it.
 */
function lengthOf(packet: Packet, payloadLength: number): number {
  mustFit('payloadLength', payloadLength, longestPayload(at.version))
  const length = UDP_LENGTH + payloadLength
  mustHold(packet, at.transport + length - at.start)
  return length
}

/** Turns the datagram that was read last into its reply. */
function replyToRead(packet: Packet, length: number): void {
  swap(at.memory, at.transport, at.transport + 2, 2)
  replyIp(packet, length)
  finish(at.memory, at.network, at.version, at.transport, length)
}

function build(packet: Packet, station: Station, fields: UdpFields, payload: Uint8Array | number): void {
  const { sourcePort, destinationPort, destinationMac, destination } = fields
  const payloadLength = typeof payload === 'number' ? payload : payload.length
  const version = typeof destination === 'number' ? 4 : 6
  const length = UDP_LENGTH + payloadLength
  mustFit('sourcePort', sourcePort, 0xffff)
  mustFit('destinationPort', destinationPort, 0xffff)
  mustFit('payload length', payloadLength, longestPayload(version))
  // V8 would put numbers above 2^31 into objects to hand them over, so MAC and address go on in signed words of 32
  // bits. An object that is made for a call would cost as much as the rest of it, or, where V8 copies another one into
  // it, ten times that.
  const high = Math.floor(destinationMac / 0x1_0000_0000)
  if (!isMac(destinationMac, high)) mustFit('destinationMac', destinationMac, LAST_MAC)
  const low = destinationMac | 0

  const host = hostOf(station)
  let transport: number
  if (typeof destination === 'number') {
    const to = destination | 0
    if (to >>> 0 !== destination) mustFit('destination', destination, 0xffff_ffff)
    transport = begin4(packet, host, fields, high, low, to, length)
  } else {
    transport = begin6(packet, host, fields, high, low, destination, length)
  }
  const { memory } = packet
  setUint16(memory, transport, sourcePort)
  setUint16(memory, transport + 2, destinationPort)
  if (typeof payload !== 'number') memory.set(payload, transport + UDP_LENGTH)
  finish(memory, transport - (version === 4 ? IPV4_LENGTH : IPV6_LENGTH), version, transport, length)
}

/** Writes the headers before the datagram, to the MAC of these two parts, and returns where the datagram begins. */
function begin4(
  packet: Packet,
  host: Host,
  fields: UdpFields,
  high: number,
  low: number,
  destination: number,
  length: number,
): number {
  const { source, hopLimit = HOP_LIMIT } = fields
  let from: number
  if (source === undefined) {
    from = host.ipv4Towards(destination)
  } else {
    if (typeof source !== 'number')
      throw wrongValue('fields.source', 'must be an IPv4 address, as the destination is', source)
    if (source >>> 0 !== source) mustFit('source', source, 0xffff_ffff)
    from = source | 0
  }
  const network = writeFrom(packet, host, high, low, TYPE_IPV4)
  return writeBetween(packet, network, from, destination, PROTOCOL_UDP, hopLimit, length)
}

/** As `begin4`. */
function begin6(
  packet: Packet,
  host: Host,
  fields: UdpFields,
  high: number,
  low: number,
  destination: Ipv6Words,
  length: number,
): number {
  const { source, hopLimit = HOP_LIMIT } = fields
  if (typeof source === 'number')
    throw wrongValue('fields.source', 'must be an IPv6 address, as the destination is', source)
  const own = source === undefined ? host.ipv6Towards(destination) : 0
  const network = writeFrom(packet, host, high, low, TYPE_IPV6)
  const transport = writeBeside(packet, network, PROTOCOL_UDP, hopLimit, length)
  setWords(packet.memory, network + 8, source ?? host.ipv6, own)
  setWords(packet.memory, network + 24, destination)
  return transport
}

function longestPayload(version: number): number {
  return 0xffff - UDP_LENGTH - (version === 4 ? 20 : 0)
}

/** Writes length and checksum. */
function finish(memory: Uint8Array, network: number, version: number, transport: number, length: number): void {
  setUint16(memory, transport + 4, length)
  setUint16(memory, transport + 6, 0)
  const initial = pseudoSum(memory, network, version, PROTOCOL_UDP, length)
  setUint16(memory, transport + 6, ~sum(memory, transport, length, initial) & 0xffff || 0xffff)
}

import { setUint16, uint8, uint16 } from './bytes.js'
import { sum, update } from './checksum.js'
import { pseudoSum, turn } from './ip.js'
import { at, PROTOCOL_ICMP, PROTOCOL_ICMPV6, readIp } from './layers.js'
import type { Packet, Station } from './packet.js'
import { hostOf } from './station.js'

/** Type, code, checksum, and four bytes that depend on the type. */
const ICMP_LENGTH = 8

const ECHO_REPLY = 0
const ECHO_REQUEST = 8
const ECHO_REQUEST_V6 = 128
const ECHO_REPLY_V6 = 129

/** An ICMP or ICMPv6 message in the packet of the last call of `icmp()`. */
export class Icmp {
  #memory: Uint8Array = new Uint8Array()
  #version = 0
  #network = 0
  #at = 0
  #end = 0

  static read(packet: Packet): Icmp | undefined {
    if (!readIcmp(packet)) return undefined
    one.#memory = at.memory
    one.#version = at.version
    one.#network = at.network
    one.#at = at.transport
    one.#end = at.transportEnd
    return one
  }

  /** 4: ICMP; 6: ICMPv6, whose types are others. */
  get version(): number {
    return this.#version
  }
  get type(): number {
    return uint8(this.#memory, this.#at)
  }
  get code(): number {
    return uint8(this.#memory, this.#at + 1)
  }
  /** Of an echo request or reply. */
  get identifier(): number {
    return uint16(this.#memory, this.#at + 4)
  }
  /** Of an echo request or reply. */
  get sequence(): number {
    return uint16(this.#memory, this.#at + 6)
  }
  /** Whether the message's checksum is right, and an IPv4 header's too; computed at each call. */
  get checksumOk(): boolean {
    return isIntact(this.#memory, this.#version, this.#network, this.#at, this.#end)
  }
  /** Where in the packet's `memory` begins what follows the first 8 bytes. */
  get payloadOffset(): number {
    return this.#at + ICMP_LENGTH
  }
  /** Bytes of that. */
  get payloadLength(): number {
    return this.#end - this.#at - ICMP_LENGTH
  }
}

const one = new Icmp()

/** Reads and answers. */
export interface IcmpMessages {
  /**
   * The packet's ICMP or ICMPv6 message; `undefined` where it has none, is cut, is a fragment, or its message has less than 8
   * bytes. The checksum is not looked at. The same object each time: the next call moves it. Allocates nothing.
   */
  (packet: Packet): Icmp | undefined
  /**
   * Turns an echo request to the station's MAC and address, in its VLAN, into the reply: 64 hops, without IP options and
   * extension headers, and without what padded the request. Requests to a group, in fragments, with a source route, or with a
   * wrong checksum get none, nor do those from what cannot be a sender: a group's MAC or address, a broadcast, `0.0.0.0`,
   * `::`, a loopback address, or the station's own MAC or address.
   *
   * @returns Whether the packet is now a reply to be sent; else it is as before. Allocates nothing.
   */
  echo(packet: Packet, station: Station): boolean
}

/** Reads ICMP (RFC 792) and ICMPv6 (RFC 4443), and answers their echo requests. */
export const icmp: IcmpMessages = Object.assign(Icmp.read, { echo })

function readIcmp(packet: Packet): boolean {
  return readIp(packet) && holdsIcmp()
}

/** Whether the IP packet that was read last holds a message that can be read. */
export function holdsIcmp(): boolean {
  if (at.protocol !== (at.version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) return false
  return !at.fragment && at.transport + ICMP_LENGTH <= at.transportEnd
}

/** Whether the message's checksum is right, and an IPv4 header's too. */
export function isIntact(memory: Uint8Array, version: number, network: number, transport: number, end: number): boolean {
  const length = end - transport
  if (version === 6) return sum(memory, transport, length, pseudoSum(memory, network, 6, PROTOCOL_ICMPV6, length)) === 0xffff
  return sum(memory, network, transport - network) === 0xffff && sum(memory, transport, length) === 0xffff
}

function echo(packet: Packet, station: Station): boolean {
  if (!readIcmp(packet)) return false
  const { memory, version, network, transport, transportEnd } = at
  const request = version === 4 ? ECHO_REQUEST : ECHO_REQUEST_V6
  if (uint8(memory, transport) !== request || uint8(memory, transport + 1) !== 0) return false
  // RFC 1122, section 3.2.2.6, lets a host ignore requests to a group: their answers would all come at once.
  if (!hostOf(station).isAsked()) return false
  if (!isIntact(memory, version, network, transport, transportEnd)) return false

  const before = uint16(memory, transport)
  memory[transport] = version === 4 ? ECHO_REPLY : ECHO_REPLY_V6
  setUint16(memory, transport + 2, update(uint16(memory, transport + 2), before, uint16(memory, transport)))
  turn(packet, transportEnd - transport)
  return true
}

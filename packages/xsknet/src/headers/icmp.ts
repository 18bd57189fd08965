import { setUint16, uint8, uint16 } from './bytes.js'
import { sum, update } from './checksum.js'
import { pseudoSum, reply } from './ip.js'
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
  #start = 0
  #version = 0
  #network = 0
  #at = 0
  #end = 0

  static read(packet: Packet): Icmp | undefined {
    if (!readIcmp(packet)) return undefined
    one.#memory = at.memory
    one.#start = at.start
    one.#version = at.version
    one.#network = at.network
    one.#at = at.transport
    one.#end = at.transportEnd
    return one
  }

  /** 4 for ICMP, 6 for ICMPv6, which has other types. */
  get version(): number {
    return this.#version
  }
  /** The type of the message, 0 to 255: 8 is an echo request of ICMP, 128 one of ICMPv6. */
  get type(): number {
    return uint8(this.#memory, this.#at)
  }
  /** The code, 0 to 255, whose meaning depends on the type. */
  get code(): number {
    return uint8(this.#memory, this.#at + 1)
  }
  /** The identifier of an echo request or reply, 16 bits. */
  get identifier(): number {
    return uint16(this.#memory, this.#at + 4)
  }
  /** The sequence number of an echo request or reply, 16 bits. */
  get sequence(): number {
    return uint16(this.#memory, this.#at + 6)
  }
  /**
   * Whether the message's checksum is right, and that of an IPv4 header too; computed at each access, over all bytes.
   */
  get checksumOk(): boolean {
    return isIntact(this.#memory, this.#version, this.#network, this.#at, this.#end)
  }
  /** Offset of the payload, which follows the first 8 bytes of the message, from the packet's first byte, in bytes. */
  get payloadOffset(): number {
    return this.#at + ICMP_LENGTH - this.#start
  }
  /** Bytes of the payload. */
  get payloadLength(): number {
    return this.#end - this.#at - ICMP_LENGTH
  }
  /** A view of the payload's bytes, in the packet's `memory`. Allocates. */
  payload(): Uint8Array {
    return this.#memory.subarray(this.#at + ICMP_LENGTH, this.#end)
  }
}

const one = new Icmp()

/** The functions of {@link icmp}. */
export interface IcmpMessages {
  /**
   * The packet's ICMP or ICMPv6 message; `undefined` if there is none, if it is truncated or a fragment, or has less
   * than 8 bytes. The checksum is not verified. Returns the same object each time, which the next call moves. Allocates
   * nothing.
   */
  (packet: Packet): Icmp | undefined
  /**
   * Turns an echo request to the station's MAC and address, in its VLAN, into the reply: hop limit 64, without IP
   * options and extension headers, and without the request's padding. There is no reply to a request that is broadcast,
   * multicast or fragmented, that has a source route or a wrong checksum, or whose sender is not valid: a broadcast or
   * multicast MAC or address, `0.0.0.0`, `::`, a loopback address, or the station's own MAC or address. Allocates
   * nothing.
   *
   * @returns Whether the packet is now a reply that can be sent; if not, it is unchanged.
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
export function isIntact(
  memory: Uint8Array,
  version: number,
  network: number,
  transport: number,
  end: number,
): boolean {
  const length = end - transport
  if (version === 6)
    return sum(memory, transport, length, pseudoSum(memory, network, 6, PROTOCOL_ICMPV6, length)) === 0xffff
  return sum(memory, network, transport - network) === 0xffff && sum(memory, transport, length) === 0xffff
}

function echo(packet: Packet, station: Station): boolean {
  if (!readIcmp(packet)) return false
  const { memory, version, network, transport, transportEnd } = at
  const request = version === 4 ? ECHO_REQUEST : ECHO_REQUEST_V6
  if (uint8(memory, transport) !== request || uint8(memory, transport + 1) !== 0) return false
  // RFC 1122, section 3.2.2.6, lets a host ignore broadcast and multicast requests: all replies would come at once.
  if (!hostOf(station).isAsked()) return false
  if (!isIntact(memory, version, network, transport, transportEnd)) return false

  const before = uint16(memory, transport)
  memory[transport] = version === 4 ? ECHO_REPLY : ECHO_REPLY_V6
  setUint16(memory, transport + 2, update(uint16(memory, transport + 2), before, uint16(memory, transport)))
  reply(packet, transportEnd - transport)
  return true
}

import { formatIpv6, type Ipv6Words } from './address.js'
import { setUint16, setUint32, uint8, uint16, uint32 } from './bytes.js'
import { mustFit, mustHold } from './checks.js'
import { HOP_LIMIT } from './ip.js'
import { at, IPV6_LENGTH, readIpv6 } from './layers.js'
import type { Packet } from './packet.js'

/** The fields of an IPv6 header for {@link Ipv6Headers.write}. */
export interface Ipv6Fields {
  /** An address as `parseIpv6` returns it. */
  source: Ipv6Words
  /** An address as `parseIpv6` returns it. */
  destination: Ipv6Words
  /** The protocol of the payload, such as 17 for UDP. */
  protocol: number
  /** The hop limit, 0 to 255. Default: 64. */
  hopLimit?: number | undefined
}

/** An IPv6 header in the packet of the last call of `ipv6()`. */
export class Ipv6 {
  #memory: Uint8Array = new Uint8Array()
  #start = 0
  #at = 0
  #protocol = 0
  #fragment = false
  #payload = 0
  #end = 0

  static read(packet: Packet): Ipv6 | undefined {
    if (!readIpv6(packet)) return undefined
    one.#memory = at.memory
    one.#start = at.start
    one.#at = at.network
    one.#protocol = at.protocol
    one.#fragment = at.fragment
    one.#payload = at.transport
    one.#end = at.transportEnd
    return one
  }

  /** DSCP and ECN: the traffic class, 8 bits. */
  get trafficClass(): number {
    return (uint16(this.#memory, this.#at) >> 4) & 0xff
  }
  /** The flow label, 20 bits. */
  get flowLabel(): number {
    return uint32(this.#memory, this.#at) & 0xf_ffff
  }
  /** The hop limit. */
  get hopLimit(): number {
    return uint8(this.#memory, this.#at + 7)
  }
  set hopLimit(hops: number) {
    this.#memory[this.#at + 7] = hops
  }
  /** The protocol behind the extension headers: 6 TCP, 17 UDP, 58 ICMPv6. */
  get protocol(): number {
    return this.#protocol
  }
  /** Whether the packet is a fragment, including the first and the last one. */
  get isFragment(): boolean {
    return this.#fragment
  }
  /** A word of the sender's address as a uint32, 0 being the most significant. */
  sourceWord(word: number): number {
    return uint32(this.#memory, this.#at + 8 + 4 * (word & 3))
  }
  /** A word of the receiver's address as a uint32, 0 being the most significant. */
  destinationWord(word: number): number {
    return uint32(this.#memory, this.#at + 24 + 4 * (word & 3))
  }
  /** The sender's address as text. Allocates. */
  get sourceAddress(): string {
    return textAt(this.#memory, this.#at + 8)
  }
  /** The receiver's address as text. Allocates. */
  get destinationAddress(): string {
    return textAt(this.#memory, this.#at + 24)
  }
  /** Offset of the payload, which follows the extension headers, from the packet's first byte, in bytes. */
  get payloadOffset(): number {
    return this.#payload - this.#start
  }
  /** Bytes of the payload, without the padding of a short packet. */
  get payloadLength(): number {
    return this.#end - this.#payload
  }
  /** A view of the payload's bytes, in the packet's `memory`. Allocates. */
  payload(): Uint8Array {
    return this.#memory.subarray(this.#payload, this.#end)
  }
}

const one = new Ipv6()

/** Reads and writes IPv6 headers. */
export interface Ipv6Headers {
  /**
   * The packet's IPv6 header; `undefined` if there is none, if it is truncated, if its lengths are not valid, or if a
   * host would discard it for its extension headers: more than 8 of them, hop-by-hop options that are not first, an
   * unknown option whose type requires to discard, too much padding, a routing header with segments left. Other
   * hop-by-hop options, routing, fragment and destination options headers are skipped. Returns the same object each
   * time, which the next call moves. Allocates nothing.
   */
  (packet: Packet): Ipv6 | undefined
  /**
   * Writes a header without extension headers, and sets the packet's length to the end of the payload.
   *
   * @param offset The header's offset from the packet's first byte: what `ethernet.write` returned.
   * @param payloadLength Bytes of the payload that follows.
   * @returns The offset of the payload from the packet's first byte.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where a field cannot hold its number.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` where the packet cannot hold header and payload.
   */
  write(packet: Packet, offset: number, fields: Ipv6Fields, payloadLength: number): number
}

/** Reads and writes IPv6 headers (RFC 8200). */
export const ipv6: Ipv6Headers = Object.assign(Ipv6.read, { write })

function write(packet: Packet, offset: number, fields: Ipv6Fields, payloadLength: number): number {
  const { source, destination, protocol, hopLimit = HOP_LIMIT } = fields
  const start = packet.offset
  const header = start + offset
  const next = writeBeside(packet, header, protocol, hopLimit, payloadLength)
  setWords(packet.memory, header + 8, source)
  setWords(packet.memory, header + 24, destination)
  return next - start
}

/** As `ipv6.write`, without the addresses. `offset` and the result are positions in the packet's `memory`. */
export function writeBeside(
  packet: Packet,
  offset: number,
  protocol: number,
  hopLimit: number,
  payloadLength: number,
): number {
  mustFit('protocol', protocol, 0xff)
  mustFit('hopLimit', hopLimit, 0xff)
  mustFit('payloadLength', payloadLength, 0xffff)
  const length = offset - packet.offset + IPV6_LENGTH + payloadLength
  mustHold(packet, length)

  const { memory } = packet
  setUint32(memory, offset, 0x6000_0000)
  setUint16(memory, offset + 4, payloadLength)
  memory[offset + 6] = protocol
  memory[offset + 7] = hopLimit
  packet.length = length
  return offset + IPV6_LENGTH
}

/** Writes four words, the first of which is `words[from]`. */
export function setWords(memory: Uint8Array, offset: number, words: Ipv6Words, from = 0): void {
  for (let word = 0; word < 4; word++) setUint32(memory, offset + 4 * word, (words[from + word] ?? 0) | 0)
}

export function textAt(memory: Uint8Array, offset: number): string {
  return formatIpv6([0, 4, 8, 12].map((word) => uint32(memory, offset + word)))
}

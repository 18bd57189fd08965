import { formatIpv4 } from './address.js'
import { setUint16, setUint32, uint8, uint16, uint32 } from './bytes.js'
import { mustFit, mustHold } from './checks.js'
import { sum, update } from './checksum.js'
import { HOP_LIMIT, stampIpv4 } from './ip.js'
import { at, IPV4_LENGTH, readIpv4 } from './layers.js'
import type { Packet } from './packet.js'

/** The fields of an IPv4 header for {@link Ipv4Headers.write}. */
export interface Ipv4Fields {
  /** An address as `parseIpv4` returns it. */
  source: number
  /** An address as `parseIpv4` returns it. */
  destination: number
  /** The protocol of the payload, such as 17 for UDP. */
  protocol: number
  /** The time to live, 0 to 255. Default: 64. */
  ttl?: number | undefined
}

/** An IPv4 header in the packet of the last call of `ipv4()`. */
export class Ipv4 {
  #memory: Uint8Array = new Uint8Array()
  #start = 0
  #at = 0
  #payload = 0
  #end = 0

  static read(packet: Packet): Ipv4 | undefined {
    if (!readIpv4(packet)) return undefined
    one.#memory = at.memory
    one.#start = at.start
    one.#at = at.network
    one.#payload = at.transport
    one.#end = at.transportEnd
    return one
  }

  /** Bytes of the header with its options, 20 to 60. */
  get headerLength(): number {
    return this.#payload - this.#at
  }
  /** DSCP and ECN: the former type of service, 8 bits. */
  get trafficClass(): number {
    return uint8(this.#memory, this.#at + 1)
  }
  /** What the fragments of a packet have in common, 16 bits. */
  get identification(): number {
    return uint16(this.#memory, this.#at + 4)
  }
  /** Whether the packet is a fragment, including the first and the last one. */
  get isFragment(): boolean {
    return (uint16(this.#memory, this.#at + 6) & 0x3fff) !== 0
  }
  /** The fragment offset, in bytes. */
  get fragmentOffset(): number {
    return (uint16(this.#memory, this.#at + 6) & 0x1fff) * 8
  }
  /** The time to live. Setting it updates the header's checksum. */
  get ttl(): number {
    return uint8(this.#memory, this.#at + 8)
  }
  set ttl(hops: number) {
    const before = uint16(this.#memory, this.#at + 8)
    this.#memory[this.#at + 8] = hops
    const after = uint16(this.#memory, this.#at + 8)
    setUint16(this.#memory, this.#at + 10, update(uint16(this.#memory, this.#at + 10), before, after))
  }
  /** The protocol of the payload: 1 ICMP, 6 TCP, 17 UDP. */
  get protocol(): number {
    return uint8(this.#memory, this.#at + 9)
  }
  /** The sender's address as a uint32. */
  get source(): number {
    return uint32(this.#memory, this.#at + 12)
  }
  /** The receiver's address as a uint32. */
  get destination(): number {
    return uint32(this.#memory, this.#at + 16)
  }
  /** The sender's address as text. Allocates. */
  get sourceAddress(): string {
    return formatIpv4(this.source)
  }
  /** The receiver's address as text. Allocates. */
  get destinationAddress(): string {
    return formatIpv4(this.destination)
  }
  /** Whether the header's checksum is right; computed at each access, over the header. */
  get checksumOk(): boolean {
    return sum(this.#memory, this.#at, this.headerLength) === 0xffff
  }
  /** Offset of the payload from the packet's first byte, in bytes. */
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

const one = new Ipv4()

/** Reads and writes IPv4 headers. */
export interface Ipv4Headers {
  /**
   * The packet's IPv4 header; `undefined` if there is none, if it is truncated, or if its lengths or options are not
   * valid. Its checksum is not verified. Returns the same object each time, which the next call moves. Allocates
   * nothing.
   */
  (packet: Packet): Ipv4 | undefined
  /**
   * Writes a header without options, and sets the packet's length to the end of the payload. The packet may not be
   * fragmented on its path (DF is set; RFC 6864: an atomic datagram).
   *
   * @param offset The header's offset from the packet's first byte: what `ethernet.write` returned.
   * @param payloadLength Bytes of the payload that follows.
   * @returns The offset of the payload from the packet's first byte.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where a field cannot hold its number.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` where the packet cannot hold header and payload.
   */
  write(packet: Packet, offset: number, fields: Ipv4Fields, payloadLength: number): number
}

/** Reads and writes IPv4 headers (RFC 791). */
export const ipv4: Ipv4Headers = Object.assign(Ipv4.read, { write })

function write(packet: Packet, offset: number, fields: Ipv4Fields, payloadLength: number): number {
  const { source, destination, protocol, ttl = HOP_LIMIT } = fields
  // V8 would put a number above 2^31 into an object to hand it over: only what does not fit is.
  if (source >>> 0 !== source) mustFit('source', source, 0xffff_ffff)
  if (destination >>> 0 !== destination) mustFit('destination', destination, 0xffff_ffff)
  mustFit('protocol', protocol, 0xff)
  const start = packet.offset
  return writeBetween(packet, start + offset, source | 0, destination | 0, protocol, ttl, payloadLength) - start
}

/**
 * As `ipv4.write`, with valid addresses as signed numbers, which V8 keeps unboxed. `offset` and the result are
 * positions in the packet's `memory`.
 */
export function writeBetween(
  packet: Packet,
  offset: number,
  source: number,
  destination: number,
  protocol: number,
  ttl: number,
  payloadLength: number,
): number {
  mustFit('ttl', ttl, 0xff)
  mustFit('payloadLength', payloadLength, 0xffff - IPV4_LENGTH)
  const length = offset - packet.offset + IPV4_LENGTH + payloadLength
  mustHold(packet, length)

  const { memory } = packet
  setUint16(memory, offset, 0x4500)
  setUint16(memory, offset + 2, IPV4_LENGTH + payloadLength)
  setUint32(memory, offset + 4, 0x4000)
  memory[offset + 8] = ttl
  memory[offset + 9] = protocol
  setUint32(memory, offset + 12, source)
  setUint32(memory, offset + 16, destination)
  stampIpv4(memory, offset, IPV4_LENGTH)
  packet.length = length
  return offset + IPV4_LENGTH
}

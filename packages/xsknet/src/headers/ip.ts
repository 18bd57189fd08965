import { setUint16, swap, uint8 } from './bytes.js'
import { sum } from './checksum.js'
import { at, IPV4_LENGTH, IPV6_LENGTH } from './layers.js'
import type { Packet } from './packet.js'

/** The hop limit of replies: the default of RFC 1700, which all common systems use. */
export const HOP_LIMIT = 64

/**
 * The sum over a pseudo-header (RFC 768; RFC 8200, section 8.1): the addresses of an IP header, a protocol and a
 * length.
 */
export function pseudoSum(
  memory: Uint8Array,
  network: number,
  version: number,
  protocol: number,
  length: number,
): number {
  const initial = protocol + length
  return version === 4 ? sum(memory, network + 12, 8, initial) : sum(memory, network + 8, 32, initial)
}

/** Writes the checksum of an IPv4 header of `length` bytes. */
export function stampIpv4(memory: Uint8Array, network: number, length: number): void {
  setUint16(memory, network + 10, 0)
  setUint16(memory, network + 10, ~sum(memory, network, length))
}

/**
 * Turns the packet that was read last into a reply with the first `length` bytes of its IP payload: swaps MACs and
 * addresses, sets lengths and hop limit. Options and extension headers belong to the request, so they are removed and
 * the payload moves forward; `at.transport` is updated.
 */
export function reply(packet: Packet, length: number): void {
  const { memory, start, network, version } = at
  const headerLength = version === 4 ? IPV4_LENGTH : IPV6_LENGTH
  const transport = network + headerLength
  if (at.transport !== transport) memory.copyWithin(transport, at.transport, at.transport + length)
  at.transport = transport
  packet.length = transport + length - start

  swap(memory, start, start + 6, 6)
  if (version === 4) {
    memory[network] = 0x45
    // The DSCP is returned (RFC 1349, section 5.1); ECN reported congestion on the path of the request.
    memory[network + 1] = uint8(memory, network + 1) & 0xfc
    setUint16(memory, network + 2, headerLength + length)
    memory[network + 6] = uint8(memory, network + 6) & 0x40
    memory[network + 8] = HOP_LIMIT
    memory[network + 9] = at.protocol
    swap(memory, network + 12, network + 16, 4)
    stampIpv4(memory, network, headerLength)
  } else {
    // As above, and a flow label is its sender's.
    memory[network + 1] = uint8(memory, network + 1) & 0xc0
    setUint16(memory, network + 2, 0)
    setUint16(memory, network + 4, length)
    memory[network + 6] = at.protocol
    memory[network + 7] = HOP_LIMIT
    swap(memory, network + 8, network + 24, 16)
  }
}

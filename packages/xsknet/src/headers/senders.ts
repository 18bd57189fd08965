import { int32, uint8, uint16 } from './bytes.js'
import { at } from './layers.js'

// Checks the sender of the packet that was read last, by the packet's fields only. A packet from a multicast or
// broadcast address, or from the receiver's own, must not be answered: the answer would reach many stations, or come
// back and be answered again.

/** The frame's source is a group MAC, which no station has (IEEE 802.3, section 3.2.3). */
export function isFromGroupMac(): boolean {
  return (uint8(at.memory, at.start + 6) & 1) === 1
}

/** The frame's destination is a group MAC. */
export function isToGroupMac(): boolean {
  return (uint8(at.memory, at.start) & 1) === 1
}

/** The frame's source and destination MAC are the same. */
export function isToOwnMac(): boolean {
  const { memory, start } = at
  return int32(memory, start) === int32(memory, start + 6) && uint16(memory, start + 4) === uint16(memory, start + 10)
}

/**
 * An address that one station has: not of "this" network, loopback, multicast, reserved or broadcast (RFC 1122, section
 * 3.2.1.3).
 */
export function isStation4(memory: Uint8Array, address: number): boolean {
  const first = uint8(memory, address)
  return first !== 0 && first !== 127 && first < 224
}

/**
 * An address that one station has and packets on a wire may carry: not multicast, `::`, `::1`, nor one that stands for
 * an IPv4 address (RFC 4291, sections 2.5.2, 2.5.3, 2.5.5 and 2.7).
 */
export function isStation6(memory: Uint8Array, address: number): boolean {
  if (uint8(memory, address) === 0xff) return false
  if ((int32(memory, address) | int32(memory, address + 4)) !== 0) return true
  const third = int32(memory, address + 8)
  return third !== 0 && third !== 0xffff
}

/** The IP packet goes from one station to another one, in a frame that does so too. */
export function isBetweenStations(): boolean {
  if (isFromGroupMac() || isToGroupMac() || isToOwnMac()) return false
  const { memory, network, version } = at
  if (version === 4) {
    // A host that returned the answer along the same route (RFC 1122, section 3.2.1.8) would let the sender choose the
    // nodes that it passes.
    if (at.sourceRouted) return false
    const source = network + 12
    const destination = network + 16
    if (!isStation4(memory, source) || !isStation4(memory, destination)) return false
    return int32(memory, source) !== int32(memory, destination)
  }
  const source = network + 8
  const destination = network + 24
  if (!isStation6(memory, source) || !isStation6(memory, destination)) return false
  for (let word = 0; word < 16; word += 4)
    if (int32(memory, source + word) !== int32(memory, destination + word)) return true
  return false
}

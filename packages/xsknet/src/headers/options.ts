import { uint8 } from './bytes.js'

const IPV4_END = 0
const IPV4_NOTHING = 1
const IPV4_RECORD_ROUTE = 7
const IPV4_TIMESTAMP = 68
const IPV4_LOOSE_SOURCE_ROUTE = 131
const IPV4_STRICT_SOURCE_ROUTE = 137
const IPV4_ROUTER_ALERT = 148

/** The result of reading the options of an IPv4 header. */
export const BROKEN = 0
export const SOUND = 1
export const SOURCE_ROUTED = 2

/**
 * Reads the options of an IPv4 header. They are broken where an option has no room for itself, where its pointer cannot
 * be, and where one that may come once comes twice (RFC 791, section 3.1). Unknown ones are stepped over (RFC 1122,
 * section 3.2.1.8).
 */
export function optionsOfIpv4(memory: Uint8Array, from: number, end: number): number {
  let result = SOUND
  let recorded = false
  let stamped = false
  let option = from
  while (option < end) {
    const type = uint8(memory, option)
    if (type === IPV4_END) break
    if (type === IPV4_NOTHING) {
      option++
      continue
    }
    if (option + 2 > end) return BROKEN
    const length = uint8(memory, option + 1)
    if (length < 2 || option + length > end) return BROKEN
    if (type === IPV4_LOOSE_SOURCE_ROUTE || type === IPV4_STRICT_SOURCE_ROUTE) {
      if (result === SOURCE_ROUTED || length < 3 || uint8(memory, option + 2) < 4) return BROKEN
      result = SOURCE_ROUTED
    } else if (type === IPV4_RECORD_ROUTE) {
      if (recorded || !holdsRoute(memory, option, length)) return BROKEN
      recorded = true
    } else if (type === IPV4_TIMESTAMP) {
      if (stamped || !holdsTimestamps(memory, option, length)) return BROKEN
      stamped = true
    } else if (type === IPV4_ROUTER_ALERT && length < 4) {
      return BROKEN
    }
    option += length
  }
  return result
}

/** Its pointer is beyond the option, which is full then, or where an address has room. */
function holdsRoute(memory: Uint8Array, option: number, length: number): boolean {
  if (length < 3) return false
  const pointer = uint8(memory, option + 2)
  return pointer >= 4 && (pointer > length || pointer + 3 <= length)
}

/**
 * As with a route. With flag 1 or 3 an address precedes each time; a full option counts the hosts that had no room, up
 * to 15.
 */
function holdsTimestamps(memory: Uint8Array, option: number, length: number): boolean {
  if (length < 4) return false
  const pointer = uint8(memory, option + 2)
  const flag = uint8(memory, option + 3) & 0xf
  if (pointer < 5) return false
  if (pointer > length) return flag === 3 || uint8(memory, option + 3) >> 4 !== 15
  return pointer + (flag === 1 || flag === 3 ? 7 : 3) <= length
}

const PAD1 = 0
const PADN = 1
const ROUTER_ALERT = 5
/** RFC 8504, section 5.3: what a host may take for an attack. */
const MAX_OPTIONS = 8
const MAX_PADDING = 7

/**
 * Whether a host that knows none of them steps over the options of a hop-by-hop or destination options header: the
 * highest two bits of a type say what becomes of the packet where it is unknown, and all but 00 discard it (RFC 8200,
 * section 4.2).
 *
 * @param header Where the extension header begins, whose end lies in the packet.
 */
export function stepsOverOptions(memory: Uint8Array, header: number, end: number, hopByHop: boolean): boolean {
  let options = 0
  let padding = 0
  let option = header + 2
  while (option < end) {
    const type = uint8(memory, option)
    if (type === PAD1) {
      if (++padding > MAX_PADDING) return false
      option++
      continue
    }
    if (option + 2 > end) return false
    const next = option + 2 + uint8(memory, option + 1)
    if (next > end) return false
    if (type === PADN) {
      padding += next - option
      if (padding > MAX_PADDING) return false
      for (let i = option + 2; i < next; i++) if (uint8(memory, i) !== 0) return false
    } else {
      padding = 0
      if (++options > MAX_OPTIONS || type >> 6 !== 0) return false
      if (hopByHop && type === ROUTER_ALERT && next !== option + 4) return false
    }
    option = next
  }
  return true
}

import { setUint16, setUint32, setUint48, uint48 } from './bytes.js'
import { mustFit, mustHold } from './checks.js'
import { at, ETHERNET_LENGTH, readEthernet, TAG_LENGTH, TYPE_VLAN, UNTAGGED } from './layers.js'
import type { Packet } from './packet.js'
import type { Host } from './station.js'

/** What an Ethernet header is written from. */
export interface EthernetFields {
  /** A MAC as `parseMac` gives it. */
  destination: number
  /** A MAC as `parseMac` gives it. */
  source: number
  /** The VLAN ID of an 802.1Q tag, 0 to 4095; `null`: no tag. Default: `null`. */
  vlan?: number | null | undefined
  /** What follows, such as 0x0800 for IPv4. */
  etherType: number
}

/** An Ethernet header with up to two VLAN tags, in the packet of the last call of `ethernet()`. */
export class Ethernet {
  #memory: Uint8Array = new Uint8Array()
  #start = 0
  #end = 0
  #vlan = UNTAGGED
  #etherType = 0
  #payload = 0

  static read(packet: Packet): Ethernet | undefined {
    if (!readEthernet(packet)) return undefined
    one.#memory = at.memory
    one.#start = at.start
    one.#end = at.end
    one.#vlan = at.vlan
    one.#etherType = at.etherType
    one.#payload = at.network
    return one
  }

  /** The destination MAC, as a number of 48 bits. */
  get destination(): number {
    return uint48(this.#memory, this.#start)
  }
  set destination(mac: number) {
    setUint48(this.#memory, this.#start, mac)
  }
  /** The source MAC, as a number of 48 bits. */
  get source(): number {
    return uint48(this.#memory, this.#start + 6)
  }
  set source(mac: number) {
    setUint48(this.#memory, this.#start + 6, mac)
  }
  /** The VLAN ID of the outer tag, 802.1Q or 802.1ad; `null`: the frame is untagged. */
  get vlan(): number | null {
    return this.#vlan === UNTAGGED ? null : this.#vlan & 0xfff
  }
  /** The number of VLAN tags: 0, 1 or 2. */
  get tags(): number {
    return (this.#payload - this.#start - ETHERNET_LENGTH) / TAG_LENGTH
  }
  /** The EtherType behind the tags. */
  get etherType(): number {
    return this.#etherType
  }
  /** Offset of the payload from the packet's first byte, in bytes. */
  get payloadOffset(): number {
    return this.#payload - this.#start
  }
  /** Bytes of the payload, including the padding of a short packet to Ethernet's 60. */
  get payloadLength(): number {
    return this.#end - this.#payload
  }
  /** A view of the payload's bytes, in the packet's `memory`. Allocates. */
  payload(): Uint8Array {
    return this.#memory.subarray(this.#payload, this.#end)
  }
}

const one = new Ethernet()

/** Reads and writes Ethernet headers. */
export interface EthernetHeaders {
  /**
   * The packet's Ethernet header; `undefined` if the packet is shorter than it, or has more than two tags. Returns the
   * same object each time, which the next call moves. Allocates nothing.
   */
  (packet: Packet): Ethernet | undefined
  /**
   * Begins a packet: writes its header and sets its length to that.
   *
   * @returns The offset of the next header from the packet's first byte.
   * @throws {RangeError} `ERR_OUT_OF_RANGE` where a field cannot hold its number.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` where the packet cannot hold it.
   */
  write(packet: Packet, fields: EthernetFields): number
}

/** Reads and writes Ethernet headers (IEEE 802.3 with 802.1Q and 802.1ad tags). */
export const ethernet: EthernetHeaders = Object.assign(Ethernet.read, { write })

function write(packet: Packet, fields: EthernetFields): number {
  const { destination, source, vlan, etherType } = fields
  const high = Math.floor(destination / 0x1_0000_0000)
  const sourceHigh = Math.floor(source / 0x1_0000_0000)
  if (!isMac(destination, high)) mustFit('destination', destination, LAST_MAC)
  if (!isMac(source, sourceHigh)) mustFit('source', source, LAST_MAC)
  const next = begin(packet, high, destination | 0, vlan ?? UNTAGGED, etherType)
  const { memory, offset } = packet
  setUint16(memory, offset + 6, sourceHigh)
  setUint32(memory, offset + 8, source | 0)
  return next - offset
}

/**
 * As `ethernet.write`, from a station in its VLAN, to the MAC whose first 16 bits are `high` and whose last 32 are
 * `low`. V8 keeps both numbers unboxed; it would allocate an object to pass one of 48 bits.
 *
 * @returns Where in the packet's `memory` the next header goes.
 */
export function writeFrom(packet: Packet, host: Host, high: number, low: number, etherType: number): number {
  const next = begin(packet, high, low, host.vlan, etherType)
  host.writeMac(packet.memory, packet.offset + 6)
  return next
}

export const LAST_MAC = 0xffff_ffff_ffff

/** Whether a number, whose 32 bits from bit 32 on are `high`, is a MAC. */
export function isMac(mac: number, high: number): boolean {
  return high >= 0 && high <= 0xffff && mac === high * 0x1_0000_0000 + (mac >>> 0)
}

/** Writes all but the source. Returns where in the packet's `memory` the next header goes. */
function begin(packet: Packet, high: number, low: number, vlan: number, etherType: number): number {
  if (vlan !== UNTAGGED) mustFit('vlan', vlan, 0xfff)
  mustFit('etherType', etherType, 0xffff)
  const length = ETHERNET_LENGTH + (vlan === UNTAGGED ? 0 : TAG_LENGTH)
  mustHold(packet, length)

  const { offset, memory } = packet
  setUint16(memory, offset, high)
  setUint32(memory, offset + 2, low)
  if (vlan !== UNTAGGED) {
    setUint16(memory, offset + 12, TYPE_VLAN)
    setUint16(memory, offset + 14, vlan)
  }
  setUint16(memory, offset + length - 2, etherType)
  packet.length = length
  return offset + length
}

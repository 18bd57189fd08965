import { wrongValue } from '../arguments.js'
import { formatIpv6, type Ipv6Words } from './address.js'
import { copy, int32, setUint16, setUint32, uint8, uint32, uint48 } from './bytes.js'
import { sum } from './checksum.js'
import { writeFrom } from './ethernet.js'
import { holdsIcmp, isIntact } from './icmp.js'
import { pseudoSum } from './ip.js'
import { setWords, textAt, writeBeside } from './ipv6.js'
import { at, IPV6_LENGTH, PROTOCOL_ICMPV6, readIpv6, TYPE_IPV6 } from './layers.js'
import type { Packet, Station } from './packet.js'
import { isFromGroupMac, isStation6, isToGroupMac } from './senders.js'
import { type Host, hostOf } from './station.js'

const SOLICITATION = 135
const ADVERTISEMENT = 136
/** Up to the options: type, code, checksum, flags, target. */
const MESSAGE_LENGTH = 24
/** With the link-layer address of Ethernet as its one option. */
const FULL_LENGTH = 32
const SOURCE_LINK_ADDRESS = 1
const TARGET_LINK_ADDRESS = 2

const SOLICITED = 0x4000_0000
const OVERRIDE = 0x2000_0000
/** All of neighbour discovery comes with it, so that it cannot come from beyond the link. */
const HOP_LIMIT = 255

/** Where `readNeighbour` found the link-layer address; 0 where there was none. */
let linkAddressAt = 0

/** A neighbour solicitation or advertisement, in the packet of the last call of `ndp()`. */
export class Neighbour {
  #memory: Uint8Array = new Uint8Array()
  #network = 0
  #at = 0
  #linkAddress = 0

  static read(packet: Packet): Neighbour | undefined {
    if (!readNeighbour(packet)) return undefined
    one.#memory = at.memory
    one.#network = at.network
    one.#at = at.transport
    one.#linkAddress = linkAddressAt
    return one
  }

  /** 135: solicitation, 136: advertisement. */
  get type(): number {
    return uint8(this.#memory, this.#at)
  }
  /** Advertisement: the sender is a router (R flag). */
  get router(): boolean {
    return (uint8(this.#memory, this.#at + 4) & 0x80) !== 0
  }
  /** Advertisement: it answers a solicitation (S flag). */
  get solicited(): boolean {
    return (uint8(this.#memory, this.#at + 4) & 0x40) !== 0
  }
  /** Advertisement: it replaces a cached link-layer address (O flag). */
  get override(): boolean {
    return (uint8(this.#memory, this.#at + 4) & 0x20) !== 0
  }
  /** A word of the target's address as a uint32, 0 being the most significant. */
  targetWord(word: number): number {
    return uint32(this.#memory, this.#at + 8 + 4 * (word & 3))
  }
  /**
   * A word of the sender's address as a uint32, 0 being the most significant. All are 0 in duplicate address detection.
   */
  sourceWord(word: number): number {
    return uint32(this.#memory, this.#network + 8 + 4 * (word & 3))
  }
  /** The target's address as text. Allocates. */
  get targetAddress(): string {
    return textAt(this.#memory, this.#at + 8)
  }
  /** The sender's address as text. Allocates. */
  get sourceAddress(): string {
    return textAt(this.#memory, this.#network + 8)
  }
  /** The MAC of a solicitation's sender or of an advertisement's target; `undefined` if the option is missing. */
  get linkAddress(): number | undefined {
    return this.#linkAddress === 0 ? undefined : uint48(this.#memory, this.#linkAddress)
  }
}

const one = new Neighbour()

/** The functions of {@link ndp}. */
export interface NeighbourMessages {
  /**
   * The packet's neighbour solicitation or advertisement; `undefined` if there is none, or if it is not valid by RFC
   * 4861, sections 7.1.1 and 7.1.2 (hop limit, checksum, lengths, addresses), has a link-layer address of another
   * length, or has a fragment header (RFC 6980). Returns the same object each time, which the next call moves.
   * Allocates nothing.
   */
  (packet: Packet): Neighbour | undefined
  /**
   * Turns a valid solicitation for an address of the station, in its VLAN, sent to one of its addresses or multicast
   * groups, into the advertisement of RFC 4861, section 7.2.4. Duplicate address detection is answered to all nodes.
   * Not answered are the station's own packets, and packets whose source is a multicast MAC or a loopback address.
   *
   * @returns Whether the packet is now an advertisement that can be sent; if not, it is unchanged. It is also `false`
   * if the packet's capacity is less than 86 bytes (90 in a VLAN, 94 with a second tag). Allocates nothing.
   */
  answer(packet: Packet, station: Station): boolean
  /**
   * Makes the packet a solicitation for the MAC of `target`, to its solicited-node group, from the station's address on
   * that network, else its first one.
   *
   * @param target An address as `parseIpv6` returns it.
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if the station has no IPv6 address, or the target is a multicast
   * address.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` where the packet cannot hold 86 bytes, 90 in a VLAN.
   */
  solicit(packet: Packet, station: Station, target: Ipv6Words): void
}

/** Reads, answers and sends the neighbour solicitations and advertisements of IPv6 (RFC 4861). */
export const ndp: NeighbourMessages = Object.assign(Neighbour.read, { answer, solicit })

function readNeighbour(packet: Packet): boolean {
  if (!readIpv6(packet) || !holdsIcmp() || at.fragmentHeader) return false
  const { memory, network, transport, transportEnd } = at
  const type = uint8(memory, transport)
  if ((type !== SOLICITATION && type !== ADVERTISEMENT) || uint8(memory, transport + 1) !== 0) return false
  if (transport + MESSAGE_LENGTH > transportEnd || uint8(memory, network + 7) !== HOP_LIMIT) return false
  const target = transport + 8
  if (isGroup(memory, target) || isGroup(memory, network + 8) || !readOptions(type)) return false

  const toGroup = isGroup(memory, network + 24)
  if (type === ADVERTISEMENT) {
    const solicited = (uint8(memory, transport + 4) & 0x40) !== 0
    if (toGroup && solicited) return false
  } else if (isUnspecified(memory, network + 8)) {
    if (!isSolicitedNode(memory, network + 24) || linkAddressAt !== 0) return false
  }
  return isIntact(memory, 6, network, transport, transportEnd)
}

/**
 * Finds the link-layer address. False if an option has no length or ends beyond the message, or the address is not a
 * MAC.
 */
function readOptions(type: number): boolean {
  const { memory, transport, transportEnd } = at
  const wanted = type === SOLICITATION ? SOURCE_LINK_ADDRESS : TARGET_LINK_ADDRESS
  linkAddressAt = 0
  let option = transport + MESSAGE_LENGTH
  while (option < transportEnd) {
    if (option + 8 > transportEnd) return false
    const length = uint8(memory, option + 1) * 8
    if (length === 0 || option + length > transportEnd) return false
    // The first one counts. Ethernet's takes 8 bytes; one of another length belongs to another medium.
    if (uint8(memory, option) === wanted && linkAddressAt === 0) {
      if (length !== 8) return false
      linkAddressAt = option + 2
    }
    option += length
  }
  return true
}

function isGroup(memory: Uint8Array, address: number): boolean {
  return uint8(memory, address) === 0xff
}

function isUnspecified(memory: Uint8Array, address: number): boolean {
  return (
    (int32(memory, address) | int32(memory, address + 4) | int32(memory, address + 8) | int32(memory, address + 12)) ===
    0
  )
}

/** ff02::1:ff00:0/104 */
function isSolicitedNode(memory: Uint8Array, address: number): boolean {
  if (uint32(memory, address) !== 0xff02_0000 || int32(memory, address + 4) !== 0) return false
  return int32(memory, address + 8) === 1 && uint8(memory, address + 12) === 0xff
}

function answer(packet: Packet, station: Station): boolean {
  if (!readNeighbour(packet)) return false
  const { memory, start, network, transport } = at
  const host = hostOf(station)
  const target = transport + 8
  if (uint8(memory, transport) !== SOLICITATION || !host.isInVlan() || !host.ownsIpv6(memory, target)) return false
  if ((!isToGroupMac() && !host.isDestination()) || isFromGroupMac() || host.isSource()) return false
  const looksForDuplicates = isUnspecified(memory, network + 8)
  const isStranger = isStation6(memory, network + 8) && !host.ownsIpv6(memory, network + 8)
  if (!looksForDuplicates && !isStranger) return false
  const isForIt = isGroup(memory, network + 24)
    ? host.isInGroup6(memory, network + 24)
    : host.ownsIpv6(memory, network + 24)
  if (!isForIt) return false
  // Without the option, as in a probe of a neighbour that is known, the frame's source is the best that there is.
  const asker = linkAddressAt === 0 ? start + 6 : linkAddressAt
  const length = network + IPV6_LENGTH + FULL_LENGTH - start
  if ((uint8(memory, asker) & 1) === 1 || host.hasMac(asker) || length > packet.capacity) return false

  if (looksForDuplicates) {
    setUint16(memory, start, GROUP_MAC)
    setUint32(memory, start + 2, 1)
    setWords(memory, network + 24, ALL_NODES)
  } else {
    copy(memory, start, asker, 6)
    copy(memory, network + 24, network + 8, 16)
  }
  host.writeMac(memory, start + 6)
  // The target is read before the message is written, which may stand over it: extension headers are left out.
  copy(memory, network + 8, target, 16)
  setUint32(memory, network, 0x6000_0000)
  setUint16(memory, network + 4, FULL_LENGTH)
  memory[network + 6] = PROTOCOL_ICMPV6
  memory[network + 7] = HOP_LIMIT
  copy(memory, network + IPV6_LENGTH + 8, network + 8, 16)
  const flags = looksForDuplicates ? OVERRIDE : SOLICITED | OVERRIDE
  finish(memory, network, ADVERTISEMENT, flags, TARGET_LINK_ADDRESS, host)
  packet.length = length
  return true
}

const ALL_NODES: Ipv6Words = Int32Array.of(0xff02_0000, 0, 0, 1)
/** How the MAC of an IPv6 group begins; its last 32 bits are the group's (RFC 2464, section 7). */
const GROUP_MAC = 0x3333

function solicit(packet: Packet, station: Station, target: Ipv6Words): void {
  if ((target[0] ?? 0) >>> 24 === 0xff) {
    throw wrongValue('target', 'must be the address of one station: a group has no MAC to ask for', formatIpv6(target))
  }
  const host = hostOf(station)
  const source = host.ipv6Towards(target)
  const group = 0xff00_0000 | ((target[3] ?? 0) & 0xff_ffff)
  const network = writeFrom(packet, host, GROUP_MAC, group, TYPE_IPV6)
  const message = writeBeside(packet, network, PROTOCOL_ICMPV6, HOP_LIMIT, FULL_LENGTH)

  const { memory } = packet
  setWords(memory, network + 8, host.ipv6, source)
  setWords(memory, network + 24, SOLICITED_NODE)
  setUint32(memory, network + 36, group)
  setWords(memory, message + 8, target)
  finish(memory, network, SOLICITATION, 0, SOURCE_LINK_ADDRESS, host)
}

/** The group to which the last 24 bits of an address are still missing. */
const SOLICITED_NODE: Ipv6Words = Int32Array.of(0xff02_0000, 0, 1, 0)

/** Writes what stands around the target, with the link-layer address as the one option. */
function finish(memory: Uint8Array, network: number, type: number, flags: number, option: number, host: Host): void {
  const message = network + IPV6_LENGTH
  setUint32(memory, message, type << 24)
  setUint32(memory, message + 4, flags)
  memory[message + MESSAGE_LENGTH] = option
  memory[message + MESSAGE_LENGTH + 1] = 1
  host.writeMac(memory, message + MESSAGE_LENGTH + 2)
  const initial = pseudoSum(memory, network, 6, PROTOCOL_ICMPV6, FULL_LENGTH)
  setUint16(memory, message + 2, ~sum(memory, message, FULL_LENGTH, initial))
}

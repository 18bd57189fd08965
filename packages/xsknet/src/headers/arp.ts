import { copy, int32, setUint16, setUint32, uint8, uint16, uint32, uint48 } from './bytes.js'
import { mustFit, mustHold } from './checks.js'
import { writeFrom } from './ethernet.js'
import { at, readEthernet, TYPE_ARP, TYPE_IPV4 } from './layers.js'
import type { Packet, Station } from './packet.js'
import { isFromGroupMac, isToGroupMac } from './senders.js'
import { hostOf } from './station.js'

const ARP_LENGTH = 28
const REQUEST = 1
const REPLY = 2

/** ARP for IPv4 over Ethernet, in the packet of the last call of `arp()`. */
export class Arp {
  #memory: Uint8Array = new Uint8Array()
  #at = 0

  static read(packet: Packet): Arp | undefined {
    if (!readArp(packet)) return undefined
    one.#memory = at.memory
    one.#at = at.network
    return one
  }

  /** 1: request, 2: reply. */
  get operation(): number {
    return uint16(this.#memory, this.#at + 6)
  }
  /** A MAC as a number of 48 bits. */
  get senderMac(): number {
    return uint48(this.#memory, this.#at + 8)
  }
  /** An IPv4 address as a uint32; 0 in a probe. */
  get sender(): number {
    return uint32(this.#memory, this.#at + 14)
  }
  /** A MAC as a number of 48 bits; has no meaning in a request. */
  get targetMac(): number {
    return uint48(this.#memory, this.#at + 18)
  }
  /** An IPv4 address as a uint32. */
  get target(): number {
    return uint32(this.#memory, this.#at + 24)
  }
}

const one = new Arp()

/** The functions of {@link arp}. */
export interface ArpPackets {
  /**
   * The packet's ARP message; `undefined` if there is none, or if it is truncated or not for IPv4 over Ethernet.
   * Returns the same object each time, which the next call moves. Allocates nothing.
   */
  (packet: Packet): Arp | undefined
  /**
   * Turns a request for an address of the station, in its VLAN, into the reply. Probes are answered too, so that no
   * other host takes the address (RFC 5227). Not answered are announcements, the station's own packets, and packets
   * whose source is a broadcast or multicast MAC or address, or a loopback address.
   *
   * @returns Whether the packet is now a reply that can be sent; if not, it is unchanged. Allocates nothing.
   */
  answer(packet: Packet, station: Station): boolean
  /**
   * Makes the packet a request for the MAC of `target`, from the station's address on that network, else its first one.
   *
   * @param target An address as `parseIpv4` returns it.
   * @throws {TypeError} `ERR_INVALID_ARG_VALUE` where the station has no IPv4 address.
   * @throws {XsknetError} `ERR_XSKNET_FRAME_TOO_LONG` where the packet cannot hold 42 bytes, 46 in a VLAN.
   */
  request(packet: Packet, station: Station, target: number): void
}

/** Reads, answers and sends ARP for IPv4 over Ethernet (RFC 826). */
export const arp: ArpPackets = Object.assign(Arp.read, { answer, request })

function readArp(packet: Packet): boolean {
  if (!readEthernet(packet) || at.etherType !== TYPE_ARP) return false
  const { memory, network, end } = at
  if (network + ARP_LENGTH > end) return false
  return int32(memory, network) === (0x0001_0000 | TYPE_IPV4) && uint16(memory, network + 4) === 0x0604
}

function answer(packet: Packet, station: Station): boolean {
  if (!readArp(packet)) return false
  const { memory, start, network } = at
  const host = hostOf(station)
  if (uint16(memory, network + 6) !== REQUEST || !host.isInVlan() || !host.ownsIpv4(memory, network + 24)) return false
  if (!isToGroupMac() && !host.isDestination()) return false
  // A group's MAC cannot be answered, and a packet from the station's own MAC asks nothing: it is an announcement or an
  // echo.
  if (isFromGroupMac() || host.isSource() || (uint8(memory, network + 8) & 1) === 1 || host.hasMac(network + 8))
    return false
  const isProbe = int32(memory, network + 14) === 0
  if (!isProbe && !host.isStranger4(memory, network + 14)) return false

  const target = int32(memory, network + 24)
  copy(memory, start, network + 8, 6)
  host.writeMac(memory, start + 6)
  memory[network + 7] = REPLY
  copy(memory, network + 18, network + 8, 10)
  host.writeMac(memory, network + 8)
  setUint32(memory, network + 14, target)
  packet.length = network + ARP_LENGTH - start
  return true
}

function request(packet: Packet, station: Station, target: number): void {
  if (target >>> 0 !== target) mustFit('target', target, 0xffff_ffff)
  const host = hostOf(station)
  const sender = host.ipv4Towards(target | 0)
  const offset = writeFrom(packet, host, 0xffff, -1, TYPE_ARP)
  mustHold(packet, packet.length + ARP_LENGTH)

  const { memory } = packet
  setUint32(memory, offset, 0x0001_0000 | TYPE_IPV4)
  setUint32(memory, offset + 4, 0x0604_0000 | REQUEST)
  host.writeMac(memory, offset + 8)
  setUint32(memory, offset + 14, sender)
  setUint32(memory, offset + 18, 0)
  setUint16(memory, offset + 22, 0)
  setUint32(memory, offset + 24, target | 0)
  packet.length += ARP_LENGTH
}

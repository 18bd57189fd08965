import { uint8, uint16 } from './bytes.js'
import { BROKEN, optionsOfIpv4, SOURCE_ROUTED, stepsOverOptions } from './options.js'
import type { Packet } from './packet.js'

export const TYPE_IPV4 = 0x0800
export const TYPE_ARP = 0x0806
export const TYPE_VLAN = 0x8100
const TYPE_SERVICE_VLAN = 0x88a8
export const TYPE_IPV6 = 0x86dd

export const PROTOCOL_ICMP = 1
export const PROTOCOL_UDP = 17
export const PROTOCOL_ICMPV6 = 58
const PROTOCOL_HOP_BY_HOP = 0
const PROTOCOL_ROUTING = 43
const PROTOCOL_FRAGMENT = 44
const PROTOCOL_DESTINATION_OPTIONS = 60

const ROUTING_RPL = 3
const ROUTING_SEGMENTS = 4

export const ETHERNET_LENGTH = 14
export const TAG_LENGTH = 4
export const IPV4_LENGTH = 20
export const IPV6_LENGTH = 40

export const UNTAGGED = -1
/** Above every VLAN: an outer 802.1ad tag is another VLAN than any station's. */
const SERVICE = 0x1_0000

/** RFC 8200 sets no limit; real packets have a handful. XSKNet's BPF programs walk as many. */
const MAX_EXTENSION_HEADERS = 8

/**
 * Where the headers of the packet stand that was read last: one object, which the next reading moves. All are positions
 * in `memory`.
 */
export const at = {
  memory: new Uint8Array() as Uint8Array,
  start: 0,
  end: 0,
  /** Of the outer tag: a VLAN, `UNTAGGED`, or `SERVICE` and more. */
  vlan: UNTAGGED,
  /** Behind the tags. */
  etherType: 0,
  network: 0,
  version: 0,
  /** The protocol of what begins at `transport`: behind the options of IPv4, the extension headers of IPv6. */
  protocol: 0,
  transport: 0,
  /**
   * Where the IP packet ends by its own length: not beyond `end`, but often before it, because short frames are padded.
   */
  transportEnd: 0,
  /** Part of a larger packet. */
  fragment: false,
  /** An IPv6 fragment header was passed, of a whole ("atomic") packet too. */
  fragmentHeader: false,
  /** IPv4 options have a source route. */
  sourceRouted: false,
}

/** Reads up to the EtherType. False where the packet ends before it, or has three tags. */
export function readEthernet(packet: Packet): boolean {
  // In this order: a frame whose lease has ended throws at its offset, and has no length to speak of.
  const start = packet.offset
  const memory = packet.memory
  const end = start + packet.length
  let network = start + ETHERNET_LENGTH
  if (network > end) return false

  let etherType = uint16(memory, network - 2)
  let vlan = UNTAGGED
  if (isTag(etherType)) {
    if (network + TAG_LENGTH > end) return false
    vlan = (uint16(memory, network) & 0xfff) | (etherType === TYPE_VLAN ? 0 : SERVICE)
    etherType = uint16(memory, network + 2)
    network += TAG_LENGTH
    if (isTag(etherType)) {
      if (network + TAG_LENGTH > end) return false
      etherType = uint16(memory, network + 2)
      network += TAG_LENGTH
      if (isTag(etherType)) return false
    }
  }
  at.memory = memory
  at.start = start
  at.end = end
  at.vlan = vlan
  at.etherType = etherType
  at.network = network
  return true
}

function isTag(etherType: number): boolean {
  return etherType === TYPE_VLAN || etherType === TYPE_SERVICE_VLAN
}

/**
 * Reads up to the payload of IP. False if the packet is not IP, its lengths are not valid, or the packet ends before
 * the IP packet does.
 */
export function readIp(packet: Packet): boolean {
  if (!readEthernet(packet)) return false
  if (at.etherType === TYPE_IPV4) return readIpv4Header()
  return at.etherType === TYPE_IPV6 && readIpv6Header()
}

export function readIpv4(packet: Packet): boolean {
  return readEthernet(packet) && at.etherType === TYPE_IPV4 && readIpv4Header()
}

export function readIpv6(packet: Packet): boolean {
  return readEthernet(packet) && at.etherType === TYPE_IPV6 && readIpv6Header()
}

function readIpv4Header(): boolean {
  const { memory, network, end } = at
  if (network + IPV4_LENGTH > end) return false
  const first = uint8(memory, network)
  const headerLength = (first & 0xf) * 4
  const totalLength = uint16(memory, network + 2)
  if (first >> 4 !== 4 || headerLength < IPV4_LENGTH || totalLength < headerLength || network + totalLength > end)
    return false

  at.version = 4
  at.protocol = uint8(memory, network + 9)
  at.transport = network + headerLength
  at.transportEnd = network + totalLength
  at.fragment = (uint16(memory, network + 6) & 0x3fff) !== 0
  at.fragmentHeader = false
  at.sourceRouted = false
  return headerLength === IPV4_LENGTH || readIpv4Options()
}

function readIpv4Options(): boolean {
  const options = optionsOfIpv4(at.memory, at.network + IPV4_LENGTH, at.transport)
  at.sourceRouted = options === SOURCE_ROUTED
  return options !== BROKEN
}

function readIpv6Header(): boolean {
  const { memory, network, end } = at
  if (network + IPV6_LENGTH > end || uint8(memory, network) >> 4 !== 6) return false
  const transportEnd = network + IPV6_LENGTH + uint16(memory, network + 4)
  if (transportEnd > end) return false

  at.version = 6
  at.protocol = uint8(memory, network + 6)
  at.transport = network + IPV6_LENGTH
  at.transportEnd = transportEnd
  at.fragment = false
  at.fragmentHeader = false
  at.sourceRouted = false
  return !isExtension(at.protocol) || skipExtensions()
}

/** AH is not one of them: nothing here could verify it, so the packet behind it is not read. */
function isExtension(protocol: number): boolean {
  return (
    protocol === PROTOCOL_HOP_BY_HOP ||
    protocol === PROTOCOL_ROUTING ||
    protocol === PROTOCOL_FRAGMENT ||
    protocol === PROTOCOL_DESTINATION_OPTIONS
  )
}

/**
 * Leaves `transport` behind the extension headers; behind the fragment header of a later fragment, which has no other.
 */
function skipExtensions(): boolean {
  const { memory, transportEnd } = at
  for (let passed = 0; isExtension(at.protocol); passed++) {
    const header = at.transport
    if (passed === MAX_EXTENSION_HEADERS || header + 8 > transportEnd) return false
    const fragmentHeader = at.protocol === PROTOCOL_FRAGMENT
    const length = fragmentHeader ? 8 : (uint8(memory, header + 1) + 1) * 8
    if (header + length > transportEnd) return false
    // Hop-by-hop options stand first, or nowhere (RFC 8200, section 4.1).
    if (at.protocol === PROTOCOL_HOP_BY_HOP && passed > 0) return false
    if (at.protocol === PROTOCOL_ROUTING && !isRoutingDone(header)) return false
    if (at.protocol === PROTOCOL_HOP_BY_HOP || at.protocol === PROTOCOL_DESTINATION_OPTIONS) {
      if (!stepsOverOptions(memory, header, header + length, at.protocol === PROTOCOL_HOP_BY_HOP)) return false
    }
    // A whole packet is not a fragment of another one.
    if (fragmentHeader && at.fragmentHeader && !at.fragment) return false

    at.protocol = uint8(memory, header)
    at.transport = header + length
    if (fragmentHeader) {
      const offsetAndMore = uint16(memory, header + 2) & 0xfff9
      at.fragmentHeader = true
      at.fragment ||= offsetAndMore !== 0
      if (offsetAndMore > 7) return true
    }
  }
  return true
}

/**
 * With segments left, this is not the packet's destination but an intermediate node (RFC 8200, section 4.4), which
 * cannot be a multicast address. A host takes part in RPL and segment routing (RFC 6554, RFC 8754) only if configured.
 */
function isRoutingDone(header: number): boolean {
  const { memory, start, network } = at
  const type = uint8(memory, header + 2)
  if (uint8(memory, header + 3) !== 0 || type === ROUTING_RPL || type === ROUTING_SEGMENTS) return false
  return uint8(memory, network + 24) !== 0xff && (uint8(memory, start) & 1) === 0
}

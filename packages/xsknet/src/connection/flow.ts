import { isIPv4, isIPv6 } from 'node:net'
import { inspect } from 'node:util'
import { wrongType } from '../arguments.js'
import { XsknetError } from '../errors.js'
import { formatIpv4, formatIpv6, formatMac, parseIpv4, parseIpv6, parseMac } from '../headers/address.js'
import { MAX_FLOW_TEXTS, MAX_VLAN, MIN_VLAN } from './limits.js'
import { nearest } from './suggestions.js'

/**
 * Packets, by values of their headers. A field that is missing or `undefined` matches anything; at least one is
 * required. The object means the same as a filter expression, such as `'dst host 192.0.2.1 and udp dst port 53'`, into
 * which it is converted. An object is one flow; an expression can be several. docs/flows.md describes both.
 */
export interface Flow {
  /**
   * The destination address, or a prefix: `'192.0.2.1'`, `'192.0.2.0/24'`, `'2001:db8::1'`, `'2001:db8::/32'`. Bits
   * behind the prefix are 0. Of IP packets, not of ARP.
   */
  destination?: string | undefined
  /** The source address, or a prefix, of the same IP version as `destination`. */
  source?: string | undefined
  /**
   * The protocol of IPv4, or of IPv6 behind its extension headers. `'icmp'` is ICMP in IPv4, `'icmp6'` ICMPv6 in IPv6.
   * A number, 0 to 255, is of both versions of IP.
   */
  protocol?: 'tcp' | 'udp' | 'sctp' | 'icmp' | 'icmp6' | number | undefined
  /**
   * The destination port, 0 to 65535, or a range: its first and its last port. Requires the protocol TCP, UDP or SCTP.
   */
  destinationPort?: number | readonly [first: number, last: number] | undefined
  /** The source port, 0 to 65535, or a range, as `destinationPort`. */
  sourcePort?: number | readonly [first: number, last: number] | undefined
  /** The type of ICMP or ICMPv6, 0 to 255: 8 or 128 is an echo request. Requires that protocol. */
  icmpType?: number | undefined
  /** The VLAN ID of the outer tag, 1 to 4094. `null`: untagged frames only. Missing: tagged or not. */
  vlan?: number | null | undefined
  /**
   * The EtherType behind VLAN tags, 0x0600 to 0xffff. It is not that of a tag (0x8100, 0x88a8, 0x9100) or of AppleTalk
   * (0x809b, 0x80f3). 0x0800 is IPv4, 0x86dd IPv6.
   */
  etherType?: number | undefined
  /** The destination MAC, such as `'02:00:5e:10:00:01'`. */
  destinationMac?: string | undefined
}

const IPV4 = 0x0800
const IPV6 = 0x86dd
const TAGS: readonly number[] = [0x8100, 0x88a8, 0x9100]
const APPLETALK: readonly number[] = [0x809b, 0x80f3]
/** A lower value in its place is the length of a frame (IEEE 802.3). */
const LOWEST_ETHER_TYPE = 0x0600

const ICMP = 1
const ICMPV6 = 58
/** Protocols with ports, by their numbers and as expressions name them. */
const TRANSPORTS: ReadonlyMap<number, string> = new Map([
  [6, 'tcp'],
  [17, 'udp'],
  [132, 'sctp'],
])
/** The protocols that have names here. Those of one IP version say which. */
const PROTOCOLS: Readonly<Record<string, { number: number; version?: 4 | 6 }>> = {
  tcp: { number: 6 },
  udp: { number: 17 },
  sctp: { number: 132 },
  icmp: { number: ICMP, version: 4 },
  icmp6: { number: ICMPV6, version: 6 },
}

/** All fields. TypeScript refuses a list that lacks one. */
const FIELDS: readonly string[] = Object.keys({
  destination: true,
  source: true,
  protocol: true,
  destinationPort: true,
  sourcePort: true,
  icmpType: true,
  vlan: true,
  etherType: true,
  destinationMac: true,
} satisfies Record<keyof Flow, true>)

/**
 * The expressions of flows. A value that is not a list, or a list that is too long, is returned unchanged: the schema
 * of the request refuses it.
 *
 * @param name Of the argument, for errors.
 * @throws {XsknetError} `ERR_XSKNET_FLOW_INVALID` for an object that is not a flow.
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` for what is neither a string nor an object.
 */
export function flowTexts(flows: readonly (string | Flow)[], name: string): string[] {
  if (!Array.isArray(flows) || flows.length > MAX_FLOW_TEXTS) return flows as string[]
  return Array.from(flows as readonly (string | Flow)[], (flow, index) => {
    if (typeof flow === 'string') return flow
    if (typeof flow !== 'object' || flow === null || Array.isArray(flow)) {
      throw wrongType(`${name}.${index}`, 'a filter expression of type string or an object', flow)
    }
    return flowText(flow, index)
  })
}

/**
 * The expression that means what an object says.
 *
 * @param index Its place in the list, for errors.
 * @throws {XsknetError} `ERR_XSKNET_FLOW_INVALID` names the field.
 */
export function flowText(flow: Flow, index = 0): string {
  const refuse = refusing(flow, index)
  for (const field in flow) if (!FIELDS.includes(field)) throw refuse(field, unknown(field))
  const { destination, source, protocol, destinationPort, sourcePort, icmpType, vlan, etherType, destinationMac } = flow

  const type = etherTypeOf(etherType, refuse)
  const [from, to] = [prefixOf('source', source, refuse), prefixOf('destination', destination, refuse)]
  const ip = protocolOf(protocol, refuse)
  const ports = [
    ['src', 'sourcePort', portsOf('sourcePort', sourcePort, refuse)],
    ['dst', 'destinationPort', portsOf('destinationPort', destinationPort, refuse)],
  ] as const
  const icmp = byteOf('icmpType', icmpType, 'a type of ICMP', refuse)

  const terms: string[] = []
  // `vlan` moves what stands behind it in an expression by a tag, so `vlan N` is the first and `not vlan` the last.
  if (typeof vlan === 'number' && vlan >= MIN_VLAN && vlan <= MAX_VLAN && Number.isInteger(vlan)) {
    terms.push(`vlan ${vlan}`)
  } else if (vlan !== undefined && vlan !== null) {
    throw refuse('vlan', `must be a VLAN ID from ${MIN_VLAN} to ${MAX_VLAN}, or null for untagged frames`, vlan)
  }
  if (destinationMac !== undefined) terms.push(`ether dst ${macOf(destinationMac, refuse)}`)
  if (type !== undefined) terms.push(`ether proto 0x${type.toString(16).padStart(4, '0')}`)
  for (const [side, prefix] of [
    ['src', from],
    ['dst', to],
  ] as const) {
    if (prefix) terms.push(`${side} ${prefix.text}`)
  }

  const transport = TRANSPORTS.get(ip?.number ?? -1)
  for (const [side, field, range] of ports) {
    if (!range) continue
    if (!transport) throw refuse(field, 'needs the protocol TCP (6), UDP (17) or SCTP (132)', protocol, 'protocol')
    terms.push(`${transport} ${side} ${range}`)
  }
  if (icmp !== undefined) {
    if (ip?.number !== ICMP && ip?.number !== ICMPV6) {
      throw refuse('icmpType', 'needs the protocol ICMP (1) or ICMPv6 (58)', protocol, 'protocol')
    }
    terms.push(ip.number === ICMP ? `icmp[icmptype] = ${icmp}` : `icmp6[icmp6type] = ${icmp}`)
  } else if (ip && !ports.some(([, , range]) => range)) {
    terms.push(transport ?? (ip.version ? `${protocol}` : `proto ${ip.number}`))
  }
  if (vlan === null) terms.push('not vlan')
  if (terms.length === 0) throw refuse(undefined, `is every packet: give it one of ${FIELDS.join(', ')}`)

  // The types of ICMP and of ICMPv6 are read in packets of their own IP version only.
  const protocolVersion = icmp === undefined ? ip?.version : ip?.number === ICMP ? 4 : 6
  const versions = { etherType: versionOf(type), source: from?.version, destination: to?.version }
  checkVersions(flow, { ...versions, protocol: protocolVersion }, refuse)
  if (versions.etherType === 'none' && ip) throw refuse('protocol', 'needs IP, which `etherType` is not', protocol)
  return terms.join(' and ')
}

type Version = 4 | 6 | 'none'

/** Refuses fields that are of packets of different IP versions. */
function checkVersions(flow: Flow, versions: Partial<Record<keyof Flow, Version | undefined>>, refuse: Refuse): void {
  const fields = (Object.keys(versions) as (keyof Flow)[]).filter((field) => versions[field] !== undefined)
  const [first] = fields
  const other = fields.find((field) => first && versions[field] !== versions[first])
  if (!first || !other) return
  const packets = (field: keyof Flow) => (versions[field] === 'none' ? 'packets without IP' : `IPv${versions[field]}`)
  const why = `is of ${packets(other)}, but \`${first}\` of ${packets(first)}: no packet is of both`
  throw refuse(other, why, flow[other])
}

type Refuse = (field: string | undefined, why: string, value?: unknown, of?: keyof Flow) => XsknetError

/** The errors of one flow. */
function refusing(flow: Flow, index: number): Refuse {
  return (field, why, value, of) => {
    const what = field === undefined ? 'it' : `\`${field}\``
    const received = of ? ` Received ${of}: ${show(value)}` : value === undefined ? '' : ` Received ${show(value)}`
    return new XsknetError(
      'ERR_XSKNET_FLOW_INVALID',
      `the flow at index ${index} cannot be claimed: ${what} ${why}.${received}`,
      {
        hint: 'docs/flows.md of the package xsknet says what the fields of a flow can have.',
        details: { flow, index, ...(field !== undefined && { field }) },
      },
    )
  }
}

function unknown(field: string): string {
  const meant = nearest(field, FIELDS)
  return `is not a field of a flow${meant === undefined ? '' : `; did you mean \`${meant}\`?`}`
}

function show(value: unknown): string {
  return inspect(value, { depth: 1, breakLength: Infinity }).slice(0, 64)
}

const isWithin = (value: unknown, lowest: number, highest: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= lowest && value <= highest

function etherTypeOf(etherType: unknown, refuse: Refuse): number | undefined {
  if (etherType === undefined) return undefined
  if (!isWithin(etherType, LOWEST_ETHER_TYPE, 0xffff)) {
    throw refuse('etherType', 'must be an integer from 0x0600 to 0xffff', etherType)
  }
  if (TAGS.includes(etherType)) throw refuse('etherType', 'must not be that of a VLAN tag: use `vlan`', etherType)
  if (APPLETALK.includes(etherType)) {
    throw refuse('etherType', 'must not be that of AppleTalk, which is also found behind SNAP headers', etherType)
  }
  return etherType
}

/** The IP version of packets of an EtherType. */
function versionOf(etherType: number | undefined): Version | undefined {
  if (etherType === undefined) return undefined
  if (etherType === IPV4) return 4
  return etherType === IPV6 ? 6 : 'none'
}

function protocolOf(protocol: unknown, refuse: Refuse): { number: number; version?: 4 | 6 } | undefined {
  if (protocol === undefined) return undefined
  if (typeof protocol === 'string' && Object.hasOwn(PROTOCOLS, protocol)) return PROTOCOLS[protocol]
  if (isWithin(protocol, 0, 255)) return { number: protocol }
  throw refuse('protocol', `must be ${Object.keys(PROTOCOLS).join(', ')}, or an integer from 0 to 255`, protocol)
}

function byteOf(field: keyof Flow, value: unknown, what: string, refuse: Refuse): number | undefined {
  if (value === undefined || isWithin(value, 0, 255)) return value
  throw refuse(field, `must be ${what}: an integer from 0 to 255`, value)
}

/** `port 53`, or `portrange 1-1023`. */
function portsOf(field: keyof Flow, ports: unknown, refuse: Refuse): string | undefined {
  if (ports === undefined) return undefined
  if (isWithin(ports, 0, 0xffff)) return `port ${ports}`
  if (!Array.isArray(ports) || ports.length !== 2 || !ports.every((port) => isWithin(port, 0, 0xffff))) {
    throw refuse(field, 'must be a port from 0 to 65535, or the first and the last one of a range', ports)
  }
  const [first, last] = ports as [number, number]
  if (first > last) throw refuse(field, 'must begin with the lowest port of the range', ports)
  return first === last ? `port ${first}` : `portrange ${first}-${last}`
}

function macOf(mac: unknown, refuse: Refuse): string {
  if (typeof mac === 'string' && /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) return formatMac(parseMac(mac))
  throw refuse('destinationMac', 'must be a MAC, such as 02:00:5e:10:00:01', mac)
}

/** `host 192.0.2.1`, or `net 192.0.2.0/24`. */
function prefixOf(field: keyof Flow, prefix: unknown, refuse: Refuse): { version: 4 | 6; text: string } | undefined {
  if (prefix === undefined) return undefined
  const [, address = '', digits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(typeof prefix === 'string' ? prefix : '') ?? []
  const version = isIPv4(address) ? 4 : isIPv6(address) && !address.includes('%') ? 6 : undefined
  const bits = version === 4 ? 32 : 128
  const length = digits === undefined ? bits : Number(digits)
  if (version === undefined || length > bits) {
    throw refuse(field, 'must be an address or a prefix, such as 192.0.2.1 or 2001:db8::/32', prefix)
  }
  const words = version === 4 ? [parseIpv4(address)] : [...parseIpv6(address)]
  const network = words.map((word, at) => (word & maskOf(length - 32 * at)) >>> 0)
  const format = (words: readonly number[]) => (version === 4 ? formatIpv4(words[0] as number) : formatIpv6(words))
  if (network.some((word, at) => word !== words[at])) {
    throw refuse(field, `must not have bits behind its prefix: the network is ${format(network)}/${length}`, prefix)
  }
  return { version, text: length === bits ? `host ${format(words)}` : `net ${format(words)}/${length}` }
}

/** The first bits of a word, none to all of them. */
function maskOf(bits: number): number {
  if (bits <= 0) return 0
  return bits >= 32 ? -1 : -1 << (32 - bits)
}

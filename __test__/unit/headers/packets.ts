// Packets written field by field, with checksums computed in another way than the headers of xsknet compute theirs.

import type { Packet, Station } from 'xsknet/headers'

export const STATION: Station = {
  info: {
    mac: '02:00:00:00:00:0a',
    addresses: ['192.0.2.10/24', '198.51.100.10/25', '2001:db8::10/64', 'fe80::ff:fe00:a/64'],
    vlan: null,
  },
}
export const TAGGED: Station = { info: { ...STATION.info, vlan: 42 } }

export const OWN_MAC = mac('02:00:00:00:00:0a')
export const PEER_MAC = mac('02:00:00:00:00:14')
export const BROADCAST = mac('ff:ff:ff:ff:ff:ff')
export const OWN4 = ip4Address('192.0.2.10')
export const PEER4 = ip4Address('192.0.2.20')
export const OWN6 = hex('20010db8000000000000000000000010')
export const PEER6 = hex('20010db8000000000000000000000020')
export const OWN_LINK_LOCAL = hex('fe80000000000000000000fffe00000a')
export const OWN_SOLICITED_NODE = hex('ff0200000000000000000001ff000010')
export const ALL_NODES = hex('ff020000000000000000000000000001')
export const UNSPECIFIED = hex('0'.repeat(32))

/** What guards the memory around a packet: whoever writes there is found out. */
const GUARD = 0xa5
const MARGIN = 64

/** A packet in the middle of a larger memory. */
export class Held implements Packet {
  readonly memory: Uint8Array
  readonly offset: number
  readonly capacity: number
  #length = 0

  constructor(bytes: Uint8Array, { capacity = 2048, offset = MARGIN } = {}) {
    this.memory = new Uint8Array(offset + capacity + MARGIN).fill(GUARD)
    this.offset = offset
    this.capacity = capacity
    this.memory.set(bytes, offset)
    this.length = bytes.length
  }

  get length(): number {
    return this.#length
  }
  set length(length: number) {
    if (!(length >= 0 && length <= this.capacity)) throw new RangeError(`length ${length}, capacity ${this.capacity}`)
    this.#length = length
  }

  get bytes(): Buffer {
    return Buffer.from(this.memory.subarray(this.offset, this.offset + this.length))
  }

  get marginsAreWhole(): boolean {
    const { memory, offset, capacity } = this
    return memory.every((byte, i) => (i >= offset && i < offset + capacity) || byte === GUARD)
  }
}

export function held(bytes: Uint8Array, options?: { capacity?: number; offset?: number }): Held {
  return new Held(bytes, options)
}

/** The value, which the test takes for granted. */
export function some<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('nothing was read')
  return value
}

/** A copy with some bits of one byte turned. */
export function changed(bytes: Buffer, at: number, mask: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ mask, at)
  return copy
}

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
}

export function mac(text: string): Buffer {
  return hex(text.replaceAll(':', ''))
}

export function ip4Address(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number))
}

export function u16(...values: number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value >> 8, value & 0xff]))
}

/** RFC 1071 by a remainder: 2^16 is 1 modulo 0xffff. */
export function checksumOf(bytes: Uint8Array): number {
  const even = Buffer.concat([bytes, new Uint8Array(bytes.length % 2)])
  if (even.every((byte) => byte === 0)) return 0xffff
  const rest = Number(BigInt(`0x${even.toString('hex')}`) % 0xffffn)
  return rest === 0 ? 0 : 0xffff - rest
}

/** The bytes with the checksum over them, and over what stands before them, written `at`. */
function stamped(bytes: Buffer, at: number, before: Uint8Array = new Uint8Array()): Buffer {
  const checksum = checksumOf(Buffer.concat([before, bytes]))
  bytes.writeUInt16BE(checksum, at)
  return bytes
}

interface Link {
  to?: Buffer
  from?: Buffer
  /** TPID and TCI of each tag. */
  tags?: [number, number][]
}

export function frame(
  etherType: number,
  payload: Uint8Array,
  { to = OWN_MAC, from = PEER_MAC, tags = [] }: Link = {},
): Buffer {
  return Buffer.concat([to, from, ...tags.map((tag) => u16(...tag)), u16(etherType), payload])
}

export function arpFrame(
  fields: { operation?: number; sender?: Buffer; senderMac?: Buffer; target?: Buffer } = {},
  link: Link = {},
) {
  const { operation = 1, sender = PEER4, senderMac = PEER_MAC, target = OWN4 } = fields
  const body = Buffer.concat([hex('0001 0800 06 04'), u16(operation), senderMac, sender, Buffer.alloc(6), target])
  return frame(0x0806, body, { to: BROADCAST, ...link })
}

interface Over4 {
  source?: Buffer
  destination?: Buffer
  options?: Buffer
  flags?: number
  ttl?: number
  padding?: number
  identification?: number
  /** DSCP and ECN. */
  trafficClass?: number
  /** Of ICMP. */
  code?: number
}

export function ipv4Frame(protocol: number, payload: Uint8Array, fields: Over4 = {}, link: Link = {}): Buffer {
  const {
    source = PEER4,
    destination = OWN4,
    options = Buffer.alloc(0),
    flags = 0x4000,
    ttl = 63,
    padding = 0,
  } = fields
  const { identification = 0x1234, trafficClass = 0x05 } = fields
  const headerLength = 20 + options.length
  const first = Buffer.from([0x40 | (headerLength / 4), trafficClass])
  const rest = [
    u16(headerLength + payload.length, identification, flags),
    Buffer.from([ttl, protocol]),
    u16(0),
    source,
    destination,
  ]
  const header = stamped(Buffer.concat([first, ...rest, options]), 10)
  return frame(0x0800, Buffer.concat([header, payload, Buffer.alloc(padding)]), link)
}

interface Over6 {
  source?: Buffer
  destination?: Buffer
  /** Extension headers without their first byte, and what type each is. */
  extensions?: [number, Buffer][]
  hopLimit?: number
  padding?: number
  /** Of ICMPv6. */
  code?: number
}

export function ipv6Frame(protocol: number, payload: Uint8Array, fields: Over6 = {}, link: Link = {}): Buffer {
  const { source = PEER6, destination = OWN6, extensions = [], hopLimit = 63, padding = 0 } = fields
  const nexts = [...extensions.map(([type]) => type), protocol]
  const chain = Buffer.concat([
    ...extensions.map(([, rest], i) => Buffer.concat([Buffer.from([nexts[i + 1] ?? 0]), rest])),
    payload,
  ])
  const header = Buffer.concat([
    hex('6051 2345'),
    u16(chain.length),
    Buffer.from([nexts[0] ?? 0, hopLimit]),
    source,
    destination,
  ])
  return frame(0x86dd, Buffer.concat([header, chain, Buffer.alloc(padding)]), link)
}

function pseudo(source: Buffer, destination: Buffer, protocol: number, length: number): Buffer {
  return Buffer.concat([source, destination, u16(0, length, 0, protocol)])
}

/** Numbered bytes, of odd length where nothing else is asked for. */
export function payloadOf(length = 31): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => i + 1))
}

export function echoRequest4(fields: Over4 & { payload?: Buffer; type?: number } = {}, link: Link = {}): Buffer {
  const { payload = payloadOf(), type = 8, code = 0 } = fields
  return ipv4Frame(1, stamped(Buffer.concat([u16((type << 8) | code, 0, 0x1111, 7), payload]), 2), fields, link)
}

/** An ICMPv6 message with its checksum; `rest` is what follows the checksum. */
export function icmpv6Frame(type: number, rest: Buffer, fields: Over6 = {}, link: Link = {}): Buffer {
  const { source = PEER6, destination = OWN6, code = 0 } = fields
  const message = Buffer.concat([u16((type << 8) | code, 0), rest])
  return ipv6Frame(58, stamped(message, 2, pseudo(source, destination, 58, message.length)), fields, link)
}

export function echoRequest6(fields: Over6 & { payload?: Buffer } = {}, link: Link = {}): Buffer {
  return icmpv6Frame(128, Buffer.concat([u16(0x1111, 7), fields.payload ?? payloadOf()]), fields, link)
}

export function solicitation(fields: Over6 & { target?: Buffer; options?: Buffer } = {}, link: Link = {}): Buffer {
  const { target = OWN6, options = Buffer.concat([hex('01 01'), PEER_MAC]) } = fields
  const over = { destination: OWN_SOLICITED_NODE, hopLimit: 255, ...fields }
  return icmpv6Frame(135, Buffer.concat([Buffer.alloc(4), target, options]), over, {
    to: mac('33:33:ff:00:00:10'),
    ...link,
  })
}

interface Ports {
  sourcePort?: number
  destinationPort?: number
  payload?: Buffer
  checksum?: number
  /** What the header says, where that is not true. */
  length?: number
  /** Bytes of IP that follow the datagram. */
  excess?: number
}

function datagram(fields: Ports, before: (length: number) => Buffer): Buffer {
  const {
    sourcePort = 40_000,
    destinationPort = 53,
    payload = payloadOf(),
    checksum,
    length = 8 + payload.length,
    excess = 0,
  } = fields
  const bytes = stamped(
    Buffer.concat([u16(sourcePort, destinationPort, length, 0), payload]),
    6,
    before(8 + payload.length),
  )
  if (checksum !== undefined) bytes.writeUInt16BE(checksum, 6)
  return Buffer.concat([bytes, Buffer.alloc(excess)])
}

export function udp4(fields: Over4 & Ports = {}, link: Link = {}): Buffer {
  const { source = PEER4, destination = OWN4 } = fields
  return ipv4Frame(
    17,
    datagram(fields, (length) => Buffer.concat([source, destination, u16(17, length)])),
    fields,
    link,
  )
}

export function udp6(fields: Over6 & Ports = {}, link: Link = {}): Buffer {
  const { source = PEER6, destination = OWN6 } = fields
  return ipv6Frame(
    17,
    datagram(fields, (length) => pseudo(source, destination, 17, length)),
    fields,
    link,
  )
}

export const VLAN_42: [number, number][] = [[0x8100, 42]]
export const VLAN_42_AND_7: [number, number][] = [
  [0x8100, 42],
  [0x8100, 7],
]

/** Extension headers without their first byte. */
// The options are of a type that is stepped over where it is unknown: padding of more than 7 bytes is none.
export const HOP_BY_HOP: [number, Buffer] = [0, hex('00 01 04 00000000')]
export const ROUTING_DONE: [number, Buffer] = [43, hex('00 00 00 00000000')]
export const DESTINATION_OPTIONS: [number, Buffer] = [60, hex('01 1e 0c 000000000000000000000000')]
export const ATOMIC_FRAGMENT: [number, Buffer] = [44, hex('00 0000 12345678')]
export const FIRST_FRAGMENT: [number, Buffer] = [44, hex('00 0001 12345678')]
export const LATER_FRAGMENT: [number, Buffer] = [44, hex('00 0041 12345678')]

/** The same numbers for the same seed, below 2^32 (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
}

/** One of the values, by a generated number. */
export function pick<T>(values: readonly T[], number: number): T {
  return values[number % values.length] as T
}

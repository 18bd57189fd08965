// What `xsknet/headers` answers otherwise than Linux, and means to. Each difference has a name, under which
// docs/headers.md has it too.
import * as p from '../../unit/headers/packets.js'

/** A frame, what a station of ours makes of it, and what Linux does. */
export interface Asked {
  frame: Buffer
  ours: Buffer | undefined
  linux: readonly Buffer[]
}

/** What a frame says, read once more: not by the code that is judged. */
interface Facts {
  toGroupMac: boolean
  fromMac: Buffer
  /** Of the first tag. */
  vlan: number | undefined
  tags: number
  etherType: number
  /** Where the network header begins. */
  at: number
  ipVersion: number
  source: Buffer
  destination: Buffer
  /** Behind the extension headers, all of which are passed, whatever they say. */
  protocol: number
  transport: number
  extensions: number[]
  type: number
  code: number
}

const OWN6 = [p.OWN6, p.OWN_LINK_LOCAL]

const byte = (frame: Buffer, at: number) => (at < frame.length ? frame.readUInt8(at) : 0)
const word = (frame: Buffer, at: number) => (byte(frame, at) << 8) | byte(frame, at + 1)

function factsOf(frame: Buffer): Facts {
  let at = 14
  let tags = 0
  let etherType = word(frame, 12)
  const vlan = etherType === 0x8100 || etherType === 0x88a8 ? word(frame, 14) & 0xfff : undefined
  while (etherType === 0x8100 || etherType === 0x88a8) {
    etherType = word(frame, at + 2)
    at += 4
    tags++
  }
  const ipVersion = etherType === 0x0800 ? 4 : etherType === 0x86dd ? 6 : 0
  let protocol = byte(frame, at + (ipVersion === 4 ? 9 : 6))
  let transport = at + (ipVersion === 4 ? (byte(frame, at) & 0xf) * 4 : 40)
  const extensions: number[] = []
  while (ipVersion === 6 && [0, 43, 44, 60].includes(protocol) && transport < frame.length) {
    extensions.push(protocol)
    const length = protocol === 44 ? 8 : 8 * (byte(frame, transport + 1) + 1)
    protocol = byte(frame, transport)
    transport += length
  }
  const [source, destination] = ipVersion === 4 ? [at + 12, at + 16] : [at + 8, at + 24]
  const size = ipVersion === 4 ? 4 : 16
  return {
    toGroupMac: (byte(frame, 0) & 1) === 1,
    fromMac: frame.subarray(6, 12),
    vlan,
    tags,
    etherType,
    at,
    ipVersion,
    source: frame.subarray(source, source + size),
    destination: frame.subarray(destination, destination + size),
    protocol,
    transport,
    extensions,
    type: byte(frame, transport),
    code: byte(frame, transport + 1),
  }
}

const isEcho = ({ ipVersion, protocol, type }: Facts) =>
  (ipVersion === 4 && protocol === 1 && type === 8) || (ipVersion === 6 && protocol === 58 && type === 128)
const isUdp = ({ ipVersion, protocol }: Facts) => ipVersion > 0 && protocol === 17
const isSolicitation = ({ ipVersion, protocol, type }: Facts) => ipVersion === 6 && protocol === 58 && type === 135
const isToGroup = ({ ipVersion, destination }: Facts) => byte(destination, 0) >= (ipVersion === 4 ? 224 : 255)
const isArp = ({ etherType }: Facts) => etherType === 0x0806

/** The link-layer address of a solicitation. */
function linkAddressOf(frame: Buffer, { at: network, transport }: Facts): Buffer | undefined {
  const end = network + 40 + word(frame, network + 4)
  for (let at = transport + 24; at + 8 <= end; at += 8 * Math.max(1, byte(frame, at + 1))) {
    if (byte(frame, at) === 1) return frame.subarray(at + 2, at + 8)
  }
  return undefined
}

/** Of an option: its type, where it begins, and how long it is. */
type Option = [type: number, at: number, length: number]

function optionsOf4(frame: Buffer, { ipVersion, at, transport }: Facts): Option[] {
  const options: Option[] = []
  for (let next = at + 20; ipVersion === 4 && next < transport && byte(frame, next) !== 0; ) {
    const type = byte(frame, next)
    const length = type === 1 ? 1 : Math.max(2, byte(frame, next + 1))
    options.push([type, next, length])
    next += length
  }
  return options
}

function hopByHopOf(frame: Buffer, { ipVersion, at, extensions }: Facts): Option[] {
  const options: Option[] = []
  const end = at + 40 + 8 * (byte(frame, at + 41) + 1)
  for (let next = at + 42; ipVersion === 6 && extensions[0] === 0 && next < end; ) {
    const type = byte(frame, next)
    const length = type === 0 ? 1 : byte(frame, next + 1) + 2
    options.push([type, next, length])
    next += length
  }
  return options
}

/** The types of the routing headers. */
function routingTypesOf(frame: Buffer, { at, extensions }: Facts): number[] {
  let header = at + 40
  return extensions.flatMap((extension) => {
    const type = byte(frame, header + 2)
    header += extension === 44 ? 8 : 8 * (byte(frame, header + 1) + 1)
    return extension === 43 ? [type] : []
  })
}

/**
 * A route or a list of times with room for what the host writes, and then some bytes, but not enough for another entry:
 * it is taken in, but cannot be returned. /
 */
function isLeftWithoutRoom(frame: Buffer, type: number, at: number, length: number): boolean {
  const flag = byte(frame, at + 3) & 0xf
  const entry = type === 68 && (flag === 1 || flag === 3) ? 8 : 4
  const next = byte(frame, at + 2) + entry
  return (type === 7 || type === 68) && next <= length && next + entry - 1 > length
}

/** The MACs that say to be the asker's. */
function askersOf(frame: Buffer, facts: Facts): Buffer[] {
  if (isArp(facts)) return [facts.fromMac, frame.subarray(facts.at + 8, facts.at + 14)]
  const option = isSolicitation(facts) ? linkAddressOf(frame, facts) : undefined
  return option ? [facts.fromMac, option] : [facts.fromMac]
}

function isError(answer: Buffer): boolean {
  const type = answer.readUInt16BE(12)
  if (type === 0x0800)
    return answer[23] === 1 && [3, 4, 5, 11, 12].includes(byte(answer, 14 + 4 * (byte(answer, 14) & 0xf)))
  return type === 0x86dd && answer[20] === 58 && byte(answer, 54) < 128
}

/** Linux answers, and a station of ours does not. */
const silent: Record<string, (facts: Facts, frame: Buffer) => boolean> = {
  'multicast sender': (facts, frame) => askersOf(frame, facts).some((mac) => (byte(mac, 0) & 1) === 1),
  'own MAC as sender': (facts, frame) => askersOf(frame, facts).some((mac) => mac.equals(p.OWN_MAC)),
  'reserved senders': (facts, frame) => {
    const sender = isArp(facts) ? byte(frame, facts.at + 14) : facts.ipVersion === 4 ? byte(facts.source, 0) : 1
    return sender >= 240 || sender === 0
  },
  'IPv4-mapped senders': ({ ipVersion, source }) =>
    ipVersion === 6 && /^0{16}0{4}(0000|ffff)/.test(source.toString('hex')),
  'own address as sender': (facts) => isSolicitation(facts) && OWN6.some((address) => address.equals(facts.source)),
  'unicast packet in a multicast frame': (facts) =>
    facts.toGroupMac && !isToGroup(facts) && (isEcho(facts) || isUdp(facts)),
  'multicast echo': (facts) => isEcho(facts) && facts.ipVersion === 6 && isToGroup(facts),
  'echo with a code': (facts) => isEcho(facts) && facts.code !== 0,
  'priority tags': ({ vlan }) => vlan === 0,
  'ARP of IEEE 802': (facts, frame) => isArp(facts) && word(frame, facts.at) === 6,
  fragments: ({ ipVersion, at }, frame) => ipVersion === 4 && (word(frame, at + 6) & 0x3fff) !== 0,
  timestamps: ({ ipVersion, protocol, type }) => ipVersion === 4 && protocol === 1 && type === 13,
  'system ports': (facts, frame) =>
    isUdp(facts) &&
    (word(frame, facts.transport) < 1024 || word(frame, facts.transport) === word(frame, facts.transport + 2)),
  'jumbo datagrams': (facts, frame) => isUdp(facts) && facts.ipVersion === 6 && word(frame, facts.transport + 4) === 0,
  'no payload length': ({ ipVersion, at, extensions }, frame) =>
    ipVersion === 6 && extensions[0] === 0 && word(frame, at + 4) === 0,
  'nine extension headers': ({ extensions }) => extensions.length > 8,
}

/** A station of ours answers, and Linux does not. */
const eager: Record<string, (facts: Facts, frame: Buffer) => boolean> = {
  'unknown neighbours': (facts, frame) => isSolicitation(facts) && linkAddressOf(frame, facts) === undefined,
  'security labels': (facts, frame) => {
    return (
      optionsOf4(frame, facts).some(([type]) => type === 134) || hopByHopOf(frame, facts).some(([type]) => type === 7)
    )
  },
  'in situ OAM': (facts, frame) =>
    hopByHopOf(frame, facts).some(([type, at]) => type === 0x31 && (at - facts.at) % 4 !== 0),
  mobility: (facts, frame) => facts.extensions.includes(43) && routingTypesOf(frame, facts).includes(2),
  'full options': (facts, frame) => {
    return optionsOf4(frame, facts).some(([type, at, length]) => isLeftWithoutRoom(frame, type, at, length))
  },
}

/** Both answer. What Linux writes otherwise is written into our answer, where the frame is such a one. */
const altered: Record<string, (ours: Buffer, linux: Buffer, facts: Facts, frame: Buffer) => Buffer> = {
  'known neighbours': (ours, linux, facts, frame) => {
    const asker = askersOf(frame, facts).some((mac) => mac.equals(ours.subarray(0, 6)))
    const known = linux.subarray(0, 6).equals(p.PEER_MAC) && !isArp(facts)
    return asker && known ? Buffer.concat([linux.subarray(0, 6), ours.subarray(6)]) : ours
  },
  'congestion marks': (ours, linux, facts) => {
    if (!isEcho(facts)) return ours
    if (facts.ipVersion === 4) return resummed(written(ours, 15, (byte(ours, 15) & 0xfc) | (byte(linux, 15) & 3)))
    return written(ours, 15, (byte(ours, 15) & 0xcf) | (byte(linux, 15) & 0x30))
  },
  'class of datagrams': (ours, _, facts) => {
    if (!isUdp(facts)) return ours
    return facts.ipVersion === 4
      ? resummed(written(ours, 15, 0))
      : written(written(ours, 14, 0x60), 15, byte(ours, 15) & 0xf)
  },
  identification: (ours, linux, { ipVersion }) => {
    if (ipVersion !== 4) return ours
    return resummed(
      Buffer.concat([
        ours.subarray(0, 18),
        linux.subarray(18, 20),
        p.hex(linux[20] === 0x40 ? '4000' : '0000'),
        ours.subarray(22),
      ]),
    )
  },
  'options of IPv4': (ours, linux, { ipVersion }) => {
    const length = 4 * (byte(linux, 14) & 0xf)
    if (ipVersion !== 4 || length === 20) return ours
    const longer = Buffer.concat([ours.subarray(0, 34), linux.subarray(34, 14 + length), ours.subarray(34)])
    longer.writeUInt16BE(longer.readUInt16BE(16) + length - 20, 16)
    return resummed(written(longer, 14, byte(linux, 14)))
  },
  'flow labels': (ours, linux, facts) => {
    if (!isEcho(facts) && !isUdp(facts)) return ours
    if (facts.ipVersion !== 6) return ours
    const label = Buffer.from([(byte(ours, 15) & 0xf0) | (byte(linux, 15) & 0xf), byte(linux, 16), byte(linux, 17)])
    return Buffer.concat([ours.subarray(0, 15), label, ours.subarray(18)])
  },
  'unicast solicitations': (ours, _, facts) => {
    if (!isSolicitation(facts) || isToGroup(facts)) return ours
    const short = written(written(ours.subarray(0, 78), 58, 0x40), 19, 24)
    short.writeUInt16BE(0, 56)
    const pseudo = Buffer.concat([short.subarray(22, 54), p.u16(0, 24, 0, 58)])
    short.writeUInt16BE(p.checksumOf(Buffer.concat([pseudo, short.subarray(54)])), 56)
    return short
  },
}

function written(frame: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(frame)
  copy.writeUInt8(value, at)
  return copy
}

/** With the checksum of its IPv4 header. */
function resummed(frame: Buffer): Buffer {
  const copy = Buffer.from(frame)
  copy.writeUInt16BE(0, 24)
  copy.writeUInt16BE(p.checksumOf(copy.subarray(14, 14 + 4 * (byte(copy, 14) & 0xf))), 24)
  return copy
}

/** Judges one frame: the names of its differences, or `undefined` where none explains it. */
export function differencesOf({ frame, ours, linux }: Asked): string[] | undefined {
  const facts = factsOf(frame)
  const names: string[] = []
  const answers = linux.filter((answer) => !isError(answer))
  if (answers.length < linux.length) names.push('errors')
  if (answers.length > 1) return undefined
  const [answer] = answers
  if (!ours && !answer) return names
  if (!ours || !answer) {
    const table = ours ? eager : silent
    const why = Object.entries(table).find(([, holds]) => holds(facts, frame))
    return why ? [...names, why[0]] : undefined
  }
  let like = ours
  for (const [name, alter] of Object.entries(altered)) {
    const next = alter(like, answer, facts, frame)
    if (!next.equals(like)) names.push(name)
    like = next
  }
  return like.equals(answer) ? names : undefined
}

/** What depends on how the kernel was built: with NetLabel, with Mobile IPv6. */
export const OPTIONAL: readonly string[] = ['security labels', 'mobility']

/** The names of all differences. */
export const DIFFERENCES = ['errors', ...Object.keys(silent), ...Object.keys(eager), ...Object.keys(altered)]

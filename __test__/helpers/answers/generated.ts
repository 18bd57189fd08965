// Frames that a host is asked by, and what becomes of them on their way: each field is mostly right, and now and then
// anything.
import * as p from '../../unit/headers/packets.js'

/** Datagrams to it are sent back. */
export const ECHO_PORT = 53

/** A number below 2^32, another each time. */
type Random = () => number

const v6 = (text: string) => p.hex(text)

/**
 * Stations whose MAC the host knows for ever: `PEER_MAC`. The first of each is the router to all that are not on the
 * wire.
 */
export const KNOWN4 = ['192.0.2.20', '192.0.2.21', '192.0.2.0', '198.51.100.20']
export const KNOWN6 = ['2001:db8::20', '2001:db8::21', 'fe80::20']

const known6 = [
  '20010db8000000000000000000000020',
  '20010db8000000000000000000000021',
  'fe800000000000000000000000000020',
].map(v6)
/** They ask for the MAC, and say which one is theirs. */
const strangers6 = [
  '20010db8000000000000000000000030',
  'fe800000000000000000000000000030',
  '20010db8000100000000000000000030',
].map(v6)
/** They never say so. */
const silent6 = ['20010db8000000000000000000000040', 'fe800000000000000000000000000040'].map(v6)

const own4 = ['192.0.2.10', '198.51.100.10'].map(p.ip4Address)
const own6 = [p.OWN6, p.OWN_LINK_LOCAL]
const sources4 = [
  ...KNOWN4,
  // Everybody else, by way of the router.
  ...['203.0.113.5', '8.8.8.8', '10.0.0.1', '100.64.0.1', '169.254.1.1', '192.168.0.1', '1.2.3.4', '223.255.255.254'],
  ...[
    '0.0.0.0',
    '0.0.0.1',
    '0.255.255.255',
    '127.0.0.1',
    '127.255.255.254',
    '224.0.0.1',
    '239.255.255.250',
    '240.0.0.1',
  ],
  ...['254.0.0.1', '255.255.255.255', '192.0.2.255', '198.51.100.127', '192.0.2.10', '198.51.100.10'],
].map(p.ip4Address)
const targets4 = [
  '192.0.2.99',
  '192.0.2.255',
  '255.255.255.255',
  '224.0.0.1',
  '127.0.0.1',
  '0.0.0.0',
  '192.0.2.0',
  '240.0.0.1',
].map(p.ip4Address)
const sources6 = [
  ...known6,
  ...[
    '20010db8000100000000000000000001',
    '26064700470000000000000000001111',
    'fc000000000000000000000000000001',
    'fec00000000000000000000000000001',
    '0064ff9b0000000000000000c0000214',
    '2002c000021400000000000000000001',
    '40000000000000000000000000000001',
    '01000000000000000000000000000001',
    '0'.repeat(32),
    `${'0'.repeat(31)}1`,
    '000000000000000000000000c0000214',
    '00000000000000000000ffffc0000214',
    '00000000000000000000ffff7f000001',
    'ff020000000000000000000000000001',
    'ff050000000000000000000000010003',
    'ff0e0000000000000000000000000101',
  ].map(v6),
  ...own6,
]
const groups6 = [
  'ff020000000000000000000000000001',
  'ff0200000000000000000001ff000010',
  'ff0200000000000000000001ff00000a',
  'ff0200000000000000000001ff000099',
  'ff0200000000000000000002ff000010',
  'ff0200000000000100000001ff000010',
  'ff020000000000000000000000000002',
  'ff020000000000000000000000000005',
  'ff010000000000000000000000000001',
  'ff050000000000000000000000000001',
  'ff000000000000000000000000000001',
].map(v6)
const targets6 = [
  ...groups6,
  ...['20010db8000000000000000000000099', `${'0'.repeat(31)}1`, '0'.repeat(32), '00000000000000000000ffffc000020a'].map(
    v6,
  ),
  v6('20010db8000000000000000000000000'),
]
const macs = [
  '02:00:00:00:00:15',
  '02:00:00:00:00:0a',
  'ff:ff:ff:ff:ff:ff',
  '01:00:5e:00:00:01',
  '33:33:00:00:00:01',
  '00:00:00:00:00:00',
].map(p.mac)
const tags: [number, number][][] = [
  [[0x8100, 0]],
  [[0x8100, 0xe000]],
  [[0x88a8, 0]],
  [[0x8100, 42]],
  [[0x88a8, 42]],
  p.VLAN_42_AND_7,
  // biome-ignore format: one row
  [[0x8100, 0], [0x8100, 0]],
]

/** Frames without end, the same ones for the same seed. */
export class Generated {
  readonly #random: Random
  #identification = 0
  #waiting: Buffer[] = []

  constructor(seed: number) {
    this.#random = p.generator(seed)
  }

  next(): Buffer {
    const frame = this.#waiting.shift() ?? this.#whole()
    return this.#oneIn(10) ? this.#damaged(frame) : frame
  }

  #whole(): Buffer {
    const kind = this.#random() % 100
    if (kind < 18) return this.#arp()
    if (kind < 42) return this.#solicitation()
    if (kind < 60) return this.#echo4()
    if (kind < 80) return this.#echo6()
    if (kind < 90) return this.#udp4()
    return this.#udp6()
  }

  #oneIn(count: number): boolean {
    return this.#random() % count === 0
  }

  #pick<T>(values: readonly T[]): T {
    return p.pick(values, this.#random())
  }

  /** The first value, but for one time in `count`. */
  #mostly<T>(usual: T, others: readonly T[], count = 8): T {
    return this.#oneIn(count) ? this.#pick(others) : usual
  }

  #bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.#random() & 0xff))
  }

  #link(to: Buffer) {
    const few = this.#oneIn(16) ? { tags: this.#pick(tags) } : {}
    return { to: this.#mostly(to, [...macs, p.OWN_MAC], 16), from: this.#mostly(p.PEER_MAC, macs, 16), ...few }
  }

  /** Cut, longer, or with some other bits. Ethernet's header is whole, or nobody could send it. */
  #damaged(frame: Buffer): Buffer {
    const what = this.#random() % 4
    if (what === 0) return frame.subarray(0, 14 + (this.#random() % (frame.length - 13)))
    if (what === 1) return Buffer.concat([frame, this.#bytes(1 + (this.#random() % 60))])
    const copy = Buffer.from(frame)
    for (let changes = 1 + (this.#random() % 3); changes > 0; changes--) {
      const at = 12 + (this.#random() % (frame.length - 12))
      if (what === 2) copy[at] = this.#random() & 0xff
      else copy.writeUInt8(copy.readUInt8(at) ^ (1 << (this.#random() & 7)), at)
    }
    return copy
  }

  #arp(): Buffer {
    const fields = {
      operation: this.#mostly(1, [0, 2, 3, 8, 9, 0x0100]),
      sender: this.#mostly(p.PEER4, sources4, 2),
      senderMac: this.#mostly(p.PEER_MAC, macs),
      target: this.#mostly(this.#pick(own4), [...targets4, ...sources4], 6),
    }
    const frame = p.arpFrame(fields, this.#link(this.#mostly(p.BROADCAST, [p.OWN_MAC], 3)))
    const at = frame.length - 28
    if (this.#oneIn(16)) frame.writeUInt16BE(this.#pick([2, 6, 6, 15, 0]), at)
    if (this.#oneIn(24)) frame.writeUInt16BE(this.#pick([0x86dd, 0x0806, 0]), at + 2)
    if (this.#oneIn(32)) frame.writeUInt8(this.#random() & 0xff, at + 4 + (this.#random() & 1))
    if (this.#oneIn(4)) this.#bytes(6).copy(frame, at + 18)
    return Buffer.concat([frame, Buffer.alloc(this.#mostly(0, [1, 18], 3))])
  }

  #over4() {
    this.#identification = (this.#identification + 1) & 0xffff
    return {
      source: this.#mostly(p.PEER4, sources4, 2),
      destination: this.#mostly(this.#pick(own4), targets4, 12),
      ttl: this.#mostly(64, [0, 1, 255], 6),
      flags: this.#mostly(0x4000, [0, 0x8000, 0xc000, 0x2000, 0x2010, 0x0010, 0x6000], 6),
      identification: this.#identification,
      trafficClass: this.#mostly(0, [0x05, 0xb8, 0xff], 4),
      options: this.#oneIn(3) ? this.#options4() : Buffer.alloc(0),
      padding: this.#mostly(0, [1, 9, 18], 3),
    }
  }

  /** Up to 40 bytes of options, filled up by the ends of the list. */
  #options4(): Buffer {
    const parts: Buffer[] = []
    for (let count = 1 + (this.#random() % 3); count > 0; count--) parts.push(this.#option4())
    const all = Buffer.concat(parts).subarray(0, 40)
    return Buffer.concat([all, Buffer.alloc((4 - (all.length % 4)) % 4, this.#mostly(0, [1]))])
  }

  #option4(): Buffer {
    const type = this.#pick([0, 1, 1, 7, 7, 68, 68, 68, 131, 137, 148, 148, 130, 134, 136, 30, 94, 158])
    if (type < 2) return Buffer.from([type])
    const room = this.#mostly(4 * (this.#random() % 4), [5, 6, 11])
    if (type === 7 || type === 131 || type === 137) {
      return Buffer.concat([
        Buffer.from([type, 3 + room, this.#mostly(this.#pick([4, 4 + room]), [0, 3, 5, 6, room, room + 5])]),
        this.#bytes(room),
      ])
    }
    if (type === 68) {
      const flag = this.#pick([0, 1, 3, 3, 2]) | (this.#pick([0, 1, 15]) << 4)
      const head = [type, 4 + room, this.#mostly(this.#pick([5, 5 + room]), [0, 4, 6, 8, 9, room + 6]), flag]
      return Buffer.concat([Buffer.from(head), this.#bytes(room)])
    }
    const length = this.#mostly(type === 148 ? 4 : 4 + room, [0, 1, 2, 3, 4, 9, 60])
    return Buffer.concat([
      Buffer.from([type, length]),
      type === 148 ? Buffer.alloc(2) : this.#bytes(Math.max(0, Math.min(length, 20) - 2)),
    ])
  }

  #payload(): Buffer {
    return p.payloadOf(this.#pick([0, 1, 18, 31, 32, 56, 200]))
  }

  #echo4(): Buffer {
    const fields = {
      ...this.#over4(),
      payload: this.#payload(),
      type: this.#mostly(8, [0, 13, 15, 17, 3, 42], 10),
      code: this.#mostly(0, [1, 7]),
    }
    const link = this.#link(p.OWN_MAC)
    if (this.#oneIn(40)) return this.#halved(fields, link)
    return this.#withWrongSum(p.echoRequest4(fields, link))
  }

  /** An echo request in two fragments; the second is the next frame. */
  #halved(fields: object, link: object): Buffer {
    const message = p.echoRequest4({ payload: p.payloadOf(56) }).subarray(34)
    const [first, second] = [message.subarray(0, 32), message.subarray(32)]
    this.#waiting.push(p.ipv4Frame(1, second, { ...fields, flags: 0x0004 }, link))
    return p.ipv4Frame(1, first, { ...fields, flags: 0x2000 }, link)
  }

  #withWrongSum(frame: Buffer): Buffer {
    return this.#oneIn(16)
      ? p.changed(frame, 14 + (this.#random() % (frame.length - 14)), 1 << (this.#random() & 7))
      : frame
  }

  #over6() {
    return {
      source: this.#mostly(p.PEER6, sources6, 2),
      destination: this.#mostly(this.#pick(own6), targets6, 8),
      hopLimit: this.#mostly(64, [0, 1, 255], 6),
      padding: this.#mostly(0, [1, 9], 4),
      extensions: this.#oneIn(2) ? this.#extensions() : [],
    }
  }

  #extensions(): [number, Buffer][] {
    const many = this.#oneIn(40) ? 9 : 1 + (this.#random() % 3)
    const list = Array.from({ length: many }, () => this.#extension(many > 3))
    // Where they belong, most of the time.
    return this.#oneIn(6) ? list : list.sort(([a], [b]) => Number(b === 0) - Number(a === 0))
  }

  #extension(harmless: boolean): [number, Buffer] {
    const type = harmless ? 60 : this.#pick([0, 0, 0, 60, 60, 60, 60, 43, 43, 44, 44, 51, 59, 50, 135, 139, 140, 253])
    if (type === 44) {
      this.#identification = (this.#identification + 1) & 0xffff
      const offset = this.#mostly(0, [1, 8, 9, 2, 6])
      return [44, Buffer.concat([p.hex('00'), p.u16(offset, 0x7777, this.#identification), Buffer.alloc(0)])]
    }
    if (type === 43)
      return [43, Buffer.from([0, this.#pick([0, 0, 0, 2, 3, 4, 253]), this.#mostly(0, [1, 2], 4), 0, 0, 0, 0])]
    if (type !== 0 && type !== 60) return [type, Buffer.concat([Buffer.from([0]), this.#bytes(6)])]
    const options = harmless ? p.hex('0104 00000000') : this.#options6()
    const padded = Buffer.concat([options, Buffer.alloc((8 - ((options.length + 2) % 8)) % 8)])
    return [type, Buffer.concat([Buffer.from([(padded.length + 2) / 8 - 1]), padded])]
  }

  #options6(): Buffer {
    const many = this.#oneIn(16) ? 9 : this.#random() % 4
    return Buffer.concat(Array.from({ length: many }, () => this.#option6()))
  }

  #option6(): Buffer {
    const type = this.#mostly(
      this.#pick([0, 1, 1, 5, 5, 0x1e, 0x3e, 0x04, 0x26, 0x31, 0x31, 0x07]),
      [0x5e, 0x7e, 0x9e, 0xbe, 0xde, 0xfe, 0xc2, 0xc9, 0x8a, 0x63],
      4,
    )
    if (type === 0) return Buffer.alloc(this.#pick([1, 1, 2, 7, 8]))
    const length = type === 5 ? this.#mostly(2, [0, 1, 3]) : this.#pick([0, 1, 2, 4, 5, 6, 12])
    const zeros = type === 1 ? !this.#oneIn(6) : true
    return Buffer.concat([
      Buffer.from([type, this.#mostly(length, [200], 40)]),
      zeros ? Buffer.alloc(length) : this.#bytes(length),
    ])
  }

  /** To the MAC of the destination, be it a group or not. */
  #link6(destination: Buffer) {
    return this.#link(destination[0] === 0xff ? Buffer.concat([p.hex('3333'), destination.subarray(12)]) : p.OWN_MAC)
  }

  #echo6(): Buffer {
    const fields = { ...this.#over6(), payload: this.#payload(), code: this.#mostly(0, [1, 7]) }
    const link = this.#link6(fields.destination)
    const rest = Buffer.concat([p.u16(0x1111, 7), fields.payload])
    const frame = this.#oneIn(20)
      ? p.icmpv6Frame(this.#pick([129, 1, 3, 8, 139, 200]), rest, fields, link)
      : p.echoRequest6(fields, link)
    return this.#withLength6(this.#withWrongSum(frame))
  }

  /** Sometimes its payload is said to have another length, as that of a jumbogram has. */
  #withLength6(frame: Buffer): Buffer {
    const hopByHop = frame.readUInt8(20) === 0
    if (frame.readUInt16BE(12) === 0x86dd && this.#oneIn(hopByHop ? 6 : 30))
      frame.writeUInt16BE(this.#pick([0, 0, 8, 39, 0xffff]), 18)
    return frame
  }

  #solicitation(): Buffer {
    const asks = this.#random() % 8
    const silent = asks === 0
    const looksForDuplicates = asks === 1
    const source = looksForDuplicates
      ? p.UNSPECIFIED
      : silent
        ? this.#pick([...known6, ...silent6])
        : this.#mostly(this.#pick([...known6, ...strangers6]), sources6)
    const target = this.#mostly(this.#pick(own6), targets6)
    const group = Buffer.concat([p.hex('ff0200000000000000000001ff'), target.subarray(13)])
    const destination = this.#mostly(this.#mostly(group, own6, 4), [...groups6, ...targets6])
    const fields = {
      source,
      destination,
      target,
      hopLimit: this.#mostly(255, [64, 254, 0], 16),
      code: this.#mostly(0, [1], 24),
      options:
        silent || (looksForDuplicates && !this.#oneIn(4)) ? this.#otherNeighbourOption() : this.#neighbourOptions(),
      padding: this.#mostly(0, [3], 4),
      extensions: this.#oneIn(6) ? this.#extensions() : [],
    }
    return this.#withLength6(this.#withWrongSum(p.solicitation(fields, this.#link6(destination))))
  }

  #neighbourOptions(): Buffer {
    const mac = () => this.#mostly(p.PEER_MAC, macs)
    const first = Buffer.concat([p.hex('0101'), mac()])
    const others = [
      p.hex('01020000000000000000000000000063'),
      Buffer.concat([first, p.hex('0101'), mac()]),
      Buffer.concat([this.#otherNeighbourOption(), first]),
      Buffer.concat([first, this.#otherNeighbourOption()]),
      Buffer.concat([first, p.hex('01020000000000000000000000000063')]),
      p.hex('0100020000000014'),
      p.hex('0102020000000014'),
      first.subarray(0, 4),
    ]
    return this.#mostly(first, others, 4)
  }

  #otherNeighbourOption(): Buffer {
    return this.#mostly(
      Buffer.alloc(0),
      [p.hex('0e01010203040506'), p.hex('0201020000000014'), p.hex('c801000000000000'), p.hex('fd00')],
      4,
    )
  }

  #datagram() {
    const payload = this.#payload()
    const sum = this.#oneIn(10) ? { checksum: this.#pick([0, 0, 0x1234]) } : {}
    const excess = this.#mostly(0, [4], 8)
    const length = this.#oneIn(12) ? { length: this.#pick([0, 7, 8, 8 + payload.length + excess + 1]) } : {}
    const ports = {
      sourcePort: this.#mostly(40_000, [1024, 65_535, 1023, 53, 7, 0], 4),
      destinationPort: this.#mostly(ECHO_PORT, [54, 0, 40_000], 8),
    }
    return { ...ports, payload, excess, ...sum, ...length }
  }

  #udp4(): Buffer {
    return this.#withWrongSum(p.udp4({ ...this.#over4(), ...this.#datagram() }, this.#link(p.OWN_MAC)))
  }

  #udp6(): Buffer {
    const fields = { ...this.#over6(), ...this.#datagram() }
    return this.#withLength6(this.#withWrongSum(p.udp6(fields, this.#link6(fields.destination))))
  }
}

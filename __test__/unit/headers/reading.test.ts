import test from 'ava'
import { arp, ethernet, icmp, ipv4, ipv6, ndp, type Packet, parseIpv4, parseIpv6, parseMac, udp } from 'xsknet/headers'
import * as p from './packets.js'

const peerMac = parseMac('02:00:00:00:00:14')
const ownMac = parseMac('02:00:00:00:00:0a')

const tagged: { name: string; tags: [number, number][]; vlan: number | null }[] = [
  { name: 'no tag', tags: [], vlan: null },
  { name: 'one tag with a priority', tags: [[0x8100, 0xe02a]], vlan: 42 },
  { name: 'two tags, of which the outer one counts', tags: p.VLAN_42_AND_7, vlan: 42 },
  // biome-ignore format: one row
  { name: 'a service tag outside', tags: [[0x88a8, 100], [0x8100, 42]], vlan: 100 },
]
for (const { name, tags, vlan } of tagged) {
  test(`Ethernet with ${name}`, (t) => {
    const packet = p.held(p.frame(0x1234, p.payloadOf(50), { tags }))
    const header = ethernet(packet)
    t.like(header, {
      destination: ownMac,
      source: peerMac,
      vlan,
      tags: tags.length,
      etherType: 0x1234,
      payloadLength: 50,
    })
    t.is(header?.payloadOffset, 14 + 4 * tags.length)
  })
}

test('Ethernet with three tags is not read', (t) => {
  t.is(ethernet(p.held(p.frame(0x1234, p.payloadOf(), { tags: [...p.VLAN_42_AND_7, [0x8100, 1]] }))), undefined)
})

test('Ethernet addresses can be set', (t) => {
  const packet = p.held(p.udp4())
  const header = p.some(ethernet(packet))
  header.destination = 0xffee_ddcc_bbaa
  header.source = 0x0102_0304_0506
  t.is(packet.bytes.toString('hex', 0, 12), 'ffeeddccbbaa010203040506')
  t.like(ethernet(packet), { destination: 0xffee_ddcc_bbaa, source: 0x0102_0304_0506 })
})

test('ARP', (t) => {
  const expected = {
    operation: 2,
    senderMac: peerMac,
    sender: parseIpv4('192.0.2.20'),
    targetMac: 0,
    target: parseIpv4('192.0.2.10'),
  }
  for (const tags of [[], p.VLAN_42, p.VLAN_42_AND_7])
    t.like(arp(p.held(p.arpFrame({ operation: 2 }, { tags }))), expected)
})

for (const [field, at] of Object.entries({
  'hardware type': 15,
  'protocol type': 17,
  'hardware length': 18,
  'protocol length': 19,
})) {
  test(`ARP of another ${field} is not read`, (t) => t.is(arp(p.held(p.changed(p.arpFrame(), at, 1))), undefined))
}

test('IPv4 with options, padded', (t) => {
  const packet = p.held(p.udp4({ options: p.hex('94040000 01010100'), padding: 9, flags: 0 }, { tags: p.VLAN_42 }))
  const header = ipv4(packet)
  t.like(header, {
    headerLength: 28,
    trafficClass: 5,
    identification: 0x1234,
    isFragment: false,
    fragmentOffset: 0,
    ttl: 63,
    protocol: 17,
    source: parseIpv4('192.0.2.20'),
    destination: parseIpv4('192.0.2.10'),
    sourceAddress: '192.0.2.20',
    destinationAddress: '192.0.2.10',
    checksumOk: true,
    payloadOffset: 18 + 28,
    payloadLength: 39,
  })
})

test('IPv4 fragments are recognised, and nothing in them is read', (t) => {
  for (const [flags, offset] of [
    [0x2000, 0],
    [0x2010, 128],
    [0x0010, 128],
  ] as const) {
    const packet = p.held(p.udp4({ flags }))
    t.like(ipv4(packet), { isFragment: true, fragmentOffset: offset })
    t.is(udp(packet), undefined)
    t.is(icmp(p.held(p.echoRequest4({ flags }))), undefined)
  }
})

test('setting the TTL keeps the checksum of IPv4 right', (t) => {
  for (let ttl = 0; ttl < 256; ttl++) {
    const packet = p.held(p.udp4({ ttl: 255 - ttl }))
    const header = p.some(ipv4(packet))
    header.ttl = ttl
    t.true(header.checksumOk)
    t.deepEqual(packet.bytes, p.udp4({ ttl }))
  }
})

test('a wrong checksum of IPv4 is seen', (t) => {
  const packet = p.held(p.changed(p.udp4(), 14 + 8, 1))
  t.is(ipv4(packet)?.checksumOk, false)
  t.is(udp(packet)?.checksumOk, false)
})

test('IPv6 behind extension headers', (t) => {
  const extensions = [p.HOP_BY_HOP, p.DESTINATION_OPTIONS, p.ROUTING_DONE, p.ATOMIC_FRAGMENT]
  const packet = p.held(p.udp6({ extensions, padding: 5 }))
  const header = p.some(ipv6(packet))
  t.like(header, {
    trafficClass: 5,
    flowLabel: 0x1_2345,
    hopLimit: 63,
    protocol: 17,
    isFragment: false,
    sourceAddress: '2001:db8::20',
    destinationAddress: '2001:db8::10',
    payloadOffset: 14 + 40 + 8 + 16 + 8 + 8,
    payloadLength: 39,
  })
  const words = (read: (word: number) => number) => Uint32Array.from([0, 1, 2, 3], read)
  t.deepEqual(
    words((word) => header.sourceWord(word)),
    parseIpv6('2001:db8::20'),
  )
  t.deepEqual(
    words((word) => header.destinationWord(word)),
    parseIpv6('2001:db8::10'),
  )
  header.hopLimit = 1
  t.is(ipv6(packet)?.hopLimit, 1)
  t.is(udp(packet)?.destinationPort, 53)
})

test('IPv6 fragments are recognised, and nothing in them is read', (t) => {
  for (const fragment of [p.FIRST_FRAGMENT, p.LATER_FRAGMENT]) {
    const packet = p.held(p.udp6({ extensions: [fragment] }))
    t.like(ipv6(packet), { isFragment: true, protocol: 17 })
    t.is(udp(packet), undefined)
    t.is(icmp(p.held(p.echoRequest6({ extensions: [fragment] }))), undefined)
  }
})

test('an IPv6 fragment header behind that of a fragment does not make it whole', (t) => {
  t.is(ipv6(p.held(p.udp6({ extensions: [p.FIRST_FRAGMENT, p.ATOMIC_FRAGMENT] })))?.isFragment, true)
})

test('behind the fragment header of a later fragment nothing is read as a header', (t) => {
  const second: [number, Buffer] = [44, p.hex('00 0008 12345678')]
  const packet = p.held(p.ipv6Frame(60, p.hex('ff ff ffff'), { extensions: [second] }))
  t.like(ipv6(packet), { isFragment: true, protocol: 60, payloadLength: 4 })
})

test('IPv6 of eight extension headers is read, of nine it is not', (t) => {
  const eight = new Array(8).fill(p.DESTINATION_OPTIONS)
  t.is(udp(p.held(p.udp6({ extensions: eight })))?.destinationPort, 53)
  t.is(ipv6(p.held(p.udp6({ extensions: [...eight, p.HOP_BY_HOP] }))), undefined)
})

test('IPv6 on its way by a routing header is not read', (t) => {
  const underWay: [number, Buffer] = [43, p.hex('00 00 01 00000000')]
  t.is(ipv6(p.held(p.udp6({ extensions: [underWay] }))), undefined)
})

/** A hop-by-hop or destination options header with these options, which fill it. */
const optionsHeader = (type: number, options: string): [number, Buffer] => {
  const bytes = p.hex(options)
  return [type, Buffer.concat([Buffer.from([(bytes.length + 2) / 8 - 1]), bytes])]
}

/** Options, and whether a host that knows none of them steps over them. */
const options6: [string, string, boolean][] = [
  ['one that may be unknown', '1e 04 00000000', true],
  ['one that must be known', '5e 04 00000000', false],
  ['one that must be known, or ICMP tells', '9e 04 00000000', false],
  ['one that must be known, or ICMP tells unless to a group', 'de 04 00000000', false],
  ['one that must be known, behind others', '1e 01 00 7e 00 00', false],
  ['a home address, which takes a mobile host', 'c9 10 20010db8000000000000000000000077 0102 0000', false],
  ['a jumbo payload', 'c2 04 00010000', false],
  ['one that ends beyond the header', '1e 05 00000000', false],
  ['one without a length', '1e 03 000000 1e', false],
  ['seven bytes of padding', '1e 05 0000000000 00000000000000', true],
  ['seven bytes of padding at once', '1e 05 0000000000 01 05 0000000000', true],
  ['eight bytes of padding', '1e 04 00000000 00000000 00000000', false],
  ['eight bytes of padding of both kinds', '1e 04 00000000 0104 00000000 0000', false],
  ['padding that holds something', '01 04 00000100', false],
  ['eight options', '1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 0104 00000000', true],
  ['nine options', '1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 01020000', false],
]
for (const [what, options, isRead] of options6) {
  for (const type of [0, 60]) {
    test(`IPv6 with ${what} in header ${type} is ${isRead ? 'read' : 'discarded'}`, (t) => {
      const packet = p.held(p.udp6({ extensions: [optionsHeader(type, options)] }))
      t.is(udp(packet)?.destinationPort, isRead ? 53 : undefined)
      t.is(ipv6(packet) !== undefined, isRead)
    })
  }
}

test('a router alert has two bytes, where it is one', (t) => {
  const alert = (type: number, options: string) => udp(p.held(p.udp6({ extensions: [optionsHeader(type, options)] })))
  t.not(alert(0, '05 02 0000 0100'), undefined)
  t.is(alert(0, '05 01 00 01 01 00'), undefined)
  t.not(alert(60, '05 01 00 01 01 00'), undefined)
})

test('hop-by-hop options stand first, and once', (t) => {
  const read = (...extensions: [number, Buffer][]) => udp(p.held(p.udp6({ extensions })))?.destinationPort
  t.is(read(p.HOP_BY_HOP, p.DESTINATION_OPTIONS, p.ROUTING_DONE, p.DESTINATION_OPTIONS), 53)
  t.is(read(p.HOP_BY_HOP, p.HOP_BY_HOP), undefined)
  for (const first of [p.DESTINATION_OPTIONS, p.ROUTING_DONE, p.ATOMIC_FRAGMENT])
    t.is(read(first, p.HOP_BY_HOP), undefined)
})

test('a whole packet has one fragment header', (t) => {
  t.is(ipv6(p.held(p.udp6({ extensions: [p.ATOMIC_FRAGMENT, p.ATOMIC_FRAGMENT] }))), undefined)
})

test('a routing header of RPL or segment routing is not read, one of another type that is done is', (t) => {
  for (const [type, isRead] of [
    [0, true],
    [2, true],
    [3, false],
    [4, false],
    [253, true],
  ] as const) {
    const header: [number, Buffer] = [43, Buffer.from([0, type, 0, 0, 0, 0, 0])]
    t.is(ipv6(p.held(p.udp6({ extensions: [header] }))) !== undefined, isRead, `type ${type}`)
  }
})

/** Options of an IPv4 header, and whether they can be. */
const options4: [string, string, boolean][] = [
  ['none but fill', '01010000', true],
  ['anything behind the end', '00ffffff', true],
  ['an unknown one', '1e040000', true],
  ['one without room for its length', '0101011e', false],
  ['one of no length', '1e000000', false],
  ['one of length 1', '1e010000', false],
  ['one that ends beyond the header', '1e050000', false],
  ['a router alert', '94040000', true],
  ['half a router alert', '94020000', false],
  ['a route with room', '07070400000000 00', true],
  ['a full route', '070708c0000214 00', true],
  ['a route without a pointer', '07020000', false],
  ['a route whose pointer is before it', '07070300000000 00', false],
  ['a route whose pointer leaves no room', '07070500000000 00', false],
  ['two routes', '070704 00000000 01 070704 00000000 01', false],
  ['times with room', '44080500 00000000', true],
  ['full times', '44080900 00000000', true],
  ['full times that nobody counts any more', '440809f0 00000000', false],
  ['full prespecified times', '440809f3 00000000', true],
  ['times whose pointer is before them', '44080400 00000000', false],
  ['times whose pointer leaves no room', '44080600 00000000', false],
  ['times of addresses with room', '440c0501 00000000 00000000', true],
  ['times of addresses without room', '44080501 00000000', false],
  ['times without a flag', '44030501', false],
  ['two lists of times', '44080500 00000000 44080500 00000000', false],
  ['a source route', '830704 c0000214 00', true],
  ['a source route without a pointer', '83020000', false],
  ['a source route whose pointer is before it', '830703 c0000214 00', false],
  ['two source routes', '830704 c0000214 01 890704 c0000214 01', false],
]
for (const [what, options, isRead] of options4) {
  test(`IPv4 with ${what} in its options is ${isRead ? 'read' : 'discarded'}`, (t) => {
    const packet = p.held(p.udp4({ options: p.hex(options) }))
    t.is(ipv4(packet) !== undefined, isRead)
    t.is(udp(packet)?.destinationPort, isRead ? 53 : undefined)
  })
}

test('ICMP and ICMPv6', (t) => {
  for (const [bytes, version, type] of [
    [p.echoRequest4({ padding: 3 }), 4, 8],
    [p.echoRequest6({ padding: 3 }), 6, 128],
  ] as const) {
    const packet = p.held(bytes)
    const message = p.some(icmp(packet))
    t.like(message, { version, type, code: 0, identifier: 0x1111, sequence: 7, checksumOk: true, payloadLength: 31 })
    t.is(packet.memory[packet.offset + message.payloadOffset], 1)
    t.is(message.payload()[0], 1)
    t.is(message.payload().length, message.payloadLength)
    t.is(icmp(p.held(p.changed(packet.bytes, packet.length - 4, 1)))?.checksumOk, false)
  }
})

test('a neighbour solicitation', (t) => {
  const message = p.some(ndp(p.held(p.solicitation())))
  t.like(message, { type: 135, targetAddress: '2001:db8::10', sourceAddress: '2001:db8::20', linkAddress: peerMac })
  t.is(message.targetWord(3), 0x10)
  t.is(message.sourceWord(3), 0x20)
  t.is(ndp(p.held(p.solicitation({ options: Buffer.alloc(0) })))?.linkAddress, undefined)
})

test('a neighbour advertisement', (t) => {
  const options = Buffer.concat([p.hex('0e 01 000000000000 02 01'), p.PEER_MAC])
  const rest = Buffer.concat([p.hex('60000000'), p.PEER6, options])
  const message = ndp(p.held(p.icmpv6Frame(136, rest, { hopLimit: 255 })))
  t.like(message, {
    type: 136,
    router: false,
    solicited: true,
    override: true,
    linkAddress: peerMac,
    targetAddress: '2001:db8::20',
  })
})

const notValid: [string, Buffer][] = [
  ['from beyond the link', p.solicitation({ hopLimit: 254 })],
  ['for a group', p.solicitation({ target: p.ALL_NODES })],
  ['from a group', p.solicitation({ source: p.ALL_NODES })],
  ['with an option of no length', p.solicitation({ options: p.hex('01 00 020000000014') })],
  ['with an option that ends beyond the message', p.solicitation({ options: p.hex('01 02 020000000014') })],
  ['with half an option', p.solicitation({ options: p.hex('01 01 0200') })],
  ['with a wrong checksum', p.changed(p.solicitation(), 14 + 40 + 2, 1)],
  ['with a code', p.solicitation({ code: 1 })],
  ['with a fragment header', p.solicitation({ extensions: [p.ATOMIC_FRAGMENT] })],
  [
    'from nobody, to one station',
    p.solicitation({ source: p.UNSPECIFIED, destination: p.OWN6, options: Buffer.alloc(0) }),
  ],
  ['from nobody, who has a link-layer address', p.solicitation({ source: p.UNSPECIFIED })],
  [
    'from nobody, who has a link-layer address of another length',
    p.solicitation({ source: p.UNSPECIFIED, options: p.hex('01 02 0000000000000000000000000063') }),
  ],
  [
    'with a link-layer address of another length',
    p.solicitation({ options: p.hex('01 02 0000000000000000000000000063') }),
  ],
  ['cut in its target', p.icmpv6Frame(135, Buffer.alloc(19), { hopLimit: 255, destination: p.OWN_SOLICITED_NODE })],
]
for (const [name, bytes] of notValid) {
  test(`a neighbour solicitation ${name} is not valid`, (t) => {
    t.not(icmp(p.held(bytes)), undefined)
    t.is(ndp(p.held(bytes)), undefined)
  })
}

test('an advertisement to a group that calls itself solicited is not valid', (t) => {
  const rest = (flags: string) => Buffer.concat([p.hex(flags), p.PEER6])
  const fields = { hopLimit: 255, destination: p.ALL_NODES }
  t.is(ndp(p.held(p.icmpv6Frame(136, rest('60000000'), fields))), undefined)
  t.is(ndp(p.held(p.icmpv6Frame(136, rest('20000000'), fields)))?.solicited, false)
})

/** What reads a packet, and one of its kind without anything that could be cut and not be missed. */
const whole: [string, (packet: Packet) => unknown, Buffer][] = [
  ['ethernet', ethernet, p.frame(0x1234, Buffer.alloc(0))],
  ['ethernet', ethernet, p.frame(0x1234, Buffer.alloc(0), { tags: p.VLAN_42 })],
  ['ethernet', ethernet, p.frame(0x1234, Buffer.alloc(0), { tags: p.VLAN_42_AND_7 })],
  ['arp', arp, p.arpFrame({}, { tags: p.VLAN_42 })],
  ['ipv4', ipv4, p.udp4({ options: p.hex('01010101') })],
  ['ipv6', ipv6, p.udp6({ extensions: [p.HOP_BY_HOP, p.DESTINATION_OPTIONS] })],
  ['icmp', icmp, p.echoRequest4()],
  ['icmp', icmp, p.echoRequest6({}, { tags: p.VLAN_42_AND_7 })],
  ['ndp', ndp, p.solicitation()],
  ['udp', udp, p.udp4()],
  ['udp', udp, p.udp6({ extensions: [p.ROUTING_DONE] })],
]
for (const [name, read, bytes] of whole) {
  test(`${name}() reads ${bytes.length} bytes of ${bytes.toString('hex', 12, 20)}… and none that is cut`, (t) => {
    t.not(read(p.held(bytes)), undefined)
    for (let length = 0; length < bytes.length; length++) {
      // What was cut still stands in the memory behind: it must not be looked at.
      const packet = p.held(bytes)
      packet.length = length
      t.is(read(packet), undefined, `${length} bytes`)
    }
  })
}

const lengths: [string, (packet: Packet) => unknown, Buffer][] = [
  ['UDP shorter than its header', udp, p.udp4({ length: 7 })],
  ['UDP longer than its IPv4 packet', udp, p.udp4({ length: 40, padding: 20 })],
  ['UDP longer than its IPv6 packet', udp, p.udp6({ length: 40, padding: 20 })],
  ['UDP of a jumbogram', udp, p.udp6({ length: 0 })],
  ['IPv4 of version 5', ipv4, p.changed(p.udp4(), 14, 0x10)],
  ['IPv4 of 16 bytes of header', ipv4, p.changed(p.udp4(), 14, 0x01)],
  ['IPv4 shorter than its header', ipv4, p.changed(p.udp4(), 17, 59 ^ 19)],
  ['IPv6 of version 4', ipv6, p.changed(p.udp6(), 14, 0x20)],
  ['IPv6 under the EtherType of IPv4', ipv4, p.changed(p.changed(p.udp6(), 12, 0x86 ^ 0x08), 13, 0xdd)],
  ['an extension header longer than the packet', ipv6, p.changed(p.udp6({ extensions: [p.HOP_BY_HOP] }), 55, 200)],
]
for (const [name, read, bytes] of lengths) {
  test(`${name} is not read`, (t) => t.is(read(p.held(bytes)), undefined))
}

test('UDP over IPv4', (t) => {
  const packet = p.held(p.udp4({ padding: 4 }, { tags: p.VLAN_42_AND_7 }))
  const query = p.some(udp(packet))
  t.like(query, {
    version: 4,
    sourcePort: 40_000,
    destinationPort: 53,
    source: parseIpv4('192.0.2.20'),
    destination: parseIpv4('192.0.2.10'),
    sourceAddress: '192.0.2.20',
    destinationAddress: '192.0.2.10',
    checksumOk: true,
    payloadOffset: 22 + 28,
    payloadLength: 31,
  })
  t.deepEqual(
    [0, 1, 2, 3].map((word) => query.sourceWord(word)),
    [...parseIpv6('::ffff:192.0.2.20')],
  )
})

test('UDP over IPv6', (t) => {
  const query = p.some(udp(p.held(p.udp6({ padding: 4 }))))
  t.like(query, { version: 6, sourcePort: 40_000, destinationPort: 53, checksumOk: true, payloadLength: 31 })
  t.like(query, { source: 0x20, destination: 0x10, sourceAddress: '2001:db8::20', destinationAddress: '2001:db8::10' })
  t.deepEqual(
    [0, 1, 2, 3].map((word) => query.destinationWord(word)),
    [...parseIpv6('2001:db8::10')],
  )
})

test('a sender and a receiver are compared with addresses of both kinds', (t) => {
  const [over4, over6] = [p.held(p.udp4()), p.held(p.udp6())]
  const peers = [
    parseIpv4('192.0.2.20'),
    parseIpv6('2001:db8::20'),
    parseIpv6('::ffff:192.0.2.20'),
    parseIpv6('2001:db9::20'),
    0x20,
  ]
  const own = [
    parseIpv4('192.0.2.10'),
    parseIpv6('2001:db8::10'),
    parseIpv6('2001:db8::1:10'),
    parseIpv4('192.0.2.11'),
    0x10,
  ]
  t.deepEqual(
    peers.map((address) => p.some(udp(over4)).isFrom(address)),
    [true, false, false, false, false],
  )
  t.deepEqual(
    peers.map((address) => p.some(udp(over6)).isFrom(address)),
    [false, true, false, false, false],
  )
  t.deepEqual(
    own.map((address) => p.some(udp(over4)).isTo(address)),
    [true, false, false, false, false],
  )
  t.deepEqual(
    own.map((address) => p.some(udp(over6)).isTo(address)),
    [false, true, false, false, false],
  )
})

test('the datagram ends where UDP says, and its checksum with it', (t) => {
  for (const bytes of [p.udp4({ excess: 6 }), p.udp6({ excess: 6 })]) {
    t.like(udp(p.held(bytes)), { payloadLength: 31, checksumOk: true })
  }
})

test('UDP may omit its checksum in IPv4 but not in IPv6', (t) => {
  t.is(udp(p.held(p.udp4({ checksum: 0 })))?.checksumOk, true)
  t.is(udp(p.held(p.udp6({ checksum: 0 })))?.checksumOk, false)
  t.is(udp(p.held(p.udp4({ checksum: 0x1234 })))?.checksumOk, false)
})

test('setting a port keeps the checksum of UDP right, also where that becomes zero', (t) => {
  for (const build of [p.udp4, p.udp6]) {
    let zeros = 0
    for (let port = 0; port < 0x1_0000; port++) {
      const packet = p.held(build({ payload: p.payloadOf(3) }))
      const query = p.some(udp(packet))
      query.sourcePort = port
      query.destinationPort = port >> 8
      if (!query.checksumOk) t.fail(`port ${port}`)
      if (packet.bytes.readUInt16BE(query.payloadOffset - 2) === 0xffff) zeros++
    }
    t.true(zeros > 0)
  }
})

test('setting a port of a datagram without a checksum gives it none', (t) => {
  const packet = p.held(p.udp4({ checksum: 0 }))
  p.some(udp(packet)).destinationPort = 1
  t.deepEqual(packet.bytes, p.udp4({ checksum: 0, destinationPort: 1 }))
})

test('each reader has one object, which the next call moves', (t) => {
  const first = udp(p.held(p.udp4({ destinationPort: 1 })))
  const second = udp(p.held(p.udp4({ destinationPort: 2 })))
  t.is(first, second)
  t.is(first?.destinationPort, 2)
})

test('reading one header leaves what another reader gave', (t) => {
  const packet = p.held(p.udp6())
  const query = p.some(udp(packet))
  t.not(ethernet(p.held(p.arpFrame())), undefined)
  t.not(arp(p.held(p.arpFrame())), undefined)
  t.like(query, { destinationPort: 53, checksumOk: true, payloadLength: 31 })
})

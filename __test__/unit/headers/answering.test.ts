import test from 'ava'
import { arp, ethernet, icmp, ndp, type Packet, parseMac, type Station, udp } from 'xsknet/headers'
import * as p from './packets.js'

type Answer = (packet: Packet, station: Station) => boolean

const arpReply = (target = p.OWN4, tags: [number, number][] = [], asker = p.PEER4) =>
  p.frame(0x0806, Buffer.concat([p.hex('0001 0800 0604 0002'), p.OWN_MAC, target, p.PEER_MAC, asker]), {
    to: p.PEER_MAC,
    from: p.OWN_MAC,
    tags,
  })

test('an ARP request is answered, without what padded it', (t) => {
  const packet = p.held(Buffer.concat([p.arpFrame(), Buffer.alloc(18)]))
  t.true(arp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, arpReply())
  t.true(packet.marginsAreWhole)
})

test('an ARP request for the second address is answered', (t) => {
  const target = p.ip4Address('198.51.100.10')
  const packet = p.held(p.arpFrame({ target }))
  t.true(arp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, arpReply(target))
})

test('an ARP request to the station alone is answered', (t) => {
  const packet = p.held(p.arpFrame({}, { to: p.OWN_MAC }))
  t.true(arp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, arpReply())
})

test('an ARP probe is answered to defend the address', (t) => {
  const nobody = p.ip4Address('0.0.0.0')
  const packet = p.held(p.arpFrame({ sender: nobody }))
  t.true(arp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, arpReply(p.OWN4, [], nobody))
})

for (const tags of [p.VLAN_42, p.VLAN_42_AND_7]) {
  test(`an ARP request is answered in its VLAN, behind ${tags.length} tag(s)`, (t) => {
    const packet = p.held(p.arpFrame({}, { tags }))
    t.true(arp.answer(packet, p.TAGGED))
    t.deepEqual(packet.bytes, arpReply(p.OWN4, tags))
  })
}

for (const [version, request, type, reply] of [
  [4, p.echoRequest4, 8, 0],
  [6, p.echoRequest6, 128, 129],
] as const) {
  test(`an echo request is answered over IPv${version}, byte for byte, without what padded it`, (t) => {
    const packet = p.held(request({ padding: 7 }))
    const asked = request()
    t.true(icmp.echo(packet, p.STATION))
    t.is(packet.length, asked.length)
    t.like(icmp(packet), { type: reply, code: 0, identifier: 0x1111, sequence: 7, checksumOk: true, payloadLength: 31 })
    t.not(type as number, reply)
    t.like(ethernet(packet), { destination: parseMac('02:00:00:00:00:14'), source: parseMac('02:00:00:00:00:0a') })
    t.deepEqual(packet.bytes.subarray(-31), p.payloadOf())
    t.true(packet.marginsAreWhole)
  })

  test(`an echo request is answered over IPv${version} at every length, at an odd place in memory`, (t) => {
    for (let length = 0; length < 1400; length += 1 + (length >> 4)) {
      const packet = p.held(request({ payload: p.payloadOf(length) }), { offset: 65 })
      t.true(icmp.echo(packet, p.STATION))
      t.like(icmp(packet), { type: reply, checksumOk: true, payloadLength: length })
    }
  })

  test(`an echo request is answered over IPv${version} for every checksum`, (t) => {
    // All of 16 bits, so that the update meets 0x0000 and 0xffff.
    for (let word = 0; word < 0x1_0000; word++) {
      const payload = p.u16(word)
      const packet = p.held(request({ payload }), { capacity: 80 })
      if (!icmp.echo(packet, p.STATION) || !icmp(packet)?.checksumOk) t.fail(`word ${word}`)
    }
    t.pass()
  })

  test(`an echo request is answered in its VLAN over IPv${version}, behind two tags`, (t) => {
    const packet = p.held(request({}, { tags: p.VLAN_42_AND_7 }))
    t.true(icmp.echo(packet, p.TAGGED))
    t.like(ethernet(packet), { vlan: 42, tags: 2 })
    t.is(icmp(packet)?.checksumOk, true)
  })
}

test('the reply over IPv4 keeps the DSCP, not ECN, has 64 hops and no options', (t) => {
  const asked = p.echoRequest4({ options: p.hex('0707040000000000'), ttl: 1 })
  const packet = p.held(asked)
  t.true(icmp.echo(packet, p.STATION))
  t.is(packet.length, asked.length - 8)
  // The identification and "don't fragment" are the asker's.
  t.is(packet.bytes.toString('hex', 14, 24), '4504003b123440004001')
  t.is(packet.bytes.toString('hex', 26, 34), 'c000020ac0000214')
  t.is(icmp(packet)?.checksumOk, true)
})

test('an IPv4 reply may be fragmented if its request could be, and its reserved bits are zero', (t) => {
  const packet = p.held(p.echoRequest4({ flags: 0x8000 }))
  t.true(icmp.echo(packet, p.STATION))
  t.is(packet.bytes.toString('hex', 18, 22), '12340000')
})

test('the reply over IPv6 keeps the DSCP, not ECN and flow label, has 64 hops and no extension headers', (t) => {
  const packet = p.held(p.echoRequest6({ extensions: [p.HOP_BY_HOP, p.DESTINATION_OPTIONS, p.ATOMIC_FRAGMENT] }))
  t.true(icmp.echo(packet, p.STATION))
  t.is(packet.length, 14 + 40 + 8 + 31)
  t.is(packet.bytes.toString('hex', 14, 22), '6040000000273a40')
  t.is(icmp(packet)?.checksumOk, true)
})

test('the link-local address is answered for', (t) => {
  const packet = p.held(
    p.echoRequest6({ source: p.hex('fe800000000000000000000000000020'), destination: p.OWN_LINK_LOCAL }),
  )
  t.true(icmp.echo(packet, p.STATION))
  t.is(icmp(packet)?.checksumOk, true)
})

const advertisement = (flags: string, destination: Buffer, to: Buffer, tags: [number, number][] = []) => {
  const rest = Buffer.concat([p.hex(flags), p.OWN6, p.hex('02 01'), p.OWN_MAC])
  const bytes = p.icmpv6Frame(136, rest, { source: p.OWN6, destination, hopLimit: 255 }, { to, from: p.OWN_MAC, tags })
  bytes.writeUInt32BE(0x6000_0000, 14 + 4 * tags.length)
  return bytes
}

test('a solicitation is answered with an advertisement', (t) => {
  for (const tags of [[], p.VLAN_42, p.VLAN_42_AND_7]) {
    const packet = p.held(p.solicitation({ padding: 3 }, { tags }))
    t.true(ndp.answer(packet, tags.length > 0 ? p.TAGGED : p.STATION))
    t.deepEqual(packet.bytes, advertisement('60000000', p.PEER6, p.PEER_MAC, tags))
    t.true(packet.marginsAreWhole)
  }
})

test(
  'a solicitation to the station alone, without a link-layer address, ' + 'is answered to the sender of the frame',
  (t) => {
    const packet = p.held(p.solicitation({ destination: p.OWN6, options: Buffer.alloc(0) }, { to: p.OWN_MAC }), {
      capacity: 86,
    })
    t.true(ndp.answer(packet, p.STATION))
    t.deepEqual(packet.bytes, advertisement('60000000', p.PEER6, p.PEER_MAC))
    t.true(packet.marginsAreWhole)
  },
)

test('a solicitation is answered to its link-layer address, not to the sender of the frame', (t) => {
  const packet = p.held(p.solicitation({}, { from: p.mac('02:00:00:00:00:99') }))
  t.true(ndp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, advertisement('60000000', p.PEER6, p.PEER_MAC))
})

test('of two link-layer addresses the first one counts', (t) => {
  const options = Buffer.concat([p.hex('01 01'), p.PEER_MAC, p.hex('01 01 020000000063')])
  const packet = p.held(p.solicitation({ options }))
  t.true(ndp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, advertisement('60000000', p.PEER6, p.PEER_MAC))
})

test('duplicate address detection is answered at all nodes, unsolicited', (t) => {
  const packet = p.held(p.solicitation({ source: p.UNSPECIFIED, options: Buffer.alloc(0) }))
  t.true(ndp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, advertisement('20000000', p.ALL_NODES, p.mac('33:33:00:00:00:01')))
})

test('a solicitation with extension headers is answered without them', (t) => {
  const packet = p.held(p.solicitation({ extensions: [p.DESTINATION_OPTIONS] }))
  t.true(ndp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, advertisement('60000000', p.PEER6, p.PEER_MAC))
})

test('an advertisement that the packet cannot hold is not begun', (t) => {
  const asked = p.solicitation({ options: Buffer.alloc(0) })
  const packet = p.held(asked, { capacity: 85 })
  t.false(ndp.answer(packet, p.STATION))
  t.deepEqual(packet.bytes, asked)
})

const strangerMac = p.mac('02:00:00:00:00:63')
const stranger4 = p.ip4Address('192.0.2.99')
const stranger6 = p.hex('20010db8000000000000000000000063')
const unanswered: [string, Answer, Buffer][] = [
  ['an ARP request for another', arp.answer, p.arpFrame({ target: stranger4 })],
  ['an ARP reply', arp.answer, p.arpFrame({ operation: 2 })],
  ['an ARP request to another MAC', arp.answer, p.arpFrame({}, { to: strangerMac })],
  ['an ARP announcement of the same address', arp.answer, p.arpFrame({ sender: p.OWN4 })],
  ['an ARP request of its own', arp.answer, p.arpFrame({}, { from: p.OWN_MAC })],
  ['an ARP request from a group', arp.answer, p.arpFrame({ sender: p.ip4Address('224.0.0.1') })],
  ['an ARP request from a group MAC', arp.answer, p.arpFrame({ senderMac: p.BROADCAST })],
  ['an ARP request in a VLAN', arp.answer, p.arpFrame({}, { tags: p.VLAN_42 })],
  ['an echo request to another address', icmp.echo, p.echoRequest4({ destination: stranger4 })],
  [
    'an echo request to broadcast',
    icmp.echo,
    p.echoRequest4({ destination: p.ip4Address('192.0.2.255') }, { to: p.BROADCAST }),
  ],
  ['an echo request by broadcast', icmp.echo, p.echoRequest4({}, { to: p.BROADCAST })],
  ['an echo request to another MAC', icmp.echo, p.echoRequest4({}, { to: strangerMac })],
  ['an echo request from a group', icmp.echo, p.echoRequest4({ source: p.ip4Address('224.0.0.1') })],
  ['an echo request from nobody', icmp.echo, p.echoRequest4({ source: p.ip4Address('0.0.0.0') })],
  ['an echo request from the loopback', icmp.echo, p.echoRequest4({ source: p.ip4Address('127.0.0.1') })],
  ['an echo request from itself', icmp.echo, p.echoRequest4({ source: p.OWN4 })],
  ['an echo reply', icmp.echo, p.echoRequest4({ type: 0 })],
  ['a first fragment', icmp.echo, p.echoRequest4({ flags: 0x2000 })],
  ['a later fragment', icmp.echo, p.echoRequest4({ flags: 0x0001 })],
  ['an echo request in a VLAN', icmp.echo, p.echoRequest4({}, { tags: p.VLAN_42 })],
  ['an echo request in a service VLAN', icmp.echo, p.echoRequest4({}, { tags: [[0x88a8, 42]] })],
  ['an IPv6 echo request with a code', icmp.echo, p.echoRequest6({ code: 1 })],
  ...[0, 1, 2, 3].map((word): [string, Answer, Buffer] => {
    const destination = p.changed(p.OWN6, 4 * word + 3, 1)
    return [
      `an IPv6 echo request to an address that differs in word ${word}`,
      icmp.echo,
      p.echoRequest6({ destination }),
    ]
  }),
  [
    'an IPv6 echo request to a group',
    icmp.echo,
    p.echoRequest6({ destination: p.ALL_NODES }, { to: p.mac('33:33:00:00:00:01') }),
  ],
  ['an IPv6 echo request by multicast', icmp.echo, p.echoRequest6({}, { to: p.mac('33:33:00:00:00:01') })],
  ['an IPv6 echo request from a group', icmp.echo, p.echoRequest6({ source: p.ALL_NODES })],
  ['an IPv6 echo request from nobody', icmp.echo, p.echoRequest6({ source: p.UNSPECIFIED })],
  ['an IPv6 echo request from the loopback', icmp.echo, p.echoRequest6({ source: p.hex(`${'0'.repeat(31)}1`) })],
  ['an IPv6 first fragment', icmp.echo, p.echoRequest6({ extensions: [p.FIRST_FRAGMENT] })],
  ['ICMPv6 of a type like an IPv4 echo request', icmp.echo, p.icmpv6Frame(8, p.u16(0x1111, 7))],
  ['a solicitation of another', ndp.answer, p.solicitation({ target: stranger6 })],
  ['a solicitation to another MAC', ndp.answer, p.solicitation({}, { to: strangerMac })],
  ['a solicitation to another address', ndp.answer, p.solicitation({ destination: stranger6 })],
  ['a solicitation of its own', ndp.answer, p.solicitation({}, { from: p.OWN_MAC })],
  ['a solicitation from its own address', ndp.answer, p.solicitation({ source: p.OWN6 })],
  ['a solicitation from beyond the link', ndp.answer, p.solicitation({ hopLimit: 64 })],
  [
    'a solicitation with a group as link-layer address',
    ndp.answer,
    p.solicitation({ options: p.hex('01 01 333300000001') }),
  ],
  ['a solicitation in a VLAN', ndp.answer, p.solicitation({}, { tags: p.VLAN_42 })],
  ['an advertisement', ndp.answer, p.icmpv6Frame(136, Buffer.concat([p.hex('20000000'), p.OWN6]), { hopLimit: 255 })],
  ['a solicitation behind a routing header, to a group', ndp.answer, p.solicitation({ extensions: [p.ROUTING_DONE] })],
  ...[131, 137].map((type): [string, Answer, Buffer] => {
    const options = Buffer.concat([Buffer.from([type]), p.hex('07 08 c0000215 00')])
    return [`an echo request with a source route, ${type}`, icmp.echo, p.echoRequest4({ options })]
  }),
  ['a UDP datagram (1)', arp.answer, p.udp4()],
  ['a UDP datagram (2)', icmp.echo, p.udp4()],
  ['a UDP datagram (3)', ndp.answer, p.udp6()],
]
for (const [name, answer, bytes] of unanswered) {
  test(`${name} is not answered, and stays as it is`, (t) => {
    const packet = p.held(bytes)
    t.false(answer(packet, p.STATION))
    t.deepEqual(packet.bytes, bytes)
  })
}

const echo: Answer = icmp.echo
const answerUdp: Answer = (packet, station) => udp(packet) !== undefined && udp.answer(packet, station, 31)
const replyUdp: Answer = (packet) => udp(packet) !== undefined && udp.reply(packet, 31)

/**
 * Frames that say to come from what cannot have sent them; the sender stands in the frame, in the IP header, or in ARP.
 */
const groupMacs = ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01', '33:33:00:00:00:01', '03:00:00:00:00:14']
const noSenders4 = [
  '0.0.0.1',
  '0.255.255.255',
  '127.0.0.1',
  '127.255.255.254',
  '224.0.0.1',
  '239.255.255.250',
  '240.0.0.1',
  '255.255.255.255',
]
const ownOrBroadcast4 = ['192.0.2.10', '198.51.100.10', '192.0.2.255', '198.51.100.127']
const noSenders6 = [
  '0'.repeat(32),
  `${'0'.repeat(31)}1`,
  '000000000000000000000000c0000214', // ::192.0.2.20
  '00000000000000000000ffffc0000214', // ::ffff:192.0.2.20
  '00000000000000000000ffff7f000001',
  'ff020000000000000000000000000001',
  'ff050000000000000000000000010003',
  'ff0e0000000000000000000000000101',
]
const own6 = ['20010db8000000000000000000000010', 'fe80000000000000000000fffe00000a']

const forged: [what: string, answers: Answer[], bytes: Buffer][] = [
  ...groupMacs.flatMap((text): [string, Answer[], Buffer][] => {
    const from = p.mac(text)
    return [
      [`ARP from the MAC ${text}`, [arp.answer], p.arpFrame({}, { from })],
      [`an ARP probe from the MAC ${text}`, [arp.answer], p.arpFrame({ sender: p.ip4Address('0.0.0.0') }, { from })],
      [`ARP of the MAC ${text}`, [arp.answer], p.arpFrame({ senderMac: from })],
      [`an echo request from the MAC ${text}`, [echo], p.echoRequest4({}, { from })],
      [`an IPv6 echo request from the MAC ${text}`, [echo], p.echoRequest6({}, { from })],
      [`a solicitation from the MAC ${text}`, [ndp.answer], p.solicitation({}, { from })],
      [
        `a look for duplicates from the MAC ${text}`,
        [ndp.answer],
        p.solicitation({ source: p.UNSPECIFIED, options: Buffer.alloc(0) }, { from }),
      ],
      [`a datagram from the MAC ${text}`, [answerUdp, replyUdp], p.udp4({}, { from })],
      [`an IPv6 datagram from the MAC ${text}`, [answerUdp, replyUdp], p.udp6({}, { from })],
      [`a datagram to the MAC ${text}`, [answerUdp, replyUdp], p.udp4({}, { to: from })],
      [`an IPv6 datagram to the MAC ${text}`, [answerUdp, replyUdp], p.udp6({}, { to: from })],
    ]
  }),
  ...['0.0.0.0', ...noSenders4].flatMap((text): [string, Answer[], Buffer][] => {
    const source = p.ip4Address(text)
    return [
      [`an echo request from ${text}`, [echo], p.echoRequest4({ source })],
      [`a datagram from ${text}`, [answerUdp, replyUdp], p.udp4({ source })],
      [`a datagram to ${text}`, [answerUdp, replyUdp], p.udp4({ destination: source })],
    ]
  }),
  ...[...noSenders4, ...ownOrBroadcast4].map((text): [string, Answer[], Buffer] => {
    return [`ARP from ${text}`, [arp.answer], p.arpFrame({ sender: p.ip4Address(text) })]
  }),
  ...ownOrBroadcast4.flatMap((text): [string, Answer[], Buffer][] => {
    const source = p.ip4Address(text)
    return [
      [`an echo request from ${text}`, [echo], p.echoRequest4({ source })],
      [`a datagram from ${text}`, [answerUdp], p.udp4({ source })],
    ]
  }),
  ...noSenders6.flatMap((text): [string, Answer[], Buffer][] => {
    const source = p.hex(text)
    const ofNoDuplicate: [string, Answer[], Buffer] = [
      `a solicitation from ${text}`,
      [ndp.answer],
      p.solicitation({ source }),
    ]
    return [
      ofNoDuplicate,
      [`an echo request from ${text}`, [echo], p.echoRequest6({ source })],
      [`a datagram from ${text}`, [answerUdp, replyUdp], p.udp6({ source })],
      [`a datagram to ${text}`, [answerUdp, replyUdp], p.udp6({ destination: source })],
    ]
  }),
  ...own6.flatMap((text): [string, Answer[], Buffer][] => {
    const source = p.hex(text)
    return [
      [`a solicitation from ${text}`, [ndp.answer], p.solicitation({ source })],
      [`an echo request from ${text}`, [echo], p.echoRequest6({ source })],
      [`a datagram from ${text}`, [answerUdp], p.udp6({ source })],
    ]
  }),
  ['ARP of the own MAC', [arp.answer], p.arpFrame({ senderMac: p.OWN_MAC })],
  ['an echo request from the own MAC', [echo], p.echoRequest4({}, { from: p.OWN_MAC })],
  ['an IPv6 echo request from the own MAC', [echo], p.echoRequest6({}, { from: p.OWN_MAC })],
  [
    'a solicitation of the own MAC',
    [ndp.answer],
    p.solicitation({ options: Buffer.concat([p.hex('01 01'), p.OWN_MAC]) }),
  ],
  ['a datagram from the own MAC', [answerUdp, replyUdp], p.udp4({}, { from: p.OWN_MAC })],
  ['a datagram from its own receiver', [answerUdp, replyUdp], p.udp4({ source: p.OWN4 })],
  ['an IPv6 datagram from its own receiver', [answerUdp, replyUdp], p.udp6({ source: p.OWN6 })],
  ['a datagram to another MAC', [answerUdp], p.udp4({}, { to: strangerMac })],
  ['a datagram to another address', [answerUdp], p.udp4({ destination: stranger4 })],
  ['an IPv6 datagram to another address', [answerUdp], p.udp6({ destination: stranger6 })],
  ['a datagram in a VLAN', [answerUdp], p.udp4({}, { tags: p.VLAN_42 })],
  ...[0, 7, 19, 53, 1023, 5000].flatMap((sourcePort): [string, Answer[], Buffer][] => {
    const ports = { sourcePort, destinationPort: sourcePort < 1024 ? 7 : sourcePort }
    return [
      [`a datagram from port ${sourcePort} to ${ports.destinationPort}`, [answerUdp], p.udp4(ports)],
      [`an IPv6 datagram from port ${sourcePort} to ${ports.destinationPort}`, [answerUdp], p.udp6(ports)],
    ]
  }),
]
test('what names no sender that could be answered gets no answer, and stays as it is', (t) => {
  for (const [what, answers, bytes] of forged) {
    for (const answer of answers) {
      const packet = p.held(bytes)
      t.false(answer(packet, p.STATION), what)
      t.deepEqual(packet.bytes, bytes, what)
    }
  }
})

for (const [version, datagram] of [
  [4, p.udp4],
  [6, p.udp6],
] as const) {
  test(`a client's datagram is answered over IPv${version} as udp.reply does`, (t) => {
    for (const sourcePort of [1024, 40_000, 65_535]) {
      const [answered, turned] = [p.held(datagram({ sourcePort })), p.held(datagram({ sourcePort }))]
      t.true(udp.answer(answered, p.STATION, 20))
      t.true(udp.reply(turned, 20))
      t.deepEqual(answered.bytes, turned.bytes)
      t.like(udp(answered), { sourcePort: 53, destinationPort: sourcePort, checksumOk: true, payloadLength: 20 })
    }
    const tagged = p.held(datagram({}, { tags: p.VLAN_42_AND_7 }))
    t.true(udp.answer(tagged, p.TAGGED, 31))
    t.true(tagged.marginsAreWhole)
  })

  test(`a datagram over IPv${version} whose answer does not fit is refused, and left alone`, (t) => {
    const packet = p.held(datagram(), { capacity: 110 })
    const before = packet.bytes
    t.throws(() => udp.answer(packet, p.STATION, 101), { code: 'ERR_XSKNET_FRAME_TOO_LONG' })
    t.throws(() => udp.answer(packet, p.STATION, -1), { code: 'ERR_OUT_OF_RANGE' })
    t.deepEqual(packet.bytes, before)
  })
}

/** To a port with this MAC, 192.0.2.10 and 2001:db8::10. */
const discarded: [string, string][] = [
  [
    'a hop-by-hop option that says so',
    '02000000001002000000007786dd600000000018004020010db800000000000000000000007720010db8000000000000000000000010' +
      '3a007e000102000080009224000100016162636465666768',
  ],
  [
    'hop-by-hop options twice',
    '02000000001002000000007786dd600000000020004020010db800000000000000000000007720010db8000000000000000000000010' +
      '00000104000000003a0001040000000080009224000100016162636465666768',
  ],
  ['ARP from the loopback', 'ffffffffffff020000000077080600010800060400010200000000777f000001000000000000c000020a'],
]
for (const [what, frame] of discarded) {
  test(`what a host discards is not answered: ${what}`, (t) => {
    const info = { mac: '02:00:00:00:00:10', addresses: ['192.0.2.10/24', '2001:db8::10/64'], vlan: null }
    const packet = p.held(p.hex(frame))
    for (const answer of [arp.answer, ndp.answer, icmp.echo]) t.false(answer(packet, { info }))
    t.is(packet.bytes.toString('hex'), frame)
  })
}

test('what is not a datagram is not answered as one', (t) => {
  for (const bytes of [p.arpFrame(), p.echoRequest4(), p.udp4().subarray(0, 40)]) {
    t.false(udp.answer(p.held(bytes), p.STATION, 1))
  }
})

test('the last address of a network without a broadcast is answered', (t) => {
  const info = { ...p.STATION.info, addresses: ['192.0.2.10/31', '192.0.2.20/32'] }
  t.true(icmp.echo(p.held(p.echoRequest4({ source: p.ip4Address('192.0.2.11') })), { info }))
  t.true(arp.answer(p.held(p.arpFrame({ sender: p.ip4Address('192.0.2.255') })), { info }))
})

test('the lowest address of a network is a station', (t) => {
  t.true(icmp.echo(p.held(p.echoRequest4({ source: p.ip4Address('192.0.2.0') })), p.STATION))
})

test('a solicitation is answered in each group that the station is in, and in no other', (t) => {
  const asked = (destination: string, target = p.OWN6) => {
    return ndp.answer(p.held(p.solicitation({ destination: p.hex(destination), target })), p.STATION)
  }
  const all = 'ff020000000000000000000000000001'
  const ofTheFirst = 'ff0200000000000000000001ff000010'
  const ofTheSecond = 'ff0200000000000000000001ff00000a'
  for (const group of [all, ofTheFirst, ofTheSecond]) {
    t.true(asked(group), group)
    t.true(asked(group, p.OWN_LINK_LOCAL), group)
  }
  for (const group of [
    'ff020000000000000000000000000002',
    'ff020000000000000000000000000005',
    'ff0200000000000000000001ff000011',
    'ff0200000000000000000002ff000010',
    'ff0200000000000100000001ff000010',
    'ff0500000000000000000001ff000010',
    'ff010000000000000000000000000001',
  ]) {
    t.false(asked(group), group)
  }
})

test('a station in a VLAN answers nothing without its tag', (t) => {
  const others: [number, number][][] = [[], [[0x8100, 43]], [[0x8100, 0]], [[0x88a8, 42]]]
  for (const tags of others) {
    t.false(arp.answer(p.held(p.arpFrame({}, { tags })), p.TAGGED))
    t.false(icmp.echo(p.held(p.echoRequest4({}, { tags })), p.TAGGED))
    t.false(ndp.answer(p.held(p.solicitation({}, { tags })), p.TAGGED))
  }
})

for (const [name, answer, bytes] of [
  ['arp.answer', arp.answer, p.arpFrame({}, { tags: p.VLAN_42 })],
  ['icmp.echo', icmp.echo, p.echoRequest4({ options: p.hex('01010101') }, { tags: p.VLAN_42 })],
  ['icmp.echo', icmp.echo, p.echoRequest6({ extensions: [p.HOP_BY_HOP] }, { tags: p.VLAN_42 })],
  ['ndp.answer', ndp.answer, p.solicitation({}, { tags: p.VLAN_42 })],
] as [string, Answer, Buffer][]) {
  test(`${name} leaves ${bytes.length} bytes alone when any of them are cut`, (t) => {
    for (let length = 0; length < bytes.length; length++) {
      const packet = p.held(bytes)
      packet.length = length
      t.false(answer(packet, p.TAGGED), `${length} bytes`)
      packet.length = bytes.length
      t.deepEqual(packet.bytes, bytes)
    }
    t.true(answer(p.held(bytes), p.TAGGED))
  })
}

for (const [name, bytes] of [
  ['echo request', p.echoRequest4()],
  ['IPv6 echo request', p.echoRequest6()],
  ['solicitation', p.solicitation()],
] as const) {
  test(`an ${name} with any one bit of its message turned is not answered`, (t) => {
    const message = 14 + (bytes[12] === 0x08 ? 20 : 40)
    for (let bit = message * 8; bit < bytes.length * 8; bit++) {
      const packet = p.held(p.changed(bytes, bit >> 3, 1 << (bit & 7)))
      t.false(icmp.echo(packet, p.STATION) || ndp.answer(packet, p.STATION), `bit ${bit}`)
    }
  })
}

test('a station whose addresses have no prefix lengths answers as well', (t) => {
  const addresses = ['192.0.2.10', '2001:db8::10', 'fe80::ff:fe00:a']
  const station = { info: { ...p.STATION.info, addresses } }
  t.true(arp.answer(p.held(p.arpFrame()), station))
  t.true(icmp.echo(p.held(p.echoRequest6()), station))
})

test('stations are told apart', (t) => {
  const other = { info: { mac: '02:00:00:00:00:63', addresses: ['192.0.2.99/24'], vlan: null } }
  for (const station of [p.STATION, other, p.STATION, other]) {
    t.is(arp.answer(p.held(p.arpFrame({ target: stranger4 })), station), station === other)
    t.is(arp.answer(p.held(p.arpFrame()), station), station === p.STATION)
  }
})

import test from 'ava'
import { arp, ethernet, icmp, ipv4, ipv6, ndp, parseIpv4, parseIpv6, parseMac, type Station, udp } from 'xsknet/headers'
import * as p from './packets.js'

const peerMac = parseMac('02:00:00:00:00:14')
const toPeer4 = {
  sourcePort: 53,
  destinationMac: peerMac,
  destination: parseIpv4('192.0.2.20'),
  destinationPort: 40_000,
}
const toPeer6 = { ...toPeer4, destination: parseIpv6('2001:db8::20') }
const empty = (options?: { capacity?: number; offset?: number }) => p.held(new Uint8Array(), options)

for (const [version, query] of [
  [4, p.udp4],
  [6, p.udp6],
] as const) {
  test(`udp.reply sends a datagram back over IPv${version}, with a payload of any length`, (t) => {
    const lengths = [0, 1, 2, 30, 31, 32, 500, 1400]
    for (const asked of lengths) {
      for (const answered of lengths) {
        const packet = p.held(query({ payload: p.payloadOf(asked) }, { tags: p.VLAN_42_AND_7 }))
        const offset = p.some(udp(packet)).payloadOffset
        packet.memory.set(p.payloadOf(answered), packet.offset + offset)
        udp.reply(packet, answered)
        const reply = p.some(udp(packet))
        t.like(reply, {
          sourcePort: 53,
          destinationPort: 40_000,
          payloadOffset: offset,
          payloadLength: answered,
          checksumOk: true,
        })
        t.like(ethernet(packet), { destination: peerMac, source: parseMac('02:00:00:00:00:0a'), vlan: 42, tags: 2 })
        t.is(packet.length, offset + answered)
        t.deepEqual(packet.bytes.subarray(-answered || packet.length), p.payloadOf(answered))
        t.true(packet.marginsAreWhole)
      }
    }
  })

  test(`udp.reply twice over IPv${version} asks again`, (t) => {
    const packet = p.held(query({ padding: 6 }))
    udp.reply(packet, 31)
    t.like(ipv4(packet) ?? ipv6(packet), version === 4 ? { ttl: 64 } : { hopLimit: 64, flowLabel: 0 })
    udp.reply(packet, 31)
    // Hops, ECN and the flow label are not as they were.
    const again = p.held(query())
    t.deepEqual(packet.bytes.subarray(0, 14), again.bytes.subarray(0, 14))
    t.deepEqual(packet.bytes.subarray(version === 4 ? 26 : 22), again.bytes.subarray(version === 4 ? 26 : 22))
  })

  test(`udp.reply over IPv${version} writes a checksum of zero as its other name`, (t) => {
    let zeros = 0
    for (let word = 0; word < 0x1_0000; word++) {
      const packet = p.held(query({ payload: p.u16(word) }), { capacity: 80 })
      udp.reply(packet, 2)
      const stored = packet.bytes.readUInt16BE(packet.length - 4)
      if (stored === 0xffff) zeros++
      if (stored === 0 || !p.some(udp(packet)).checksumOk) t.fail(`word ${word}`)
    }
    // Of 65,536 words, 0x0000 and 0xffff have one sum and each other sum has one word.
    t.is(zeros, 1)
  })

  test(`udp.reply over IPv${version} refuses more than the packet or a datagram holds, and leaves the packet`, (t) => {
    const bytes = query()
    const headers = bytes.length - 31
    const packet = p.held(bytes, { capacity: headers + 100 })
    const error = t.throws(() => udp.reply(packet, 101), { code: 'ERR_XSKNET_FRAME_TOO_LONG' })
    t.deepEqual((error as Error & { details: unknown }).details, { length: headers + 101, capacity: headers + 100 })
    for (const length of [-1, 0.5, Number.NaN, 65_528]) {
      t.throws(() => udp.reply(packet, length), { instanceOf: RangeError, code: 'ERR_OUT_OF_RANGE' })
    }
    t.deepEqual(packet.bytes, bytes)
    udp.reply(packet, 100)
    t.is(packet.length, headers + 100)
  })
}

test('udp.reply leaves IP options and extension headers out, and the payload moves', (t) => {
  for (const bytes of [
    p.udp4({ options: p.hex('94040000') }),
    p.udp6({ extensions: [p.HOP_BY_HOP, p.DESTINATION_OPTIONS] }),
  ]) {
    const packet = p.held(bytes)
    const before = p.some(udp(packet)).payloadOffset
    packet.memory.set(p.payloadOf(60), packet.offset + before)
    udp.reply(packet, 60)
    t.like(udp(packet), { sourcePort: 53, payloadLength: 60, checksumOk: true })
    t.true(p.some(udp(packet)).payloadOffset < before)
    t.deepEqual(packet.bytes.subarray(-60), p.payloadOf(60))
  }
})

test('udp.reply refuses what is not a datagram', (t) => {
  for (const bytes of [p.arpFrame(), p.echoRequest4(), p.udp4({ flags: 0x2000 }), p.udp4().subarray(0, 60)]) {
    const packet = p.held(bytes)
    const error = t.throws(() => udp.reply(packet, 1), { instanceOf: TypeError, code: 'ERR_INVALID_ARG_VALUE' })
    t.true(error.message.includes(`${bytes.length} bytes`))
    t.deepEqual(packet.bytes, bytes)
  }
})

for (const station of [p.STATION, p.TAGGED]) {
  test(`udp.build makes a whole datagram of a station in VLAN ${station.info.vlan}`, (t) => {
    for (const to of [toPeer4, toPeer6]) {
      const packet = empty({ offset: 65 })
      udp.build(packet, station, to, p.payloadOf())
      t.like(ethernet(packet), { destination: peerMac, source: parseMac('02:00:00:00:00:0a'), vlan: station.info.vlan })
      t.like(udp(packet), {
        version: to === toPeer4 ? 4 : 6,
        sourcePort: 53,
        destinationPort: 40_000,
        payloadLength: 31,
        checksumOk: true,
      })
      t.is(udp(packet)?.sourceAddress, to === toPeer4 ? '192.0.2.10' : '2001:db8::10')
      t.is(udp(packet)?.destinationAddress, to === toPeer4 ? '192.0.2.20' : '2001:db8::20')
      t.deepEqual(packet.bytes.subarray(-31), p.payloadOf())
      t.true(packet.marginsAreWhole)
    }
  })
}

test('udp.build takes a payload that stands in its place', (t) => {
  for (const [to, station, at] of [
    [toPeer4, p.STATION, 42],
    [toPeer6, p.STATION, 62],
    [toPeer4, p.TAGGED, 46],
    [toPeer6, p.TAGGED, 66],
  ] as const) {
    const copied = empty()
    udp.build(copied, station, to, p.payloadOf())
    const inPlace = empty()
    inPlace.memory.set(p.payloadOf(), inPlace.offset + at)
    udp.build(inPlace, station, to, 31)
    t.deepEqual(inPlace.bytes, copied.bytes)
  }
})

const near: [string, string, string][] = [
  ['192.0.2.20', '192.0.2.10', 'the address of its network'],
  ['198.51.100.127', '198.51.100.10', 'the second address, of its network'],
  ['198.51.100.128', '192.0.2.10', 'the first address, beyond the networks'],
  ['2001:db8::20', '2001:db8::10', 'the address of its network'],
  ['2001:db8:0:1::20', '2001:db8::10', 'the first address, beyond the networks'],
  ['fe80::20', 'fe80::ff:fe00:a', 'the link-local address'],
]
for (const [to, from, which] of near) {
  test(`a datagram to ${to} comes from ${from}: ${which}`, (t) => {
    const packet = empty()
    const destination = to.includes(':') ? parseIpv6(to) : parseIpv4(to)
    udp.build(packet, p.STATION, { ...toPeer4, destination }, 0)
    t.like(udp(packet), { sourceAddress: from, destinationAddress: to, payloadLength: 0, checksumOk: true })
  })
}

test('udp.build takes a source and hops', (t) => {
  const packet = empty()
  udp.build(packet, p.STATION, { ...toPeer4, source: parseIpv4('198.51.100.10'), hopLimit: 1 }, 0)
  t.like(ipv4(packet), { ttl: 1, sourceAddress: '198.51.100.10', checksumOk: true })
  udp.build(packet, p.STATION, { ...toPeer6, source: parseIpv6('fe80::1'), hopLimit: 255 }, 0)
  t.like(ipv6(packet), { hopLimit: 255, sourceAddress: 'fe80::1' })
})

const without = (kind: string): Station => ({
  info: {
    ...p.STATION.info,
    addresses: p.STATION.info.addresses.filter((address) => address.includes(kind) === false),
  },
})

test('udp.build refuses what no header can say', (t) => {
  const build = (fields: object, payload: Uint8Array | number = 0, station = p.STATION) => {
    return () => udp.build(empty(), station, { ...toPeer4, ...fields }, payload)
  }
  for (const fields of [
    { sourcePort: 65_536 },
    { destinationPort: -1 },
    { hopLimit: 256 },
    { destinationMac: 2 ** 48 },
    { destination: -1 },
  ]) {
    const [[name, value]] = Object.entries(fields) as [[string, number]]
    const error = t.throws(build(fields), { instanceOf: RangeError, code: 'ERR_OUT_OF_RANGE' }, name)
    t.true(error.message.includes(`${value}`))
  }
  t.throws(build({}, 65_508), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(build({}, 2048 - 41), { code: 'ERR_XSKNET_FRAME_TOO_LONG' })
  t.throws(build({ source: parseIpv6('::1') }), { code: 'ERR_INVALID_ARG_VALUE' })
  t.throws(build({ ...toPeer6, source: 1 }), { code: 'ERR_INVALID_ARG_VALUE' })
  t.throws(build({}, 0, without('.')), { code: 'ERR_INVALID_ARG_VALUE', message: /IPv4 address.*2001:db8::10/ })
  t.throws(build(toPeer6, 0, without(':')), { code: 'ERR_INVALID_ARG_VALUE', message: /IPv6 address.*192\.0\.2\.10/ })
  t.notThrows(build({}, 2048 - 42))
})

test('a station asks for a MAC by ARP, and another answers it', (t) => {
  for (const station of [p.STATION, p.TAGGED]) {
    const packet = empty()
    arp.request(packet, station, parseIpv4('192.0.2.20'))
    t.is(packet.length, station === p.TAGGED ? 46 : 42)
    const link = { from: p.OWN_MAC, tags: station === p.TAGGED ? p.VLAN_42 : [] }
    t.deepEqual(packet.bytes, p.arpFrame({ senderMac: p.OWN_MAC, sender: p.OWN4, target: p.PEER4 }, link))

    const peer = { info: { mac: '02:00:00:00:00:14', addresses: ['192.0.2.20/24'], vlan: station.info.vlan } }
    t.true(arp.answer(packet, peer))
    t.like(arp(packet), {
      operation: 2,
      sender: parseIpv4('192.0.2.20'),
      senderMac: peerMac,
      target: parseIpv4('192.0.2.10'),
    })
    t.false(arp.answer(packet, station))
  }
})

test('a station asks for a MAC by a solicitation, and another answers it', (t) => {
  for (const station of [p.STATION, p.TAGGED]) {
    const packet = empty()
    ndp.solicit(packet, station, parseIpv6('2001:db8::1:20'))
    t.is(packet.length, station === p.TAGGED ? 90 : 86)
    t.like(ethernet(packet), { destination: parseMac('33:33:ff:01:00:20'), vlan: station.info.vlan })
    t.is(ipv6(packet)?.destinationAddress, 'ff02::1:ff01:20')
    t.like(ndp(packet), { type: 135, sourceAddress: '2001:db8::10', linkAddress: parseMac('02:00:00:00:00:0a') })

    const peer = { info: { mac: '02:00:00:00:00:14', addresses: ['2001:db8::1:20/64'], vlan: station.info.vlan } }
    t.true(ndp.answer(packet, peer))
    t.like(ndp(packet), { type: 136, solicited: true, targetAddress: '2001:db8::1:20', linkAddress: peerMac })
    t.false(ndp.answer(packet, station))
  }
})

test('a host without an address of the family cannot ask, and multicast addresses are not asked for', (t) => {
  t.throws(() => arp.request(empty(), without('.'), 1), { code: 'ERR_INVALID_ARG_VALUE' })
  t.throws(() => arp.request(empty(), p.STATION, 2 ** 32), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => ndp.solicit(empty(), without(':'), parseIpv6('::1')), { code: 'ERR_INVALID_ARG_VALUE' })
  t.throws(() => ndp.solicit(empty(), p.STATION, parseIpv6('ff02::1')), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /ff02::1/,
  })
})

test('what does not fit is refused before anything is written beyond the packet', (t) => {
  const builders: [number, (packet: p.Held) => void][] = [
    [42, (packet) => arp.request(packet, p.STATION, 1)],
    [86, (packet) => ndp.solicit(packet, p.STATION, parseIpv6('fe80::1'))],
    [50, (packet) => udp.build(packet, p.STATION, toPeer4, 8)],
    [70, (packet) => udp.build(packet, p.STATION, toPeer6, new Uint8Array(8))],
  ]
  for (const [needed, build] of builders) {
    for (let capacity = 0; capacity < needed; capacity++) {
      const packet = empty({ capacity })
      t.throws(() => build(packet), { code: 'ERR_XSKNET_FRAME_TOO_LONG' }, `${capacity} of ${needed}`)
      t.true(packet.marginsAreWhole)
    }
    t.notThrows(() => build(empty({ capacity: needed })))
  }
})

test('headers are written one behind the other, for protocols of your own', (t) => {
  const over4 = empty()
  const ip4 = ethernet.write(over4, { destination: peerMac, source: 2, vlan: 42, etherType: 0x0800 })
  t.is(ip4, 18)
  const body4 = ipv4.write(
    over4,
    ip4,
    { source: parseIpv4('192.0.2.10'), destination: parseIpv4('192.0.2.20'), protocol: 253 },
    10,
  )
  t.like(ipv4(over4), {
    protocol: 253,
    ttl: 64,
    headerLength: 20,
    payloadOffset: body4,
    payloadLength: 10,
    checksumOk: true,
  })

  const over6 = empty()
  const ip6 = ethernet.write(over6, { destination: peerMac, source: 2, etherType: 0x86dd })
  t.is(ip6, 14)
  const fields = { source: parseIpv6('2001:db8::10'), destination: parseIpv6('2001:db8::20'), protocol: 253 }
  const body6 = ipv6.write(over6, ip6, fields, 10)
  t.like(ipv6(over6), {
    protocol: 253,
    hopLimit: 64,
    payloadOffset: body6,
    payloadLength: 10,
    trafficClass: 0,
    flowLabel: 0,
  })
  t.is(icmp(over6), undefined)
})

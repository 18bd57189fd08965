import test from 'ava'
import { formatIpv4, formatIpv6, formatMac, parseIpv4, parseIpv6, parseMac } from 'xsknet/headers'
import { generator, pick } from './packets.js'

test('addresses survive a round trip through text', (t) => {
  const random = generator(1)
  for (let i = 0; i < 2000; i++) {
    const mac = random() * 0x1_0000 + (random() & 0xffff)
    t.is(parseMac(formatMac(mac)), mac)
    const address = random()
    t.is(parseIpv4(formatIpv4(address)), address)
    // Many zeros, because these are what is written shorter.
    const words = Uint32Array.from(
      { length: 4 },
      () => random() & pick([0, 0xffff, 0xffff_0000, 0xff, 0xffff_ffff], random()),
    )
    t.deepEqual(parseIpv6(formatIpv6(words)), words)
  }
})

test('a MAC is a number of 48 bits', (t) => {
  t.is(parseMac('02:00:00:00:00:0A'), 0x0200_0000_000a)
  t.is(formatMac(0x0200_0000_000a), '02:00:00:00:00:0a')
  t.is(parseMac('ff:ff:ff:ff:ff:ff'), 0xffff_ffff_ffff)
})

test('an IPv4 address is a uint32', (t) => {
  t.is(parseIpv4('192.0.2.10'), 0xc000_020a)
  t.is(formatIpv4(0xffff_ffff), '255.255.255.255')
})

/** RFC 5952, sections 4 and 5. */
const canonical: [string, string][] = [
  ['2001:0DB8:0:0:0:0:0:0010', '2001:db8::10'],
  ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['0:0:0:0:0:0:0:0', '::'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['1:0:0:0:0:0:0:0', '1::'],
  ['10:0:0:0:0:0:0:20', '10::20'],
  ['1:10:0:0:10:0:0:0', '1:10:0:0:10::'],
  ['::ffff:192.0.2.10', '::ffff:192.0.2.10'],
  ['64:ff9b::192.0.2.10', '64:ff9b::c000:20a'],
]
for (const [written, expected] of canonical) {
  test(`${written} is written as ${expected}`, (t) => t.is(formatIpv6(parseIpv6(written)), expected))
}

const unfit: [(text: string) => unknown, string[]][] = [
  [
    parseMac,
    ['', '02:00:00:00:00', '02:00:00:00:00:00:00', '02-00-00-00-00-01', '02:00:00:00:00:0g', ' 02:00:00:00:00:01'],
  ],
  [parseIpv4, ['', '192.0.2', '192.0.2.256', '192.0.2.010', '192.0.2.10/24', '::1']],
  [
    parseIpv6,
    ['', '1', ':::', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', 'fe80::1%eth0', '2001:db8::/64', '192.0.2.10'],
  ],
]
for (const [parse, texts] of unfit) {
  test(`${parse.name} refuses what is none`, (t) => {
    for (const text of texts) {
      const error = t.throws(() => parse(text), { instanceOf: TypeError, code: 'ERR_INVALID_ARG_VALUE' }, text)
      t.true(error.message.includes(`'${text}'`), error.message)
    }
  })
}

import { BlockList } from 'node:net'
import test from 'ava'
import { XsknetError } from 'xsknet'
import { AddressRange, parseAddress, parseHostAddress } from '../../../packages/xsknetd/src/policy/address.js'

const good: [text: string, ip: string, prefix: number][] = [
  ['192.0.2.10', '192.0.2.10', 32],
  ['192.0.2.10/24', '192.0.2.10', 24],
  ['192.0.2.10/0', '192.0.2.10', 0],
  ['2001:DB8:0:0:0:0:0:10/64', '2001:db8::10', 64],
  ['2001:db8::10', '2001:db8::10', 128],
  ['fe80::1', 'fe80::1', 64],
  ['fe80::1/10', 'fe80::1', 10],
  ['feb0::1', 'feb0::1', 128],
  ['::', '::', 128],
  ['64:ff9b::192.0.2.1', '64:ff9b::c000:201', 128],
]
for (const [text, ip, prefix] of good) {
  test(`${text} is ${ip} of a network of ${prefix} bits`, (t) => t.deepEqual(parseAddress(text), { ip, prefix }))
}

const bad: [text: string, why: RegExp][] = [
  ['', /it is not an IP address/],
  ['card0', /it is not an IP address/],
  ['192.0.2', /it is not an IP address/],
  ['192.0.2.010', /it is not an IP address/],
  ['192.0.2.10/', /it is not an IP address/],
  ['192.0.2.10/-1', /it is not an IP address/],
  ['192.0.2.10/24/8', /it is not an IP address/],
  ['192.0.2.10/33', /its prefix length is greater than 32/],
  ['2001:db8::1/129', /its prefix length is greater than 128/],
  ['fe80::1%eth0', /it is not an IP address/],
  ['::ffff:192.0.2.10', /IPv4-mapped IPv6 address/],
  ['::ffff:c000:20a/128', /IPv4-mapped IPv6 address/],
  [' 192.0.2.10', /it is not an IP address/],
  [`1${'0'.repeat(5000)}`, /it is not an IP address/],
]
for (const [text, why] of bad) {
  test(`${text.slice(0, 40) || 'nothing'} is refused`, (t) => {
    const error = t.throws(() => parseAddress(text), { instanceOf: XsknetError, message: why })
    t.is(error?.code, 'ERR_XSKNET_ADDRESS_INVALID')
    t.true((error?.message.length ?? 0) < 200)
    t.truthy(error?.hint)
  })
}

for (const [text, why, hint] of [
  [
    '192.0.2.0/24',
    /the network address of 192\.0\.2\.0\/24/,
    'Host addresses in 192.0.2.0/24 are 192.0.2.1 to 192.0.2.254.',
  ],
  [
    '192.0.2.255/24',
    /the broadcast address of 192\.0\.2\.0\/24/,
    'Host addresses in 192.0.2.0/24 are 192.0.2.1 to 192.0.2.254.',
  ],
  [
    '192.0.2.7/30',
    /the broadcast address of 192\.0\.2\.4\/30/,
    'Host addresses in 192.0.2.4/30 are 192.0.2.5 to 192.0.2.6.',
  ],
  ['2001:db8::/64', /the subnet-router anycast address of 2001:db8::\/64/, 'The first host address is 2001:db8::1.'],
] as const) {
  test(`no host has ${text}`, (t) => {
    const error = t.throws(() => parseHostAddress(text), { instanceOf: XsknetError, message: why })
    t.deepEqual([error?.code, error?.hint], ['ERR_XSKNET_ADDRESS_INVALID', hint])
  })
}

test('networks of one or two addresses have no others, and without a prefix nothing is known of the network', (t) => {
  for (const text of [
    '192.0.2.6/31',
    '192.0.2.7/31',
    '192.0.2.0/32',
    '192.0.2.255/32',
    '192.0.2.255',
    '2001:db8::/127',
    '2001:db8::/128',
  ]) {
    t.deepEqual(parseHostAddress(text), parseAddress(text))
  }
  t.deepEqual(parseHostAddress('192.0.2.10/24'), { ip: '192.0.2.10', prefix: 24 })
  t.deepEqual(parseHostAddress('2001:db8::ffff:ffff:ffff:ffff/64'), { ip: '2001:db8::ffff:ffff:ffff:ffff', prefix: 64 })
})

test('a mapped address is told its real name', (t) => {
  t.is(t.throws(() => parseAddress('::ffff:192.0.2.10'), { instanceOf: XsknetError })?.hint, 'Use 192.0.2.10.')
})

test('a range with bits behind its prefix is refused, and the right one named', (t) => {
  const hint = (text: string) => t.throws(() => new AddressRange(text), { instanceOf: XsknetError })?.hint
  t.is(hint('192.0.2.9/29'), 'Did you mean 192.0.2.8/29?')
  t.is(hint('2001:db8::1/64'), 'Did you mean 2001:db8::/64?')
})

test('a single address is a range, a link-local one too', (t) => {
  t.is(`${new AddressRange('192.0.2.8')}`, '192.0.2.8')
  t.true(new AddressRange('fe80::1').has(parseAddress('fe80::1')))
  t.false(new AddressRange('fe80::1').has(parseAddress('fe80::2')))
})

test('a range of one address family contains no address of the other', (t) => {
  t.false(new AddressRange('0.0.0.0/0').has(parseAddress('::1')))
  t.false(new AddressRange('::/0').has(parseAddress('0.0.0.1')))
})

test('ranges agree with those of node:net', (t) => {
  let seed = 20_261_122
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return Math.floor((seed / 2 ** 31) * below)
  }
  const bytes = (count: number) => Array.from({ length: count }, () => (random(3) === 0 ? 0 : random(256)))
  const write = (b: number[]) =>
    b.length === 4
      ? b.join('.')
      : Array.from({ length: 8 }, (_, at) => ((b[2 * at] ?? 0) * 256 + (b[2 * at + 1] ?? 0)).toString(16)).join(':')
  const inside = { yes: 0, no: 0 }
  for (let round = 0; round < 5000; round++) {
    const count = random(2) === 0 ? 4 : 16
    const family = count === 4 ? 'ipv4' : 'ipv6'
    const prefix = random(count * 8 + 1)
    const network = bytes(count).map((byte, at) => byte & (0xff00 >> Math.max(0, Math.min(8, prefix - at * 8))) & 0xff)
    // 0 to 96 bits of ::ffff are nobody's.
    if (family === 'ipv6' && network.slice(0, 10).every((byte) => byte === 0)) continue
    const near = network.map((byte, at) => (at * 8 >= prefix - random(9) ? random(256) : byte))
    if (family === 'ipv6' && near.slice(0, 10).every((byte) => byte === 0)) continue
    const list = new BlockList()
    list.addSubnet(write(network), prefix, family)
    const ours = new AddressRange(`${write(network)}/${prefix}`).has(parseAddress(write(near)))
    t.is(ours, list.check(write(near), family), `${write(network)}/${prefix} and ${write(near)}`)
    inside[ours ? 'yes' : 'no'] += 1
  }
  t.true(inside.yes > 500 && inside.no > 500, JSON.stringify(inside))
})

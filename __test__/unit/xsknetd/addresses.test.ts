import { BlockList } from 'node:net'
import test from 'ava'
import { XsknetError } from 'xsknet'
import { Range, readAddress, readHostAddress } from '../../../packages/xsknetd/src/addresses.js'

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
  test(`${text} is ${ip} of a network of ${prefix} bits`, (t) => t.deepEqual(readAddress(text), { ip, prefix }))
}

const bad: [text: string, why: RegExp][] = [
  ['', /no address/],
  ['card0', /no address/],
  ['192.0.2', /no address/],
  ['192.0.2.010', /no address/],
  ['192.0.2.10/', /no address/],
  ['192.0.2.10/-1', /no address/],
  ['192.0.2.10/24/8', /no address/],
  ['192.0.2.10/33', /longer than its 32/],
  ['2001:db8::1/129', /longer than its 128/],
  ['fe80::1%eth0', /no address/],
  ['::ffff:192.0.2.10', /IPv4-mapped IPv6 address/],
  ['::ffff:c000:20a/128', /IPv4-mapped IPv6 address/],
  [' 192.0.2.10', /no address/],
  [`1${'0'.repeat(5000)}`, /no address/],
]
for (const [text, why] of bad) {
  test(`${text.slice(0, 40) || 'nothing'} is refused`, (t) => {
    const error = t.throws(() => readAddress(text), { instanceOf: XsknetError, message: why })
    t.is(error?.code, 'ERR_XSKNET_ADDRESS_INVALID')
    t.true((error?.message.length ?? 0) < 200)
    t.truthy(error?.hint)
  })
}

for (const [text, why, hint] of [
  ['192.0.2.0/24', /the address of the network itself/, 'Hosts of 192.0.2.0/24 have 192.0.2.1 to 192.0.2.254.'],
  ['192.0.2.255/24', /the broadcast address of 192\.0\.2\.0\/24/, 'Hosts of 192.0.2.0/24 have 192.0.2.1 to 192.0.2.254.'],
  ['192.0.2.7/30', /the broadcast address of 192\.0\.2\.4\/30/, 'Hosts of 192.0.2.4/30 have 192.0.2.5 to 192.0.2.6.'],
  ['2001:db8::/64', /all routers of 2001:db8::\/64 have it/, 'The first one of a host is 2001:db8::1.'],
] as const) {
  test(`no host has ${text}`, (t) => {
    const error = t.throws(() => readHostAddress(text), { instanceOf: XsknetError, message: why })
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
    t.deepEqual(readHostAddress(text), readAddress(text))
  }
  t.deepEqual(readHostAddress('192.0.2.10/24'), { ip: '192.0.2.10', prefix: 24 })
  t.deepEqual(readHostAddress('2001:db8::ffff:ffff:ffff:ffff/64'), { ip: '2001:db8::ffff:ffff:ffff:ffff', prefix: 64 })
})

test('a mapped address is told its real name', (t) => {
  t.is(t.throws(() => readAddress('::ffff:192.0.2.10'), { instanceOf: XsknetError })?.hint, 'Write 192.0.2.10.')
})

test('a range with bits behind its prefix is refused, and the right one named', (t) => {
  const hint = (text: string) => t.throws(() => new Range(text), { instanceOf: XsknetError })?.hint
  t.is(hint('192.0.2.9/29'), 'The range that it lies in is 192.0.2.8/29.')
  t.is(hint('2001:db8::1/64'), 'The range that it lies in is 2001:db8::/64.')
})

test('a single address is a range, a link-local one too', (t) => {
  t.is(`${new Range('192.0.2.8')}`, '192.0.2.8')
  t.true(new Range('fe80::1').has(readAddress('fe80::1')))
  t.false(new Range('fe80::1').has(readAddress('fe80::2')))
})

test('a range of one family has no address of the other', (t) => {
  t.false(new Range('0.0.0.0/0').has(readAddress('::1')))
  t.false(new Range('::/0').has(readAddress('0.0.0.1')))
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
    const ours = new Range(`${write(network)}/${prefix}`).has(readAddress(write(near)))
    t.is(ours, list.check(write(near), family), `${write(network)}/${prefix} and ${write(near)}`)
    inside[ours ? 'yes' : 'no'] += 1
  }
  t.true(inside.yes > 500 && inside.no > 500, JSON.stringify(inside))
})

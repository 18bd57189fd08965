import { spawnSync } from 'node:child_process'
import test from 'ava'
import { arp, icmp, ndp, parseIpv4, parseIpv6, parseMac, type Station, udp } from 'xsknet/headers'
import * as p from './packets.js'

/** What tcpdump says of each packet, and the judge of its checksums. */
function judged(packets: p.Held[]): string[] {
  const header = Buffer.from(new Uint32Array([0xa1b2c3d4, 0x0004_0002, 0, 0, 65_535, 1]).buffer)
  const records = packets.map(({ bytes }, i) =>
    Buffer.concat([Buffer.from(new Uint32Array([i, 0, bytes.length, bytes.length]).buffer), bytes]),
  )
  const args = ['-e', '-n', '-vv', '-tt', '-r', '-']
  const { error, status, stdout, stderr } = spawnSync('tcpdump', args, {
    input: Buffer.concat([header, ...records]),
    encoding: 'utf8',
  })
  if (error) throw error
  if (status !== 0) throw new Error(`tcpdump ended with ${status}: ${stderr}`)
  // A packet begins with its time, which is its number; what tells more of it is indented.
  return stdout.split(/^(?=\d)/m).map((text) => text.replaceAll(/\s+/g, ' '))
}

const WRONG = /bad|wrong|incorrect|invalid|malformed|truncated|\[\|/i

const destinationMac = parseMac('02:00:00:00:00:14')
const to4 = { sourcePort: 4000, destinationMac, destination: parseIpv4('192.0.2.20'), destinationPort: 5000 }
const to6 = { ...to4, destination: parseIpv6('2001:db8::20') }

/** What makes the packet, and the words that tcpdump has for it. */
const made: [
  string,
  (packet: p.Held, station: Station) => unknown,
  (station: Station) => Buffer | undefined,
  string[],
][] = []

function answered(
  name: string,
  answer: (packet: p.Held, station: Station) => boolean,
  bytes: (link: object) => Buffer,
  ...words: string[]
) {
  made.push([name, answer, ({ info }) => bytes({ tags: info.vlan === null ? [] : p.VLAN_42_AND_7 }), words])
}
function turned(name: string, length: number, bytes: (link: object) => Buffer, ...words: string[]) {
  const turn = (packet: p.Held) => {
    packet.memory.set(p.payloadOf(length), packet.offset + p.some(udp(packet)).payloadOffset)
    udp.reply(packet, length)
  }
  made.push([name, turn, ({ info }) => bytes({ tags: info.vlan === null ? [] : p.VLAN_42_AND_7 }), words])
}
function built(name: string, build: (packet: p.Held, station: Station) => void, ...words: string[]) {
  made.push([name, build, () => undefined, words])
}

const reply4 = '192.0.2.10 > 192.0.2.20: ICMP echo reply, id 4369, seq 7, length 39'
const reply6 = '2001:db8::10 > 2001:db8::20: [icmp6 sum ok] ICMP6, echo reply, id 4369, seq 7'
const isAt = 'Reply 192.0.2.10 is-at 02:00:00:00:00:0a, length 28'
const advertised = 'neighbor advertisement, length 32, tgt is 2001:db8::10, Flags'
const link = 'destination link-address option (2), length 8 (1): 02:00:00:00:00:0a'

answered('arp.answer', arp.answer, (on) => p.arpFrame({}, on), isAt)
answered('arp.answer to a probe', arp.answer, (on) => p.arpFrame({ sender: p.ip4Address('0.0.0.0') }, on), isAt)
answered('icmp.echo', icmp.echo, (on) => p.echoRequest4({ padding: 3 }, on), reply4, 'ttl 64')
answered(
  'icmp.echo with options',
  icmp.echo,
  (on) => p.echoRequest4({ options: p.hex('94040000') }, on),
  reply4,
  'ttl 64',
)
answered('icmp.echo over IPv6', icmp.echo, (on) => p.echoRequest6({ padding: 3 }, on), reply6, 'hlim 64')
answered(
  'icmp.echo with extensions',
  icmp.echo,
  (on) => p.echoRequest6({ extensions: [p.HOP_BY_HOP, p.DESTINATION_OPTIONS] }, on),
  reply6,
)
answered(
  'ndp.answer',
  ndp.answer,
  (on) => p.solicitation({}, on),
  '2001:db8::10 > 2001:db8::20: [icmp6 sum ok]',
  `${advertised} [solicited, override]`,
  link,
)
answered(
  'ndp.answer to a probe',
  ndp.answer,
  (on) => p.solicitation({ source: p.UNSPECIFIED, options: Buffer.alloc(0) }, on),
  '2001:db8::10 > ff02::1: [icmp6 sum ok]',
  `${advertised} [override]`,
  link,
)
for (const length of [0, 1, 31, 600]) {
  const ports = `[udp sum ok] UDP, length ${length}`
  turned(
    `udp.reply with ${length} bytes`,
    length,
    (on) => p.udp4({ destinationPort: 5000 }, on),
    '192.0.2.10.5000 > 192.0.2.20.40000',
    ports,
  )
  turned(
    `udp.reply with ${length} bytes and options`,
    length,
    (on) => p.udp4({ destinationPort: 5000, options: p.hex('94040000') }, on),
    ports,
  )
  turned(
    `udp.reply with ${length} bytes over IPv6`,
    length,
    (on) => p.udp6({ destinationPort: 5000 }, on),
    '2001:db8::10.5000 > 2001:db8::20.40000',
    ports,
  )
  built(
    `udp.build with ${length} bytes`,
    (packet, on) => udp.build(packet, on, to4, p.payloadOf(length)),
    '192.0.2.10.4000 > 192.0.2.20.5000',
    ports,
    'ttl 64',
  )
  built(
    `udp.build with ${length} bytes over IPv6`,
    (packet, on) => udp.build(packet, on, to6, p.payloadOf(length)),
    '2001:db8::10.4000 > 2001:db8::20.5000',
    ports,
  )
}
built(
  'arp.request',
  (packet, on) => arp.request(packet, on, parseIpv4('192.0.2.20')),
  'Request who-has 192.0.2.20 tell 192.0.2.10, length 28',
)
built(
  'ndp.solicit',
  (packet, on) => ndp.solicit(packet, on, parseIpv6('2001:db8::20')),
  '2001:db8::10 > ff02::1:ff00:20: [icmp6 sum ok]',
  'who has 2001:db8::20',
  'source link-address option (1), length 8 (1): 02:00:00:00:00:0a',
)

for (const station of [p.STATION, p.TAGGED]) {
  test(`tcpdump reads every packet that is made in VLAN ${station.info.vlan}, and finds nothing wrong`, (t) => {
    const packets = made.map(([name, make, bytes]) => {
      const packet = p.held(bytes(station) ?? new Uint8Array())
      t.not(make(packet, station), false, name)
      return packet
    })
    const texts = judged(packets)
    t.is(texts.length, made.length)
    for (const [i, [name, , , words]] of made.entries()) {
      const text = texts[i] ?? ''
      for (const word of words) t.true(text.includes(word), `${name}: no "${word}" in ${text}`)
      t.notRegex(text, WRONG, name)
      t.is(text.includes('vlan 42'), station.info.vlan === 42, text)
    }
  })
}

test('tcpdump would find a wrong checksum', (t) => {
  const broken = [
    p.echoRequest4(),
    p.echoRequest6(),
    p.udp4({ destinationPort: 5000 }),
    p.udp6({ destinationPort: 5000 }),
  ].map((bytes) => {
    return p.held(p.changed(bytes, bytes.length - 1, 1))
  })
  broken.push(p.held(p.changed(p.echoRequest4(), 14 + 8, 1)))
  for (const text of judged(broken)) t.regex(text, WRONG)
})

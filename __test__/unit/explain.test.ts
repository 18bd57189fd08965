import { readFileSync } from 'node:fs'
import test from 'ava'
import type { XsknetError } from 'xsknet'
import { Explanation } from '../../packages/xsknet/src/connection/explanation.js'
import type { Result } from '../../packages/xsknet/src/connection/protocol.js'
import { packetsOf } from '../../packages/xsknetd/src/cli/capture.js'
import { packetOf } from '../../packages/xsknetd/src/cli/explain.js'
import { root } from '../helpers/workspace.js'

type Explained = Result<'explainArrival'>['explanation']

const told: Explained = { uplink: 'eth0', counter: 'passed', rule: 'unclaimed', target: null, steps: [] }
const report = (sender: number | null, changed: Partial<Explained>) =>
  String(new Explanation(60, sender, { ...told, ...changed }))
const target = { port: 3, name: 'web', queue: 1, rings: 'xsk' } as const
const others = { port: null, name: null, queue: null, rings: null }

for (const [sender, changed, first] of [
  [null, {}, 'arrives at eth0, 60 bytes: left to the host'],
  [null, { counter: 'passed_fragment' }, 'arrives at eth0, 60 bytes: left to the host'],
  [null, { counter: 'to_port', target }, 'arrives at eth0, 60 bytes: to port 3 `web`, queue 1'],
  [
    null,
    { counter: 'to_ring', target: { ...target, rings: 'bpf' } },
    'arrives at eth0, 60 bytes: to port 3 `web`, queue 1, by its BPF ring',
  ],
  [
    null,
    { counter: 'too_long', target: { ...target, queue: null } },
    'arrives at eth0, 60 bytes: dropped as too_long, on its way to port 3 `web`',
  ],
  [null, { counter: null, rule: null }, 'arrives at eth0, 60 bytes: not to a port of yours'],
  [2, { counter: 'to_uplink' }, 'sent by port 2 on eth0, 60 bytes: leaves by eth0'],
  [2, { counter: 'to_port', target: others }, "sent by port 2 on eth0, 60 bytes: to another user's port"],
  [2, { counter: 'source_ip' }, 'sent by port 2 on eth0, 60 bytes: dropped as source_ip'],
] as [number | null, Partial<Explained>, string][]) {
  test(`${changed.counter ?? (changed.counter === null ? 'no counter' : told.counter)} is told as: ${first}`, (t) => {
    t.is(report(sender, changed).split('\n')[0], first)
  })
}

test('an explanation tells rule, counter and each step', (t) => {
  const steps: Explained['steps'] = [
    { step: 'sender', mac: 'own', vlan: 42 },
    { step: 'tags', vlan: null, etherType: 0x86dd, tags: 'read' },
    { step: 'tags', vlan: '802.1ad', etherType: 0x8100, tags: 'cut' },
    { step: 'tags', vlan: 5, etherType: 0x8100, tags: 'too-many' },
    { step: 'mac', mac: '02:00:00:00:00:01', vlan: 5, port: 'other' },
    { step: 'target', address: '192.0.2.1', port: null },
    { step: 'destination', address: '192.0.2.2', port: 3 },
    { step: 'source', address: '2001:db8::1', own: false },
    { step: 'quoted' },
    { step: 'flow', port: 3, flow: 'udp dst port 53' },
    { step: 'flow', port: null, flow: null },
    { step: 'fragment', port: null },
    { step: 'fragment', port: 3 },
    { step: 'length', length: 60, most: 1514 },
    { step: 'rate', kind: 'unicast', limited: true, known: false, within: false },
    { step: 'rate', kind: 'broadcast', limited: false, known: false, within: true },
    { step: 'rate', kind: 'unicast', limited: true, known: true, within: true },
    { step: 'rate', kind: 'frames', limited: true, known: false, within: true },
    { step: 'rate', kind: 'bits', limited: true, known: null, within: false },
  ]
  t.is(
    report(2, { counter: 'rate', rule: 'rate', steps }),
    `sent by port 2 on eth0, 60 bytes: dropped as rate
  rule     rate: It is more of its kind than the port may send to the uplink.
  counter  rate of the guard
  steps    1. source MAC: the port's own; the port: VLAN 42
           2. untagged, EtherType 0x86dd
           3. an outer tag of 802.1ad; it ends within its VLAN tags
           4. VLAN 5; it has more than two VLAN tags
           5. destination MAC 02:00:00:00:00:01 (VLAN 5): another user's port
           6. address 192.0.2.1 that is asked for or spoken of: of no port
           7. address 192.0.2.2 that it is for, at the uplink's MAC: port 3
           8. source address 2001:db8::1: not the port's
           9. an ICMP error: the flow of the packet that it quotes is looked for
           10. flows: the first that matches is \`udp dst port 53\` of port 3
           11. flows: none matches
           12. a later fragment: the first one is not known
           13. a later fragment: the first one went to port 3
           14. 60 bytes of at most 1514
           15. rate of unicast to an unknown station: exceeded
           16. rate: not limited for broadcast
           17. rate: not limited for a known station
           18. rate of all frames: within
           19. rate of all bits: exceeded`,
  )
  t.regex(report(null, { rule: 'new' }), /\n {2}rule {5}new: a rule of a newer daemon\n/)
})

test('the rules are those of the programs, and docs/verdicts.md has them with the same words', (t) => {
  const read = (path: string) => readFileSync(`${root}${path}`, 'utf8')
  const header = [...read('bpf/include/xsknet/contract.h').matchAll(/^\tXSKNET_RULE_(\w+)/gm)]
  const names = header.map(([, name]) => (name as string).toLowerCase())
  t.true(names.length > 50)
  const [, section = ''] = read('docs/verdicts.md').split('## What `explain` names')
  const rows = [...section.matchAll(/^\| `(\w+)` \| `\w+` \| (.*) \|$/gm)]
  t.deepEqual(
    rows.map(([, name]) => name),
    names,
  )
  for (const [, rule = '', words] of rows) t.true(report(null, { rule }).includes(`rule     ${rule}: ${words}\n`), rule)
})

const PACKET = Buffer.from(Array.from({ length: 61 }, (_, at) => at))

/** Writes 16 and 32 bits in one byte order. */
const inOrder = (little: boolean) => ({
  u16: (...values: number[]) => {
    const bytes = Buffer.alloc(2 * values.length)
    for (const [at, value] of values.entries())
      if (little) bytes.writeUInt16LE(value, 2 * at)
      else bytes.writeUInt16BE(value, 2 * at)
    return bytes
  },
  u32: (...values: number[]) => {
    const bytes = Buffer.alloc(4 * values.length)
    for (const [at, value] of values.entries())
      if (little) bytes.writeUInt32LE(value, 4 * at)
      else bytes.writeUInt32BE(value, 4 * at)
    return bytes
  },
})

function pcap(little: boolean, { magic = 0xa1b2c3d4, link = 1 } = {}): Buffer {
  const { u16, u32 } = inOrder(little)
  const head = Buffer.concat([u32(magic), u16(2, 4), u32(0, 0, 65_535, link)])
  const record = (length: number) => Buffer.concat([u32(1, 2, PACKET.length, length), PACKET])
  return Buffer.concat([head, record(PACKET.length), record(1514)])
}

function pcapng(little: boolean, { link = 1, snap = 0 } = {}): Buffer {
  const { u16, u32 } = inOrder(little)
  const block = (kind: number, body: Buffer) => {
    const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)])
    return Buffer.concat([u32(kind, padded.length + 12), padded, u32(padded.length + 12)])
  }
  return Buffer.concat([
    block(0x0a0d0d0a, Buffer.concat([u32(0x1a2b3c4d), u16(1, 0), u32(0xffff_ffff, 0xffff_ffff)])),
    block(1, Buffer.concat([u16(link, 0), u32(snap)])),
    block(5, u32(0, 0, 0)), // statistics, which are stepped over
    block(6, Buffer.concat([u32(0, 1, 2, PACKET.length, PACKET.length), PACKET])),
    block(3, Buffer.concat([u32(snap === 0 ? PACKET.length : 1514), PACKET.subarray(0, snap || PACKET.length)])),
    block(2, Buffer.concat([u16(0, 0), u32(1, 2, PACKET.length, 1514), PACKET])),
  ])
}

const lengths = (file: Buffer) =>
  [...packetsOf(file, 'x')].map(({ number, bytes, length }) => [number, bytes.length, length])

for (const little of [true, false]) {
  const order = little ? 'little' : 'big'
  test(`packets are read out of a pcap file in ${order} endian order, and out of a pcapng file`, (t) => {
    for (const magic of [0xa1b2c3d4, 0xa1b23c4d]) {
      t.deepEqual(lengths(pcap(little, { magic })), [
        [1, 61, 61],
        [2, 61, 1514],
      ])
    }
    t.deepEqual(lengths(pcapng(little)), [
      [1, 61, 61],
      [2, 61, 61],
      [3, 61, 1514],
    ])
    t.deepEqual(lengths(pcapng(little, { snap: 40 })), [
      [1, 61, 61],
      [2, 40, 1514],
      [3, 61, 1514],
    ])
    t.deepEqual(Buffer.from([...packetsOf(pcapng(little), 'x')][0]?.bytes ?? []), PACKET)
    t.deepEqual(lengths(Buffer.concat([pcapng(little), pcapng(!little)])).length, 6, 'sections of both orders')
  })

  test(`a file in ${order} endian order that ends anywhere gives its packets before that, and an error`, (t) => {
    for (const file of [pcap(little), pcapng(little)]) {
      const all = lengths(file).length
      let refused = 0
      for (let end = 0; end < file.length; end++) {
        let read = 0
        try {
          for (const { bytes } of packetsOf(file.subarray(0, end), 'x')) {
            t.deepEqual(Buffer.from(bytes), PACKET)
            read += 1
          }
        } catch (error) {
          t.is((error as XsknetError).code, 'ERR_XSKNET_CONFIGURATION_INVALID')
          refused += 1
        }
        t.true(read < all || end === file.length, `${end} of ${file.length} bytes`)
      }
      t.true(refused > file.length - 10, 'only between packets can a file end')
    }
  })
}

const CAPTURES: [title: string, file: Buffer, message: RegExp][] = [
  ['nothing', Buffer.alloc(0), /ends too early/],
  ['text', Buffer.from('this is not a capture of packets'), /neither pcap nor pcapng \(at byte 0\)/],
  ['another link', pcap(true, { link: 113 }), /not Ethernet \(link type 113\) \(at byte 20\)/],
  ['another link in pcapng', pcapng(true, { link: 113 }), /interface 0 is not Ethernet/],
  ['an endless packet', Buffer.concat([pcap(true).subarray(0, 24), Buffer.alloc(16, 0xff)]), /ends too early/],
  ['no interface', Buffer.concat([pcapng(true).subarray(0, 28), pcapng(true).subarray(72)]), /has no interface 0/],
  ['a block of no length', Buffer.concat([pcapng(true).subarray(0, 28), Buffer.alloc(12)]), /block of 0 bytes/],
]
for (const [title, file, message] of CAPTURES) {
  test(`a capture with ${title} is refused`, (t) => {
    const error = t.throws(() => [...packetsOf(file, 'x.pcap')], { code: 'ERR_XSKNET_CONFIGURATION_INVALID', message })
    t.regex(error?.message ?? '', /^x\.pcap: /)
  })
}

test('a word of hexadecimal digits is a packet, any other one a file', (t) => {
  const packet = Buffer.alloc(14, 0xab)
  for (const word of [
    'ab'.repeat(14),
    `0x${'AB'.repeat(14)}`,
    Array(14).fill('ab').join(':'),
    Array(7).fill('abab').join(' '),
  ])
    t.deepEqual(packetOf(word), packet)
  for (const word of ['packets.pcap', '']) t.is(packetOf(word), undefined)
  for (const word of ['ab', 'a'.repeat(29), 'ab'.repeat(32_001)])
    t.throws(() => packetOf(word), { code: 'ERR_XSKNET_CONFIGURATION_INVALID', message: /digits are not a packet/ })
})

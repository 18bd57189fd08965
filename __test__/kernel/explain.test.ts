// What is explained of a packet is what becomes of it: on a daemon's own programs and ports, in both directions.
import { writeFileSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { Counters, Explanation, PortInfo, PortOptions, PortStats, Refusal } from 'xsknet'
import type { Client } from '../helpers/client.js'
import { GRANT } from '../helpers/daemon.js'
import { CARD, HOST, portAddresses, portPrefixes, REMOTE } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import * as p from '../unit/headers/packets.js'

const OTHER = 1001
/** So many frames of each kind: what else is on the wire meanwhile is less. */
const FRAMES = 40
const FLOW = `udp dst port 5353 and dst host ${HOST.v4}`
const CONFIG = `${GRANT}flows = ["${FLOW}"]

[[grant]]
user = ${OTHER}
uplinks = ["${CARD}"]
addresses = ["192.0.2.8/29", "2001:db8::10/124"]
memory = "64MiB"
bpfRings = true
`

/** As the order `explain` of the clients returns it. */
type Explained = Explanation & { text: string }

/** As the order `refusals` of the clients returns them. */
type Refused = Omit<Refusal, 'bytes'> & { hex: string }

/** Title, packet, counter, rule, and for what arrives which port it is for, if for any. */
type Case = [title: string, packet: Buffer, counter: string, rule: string, port?: number]

const v4 = (text: string) => p.ip4Address(text)
const v6 = (text: string) => p.hex(text.replace(/^2001:db8::(.*)$/, (_, end) => `20010db8${end.padStart(24, '0')}`))
const countOf = ({ passed, toPort, toUplink, dropped }: Counters, counter: string): number => {
  const onward: Record<string, number> = { passed, to_port: toPort, to_ring: toPort, to_uplink: toUplink }
  return onward[counter] ?? dropped[counter] ?? 0
}

class Machine {
  readonly scene: Scene
  readonly alice: Client
  readonly bob: Client
  readonly own: PortInfo
  readonly others: PortInfo
  readonly host: Buffer
  readonly far: Buffer

  private constructor(scene: Scene, [alice, bob]: [Client, Client], [own, others]: [PortInfo, PortInfo]) {
    this.scene = scene
    this.alice = alice
    this.bob = bob
    this.own = own
    this.others = others
    this.host = p.mac(scene.lab.cardMac)
    this.far = p.mac(scene.lab.farMac)
  }

  /** Alice has an address and a flow of the host's; Bob, another user, an address, with BPF rings where they can be. */
  static async start(t: ExecutionContext, mode: 'native' | 'skb'): Promise<Machine> {
    const scene = await Scene.open(t, { mode, config: CONFIG })
    const [alice, bob] = [await scene.client(), await scene.client({ uid: OTHER })]
    const open = async (client: Client, n: number, options: Partial<PortOptions>) => {
      const info = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(n), ...options })
      await client.ask({ do: 'swallow' })
      return info
    }
    const own = await open(alice, 0, { flows: [FLOW] })
    const others = await open(bob, 1, { rings: mode === 'native' ? 'bpf' : 'xsk' })
    return new Machine(scene, [alice, bob], [own, others])
  }

  async arriving(): Promise<Case[]> {
    const { own, others, host, far } = this
    const [alice, bob] = [p.mac(own.mac), p.mac(others.mac)]
    const [four, six] = portAddresses(0)
    const toHost = { source: v4(REMOTE.v4), destination: v4(HOST.v4) }
    const toAlice = { source: v4(REMOTE.v4), destination: v4(four) }
    const ring = others.rings === 'bpf'
    const [from, fromFar] = [
      { to: alice, from: far },
      { to: host, from: far },
    ]
    return [
      ['to a port', p.udp4(toAlice, from), 'to_port', 'port_mac', own.port],
      ['to a port, cut', p.udp4(toAlice, from).subarray(0, 20), 'to_port', 'port_mac', own.port],
      ['to another port', p.udp4({}, { to: bob, from: far }), ring ? 'to_ring' : 'to_port', 'port_mac', others.port],
      [
        'for a port',
        p.arpFrame({ target: v4(four), senderMac: far }, { from: far }),
        'to_port',
        'arp_target',
        own.port,
      ],
      [
        'a solicitation for a port',
        p.solicitation({ source: v6(REMOTE.v6), target: v6(six) }, { from: far }),
        'to_port',
        'nd_target',
        own.port,
      ],
      ['of a flow', p.udp4({ ...toHost, destinationPort: 5353 }, fromFar), 'to_port', 'flow', own.port],
      ['of no flow', p.udp4({ ...toHost, destinationPort: 5354 }, fromFar), 'passed', 'unclaimed'],
      ['in a VLAN', p.udp4(toAlice, { ...from, tags: p.VLAN_42 }), 'passed', 'unclaimed'],
      ['cut in its tags', p.frame(0x8100, p.hex('00'), from), 'passed', 'tags_unreadable'],
    ]
  }

  async sent(): Promise<Case[]> {
    const { own, others, host, far } = this
    const [alice, bob] = [p.mac(own.mac), p.mac(others.mac)]
    const [four, six] = portAddresses(0)
    const [link, asHost] = [
      { to: far, from: alice },
      { to: far, from: host },
    ]
    const fields = { source: v4(four), destination: v4(REMOTE.v4) }
    const fields6 = { source: v6(six), destination: v6(REMOTE.v6) }
    const answer = { source: v4(HOST.v4), destination: v4(REMOTE.v4), sourcePort: 5353, destinationPort: 9 }
    const ring = others.rings === 'bpf'
    const arp = { sender: v4(four), senderMac: alice }
    return [
      ['IPv4', p.udp4(fields, link), 'to_uplink', 'to_uplink'],
      ['IPv6', p.udp6(fields6, link), 'to_uplink', 'to_uplink'],
      ['to another port', p.udp4(fields, { ...link, to: bob }), ring ? 'to_ring' : 'to_port', 'to_mac'],
      [
        'ARP for another port',
        p.arpFrame({ ...arp, target: v4(portAddresses(1)[0]) }, { from: alice }),
        ring ? 'to_ring' : 'to_port',
        'to_target',
      ],
      ['by its flow', p.udp4(answer, asHost), 'to_uplink', 'to_uplink'],
      ['by no flow', p.udp4({ ...answer, sourcePort: 5354 }, asHost), 'source_ip', 'no_flow'],
      ['ARP as the host', p.arpFrame({ ...arp, senderMac: host }, asHost), 'arp', 'host_arp'],
      ['from another MAC', p.udp4(fields, { ...link, from: p.PEER_MAC }), 'source_mac', 'source_mac'],
      ['from another address', p.udp4({ ...fields, source: v4('192.0.2.15') }, link), 'source_ip', 'source_address'],
      ['from no address', p.udp4({ ...fields, source: v4('0.0.0.0') }, link), 'source_ip', 'no_source_address'],
      ['in a VLAN', p.udp4(fields, { ...link, tags: p.VLAN_42 }), 'vlan', 'other_vlan'],
      ['a foreign ARP sender', p.arpFrame({ senderMac: alice }, { from: alice }), 'arp', 'arp_address'],
      ['a foreign ARP MAC', p.arpFrame({ ...arp, senderMac: far }, { from: alice }), 'arp', 'arp_mac'],
      ['cut', p.udp4(fields, link).subarray(0, 30), 'malformed', 'ipv4_header'],
      ['another EtherType', p.frame(0x88b5, p.payloadOf(46), link), 'ethertype', 'ethertype'],
      ['RIP', p.udp4({ ...fields, destinationPort: 520 }, link), 'rogue', 'routers_port'],
      ['OSPF', p.ipv4Frame(89, p.payloadOf(), fields, link), 'rogue', 'routers_protocol'],
      ['a routing header', p.udp6({ ...fields6, extensions: [p.ROUTING_DONE] }, link), 'rogue', 'routing_header'],
      ['a router advertisement', p.icmpv6Frame(134, Buffer.alloc(12), fields6, link), 'rogue', 'routers_message'],
      ['a foreign advertisement', p.icmpv6Frame(136, Buffer.alloc(20), fields6, link), 'nd', 'nd_address'],
    ]
  }

  guard(): Promise<Counters> {
    return this.alice.ask<PortStats>({ do: 'stats' }).then(({ daemon }) => {
      if (!daemon) throw new Error('the port has no statistics')
      return daemon.guard
    })
  }

  async uplink(): Promise<Counters> {
    return (await this.scene.uplink()).program
  }

  /** By root, from the command line. */
  async byRoot(packet: Uint8Array, ...from: string[]): Promise<Explanation> {
    return this.scene.daemon.ask('explain', Buffer.from(packet).toString('hex'), ...from)
  }
}

async function moves(read: () => Promise<Counters>, counter: string, send: () => Promise<void>): Promise<void> {
  const before = countOf(await read(), counter)
  await send()
  await waitUntil(`${FRAMES} more of ${counter}`, async () => countOf(await read(), counter) >= before + FRAMES)
}

for (const mode of ['native', 'skb'] as const) {
  test.serial(`what is explained of a packet becomes of it, in ${mode} mode`, async (t) => {
    const machine = await Machine.start(t, mode)
    const { scene, alice, own } = machine
    t.is(machine.others.rings, mode === 'native' ? 'bpf' : 'xsk')

    const [arriving, sent] = [await machine.arriving(), await machine.sent()]
    const [guard, uplink] = [await machine.guard(), await machine.uplink()]
    for (const [title, packet, counter, rule, port] of arriving) {
      const explained = await machine.byRoot(packet, '--uplink', CARD)
      t.like(explained, { counter, rule, direction: 'in', length: packet.length }, title)
      t.is(explained.target?.port, port, title)
      const mine = await alice.ask<Explained>({ do: 'explain', uplink: CARD, hex: packet.toString('hex') })
      if (port === own.port) t.like(mine, { verdict: 'port', counter, rule, target: { port, name: own.name } }, title)
      else t.like(mine, { verdict: 'elsewhere', counter: null, rule: null, target: null, steps: [] }, title)
    }
    for (const [title, packet, counter, rule] of sent) {
      const explained = await alice.ask<Explained>({ do: 'explain', hex: packet.toString('hex') })
      t.like(explained, { counter, rule, direction: 'out', sender: own.port }, title)
      t.regex(explained.text, new RegExp(`^sent by port ${own.port} on ${CARD}, ${packet.length} bytes: `), title)
      t.deepEqual((await machine.byRoot(packet, '--port', `${own.port}`)).counter, counter, title)
    }
    t.deepEqual(await machine.guard(), guard, 'no guard has counted anything')
    const { toPort, dropped } = await machine.uplink()
    t.deepEqual({ toPort, dropped }, { toPort: uplink.toPort, dropped: uplink.dropped })

    for (const [title, packet, counter] of arriving) {
      t.log(title)
      await moves(machine.uplink.bind(machine), counter, () => scene.lab.sendFrames(Array(FRAMES).fill(packet)))
    }
    t.deepEqual(await alice.ask({ do: 'refusals' }), [], 'the guard begins to take samples')
    for (const [title, packet, counter] of sent) {
      t.log(title)
      const began = Date.now()
      await moves(machine.guard.bind(machine), counter, async () => {
        for (let n = 0; n < FRAMES; n++) await alice.ask({ do: 'sendRaw', hex: packet.toString('hex') })
      })
      let refusals = await alice.ask<Refused[]>({ do: 'refusals' })
      if (/^to_/.test(counter)) t.deepEqual(refusals, [], title)
      else {
        // The frames before it may have used up the samples of this second.
        await waitUntil(`a sample of ${title}`, async () => {
          if (refusals.length > 0) return true
          await alice.ask({ do: 'sendRaw', hex: packet.toString('hex') })
          refusals = await alice.ask<Refused[]>({ do: 'refusals' })
          return refusals.length > 0
        })
      }
      for (const { time, reason, length, hex } of refusals) {
        t.deepEqual([reason, length, hex], [counter, packet.length, packet.toString('hex')], title)
        t.true(time > began - 1000 && time < Date.now() + 1000, title)
      }
    }
    await scene.end(t)
  })
}

test.serial('a user learns of its own ports, and of others that a packet is not for one of its own', async (t) => {
  const { scene, alice, bob, own, others } = await Machine.start(t, 'native')
  const packet = p.udp4({}, { to: p.mac(own.mac), from: p.mac(scene.lab.farMac) }).toString('hex')
  t.like(await alice.ask({ do: 'explain', uplink: CARD, hex: packet }), { verdict: 'port', rule: 'port_mac' })
  const elsewhere = await bob.ask<Explained>({ do: 'explain', uplink: CARD, hex: packet })
  t.is(elsewhere.text, `arrives at ${CARD}, ${packet.length / 2} bytes: not to a port of yours`)
  const nobodys = p.udp4({}, { to: p.PEER_MAC }).toString('hex')
  const { text: _, ...told } = await bob.ask<Explained>({ do: 'explain', uplink: CARD, hex: nobodys })
  const { text: __, ...same } = elsewhere
  t.deepEqual(told, same, 'a packet for the host looks like one for another user')

  const toBob = p.udp4(
    { source: v4(portAddresses(0)[0]), destination: v4(portAddresses(1)[0]) },
    { to: p.mac(others.mac), from: p.mac(own.mac) },
  )
  const sent = await alice.ask<Explained>({ do: 'explain', hex: toBob.toString('hex') })
  t.deepEqual(sent.target, { port: null, name: null, queue: null, rings: null })
  t.like(
    sent.steps.find(({ step }) => step === 'mac'),
    { port: 'other' },
  )
  t.regex(sent.text, /: to another user's port\n/)
  for (const foreign of [own.port, 99]) {
    const refused = await t.throwsAsync(bob.ask({ do: 'explain', port: foreign, hex: packet }))
    t.is((refused as { code?: string }).code, 'ERR_XSKNET_PORT_UNKNOWN')
  }
  const stranger = await scene.client({ uid: 1002 })
  const refused = await t.throwsAsync(stranger.ask({ do: 'explain', uplink: CARD, hex: packet }))
  t.is((refused as { code?: string }).code, 'ERR_XSKNET_NOT_PERMITTED')
  await scene.end(t)
})

test.serial('packets of every length are explained, and those from a ring by what a ring can hold', async (t) => {
  const machine = await Machine.start(t, 'native')
  const { scene, alice, bob, own, others } = machine
  const frame = (from: PortInfo, length: number) =>
    Buffer.concat([p.frame(0x88b5, Buffer.alloc(0), { to: p.PEER_MAC, from: p.mac(from.mac) }), Buffer.alloc(length)])
      .subarray(0, length)
      .toString('hex')
  for (const length of [14, 15, 60, 1514, 1515, 1536, 1537, 9014, 32_000]) {
    const sent = await alice.ask<Explained>({ do: 'explain', hex: frame(own, length) })
    t.like(sent, { counter: 'ethertype', rule: 'ethertype', length })
    const byRing = await bob.ask<Explained>({ do: 'explain', hex: frame(others, length) })
    t.is(byRing.rule, length > 1536 ? 'ring_length' : 'ethertype', `${length} bytes`)
    t.is(byRing.counter, length > 1536 ? 'malformed' : 'ethertype', `${length} bytes`)
  }
  for (const length of [0, 13, 32_001]) {
    const refused = await t.throwsAsync(alice.ask({ do: 'explain', hex: frame(own, length) }))
    t.is((refused as { code?: string }).code, 'ERR_OUT_OF_RANGE')
  }
  await scene.end(t)
})

test.serial('the command line explains digits and captures, and refuses what is neither', async (t) => {
  const machine = await Machine.start(t, 'native')
  const { scene, own } = machine
  const { daemon, lab } = scene
  const packet = p.udp4({}, { to: p.mac(own.mac) })
  const text = await daemon.cli('explain', packet.toString('hex').replace(/..(?=.)/g, '$&:'))
  t.is(text.code, 0, text.stderr)
  t.regex(text.stdout, new RegExp(`^arrives at ${CARD}, ${packet.length} bytes: to port ${own.port} \`.*\`, queue 0\n`))
  t.regex(text.stdout, /\n {2}rule {5}port_mac: It is for a port's MAC in the port's VLAN\.\n/)
  t.regex(text.stdout, /\n {2}counter {2}to_port of the uplink program\n {2}steps {4}1\. untagged, EtherType 0x0800\n/)

  const file = `${lab.folder}/packets.pcap`
  const header = p.hex('d4c3b2a1 0200 0400 00000000 00000000 00000400 01000000')
  const record = (bytes: Buffer, length = bytes.length) => {
    const sizes = Buffer.alloc(8)
    sizes.writeUInt32LE(bytes.length, 0)
    sizes.writeUInt32LE(length, 4)
    return Buffer.concat([Buffer.alloc(8), sizes, bytes])
  }
  writeFileSync(file, Buffer.concat([header, record(packet), record(packet.subarray(0, 9)), record(packet, 1400)]))
  const all = await daemon.ask<{ packet: number; wireLength: number; explanation: Explanation | null }[]>(
    'explain',
    file,
  )
  t.deepEqual(
    all.map(({ packet, wireLength, explanation }) => [packet, wireLength, explanation?.target?.port]),
    [
      [1, packet.length, own.port],
      [2, 9, undefined],
      [3, 1400, own.port],
    ],
  )
  const named = await daemon.cli('explain', file, '--port', own.name)
  t.regex(named.stdout, /^packet 1 sent by port \d+ on .*: dropped as source_mac\n/)
  t.regex(named.stdout, /\npacket 2 is not explained: /)
  t.regex(named.stdout, /\npacket 3 \(cut by the capture: it had 1400 bytes\) sent by port /)

  writeFileSync(file, Buffer.concat([header, record(packet), record(packet).subarray(0, 40)]))
  const truncated = await daemon.cli('explain', file)
  t.is(truncated.code, 2)
  t.regex(truncated.stdout, /^packet 1 arrives at /, 'what is before the damage is explained')
  t.regex(truncated.stderr, /the file ends too early \(at byte \d+\)/)
  for (const [words, message] of [
    [['abc'], /3 hexadecimal digits are not a packet/],
    [['0011223344556677889900aabb'], /26 hexadecimal digits are not a packet/],
    [['no-such-file.pcap'], /cannot read no-such-file\.pcap/],
    [[packet.toString('hex'), '--port', 'nobody'], /no port is named `nobody`/],
    [[packet.toString('hex'), '--port', '99'], /has no port 99/],
    [[packet.toString('hex'), '--uplink', 'eth9'], /eth9/],
    [[], /needs a packet/],
  ] as const) {
    const { code, stderr } = await daemon.cli('explain', ...words)
    t.not(code, 0, words.join(' '))
    t.regex(stderr, message)
  }
  await scene.end(t)
})

import type { PortInfo } from 'xsknet'
import * as p from '../../unit/headers/packets.js'
import { CARD, HOST, portPrefixes, REMOTE } from '../lab.js'
import { waitUntil } from '../program.js'
import type { Random } from '../programs/random.js'
import type { Attack } from './attack.js'
import { ATTACKER, PORTS, VICTIM } from './parties.js'
import { Sender } from './sender.js'

/** What frames are made of. */
interface Parts {
  random: Random
  /** The attacker's own. */
  own: { mac: Buffer; v4: Buffer; v6: Buffer; linkLocal: Buffer }
  gateway: { mac: Buffer; v4: Buffer; v6: Buffer }
  victim: { mac: Buffer; v4: Buffer; v6: Buffer }
  tags: [number, number][]
}

/** A frame that must not get through, and what it is. */
type Frame = readonly [what: string, bytes: Buffer]
type Kind = (parts: Parts) => Frame

const BROADCAST4 = p.ip4Address('255.255.255.255')
const CLIENT6 = p.hex('fe800000000000000000000000000099')
/** Frames of one variant. */
const FRAMES = 24

const bytes = (random: Random, length: number) => Buffer.from(Array.from({ length }, () => random.below(256)))
const group4 = (address: string) =>
  p.mac(
    `01:00:5e:${address
      .split('.')
      .slice(1)
      .map(Number)
      .map((octet, i) => (i === 0 ? octet & 0x7f : octet).toString(16).padStart(2, '0'))
      .join(':')}`,
  )
const group6 = (address: Buffer) => Buffer.concat([p.hex('3333'), address.subarray(12)])

/** What goes between a header and what it carries: nothing, most of the time. */
function options4({ random }: Parts): Buffer {
  return random.pick([
    Buffer.alloc(0),
    Buffer.alloc(0),
    p.hex('01010101'),
    p.hex('94040000'),
    p.hex('4408050000000000'),
  ])
}

function extensions({ random }: Parts): [number, Buffer][] {
  return random.pick([
    [],
    [],
    [p.DESTINATION_OPTIONS],
    [p.HOP_BY_HOP],
    [p.HOP_BY_HOP, p.DESTINATION_OPTIONS],
    [p.ATOMIC_FRAGMENT],
  ])
}

/** To whom: everybody, the gateway, a port. */
const whom = ({ random, gateway, victim }: Parts) => random.pick([p.BROADCAST, gateway.mac, victim.mac])

/** A BOOTP message; `op` 1 asks, 2 answers. */
function bootp(op: number, chaddr: Buffer, type: number, random: Random): Buffer {
  const fixed = Buffer.alloc(236)
  fixed.set([op, 1, 6, 0], 0)
  fixed.writeUInt32BE(random.u32(), 4)
  fixed.set(chaddr, 28)
  return Buffer.concat([fixed, p.hex(`63825363 3501${type.toString(16).padStart(2, '0')} ff`)])
}

const dhcpServer: Kind[] = [
  (parts) => {
    const { random, own, tags, gateway, victim } = parts
    const sourcePort = random.pick([67, 1067, 68, 0, 53, 546, random.below(65_536)])
    const destination = random.pick([BROADCAST4, victim.v4, gateway.v4])
    const payload = bootp(2, random.pick([victim.mac, gateway.mac]), random.pick([2, 5, 6]), random)
    const fields = { source: own.v4, destination, sourcePort, destinationPort: 68, payload, options: options4(parts) }
    const checksum = random.chance(0.2) ? { checksum: 0 } : {}
    const flags = random.chance(0.2) ? { flags: 0x2000 } : {}
    return [
      `DHCP from port ${sourcePort}`,
      p.udp4({ ...fields, ...checksum, ...flags }, { from: own.mac, to: whom(parts), tags }),
    ]
  },
  (parts) => {
    const { random, own, tags, victim } = parts
    const sourcePort = random.pick([547, 1547, 546, 0, random.below(65_536)])
    const payload = Buffer.concat([
      Buffer.from([random.pick([2, 7, 10])]),
      bytes(random, 3),
      p.hex('0001 000a 00030001'),
      victim.mac,
    ])
    const over = {
      source: random.pick([own.linkLocal, own.v6]),
      destination: random.pick([p.ALL_NODES, victim.v6, CLIENT6]),
      extensions: extensions(parts),
    }
    return [
      `DHCPv6 from port ${sourcePort}`,
      p.udp6({ ...over, sourcePort, destinationPort: 546, payload }, { from: own.mac, to: whom(parts), tags }),
    ]
  },
]

const dhcpClient: Kind[] = [
  (parts) => {
    const { random, own, tags, victim, gateway } = parts
    const chaddr = random.pick([victim.mac, gateway.mac, bytes(random, 6)])
    const fields = {
      source: random.pick([own.v4, p.ip4Address('0.0.0.0')]),
      destination: BROADCAST4,
      sourcePort: 68,
      destinationPort: 67,
    }
    return [
      "a DHCP request with somebody else's chaddr",
      p.udp4(
        { ...fields, payload: bootp(1, chaddr, random.pick([1, 3, 7]), random) },
        { from: own.mac, to: p.BROADCAST, tags },
      ),
    ]
  },
]

const routerMessages: Kind[] = [
  (parts) => {
    const { random, own, tags, gateway, victim } = parts
    const type = random.pick([5, 9])
    const body = Buffer.concat([
      Buffer.from([type, random.below(4), 0, 0]),
      type === 5 ? own.v4 : p.hex('01020708'),
      own.v4,
      bytes(random, 28),
    ])
    body.writeUInt16BE(p.checksumOf(body), 2)
    const destination = random.pick([victim.v4, gateway.v4, p.ip4Address('224.0.0.1'), BROADCAST4])
    const flags = random.chance(0.2) ? { flags: 0x2000 } : {}
    const link = { from: own.mac, to: whom(parts), tags }
    return [
      type === 5 ? 'an ICMP redirect' : 'an ICMP router advertisement',
      p.ipv4Frame(1, body, { source: own.v4, destination, ttl: 1, options: options4(parts), ...flags }, link),
    ]
  },
  (parts) => {
    const { random, own, tags, victim } = parts
    const type = random.pick([134, 137])
    const rest =
      type === 134
        ? Buffer.concat([p.hex('40 00 0708 00000000 00000000 0101'), own.mac])
        : Buffer.concat([Buffer.alloc(4), own.linkLocal, victim.v6])
    const fields = {
      source: random.pick([own.linkLocal, own.v6]),
      destination: random.pick([p.ALL_NODES, victim.v6]),
      hopLimit: 255,
      extensions: extensions(parts),
    }
    return [
      type === 134 ? 'a router advertisement' : 'an ICMPv6 redirect',
      p.icmpv6Frame(type, rest, fields, { from: own.mac, to: whom(parts), tags }),
    ]
  },
]

const sourceRouting: Kind[] = [
  (parts) => {
    const { random, own, tags, gateway, victim } = parts
    const type = random.pick([131, 137])
    const hops = 1 + random.below(3)
    const route = Buffer.concat([
      Buffer.from([type, 3 + 4 * hops, 4]),
      ...Array.from({ length: hops }, () => random.pick([gateway.v4, victim.v4])),
    ])
    const before = random.pick([Buffer.alloc(0), p.hex('01'), p.hex('01010101'), p.hex('94040000'), p.hex('0703 04')])
    const all = Buffer.concat([before, route])
    const options = Buffer.concat([all, Buffer.alloc((4 - (all.length % 4)) % 4)])
    const fields = {
      source: own.v4,
      destination: gateway.v4,
      sourcePort: 4000,
      destinationPort: 9,
      options,
      ...(random.chance(0.2) && { flags: 0x2000 }),
    }
    return [
      `source routing, option ${type} behind ${before.length} bytes`,
      p.udp4(fields, { from: own.mac, to: random.pick([gateway.mac, victim.mac]), tags }),
    ]
  },
  (parts) => {
    const { random, own, tags, gateway, victim } = parts
    // Type 0, one segment left (RFC 5095).
    const routing: [number, Buffer] = [43, Buffer.concat([p.hex('02 00 01 00000000'), victim.v6])]
    const before = random.pick<[number, Buffer][]>([[], [p.HOP_BY_HOP], [p.DESTINATION_OPTIONS]])
    const fields = {
      source: own.v6,
      destination: gateway.v6,
      sourcePort: 4000,
      destinationPort: 9,
      extensions: [...before, routing],
    }
    return [
      'source routing, a routing header of type 0',
      p.udp6(fields, { from: own.mac, to: random.pick([gateway.mac, victim.mac]), tags }),
    ]
  },
]

const routingProtocols: Kind[] = [
  (parts) => {
    const { random, own, tags, gateway } = parts
    const [what, protocol, group] = random.pick([
      ['VRRP', 112, '224.0.0.18'],
      ['OSPF', 89, '224.0.0.5'],
      ['OSPF', 89, '224.0.0.6'],
    ] as const)
    const isUnicast = protocol === 89 && random.chance(0.3)
    const destination = isUnicast ? gateway.v4 : p.ip4Address(group)
    const link = { from: own.mac, to: isUnicast ? gateway.mac : group4(group), tags }
    return [
      what,
      p.ipv4Frame(
        protocol,
        bytes(random, 24),
        { source: own.v4, destination, ttl: random.pick([1, 255]), options: options4(parts) },
        link,
      ),
    ]
  },
  (parts) => {
    const { random, own, tags } = parts
    const [what, protocol, last] = random.pick([
      ['VRRP over IPv6', 112, '12'],
      ['OSPF over IPv6', 89, '05'],
      ['OSPF over IPv6', 89, '06'],
    ] as const)
    const destination = p.hex(`ff0200000000000000000000000000${last}`)
    const over = { source: own.linkLocal, destination, hopLimit: random.pick([1, 255]), extensions: extensions(parts) }
    return [what, p.ipv6Frame(protocol, bytes(random, 36), over, { from: own.mac, to: group6(destination), tags })]
  },
  (parts) => {
    const { random, own, tags } = parts
    const [what, type, group] = random.pick([
      ['an IGMP query', 0x11, '224.0.0.1'],
      ['a multicast router advertisement', 0x30, '224.0.0.106'],
      ['a multicast router termination', 0x32, '224.0.0.106'],
    ] as const)
    const body = Buffer.concat([Buffer.from([type, random.below(256), 0, 0]), Buffer.alloc(random.pick([4, 8]))])
    body.writeUInt16BE(p.checksumOf(body), 2)
    const options = random.pick([p.hex('94040000'), Buffer.alloc(0)])
    return [
      what,
      p.ipv4Frame(
        2,
        body,
        { source: own.v4, destination: p.ip4Address(group), ttl: 1, options },
        { from: own.mac, to: group4(group), tags },
      ),
    ]
  },
  (parts) => {
    const { random, own, tags } = parts
    const [what, type] = random.pick([
      ['an MLD query', 130],
      ['a multicast router advertisement over IPv6', 151],
      ['a multicast router termination over IPv6', 153],
    ] as const)
    const destination = type === 130 ? p.ALL_NODES : p.hex('ff02000000000000000000000000006a')
    const rest =
      type === 130 ? Buffer.concat([p.hex('27100000'), Buffer.alloc(random.pick([16, 20]))]) : Buffer.alloc(4)
    const alert: [number, Buffer] = [0, p.hex('00 0502 0000 0100')]
    const over = {
      source: own.linkLocal,
      destination,
      hopLimit: 1,
      extensions: random.pick<[number, Buffer][]>([[alert], []]),
    }
    return [what, p.icmpv6Frame(type, rest, over, { from: own.mac, to: group6(destination), tags })]
  },
]

const foreign: Kind[] = [
  ({ random, own, gateway, victim, tags }) => {
    const [senderMac, sender] = random.pick([
      [own.mac, gateway.v4],
      [own.mac, victim.v4],
      [gateway.mac, own.v4],
      [gateway.mac, gateway.v4],
      [own.mac, p.ip4Address(HOST.v4)],
    ])
    const operation = random.pick([1, 2])
    const target = random.pick([gateway.v4, victim.v4, sender])
    return [
      "ARP with somebody else's addresses",
      p.arpFrame(
        { operation, senderMac, sender, target },
        { from: own.mac, to: random.pick([p.BROADCAST, gateway.mac, victim.mac]), tags },
      ),
    ]
  },
  ({ random, own, gateway, victim, tags }) => {
    const target = random.pick([gateway.v6, victim.v6, own.v6])
    const option = target === own.v6 ? gateway.mac : random.pick([own.mac, gateway.mac])
    const body = Buffer.concat([
      p.hex(random.pick(['20000000', 'a0000000', '60000000'])),
      target,
      p.hex('0201'),
      option,
    ])
    const over = { source: own.v6, destination: random.pick([p.ALL_NODES, victim.v6, gateway.v6]), hopLimit: 255 }
    return [
      "an advertisement of somebody else's address",
      p.icmpv6Frame(136, body, over, { from: own.mac, to: random.pick([gateway.mac, victim.mac]), tags }),
    ]
  },
  ({ random, own, gateway, victim, tags }) => {
    const source = random.pick([gateway.v6, victim.v6])
    const fields = {
      source,
      target: random.pick([gateway.v6, victim.v6]),
      options: Buffer.concat([p.hex('0101'), own.mac]),
    }
    return ["a solicitation from somebody else's address", p.solicitation(fields, { from: own.mac, tags })]
  },
  ({ random, own, gateway, victim, tags }) => {
    const source = random.pick([gateway.v4, victim.v4, p.ip4Address('192.0.2.255')])
    const link = { from: random.chance(0.3) ? victim.mac : own.mac, to: gateway.mac, tags }
    return [
      "a datagram from somebody else's address",
      p.udp4(
        { source, destination: p.ip4Address(HOST.v4), sourcePort: 1 + random.below(1000), destinationPort: 9 },
        link,
      ),
    ]
  },
]

/** Behind the port's own tag. */
const innerTags: Kind[] = [
  ({ random, own, gateway, victim }) => {
    const second: [number, number] = [random.pick([0x8100, 0x88a8, 0x9100]), random.pick([0, 1, 7, 5, 4094])]
    const tags: [number, number][] = [[0x8100, 5 | (random.below(8) << 13)], second]
    const to = random.pick([p.BROADCAST, gateway.mac, victim.mac])
    const frame = random.chance(0.5)
      ? p.udp4(
          { source: own.v4, destination: gateway.v4, sourcePort: 4000, destinationPort: 9 },
          { from: own.mac, to, tags },
        )
      : p.arpFrame(
          { operation: 1, senderMac: own.mac, sender: own.v4, target: gateway.v4 },
          { from: own.mac, to: p.BROADCAST, tags },
        )
    return [`a second tag ${second[0].toString(16)} ${second[1]}`, frame]
  },
]

/** Frames of some kinds from a port, at the wire's far end and at another port. */
function guarded(name: string, defence: string, kinds: readonly Kind[], vlan?: number): Attack {
  return {
    name,
    defence,
    async prepare(field) {
      const { lab } = field
      const attacker = await field.connected(ATTACKER)
      const victim = await field.connected(VICTIM)
      const own = await attacker.ask<PortInfo>({
        do: 'open',
        uplink: CARD,
        addresses: portPrefixes(PORTS.attacker),
        ...(vlan && { vlan }),
      })
      const other = await victim.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(PORTS.victim) })
      await victim.ask({ do: 'record' })
      const capture = await field.capture()
      const [farther, nearer] = [new Sender(attacker, own, lab.farMac), new Sender(attacker, own, other.mac)]
      const tags: [number, number][] = vlan === undefined ? [] : [[0x8100, vlan]]
      const parts = {
        own: addressesOf(own),
        victim: addressesOf(other),
        gateway: { mac: p.mac(lab.farMac), v4: p.ip4Address(REMOTE.v4), v6: p.hex('20010db8000000000000000000000002') },
        tags,
      }
      let frames: Frame[] = []
      return {
        async variant(random) {
          frames = Array.from({ length: FRAMES }, (_, n) => (kinds[n % kinds.length] as Kind)({ ...parts, random }))
          return `${FRAMES} frames such as ${frames[0]?.[0]}`
        },
        async judge() {
          const [far, near] = [farther.datagrams(1)[0] as Buffer, nearer.datagrams(1)[0] as Buffer]
          await farther.send([...frames.map(([, frame]) => frame), far, near])
          // What may pass did, behind all that may not. A port without a tag hears nothing of one with a tag.
          const came = (await capture.until(far)).map((frame) => frame.toString('hex'))
          const recorded: string[] = []
          if (vlan === undefined) {
            await waitUntil('recorded next door', async () => {
              recorded.push(...(await victim.ask<string[]>({ do: 'recorded' })))
              return recorded.includes(near.toString('hex'))
            })
          }
          const passed = (where: readonly string[]) =>
            frames.filter(([, frame]) => where.includes(frame.toString('hex')))
          const [out, across] = [passed(came), passed(recorded)]
          const faults = [
            ...kindsOf(out).map(([what, count]) => `${count} × ${what} came to the far end`),
            ...kindsOf(across).map(([what, count]) => `${count} × ${what} came to another port`),
          ]
          return {
            saw: `${out.length} of them at the far end, ${across.length} at another port, and the frame that may pass`,
            faults,
          }
        },
      }
    },
  }
}

function kindsOf(frames: readonly Frame[]): [string, number][] {
  const counts = new Map<string, number>()
  for (const [what] of frames) counts.set(what, (counts.get(what) ?? 0) + 1)
  return [...counts]
}

/** The three addresses of a port, as bytes: IPv4, IPv6 as the lab gives them, and link-local. */
function addressesOf({ mac, addresses }: PortInfo) {
  const plain = addresses.map((address) => address.replace(/\/.*/, ''))
  const [v4, v6] = [plain[0] as string, plain[1] as string]
  const octets = p.mac(mac)
  const linkLocal = Buffer.concat([p.hex('fe80000000000000'), octets.subarray(0, 3), p.hex('fffe'), octets.subarray(3)])
  linkLocal[8] = (linkLocal[8] as number) ^ 2
  return { mac: octets, v4: p.ip4Address(v4), v6: p.hex(`20010db8${v6.split('::')[1]?.padStart(24, '0')}`), linkLocal }
}

export const frames = [
  guarded('dhcp-server', 'the guard drops all that is for a DHCP client, whatever port it comes from', dhcpServer),
  guarded('dhcp-requests', 'the guard drops requests whose chaddr is not the port’s MAC', dhcpClient),
  guarded('router-messages', 'the guard drops redirects and router advertisements of ICMP and ICMPv6', routerMessages),
  guarded('source-routing', 'the guard drops source routes unless a grant has `routing`', sourceRouting),
  guarded(
    'routing-protocols',
    'the guard drops VRRP, OSPF, queries and multicast routers unless a grant has `routing`',
    routingProtocols,
  ),
  guarded('inner-tags', 'the guard drops a second tag unless a grant has `innerTags`', innerTags, 5),
  guarded('foreign-addresses', 'the guard lets nothing pass with addresses that are not the port’s', foreign),
]

// Groups, from the grant to the wire: a program without rights gets copies of broadcast and multicast.
import test from 'ava'
import type { Counters, PortEntry } from 'xsknet'
import { Client } from '../helpers/client.js'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import { uplinkSums } from '../helpers/sums.js'
import * as p from '../unit/headers/packets.js'

const GROUPS = ['broadcast', '239.1.2.3', 'ff02::1']

const link = (to: string) => ({ to: p.mac(to), from: p.mac('02:00:00:00:00:14') })
const datagram = (mac: string, to: string, text: string) =>
  p.udp4({ destination: p.ip4Address(to), destinationPort: 7000, payload: Buffer.from(text) }, link(mac))
const FRAMES = [
  datagram('01:00:5e:01:02:03', '239.1.2.3', 'to the group'),
  datagram('01:00:5e:01:02:04', '239.1.2.4', 'to another'),
  datagram('ff:ff:ff:ff:ff:ff', '192.0.2.255', 'to everybody'),
  p.icmpv6Frame(134, Buffer.alloc(12), { destination: p.ALL_NODES, hopLimit: 255 }, link('33:33:00:00:00:01')),
]

for (const [rings, mode] of [
  ['xsk', 'native'],
  ['xsk', 'skb'],
  ['bpf', 'native'],
] as const) {
  test.serial(`an unprivileged program hears its groups: ${rings}, ${mode}`, async (t) => {
    const config = `${GRANT}bpfRings = true\ngroups = ["broadcast", "239.1.0.0/16", "ff02::1"]\n`
    const scene = await Scene.open(t, { config, mode })
    const { lab, daemon } = scene
    const args = [CARD, portPrefixes(0)[0], rings, GROUPS.join(' '), '239.2.0.1', '192.0.2.1', '01:00:5e:01:02:03']
    const client = Client.start(lab, '__test__/helpers/programs/group-member.ts', { socket: daemon.socket, args })
    await client.program.waitFor(/^listening/)
    t.true(client.program.lines.includes('opened in broadcast'))
    t.true(client.program.lines.includes('not told []'), client.program.lines.join('\n'))
    const told = client.program.lines
      .filter((line) => line.startsWith('refused '))
      .map((line) => JSON.parse(line.slice(8)))
    t.deepEqual(
      told.map(({ code }) => code),
      ['ERR_XSKNET_NOT_PERMITTED', 'ERR_XSKNET_GROUP_INVALID', 'ERR_XSKNET_NOT_PERMITTED'],
    )
    t.like(told[1], { code: 'ERR_XSKNET_GROUP_INVALID' })
    t.regex(told[0].hint, /groups = \["broadcast", "239\.1\.0\.0\/16", "ff02::1", "239\.2\.0\.1"\]/)
    t.deepEqual(told[1].details, { group: '192.0.2.1' })
    const [entry] = await daemon.ask<PortEntry[]>('ports')
    t.like(entry, { uid: NOBODY, groups: GROUPS })

    const heard = () => client.program.lines.filter((line) => /^(239|192|router)/.test(line)).sort()
    await lab.sendFrames(FRAMES)
    const expected = ['192.0.2.255 to everybody', '239.1.2.3 to the group', 'router']
    await waitUntil('all copies', async () => heard().length >= expected.length, 5000)
    t.deepEqual(heard(), expected)

    client.program.signal('SIGUSR2')
    await client.program.waitFor(/^left/)
    const [left] = await daemon.ask<PortEntry[]>('ports')
    t.deepEqual(left?.groups, [])
    const copies = async () => {
      const { ports } = await daemon.ask<{ ports: { statistics: { copies: Counters } }[] }>('stats')
      return ports[0]?.statistics.copies
    }
    const before = await copies()
    t.true((before?.toPort ?? 0) >= 3)
    t.is(before?.seen, before?.toPort)
    const passed = (await scene.uplink()).program.passed
    await lab.sendFrames(FRAMES)
    await waitUntil('all frames', async () => (await scene.uplink()).program.passed >= passed + FRAMES.length, 5000)
    t.deepEqual(await copies(), before)
    const [own] = uplinkSums(await scene.uplink(), [], 0)
    t.is(own?.left, own?.right)
    t.deepEqual(await client.stop(), { code: 0, signal: null }, client.program.lines.join('\n'))
    await scene.end(t)
  })
}

import test from 'ava'
import { arp, ethernet, icmp, ipv4, ipv6, ndp, udp } from 'xsknet/headers'
import * as p from './packets.js'

const seeds = [
  p.arpFrame({}, { tags: p.VLAN_42 }),
  p.arpFrame(),
  p.echoRequest4({ options: p.hex('94040000') }),
  p.echoRequest6({ extensions: [p.HOP_BY_HOP, p.ATOMIC_FRAGMENT] }),
  p.solicitation(),
  p.solicitation({ source: p.UNSPECIFIED, options: Buffer.alloc(0) }, { tags: p.VLAN_42_AND_7 }),
  p.udp4({ padding: 5 }, { tags: p.VLAN_42 }),
  p.udp6({ extensions: [p.ROUTING_DONE, p.DESTINATION_OPTIONS] }),
]
const stations = [p.STATION, p.TAGGED]

/** Every word that a flyweight says. */
function readAll(flyweight: object | undefined): void {
  if (!flyweight) return
  for (const [name, { get }] of Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(flyweight)))) {
    if (get) get.call(flyweight)
    else if (name.endsWith('Word')) Reflect.get(flyweight, name).call(flyweight, 3)
  }
}

/** A whole frame with some bytes changed and its end moved, or bytes without any sense. */
function hostile(random: () => number): p.Held {
  if (random() % 8 === 0) return p.held(Buffer.from(Array.from({ length: random() % 120 }, random)), { capacity: 128 })
  const bytes = Buffer.from(p.pick(seeds, random()))
  for (let changes = random() % 4; changes > 0; changes--) bytes[random() % bytes.length] = random()
  const packet = p.held(bytes, { capacity: 144 })
  if (random() % 2 === 0) packet.length = random() % 144
  return packet
}

test(
  '100,000 hostile packets: nothing throws, nothing outside is written, ' + 'and what is not answered stays as it is',
  (t) => {
    const random = p.generator(20_260_101)
    const seen = { answered: 0, turned: 0, unread: 0 }
    for (let i = 0; i < 100_000; i++) {
      const packet = hostile(random)
      const before = packet.bytes
      const station = p.pick(stations, random())
      for (const read of [ethernet, arp, ipv4, ipv6, icmp, ndp, udp]) readAll(read(packet))
      if (!ethernet(packet)) seen.unread++

      const answered = arp.answer(packet, station) || ndp.answer(packet, station) || icmp.echo(packet, station)
      if (answered) {
        seen.answered++
        if (!arp(packet) && icmp(packet)?.checksumOk !== true) t.fail(`a broken answer to ${before.toString('hex')}`)
      } else if (!packet.bytes.equals(before)) {
        t.fail(`changed without an answer: ${before.toString('hex')}`)
      } else if (udp(packet)) {
        const length = random() % 20
        const turned = random() % 2 === 0 ? udp.reply(packet, length) : udp.answer(packet, station, length)
        if (turned) {
          seen.turned++
          if (udp(packet)?.checksumOk !== true) t.fail(`a broken reply to ${before.toString('hex')}`)
        } else if (!packet.bytes.equals(before)) {
          t.fail(`changed and not turned: ${before.toString('hex')}`)
        }
      }
      if (!packet.marginsAreWhole) t.fail(`written beyond ${before.toString('hex')}`)
    }
    t.true(seen.answered > 1000 && seen.turned > 1000 && seen.unread > 1000, JSON.stringify(seen))
  },
)

test('a packet in memory that is gone reads as nothing', (t) => {
  const packet = p.held(p.udp4())
  structuredClone(packet.memory.buffer, { transfer: [packet.memory.buffer as ArrayBuffer] })
  t.is(packet.memory.length, 0)
  for (const read of [arp, ipv4, ipv6, icmp, ndp, udp]) t.is(read(packet), undefined)
  for (const answer of [arp.answer, ndp.answer, icmp.echo]) t.false(answer(packet, p.STATION))
})

test('a packet that throws at its offset, as after its lease, throws here too', (t) => {
  const ended = {
    memory: new Uint8Array(100),
    get offset(): number {
      throw new Error('the lease has ended')
    },
    length: 0,
    capacity: 0,
  }
  for (const read of [ethernet, arp, ipv4, ipv6, icmp, ndp, udp]) {
    t.throws(() => read(ended), { message: 'the lease has ended' }, read.name)
  }
})

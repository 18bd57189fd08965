// A host that asks: it opens a port, answers for itself, and does as it is told.
//
//   node talker.js card0 192.0.2.12/24 2001:db8::12/64
import { isIPv4 } from 'node:net'
import { connect, type Frame } from 'xsknet'
import {
  arp,
  checksum,
  ethernet,
  formatMac,
  icmp,
  ipv4,
  ipv6,
  ndp,
  type Packet,
  parseIpv4,
  parseIpv6,
  parseMac,
  udp,
} from 'xsknet/headers'
import { say, serve } from './serve.js'

/** A machine on the wire, by its address and MAC. */
interface Peer {
  address: string
  mac: string
}

/** What came of asking a number of times; microseconds. */
interface Asked {
  asked: number
  answered: number
  median: number
}

/** An answer that is not there by then is lost; milliseconds. */
const PATIENCE = 1000
const TYPE_IPV4 = 0x0800
const TYPE_IPV6 = 0x86dd
const ICMPV6 = 58

const [uplink = 'card0', ...addresses] = process.argv.slice(2)
const net = await connect()
const port = await net.openPort({ uplink, addresses })

/** Whoever waits for a frame looks at each. */
const waiting = new Set<(frame: Frame) => void>()

serve({
  resolve: ({ address }: { address: string }) => resolve(address),
  ping: ({ to, count }: { to: Peer; count: number }) => many(count, (n) => ping(to, n)),
  udpEcho: ({ to, length, count }: { to: Peer; length: number; count: number }) =>
    many(count, (n) => echo(to, 40_000 + n, length)),
  send: ({ frame }: { frame: string }) => port.send(Buffer.from(frame, 'hex')),
  stats: () => port.stats(),
  close: () => port.close(),
})
say('open', { info: port.info })

for await (const frames of port.batches()) {
  for (const frame of frames) {
    for (const look of waiting) look(frame)
    if (arp.answer(frame, port) || ndp.answer(frame, port) || icmp.echo(frame, port)) frame.send()
  }
}
await net.close()
process.stdin.destroy() // no more orders

/** Its MAC, or `null` where nobody answers for the address. */
function resolve(address: string): Promise<string | null> {
  const question = empty()
  if (isIPv4(address)) {
    const target = parseIpv4(address)
    arp.request(question, port, target)
    return ask(question, (frame) => {
      const reply = arp(frame)
      return reply?.operation === 2 && reply.sender === target ? formatMac(reply.senderMac) : undefined
    })
  }
  const target = parseIpv6(address)
  ndp.solicit(question, port, target)
  return ask(question, (frame) => {
    const found = ndp(frame)
    if (found?.type !== 136 || found.linkAddress === undefined) return undefined
    return target.every((word, i) => found.targetWord(i) === word) ? formatMac(found.linkAddress) : undefined
  })
}

/** One ICMP echo; whether it was answered. */
async function ping({ address, mac }: Peer, sequence: number): Promise<boolean> {
  const version = isIPv4(address) ? 4 : 6
  const request = empty()
  const link = { destination: parseMac(mac), source: parseMac(port.info.mac), vlan: port.info.vlan }
  const length = 64
  let message: number
  if (version === 4) {
    const at = ethernet.write(request, { ...link, etherType: TYPE_IPV4 })
    const [source, destination] = [parseIpv4(own(4)), parseIpv4(address)]
    message = ipv4.write(request, at, { source, destination, protocol: 1 }, length)
  } else {
    const at = ethernet.write(request, { ...link, etherType: TYPE_IPV6 })
    const [source, destination] = [parseIpv6(own(6)), parseIpv6(address)]
    message = ipv6.write(request, at, { source, destination, protocol: ICMPV6 }, length)
  }
  const { memory } = request
  const view = new DataView(memory.buffer, message, length)
  view.setUint8(0, version === 4 ? 8 : 128)
  view.setUint16(4, process.pid & 0xffff)
  view.setUint16(6, sequence)
  // The pseudo-header of ICMPv6: both addresses, which stand in front of the message, the length and the protocol.
  const initial = version === 4 ? 0 : ~checksum(memory, message - 32, 32, length + ICMPV6) & 0xffff
  view.setUint16(2, checksum(memory, message, length, initial))

  const reply = version === 4 ? 0 : 129
  const answered = await ask(request, (frame) => {
    const answer = icmp(frame)
    return answer?.version === version && answer.type === reply && answer.sequence === sequence ? true : undefined
  })
  return answered ?? false
}

/** One datagram to the echo port; whether it came back the same. */
async function echo({ address, mac }: Peer, sourcePort: number, length: number): Promise<boolean> {
  const payload = Uint8Array.from({ length }, (_, i) => sourcePort + 31 * i)
  const request = empty()
  const destination = isIPv4(address) ? parseIpv4(address) : parseIpv6(address)
  udp.build(request, port, { sourcePort, destinationPort: 7, destination, destinationMac: parseMac(mac) }, payload)
  const same = await ask(request, (frame) => {
    const answer = udp(frame)
    if (answer?.sourcePort !== 7 || answer.destinationPort !== sourcePort) return undefined
    return answer.checksumOk && Buffer.compare(answer.payload(), payload) === 0
  })
  return same ?? false
}

/** One after the other. */
async function many(count: number, once: (n: number) => Promise<boolean>): Promise<Asked> {
  const times: number[] = []
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    if (await once(n)) times.push((performance.now() - began) * 1000)
  }
  times.sort((a, b) => a - b)
  return { asked: count, answered: times.length, median: times[times.length >> 1] ?? 0 }
}

/** Sends the question, and waits for the frame in which `find` finds the answer; `null` once patience ends. */
async function ask<T>(question: Packet, find: (frame: Frame) => T | undefined): Promise<T | null> {
  const answer = new Promise<T | null>((settle) => {
    const done = (found: T | null) => {
      waiting.delete(look)
      clearTimeout(timer)
      settle(found)
    }
    const look = (frame: Frame) => {
      const found = find(frame)
      if (found !== undefined) done(found)
    }
    const timer = setTimeout(done, PATIENCE, null)
    waiting.add(look)
  })
  await port.send(question.memory.subarray(0, question.length))
  return answer
}

function own(version: 4 | 6): string {
  const plain = port.info.addresses.map((address) => address.replace(/\/.*/, ''))
  const found = plain.find((address) => isIPv4(address) === (version === 4))
  if (!found) throw new Error(`the port has no IPv${version} address`)
  return found
}

function empty(): Packet {
  return { memory: new Uint8Array(2048), offset: 0, length: 0, capacity: 2048 }
}

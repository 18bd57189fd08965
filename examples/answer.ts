// A host in one file: answers ARP, neighbour discovery, ping, and clients of UDP echo (port 7) and DNS (port 53).
//
//   node answer.ts [--rings xsk|bpf|auto] [<interface> <address>…]
//
// Default: card0 192.0.2.10/24 2001:db8::10/64, as in `xsknetd lab`, and rings of AF_XDP.
//
// It runs unprivileged; it needs a grant in the daemon's configuration. Ctrl-C ends it, `kill -USR2` prints statistics.
import { isIP } from 'node:net'
import { parseArgs } from 'node:util'
import { connect, type Frame } from 'xsknet'
import { arp, icmp, ndp, parseIpv4, parseIpv6, udp } from 'xsknet/headers'

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rings: { type: 'string' } } })
const rings = (['xsk', 'bpf', 'auto'] as const).find((kind) => kind === (values.rings ?? 'xsk'))
if (!rings) throw new Error(`--rings is xsk, bpf or auto, not ${values.rings}`)
const [uplink = 'card0', ...given] = positionals
const addresses = given.length > 0 ? given : ['192.0.2.10/24', '2001:db8::10/64']
const records = recordsOf(addresses)

const net = await connect()
const port = await net.openPort({ uplink, addresses, rings })
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void port.close()) // ends the loop
process.on('SIGUSR2', async () => console.log(JSON.stringify(await port.stats())))
console.log(`answering on ${uplink} as ${port.info.mac}, ${port.info.addresses.join(', ')}`)

let answered = 0
for await (const frames of port.batches()) {
  for (const frame of frames) {
    const isAnswer = arp.answer(frame, port) || ndp.answer(frame, port) || icmp.echo(frame, port) || answerUdp(frame)
    if (isAnswer && frame.send()) answered++ // unsent frames return to the kernel
  }
}
await net.close()
console.log(`${answered} frames answered`)

function answerUdp(frame: Frame): boolean {
  const query = udp(frame)
  if (!query?.checksumOk) return false
  const { destinationPort, payloadOffset, payloadLength } = query
  // Not udp.reply(): a datagram from a server's port may be an answer itself, and two servers would answer each other
  // forever.
  if (destinationPort === 7) return udp.answer(frame, port, payloadLength)
  if (destinationPort !== 53) return false
  const length = answerDns(frame, payloadOffset, payloadLength)
  return length > 0 && udp.answer(frame, port, length)
}

/** The first IPv4 and the first IPv6 address, in words of 32 bits, by record type: 1 is A, 28 is AAAA. */
function recordsOf(addresses: readonly string[]): Map<number, number[]> {
  const records = new Map<number, number[]>()
  for (const address of addresses.map((text) => text.replace(/\/.*/, '')).reverse()) {
    if (isIP(address) === 4) records.set(1, [parseIpv4(address)])
    if (isIP(address) === 6) records.set(28, [...parseIpv6(address)])
  }
  return records
}

/**
 * A minimal name server (RFC 1035): all names have the same addresses. Turns the query at offset `at` of the frame into
 * its answer, in place. Returns the answer's length in bytes, or 0 if the query is not answered.
 */
function answerDns(frame: Frame, at: number, length: number): number {
  const end = at + length
  const isQuestion = length >= 17 && (frame.uint16(at + 2) & 0xf800) === 0 && frame.uint16(at + 4) === 1
  if (!isQuestion) return 0

  let next = at + 12
  while (next < end && frame.uint8(next) > 0) next += 1 + frame.uint8(next) // the labels of the name
  next += 5 // the root's label, type and class
  if (next > end) return 0
  const type = frame.uint16(next - 4)
  const words = records.get(type) ?? []
  if (next + 12 + 4 * words.length > frame.capacity) return 0

  frame.length = frame.capacity // space to write; udp.answer() sets the final length
  frame.setUint16(at + 2, 0x8400 | (frame.uint16(at + 2) & 0x0100)) // an authoritative answer
  frame.setUint16(at + 6, words.length > 0 ? 1 : 0)
  frame.setUint32(at + 8, 0) // no other records, EDNS included
  if (words.length === 0) return next - at

  frame.setUint16(next, 0xc00c) // the name that was asked for
  frame.setUint16(next + 2, type)
  frame.setUint16(next + 4, 1)
  frame.setUint32(next + 6, 60) // time to live, in seconds
  frame.setUint16(next + 10, 4 * words.length)
  for (const [i, word] of words.entries()) frame.setUint32(next + 12 + 4 * i, word)
  return next + 12 + 4 * words.length - at
}

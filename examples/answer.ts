// A host in one screen: answers ARP, neighbour discovery, ping, and clients of UDP echo (port 7) and DNS (port 53).
//
//   node answer.js eth0 192.0.2.10/24 2001:db8::10/64     (compiled, together with dns.ts)
//
// It runs unprivileged; it needs a grant in the daemon's configuration. Ctrl-C ends it, `kill -USR2` prints statistics.
import { connect, type Frame } from 'xsknet'
import { arp, icmp, ndp, udp } from 'xsknet/headers'
import { answerDns, zoneOf } from './dns.js'

const [uplink = 'eth0', ...addresses] = process.argv.slice(2)
const zone = zoneOf(addresses)

const net = await connect()
const port = await net.openPort({ uplink, addresses })
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
  const length = answerDns(frame, payloadOffset, payloadLength, zone)
  return length > 0 && udp.answer(frame, port, length)
}

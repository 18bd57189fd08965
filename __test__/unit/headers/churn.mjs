// Run with --expose-gc: reads and answers packets, and prints how far the heap grew meanwhile.
// Usage: churn.mjs <packets> <hexadecimal packet>...

import { arp, checksum, icmp, ndp, parseIpv4, parseIpv6, udp } from 'xsknet/headers'

const [, , count, ...texts] = process.argv
const packets = texts.map((text) => Buffer.from(text, 'hex'))
const station = { info: { mac: '02:00:00:00:00:0a', addresses: ['192.0.2.10/24', '2001:db8::10/64'], vlan: null } }
const frame = { memory: new Uint8Array(1 << 20), offset: 4096 + 256, length: 0, capacity: 1792 }
const stranger4 = parseIpv4('192.0.2.99')
const stranger6 = parseIpv6('2001:db8::63')
const seen = { answered: 0, replied: 0, sum: 0 }

function round(rounds) {
  for (let i = 0; i < rounds; i++) {
    for (let which = 0; which < packets.length; which++) {
      const packet = packets[which]
      frame.memory.set(packet, frame.offset)
      frame.length = packet.length
      if (arp.answer(frame, station) || ndp.answer(frame, station) || icmp.echo(frame, station)) {
        seen.answered++
        continue
      }
      const query = udp(frame)
      if (query === undefined || query.destinationPort !== 53 || !query.checksumOk) continue
      if (query.isFrom(stranger4) || query.isTo(stranger6)) continue
      seen.sum = (seen.sum + checksum(frame.memory, frame.offset + query.payloadOffset, query.payloadLength)) | 0
      if (udp.answer(frame, station, query.payloadLength)) seen.replied++
    }
  }
}

const rounds = Math.ceil(Number(count) / packets.length)
// The first two times warm up: what V8 compiles is on the heap too.
const growths = [0, 0, 0].map(() => {
  globalThis.gc()
  const before = process.memoryUsage().heapUsed
  round(rounds)
  return process.memoryUsage().heapUsed - before
})
console.log(JSON.stringify({ growth: growths.at(-1), ...seen }))

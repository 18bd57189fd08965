// Counts received frames by protocol and prints the counts once per second. It also answers ARP requests and neighbour
// solicitations for its addresses: without answers, no host could send to it. It runs unprivileged; it needs a grant.
//
//   node count.ts [<interface> <address>…]  default: card0 192.0.2.12/24 2001:db8::12/64, as in `xsknetd lab`
import { connect, type Frame, type XsknetError } from 'xsknet'
import { arp, ethernet, ipv4, ipv6, ndp } from 'xsknet/headers'

const [uplink = 'card0', ...given] = process.argv.slice(2)
const addresses = given.length > 0 ? given : ['192.0.2.12/24', '2001:db8::12/64']
const names = new Map([[1, 'ICMP'], [6, 'TCP'], [17, 'UDP'], [58, 'ICMPv6']]) // biome-ignore format: a table
const counts = new Map<string, number>()

if (uplink.startsWith('-')) {
  console.log('usage: node count.ts [<interface> <address>…]')
} else {
  await count().catch(({ message, hint }: XsknetError) => {
    console.error(hint ? `${message}\n${hint}` : message)
    process.exitCode = 1
  })
}

async function count() {
  const net = await connect()
  const port = await net.openPort({ uplink, addresses })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void port.close()) // ends the loop
  console.log(`counting on ${uplink} as ${port.info.addresses.join(', ')}; Ctrl-C ends it`)
  const timer = setInterval(print, 1000).unref()

  for await (const frames of port.batches()) {
    for (const frame of frames) {
      const protocol = protocolOf(frame)
      counts.set(protocol, (counts.get(protocol) ?? 0) + 1)
      if (arp.answer(frame, port) || ndp.answer(frame, port)) frame.send()
    }
  }
  clearInterval(timer)
  await net.close()
  print()
}

function protocolOf(frame: Frame): string {
  const protocol = ipv4(frame)?.protocol ?? ipv6(frame)?.protocol
  if (protocol !== undefined) return names.get(protocol) ?? `IP protocol ${protocol}`
  return arp(frame) ? 'ARP' : `EtherType 0x${ethernet(frame)?.etherType.toString(16) ?? '?'}`
}

/** Prints all frames that were received since the program began. */
function print() {
  console.log([...counts].map(([protocol, frames]) => `${frames} ${protocol}`).join(', ') || 'no frames yet')
}

// Echoes UDP datagrams to port 7 (RFC 862), and answers ARP requests and neighbour solicitations for its addresses. It
// runs unprivileged; it needs a grant.
//
//   node echo.ts [<interface> <address>…]   default: card0 192.0.2.11/24 2001:db8::11/64, as in `xsknetd lab`
import { connect, type Frame, type Port, type XsknetError } from 'xsknet'
import { arp, ndp, udp } from 'xsknet/headers'

const [uplink = 'card0', ...given] = process.argv.slice(2)
const addresses = given.length > 0 ? given : ['192.0.2.11/24', '2001:db8::11/64']

if (uplink.startsWith('-')) {
  console.log('usage: node echo.ts [<interface> <address>…]')
} else {
  await answer().catch(({ message, hint }: XsknetError) => {
    console.error(hint ? `${message}\n${hint}` : message)
    process.exitCode = 1
  })
}

async function answer() {
  const net = await connect()
  const port = await net.openPort({ uplink, addresses })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void port.close()) // ends the loop
  console.log(`sending UDP to port 7 back on ${uplink} as ${port.info.addresses.join(', ')}; Ctrl-C ends it`)

  let echoed = 0
  for await (const frames of port.batches()) {
    for (const frame of frames) {
      if (echo(frame, port) && frame.send()) echoed++
      else if (arp.answer(frame, port) || ndp.answer(frame, port)) frame.send()
    }
  }
  await net.close()
  console.log(`${echoed} datagrams sent back`)
}

/** Turns a request into its reply, in place: swaps the addresses and ports, and computes the checksum again. */
function echo(frame: Frame, port: Port): boolean {
  const request = udp(frame)
  if (request?.destinationPort !== 7 || !request.checksumOk) return false
  // Not udp.reply(): a datagram from a port below 1024 may be of another echo server, and the two would answer each
  // other forever.
  return udp.answer(frame, port, request.payloadLength)
}

// Answers ping, ARP requests and neighbour solicitations for its addresses. It runs unprivileged; it needs a grant.
//
//   node ping.ts [<interface> <address>…]   default: card0 192.0.2.10/24 2001:db8::10/64, as in `xsknetd lab`
import { connect, type XsknetError } from 'xsknet'
import { arp, icmp, ndp } from 'xsknet/headers'

const [uplink = 'card0', ...given] = process.argv.slice(2)
const addresses = given.length > 0 ? given : ['192.0.2.10/24', '2001:db8::10/64']

if (uplink.startsWith('-')) {
  console.log('usage: node ping.ts [<interface> <address>…]')
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
  console.log(`answering ping on ${uplink} as ${port.info.addresses.join(', ')}; Ctrl-C ends it`)

  let answered = 0
  for await (const frames of port.batches()) {
    for (const frame of frames) {
      const isAnswer = arp.answer(frame, port) || ndp.answer(frame, port) || icmp.echo(frame, port)
      if (isAnswer && frame.send()) answered++ // unsent frames return to the kernel
    }
  }
  await net.close()
  console.log(`${answered} frames answered`)
}

// An unprivileged client: answers ARP, neighbour discovery, ping and UDP to port 7 on all ports that it is told to
// open, and says on SIGUSR2 whether their sums balance.
import { connect } from 'xsknet'
import { arp, icmp, ndp, udp } from 'xsknet/headers'
import { portSums, uplinkSums } from './sums.ts'

const [, , uplink, wishes] = process.argv
const net = await connect()
const ports = []
for (const wish of JSON.parse(wishes)) {
  try {
    const port = await net.openPort({ uplink, ...wish })
    port.closed.catch(({ code, message }) => console.log(`lost ${wish.name} ${code}: ${message}`))
    ports.push(port)
    console.log(`open ${wish.name} ${JSON.stringify(port.info)}`)
  } catch ({ code, message, hint }) {
    console.log(`refused ${wish.name} ${code}: ${message} ${hint ?? ''}`)
  }
}
process.once('SIGTERM', () => ports.forEach((port) => void port.close().catch(() => {})))
process.on('SIGUSR2', balance)
console.log('ready')
let badChecksums = 0
const answered = await Promise.all(ports.map(answer))
console.log(`answered ${answered.join(' and ')} frames, ${badChecksums} with a bad checksum`)
await net.close()

async function answer(port) {
  let frames = 0
  try {
    for await (const batch of port.batches()) {
      for (const frame of batch) {
        if (arp.answer(frame, port) || ndp.answer(frame, port) || icmp.echo(frame, port) || echo(frame, port)) {
          if (frame.send()) frames++
        }
      }
    }
  } catch ({ code }) {
    console.log(`ended by ${code}`)
  }
  return frames
}

function echo(frame, port) {
  const question = udp(frame)
  if (question?.destinationPort !== 7) return false
  if (!question.checksumOk) badChecksums++
  return question.checksumOk && udp.answer(frame, port, question.payloadLength)
}

async function balance() {
  const deadline = Date.now() + 5000
  for (;;) {
    const stats = await Promise.all(ports.map((port) => port.stats()))
    const nic = await net.uplinkStatistics(uplink)
    const own = stats.map(({ daemon }) => daemon)
    const wrong = [...stats.flatMap(portSums), ...uplinkSums(nic, own, givenToNic(nic, own))].filter(
      ({ left, right }) => left !== right,
    )
    if (wrong.length === 0) return console.log(`sums balance, of ${nic.program.seen} frames seen`)
    if (Date.now() > deadline) return console.log(`sums do not balance: ${JSON.stringify(wrong)}`)
    await new Promise((resolve) => setTimeout(resolve, 300)) // not at rest
  }
}

/**
 * Frames of ports and of the daemon that the NIC sent. On the wire are the host's, too, so the far end cannot tell.
 */
function givenToNic({ unattributed, announced, transmitDrops, closed }, own) {
  const ports = [...own, closed].reduce(
    (sum, { guard, outerRefusedRedirects }) => sum + guard.toUplink - outerRefusedRedirects,
    0,
  )
  return ports + unattributed.toUplink + announced - transmitDrops
}

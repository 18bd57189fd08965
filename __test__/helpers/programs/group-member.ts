// A member of groups, which tells what it hears: router advertisements, and the text of datagrams to port 7000. SIGUSR2
// has it leave all groups.
import { connect, type XsknetError } from 'xsknet'
import { udp } from 'xsknet/headers'

const [uplink = '', address = '', rings = '', groups = '', ...refused] = process.argv.slice(2)
const joined = groups.split(' ')
const ROUTER_ADVERTISEMENT = 134

const net = await connect()
const kind = rings === 'bpf' ? rings : 'xsk'
const port = await net.openPort({ uplink, addresses: [address], rings: kind, groups: joined.slice(0, 1) })
console.log(`opened in ${port.info.groups.join(' ')}`)
for (const text of refused) {
  const { code, hint, details } = await port.join([text]).then(
    () => ({ code: 'none', hint: undefined, details: {} }),
    (error: XsknetError) => error,
  )
  console.log(`refused ${JSON.stringify({ code, hint, details })}`)
}
console.log(`not told ${JSON.stringify(await port.join(joined))}`)
process.on('SIGTERM', () => void port.close())
process.on('SIGUSR2', async () => {
  await port.leave(joined)
  console.log('left')
})
console.log('listening')

for await (const frames of port.batches()) {
  for (const frame of frames) {
    if (frame.uint16(12) === 0x86dd && frame.uint8(20) === 58 && frame.uint8(54) === ROUTER_ADVERTISEMENT) {
      console.log('router')
    }
    const datagram = udp(frame)
    if (datagram?.destinationPort !== 7000 || !datagram.checksumOk) continue
    console.log(`${datagram.destinationAddress} ${Buffer.from(datagram.payload()).toString()}`)
  }
}
await net.close()

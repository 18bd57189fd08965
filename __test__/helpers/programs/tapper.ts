// A tap, which tells what became of the UDP datagrams to and from port 7000.
import { connect, tapped, type XsknetError } from 'xsknet'

const [uplink = ''] = process.argv.slice(2)

const net = await connect()
for (const more of [{ addresses: ['192.0.2.10'] }, { rings: 'xsk' as const }, { tap: { promiscuous: true } }]) {
  const { code } = await net.openPort({ uplink, tap: {}, ...more }).then(
    () => ({ code: 'none' }),
    (error: XsknetError) => error,
  )
  console.log(`refused ${code}`)
}
const port = await net.openPort({ uplink, tap: { flows: ['udp port 7000'], snapLength: 100 } })
const { code } = await port.claim(['udp dst port 7000']).then(
  () => ({ code: 'none' }),
  (error: XsknetError) => error,
)
console.log(`claim ${code}`)
process.on('SIGTERM', () => void port.close())
console.log(`tapping by ${port.info.rings}`)

for await (const frames of port.batches()) {
  for (const frame of frames) {
    const { way, became, length, time } = tapped(frame)
    const age = Number(process.hrtime.bigint()) - time
    const fresh = age >= 0 && age < 10e9 ? 'fresh' : `${age} ns old`
    // Behind Ethernet, IPv4 without options and UDP.
    const text = Buffer.from(frame.bytes().subarray(42)).toString()
    console.log(`${way} ${became} ${length} ${frame.length} ${fresh} ${text.slice(0, 11)}`)
  }
}
await net.close()

// A name server on the host's own address, by a flow: all names have the address 192.0.2.53. With an address of its own
// it claims the flow later, else at the opening. SIGUSR2 gives the flow back.
import { connect, type Frame, type XsknetError } from 'xsknet'
import { type Station, udp } from 'xsknet/headers'

const [uplink = '', host = '', own = '', flow = '', ...refused] = process.argv.slice(2)
const RECORD = 0xc000_0235

const net = await connect()
const port = await net.openPort(own === '' ? { uplink, flows: [flow] } : { uplink, addresses: [own] })
for (const text of refused) {
  const { code, message, hint, details } = await port.claim([text]).then(
    () => ({ code: 'none', message: '', hint: undefined, details: {} }),
    (error: XsknetError) => error,
  )
  console.log(`refused ${JSON.stringify({ code, message, hint, details })}`)
}
if (own !== '') await port.claim([flow])
const mac = own === '' ? port.info.mac : ((await net.uplinks())[0]?.mac ?? '')
const station: Station = { info: { mac, addresses: [host], vlan: null } }
process.on('SIGTERM', () => void port.close())
process.on('SIGUSR2', async () => {
  await port.release([flow])
  console.log('released')
})
console.log(`answering for ${host}`)

for await (const frames of port.batches()) {
  for (const frame of frames) {
    const query = udp(frame)
    if (query?.destinationPort !== 53 || !query.checksumOk) continue
    const length = answer(frame, query.payloadOffset)
    if (udp.answer(frame, station, length)) frame.send()
  }
}
await net.close()

/** Turns a query without other records into its answer; the length of that. */
function answer(frame: Frame, at: number): number {
  let next = at + 12
  while (frame.uint8(next) > 0) next += 1 + frame.uint8(next)
  next += 5 // the root's label, type and class
  frame.length = frame.capacity
  frame.setUint16(at + 2, 0x8400)
  frame.setUint16(at + 4, 1)
  frame.setUint16(at + 6, 1)
  frame.setUint32(at + 8, 0)
  frame.setUint16(next, 0xc00c) // the name of the question
  frame.setUint32(next + 2, 0x0001_0001)
  frame.setUint32(next + 6, 60)
  frame.setUint16(next + 10, 4)
  frame.setUint32(next + 12, RECORD)
  return next + 16 - at
}

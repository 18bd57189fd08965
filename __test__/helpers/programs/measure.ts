// A client that is measured: reads, forwards or sends as fast as it can.
import { connect, type Port, type PortOptions } from 'xsknet'
import { parseIpv4, parseMac, udp } from 'xsknet/headers'
import { serve } from './serve.js'

let port: Port
const done = { frames: 0, batches: 0, bytes: 0, ipv4: 0 }

async function loop(treat: 'drop' | 'forward'): Promise<void> {
  for await (const frames of port.batches()) {
    done.batches++
    for (const frame of frames) {
      done.frames++
      done.bytes += frame.length
      if (frame.uint16(12) === 0x0800) done.ipv4++
      if (treat === 'forward') {
        // Back to where it came from: MACs and IPv4 addresses change places, and checksums stay right.
        const [high, low] = [frame.uint32(0), frame.uint16(4)]
        frame.setUint32(0, frame.uint32(6))
        frame.setUint16(4, frame.uint16(10))
        frame.setUint32(6, high)
        frame.setUint16(10, low)
        const source = frame.uint32(26)
        frame.setUint32(26, frame.uint32(30))
        frame.setUint32(30, source)
        frame.send()
      }
    }
  }
}

async function transmit(to: { mac: string; address: string; port: number }, seconds: number): Promise<void> {
  const packet = { memory: new Uint8Array(64), offset: 0, length: 0, capacity: 64 }
  const destination = parseIpv4(to.address)
  udp.build(packet, port, { destination, destinationMac: parseMac(to.mac), sourcePort: 9, destinationPort: to.port }, 22)
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    for (let i = 0; i < 64; i++) {
      if (port.trySend(packet.memory)) done.frames++
      else break
    }
    await null // one kick
    done.batches++
  }
}

serve({
  open: async (order: PortOptions & { id: number; do: string }) => {
    const { id: _, do: __, ...options } = order
    const net = await connect()
    port = await net.openPort(options)
    return port.info
  },
  drop: () => void loop('drop'),
  forward: () => void loop('forward'),
  /** Sends frames of 64 bytes to the far end, out of what it allocates, for so long. */
  transmit: ({ to, seconds }: { to: { mac: string; address: string; port: number }; seconds: number }) => transmit(to, seconds),
  reading: () => done,
  stats: () => port.stats(),
})

// Questions and answers over UDP: the one end asks, one question at a time, the other answers.
import type { Port } from 'xsknet'
import { parseIpv4, parseMac, udp } from 'xsknet/headers'
import { processorTime } from './watch.js'

export interface Questions {
  /** Whom it asks. */
  to: { mac: string; address: string; port: number }
  count: number
}

/** What asking came to. */
export interface Answers {
  /** Microseconds from before a question is made until its answer is at hand, of each. */
  times: number[]
  /** Answers that were not what was asked. */
  wrong: number
  /** Of a core, what the thread that asked has used: 1 where it never slept. */
  used: number
}

/** Measures that, from when it is called until what it returns is. */
export function usage(): () => number {
  const [processor, began] = [processorTime(), performance.now()]
  return () => ((processorTime() - processor) * 1000) / (performance.now() - began)
}

/** Bytes of a question. */
export const LENGTH = 18

/** Sends every client's datagram back to where it came from. */
export async function answer(port: Port): Promise<void> {
  for await (const frames of port.batches()) {
    for (const frame of frames) {
      const datagram = udp(frame)
      if (!datagram?.checksumOk) continue
      if (udp.answer(frame, port, datagram.payloadLength)) frame.send()
    }
  }
}

export async function ask(port: Port, { to, count }: Questions): Promise<Answers> {
  const times: number[] = []
  let wrong = 0
  const packet = { memory: new Uint8Array(60), offset: 0, length: 0, capacity: 60 }
  const payload = new Uint8Array(LENGTH)
  const fields = {
    destination: parseIpv4(to.address),
    destinationMac: parseMac(to.mac),
    sourcePort: 7777,
    destinationPort: to.port,
  }
  const used = usage()
  let began = 0
  const question = () => {
    began = performance.now()
    new DataView(payload.buffer).setUint32(0, times.length)
    udp.build(packet, port, fields, payload)
    port.trySend(packet.memory.subarray(0, packet.length))
  }
  question()
  loop: for await (const frames of port.batches()) {
    for (const frame of frames) {
      const datagram = udp(frame)
      if (datagram?.sourcePort !== to.port) continue
      const ended = performance.now()
      if (!datagram.checksumOk || frame.uint32(datagram.payloadOffset) !== times.length) wrong++
      times.push((ended - began) * 1000)
      if (times.length === count) break loop
      question()
    }
  }
  return { times, wrong, used: used() }
}

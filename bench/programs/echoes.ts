// Questions and answers over UDP: the one end asks, one question at a time, the other answers.
import type { Port } from 'xsknet'
import { parseIpv4, parseMac, udp } from 'xsknet/headers'
import type { Rings } from './rings.js'
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

/** The same by descriptors, for a port that has nobody else to talk to; it never sleeps, and never ends. */
export function answerSpinning({ queue, batch }: Rings): never {
  const { descriptors, memory } = batch
  for (;;) {
    const before = batch.length
    const received = queue.receive(batch)
    if (received === 0) continue
    for (let i = before; i < batch.length; i++) turnAround(memory, descriptors[2 * i] as number)
    queue.transmit(batch)
    queue.kick()
  }
}

/** MACs, addresses and ports change places; no checksum changes by that. */
function turnAround(memory: Uint8Array, at: number): void {
  swap(memory, at, at + 6, 6)
  swap(memory, at + 26, at + 30, 4)
  swap(memory, at + 34, at + 36, 2)
}

function swap(memory: Uint8Array, one: number, other: number, length: number): void {
  for (let i = 0; i < length; i++) {
    const byte = memory[one + i] as number
    memory[one + i] = memory[other + i] as number
    memory[other + i] = byte
  }
}

/** Asks by descriptors, and never sleeps; what comes beside the answers is ignored. */
export function askSpinning(port: Port, { queue, batch, view }: Rings, { to, count }: Questions): Answers {
  const { descriptors, memory } = batch
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
  while (times.length < count) {
    const began = performance.now()
    new DataView(payload.buffer).setUint32(0, times.length)
    udp.build(packet, port, fields, payload)
    queue.allocate(batch, 1)
    memory.set(packet.memory.subarray(0, packet.length), descriptors[0] as number)
    descriptors[1] = packet.length
    queue.transmit(batch)
    queue.kick()
    for (let answered = false; !answered; ) {
      const received = queue.recycleAndReceive(batch)
      if (performance.now() - began > PATIENCE) throw new Error(`question ${times.length} was not answered`)
      for (let i = 0; i < received; i++) {
        const [at, length] = [descriptors[2 * i] as number, descriptors[2 * i + 1] as number]
        if (length < 46 || view.getUint16(at + 12) !== 0x0800 || view.getUint16(at + 34) !== to.port) continue
        times.push((performance.now() - began) * 1000)
        if (view.getUint32(at + 42) !== times.length - 1) wrong++
        answered = true
      }
    }
    queue.recycle(batch)
  }
  return { times, wrong, used: used() }
}

/** Milliseconds for an answer. */
const PATIENCE = 5000

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

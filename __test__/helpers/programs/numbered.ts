// Numbered datagrams in some flows, as the sources and sinks of the lab make and take them.
import { parseIpv4, parseMac, type Station, udp } from 'xsknet/headers'

/** Flows that are told apart: by the low bits of the sender's UDP port, so neighbouring ports never collide. */
const FLOWS = 64
/** Where things stand in a frame: behind Ethernet and IPv4, and behind UDP. */
const [PORTS, NUMBER, PATTERN] = [34, 42, 50]
const LENGTH = PATTERN + 32
/** Where the destination's UDP port stands. */
export const UDP_PORT = PORTS + 2

/** What came, by what was wrong with it. `frames = distinct + late + corrupt + other`. */
export interface Numbers {
  frames: number
  batches: number
  /** Numbers above all that their flow had before. */
  distinct: number
  /** Numbers that were left out: lost, or late. */
  missing: number
  /** Repeated, or overtaken. */
  late: number
  /** Of the right kind, and altered. */
  corrupt: number
  /** Frames of another kind. */
  other: number
  /** Frames that could not be sent back for want of a slot. */
  unsent: number
}

/** Follows flows, so that each frame costs a look at its bytes and nothing else. */
export class Checker {
  readonly seen: Numbers = { frames: 0, batches: 0, distinct: 0, missing: 0, late: 0, corrupt: 0, other: 0, unsent: 0 }
  readonly #next = new Float64Array(FLOWS)

  /** Whether the frame is one of the flows'. */
  check(memory: Uint8Array, at: number, length: number): boolean {
    const { seen } = this
    seen.frames++
    // Ethernet's type, IPv4 without options, UDP.
    if (
      length < PORTS ||
      memory[at + 12] !== 8 ||
      memory[at + 13] !== 0 ||
      memory[at + 14] !== 0x45 ||
      memory[at + 23] !== 17
    ) {
      seen.other++
      return false
    }
    const number = numberOf(memory, at, length)
    if (number < 0) {
      seen.corrupt++
      return false
    }
    const flow = (memory[at + PORTS + 1] as number) & (FLOWS - 1)
    const next = this.#next[flow] as number
    if (number < next) {
      seen.late++
    } else {
      seen.distinct++
      seen.missing += number - next
      this.#next[flow] = number + 1
    }
    return true
  }
}

/** The number in a frame; -1 where it was altered. */
export function numberOf(memory: Uint8Array, at: number, length: number): number {
  if (length !== LENGTH) return -1
  const number = uint32(memory, at + NUMBER) * 2 ** 32 + uint32(memory, at + NUMBER + 4)
  for (let i = 0; i < 32; i++) if (memory[at + PATTERN + i] !== ((number + i) & 0xff)) return -1
  return number
}

function uint32(memory: Uint8Array, at: number): number {
  const high = ((memory[at] as number) << 8) | (memory[at + 1] as number)
  return ((high << 16) | ((memory[at + 2] as number) << 8) | (memory[at + 3] as number)) >>> 0
}

/** Lets sender and receiver change places: MACs, addresses and ports. No checksum changes. */
export function turnAround(memory: Uint8Array, at: number): void {
  swap(memory, at, at + 6, 6)
  swap(memory, at + 26, at + 30, 4)
  swap(memory, at + PORTS, at + PORTS + 2, 2)
}

function swap(memory: Uint8Array, a: number, b: number, bytes: number): void {
  for (let i = 0; i < bytes; i++) {
    const byte = memory[a + i] as number
    memory[a + i] = memory[b + i] as number
    memory[b + i] = byte
  }
}

/** One frame, whose number and port move on. */
export class Numbered {
  readonly bytes: Uint8Array
  readonly #port: number

  constructor(port: Station, to: To) {
    const packet = { memory: new Uint8Array(LENGTH), offset: 0, length: 0, capacity: LENGTH }
    const receiver = { destination: parseIpv4(to.address), destinationMac: parseMac(to.mac), destinationPort: to.port }
    udp.build(packet, port, { ...receiver, sourcePort: 9 }, LENGTH - NUMBER)
    packet.memory.fill(0, NUMBER - 2, NUMBER) // no checksum, which IPv4 allows
    this.bytes = packet.memory
    this.#port = to.port
  }

  write(memory: Uint8Array, at: number, flow: number, number: number): void {
    if (memory !== this.bytes) memory.set(this.bytes, at)
    const port = this.#port + flow
    memory[at + PORTS + 2] = port >>> 8
    memory[at + PORTS + 3] = port
    const high = Math.floor(number / 2 ** 32)
    for (let i = 0; i < 4; i++) {
      memory[at + NUMBER + i] = high >>> (24 - 8 * i)
      memory[at + NUMBER + 4 + i] = number >>> (24 - 8 * i)
    }
    for (let i = 0; i < 32; i++) memory[at + PATTERN + i] = number + i
  }
}

export interface To {
  mac: string
  address: string
  /** Of the first flow; the others have those behind it. */
  port: number
}

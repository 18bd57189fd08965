/** What a loop has read. The sums make sure that no field is read in vain. bench/peer/parse.h has the same. */
export class Seen {
  /** Of any kind. */
  frames = 0
  /** Of them, UDP over IPv4 to the port asked for, whole. */
  datagrams = 0
  /** Their bytes behind the UDP header. */
  payload = 0
  /** Their addresses and source ports, added up. */
  addresses = 0
}

const FRAME_LEAST = 42
const NUMBER_AT = 42
const PATTERN = 32

/**
 * Reads the EtherType, version and header length, fragment, protocol, total length and both addresses of IPv4, both
 * ports and the length of UDP. By a DataView, whose loads of several bytes are one instruction, and one check. /
 */
export function parse(seen: Seen, view: DataView, at: number, length: number, port: number): void {
  seen.frames++
  if (length < FRAME_LEAST || view.getUint16(at + 12) !== 0x0800 || view.getUint8(at + 14) !== 0x45) return
  const total = view.getUint16(at + 16)
  if (view.getUint8(at + 23) !== 17 || (view.getUint16(at + 20) & 0x3fff) !== 0 || total + 14 > length) return
  const datagram = view.getUint16(at + 38)
  if (datagram < 8 || datagram + 20 > total || view.getUint16(at + 36) !== port) return
  seen.datagrams++
  seen.payload += datagram - 8
  seen.addresses = (seen.addresses + view.getInt32(at + 26) + view.getInt32(at + 30) + view.getUint16(at + 34)) | 0
}

/** Whether the payload is a number, and behind it what follows from the number. */
export function isNumbered(memory: Uint8Array, at: number, length: number): boolean {
  const number = memory[at + NUMBER_AT + 7] as number
  for (let i = 0; i < PATTERN && NUMBER_AT + 8 + i < length; i++) {
    if (memory[at + NUMBER_AT + 8 + i] !== ((number + i) & 0xff)) return false
  }
  return length >= NUMBER_AT + 8
}

/** Writes a number below 2^32, and what follows from it. */
export function writeNumbered(memory: Uint8Array, at: number, length: number, number: number): void {
  const start = at + NUMBER_AT
  memory[start] = memory[start + 1] = memory[start + 2] = memory[start + 3] = 0
  memory[start + 4] = number >>> 24
  memory[start + 5] = number >>> 16
  memory[start + 6] = number >>> 8
  memory[start + 7] = number
  const end = Math.min(start + 8 + PATTERN, at + length)
  for (let to = start + 8, byte = number; to < end; to++, byte++) memory[to] = byte
}

/** MAC addresses change places. */
export function swapMacs(memory: Uint8Array, at: number): void {
  for (let i = at; i < at + 6; i++) {
    const byte = memory[i] as number
    memory[i] = memory[i + 6] as number
    memory[i + 6] = byte
  }
}

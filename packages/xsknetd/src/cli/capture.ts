import { XsknetError } from 'xsknet'

/** A packet of a capture file. */
export interface CapturedPacket {
  /** Its position in the file, counted from 1. */
  readonly number: number
  /** The bytes that were captured. */
  readonly bytes: Uint8Array
  /** The bytes that it had on the wire. */
  readonly length: number
}

const ETHERNET = 1
const SECTION = 0x0a0d0d0a
const BYTE_ORDER = 0x1a2b3c4d
const INTERFACE = 1
const OLD_PACKET = 2
const SIMPLE_PACKET = 3
const ENHANCED_PACKET = 6
/** Magic numbers of pcap: timestamps in microseconds, and in nanoseconds. */
const PCAP: readonly number[] = [0xa1b2c3d4, 0xa1b23c4d]

/**
 * The Ethernet packets of a pcap or pcapng file, one by one. Where the file is damaged, the packets before that are
 * returned first.
 *
 * @param name The file, for errors.
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`.
 */
export function* packetsOf(bytes: Uint8Array, name: string): Generator<CapturedPacket> {
  const file = new Reader(bytes, name)
  const magic = file.u32(0)
  if (magic === SECTION) yield* pcapng(file)
  else if (PCAP.includes(magic)) yield* pcap(file)
  else if (PCAP.includes(swapped(magic))) yield* pcap(file.withOtherOrder())
  else throw file.invalid('it is neither pcap nor pcapng', 0)
}

function* pcap(file: Reader): Generator<CapturedPacket> {
  // The upper half may say that frames have their checksum at the end.
  checkLink(file, file.u32(20) & 0xffff, 20)
  let number = 0
  for (let at = 24; at < file.length; ) {
    const captured = file.u32(at + 8)
    number += 1
    yield { number, bytes: file.bytes(at + 16, captured), length: file.u32(at + 12) }
    at += 16 + captured
  }
}

function* pcapng(first: Reader): Generator<CapturedPacket> {
  let file = first
  /** The snap length of each interface of the section; `undefined` where it is not Ethernet. */
  let interfaces: (number | undefined)[] = []
  let number = 0
  for (let at = 0; at < file.length; ) {
    if (first.u32(at) === SECTION) {
      const order = first.u32(at + 8)
      if (order !== BYTE_ORDER && swapped(order) !== BYTE_ORDER)
        throw file.invalid('the byte order of a section is not valid', at + 8)
      file = order === BYTE_ORDER ? first : first.withOtherOrder()
      interfaces = []
    }
    const [kind, total] = [file.u32(at), file.u32(at + 4)]
    if (total < 12 || total % 4 !== 0) throw file.invalid(`a block of ${total} bytes is not possible`, at)
    const block = file.part(at, total)
    if (block.u32(total - 4) !== total) throw file.invalid('the two lengths of a block differ', at)
    at += total
    if (kind === INTERFACE) {
      interfaces.push(block.u16(8) === ETHERNET ? block.u32(12) : undefined)
      continue
    }
    const packet = packetIn(block, kind, interfaces)
    if (packet) {
      number += 1
      yield { number, ...packet }
    }
  }
}

function packetIn(
  block: Reader,
  kind: number,
  interfaces: readonly (number | undefined)[],
): Omit<CapturedPacket, 'number'> | undefined {
  // What a simple packet does not have is behind the block's header otherwise.
  const simple = kind === SIMPLE_PACKET
  if (!simple && kind !== ENHANCED_PACKET && kind !== OLD_PACKET) return undefined
  const of = simple ? 0 : kind === OLD_PACKET ? block.u16(8) : block.u32(8)
  if (of >= interfaces.length) throw block.invalid(`the section has no interface ${of}`, 8)
  const snap = interfaces[of]
  if (snap === undefined) throw block.invalid(`interface ${of} is not Ethernet`, 8)
  if (!simple) return { bytes: block.bytes(28, block.u32(20)), length: block.u32(24) }
  const length = block.u32(8)
  return { bytes: block.bytes(12, snap === 0 ? length : Math.min(length, snap)), length }
}

function checkLink(file: Reader, link: number, at: number): void {
  if (link !== ETHERNET) throw file.invalid(`its packets are not Ethernet (link type ${link})`, at)
}

function swapped(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0
}

/** Reads within bounds; what lies beyond is an error. */
class Reader {
  readonly length: number
  readonly #view: DataView
  readonly #name: string
  readonly #start: number
  readonly #little: boolean

  constructor(bytes: Uint8Array, name: string, start = 0, little = true) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.length = bytes.length
    this.#name = name
    this.#start = start
    this.#little = little
  }

  withOtherOrder(): Reader {
    return new Reader(this.bytes(0, this.length), this.#name, this.#start, !this.#little)
  }

  u32(at: number): number {
    this.#check(at, 4)
    return this.#view.getUint32(at, this.#little)
  }

  u16(at: number): number {
    this.#check(at, 2)
    return this.#view.getUint16(at, this.#little)
  }

  bytes(at: number, length: number): Uint8Array {
    this.#check(at, length)
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + at, length)
  }

  part(at: number, length: number): Reader {
    return new Reader(this.bytes(at, length), this.#name, this.#start + at, this.#little)
  }

  invalid(why: string, at: number): XsknetError {
    const offset = this.#start + at
    return new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `${this.#name}: ${why} (at byte ${offset})`, {
      hint: 'Give a pcap or pcapng file of an Ethernet interface, as `tcpdump -w` writes it.',
      details: { file: this.#name, offset },
    })
  }

  #check(at: number, length: number): void {
    if (at + length > this.length) throw this.invalid('the file ends too early', Math.min(at, this.length))
  }
}

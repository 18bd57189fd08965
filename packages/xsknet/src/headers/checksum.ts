/** The Internet checksum of RFC 1071. */
export interface Checksum {
  /**
   * The checksum of `length` bytes of `memory` from `offset`: the value for a header whose checksum field is 0. Over a
   * range that contains its right checksum, the result is 0.
   *
   * @param initial A sum to start with, such as that of a pseudo-header; `~checksum(…) & 0xffff` is the sum of an
   * earlier part of even length.
   */
  (memory: Uint8Array, offset: number, length: number, initial?: number): number
  /**
   * The checksum after one 16-bit word that it covers changed its value (RFC 1624, equation 3). It equals a checksum
   * that is computed again, unless all words are zero; no IP header or pseudo-header has only zeros.
   */
  update(checksum: number, from: number, to: number): number
}

/** Computes and updates Internet checksums. Allocates nothing. */
export const checksum: Checksum = Object.assign(
  (memory: Uint8Array, offset: number, length: number, initial = 0) => ~sum(memory, offset, length, initial) & 0xffff,
  { update },
)

export function update(checksum: number, from: number, to: number): number {
  return ~fold((~checksum & 0xffff) + (~from & 0xffff) + to) & 0xffff
}

/** The one's complement sum, in 16 bits. 0xffff over what carries its right checksum. */
export function sum(memory: Uint8Array, offset: number, length: number, initial = 0): number {
  const view = viewOf(memory)
  const end = offset + length
  let total = initial
  let at = offset
  for (; at + 4 <= end; at += 4) {
    const word = view.getInt32(at)
    total += (word >>> 16) + (word & 0xffff)
  }
  if (at + 2 <= end) {
    total += view.getUint16(at)
    at += 2
  }
  if (at < end) total += view.getUint8(at) << 8
  return fold(total)
}

function fold(total: number): number {
  let folded = total
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16)
  return folded
}

const views = new WeakMap<Uint8Array, DataView>()
let lastMemory = new Uint8Array() as Uint8Array
let lastView = new DataView(lastMemory.buffer)

/** A `DataView` over the memory: it reads four bytes at once, which makes sums two to three times as fast. */
function viewOf(memory: Uint8Array): DataView {
  if (memory === lastMemory) return lastView
  let view = views.get(memory)
  if (!view) {
    view = new DataView(memory.buffer, memory.byteOffset, memory.length)
    views.set(memory, view)
  }
  lastMemory = memory
  lastView = view
  return view
}

// Network byte order over a Uint8Array. Nothing here checks a bound: the caller has compared with the packet's end.

export function uint8(memory: Uint8Array, at: number): number {
  return memory[at] as number
}

export function uint16(memory: Uint8Array, at: number): number {
  return (uint8(memory, at) << 8) | uint8(memory, at + 1)
}

/** Signed: V8 keeps every such number unboxed, and to compare two of them it does as well as an unsigned one. */
export function int32(memory: Uint8Array, at: number): number {
  return (uint16(memory, at) << 16) | uint16(memory, at + 2)
}

export function uint32(memory: Uint8Array, at: number): number {
  return int32(memory, at) >>> 0
}

export function uint48(memory: Uint8Array, at: number): number {
  return uint16(memory, at) * 0x1_0000_0000 + uint32(memory, at + 2)
}

export function setUint16(memory: Uint8Array, at: number, value: number): void {
  memory[at] = value >> 8
  memory[at + 1] = value
}

export function setUint32(memory: Uint8Array, at: number, value: number): void {
  setUint16(memory, at, value >> 16)
  setUint16(memory, at + 2, value)
}

export function setUint48(memory: Uint8Array, at: number, value: number): void {
  setUint16(memory, at, value / 0x1_0000_0000)
  setUint32(memory, at + 2, value)
}

/** For a few bytes, which a call of `copyWithin` would cost more than. */
export function copy(memory: Uint8Array, to: number, from: number, length: number): void {
  for (let i = 0; i < length; i++) memory[to + i] = uint8(memory, from + i)
}

export function swap(memory: Uint8Array, a: number, b: number, length: number): void {
  for (let i = 0; i < length; i++) {
    const kept = uint8(memory, a + i)
    memory[a + i] = uint8(memory, b + i)
    memory[b + i] = kept
  }
}

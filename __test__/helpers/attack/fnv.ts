// Names whose FNV-1a hash is chosen: what an identity that follows from an unkeyed hash of a name is worth.
//
// One step of FNV-1a is (h ^ c) × P. The byte changes the lowest eight bits alone, so h ^ c is h + d, where d follows
// from c and the lowest byte of h; and the lowest byte after the step follows from the lowest byte before it. So blocks
// of characters that begin and end with lowest bytes that are set beforehand add numbers to the hash that do not depend
// on one another, and eight lists of such numbers have a sum of 64 given bits that is quickly found (Wagner, "A
// generalized birthday problem").
import type { Random } from '../programs/random.js'

const MASK = (1n << 64n) - 1n
const BASIS = 0xcbf2_9ce4_8422_2325n
const PRIME = 0x0100_0000_01b3n
/** The inverse of the prime's lowest byte, modulo 256. */
const INVERSE = [...Array(256).keys()].find((n) => ((n * 0xb3) & 0xff) === 1) as number

/** What names are made of. */
const ALPHABET = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_')
const BLOCKS = 8
const CHARACTERS = 4
/** Entries of one list. */
const ENTRIES = 1 << 15
/** Bits that are known after each merge; the lowest 8 are right from the beginning. */
const KNOWN = [22n, 36n] as const

export function fnv1a(bytes: Uint8Array, hash = BASIS): bigint {
  return bytes.reduce((hash, byte) => step(hash, byte), hash)
}

/** The locally administered MAC that is made of a hash by folding both ends together. */
export function foldedMac(hash: bigint): string {
  const folded = ((hash ^ (hash >> 32n)) & 0xffff_ffff_ffffn) | 0x0200_0000_0000n
  const octets = (folded & ~0x0100_0000_0000n).toString(16).padStart(12, '0')
  return octets.replace(/..(?=.)/g, '$&:')
}

/**
 * A name of 32 characters with which `prefix` gives exactly this MAC, which must be unicast and locally administered.
 */
export function nameFor(prefix: string, mac: string, random: Random): string {
  for (;;) {
    const name = search(fnv1a(Buffer.from(prefix)), unfolded(mac, random), random)
    if (name !== undefined) return name
  }
}

/** One of the 2^18 hashes of a MAC. */
function unfolded(mac: string, random: Random): bigint {
  const folded = BigInt(`0x${mac.replaceAll(':', '')}`)
  const high = ((folded >> 32n) & 0xffffn) | (BigInt(random.below(0x1_0000)) << 16n)
  return (high << 32n) | ((folded ^ high) & 0xffff_ffffn)
}

interface Sum {
  sum: bigint
  text: string
}

function search(from: bigint, to: bigint, random: Random): string | undefined {
  const bytes = [
    Number(from & 0xffn),
    ...Array.from({ length: BLOCKS - 1 }, () => random.below(256)),
    Number(to & 0xffn),
  ]
  let lists = Array.from({ length: BLOCKS }, (_, block) => {
    const [first, last] = [bytes[block], bytes[block + 1]] as [number, number]
    const weight = power(BigInt(CHARACTERS * (BLOCKS - 1 - block)))
    return entries(first, last, random).map(({ sum, text }) => ({ sum: (sum * weight) & MASK, text }))
  })
  const rest = (to - from * power(BigInt(CHARACTERS * BLOCKS))) & MASK
  for (const bits of KNOWN) {
    const mask = (1n << bits) - 1n
    // What each pair has to come to: as its first entries do, but for the last pair, which has what remains.
    const wanted = pairs(lists).map(([a, b]) => ((a[0]?.sum ?? 0n) + (b[0]?.sum ?? 0n)) & mask)
    const others = wanted.slice(0, -1).reduce((sum, one) => sum + one, 0n)
    wanted[wanted.length - 1] = (rest - others) & mask
    lists = pairs(lists).map(([a, b], i) => merged(a, b, wanted[i] as bigint, mask))
  }
  const [[a, b]] = pairs(lists) as [[Sum[], Sum[]]]
  return merged(a, b, rest, MASK)[0]?.text
}

/** Blocks of characters that lead from one lowest byte to another, and what they add to the hash. */
function entries(first: number, last: number, random: Random): Sum[] {
  const found: Sum[] = []
  const start = random.below(ALPHABET.length ** 3)
  for (let n = 0; n < ALPHABET.length ** 3 && found.length < ENTRIES; n++) {
    // Odd, so that every one of them comes once.
    const choice = (start + n * 77_777) % ALPHABET.length ** 3
    const text = [choice % 64, (choice >> 6) % 64, choice >> 12].map((i) => ALPHABET[i] as number)
    let low = first
    for (const character of text) low = ((low ^ character) * 0xb3) & 0xff
    const needed = low ^ ((last * INVERSE) & 0xff)
    if (!ALPHABET.includes(needed)) continue
    text.push(needed)
    let sum = 0n
    low = first
    for (const character of text) {
      sum = ((sum + BigInt((low ^ character) - low)) * PRIME) & MASK
      low = ((low ^ character) * 0xb3) & 0xff
    }
    found.push({ sum, text: Buffer.from(text).toString() })
  }
  return found
}

/** Sums of one of each list that come to `wanted`. */
function merged(left: readonly Sum[], right: readonly Sum[], wanted: bigint, mask: bigint): Sum[] {
  const byRest = new Map<bigint, Sum>(right.map((entry) => [(wanted - entry.sum) & mask, entry]))
  const found: Sum[] = []
  for (const entry of left) {
    const other = byRest.get(entry.sum & mask)
    if (other) found.push({ sum: (entry.sum + other.sum) & MASK, text: entry.text + other.text })
  }
  return found
}

function pairs<T>(all: readonly T[]): [T, T][] {
  return Array.from({ length: all.length / 2 }, (_, i) => [all[2 * i], all[2 * i + 1]] as [T, T])
}

function step(hash: bigint, byte: number): bigint {
  return ((hash ^ BigInt(byte)) * PRIME) & MASK
}

function power(exponent: bigint): bigint {
  let result = 1n
  for (let n = 0n; n < exponent; n++) result = (result * PRIME) & MASK
  return result
}

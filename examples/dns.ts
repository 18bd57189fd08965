// A minimal name server (RFC 1035): all names have the same addresses.
import { isIP } from 'node:net'
import type { Frame } from 'xsknet'
import { parseIpv4, parseIpv6 } from 'xsknet/headers'

/** An address in words of 32 bits, by record type: 1 is A, 28 is AAAA. */
export type Zone = Map<number, number[]>

/** The first IPv4 and the first IPv6 address. */
export function zoneOf(addresses: readonly string[]): Zone {
  const zone: Zone = new Map()
  for (const address of addresses.map((text) => text.replace(/\/.*/, '')).reverse()) {
    if (isIP(address) === 4) zone.set(1, [parseIpv4(address)])
    if (isIP(address) === 6) zone.set(28, [...parseIpv6(address)])
  }
  return zone
}

/**
 * Turns the query at offset `at` of the frame into its answer, in place. Returns the answer's length in bytes, or 0 if
 * the query is not answered.
 */
export function answerDns(frame: Frame, at: number, length: number, zone: Zone): number {
  const end = at + length
  const isQuestion = length >= 17 && (frame.uint16(at + 2) & 0xf800) === 0 && frame.uint16(at + 4) === 1
  if (!isQuestion) return 0

  let next = at + 12
  while (next < end && frame.uint8(next) > 0) next += 1 + frame.uint8(next) // the labels of the name
  next += 5 // the root's label, type and class
  if (next > end) return 0
  const type = frame.uint16(next - 4)
  const words = zone.get(type) ?? []
  if (next + 12 + 4 * words.length > frame.capacity) return 0

  frame.length = frame.capacity // space to write; udp.answer() sets the final length
  frame.setUint16(at + 2, 0x8400 | (frame.uint16(at + 2) & 0x0100)) // an authoritative answer
  frame.setUint16(at + 6, words.length > 0 ? 1 : 0)
  frame.setUint32(at + 8, 0) // no other records, EDNS included
  if (words.length === 0) return next - at

  frame.setUint16(next, 0xc00c) // the name that was asked for
  frame.setUint16(next + 2, type)
  frame.setUint16(next + 4, 1)
  frame.setUint32(next + 6, 60) // time to live, in seconds
  frame.setUint16(next + 10, 4 * words.length)
  for (const [i, word] of words.entries()) frame.setUint32(next + 12 + 4 * i, word)
  return next + 12 + 4 * words.length - at
}

import { isIPv4, isIPv6 } from 'node:net'
import { wrongValue } from '../arguments.js'

/** An IPv6 address as four uint32 words, the most significant first. */
export type Ipv6Words = ArrayLike<number>

/**
 * A MAC as a number of 48 bits.
 *
 * @param text Six pairs of hexadecimal digits with colons, such as `02:00:00:00:00:01`.
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if the text is not such an address.
 */
export function parseMac(text: string): number {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text))
    throw wrongValue('text', 'must be a MAC, such as 02:00:00:00:00:01', text)
  return Number.parseInt(text.replaceAll(':', ''), 16)
}

/** The MAC as six pairs of lower-case hexadecimal digits with colons. */
export function formatMac(mac: number): string {
  const digits = mac.toString(16).padStart(12, '0')
  return digits.replace(/..(?=.)/g, '$&:')
}

/**
 * An IPv4 address as a uint32.
 *
 * @param text Four decimal numbers with dots.
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if the text is not such an address.
 */
export function parseIpv4(text: string): number {
  if (!isIPv4(text)) throw wrongValue('text', 'must be an IPv4 address, such as 192.0.2.10', text)
  return text.split('.').reduce((address, byte) => address * 256 + Number(byte), 0)
}

/** The IPv4 address as four decimal numbers with dots. */
export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.')
}

/**
 * An IPv6 address as four uint32 words.
 *
 * @param text As in RFC 4291, section 2.2. A zone (`%eth0`) is refused: no header carries it.
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` if the text is not such an address.
 */
export function parseIpv6(text: string): Uint32Array {
  if (!isIPv6(text) || text.includes('%'))
    throw wrongValue('text', 'must be an IPv6 address, such as 2001:db8::10', text)
  const [before, after] = text.split('::')
  const head = groups(before)
  const tail = groups(after)
  const all = [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail]
  return Uint32Array.from({ length: 4 }, (_, word) => Number(all[2 * word]) * 0x1_0000 + Number(all[2 * word + 1]))
}

/** The 16-bit groups of one side of `::`; an IPv4 address at its end is two of them. */
function groups(side: string | undefined): number[] {
  if (!side) return []
  return side.split(':').flatMap((group) => {
    if (!group.includes('.')) return Number.parseInt(group, 16)
    const address = parseIpv4(group)
    return [address >>> 16, address & 0xffff]
  })
}

/** The IPv6 address in the form of RFC 5952; IPv4-mapped addresses end in dotted decimal. */
export function formatIpv6(words: Ipv6Words): string {
  const [first = 0, second = 0, third = 0, fourth = 0] = Array.from(words)
  if (first === 0 && second === 0 && third === 0xffff) return `::ffff:${formatIpv4(fourth)}`

  const text = [first, second, third, fourth].map(
    (word) => `${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`,
  )
  const all = text.join(':')
  // The longest run of two zeros or more, of equal ones the first.
  const runs = [...all.matchAll(/(?<![^:])0(:0)+/g)]
  const longest = runs.reduce((best, [run]) => (run.length > best.length ? run : best), '')
  if (!longest) return all
  const at = runs.find(([run]) => run === longest)?.index ?? 0
  return `${all.slice(0, at).replace(/:$/, '')}::${all.slice(at + longest.length).replace(/^:/, '')}`
}

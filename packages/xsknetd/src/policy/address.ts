import { isIP, SocketAddress } from 'node:net'
import { XsknetError } from 'xsknet'

/** An address of a port. */
export interface Address {
  /** In canonical notation. */
  readonly ip: string
  /** Prefix length of its network. No decision depends on it; the port's info returns it. */
  readonly prefix: number
}

interface Parsed extends Address {
  readonly width: number
  readonly bits: bigint
  /** Whether the text contained a prefix length. */
  readonly explicit: boolean
}

/**
 * Parses `192.0.2.10/24` or `2001:db8::10`.
 *
 * @throws {XsknetError} `ERR_XSKNET_ADDRESS_INVALID`.
 */
export function parseAddress(text: string): Address {
  const { ip, prefix } = parse(text)
  return { ip, prefix }
}

/**
 * Parses an address for a single host. Networks of one or two addresses have no others (RFC 3021, RFC 6164).
 *
 * @throws {XsknetError} `ERR_XSKNET_ADDRESS_INVALID`.
 */
export function parseHostAddress(text: string): Address {
  const { ip, prefix, width, bits } = parse(text)
  const free = BigInt(width - prefix)
  if (free < 2n) return { ip, prefix }
  const last = (1n << free) - 1n
  const [first, block] = [bits & ~last, `${write(bits & ~last, width)}/${prefix}`]
  if (width === 32) {
    const hint = `Host addresses in ${block} are ${write(first + 1n, width)} to ${write(first + last - 1n, width)}.`
    if (bits === first) throw invalid(text, `it is the network address of ${block}`, hint)
    if (bits === first + last) throw invalid(text, `it is the broadcast address of ${block}`, hint)
  } else if (bits === first) {
    const why = `it is the subnet-router anycast address of ${block} (RFC 4291)`
    throw invalid(text, why, `The first host address is ${write(first + 1n, width)}.`)
  }
  return { ip, prefix }
}

const linkLocal = 0xfe80n << 112n
const mapped = 0xffffn

/** A network prefix. */
interface Block {
  readonly width: number
  readonly bits: bigint
  readonly prefix: number
}

function within({ width, bits, prefix }: Block, other: bigint): boolean {
  const free = BigInt(width - prefix)
  return other >> free === bits >> free
}

/**
 * Addresses that the core refuses for every port. A grant of nothing else is a mistake; one that contains them among
 * others, such as `0.0.0.0/0`, is not: it allows any address.
 */
const UNUSABLE: readonly (Block & { why: string })[] = (
  [
    ['127.0.0.0/8', 'loopback'],
    ['::1/128', 'loopback'],
    ['224.0.0.0/4', 'multicast'],
    ['ff00::/8', 'multicast'],
    ['0.0.0.0/32', 'unspecified'],
    ['::/128', 'unspecified'],
    ['255.255.255.255/32', 'broadcast'],
  ] as const
).map(([text, why]) => ({ ...parse(text), why }))

/** A range of addresses that a grant allows, such as `192.0.2.8/29`, or a single address. */
export class AddressRange {
  readonly #block: Parsed

  /** @throws {XsknetError} `ERR_XSKNET_ADDRESS_INVALID`. */
  constructor(text: string) {
    const block = parse(text)
    const { width, bits } = block
    const prefix = block.explicit ? block.prefix : width
    const free = BigInt(width - prefix)
    const first = (bits >> free) << free
    if (first !== bits) {
      const why = `host bits are set after its /${prefix} prefix`
      throw invalid(text, why, `Did you mean ${write(first, width)}/${prefix}?`)
    }
    this.#block = { ...block, prefix }
  }

  /** The kind of its addresses, such as `loopback`, if no port can have any of them. */
  get unusable(): string | undefined {
    const { width, bits, prefix } = this.#block
    return UNUSABLE.find((other) => other.width === width && prefix >= other.prefix && within(other, bits))?.why
  }

  has(address: Address): boolean {
    const { width, bits, prefix } = this.#block
    const other = parse(address.ip)
    return other.width === width && within({ width, bits, prefix }, other.bits)
  }

  toString(): string {
    const { ip, width, prefix } = this.#block
    return prefix === width ? ip : `${ip}/${prefix}`
  }
}

// Not node:net's BlockList, because it applies IPv4 rules to IPv4-mapped IPv6 addresses too, and ignores bits after a
// prefix.
function parse(text: string): Parsed {
  const [, written = '', length] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(written)
  if (version === 0 || written.includes('%')) {
    const hint = 'Write an address such as 192.0.2.10, 192.0.2.10/24 or 2001:db8::10/64, without a zone ID.'
    throw invalid(text, 'it is not an IP address', hint)
  }
  const width = version === 4 ? 32 : 128
  const ip = canonical(written, width)
  const bits = toBits(ip, width)
  if (width === 128 && bits >> 32n === mapped) {
    throw invalid(text, 'it is an IPv4-mapped IPv6 address', `Use ${write(bits & 0xffff_ffffn, 32)}.`)
  }
  const usual = width === 128 && bits >> 64n === linkLocal >> 64n ? 64 : width
  const prefix = length === undefined ? usual : Number(length)
  if (prefix > width) throw invalid(text, `its prefix length is greater than ${width}`, `The maximum is /${width}.`)
  return { ip, prefix, width, bits, explicit: length !== undefined }
}

function canonical(ip: string, width: number): string {
  return new SocketAddress({ address: ip, family: width === 32 ? 'ipv4' : 'ipv6' }).address
}

function toBits(ip: string, width: number): bigint {
  if (width === 32) return ip.split('.').reduce((bits, byte) => (bits << 8n) | BigInt(byte), 0n)
  // The last two groups may be written as an IPv4 address.
  const hex = ip.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => {
    const group = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16)
    return `${group(a, b)}:${group(c, d)}`
  })
  const [head = '', tail] = hex.split('::')
  const front = head === '' ? [] : head.split(':')
  const back = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...front, ...Array<string>(8 - front.length - back.length).fill('0'), ...back]
  return groups.reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n)
}

function write(bits: bigint, width: number): string {
  const size = width === 32 ? 8n : 16n
  const count = width === 32 ? 4 : 8
  const parts = Array.from(
    { length: count },
    (_, at) => (bits >> (size * BigInt(count - 1 - at))) & ((1n << size) - 1n),
  )
  return width === 32 ? parts.join('.') : canonical(parts.map((part) => part.toString(16)).join(':'), width)
}

function invalid(text: string, why: string, hint: string): XsknetError {
  const address = text.slice(0, 64)
  return new XsknetError('ERR_XSKNET_ADDRESS_INVALID', `invalid address \`${address}\`: ${why}`, {
    hint,
    details: { address },
  })
}

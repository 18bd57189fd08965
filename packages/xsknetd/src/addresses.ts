import { isIP, SocketAddress } from 'node:net'
import { XsknetError } from 'xsknet'

/** An address of a port. */
export interface Address {
  /** In the one way of writing it that this daemon uses. */
  readonly ip: string
  /** How many of its leading bits its network has. It decides nothing here; the port's info gives it back. */
  readonly prefix: number
}

interface Parsed extends Address {
  readonly width: number
  readonly bits: bigint
  /** The prefix was written down. */
  readonly explicit: boolean
}

/**
 * Reads `192.0.2.10/24` or `2001:db8::10`.
 *
 * @throws {XsknetError} `ERR_XSKNET_ADDRESS_INVALID`.
 */
export function readAddress(text: string): Address {
  const { ip, prefix } = parse(text)
  return { ip, prefix }
}

/**
 * The same of an address that one host is to have. Networks of one or two addresses have no others (RFC 3021, RFC 6164).
 *
 * @throws {XsknetError} `ERR_XSKNET_ADDRESS_INVALID`.
 */
export function readHostAddress(text: string): Address {
  const { ip, prefix, width, bits } = parse(text)
  const free = BigInt(width - prefix)
  if (free < 2n) return { ip, prefix }
  const last = (1n << free) - 1n
  const [first, block] = [bits & ~last, `${write(bits & ~last, width)}/${prefix}`]
  if (width === 32) {
    const hint = `Hosts of ${block} have ${write(first + 1n, width)} to ${write(first + last - 1n, width)}.`
    if (bits === first) throw unfit(text, 'it is the address of the network itself', hint)
    if (bits === first + last) throw unfit(text, `it is the broadcast address of ${block}`, hint)
  } else if (bits === first) {
    throw unfit(text, `all routers of ${block} have it (RFC 4291)`, `The first one of a host is ${write(first + 1n, width)}.`)
  }
  return { ip, prefix }
}

const linkLocal = 0xfe80n << 112n
const mapped = 0xffffn

/** The addresses that begin with the same bits. */
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
 * What the core refuses as the address of any port. A grant of nothing else is a slip; one that has them among others, such as
 * `0.0.0.0/0`, is not: it says that any address will do.
 */
const nobodys: readonly (Block & { why: string })[] = (
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

/** A block of addresses that a grant allows, such as `192.0.2.8/29`, or a single one. */
export class Range {
  readonly #block: Parsed

  /** @throws {XsknetError} `ERR_XSKNET_ADDRESS_INVALID`. */
  constructor(text: string) {
    const block = parse(text)
    const { width, bits } = block
    const prefix = block.explicit ? block.prefix : width
    const free = BigInt(width - prefix)
    const first = (bits >> free) << free
    if (first !== bits) {
      const right = `${write(first, width)}/${prefix}`
      throw unfit(text, `it has bits set behind its prefix of ${prefix}`, `The range that it lies in is ${right}.`)
    }
    this.#block = { ...block, prefix }
  }

  /** The kind of address, such as `loopback`, if it has no other: the core refuses those to every port. */
  get useless(): string | undefined {
    const { width, bits, prefix } = this.#block
    return nobodys.find((other) => other.width === width && prefix >= other.prefix && within(other, bits))?.why
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

// The arithmetic is our own, because node:net's BlockList takes IPv4 rules for IPv4-mapped IPv6 addresses too and says
// nothing of bits behind a prefix.
function parse(text: string): Parsed {
  const [, written = '', length] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(written)
  if (version === 0 || written.includes('%')) {
    throw unfit(text, 'it is no address', 'Write it like 192.0.2.10, 192.0.2.10/24 or 2001:db8::10/64, without a zone.')
  }
  const width = version === 4 ? 32 : 128
  const ip = canonical(written, width)
  const bits = toBits(ip, width)
  if (width === 128 && bits >> 32n === mapped) {
    throw unfit(text, 'it is an IPv4-mapped IPv6 address', `Write ${write(bits & 0xffff_ffffn, 32)}.`)
  }
  const usual = width === 128 && bits >> 64n === linkLocal >> 64n ? 64 : width
  const prefix = length === undefined ? usual : Number(length)
  if (prefix > width) throw unfit(text, `its prefix is longer than its ${width} bits`, `The longest is /${width}.`)
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
  const parts = Array.from({ length: count }, (_, at) => (bits >> (size * BigInt(count - 1 - at))) & ((1n << size) - 1n))
  return width === 32 ? parts.join('.') : canonical(parts.map((part) => part.toString(16)).join(':'), width)
}

function unfit(text: string, why: string, hint: string): XsknetError {
  const address = text.slice(0, 64)
  return new XsknetError('ERR_XSKNET_ADDRESS_INVALID', `\`${address}\` cannot be used as an address: ${why}`, {
    hint,
    details: { address },
  })
}

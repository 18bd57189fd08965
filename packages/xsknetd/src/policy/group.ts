import { isIP } from 'node:net'
import { XsknetError } from 'xsknet'
import { type Address, AddressRange, parseAddress } from './address.js'

/** What frames to several stations are sent to. */
export interface Group {
  /** In canonical notation: `broadcast`, a MAC in lower case, or an address. */
  readonly text: string
  /** Absent for `broadcast` and a MAC. */
  readonly address?: Address
}

const BROADCAST = 'broadcast'
const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff'
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/
const MULTICAST = [new AddressRange('224.0.0.0/4'), new AddressRange('ff00::/8')]

/**
 * Parses `broadcast`, a multicast address or a multicast MAC.
 *
 * @throws {XsknetError} `ERR_XSKNET_GROUP_INVALID`.
 */
export function parseGroup(text: string): Group {
  const group = groupOf(text)
  if (group) return group
  const shown = text.slice(0, 64)
  throw new XsknetError('ERR_XSKNET_GROUP_INVALID', `\`${shown}\` is not a group that a port can join`, {
    hint: 'Name a multicast address such as 224.0.0.251 or ff02::1, a MAC such as 01:80:c2:00:00:0e, or broadcast.',
    details: { group: shown },
  })
}

/** The groups of a request, each of them once. */
export function parseGroups(texts: readonly string[]): Group[] {
  return [...new Map(texts.map(parseGroup).map((group) => [group.text, group])).values()]
}

function groupOf(text: string): Group | undefined {
  const mac = text.toLowerCase()
  if (mac === BROADCAST_MAC || text === BROADCAST) return { text: BROADCAST }
  if (MAC.test(mac)) return Number.parseInt(mac.slice(0, 2), 16) & 1 ? { text: mac } : undefined
  if (isIP(text) === 0 || text.includes('%')) return undefined
  const address = parseAddress(text)
  return MULTICAST.some((range) => range.has(address)) ? { text: address.ip, address } : undefined
}

/** Groups that a grant allows: `broadcast`, a MAC, a multicast address, or a range of these, such as `239.0.0.0/8`. */
export class GroupRange {
  readonly #text: string
  readonly #range: AddressRange | undefined

  /** @throws {XsknetError} `ERR_XSKNET_GROUP_INVALID` or `ERR_XSKNET_ADDRESS_INVALID`. */
  constructor(text: string) {
    const [first = ''] = text.split('/')
    const group = parseGroup(first)
    this.#range = group.address && new AddressRange(text)
    this.#text = this.#range ? String(this.#range) : group.text
    // A shorter prefix would have other addresses, too; a MAC has none.
    if (this.#range ? this.#range.unusable !== 'multicast' : first !== text) parseGroup(text)
  }

  has({ text, address }: Group): boolean {
    return this.#range ? address !== undefined && this.#range.has(address) : text === this.#text
  }

  toString(): string {
    return this.#text
  }
}

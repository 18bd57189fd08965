import { wrongValue } from '../arguments.js'
import { parseIpv4, parseIpv6, parseMac } from './address.js'
import { int32, setUint48, uint8, uint16 } from './bytes.js'
import { at, UNTAGGED } from './layers.js'
import type { Station } from './packet.js'
import { isBetweenStations, isStation4 } from './senders.js'

/** ff02::/32, as `int32` reads it. */
const LINK_LOCAL_GROUP = 0xff02_0000 | 0
/** The last word of a solicited-node group, which has the last 24 bits of an address. */
const SOLICITED_NODE = 0xff00_0000 | 0

/** A station's MAC, VLAN and addresses as numbers. Signed ones, as `int32` reads them. */
export class Host {
  readonly mac = new Uint8Array(6)
  readonly vlan: number
  readonly ipv4: Int32Array
  /** Four words an address. */
  readonly ipv6: Int32Array
  readonly #addresses: readonly string[]
  readonly #ipv4Prefixes: readonly number[]
  readonly #ipv6Prefixes: readonly number[]

  constructor({ mac, addresses, vlan }: Station['info']) {
    setUint48(this.mac, 0, parseMac(mac))
    this.vlan = vlan ?? UNTAGGED
    this.#addresses = addresses

    const ipv4: number[] = []
    const ipv6: number[] = []
    const ipv4Prefixes: number[] = []
    const ipv6Prefixes: number[] = []
    for (const text of addresses) {
      const [address = '', prefix] = text.split('/')
      if (address.includes(':')) {
        const words = parseIpv6(address)
        ipv6.push(...words)
        ipv6Prefixes.push(isLinkLocal(words) ? 64 : Number(prefix ?? 128))
      } else {
        ipv4.push(parseIpv4(address))
        ipv4Prefixes.push(Number(prefix ?? 32))
      }
    }
    this.ipv4 = Int32Array.from(ipv4)
    this.ipv6 = Int32Array.from(ipv6)
    this.#ipv4Prefixes = ipv4Prefixes
    this.#ipv6Prefixes = ipv6Prefixes
  }

  /** Writes the MAC. Its number would be one that V8 puts into an object. */
  writeMac(memory: Uint8Array, offset: number): void {
    for (let i = 0; i < 6; i++) memory[offset + i] = uint8(this.mac, i)
  }

  /** The packet that was read last is of this VLAN. */
  isInVlan(): boolean {
    return at.vlan === this.vlan
  }

  /** The packet that was read last goes to this MAC. */
  isDestination(): boolean {
    return this.hasMac(at.start)
  }

  /** The source MAC of the packet that was read last is this one. */
  isSource(): boolean {
    return this.hasMac(at.start + 6)
  }

  /** The MAC is at that offset of the packet that was read last. */
  hasMac(offset: number): boolean {
    const { memory } = at
    return int32(memory, offset) === int32(this.mac, 0) && uint16(memory, offset + 4) === uint16(this.mac, 4)
  }

  /**
   * The IP packet that was read last is for this station alone, in its VLAN, and from another one that can be answered.
   */
  isAsked(): boolean {
    if (!this.isInVlan() || !this.isDestination() || this.isSource() || !isBetweenStations()) return false
    const { memory, network } = at
    if (at.version === 4) return this.isStranger4(memory, network + 12) && this.ownsIpv4(memory, network + 16)
    return !this.ownsIpv6(memory, network + 8) && this.ownsIpv6(memory, network + 24)
  }

  /** The address of another station: neither an own one nor the broadcast of an own network. */
  isStranger4(memory: Uint8Array, offset: number): boolean {
    return isStation4(memory, offset) && !this.ownsIpv4(memory, offset) && !this.#isBroadcast(int32(memory, offset))
  }

  /** Networks of two addresses, or of one, have none (RFC 3021). */
  #isBroadcast(address: number): boolean {
    const { ipv4 } = this
    for (let i = 0; i < ipv4.length; i++) {
      const prefix = this.#ipv4Prefixes[i] as number
      if (prefix < 31 && address === ((ipv4[i] as number) | (prefix === 0 ? -1 : 0xffff_ffff >>> prefix))) return true
    }
    return false
  }

  ownsIpv4(memory: Uint8Array, offset: number): boolean {
    const { ipv4 } = this
    const address = int32(memory, offset)
    for (let i = 0; i < ipv4.length; i++) if (ipv4[i] === address) return true
    return false
  }

  ownsIpv6(memory: Uint8Array, offset: number): boolean {
    const { ipv6 } = this
    for (let i = 0; i < ipv6.length; i += 4) {
      if (
        ipv6[i + 3] === int32(memory, offset + 12) &&
        ipv6[i + 2] === int32(memory, offset + 8) &&
        ipv6[i + 1] === int32(memory, offset + 4) &&
        ipv6[i] === int32(memory, offset)
      )
        return true
    }
    return false
  }

  /**
   * Whether the station is in the group at that offset: all nodes, or a solicited-node group of one of its addresses
   * (RFC 4291, section 2.8).
   */
  isInGroup6(memory: Uint8Array, offset: number): boolean {
    const { ipv6 } = this
    if (int32(memory, offset) !== LINK_LOCAL_GROUP || int32(memory, offset + 4) !== 0) return false
    const third = int32(memory, offset + 8)
    const fourth = int32(memory, offset + 12)
    if (third === 0 && fourth === 1) return ipv6.length > 0
    if (third !== 1) return false
    for (let i = 3; i < ipv6.length; i += 4) if (fourth === ((ipv6[i] as number) | SOLICITED_NODE)) return true
    return false
  }

  /** The own address, signed, on whose network `destination` is, else the first one. */
  ipv4Towards(destination: number): number {
    const { ipv4 } = this
    for (let i = 0; i < ipv4.length; i++) {
      if (sameBits(ipv4[i] as number, destination, this.#ipv4Prefixes[i] as number)) return ipv4[i] as number
    }
    if (ipv4.length === 0) throw this.#without('IPv4')
    return ipv4[0] as number
  }

  /** Where in `ipv6` the own address stands on whose network `destination` is, else the first one. */
  ipv6Towards(destination: ArrayLike<number>): number {
    const { ipv6 } = this
    for (let i = 0; i < ipv6.length; i += 4) if (this.#isNear6(i, destination)) return i
    if (ipv6.length === 0) throw this.#without('IPv6')
    return 0
  }

  #isNear6(i: number, destination: ArrayLike<number>): boolean {
    const prefix = this.#ipv6Prefixes[i >> 2] as number
    for (let word = 0; word < 4; word++) {
      if (!sameBits(this.ipv6[i + word] as number, (destination[word] ?? 0) | 0, prefix - 32 * word)) return false
    }
    return true
  }

  #without(kind: string): TypeError {
    return wrongValue('station.info.addresses', `must hold an ${kind} address to send from`, this.#addresses)
  }
}

function isLinkLocal(words: ArrayLike<number>): boolean {
  return sameBits(words[0] ?? 0, 0xfe80_0000, 10)
}

/** Whether the first bits of two 32-bit words are equal; with 0 or less there are none to differ. */
function sameBits(a: number, b: number, bits: number): boolean {
  return bits <= 0 || (a ^ b) >>> Math.max(32 - bits, 0) === 0
}

const hosts = new WeakMap<Station['info'], Host>()
// What is remembered here outlives its use, so it is the port's `info` and not the port: a forgotten port can be
// collected.
let lastInfo: Station['info'] | undefined
let lastHost: Host | undefined

/** The station's numbers. Its text is parsed at the first call. */
export function hostOf({ info }: Station): Host {
  if (info === lastInfo && lastHost) return lastHost
  let host = hosts.get(info)
  if (!host) {
    host = new Host(info)
    hosts.set(info, host)
  }
  lastInfo = info
  lastHost = host
  return host
}

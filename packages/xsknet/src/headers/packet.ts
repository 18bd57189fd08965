/** Bytes that start with an Ethernet header: a `Frame` of a batch, or an object of yours around any `Uint8Array`. */
export interface Packet {
  /** The memory that the packet lies in; of a frame, the whole UMEM. */
  readonly memory: Uint8Array
  /** The offset of the packet's first byte in `memory`. */
  readonly offset: number
  /** The packet's length in bytes. Functions that answer or build set it. */
  length: number
  /** The maximum of `length`, in bytes. */
  readonly capacity: number
}

/** A station that receives and sends packets: an open `Port`, or your own object of this shape. */
export interface Station {
  /** Read once for each such object and then remembered: make a new one instead of changing it. */
  readonly info: {
    /** Such as `02:00:00:00:00:01`. */
    readonly mac: string
    /** IPv4 and IPv6, each with or without its prefix length, such as `192.0.2.10/24`. */
    readonly addresses: readonly string[]
    /** The 802.1Q VLAN ID of all its packets, in their outer tag; `null`: only untagged packets. */
    readonly vlan: number | null
  }
}

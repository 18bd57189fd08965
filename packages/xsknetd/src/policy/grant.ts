import type { AddressRange } from './address.js'
import type { GroupRange } from './group.js'

/** A VLAN ID from 1 to 4094; `null`: untagged frames. */
export type Vlan = number | null

/** How many frames or bits may pass per second, and how many of them at once. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** Limits on what a port sends, and on its copies. Absent means unlimited. */
export interface Rates {
  /** Frames to the uplink; likewise `multicast` and `unknownUnicast`. */
  readonly broadcast?: Rate
  readonly multicast?: Rate
  /** Unicast to a MAC address from which no frame has arrived. */
  readonly unknownUnicast?: Rate
  /** Copies of frames to its groups, or for a tap. */
  readonly copies?: Rate
  /** All frames that it sends, those to other ports included. */
  readonly frames?: Rate
  /** The bits of these frames. */
  readonly bits?: Rate
}

/** What the guard lets a port send beyond ordinary frames, and at what rate. */
export interface Rights {
  /** Frames with VLAN tags inside the port's own tag. */
  readonly innerTags: boolean
  /** Frames that affect the routing of others: source routes, VRRP, OSPF, and IGMP and MLD queries. */
  readonly routing: boolean
  readonly rates: Rates
}

/** What a user, or each member of a group, may have. */
export interface Grant extends Rights {
  readonly holder: { readonly uid: number } | { readonly gid: number }
  /** Interfaces on which ports may be opened. */
  readonly uplinks: readonly string[]
  /** Without any, ports have flows alone. */
  readonly addresses: readonly AddressRange[]
  readonly vlans: readonly Vlan[]
  /** Maximum number of open ports of one user. */
  readonly ports: number
  /** Maximum number of queues of one port. */
  readonly queues: number
  /** Maximum number of slots of each ring of a port. */
  readonly ringSize: number
  /** Maximum UMEM of one user's ports together, in bytes. */
  readonly memory: number
  /**
   * Whether ports may be pinned: inner end in the user's network namespace, socket created by the user's own program.
   */
  readonly pinned: boolean
  /** Whether sockets may use busy polling. */
  readonly busyPoll: boolean
  /** Whether UMEMs may use the host's huge pages. */
  readonly hugePages: boolean
  /** Whether ports may have BPF rings. */
  readonly bpfRings: boolean
  /** Whether ports may have their addresses at the uplink's MAC. */
  readonly uplinkMac: boolean
  /** Filter expressions; ports may claim flows that these contain. */
  readonly flows: readonly string[]
  /** Whether flows may take packets of the host's own. */
  readonly overrideHost: boolean
  /** Groups that ports may join. */
  readonly groups: readonly GroupRange[]
  /** Whether ports may be taps, which get copies of everything that passes the uplink. */
  readonly tap: boolean
  /** Whether taps may have the uplink receive frames for other stations. */
  readonly promiscuous: boolean
  /** Where the grant was defined, for messages: `the 2nd [[grant]] of /etc/xsknetd.toml`. */
  readonly origin: string
}

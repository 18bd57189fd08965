import type {
  Attempt,
  Pinned,
  PinnedPortInfo,
  PinnedPortRequest,
  PortInfo,
  PortRequest,
  PortStatistics,
  Result,
  SocketDescription,
  UplinkInfo,
  UplinkStatistics,
} from 'xsknet/protocol'
import type { Rights } from '../policy/grant.js'
import type { Descriptors } from './transport.js'

/** The requested XDP mode of an uplink; `unspecified` is the best mode that the kernel grants. */
export type UplinkMode = 'native' | 'skb' | 'hw' | 'unspecified'

/** A port, or without `port` an uplink, whose devices were deleted, moved or changed by others. */
export interface Loss {
  readonly uplink: string
  readonly port?: number
  /** What the client changed at the port's inner end: `its MAC was changed from … to …`. */
  readonly change?: string
}

/** The properties of an uplink that others may change at any time. */
export type UplinkState = Pick<UplinkInfo, 'device' | 'mac' | 'mtu' | 'link'>

/** A change to the host by others that does not end a port. */
export interface HostChange {
  readonly uplink: string
  /** The port concerned; absent if the change concerns the uplink. */
  readonly port?: number
  /** The uplink's new state. */
  readonly nic?: UplinkState
  /** An address of the port that the host now has too. */
  readonly address?: string
  /** The program that was reattached to `device`, unless there is a `failure`. */
  readonly program?: string
  readonly device?: string
  /** How the program was lost: `another program detached it`. */
  readonly why?: string
  /** An offload that hides VLAN tags, which was switched on and then off again, unless there is a `failure`. */
  readonly offload?: string
  /** A VLAN of ports that the uplink filtered out and now accepts again, unless there is a `failure`. */
  readonly vlan?: number
  readonly failure?: string
}

/** A checked request of a client. Its addresses have no prefix lengths; without any, the port has flows alone. */
export type InstanceRequest<R extends PinnedPortRequest> = Omit<R, 'uplink' | 'addresses'> & {
  readonly addresses: string[]
}

/** A port's owner, and what its guard lets pass. */
export interface PortTerms extends Rights {
  readonly uid: number
}

/** An explanation with all ports by their numbers, also those that the user who asks may not know of. */
export type Told = Omit<Explained, 'target'> & {
  readonly counter: string
  readonly target: { readonly port: number; readonly queue: number; readonly rings: 'xsk' | 'bpf' } | null
}
type Explained = Result<'explainArrival'>['explanation']

/** Samples of refused frames. */
export type Refusals = Result<'refusals'>['refusals']

/** A port that has been built but not yet handed to its client. */
export interface OpenedPort {
  /** Its number. */
  readonly key: number
  readonly info: PortInfo
  /** The socket of each queue, in order. */
  readonly sockets: readonly SocketDescription[]
  /**
   * The descriptors of each queue, as the protocol has them. From now on a loss of the port is reported, an earlier one
   * included.
   */
  takeDescriptors(): Descriptors
}

/** A pinned port that has been built but not yet announced to its client. */
export interface OpenedPinnedPort {
  /** Its number. */
  readonly key: number
  readonly info: PinnedPortInfo
  readonly pinned: Pinned
  /** From now on a loss of the port is reported, an earlier one included. */
  announce(): void
}

/**
 * An instance with its uplinks and ports: everything that the daemon does to the host. Rejects with {@link
 * XsknetError}s.
 */
export interface Instance {
  /**
   * Opens the instance, once, after undoing what an earlier run of the same name left. Without a name it gets a unique
   * one.
   *
   * @returns Its name.
   */
  begin(name: string | undefined): Promise<string>
  onLoss(listener: (loss: Loss) => void): void
  /** To be called before {@link onLoss}. */
  onChange(listener: (change: HostChange) => void): void
  manage(uplink: string, mode: UplinkMode): Promise<UplinkInfo>
  /** Bytes of a huge page; a UMEM in huge pages fills whole pages. 0 if the kernel has none. */
  hugePageBytes(): number
  /**
   * Throws if no such port is possible, regardless of other ports and of the user. Makes no system call.
   *
   * @param uplink The uplink whose MTU is checked; absent if the user may not know of it.
   */
  checkPort(uplink: string | undefined, request: InstanceRequest<PortRequest>): void
  /** Does the same for a pinned port. */
  checkPinnedPort(uplink: string | undefined, request: InstanceRequest<PinnedPortRequest>): void
  openPort(uplink: string, request: InstanceRequest<PortRequest>, terms: PortTerms): Promise<OpenedPort>
  /**
   * Opens a port with its inner end in `namespace` and its pin accessible to the user of the terms and to `gid`. Takes
   * over both descriptors.
   *
   * @param own The network namespace of the client's process, which is always accepted.
   */
  openPinnedPort(
    uplink: string,
    request: InstanceRequest<PinnedPortRequest>,
    terms: PortTerms,
    gid: number,
    namespace: Descriptors,
    own: Descriptors,
  ): Promise<OpenedPinnedPort>
  /** Reports this socket's statistics as the port's from now on. Takes over the descriptor. */
  shareSocket(port: number, socket: Descriptors): Promise<void>
  /** Changes the flows of a port: all of it, or nothing. */
  changeFlows(
    port: number,
    change: 'claim' | 'release' | 'replace',
    flows: readonly string[],
    overrideHost: boolean,
  ): Promise<void>
  /** Those of the expressions of which not every flow is contained in a flow of those granted. */
  flowsOutside(flows: readonly string[], granted: readonly string[]): Promise<string[]>
  /** Changes the groups of a port: all of it, or nothing. Resolves to what the switches were not told. */
  changeGroups(port: number, change: 'join' | 'leave', groups: readonly string[]): Promise<Attempt[]>
  closePort(port: number): Promise<void>
  /**
   * Resolves when the kernel has freed the port's sockets and their memory, which it does once every descriptor of them
   * is closed, possibly never. To be called once, right after {@link closePort}. Never rejects.
   */
  freed(port: number): Promise<void>
  portStatistics(port: number): Promise<PortStatistics>
  uplinkStatistics(uplink: string): Promise<UplinkStatistics>
  /** What an uplink's program decides about a packet that arrives, with all ports by their numbers. */
  explainArrival(uplink: string, packet: Uint8Array): Promise<Told>
  /** What the guard decides about a packet that a port sends, likewise. */
  explainSending(port: number, packet: Uint8Array): Promise<Told>
  /** Samples of the frames of a port that its guard refused since the last call. The first call has them taken. */
  refusals(port: number): Promise<Refusals>
  /** Closes all ports of an uplink and restores the interface. */
  release(uplink: string): Promise<void>
  /** Undoes everything, open ports included. */
  close(): Promise<void>
  /** Does the same synchronously, for a process that is about to exit; also while the instance is being opened. */
  closeNow(): void
}

/** The result of cleaning up an instance whose process was killed. */
export interface SweptInstance {
  readonly instance: string
  /** Why part of it is still there. */
  readonly failure?: string | undefined
}

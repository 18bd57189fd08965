import type {
  Pinned,
  PinnedPortInfo,
  PinnedPortRequest,
  PortInfo,
  PortRequest,
  PortStatistics,
  SocketDescription,
  UplinkInfo,
  UplinkStatistics,
} from 'xsknet/protocol'
import type { Rights } from '../policy/policy.js'
import type { Descriptors } from './transport.js'

/** The mode that a card's program is asked for; `unspecified` is the best that the kernel grants. */
export type UplinkMode = 'native' | 'skb' | 'hw' | 'unspecified'

/** What was taken away by others: a port's devices, or, without a port, the card. */
export interface Loss {
  readonly uplink: string
  readonly port?: number
  /** What the port's owner did to its own end: `its MAC was changed from … to …`. */
  readonly change?: string
}

/** What of a card others may change at any time. */
export type Card = Pick<UplinkInfo, 'device' | 'mac' | 'mtu' | 'link'>

/** What others did that nothing was lost by. */
export interface Change {
  readonly uplink: string
  /** The port that it is about; without one it is about the card. */
  readonly port?: number
  /** What the card is now. */
  readonly card?: Card
  /** An address of the port that the host has got, too. */
  readonly address?: string
  /** The program that was put back on `device`, unless there is a `failure`. */
  readonly program?: string
  readonly device?: string
  /** What had become of it: `somebody took it off`. */
  readonly why?: string
  /** An offload of the card that hides VLANs, which was switched on and off again, unless there is a `failure`. */
  readonly offload?: string
  /** A VLAN of ports that the card was made to shut out, and lets in again, unless there is a `failure`. */
  readonly vlan?: number
  readonly failure?: string
}

/** On what terms a port is opened: whose it is, and what its guard lets pass. */
export interface Terms extends Rights {
  readonly uid: number
}

/** A port that was made and not yet handed over. */
export interface OpenedPort {
  readonly key: number
  readonly info: PortInfo
  /** Of each queue, in their order. */
  readonly sockets: readonly SocketDescription[]
  /** Of each queue the XSK and the file of its UMEM. From now on a loss of the port is told, an earlier one included. */
  takeDescriptors(): Descriptors
}

/** A port whose socket its client makes, made and not yet told of. */
export interface OpenedPinnedPort {
  readonly key: number
  readonly info: PinnedPortInfo
  readonly pinned: Pinned
  /** From now on a loss of the port is told, an earlier one included. */
  announce(): void
}

/** All that the daemon does to the host: an instance, its uplinks and ports. It rejects with {@link XsknetError}s. */
export interface Ground {
  /**
   * Opens the instance, once, after undoing what an earlier run of its name left; without a name it gets one that nobody has.
   *
   * @returns Its name.
   */
  begin(name: string | undefined): Promise<string>
  onLoss(listener: (loss: Loss) => void): void
  /** To be called before {@link onLoss}. */
  onChange(listener: (change: Change) => void): void
  manage(uplink: string, mode: UplinkMode): Promise<UplinkInfo>
  /** Bytes of a huge page, of which a UMEM in such pages fills whole ones; 0 where the kernel has none. */
  hugePageBytes(): number
  /**
   * Throws where there can be no such port, whatever others have and whoever asks. It asks the kernel nothing.
   *
   * @param uplink Whose MTU counts; absent where it may not be told.
   */
  checkPort(uplink: string | undefined, request: Omit<PortRequest, 'uplink' | 'mac'>): void
  /** The same of a pinned port. */
  checkPinnedPort(uplink: string | undefined, request: Omit<PinnedPortRequest, 'uplink' | 'mac'>): void
  openPort(uplink: string, request: Omit<PortRequest, 'uplink' | 'mac'>, terms: Terms): Promise<OpenedPort>
  /**
   * The inner end goes to the namespace, the pin to the user of the terms and the group. Takes both descriptors over.
   *
   * @param own The network namespace that the owner's process is in, which is good enough.
   */
  openPinnedPort(
    uplink: string,
    request: Omit<PinnedPortRequest, 'uplink' | 'mac'>,
    terms: Terms,
    gid: number,
    namespace: Descriptors,
    own: Descriptors,
  ): Promise<OpenedPinnedPort>
  /** The port's statistics are those of this socket from now on. Takes the descriptor over. */
  shareSocket(port: number, socket: Descriptors): Promise<void>
  closePort(port: number): Promise<void>
  /**
   * Asked once, right after {@link closePort} was called: resolves when the kernel has nothing left of the port's sockets and their memory,
   * which takes as long as anybody has a descriptor of them, perhaps for ever. Never rejects.
   */
  freed(port: number): Promise<void>
  portStatistics(port: number): Promise<PortStatistics>
  uplinkStatistics(uplink: string): Promise<UplinkStatistics>
  release(uplink: string): Promise<void>
  /** Undoes everything, open ports included. */
  close(): Promise<void>
  /** The same before it returns, for a process that is about to exit; also while it is being opened. */
  closeNow(): void
}

/** What became of an instance that a killed process had left. */
export interface Swept {
  readonly instance: string
  /** Why something of it is still there. */
  readonly failure?: string | undefined
}

import type { Trust } from './trust.js'

/** Who is at the other end, as the kernel tells it. */
export interface Credentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
  /** Supplementary groups. */
  readonly groups: readonly number[]
}

/** File descriptors on their way in or out. Whoever takes them over leaves none here. */
export interface Descriptors {
  readonly length: number
  close(): void
}

/** One connection of a client: whole messages both ways. */
export interface Wire {
  readonly credentials: Credentials
  /** The longest message that the client may send, in bytes. */
  readonly longest: number
  /** Whether the client's messages may bring descriptors. Where the kernel can, it lets none of any other client through. */
  readonly sendsDescriptors: boolean
  /**
   * Begins to read.
   *
   * @param onMessage `message` is `null` where it had more than `longest` bytes; `descriptors` came with it, none perhaps, and whoever
   * is called has to close them.
   * @param onEnd Called once, last.
   */
  start(
    onMessage: (message: Uint8Array | null, length: number, descriptors: Descriptors) => void,
    onEnd: (reason: string) => void,
  ): void
  /** Takes the descriptors. False: the client is cut off or gone. */
  send(message: Uint8Array, descriptors?: Descriptors): boolean
  /**
   * The network namespace that the client's process is in at this moment.
   *
   * @throws {XsknetError} `ERR_XSKNET_NAMESPACE_INVALID` if the process has ended, or for a client that may not send descriptors.
   */
  namespace(): Descriptors
  /** A message has been dealt with, so that one more may be read. */
  done(): void
  /** What was sent may still leave, within a second. */
  close(): void
}

/** The socket that clients connect to. */
export interface Listener {
  /** Makes the socket, for every user, or for this process's user and root alone. Once. */
  listen(path: string, everybody: boolean, limits: WireLimits, onConnection: (wire: Wire) => void): Promise<void>
  /** Nothing is left to do where it never listened. */
  close(): Promise<void>
  /** The same before it returns, for a process that is about to exit; also while the socket is being made. */
  closeNow(): void
}

/** What is read, in the long run and at once after a quiet time. What is beyond it waits in the socket. */
export interface Rates {
  /** Messages a second. A new connection counts as one. */
  readonly messages: number
  readonly messagesAtOnce: number
  /** Bytes a second. */
  readonly bytes: number
  readonly bytesAtOnce: number
}

/** What one user may cost, over all its connections. */
export interface Bounds {
  readonly connections: number
  /** The longest message, in bytes. */
  readonly longest: number
  readonly rates: Rates
}

/** What the transport holds every client to, and who is who. */
export interface WireLimits extends Trust {
  readonly root: Bounds
  /** Users whom a grant names. */
  readonly holders: Bounds
  /** Those who have a grant by a group alone; */
  readonly members: Bounds
  /** and all these together. */
  readonly allMembers: Omit<Bounds, 'longest'>
  /** Those without a grant; */
  readonly strangers: Bounds
  /** and all these together. */
  readonly allStrangers: Omit<Bounds, 'longest'>
  /** Messages of one client that were read and not yet answered. */
  readonly inFlight: number
  /** Messages to one client that it has not read; one more, and it is cut off. */
  readonly queuedMessages: number
  /** Milliseconds that a client may take until its first message. One that waits to be read has come. */
  readonly silence: number
  /** What a client is told that comes when there are too many. */
  readonly refusal: Uint8Array
  /** What a client is told from which nothing came in time. */
  readonly silenceRefusal: Uint8Array
}

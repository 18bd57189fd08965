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
  /** The network namespace that the client's process is in now: one descriptor. */
  namespace(): Descriptors
  /**
   * Begins to read.
   *
   * @param onMessage `message` is `null` where it had more than 65,536 bytes; `descriptors` came with it, none perhaps, and whoever
   * is called has to close them.
   * @param onEnd Called once, last.
   */
  start(
    onMessage: (message: Uint8Array | null, length: number, descriptors: Descriptors) => void,
    onEnd: (reason: string) => void,
  ): void
  /** Takes the descriptors. False: the client is cut off or gone. */
  send(message: Uint8Array, descriptors?: Descriptors): boolean
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

/** What the transport holds every client to. */
export interface WireLimits {
  readonly connections: number
  readonly connectionsPerUser: number
  readonly messagesPerSecond: number
  readonly burst: number
  /** Messages of one client that were read and not yet answered. */
  readonly inFlight: number
  /** Messages to one client that it has not read; one more, and it is cut off. */
  readonly queuedMessages: number
  /** What a client is told that comes when there are too many. */
  readonly refusal: Uint8Array
}

import type { Credentials } from '../policy/credentials.js'
import type { TrustedUsers } from '../policy/trusted-users.js'

/** File descriptors that are received or about to be sent. Passing them on leaves none here. */
export interface Descriptors {
  readonly length: number
  close(): void
}

/** How a connection ended. */
export interface ConnectionEnd {
  /** `gone`: the client closed it or ended. `not-reading` and `silent`: the client was disconnected for that. */
  readonly kind: 'gone' | 'closed' | 'not-reading' | 'silent' | 'failed'
  /** The reason in words, for the log. */
  readonly reason: string
}

/** A client's connection, which carries whole messages in both directions. */
export interface Connection {
  readonly credentials: Credentials
  /** The longest message that the client may send, in bytes. */
  readonly longest: number
  /** Whether the client's messages may carry descriptors. From other clients the kernel rejects them, where it can. */
  readonly sendsDescriptors: boolean
  /**
   * Starts reading.
   *
   * @param onMessage Called for each message; `message` is `null` if it was longer than `longest` bytes. `descriptors`
   * are those that came with the message, possibly none; the callee has to close them.
   * @param onEnd Called once, last.
   */
  start(
    onMessage: (message: Uint8Array | null, length: number, descriptors: Descriptors) => void,
    onEnd: (end: ConnectionEnd) => void,
  ): void
  /**
   * Sends a message and takes over the descriptors.
   *
   * @returns Whether it was queued; `false` if the client is gone or was disconnected because it does not read.
   */
  send(message: Uint8Array, descriptors?: Descriptors): boolean
  /**
   * Opens the network namespace that the client's process is in at this moment.
   *
   * @throws {XsknetError} `ERR_XSKNET_NAMESPACE_INVALID` if the process has ended, or if the client may not send
   * descriptors.
   */
  namespace(): Descriptors
  /** Reports that a message has been handled, so that another one may be read. */
  done(): void
  /** Closes the connection. Queued messages may still be sent, for up to a second. */
  close(): void
}

/** The control socket, to which clients connect. */
export interface Listener {
  /** Creates the socket, for all users or only for root and this process's user. To be called once. */
  listen(
    path: string,
    allUsers: boolean,
    limits: ConnectionLimits,
    onConnection: (connection: Connection) => void,
  ): Promise<void>
  /** Stops listening and removes the socket. Does nothing if it never listened. */
  close(): Promise<void>
  /** Does the same synchronously, for a process that is about to exit; also while the socket is being created. */
  closeNow(): void
}

/** Token-bucket limits on what is read. Anything beyond them stays in the socket. */
export interface MessageRates {
  /** Messages per second. A new connection counts as one. */
  readonly messages: number
  /** Burst: messages that are read at once after an idle period. */
  readonly messagesAtOnce: number
  /** Bytes per second. */
  readonly bytes: number
  /** Burst: bytes that are read at once after an idle period. */
  readonly bytesAtOnce: number
}

/** The limits of one user, over all of its connections. */
export interface UserLimits {
  readonly connections: number
  /** The longest message, in bytes. */
  readonly longest: number
  readonly rates: MessageRates
}

/** The limits of all clients, and which users belong to which class. */
export interface ConnectionLimits extends TrustedUsers {
  readonly root: UserLimits
  /** Each user that a grant names. */
  readonly holders: UserLimits
  /** Each user that has a grant only through a group. */
  readonly members: UserLimits
  /** All `members` together. */
  readonly allMembers: Omit<UserLimits, 'longest'>
  /** Each user without a grant. */
  readonly strangers: UserLimits
  /** All `strangers` together. */
  readonly allStrangers: Omit<UserLimits, 'longest'>
  /** Messages of one client that have been read but not yet answered. */
  readonly inFlight: number
  /** Messages that are queued for one client; when one more is sent, the client is disconnected. */
  readonly queuedMessages: number
  /** Milliseconds that a client may take until its first message. A message that waits to be read counts. */
  readonly silence: number
  /** The answer to a connection beyond the limit. */
  readonly refusal: Uint8Array
  /** The answer to a client that sent nothing in time. */
  readonly silenceRefusal: Uint8Array
}

/** Every code that an {@link XsknetError} can carry, and what it means. A code keeps its meaning for ever. */
export const errorCodes = {
  ERR_XSKNET_UNSUPPORTED_PLATFORM: 'No binding of this package loads on this system.',
  ERR_XSKNET_NOT_SUPPORTED: 'It is planned, but not built yet.',

  ERR_XSKNET_DAEMON_ABSENT: 'Nobody answers on the daemon’s socket.',
  ERR_XSKNET_DAEMON_GONE: 'The connection to the daemon has ended; open ports go on without it.',
  ERR_XSKNET_NETWORK_CLOSED: 'The network was closed by its own `close()`.',

  ERR_XSKNET_READER_BUSY: 'A port has one reader at a time.',
  ERR_XSKNET_LEASE_ENDED: 'A batch or frame was used after its turn of the loop, or a frame after it was sent or dropped.',
  ERR_XSKNET_PORT_CLOSED: 'The port was closed by its own `close()` or `destroy()`.',
  ERR_XSKNET_QUEUE_HANDED_OVER: 'The queue was handed over to another thread, where it is used now.',
  ERR_XSKNET_TOKEN_VOID: 'The token was adopted before, or its port has ended, or another process made it.',
  ERR_XSKNET_PORT_LOST: 'The port was taken away: its card, its devices or its daemon’s hold on them went.',
  ERR_XSKNET_FRAME_TOO_LONG: 'More bytes than a frame of the port holds, or than its MTU allows.',
  ERR_XSKNET_RING_BROKEN: 'The kernel’s side of a ring holds indices that cannot be.',

  ERR_XSKNET_PROTOCOL_VERSION: 'The other side speaks another version of the protocol.',
  ERR_XSKNET_MESSAGE_MALFORMED: 'A message is no JSON, or not of the protocol’s schema.',
  ERR_XSKNET_MESSAGE_TOO_LONG: 'A message has more than 65,536 bytes.',
  ERR_XSKNET_OPERATION_UNKNOWN: 'A request names an operation that the protocol does not have.',
  ERR_XSKNET_UNEXPECTED_DESCRIPTORS: 'File descriptors came with a message that takes none, or others than it takes.',
  ERR_XSKNET_HELLO_MISSING: 'The first message was not `hello`, or did not come in time, or came twice.',

  ERR_XSKNET_NOT_PERMITTED: 'The policy does not grant it to this user.',
  ERR_XSKNET_LIMIT_REACHED: 'More than this user may have at once.',
  ERR_XSKNET_CONFIGURATION_INVALID: 'The configuration or the command line cannot be followed.',
  ERR_XSKNET_INTERNAL: 'The daemon failed in a way that it does not know: a bug.',

  ERR_XSKNET_INSTANCE_NAME_INVALID: 'It cannot name an instance.',
  ERR_XSKNET_INSTANCE_RUNNING: 'A daemon of this instance is running.',
  ERR_XSKNET_ABILITY_MISSING: 'The kernel lacks something that XSKNet is built on.',
  ERR_XSKNET_JOURNAL_DAMAGED: 'The journal of an earlier run cannot be trusted.',
  ERR_XSKNET_MOUNTS_HIDDEN: 'The daemon runs in a sandbox that hides its mounts from the machine.',
  ERR_XSKNET_SECRET_INVALID: 'The secret that ports’ MACs are made with cannot be read, made, or kept from others.',
  ERR_XSKNET_KERNEL_REFUSED: 'The kernel refused a step; the cause says which and why.',

  ERR_XSKNET_LAB_BUSY: 'Processes run in the lab that is to be removed or built anew.',
  ERR_XSKNET_LAB_FOREIGN: 'Something that no lab made has the name of one of its machines.',

  ERR_XSKNET_DEVICE_MISSING: 'There is no device of this name.',
  ERR_XSKNET_DEVICE_NAME_INVALID: 'It cannot name a device.',
  ERR_XSKNET_DEVICE_MANAGED: 'Another instance manages the device.',
  ERR_XSKNET_DEVICE_FOREIGN_PROGRAM: 'The device carries an XDP program of somebody else.',
  ERR_XSKNET_DEVICE_NOT_ETHERNET: 'The device is no Ethernet card.',
  ERR_XSKNET_DEVICE_DEAF: 'The device gets no frames for the MACs of ports: a macvlan or an ipvlan.',
  ERR_XSKNET_PROGRAM_REFUSED: 'The kernel refused to load or attach a program.',

  ERR_XSKNET_UPLINK_MISSING: 'The daemon does not manage a card of this name.',
  ERR_XSKNET_UPLINK_CLOSED: 'The card is no longer managed.',
  ERR_XSKNET_LINK_DOWN: 'The card is switched off or has no carrier.',
  ERR_XSKNET_PORTS_EXHAUSTED: 'The uplink has as many ports as it can have.',
  ERR_XSKNET_PORT_UNKNOWN: 'This client has no such port.',
  ERR_XSKNET_ADDRESS_MISSING: 'A port needs at least one address.',
  ERR_XSKNET_ADDRESS_INVALID: 'It cannot be a port’s address.',
  ERR_XSKNET_ADDRESS_TAKEN: 'The address belongs to another port, to the host, or to a neighbour.',
  ERR_XSKNET_MAC_INVALID: 'It cannot be a port’s MAC.',
  ERR_XSKNET_MAC_TAKEN: 'The MAC belongs to another port, to the host, or to a neighbour.',
  ERR_XSKNET_NAME_INVALID: 'It cannot name a port.',
  ERR_XSKNET_NAME_TAKEN: 'Another port of the same user on the uplink has this name.',
  ERR_XSKNET_VLAN_INVALID: 'It is no VLAN.',
  ERR_XSKNET_MTU_TOO_LARGE: 'Frames of this MTU do not fit the port’s chunks.',
  ERR_XSKNET_MTU_TOO_SMALL: 'The MTU is less than 68.',
  ERR_XSKNET_MTU_ABOVE_UPLINK: 'The MTU is larger than the uplink’s.',
  ERR_XSKNET_LAYOUT_INVALID: 'UMEM and rings cannot be of these sizes.',
  ERR_XSKNET_SOCKET_REFUSED: 'The port’s socket could not be made or adopted.',
  ERR_XSKNET_NAMESPACE_INVALID: 'What came as a network namespace is none, or cannot take a port’s inner end.',
  ERR_XSKNET_GUARD_INVALID: 'The guard of a pinned port would run where frames can still change behind it.',
  ERR_XSKNET_SELF_TEST_FAILED: 'A frame sent through the new port did not arrive.',
} as const

/** One of {@link errorCodes}. */
export type XsknetErrorCode = keyof typeof errorCodes

export interface XsknetErrorOptions {
  /** What to do about it, in one sentence. */
  hint?: string | undefined
  /** The nouns and numbers of the message, for programs. */
  details?: Readonly<Record<string, unknown>> | undefined
  /** Why it failed: the error underneath. A refusal by the kernel keeps its `errno` and `syscall` there. */
  cause?: unknown
}

/** What this package throws and rejects with, apart from the reason of an aborted signal. Tell errors apart by `code`. */
export class XsknetError extends Error {
  static {
    XsknetError.prototype.name = 'XsknetError'
  }

  readonly code: XsknetErrorCode
  /** What to do about it, where there is something to do. */
  readonly hint: string | undefined
  /** The nouns and numbers of the message. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: XsknetErrorCode, message: string, options: XsknetErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.hint = options.hint
    this.details = options.details ?? {}
  }
}

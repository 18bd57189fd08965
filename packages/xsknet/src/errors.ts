/** Every code that an {@link XsknetError} can have, and its meaning. The meaning of a code never changes. */
export const errorCodes = {
  ERR_XSKNET_UNSUPPORTED_PLATFORM: 'No binding of this package loads on this system.',
  ERR_XSKNET_NOT_SUPPORTED: 'The feature is not implemented yet.',

  ERR_XSKNET_DAEMON_ABSENT: 'No daemon answers on the control socket.',
  ERR_XSKNET_DAEMON_GONE: 'The connection to the daemon has ended; open ports go on without it.',
  ERR_XSKNET_NETWORK_CLOSED: 'The network was closed by its own `close()`.',

  ERR_XSKNET_READER_BUSY: 'A port or queue has one reader at a time.',
  ERR_XSKNET_LEASE_ENDED:
    'A batch or frame was used after its lease had ended, or a frame after it was sent, forwarded, kept or dropped.',
  ERR_XSKNET_PORT_CLOSED: 'The port was closed by its own `close()` or `destroy()`.',
  ERR_XSKNET_QUEUE_HANDED_OVER: 'The queue was handed over to another thread, which uses it now.',
  ERR_XSKNET_TOKEN_VOID: 'The token was adopted before, its port was closed, or another process made it.',
  ERR_XSKNET_PORT_LOST: 'The port was lost: its uplink or its devices are gone, or the daemon closed it.',
  ERR_XSKNET_FRAME_TOO_LONG: 'The frame is longer than a chunk or the MTU of the port allows.',
  ERR_XSKNET_RING_BROKEN: 'The kernel’s indices of a ring are not valid.',

  ERR_XSKNET_PROTOCOL_VERSION: 'The other side uses another version of the protocol.',
  ERR_XSKNET_MESSAGE_MALFORMED: 'A message is not valid JSON or does not match the protocol’s schema.',
  ERR_XSKNET_MESSAGE_TOO_LONG: 'A message is longer than 65,536 bytes.',
  ERR_XSKNET_OPERATION_UNKNOWN: 'The protocol does not have the operation of a request.',
  ERR_XSKNET_UNEXPECTED_DESCRIPTORS:
    'A message carries more, fewer or other file descriptors than its operation takes.',
  ERR_XSKNET_HELLO_MISSING: 'The first message was not `hello`, did not arrive in time, or was repeated.',

  ERR_XSKNET_NOT_PERMITTED: 'The policy does not permit it to this user.',
  ERR_XSKNET_LIMIT_REACHED: 'The request exceeds a limit of this user or of the daemon.',
  ERR_XSKNET_CONFIGURATION_INVALID: 'The configuration or the command line is not valid.',
  ERR_XSKNET_INTERNAL: 'The daemon failed unexpectedly: a bug.',

  ERR_XSKNET_INSTANCE_NAME_INVALID: 'The name of the instance is not valid.',
  ERR_XSKNET_INSTANCE_RUNNING: 'A daemon of this instance is running.',
  ERR_XSKNET_ABILITY_MISSING: 'The kernel lacks a feature that XSKNet requires.',
  ERR_XSKNET_JOURNAL_DAMAGED: 'The journal of an earlier run is damaged.',
  ERR_XSKNET_JOURNAL_VERSION: 'A newer release wrote the journal of an earlier run, or a record in it.',
  ERR_XSKNET_MOUNTS_HIDDEN: 'The daemon runs in a mount namespace that hides its mounts from the host.',
  ERR_XSKNET_SECRET_INVALID: 'The secret for the ports’ MACs cannot be read or created, or others can read it.',
  ERR_XSKNET_KERNEL_REFUSED: 'The kernel refused an operation; the cause says which and why.',

  ERR_XSKNET_LAB_BUSY: 'Processes run in the lab that is to be removed or rebuilt.',
  ERR_XSKNET_LAB_FOREIGN: 'Something that is not of a lab has the name of one of its machines.',

  ERR_XSKNET_DEVICE_MISSING: 'There is no device of this name.',
  ERR_XSKNET_DEVICE_NAME_INVALID: 'The name of the device is not valid.',
  ERR_XSKNET_DEVICE_MANAGED: 'Another instance manages the device.',
  ERR_XSKNET_DEVICE_FOREIGN_PROGRAM: 'The device has an XDP program that XSKNet did not attach.',
  ERR_XSKNET_DEVICE_NOT_ETHERNET: 'The device is not an Ethernet interface.',
  ERR_XSKNET_DEVICE_DEAF: 'The device receives no frames for the MACs of ports: a macvlan or an ipvlan.',
  ERR_XSKNET_PROGRAM_REFUSED: 'The kernel refused to load or attach a program.',

  ERR_XSKNET_UPLINK_MISSING: 'The daemon does not manage an uplink of this name.',
  ERR_XSKNET_UPLINK_CLOSED: 'The uplink is no longer managed.',
  ERR_XSKNET_LINK_DOWN: 'The uplink is down or has no carrier.',
  ERR_XSKNET_PORTS_EXHAUSTED: 'The uplink has the maximum number of ports.',
  ERR_XSKNET_PORT_UNKNOWN: 'This client has no such port.',
  ERR_XSKNET_ADDRESS_MISSING: 'A port needs at least one address, or flows.',
  ERR_XSKNET_ADDRESS_INVALID: 'The address is not valid for a port.',
  ERR_XSKNET_ADDRESS_TAKEN: 'Another port, the host or a neighbour has the address.',
  ERR_XSKNET_MAC_INVALID: 'The MAC is not valid for a port.',
  ERR_XSKNET_MAC_TAKEN: 'Another port, the host or a neighbour has the MAC.',
  ERR_XSKNET_NAME_INVALID: 'The name of the port is not valid.',
  ERR_XSKNET_NAME_TAKEN: 'Another port of this user on the uplink has the name.',
  ERR_XSKNET_VLAN_INVALID: 'The VLAN ID is not valid.',
  ERR_XSKNET_MTU_TOO_LARGE: 'Frames of this MTU do not fit the port’s chunks.',
  ERR_XSKNET_MTU_TOO_SMALL: 'The MTU is less than 68.',
  ERR_XSKNET_MTU_ABOVE_UPLINK: 'The MTU is larger than the uplink’s.',
  ERR_XSKNET_LAYOUT_INVALID: 'The sizes of UMEM and rings are not valid.',
  ERR_XSKNET_RINGS_UNAVAILABLE: 'The port cannot have BPF rings.',
  ERR_XSKNET_FLOW_INVALID:
    'A filter expression or an object is not valid, or is not a set of flows that a port can claim.',
  ERR_XSKNET_FLOW_TAKEN: 'Another flow is in conflict with one of these, and nothing decides between them.',
  ERR_XSKNET_FLOW_OF_HOST: 'A flow would take packets of the host’s own sockets or of its kernel.',
  ERR_XSKNET_FLOWS_EXHAUSTED: 'The port, the uplink or the instance has the maximum number of flows or of their kinds.',
  ERR_XSKNET_GROUP_INVALID: 'The text is not a group that a port can join.',
  ERR_XSKNET_GROUPS_EXHAUSTED: 'The port or the uplink has the maximum number of groups, or the group of ports.',
  ERR_XSKNET_SOCKET_REFUSED: 'The port’s socket could not be created or adopted.',
  ERR_XSKNET_NAMESPACE_INVALID:
    'The descriptor is not a network namespace, or the inner device cannot be created in it.',
  ERR_XSKNET_GUARD_INVALID:
    'The guard of a pinned port would run in skb mode, where a client can change frames behind it.',
  ERR_XSKNET_SELF_TEST_FAILED: 'A test frame sent through the new port did not arrive.',
} as const

/** One of {@link errorCodes}. */
export type XsknetErrorCode = keyof typeof errorCodes

/** What an {@link XsknetError} has beside its code and message. */
export interface XsknetErrorOptions {
  /** What to do about it, in one sentence. */
  hint?: string | undefined
  /** The names and numbers of the message, for programs. */
  details?: Readonly<Record<string, unknown>> | undefined
  /** The underlying error. An error of the kernel has its `errno` and `syscall`. */
  cause?: unknown
}

/**
 * What this package throws and rejects with, beside Node's errors for wrong arguments and the reason of an aborted
 * signal. Compare `code` to tell errors apart.
 */
export class XsknetError extends Error {
  static {
    XsknetError.prototype.name = 'XsknetError'
  }

  /** One of {@link errorCodes}. */
  readonly code: XsknetErrorCode
  /** What to do about it; `undefined` where the message says all. */
  readonly hint: string | undefined
  /** The names and numbers of the message, for programs. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: XsknetErrorCode, message: string, options: XsknetErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.hint = options.hint
    this.details = options.details ?? {}
  }
}

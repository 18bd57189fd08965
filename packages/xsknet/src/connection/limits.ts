/**
 * Defaults and limits of a port, each defined once, for the client, the protocol's schema and the daemon's policy.
 *
 * @module
 */

/** The longest message, in bytes. */
export const MESSAGE_LIMIT = 65_536
/** The deepest nesting of arrays and objects in a message, the message itself included. */
export const NESTING_LIMIT = 16

/** The most addresses of a port. */
export const MAX_ADDRESSES = 64
/** The most characters of a port's name. */
export const MAX_NAME_LENGTH = 64

/** The most filter expressions of a request. All of them together have to fit into one message, too. */
export const MAX_FLOW_TEXTS = 256
/** The most characters of a filter expression. */
export const MAX_FLOW_LENGTH = 1024

/** The fewest bytes of a packet that is explained: an Ethernet header. */
export const MIN_EXPLAINED = 14
/** The most bytes of a packet that is explained. Its digits have to fit into one message. */
export const MAX_EXPLAINED = 32_000
/** The most bytes of a refused frame that are told, from its start. */
export const MAX_REFUSAL_BYTES = 128

/** The most groups of a port. */
export const MAX_GROUPS = 256
/** The most characters of a group: those of an IPv6 address. */
export const MAX_GROUP_LENGTH = 45

/** The least bytes of a frame that a tap may be limited to: those of the longest headers without options. */
export const MIN_SNAP_LENGTH = 64
/** The most bytes of a frame that a tap gets. */
export const MAX_SNAP_LENGTH = 1536

/** The lowest VLAN ID. */
export const MIN_VLAN = 1
/** The highest VLAN ID; 4095 is reserved (IEEE 802.1Q). */
export const MAX_VLAN = 4094

/** The least MTU of a port, in bytes. */
export const MIN_MTU = 68

/** Queues of a port, unless the request says otherwise. */
export const DEFAULT_QUEUES = 1
/** The most queues of a port. */
export const MAX_QUEUES = 8

/** Slots of each ring, unless the request says otherwise. */
export const DEFAULT_RING_SIZE = 4096
/** The most slots of a ring. */
export const MAX_RING_SIZE = 65_536

/** The least bytes of a UMEM chunk. Only this and `MAX_FRAME_SIZE` are possible. */
export const MIN_FRAME_SIZE = 2048
/** Bytes of a UMEM chunk, unless the request says otherwise. */
export const DEFAULT_FRAME_SIZE = 2048
/** The most bytes of a UMEM chunk. */
export const MAX_FRAME_SIZE = 4096
/** The fewest chunks of a UMEM. */
export const MIN_FRAMES = 1
/** The most chunks of a UMEM. */
export const MAX_FRAMES = 1_048_576
/** Chunks of a UMEM for each slot of a ring, unless the request says otherwise: one for reception, one for sending. */
export const FRAMES_PER_SLOT = 2
/** Chunks of a UMEM for rings of this size, unless the request says otherwise. */
export const defaultFrames = (ringSize: number): number => FRAMES_PER_SLOT * ringSize

/** Frames that the kernel polls the driver for per call with `busyPoll`, unless the request says otherwise. */
export const DEFAULT_BUSY_POLL_BUDGET = 64
/**
 * The longest time for which received frames may be coalesced, in microseconds. A queue pair buffers 256 frames
 * meanwhile.
 */
export const MAX_COALESCE = 1000

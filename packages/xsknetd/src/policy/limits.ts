/**
 * Defaults and limits of ports and grants, each defined once. `MAX_QUEUES` and the limits of a message are in
 * `xsknet/protocol`.
 *
 * @module
 */

/** Queues of a port, unless the request or the grant says otherwise. */
export const DEFAULT_QUEUES = 1

/** Slots of each ring of a port unless the request says otherwise, and the maximum of a grant that does not set one. */
export const DEFAULT_RING_SIZE = 4096
/** The largest ring that `xsknet-xsk` creates, in slots. */
export const MAX_RING_SIZE = 65_536
/**
 * Slots of each ring of a pinned port. Its UMEM has twice as many frames of 2048 bytes: 4 MiB. Twice that would be
 * exactly the 8 MiB that most systems allow a user to lock, and the io_uring of Node's event loop counts against the
 * same limit.
 */
export const DEFAULT_PINNED_RING_SIZE = 1024

/** Bytes of a UMEM chunk. */
export const DEFAULT_FRAME_SIZE = 2048
/** Chunks of a UMEM for rings of this size: one ring's worth to receive into and one to send from. */
export const defaultFrames = (ringSize: number) => 2 * ringSize

/** The lowest VLAN ID. */
export const MIN_VLAN = 1
/** The highest VLAN ID; 4095 is reserved (IEEE 802.1Q). */
export const MAX_VLAN = 4094
export const isVlanId = (value: number) => Number.isInteger(value) && value >= MIN_VLAN && value <= MAX_VLAN

/** Open ports of one user, unless the grant says otherwise. */
export const DEFAULT_PORTS = 1
/** The highest number of ports that a grant can allow one user. */
export const MAX_PORTS = 65_535
/** Bytes of UMEM of one user, unless the grant says otherwise. */
export const DEFAULT_MEMORY = 16 * 2 ** 20
/** Frames per second that a port may send of each limited kind, unless the grant says otherwise. */
export const DEFAULT_FRAME_RATE = 1000
/** The highest rate that a grant can set, in frames per second. */
export const MAX_FRAME_RATE = 0xffff_ffff

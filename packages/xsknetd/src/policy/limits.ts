/**
 * Defaults and limits of grants, each defined once. Those of a port are defined in `xsknet/protocol` and exported here
 * too. `DEFAULT_RING_SIZE` is also the limit of a grant that does not set `ringSize`.
 *
 * @module
 */
import { MAX_VLAN, MIN_VLAN } from 'xsknet/protocol'

export {
  DEFAULT_FRAME_SIZE,
  DEFAULT_QUEUES,
  DEFAULT_RING_SIZE,
  defaultFrames,
  MAX_FLOW_LENGTH,
  MAX_QUEUES,
  MAX_RING_SIZE,
  MAX_VLAN,
  MIN_VLAN,
} from 'xsknet/protocol'

/**
 * Slots of each ring of a pinned port, unless its client says otherwise. Its UMEM has twice as many frames of 2048
 * bytes: 4 MiB. Twice that would be exactly the 8 MiB that most systems allow a user to lock, and the io_uring of
 * Node's event loop counts against the same limit.
 */
export const DEFAULT_PINNED_RING_SIZE = 1024

/**
 * Bytes of a queue's BPF rings beside its UMEM: the control map, the ring buffer for wake-ups, and the pages of that
 * buffer's header.
 */
export const BPF_RING_BYTES = 98_368 + 4096 + 12_288

export const isVlanId = (value: number) => Number.isInteger(value) && value >= MIN_VLAN && value <= MAX_VLAN

/** Open ports of one user, unless the grant says otherwise. */
export const DEFAULT_PORTS = 1
/** The highest number of ports that a grant can allow one user. */
export const MAX_PORTS = 65_535
/** Bytes of UMEM of one user, unless the grant says otherwise. */
export const DEFAULT_MEMORY = 16 * 2 ** 20
/** Frames per second that a port may send of each limited kind, unless the grant says otherwise. */
export const DEFAULT_FRAME_RATE = 1000
/** The highest rate that a grant can set, in frames per second, and the largest burst, in frames. */
export const MAX_FRAME_RATE = 0xffff_ffff
/** Likewise in bits. */
export const MAX_BIT_RATE = 10 ** 12

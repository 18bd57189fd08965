import type { KernelStatistics } from '../connection/protocol.js'
import type { DataPath } from '../frames/data-path.js'
import type { AdoptedSocket } from '../platform/native.js'

/** The counters of this process since the port was opened. */
export interface ClientCounters {
  /** Frames taken out of the RX ring: one per buffer of a packet. */
  received: number
  /**
   * Those of `received` that another buffer of the packet followed: `received - receivedContinued` is the number of
   * packets.
   */
  receivedContinued: number
  /** Frames put into the TX ring: one per buffer of a packet. */
  sent: number
  /** Those of `sent` that another buffer of the packet followed. */
  sentContinued: number
  /**
   * Frames that came back through the COMPLETION ring: the kernel no longer uses them, whether or not they were
   * transmitted.
   */
  completed: number
  /** Frames that `trySend()` refused because no slot was free. */
  refusedSends: number
  /** Frames that `frame.keep()` refused because `maxKept` was reached. */
  refusedKeeps: number
  /** Packets that `frame.forward()` passed to another queue of the same UMEM, without a copy. */
  forwarded: number
  /** Packets that `frame.forward()` copied to a queue of another UMEM. */
  forwardedByCopy: number
  /** Entries of the RX ring that were not valid. */
  refusedRx: number
  /** Entries of the COMPLETION ring that were not valid. */
  refusedCompletions: number
  /**
   * Packets that were queued, or in a batch of descriptors, and could not be sent: a frame that is not yours, is empty
   * or extends beyond its chunk, or too many buffers.
   */
  refusedQueued: number
  /**
   * Packets that were queued, or in a batch of descriptors, and were not sent because they were shorter than an
   * Ethernet header (14 bytes) or longer than the MTU with that header and a VLAN tag. `send()` throws for those.
   */
  refusedLengths: number
  /** Descriptors that were given back and were not frames of this thread. */
  refusedRecycled: number
  /** Times that the FILL ring was empty and no chunk was free for it. */
  fillStarved: number
  /** Times that the FILL ring was empty: the reader was late. */
  fillFoundEmpty: number
  /** System calls that notified the kernel of frames in TX. */
  kicks: number
  /** Those of `kicks` that repeated one which the kernel had interrupted. */
  kickRetries: number
  /** System calls that notified the kernel of chunks in FILL. */
  fillKicks: number
}

/** How many chunks of the UMEM are in each state. The states add up to `total`. */
export interface ChunkCounts {
  /** Free. */
  free: number
  /** Held by JavaScript: in the current lease and in batches of descriptors. */
  held: number
  /** Held by frames that are kept beyond their lease. */
  kept: number
  /** Lent to reception: in FILL, in the kernel, or in RX. */
  fill: number
  /** Lent to sending: in TX, in the kernel, or in COMPLETION. */
  tx: number
  /** Lent to reception and sending of other ports that share the UMEM. */
  elsewhere: number
  /** All chunks of the UMEM. */
  total: number
}

/** The result of {@link Queue.stats}. */
export interface QueueStats {
  /** The counters of this process. */
  client: ClientCounters
  /** The kernel's counters of the socket. */
  socket: KernelStatistics
  /** Where the chunks of the UMEM are. */
  chunks: ChunkCounts
}

/** The current statistics of a queue. One system call. */
export function statisticsOf(socket: AdoptedSocket, dataPath: DataPath, refusedSends: number): QueueStats {
  const { refusedKeeps, forwarded, forwardedByCopy } = dataPath
  const client = { ...socket.counters(), refusedSends, refusedKeeps, forwarded, forwardedByCopy }
  return { client, socket: socket.statistics(), chunks: socket.chunks() }
}

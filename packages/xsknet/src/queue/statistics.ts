import type { KernelStatistics } from '../connection/protocol.js'
import type { DataPath } from '../frames/data-path.js'
import type { AdoptedSocket } from '../platform/native.js'

/** What this end has counted since the port was opened. */
export interface ClientCounters {
  /** Frames taken out of the RX ring. A packet in several buffers counts as so many. */
  received: number
  /** Those of `received` after which the packet went on: so many less were the packets. */
  receivedContinued: number
  /** Frames put into the TX ring. A packet in several buffers counts as so many. */
  sent: number
  /** Those of `sent` after which the packet went on. */
  sentContinued: number
  /** Frames that came back through the COMPLETION ring: the kernel has no more use for them, whether or not a wire saw them. */
  completed: number
  /** Frames that `trySend()` did not take, for want of a slot. */
  refusedSends: number
  /** Frames that `frame.keep()` did not keep, because as many were kept as may be. */
  refusedKeeps: number
  /** Packets that `frame.forward()` passed on to another queue of the same memory, without moving a byte, */
  forwarded: number
  /** and those that it copied to a queue of another memory. */
  forwardedByCopy: number
  /** Entries of the RX ring that were no frame. */
  refusedRx: number
  /** Entries of the COMPLETION ring that brought no chunk back. */
  refusedCompletions: number
  /** Packets that were queued, or in a batch of descriptors, and could not be sent: no such frame, no byte, beyond its chunk, too many buffers. */
  refusedQueued: number
  /**
   * Packets that were queued, or in a batch of descriptors, and were not sent, because they were shorter than an Ethernet header (14 bytes), or
   * longer than the MTU with that header and a VLAN tag. `send()` throws for those.
   */
  refusedLengths: number
  /** Descriptors that were given back and were no frames of whoever did. */
  refusedRecycled: number
  /** Times that the FILL ring was empty and no chunk was free for it. */
  fillStarved: number
  /** Times that the FILL ring was empty: whoever reads was late. */
  fillFoundEmpty: number
  /** System calls that told the kernel to send. */
  kicks: number
  /** Those of `kicks` that followed one which the kernel broke off. */
  kickRetries: number
  /** System calls that told the kernel of free chunks. */
  fillKicks: number
}

/** Where the chunks of the UMEM are. The parts add up to `total`. */
export interface ChunkCounts {
  /** Free. */
  free: number
  /** In the batch being read, and in batches of descriptors. */
  held: number
  /** In frames that are kept. */
  kept: number
  /** Lent to reception. */
  fill: number
  /** Lent to sending. */
  tx: number
  /** Lent to reception and sending of other ports with the same UMEM. */
  elsewhere: number
  total: number
}

/** What {@link Queue.stats} tells. */
export interface QueueStats {
  client: ClientCounters
  socket: KernelStatistics
  chunks: ChunkCounts
}

/** The current statistics of a queue. One system call. */
export function statisticsOf(socket: AdoptedSocket, dataPath: DataPath, refusedSends: number): QueueStats {
  const { refusedKeeps, forwarded, forwardedByCopy } = dataPath
  const client = { ...socket.counters(), refusedSends, refusedKeeps, forwarded, forwardedByCopy }
  return { client, socket: socket.statistics(), chunks: socket.chunks() }
}

export { type ConnectOptions, connect } from './connection/connect.js'
export type { Explanation } from './connection/explanation.js'
export type { Flow } from './connection/flow.js'
export type {
  DaemonStatus,
  ExplainOptions,
  Network,
  NetworkEvents,
  PortOptions,
  RequestOptions,
  TapOptions,
} from './connection/network.js'
export type {
  Attempt,
  BindMode,
  Counters,
  ExplainedStep,
  KernelStatistics,
  PortEntry,
  PortInfo,
  PortStatistics,
  QueuePair,
  RingKind,
  RingStatistics,
  UplinkInfo,
  UplinkStatistics,
  XdpMode,
} from './connection/protocol.js'
export { type Versions, versions } from './connection/versions.js'
export { errorCodes, XsknetError, type XsknetErrorCode, type XsknetErrorOptions } from './errors.js'
export type { Batch } from './frames/batch.js'
export type { DescriptorBatch } from './frames/descriptors.js'
export type { Frame, KeptFrame } from './frames/frame.js'
export { type Tapped, tapped } from './frames/tapped.js'
export { pinThread } from './platform/affinity.js'
export type { ClaimOptions, GroupOptions, Port, PortEvents, PortStats, Refusal } from './port/port.js'
export { adoptQueue } from './queue/adopt-queue.js'
export type { Queue } from './queue/queue.js'
export type { ReadableOptions } from './queue/readable.js'
export type { BatchesOptions } from './queue/reader.js'
export type { SendOptions } from './queue/sending.js'
export type { ChunkCounts, ClientCounters, QueueStats } from './queue/statistics.js'
export type { QueueToken } from './queue/types.js'

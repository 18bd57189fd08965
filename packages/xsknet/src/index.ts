export { adoptQueue } from './adopt-queue.js'
export type { QueueToken } from './away.js'
export type { Batch } from './batch.js'
export { type ConnectOptions, connect } from './connect.js'
export type { DescriptorBatch } from './descriptors.js'
export { errorCodes, XsknetError, type XsknetErrorCode, type XsknetErrorOptions } from './errors.js'
export type { Census, ClientCounters, QueueStats } from './figures.js'
export type { Frame, KeptFrame } from './frame.js'
export type { DaemonStatus, Network, NetworkEvents, PortOptions, RequestOptions } from './network.js'
export type { ReadableOptions } from './outlook.js'
export { pinThread } from './pin.js'
export type { Port, PortEvents, PortStats } from './port.js'
export type {
  BindMode,
  Counters,
  KernelStatistics,
  PortEntry,
  PortInfo,
  PortStatistics,
  Tried,
  UplinkInfo,
  UplinkStatistics,
  XdpMode,
} from './protocol.js'
export type { Queue } from './queue.js'
export type { BatchesOptions } from './reader.js'
export type { SendOptions } from './sending.js'
export { type Versions, versions } from './versions.js'

export type { GrantOptions } from './config.js'
export { type Daemon, type DaemonOptions, startDaemon } from './daemon.js'
export type { UplinkMode } from './ground.js'
export type { Log, LogFields } from './log.js'

import type { Instance, SweptInstance } from './instance.js'
import type { Listener } from './transport.js'

/** What the daemon needs of the machine that it runs on. */
export interface Platform {
  /** An instance that is not open yet. */
  instance(): Instance
  /** Cleans up after instances without a configured name whose processes were killed in this network namespace. */
  sweepDead(): Promise<SweptInstance[]>
  /** A control socket that does not listen yet. */
  listener(): Listener
}

import type { Check, Family } from '../comparison.js'
import { brokered } from './brokered.js'
import { latency, wakeUp } from './latency.js'
import { rxdrop } from './rxdrop.js'
import { l2fwd, txonly } from './sending.js'

/** In the order in which they are measured and shown. */
export const families: readonly Family[] = [rxdrop, l2fwd, txonly(64), txonly(1400), brokered, latency, wakeUp]

/** What has no peer. */
export const checks: readonly Check[] = []

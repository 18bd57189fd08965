import type { Check, Family } from '../comparison.js'
import { asleep, asleepInLoop, gathered, ringsAsleep } from './asleep.js'
import { portToPort } from './between.js'
import { brokered } from './brokered.js'
import { calls } from './calls.js'
import { classifier } from './classifier.js'
import { control } from './control.js'
import { garbage } from './garbage.js'
import { headers } from './headers.js'
import { headroom } from './headroom.js'
import { idle } from './idle.js'
import { isolation } from './isolation.js'
import { latency, ringsLatency, wakeUp } from './latency.js'
import { queues } from './queues.js'
import { ringsRxdrop, ringsRxdropWire, rxdrop } from './rxdrop.js'
import { l2fwd, ringsL2fwd, ringsTxonly, ringsTxonlyWire, txonly } from './sending.js'
import { shared } from './shared.js'
import { testpmdMacswap, testpmdRxdrop } from './testpmd.js'

/** In the order in which they are measured and shown. */
export const families: readonly Family[] = [
  rxdrop,
  headroom,
  l2fwd,
  txonly(64),
  txonly(1400),
  brokered,
  testpmdRxdrop,
  testpmdMacswap,
  latency,
  wakeUp,
  asleep,
  asleepInLoop,
  gathered,
  isolation,
  queues,
  shared,
  ringsRxdrop,
  ringsL2fwd,
  ringsTxonly(64, { least: 3, goal: 6 }),
  ringsTxonly(1400, { least: 2.5, goal: 5 }),
  ringsAsleep,
  ringsRxdropWire,
  ringsTxonlyWire,
  ringsLatency,
  portToPort,
]

/** What has no peer. */
export const checks: readonly Check[] = [headers, garbage, calls, idle, ...control, classifier]

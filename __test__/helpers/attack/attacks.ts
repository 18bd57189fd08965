import type { Attack } from './attack.js'
import { borrowedMemory } from './borrowed-memory.js'
import { controlPlane } from './control.js'
import { echoLoops } from './echoes.js'
import { frames } from './frames.js'
import { identity } from './identity.js'
import { lockedFile } from './locked-file.js'
import { keptMemory } from './memory.js'
import { foreignNamespaces } from './namespaces.js'
import { environment, inspector } from './process.js'
import { refusals } from './refusals.js'
import { ringDescriptors, ringOpenings, ringSlots } from './ring-client.js'
import { rings } from './rings.js'
import { storms } from './storms.js'

/** All attacks, in the order in which they are performed. */
export const attacks: readonly Attack[] = [
  ...identity,
  keptMemory,
  borrowedMemory,
  lockedFile,
  ...controlPlane,
  ...frames,
  storms,
  echoLoops,
  rings,
  ringSlots,
  ringDescriptors,
  ringOpenings,
  foreignNamespaces,
  inspector,
  environment,
  refusals,
]

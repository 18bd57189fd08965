import type { Attack } from './attack.js'
import { controlPlane } from './control.js'
import { frames } from './frames.js'
import { identity } from './identity.js'
import { keptMemory } from './memory.js'
import { storms } from './storms.js'

/** All attacks, in the order in which they are performed. */
export const attacks: readonly Attack[] = [...identity, keptMemory, ...controlPlane, ...frames, storms]

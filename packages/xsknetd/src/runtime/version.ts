import { RELEASE } from 'xsknet/protocol'

/** The version of this package, which is always that of `xsknet`. */
export const version = RELEASE

import { RELEASE } from 'xsknet/protocol'

/** Of this package: both are always of one release. */
export const version = RELEASE

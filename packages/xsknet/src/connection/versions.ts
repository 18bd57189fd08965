import { native } from '../platform/native.js'

/** What the native half of this package was built as. */
export interface Versions {
  /** Version of the binding. It equals the package's own. */
  binding: string
  /** The lowest Node-API version that can load it, as in `process.versions.napi`. */
  nodeApi: number
}

/**
 * Loads the binding and tells what it was built as.
 *
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM` where no binding loads.
 */
export function versions(): Versions {
  const { binding, nodeApi } = native().versions()
  return { binding, nodeApi }
}

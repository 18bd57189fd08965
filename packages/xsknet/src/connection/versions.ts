import { native } from '../platform/native.js'

/** The versions of this package's native binding. */
export interface Versions {
  /** The version of the binding, which is that of the package. */
  binding: string
  /** The lowest Node-API version that can load it, as in `process.versions.napi`. */
  nodeApi: number
}

/**
 * Loads the binding and returns its versions.
 *
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM` where no binding loads.
 */
export function versions(): Versions {
  const { binding, nodeApi } = native().versions()
  return { binding, nodeApi }
}

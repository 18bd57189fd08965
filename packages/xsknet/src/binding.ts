import { createRequire } from 'node:module'
import type * as binding from '../native/binding.d.ts'
import { requireBinding } from './platform.js'

export type { binding }
export type Binding = typeof binding

/**
 * Loads the binding of this clone, or of the platform package.
 *
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM` where none loads.
 */
export function loadBinding(): Binding {
  return requireBinding(createRequire(import.meta.url), {
    owner: 'xsknet',
    built: '../native/xsknet.linux-x64-gnu.node',
    carrier: '@xsknet/client-linux-x64-gnu',
  }) as Binding
}

import { createRequire } from 'node:module'
import { requireBinding } from 'xsknet/internal'
import type * as binding from '../native/binding.d.ts'

export type { binding }
export type Binding = typeof binding

/**
 * Loads the binding of this clone, or of the platform package.
 *
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM` where none loads.
 */
export function loadBinding(): Binding {
  return requireBinding(createRequire(import.meta.url), {
    owner: 'xsknetd',
    built: '../native/xsknetd.linux-x64-gnu.node',
    carrier: '@xsknet/daemon-linux-x64-gnu',
  }) as Binding
}

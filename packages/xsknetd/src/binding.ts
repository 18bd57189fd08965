import { requireBinding } from 'xsknet/internal'
import type * as binding from '../native/binding.d.ts'

export type { binding }
export type Binding = typeof binding

/**
 * Loads the native binding from this clone or from the platform package.
 *
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM` if none loads.
 */
export function loadBinding(): Binding {
  return requireBinding(requireHere, {
    owner: 'xsknetd',
    built: '../native/xsknetd.linux-x64-gnu.node',
    carrier: '@xsknet/daemon-linux-x64-gnu',
  }) as Binding
}

/** Does not import `createRequire`, because webpack replaces it by `undefined`. */
function requireHere(id: string): unknown {
  // A CommonJS bundle of esbuild has no URL, only a file name.
  return process.getBuiltinModule('node:module').createRequire(import.meta.url ?? __filename)(id)
}

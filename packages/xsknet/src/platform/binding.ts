import type * as binding from '../../native/binding.d.ts'
import { requireBinding } from './platform.js'

export type { binding }
export type Binding = typeof binding

/**
 * Loads the binding of this clone, or of the platform package.
 *
 * @throws {XsknetError} `ERR_XSKNET_UNSUPPORTED_PLATFORM` where none loads.
 */
export function loadBinding(): Binding {
  return requireBinding(requireHere, {
    owner: 'xsknet',
    built: '../../native/xsknet.linux-x64-gnu.node',
    carrier: '@xsknet/client-linux-x64-gnu',
  }) as Binding
}

/** Not by an import of `createRequire`: webpack puts `undefined` in its place. */
function requireHere(id: string): unknown {
  // What esbuild makes as CommonJS has no URL, but the name of its file.
  return process.getBuiltinModule('node:module').createRequire(import.meta.url ?? __filename)(id)
}

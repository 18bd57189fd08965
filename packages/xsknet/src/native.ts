import { createRequire } from 'node:module'
import type * as binding from '../native/binding.d.ts'
import { XsknetError } from './errors.js'

export type Binding = typeof binding

let loaded: Binding | undefined

/** The binding, loaded by the first call and not at import: this package can be imported on every system. */
export function native(): Binding {
  loaded ??= load()
  return loaded
}

function load(): Binding {
  const { platform, arch } = process
  try {
    return createRequire(import.meta.url)(`../native/xsknet.${platform}-${arch}-gnu.node`)
  } catch (cause) {
    throw new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', `xsknet has no binding that loads on ${platform} ${arch}`, {
      hint: platform === 'linux' ? 'In a clone, `npm run build` makes it.' : 'AF_XDP is a part of Linux: run this there.',
      details: { platform, arch },
      cause,
    })
  }
}

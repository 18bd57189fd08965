import { createRequire } from 'node:module'
import type * as binding from '../native/binding.d.ts'
import { XsknetError } from './errors.js'
import { fromFailure } from './protocol.js'

export type Binding = typeof binding
export type AdoptedSocket = binding.AdoptedSocket
export type HotPath = binding.HotPath

let loaded: Binding | undefined

/** The binding, loaded by the first call and not at import: this package can be imported on every system. */
export function native(): Binding {
  loaded ??= load()
  return loaded
}

/** What a binding threw, as an {@link XsknetError} if it is one: it writes them down as JSON in the message. */
export function typed(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof XsknetError || !error.message.startsWith('{')) return error
  try {
    return fromFailure(JSON.parse(error.message))
  } catch {
    return error
  }
}

/**
 * Takes over a socket: the XSK and the file of its UMEM.
 *
 * @throws {XsknetError} `ERR_XSKNET_SOCKET_REFUSED` where the descriptors are not what the description says; they are closed then.
 */
export function adopt(descriptors: binding.Descriptors, description: binding.SocketDescription): AdoptedSocket {
  try {
    return native().adopt(descriptors, description)
  } catch (error) {
    throw typed(error)
  }
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

import { type Failure, fromFailure } from '../connection/protocol.js'
import { sentence } from '../connection/suggestions.js'
import { XsknetError } from '../errors.js'
import { type Binding, type binding, loadBinding } from './binding.js'

export type AdoptedSocket = binding.AdoptedSocket
export type HotPath = binding.HotPath
export type Reservation = binding.Reservation
/** Reads what another thread says of a socket; `null`: that thread has closed it, or is gone. */
export type Letter = (letter: string | null) => void

let loaded: Binding | undefined

/** The binding, loaded by the first call and not at import: this package can be imported on every system. */
export function native(): Binding {
  loaded ??= loadBinding()
  return loaded
}

/** What a binding threw, as an {@link XsknetError} if it is one: it writes them down as JSON in the message. */
export function typed(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof XsknetError || !error.message.startsWith('{')) return error
  try {
    return failed(JSON.parse(error.message))
  } catch {
    return error
  }
}

function typedNow<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw typed(error)
  }
}

/** What a binding says, with its hint as a sentence. */
export function failed(failure: Failure): XsknetError {
  return fromFailure({ ...failure, ...(failure.hint && { hint: sentence(failure.hint) }) })
}

/**
 * Takes over the sockets of a port, each with the descriptors that the protocol has for it.
 *
 * @throws {XsknetError} `ERR_XSKNET_SOCKET_REFUSED` where the descriptors are not what the descriptions say; they are
 * closed then.
 */
export function adopt(
  descriptors: binding.Descriptors,
  descriptions: readonly binding.SocketDescription[],
): AdoptedSocket[] {
  return typedNow(() => native().adopt(descriptors, [...descriptions]))
}

/** The same for a socket on the memory of another one: the XSK, which has the reserved chunks. */
export function adoptBeside(
  reservation: Reservation,
  descriptors: binding.Descriptors,
  description: binding.SocketDescription,
): AdoptedSocket {
  return typedNow(() => reservation.adopt(descriptors, description))
}

/** Takes over a socket that another thread has given away, if there is one under this key. */
export function takeOver(key: readonly number[], onLetter: Letter): AdoptedSocket | null {
  return typedNow(() => native().takeOver([...key], onLetter))
}

/** Lets the calling thread run on these processors alone. */
export function setThreadAffinity(cpus: readonly number[]): void {
  typedNow(() => native().pinThread([...cpus]))
}

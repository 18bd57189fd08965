/**
 * What the package xsknetd needs of this one. Private to that package: whatever stands here changes with any release,
 * and the two are always of the same one.
 *
 * @module
 */
import type { Descriptors } from './connection/conversation.js'
import { native } from './platform/native.js'

export { checkOptions, checkSignal, wrongType } from './arguments.js'
export { type MakeSocket, type OwnSocket, openPinnedPort } from './connection/network.js'
export { nearest, unknownKeyIn } from './connection/suggestions.js'
export { failed } from './platform/native.js'
export { type BindingPlace, requireBinding } from './platform/platform.js'

/** Takes descriptors over: they are closed with the returned object, or by its next owner. */
export function own(fds: number[]): Descriptors {
  return native().Descriptors.own(fds)
}

import { wrongType } from '../arguments.js'
import { fromFailure } from '../connection/protocol.js'
import { takeOver } from '../platform/native.js'
import { openerEnded, tokenVoid } from '../queue-errors.js'
import { leakWarnings } from './leak-warnings.js'
import { internalsOf, Queue } from './queue.js'
import type { OpenerMessage, QueueOwner, QueueToken } from './types.js'

/**
 * Takes over a queue that another thread of this process has handed over by {@link Queue.token}. From then on this
 * thread reads it and sends by it. It is released when it or its port is closed, or when this thread ends for any
 * reason.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_TYPE` where `token` is not what `queue.token()` returned.
 * @throws {XsknetError} `ERR_XSKNET_TOKEN_VOID` where the token was adopted before, its port was closed, or another
 * process made it.
 */
export function adoptQueue(token: QueueToken): Queue {
  if (typeof token !== 'object' || token === null || !isKey(token.key) || !token.info || !token.settings) {
    throw wrongType('token', 'what `queue.token()` returned', token)
  }
  const { key, index, info, settings } = token
  let self: WeakRef<Queue> | undefined
  const early: (OpenerMessage | undefined)[] = []
  const obey = (message: OpenerMessage | undefined) => {
    const queue = self?.deref()
    if (queue) follow(queue, message)
    else if (!self) early.push(message)
  }
  const socket = takeOver(key, (letter) => obey(letter === null ? undefined : JSON.parse(letter)))
  if (!socket) throw tokenVoid(token)
  const owner: QueueOwner = {
    lost: (error) => {
      void internalsOf(queue).lifecycle.end({ reason: error, loss: error })
    },
    starved: () => {}, // `stats().client.fillStarved` counts them
  }
  const queue = new Queue(socket, info, index, owner, settings)
  self = new WeakRef(queue)
  for (const message of early) follow(queue, message)
  leakWarnings.register(queue, `queue ${index} of port ${info.name} on ${info.uplink}`, queue)
  return queue
}

/** Handles a message of the thread that opened the port; `undefined`: that thread has ended. */
function follow(queue: Queue, message: OpenerMessage | undefined): void {
  const { lifecycle } = internalsOf(queue)
  if (message && 'over' in message) {
    const { failure, drain } = message.over
    const error = failure && fromFailure(failure)
    if (!drain) lifecycle.hurry()
    void lifecycle.end({ reason: error, loss: error, drain })
  } else if (lifecycle.isOver) {
    return
  } else if (!message) {
    const error = openerEnded(queue.info)
    void lifecycle.end({ reason: error, loss: error })
  } else if ('report' in message) {
    lifecycle.reportStats()
  } else {
    lifecycle.detached()
  }
}

function isKey(key: unknown): boolean {
  return Array.isArray(key) && key.length === 4 && key.every((word) => typeof word === 'number' && word >>> 0 === word)
}

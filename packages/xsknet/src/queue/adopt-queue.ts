import { wrongType } from '../arguments.js'
import { fromFailure } from '../connection/protocol.js'
import { takeOver } from '../platform/native.js'
import { openerEnded, tokenVoid } from '../refusals.js'
import type { Order, QueueToken } from './away.js'
import { forgotten } from './forgotten.js'
import type { Owner } from './inside.js'
import { inside, Queue } from './queue.js'

/**
 * Takes over a queue that another thread of this process has given away by {@link Queue.token}. It belongs to this thread from now on:
 * it is read and sent by here, and released when it is closed, when its port is, or when this thread ends, however that comes about.
 *
 * @throws {XsknetError} `ERR_XSKNET_TOKEN_VOID` where the token was adopted before, its port has ended, or it is of another process.
 */
export function adoptQueue(token: QueueToken): Queue {
  if (typeof token !== 'object' || token === null || !isKey(token.key) || !token.info || !token.settings) {
    throw wrongType('token', 'what `queue.token()` returned', token)
  }
  const { key, index, info, settings } = token
  let self: WeakRef<Queue> | undefined
  const early: (Order | undefined)[] = []
  const obey = (order: Order | undefined) => {
    const queue = self?.deref()
    if (queue) follow(queue, order)
    else if (!self) early.push(order)
  }
  const socket = takeOver(key, (letter) => obey(letter === null ? undefined : JSON.parse(letter)))
  if (!socket) throw tokenVoid(token)
  const owner: Owner = {
    lost: (error) => {
      void inside(queue).life.end({ reason: error, loss: error })
    },
    starved: () => {}, // `stats().client.fillStarved` counts them
  }
  const queue = new Queue(socket, info, index, owner, settings)
  self = new WeakRef(queue)
  for (const order of early) follow(queue, order)
  forgotten.register(queue, `queue ${index} of port ${info.name} on ${info.uplink}`, queue)
  return queue
}

/** Does what the thread says that opened the port; `undefined`: that is gone. */
function follow(queue: Queue, order: Order | undefined): void {
  const { life } = inside(queue)
  if (order && 'over' in order) {
    const { failure, drain } = order.over
    const error = failure && fromFailure(failure)
    if (!drain) life.hurry()
    void life.end({ reason: error, loss: error, drain })
  } else if (life.isOver) {
    return
  } else if (!order) {
    const error = openerEnded(queue.info)
    void life.end({ reason: error, loss: error })
  } else if ('report' in order) {
    life.tellFigures()
  } else {
    life.detached()
  }
}

function isKey(key: unknown): boolean {
  return Array.isArray(key) && key.length === 4 && key.every((word) => typeof word === 'number' && word >>> 0 === word)
}

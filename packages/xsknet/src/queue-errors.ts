import { outOfRange } from './arguments.js'
import type { PortInfo } from './connection/protocol.js'
import { XsknetError } from './errors.js'

/** Bytes of an Ethernet header. */
export const ETHERNET = 14
/** Bytes of a VLAN tag, which the MTU does not count. */
export const TAG = 4

/** Which queue, and of which port. */
export interface QueueId {
  readonly info: PortInfo
  readonly index: number
}

/** The queue, or the port if that is the same, for messages. */
export function nameOf({ info, index }: QueueId): string {
  return info.queuePairs.length > 1 ? `queue ${index} of port ${info.name}` : `port ${info.name}`
}

/** What everything throws once the port was closed by its user. */
export function portClosed({ name, uplink, port }: PortInfo, reason: Error | undefined): XsknetError {
  return new XsknetError('ERR_XSKNET_PORT_CLOSED', `port ${name} on ${uplink} was closed`, {
    details: { port, uplink },
    ...(reason && { cause: reason }),
  })
}

/** What everything throws once another thread has the queue. */
export function handedOver(queue: QueueId): XsknetError {
  const { port, uplink } = queue.info
  return new XsknetError('ERR_XSKNET_QUEUE_HANDED_OVER', `${nameOf(queue)} was handed over to another thread`, {
    hint: 'Use it there, by what `adoptQueue(token)` returned.',
    details: { port, uplink, queue: queue.index },
  })
}

export function deviceDeleted({ info, index }: QueueId): XsknetError {
  const { port, name, uplink, queuePairs } = info
  return new XsknetError('ERR_XSKNET_PORT_LOST', `the device of port ${name} on ${uplink} was deleted`, {
    hint: 'Open another port.',
    details: { port, uplink, inner: queuePairs[index]?.inner },
  })
}

export function openerEnded({ port, name, uplink }: PortInfo): XsknetError {
  return new XsknetError('ERR_XSKNET_PORT_LOST', `the thread that opened port ${name} has ended`, {
    hint: 'Keep the thread that opened a port until its queues are closed.',
    details: { port, uplink },
  })
}

export function tokenVoid({ info, index }: QueueId): XsknetError {
  const { port, name, uplink } = info
  return new XsknetError('ERR_XSKNET_TOKEN_VOID', `nothing can be adopted by this token of queue ${index} of port ${name}`, {
    hint: 'A token works once, in the process that made it, and as long as its port is open.',
    details: { port, uplink, queue: index },
  })
}

export function beingRead(message: string): XsknetError {
  return new XsknetError('ERR_XSKNET_READER_BUSY', message, {
    hint: 'Read a port in one place, and hand frames on from there; or end the first loop.',
  })
}

/**
 * For a packet whose length, which is called `name`, is out of bounds. The kernel would take it, complete it like any other, and drop it.
 *
 * @param tagged Whether a VLAN tag is free.
 */
export function lengthRefused(queue: QueueId, name: string, length: number, tagged: boolean): Error {
  const { mtu } = queue.info
  if (length < ETHERNET) return outOfRange(name, `at least ${ETHERNET}, an Ethernet header, for a frame that is sent`, length)
  const most = mtu + ETHERNET + (tagged ? TAG : 0)
  const parts = `its MTU of ${mtu}, ${ETHERNET} of the Ethernet header${tagged ? ` and ${TAG} of a VLAN tag` : ''}`
  return new XsknetError(
    'ERR_XSKNET_FRAME_TOO_LONG',
    `${nameOf(queue)} sends frames of at most ${most} bytes (${parts}), not ${length}`,
    {
      hint: 'Send it in several packets, or ask for a larger `mtu` when opening the port, up to the uplink’s.',
      details: { length, mtu, most },
    },
  )
}

export function frameTooLong(queue: QueueId, length: number, capacity: number): XsknetError {
  return new XsknetError('ERR_XSKNET_FRAME_TOO_LONG', `a frame of ${nameOf(queue)} holds ${capacity} bytes, not ${length}`, {
    hint: 'Ask for a larger frameSize or a smaller headroom when opening the port.',
    details: { length, capacity },
  })
}

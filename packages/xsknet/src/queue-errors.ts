import { outOfRange } from './arguments.js'
import type { PortInfo } from './connection/protocol.js'
import { XsknetError } from './errors.js'

/** Bytes of an Ethernet header. */
export const ETHERNET = 14
/** Bytes of a VLAN tag, which the MTU does not include. */
export const TAG = 4

/** A queue of a port, for messages. */
export interface QueueId {
  readonly info: PortInfo
  readonly index: number
}

/** How messages call the queue: by its port, if that has no other queue. */
export function nameOf({ info, index }: QueueId): string {
  return info.queuePairs.length > 1 ? `queue ${index} of port ${info.name}` : `port ${info.name}`
}

/** What every call throws once the port was closed by its user. */
export function portClosed({ name, uplink, port }: PortInfo, reason: Error | undefined): XsknetError {
  return new XsknetError('ERR_XSKNET_PORT_CLOSED', `port ${name} on ${uplink} was closed`, {
    details: { port, uplink },
    ...(reason && { cause: reason }),
  })
}

/** What every call throws once the queue was handed over. */
export function handedOver(queue: QueueId): XsknetError {
  const { port, uplink } = queue.info
  return new XsknetError('ERR_XSKNET_QUEUE_HANDED_OVER', `${nameOf(queue)} was handed over to another thread`, {
    hint: 'Use the queue that `adoptQueue(token)` returned in that thread.',
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
    hint: 'Keep the thread that opened a port running until its queues are closed.',
    details: { port, uplink },
  })
}

export function tokenVoid({ info, index }: QueueId): XsknetError {
  const { port, name, uplink } = info
  return new XsknetError('ERR_XSKNET_TOKEN_VOID', `the token of queue ${index} of port ${name} is void`, {
    hint: 'A token can be adopted once, in the process that made it, while its port is open.',
    details: { port, uplink, queue: index },
  })
}

export function beingRead(message: string): XsknetError {
  return new XsknetError('ERR_XSKNET_READER_BUSY', message, {
    hint: 'Read a port in one place and pass frames on from there, or end the first loop.',
  })
}

/**
 * The error for a packet whose length is out of bounds. The kernel would accept it, complete it like any other, and
 * drop it.
 *
 * @param name What the caller calls the length.
 * @param tagged Whether the limit includes a VLAN tag.
 */
export function lengthRefused(queue: QueueId, name: string, length: number, tagged: boolean): Error {
  const { mtu } = queue.info
  if (length < ETHERNET)
    return outOfRange(name, `at least ${ETHERNET}, an Ethernet header, for a frame that is sent`, length)
  const most = mtu + ETHERNET + (tagged ? TAG : 0)
  const parts = `its MTU of ${mtu}, ${ETHERNET} of the Ethernet header${tagged ? ` and ${TAG} of a VLAN tag` : ''}`
  return new XsknetError(
    'ERR_XSKNET_FRAME_TOO_LONG',
    `${nameOf(queue)} sends frames of at most ${most} bytes (${parts}), not ${length}`,
    {
      hint: 'Send it in several packets, or open the port with a larger `mtu`, up to the uplink’s.',
      details: { length, mtu, most },
    },
  )
}

export function frameTooLong(queue: QueueId, length: number, capacity: number): XsknetError {
  return new XsknetError(
    'ERR_XSKNET_FRAME_TOO_LONG',
    `a frame of ${nameOf(queue)} holds ${capacity} bytes, not ${length}`,
    {
      hint: 'Open the port with a larger `frameSize` or a smaller `headroom`.',
      details: { length, capacity },
    },
  )
}

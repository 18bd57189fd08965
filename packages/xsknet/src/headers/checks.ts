import { outOfRange } from '../arguments.js'
import { XsknetError } from '../errors.js'
import type { Packet } from './packet.js'

/** Throws if the field cannot hold the number. */
export function mustFit(name: string, value: number, highest: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= highest) return
  throw outOfRange(name, `a whole number from 0 to ${highest}`, value)
}

/** Throws if the packet cannot hold this many bytes. */
export function mustHold(packet: Packet, length: number): void {
  const { capacity } = packet
  if (length <= capacity) return
  throw new XsknetError(
    'ERR_XSKNET_FRAME_TOO_LONG',
    `headers and payload have ${length} bytes, but the frame holds ${capacity}`,
    {
      hint: 'Send a shorter payload, or open the port with a larger `frameSize`.',
      details: { length, capacity },
    },
  )
}

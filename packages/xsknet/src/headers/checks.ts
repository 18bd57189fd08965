import { outOfRange } from '../arguments.js'
import { XsknetError } from '../errors.js'
import type { Packet } from './packet.js'

/** Refuses a number that its field cannot hold. */
export function mustFit(name: string, value: number, highest: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= highest) return
  throw outOfRange(name, `a whole number from 0 to ${highest}`, value)
}

/** Refuses to write beyond the packet's capacity. */
export function mustHold(packet: Packet, length: number): void {
  const { capacity } = packet
  if (length <= capacity) return
  throw new XsknetError('ERR_XSKNET_FRAME_TOO_LONG', `headers and payload are ${length} bytes, and the frame holds ${capacity}`, {
    hint: 'Send less at once, or open the port with a larger `frameSize`.',
    details: { length, capacity },
  })
}

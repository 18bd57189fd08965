import { wrongType } from '../arguments.js'
import { Frame } from './frame.js'

/** What is known of a frame that a tap received. */
export interface Tapped {
  /**
   * When the program saw it: nanoseconds of the clock that `process.hrtime` reads. Exact to the nanosecond within the
   * first 104 days after the machine was started, and to two of them after that.
   */
  readonly time: number
  /** Bytes of the whole frame, of which the tap may have got fewer. */
  readonly length: number
  /** The uplink received it; a port or the host sent it. */
  readonly way: 'received' | 'sent' | 'sent-by-host'
  /**
   * What became of it: the counter that it moved, by its name in docs/verdicts.md. `'passed'`: it was left to the host.
   * Of what leaves by the uplink it is `'to_uplink'`.
   */
  readonly became: string
}

/** In the order of `enum xsknet_counter` in bpf/include/xsknet/contract.h. */
export const COUNTERS: readonly string[] = [
  'seen',
  'passed',
  'passed_fragment',
  'to_port',
  'to_ring',
  'to_uplink',
  'to_socket',
  'source_mac',
  'vlan',
  'source_ip',
  'arp',
  'nd',
  'rogue',
  'ethertype',
  'malformed',
  'too_long',
  'no_port',
  'no_uplink',
  'no_socket',
  'no_guard',
  'rate',
  'frame_rate',
  'bit_rate',
  'no_chunk',
  'no_memory',
]

/** Likewise of XSKNET_TAPPED_*. */
const WAYS = ['received', 'sent', 'sent-by-host'] as const

/** Bytes of `struct xsknet_tapped`, which lies in front of the frame, in the byte order of the machine. */
const BYTES = 16
const HIGH_WORD = 2 ** 32

const told = { time: 0, length: 0, way: WAYS[0] as Tapped['way'], became: '' }

/**
 * What is known of a frame that a tap received. Allocates nothing: the next call returns the same object, with other
 * values. For frames of other ports, and after `frame.keep()` of a chunk that was written to, it means nothing.
 *
 * @throws {XsknetError} `ERR_XSKNET_LEASE_ENDED` once the frame's lease has ended.
 */
export function tapped(frame: Frame): Tapped {
  if (!(frame instanceof Frame)) throw wrongType('frame', 'an instance of Frame', frame)
  const { memory, offset } = frame
  const at = offset - BYTES
  told.time = word(memory, at) + word(memory, at + 4) * HIGH_WORD
  told.length = word(memory, at + 8)
  told.became = COUNTERS[half(memory, at + 12)] ?? 'unknown'
  told.way = WAYS[half(memory, at + 14)] ?? 'received'
  return told
}

/** XSKNet runs on little-endian machines. */
function half(memory: Uint8Array, at: number): number {
  return (memory[at] as number) | ((memory[at + 1] as number) << 8)
}

function word(memory: Uint8Array, at: number): number {
  return (half(memory, at) | (half(memory, at + 2) << 16)) >>> 0
}

// The layout of the words that JavaScript shares with the native socket. crates/node-xsknet has the same in Rust.

/** Words in front of the descriptor tables. */
export const HEAD = 16

/** Indices of these words. */
export const QUEUED = 0
export const SLOTS = 1
export const WAITING = 2
export const STARVED = 3
export const RETURNED = 4
export const SECOND = 5
export const KEPT = 6
export const ARGUMENT = 8
export const LENGTH = 9
export const END = 10
export const RESULT = 11

/** Both words of an empty descriptor, whose frame was sent or kept. As a length alone: the frame was dropped. */
export const NOWHERE = 0xffff_ffff
/** The highest bit of a length: the packet continues in the next descriptor. */
export const CONTINUES = 0x8000_0000

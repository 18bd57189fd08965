//! The layout of what both sides share: that of `bpf/include/xsknet/contract.h`, which `crates/bpf` compares with it.
//!
//! Positions count slots without end and wrap. The client gives the slot of position `p` away by the sequence `2p + 1`;
//! the program, which takes them in their order, gives it back by `2p + 2`. Zero, as the memory begins, is neither.

/// Slots of a BPF ring, at most: a power of two.
pub const RING_SLOTS: u32 = 4096;
/// Bytes of a chunk of BPF rings.
pub const RING_CHUNK: u32 = 2048;
/// Bytes of the longest frame in BPF rings.
pub const RING_ROOM: u32 = 1536;
/// Where a received frame begins in its chunk, at least.
pub const RING_MIN_OFFSET: u32 = 256;
/// Where a received frame begins in its chunk, at most.
pub const RING_MAX_OFFSET: u32 = RING_CHUNK - RING_ROOM;
/// Bytes of the ring buffer by which a client is woken.
pub const RING_WAKE_BYTES: u32 = 4096;
/// A slot of reception, shared with a client.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RxSlot {
    /// `2p + 1` gives the slot of position `p` to the program, `2p + 2` gives it back.
    pub sequence: u32,
    /// Given to the program, the number of a chunk; given back, the length of the frame in it.
    pub value: u32,
}

/// A slot of sending, shared with a client.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TxSlot {
    /// As that of [`RxSlot`].
    pub sequence: u32,
    /// Of the frame, in bytes from the first chunk.
    pub address: u32,
    /// Of the frame, in bytes.
    pub length: u32,
    /// For the alignment.
    pub zero: u32,
}

/// What a client and the programs share. It is never read as a whole: both sides write it.
#[derive(Debug)]
#[repr(C)]
pub struct RingControl {
    /// The client writes 1, and is woken by the next frame.
    pub asleep: u32,
    /// A cache line's rest.
    pub zero: [u32; 15],
    /// Reception.
    pub rx: [RxSlot; RING_SLOTS as usize],
    /// Sending.
    pub tx: [TxSlot; RING_SLOTS as usize],
}

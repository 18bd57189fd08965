//! One side of a single-producer, single-consumer ring, written once for every place its words may live: the kernel's mapping
//! ([`MappedRing`]), the heap of a unit test, and the atomics of a model checker.
//!
//! The rings mirror the kernel's [`xsk_queue.h`](https://github.com/torvalds/linux/blob/v6.18/net/xdp/xsk_queue.h) and keep its letters:
//!
//! ```text
//! producer                           consumer
//!
//! load.acquire  consumer   (A)       load.acquire  producer   (C)
//! write         entries              read          entries
//! store.release producer   (B)       store.release consumer   (D)
//! ```
//!
//! * **(D) with (A)**: the producer overwrites a slot only after the consumer has finished reading it.
//! * **(B) with (C)**: the consumer reads a slot only after the producer has finished writing it.
//!
//! The kernel makes (A) a control dependency; Rust has none, so here it is an acquire load.
//!
//! A producer of TX or FILL may find that the kernel sleeps, and has to wake it. Each side writes one word and then reads the other's,
//! where neither acquire nor release keeps the order, and where x86 turns it round, too:
//!
//! ```text
//! producer                           kernel, about to sleep
//!
//! store.release producer   (B)       store         need_wakeup
//! fence.seqcst             (E)       (its own barrier)
//! load          need_wakeup          load          producer
//! ```
//!
//! * **(E)**: of an entry and a sleep that cross, at least one side sees the other. Without it the entry waits for the next system call.
//!
//! Whoever else has the mapping may write anything into it at any time. Each side therefore reads its own index once, at
//! [`Producer::open`] or [`Consumer::open`], keeps it to itself, and believes the peer's index only if both can belong to one ring
//! ([`published`]). Otherwise the answer is [`RingBroken`], and nothing has been touched.
#![deny(clippy::arithmetic_side_effects)]

mod consumer;
mod entry;
#[cfg(any(test, feature = "heap"))]
pub(crate) mod heap;
#[expect(unsafe_code, reason = "reads and writes the memory that the kernel maps for a ring")]
mod mapped;
mod position;
mod producer;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering, fence};

pub use consumer::{Consumer, Taking};
pub use entry::{Address, Descriptor, Entry};
pub use mapped::{MapRingError, MappedRing};
pub use position::{Position, published};
pub use producer::{Producer, Reservation};

/// `XDP_PKT_CONTD` of `linux/if_xdp.h`: an option of a descriptor whose packet goes on in the next one.
pub(crate) const XDP_PKT_CONTD: u32 = 1;

/// Where a ring's words live.
pub trait RingMemory {
    /// What holds an index.
    type Word: Word;
    /// What a slot holds.
    type Entry: Copy;

    /// Slots: a power of two.
    fn size(&self) -> u32;
    /// The index after the last entry that the producer published.
    fn producer(&self) -> &Self::Word;
    /// The index after the last entry that the consumer gave back.
    fn consumer(&self) -> &Self::Word;
    /// The flags of the ring, `XDP_RING_NEED_WAKEUP` among them.
    fn flags(&self) -> u32;
    /// Keeps earlier stores before later loads, where the words live.
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
    /// Reads the entry of a slot, `slot < size()`.
    fn read(&self, slot: u32) -> Self::Entry;
    /// Writes the entry of a slot, `slot < size()`.
    fn write(&self, slot: u32, entry: Self::Entry);
}

/// An index shared between two sides.
pub trait Word {
    /// Loads the index.
    fn load(&self, order: Ordering) -> u32;
    /// Stores the index.
    fn store(&self, value: u32, order: Ordering);
}

impl Word for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        AtomicU32::load(self, order)
    }

    fn store(&self, value: u32, order: Ordering) {
        AtomicU32::store(self, value, order);
    }
}

/// Which of a socket's four rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RingName {
    /// Received frames, from the kernel.
    Rx,
    /// Frames to send, to the kernel.
    Tx,
    /// Empty chunks to receive into, to the kernel.
    Fill,
    /// Chunks whose frame has left, from the kernel.
    Completion,
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rx => "RX",
            Self::Tx => "TX",
            Self::Fill => "FILL",
            Self::Completion => "COMPLETION",
        })
    }
}

/// The indices of a ring cannot belong to one ring: the other side, or somebody who shares the mapping, wrote nonsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {ring} ring of {size} slots is broken: {produced} produced and {consumed} consumed cannot both be true")]
pub struct RingBroken {
    /// The ring.
    pub ring: RingName,
    /// The producer's index.
    pub produced: u32,
    /// The consumer's index.
    pub consumed: u32,
    /// Slots of the ring.
    pub size: u32,
}

/// How full a ring is at a moment that has passed by the time it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLevel {
    /// Entries published and not yet given back; `None` if the indices cannot belong to one ring.
    pub entries: Option<u32>,
    /// Slots of the ring.
    pub size: u32,
}

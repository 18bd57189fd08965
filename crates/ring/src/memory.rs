use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::layout::RING_SLOTS;

/// Where the words of both rings live.
pub trait Memory {
    /// A word that both sides write.
    type Word: Word;

    /// Whether the client sleeps.
    fn asleep(&self) -> &Self::Word;
    /// The sequence and the value of a slot of reception, `slot < RING_SLOTS`.
    fn rx(&self, slot: u32) -> [&Self::Word; 2];
    /// The sequence, the address and the length of a slot of sending, `slot < RING_SLOTS`.
    fn tx(&self, slot: u32) -> [&Self::Word; 3];
    /// Keeps earlier stores before later loads, where the words live.
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// A word that both sides write.
pub trait Word {
    /// Loads it.
    fn load(&self, order: Ordering) -> u32;
    /// Stores it.
    fn store(&self, value: u32, order: Ordering);
}

impl Word for AtomicU32 {
    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        AtomicU32::load(self, order)
    }

    #[inline]
    fn store(&self, value: u32, order: Ordering) {
        AtomicU32::store(self, value, order);
    }
}

/// A ring cannot have this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRing {
    /// Not a power of two, or too many.
    #[error("a BPF ring of {slots} slots: it can have a power of two up to {RING_SLOTS}")]
    Slots {
        /// Slots asked for.
        slots: u32,
    },
    /// More chunks were posted than there are slots.
    #[error("{posted} chunks are said to be posted in a BPF ring of {slots} slots")]
    Posted {
        /// Chunks said to be posted.
        posted: usize,
        /// Slots of the ring.
        slots: u32,
    },
}

/// The mask of a ring of so many slots.
pub(crate) fn mask(slots: u32) -> Result<u32, InvalidRing> {
    if slots.is_power_of_two() && slots <= RING_SLOTS { Ok(slots - 1) } else { Err(InvalidRing::Slots { slots }) }
}

/// The sequence that gives the slot of a position to the program.
#[inline]
pub(crate) fn given(position: u32) -> u32 {
    position.wrapping_mul(2).wrapping_add(1)
}

/// The sequence that gives it back.
#[inline]
pub(crate) fn given_back(position: u32) -> u32 {
    position.wrapping_mul(2).wrapping_add(2)
}

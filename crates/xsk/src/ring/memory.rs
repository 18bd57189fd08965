use std::sync::atomic::{AtomicU32, Ordering, fence};

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

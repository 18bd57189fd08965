//! The words that this crate and `packages/xsknet/src/slate.ts` share, so that a packet costs no call: JavaScript reads where the frames
//! of its lease are, and writes down how long they have become and which to send. Whatever it writes is input.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Words before the tables; `slate.ts` has the same list.
const HEAD: usize = 8;

/// A word in front of the tables.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// Entries of the outbox. JavaScript counts up, we set it back to 0.
    Queued = 0,
    /// TX slots that were free when we last looked.
    Slots = 1,
    /// Frames in TX that the kernel had not taken after the last kick.
    Waiting = 2,
    /// Times that reception had no chunk; wraps.
    Starved = 3,
}

/// A table with one word for each frame that a lease can have. One after the other, in this order.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    /// Where a frame begins, in bytes from the start of the UMEM. Ours.
    Offsets = 0,
    /// Bytes of a frame. JavaScript changes them.
    Lengths = 1,
    /// Frames to send, as places in the lease, in their order. JavaScript's.
    Outbox = 2,
}

/// Clones share the words.
#[derive(Clone)]
pub(crate) struct Slate {
    /// Atomic, because JavaScript can hand the buffer to another thread.
    words: Arc<[AtomicU32]>,
    places: usize,
}

impl Slate {
    /// For leases of up to `places` frames.
    pub(crate) fn new(places: usize) -> Self {
        let words = (0..HEAD + 3 * places).map(|_| AtomicU32::new(0)).collect();
        Self { words, places }
    }

    /// The most frames of a lease.
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    pub(crate) fn get(&self, word: Word) -> u32 {
        self.words[word as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, word: Word, value: u32) {
        self.words[word as usize].store(value, Ordering::Relaxed);
    }

    /// The word of a table; `None` beyond its end.
    pub(crate) fn entry(&self, table: Table, place: usize) -> Option<&AtomicU32> {
        (place < self.places).then(|| &self.words[HEAD + table as usize * self.places + place])
    }

    /// Where the words are, and how many bytes they take. The address is good for as long as any clone lives.
    pub(crate) fn memory(&self) -> (*mut u8, usize) {
        (self.words.as_ptr().cast_mut().cast(), size_of_val(&*self.words))
    }
}

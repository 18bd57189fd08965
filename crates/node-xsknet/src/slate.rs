//! The words that this crate and `packages/xsknet/src/slate.ts` share, so that a packet costs no call: JavaScript reads where the frames
//! of its lease are, and writes down which to send and which to take back. Whatever it writes is input.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xsknet_xsk::LentDescriptor;

/// Words before the tables; `slate.ts` has the same list.
const HEAD: usize = 16;

/// A word in front of the tables.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// Descriptors in the outbox. JavaScript counts up, we set it back to 0.
    Queued = 0,
    /// TX slots that were free when we last looked.
    Slots = 1,
    /// Frames in TX that the kernel had not taken after the last kick.
    Waiting = 2,
    /// Times that reception had no chunk; wraps.
    Starved = 3,
    /// Descriptors in the returns. JavaScript counts up, we set it back to 0.
    Returned = 4,
    /// What a function has to say beside its result.
    Second = 5,
    /// Chunks of frames that JavaScript keeps beyond their lease. JavaScript's.
    Kept = 6,
    /// What a hot function is called with, and its result: a word costs a fraction of an argument.
    Argument = 8,
    /// The second argument.
    Length = 9,
    /// The third.
    End = 10,
    /// The result.
    Result = 11,
}

/// Words lent to JavaScript. Clones share them.
#[derive(Clone)]
pub(crate) struct Words(Arc<[AtomicU32]>);

impl Words {
    pub(crate) fn zeroed(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU32::new(0)).collect())
    }

    /// A table of descriptors, from a word on; shorter or empty where there are no words.
    pub(crate) fn descriptors(&self, from: usize, count: usize) -> &[LentDescriptor] {
        let (descriptors, _) = self.0.get(from..).unwrap_or_default().as_chunks();
        descriptors.get(..count).unwrap_or(descriptors)
    }

    /// Where the words are, and how many bytes they take. The address is good for as long as any clone lives.
    pub(crate) fn memory(&self) -> (*mut u8, usize) {
        (self.0.as_ptr().cast_mut().cast(), size_of_val(&*self.0))
    }
}

/// Three tables behind the head: the lease, in places that JavaScript names frames by; the outbox, what is to be sent, in its order; and the
/// returns, what is to be taken back.
pub(crate) struct Slate {
    words: Words,
    places: usize,
    slots: usize,
}

impl Slate {
    /// For leases of up to `places` frames and a TX ring of so many slots.
    pub(crate) fn new(places: usize, slots: usize) -> Self {
        Self { words: Words::zeroed(HEAD + 2 * (places + slots + places)), places, slots }
    }

    /// The most frames of a lease.
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    pub(crate) fn words(&self) -> Words {
        self.words.clone()
    }

    pub(crate) fn get(&self, word: Word) -> u32 {
        self.words.0[word as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, word: Word, value: u32) {
        self.words.0[word as usize].store(value, Ordering::Relaxed);
    }

    /// The places of the lease.
    pub(crate) fn lease(&self) -> &[LentDescriptor] {
        self.words.descriptors(HEAD, self.places)
    }

    /// What JavaScript has queued; it counts from none again.
    pub(crate) fn take_queued(&self) -> &[LentDescriptor] {
        let queued = self.take(Word::Queued).min(self.slots);
        self.words.descriptors(HEAD + 2 * self.places, queued)
    }

    /// What JavaScript gives back; it counts from none again.
    pub(crate) fn take_returned(&self) -> &[LentDescriptor] {
        let returned = self.take(Word::Returned).min(self.places);
        self.words.descriptors(HEAD + 2 * (self.places + self.slots), returned)
    }

    fn take(&self, word: Word) -> usize {
        let count = self.get(word);
        if count != 0 {
            self.set(word, 0);
        }
        count as usize
    }
}

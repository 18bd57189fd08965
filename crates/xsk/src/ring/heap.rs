//! Rings on the heap, for tests: clones are the two ends of one ring.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Entry, RingMemory};

#[derive(Clone, Debug)]
pub(crate) struct HeapRing<E> {
    words: Arc<HeapWords>,
    entry: PhantomData<E>,
}

#[derive(Debug)]
struct HeapWords {
    producer: AtomicU32,
    consumer: AtomicU32,
    flags: AtomicU32,
    size: u32,
    slots: Vec<AtomicU64>,
}

impl<E: Entry> HeapRing<E> {
    /// An empty ring whose indices both stand at `start`.
    pub(crate) fn starting_at(start: u32, size: u32) -> Self {
        assert!(size.is_power_of_two());
        let count = (size as usize).checked_mul(E::WORDS).unwrap();
        let words = HeapWords {
            producer: AtomicU32::new(start),
            consumer: AtomicU32::new(start),
            flags: AtomicU32::new(0),
            size,
            slots: (0..count).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { words: Arc::new(words), entry: PhantomData }
    }

    fn slot(&self, slot: u32) -> &[AtomicU64] {
        let first = (slot as usize).wrapping_mul(E::WORDS);
        &self.words.slots[first..first.wrapping_add(E::WORDS)]
    }
}

impl<E: Entry> RingMemory for HeapRing<E> {
    type Word = AtomicU32;
    type Entry = E;

    fn size(&self) -> u32 {
        self.words.size
    }

    fn producer(&self) -> &AtomicU32 {
        &self.words.producer
    }

    fn consumer(&self) -> &AtomicU32 {
        &self.words.consumer
    }

    fn flags(&self) -> u32 {
        self.words.flags.load(Ordering::Relaxed)
    }

    fn read(&self, slot: u32) -> E {
        E::load(self.slot(slot))
    }

    fn write(&self, slot: u32, entry: E) {
        entry.store(self.slot(slot));
    }
}

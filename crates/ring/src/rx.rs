use std::sync::atomic::Ordering;

use crate::memory::{InvalidRing, Memory, Word, given, given_back, mask};
use crate::sys::Control;

/// The client's side of reception: chunks that the program fills with frames, in their order.
#[derive(Debug)]
pub struct RxRing<M = Control> {
    memory: M,
    mask: u32,
    /// The position to post next.
    head: u32,
    /// The position that is taken next.
    tail: u32,
    /// The chunk of each slot. The slot itself cannot tell: others write it, too.
    chunks: Box<[u32]>,
}

impl<M: Memory> RxRing<M> {
    /// The ring as the last owner left it: the chunks that it posted and did not take, oldest first, from `position`
    /// on.
    ///
    /// # Errors
    /// [`InvalidRing`].
    pub fn new(memory: M, slots: u32, position: u32, posted: &[u32]) -> Result<Self, InvalidRing> {
        let mask = mask(slots)?;
        let count = u32::try_from(posted.len()).ok().filter(|count| *count <= slots);
        let count = count.ok_or(InvalidRing::Posted { posted: posted.len(), slots })?;
        let mut chunks = vec![0; slots as usize].into_boxed_slice();
        for (n, chunk) in (0..count).zip(posted) {
            chunks[(position.wrapping_add(n) & mask) as usize] = *chunk;
        }
        Ok(Self { memory, mask, head: position.wrapping_add(count), tail: position, chunks })
    }

    /// Gives the program a chunk; `false` where no slot is free.
    #[inline]
    pub fn post(&mut self, chunk: u32) -> bool {
        if self.posted() > self.mask {
            return false;
        }
        let slot = self.head & self.mask;
        self.chunks[slot as usize] = chunk;
        let [sequence, value] = self.memory.rx(slot);
        value.store(chunk, Ordering::Relaxed);
        sequence.store(given(self.head), Ordering::Release); // (A)
        self.head = self.head.wrapping_add(1);
        true
    }

    /// Takes the chunk that comes next, if the program has given it back, and the length of the frame in it. Any length
    /// can stand there; 0 is what the program writes where it found no such chunk.
    #[inline]
    pub fn take(&mut self) -> Option<(u32, u32)> {
        if self.head == self.tail {
            return None;
        }
        let slot = self.tail & self.mask;
        let [sequence, value] = self.memory.rx(slot);
        if sequence.load(Ordering::Acquire) != given_back(self.tail) {
            return None; // (C)
        }
        let length = value.load(Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(1);
        Some((self.chunks[slot as usize], length))
    }

    /// Chunks posted and not taken.
    #[inline]
    #[must_use]
    pub fn posted(&self) -> u32 {
        self.head.wrapping_sub(self.tail)
    }

    /// Their numbers, oldest first.
    pub fn chunks(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.posted()).map(|n| self.chunks[(self.tail.wrapping_add(n) & self.mask) as usize])
    }

    /// The position of the oldest of them.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.tail
    }

    /// Slots of the ring.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.mask + 1
    }

    /// Whether there is nothing to take.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail || !self.is_back(self.tail)
    }

    /// Whether the program has no chunk left. It takes them in their order, so the newest one tells.
    #[inline]
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.head == self.tail || self.is_back(self.head.wrapping_sub(1))
    }

    /// Has the next frame ring the bell. Look at the ring once more before you sleep: what came earlier does not ring.
    pub fn arm(&self) {
        self.memory.asleep().store(1, Ordering::Relaxed);
        self.memory.fence(); // (D)
    }

    /// No frame has to ring any more; one may have.
    pub fn disarm(&self) {
        self.memory.asleep().store(0, Ordering::Relaxed);
    }

    fn is_back(&self, position: u32) -> bool {
        let [sequence, _] = self.memory.rx(position & self.mask);
        sequence.load(Ordering::Relaxed) == given_back(position)
    }
}

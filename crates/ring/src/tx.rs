use std::sync::atomic::Ordering;

use crate::memory::{InvalidRing, Memory, Word, given, given_back, mask};
use crate::sys::Control;

/// The client's side of sending: frames that the program takes when it is run, in their order.
#[derive(Debug)]
pub struct TxRing<M = Control> {
    memory: M,
    mask: u32,
    /// The position to put next.
    head: u32,
    /// The position that is completed next.
    tail: u32,
    /// Address and length of each slot's frame. The slot itself cannot tell: others write it, too.
    frames: Box<[(u32, u32)]>,
}

impl<M: Memory> TxRing<M> {
    /// The ring as the last owner left it: empty, at `position`.
    ///
    /// # Errors
    /// [`InvalidRing`].
    pub fn new(memory: M, slots: u32, position: u32) -> Result<Self, InvalidRing> {
        let mask = mask(slots)?;
        let frames = vec![(0, 0); slots as usize].into_boxed_slice();
        Ok(Self { memory, mask, head: position, tail: position, frames })
    }

    /// Gives the program a frame, which lies `address` bytes from the first chunk on; `false` where no slot is free.
    #[inline]
    pub fn put(&mut self, address: u32, length: u32) -> bool {
        if self.free() == 0 {
            return false;
        }
        let slot = self.head & self.mask;
        self.frames[slot as usize] = (address, length);
        let [sequence, at, of] = self.memory.tx(slot);
        at.store(address, Ordering::Relaxed);
        of.store(length, Ordering::Relaxed);
        sequence.store(given(self.head), Ordering::Release); // (A)
        self.head = self.head.wrapping_add(1);
        true
    }

    /// The address of the frame that comes back next, if the program has given it back.
    #[inline]
    pub fn complete(&mut self) -> Option<u32> {
        if self.head == self.tail || !self.is_back(self.tail) {
            return None;
        }
        let (address, _) = self.frames[(self.tail & self.mask) as usize];
        self.tail = self.tail.wrapping_add(1);
        Some(address)
    }

    /// Frames put and not completed.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.head.wrapping_sub(self.tail)
    }

    /// The length of the first of them.
    #[must_use]
    pub fn first_length(&self) -> Option<u32> {
        (self.waiting() > 0).then(|| self.frames[(self.tail & self.mask) as usize].1)
    }

    /// Slots that are free without another completion.
    #[inline]
    #[must_use]
    pub fn free(&self) -> u32 {
        self.slots() - self.waiting()
    }

    /// Whether a slot is free, or would be after a completion.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.free() > 0 || self.is_back(self.tail)
    }

    /// The position to put next.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.head
    }

    /// Slots of the ring.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.mask + 1
    }

    #[inline]
    fn is_back(&self, position: u32) -> bool {
        let [sequence, ..] = self.memory.tx(position & self.mask);
        sequence.load(Ordering::Acquire) == given_back(position) // (C)
    }
}

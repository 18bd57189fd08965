//! The program's side, as `bpf/include/xsknet/ring.h` has it, for tests: they play the kernel, an honest one or not.

use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::memory::{Memory, given, given_back};
use crate::sys::Control;

/// The programs of one queue. Several CPUs may have taken slots at once, and give them back in any order.
#[derive(Debug)]
pub struct Program {
    control: Control,
    rx_mask: u32,
    tx_mask: u32,
    rx_head: u32,
    tx_head: u32,
}

impl Program {
    /// The programs of rings with so many slots, both at `position`.
    #[must_use]
    pub fn new(control: Control, rx_slots: u32, tx_slots: u32, position: u32) -> Self {
        Self { control, rx_mask: rx_slots - 1, tx_mask: tx_slots - 1, rx_head: position, tx_head: position }
    }

    /// Takes the next chunk to receive into: the position of its slot, and its number.
    pub fn take_rx(&mut self) -> Option<(u32, u32)> {
        let head = self.rx_head;
        let [sequence, value] = self.control.rx(head & self.rx_mask);
        if sequence.load(Ordering::Acquire) != given(head) {
            return None;
        }
        self.rx_head = head.wrapping_add(1);
        Some((head, value.load(Ordering::Relaxed)))
    }

    /// Gives a slot of reception back.
    pub fn give_rx(&self, position: u32, length: u32) {
        let [sequence, value] = self.control.rx(position & self.rx_mask);
        value.store(length, Ordering::Relaxed);
        sequence.store(given_back(position), Ordering::Release);
    }

    /// Receives a frame; the number of its chunk.
    pub fn deliver(&mut self, length: u32) -> Option<u32> {
        let (position, chunk) = self.take_rx()?;
        self.give_rx(position, length);
        Some(chunk)
    }

    /// Whether the client slept, and has to be woken.
    #[must_use]
    pub fn wake(&self) -> bool {
        fence(Ordering::SeqCst); // that of the exchange in `give_rx`
        self.control.asleep().load(Ordering::Relaxed) != 0 && self.control.asleep().swap(0, Ordering::AcqRel) != 0
    }

    /// Takes the next frame to send: the position of its slot, its address and its length.
    pub fn take_tx(&mut self) -> Option<(u32, u32, u32)> {
        let head = self.tx_head;
        let [sequence, address, length] = self.control.tx(head & self.tx_mask);
        if sequence.load(Ordering::Acquire) != given(head) {
            return None;
        }
        self.tx_head = head.wrapping_add(1);
        Some((head, address.load(Ordering::Relaxed), length.load(Ordering::Relaxed)))
    }

    /// Gives a slot of sending back.
    pub fn give_tx(&self, position: u32) {
        let [sequence, ..] = self.control.tx(position & self.tx_mask);
        sequence.store(given_back(position), Ordering::Release);
    }

    /// Whether a frame is to be sent.
    #[must_use]
    pub fn has_tx(&self) -> bool {
        let [sequence, ..] = self.control.tx(self.tx_head & self.tx_mask);
        sequence.load(Ordering::Relaxed) == given(self.tx_head)
    }

    /// The sequence of the slot of reception that is taken next, to write into it what no program would.
    #[must_use]
    pub fn rx_sequence(&self) -> &AtomicU32 {
        self.control.rx(self.rx_head & self.rx_mask)[0]
    }

    /// The same of sending.
    #[must_use]
    pub fn tx_sequence(&self) -> &AtomicU32 {
        self.control.tx(self.tx_head & self.tx_mask)[0]
    }
}

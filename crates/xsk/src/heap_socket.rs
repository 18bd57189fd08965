//! A socket whose rings lie on the heap, and the kernel's side of them: for tests of what is built on rings, which play
//! the kernel, an honest one or not. No release has it.

use std::sync::atomic::Ordering;

use crate::counters::SocketCounters;
use crate::endpoint::Closed;
use crate::frame::Frame;
use crate::layout::Layout;
use crate::ledger::{ChunkCounts, Tag};
use crate::lent::LentDescriptor;
use crate::ring::heap::HeapRing;
use crate::ring::{Address, Consumer, Descriptor, Producer, RingBroken, RingMemory, RingName, XDP_PKT_CONTD};
use crate::rings::{Lengths, Rings, TransmitError, Transmitted};
use crate::umem::Umem;

/// The user's side: what an [`Endpoint`](crate::Endpoint) does without entering the kernel.
#[derive(Debug)]
pub struct HeapSocket {
    rings: Rings<HeapRing<Address>, HeapRing<Descriptor>>,
    layout: Layout,
}

/// The kernel's side.
#[derive(Debug)]
pub struct HeapKernel {
    rx: Producer<HeapRing<Descriptor>>,
    tx: Consumer<HeapRing<Descriptor>>,
    fill: Consumer<HeapRing<Address>>,
    completion: Producer<HeapRing<Address>>,
    words: Words,
    layout: Layout,
}

/// The shared words, to write into them what a kernel never would.
#[derive(Debug)]
struct Words {
    rx: HeapRing<Descriptor>,
    tx: HeapRing<Descriptor>,
    fill: HeapRing<Address>,
    completion: HeapRing<Address>,
}

impl HeapSocket {
    /// A socket on a UMEM, with the rings of `layout`, whose indices all start at `start`. FILL is empty.
    ///
    /// # Panics
    /// If too many sockets share the UMEM.
    #[must_use]
    pub fn new(umem: &mut Umem, layout: Layout, start: u32) -> (Self, HeapKernel) {
        let id = umem.ledger_mut().enlist().expect("few sockets share the UMEM of a test");
        let words = Words {
            rx: HeapRing::starting_at(start, layout.ring(RingName::Rx)),
            tx: HeapRing::starting_at(start, layout.ring(RingName::Tx)),
            fill: HeapRing::starting_at(start, layout.ring(RingName::Fill)),
            completion: HeapRing::starting_at(start, layout.ring(RingName::Completion)),
        };
        let open = "both indices stand at the same place";
        let mut rings = Rings::new(
            id,
            layout.fill_target(),
            Consumer::open(RingName::Rx, words.rx.clone()).expect(open),
            Producer::open(RingName::Tx, words.tx.clone()).expect(open),
            Producer::open(RingName::Fill, words.fill.clone()).expect(open),
            Consumer::open(RingName::Completion, words.completion.clone()).expect(open),
        );
        rings.multi_buffer = layout.multi_buffer();
        let kernel = HeapKernel {
            rx: Producer::open(RingName::Rx, words.rx.clone()).expect(open),
            tx: Consumer::open(RingName::Tx, words.tx.clone()).expect(open),
            fill: Consumer::open(RingName::Fill, words.fill.clone()).expect(open),
            completion: Producer::open(RingName::Completion, words.completion.clone()).expect(open),
            words,
            layout,
        };
        (Self { rings, layout }, kernel)
    }

    /// [`Endpoint::layout`](crate::Endpoint::layout).
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// [`Endpoint::multi_buffer`](crate::Endpoint::multi_buffer).
    #[must_use]
    pub fn multi_buffer(&self) -> bool {
        self.rings.multi_buffer
    }

    /// [`Endpoint::set_mtu`](crate::Endpoint::set_mtu).
    pub fn set_mtu(&mut self, mtu: u32) {
        self.rings.lengths = Lengths::of_mtu(mtu);
    }

    /// [`Endpoint::receive_lent`](crate::Endpoint::receive_lent).
    ///
    /// # Errors
    /// As that.
    pub fn receive_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<usize, RingBroken> {
        self.rings.receive_lent(umem, table)
    }

    /// [`Endpoint::is_idle`](crate::Endpoint::is_idle).
    ///
    /// # Errors
    /// As that.
    pub fn is_idle(&mut self) -> Result<bool, RingBroken> {
        self.rings.rx.is_empty()
    }

    /// Whether RX has an entry, or says what cannot be.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.rings.rx.level().entries != Some(0)
    }

    /// [`Endpoint::refill`](crate::Endpoint::refill).
    ///
    /// # Errors
    /// As that.
    pub fn refill(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        self.rings.refill(umem)
    }

    /// [`Endpoint::transmit_lent`](crate::Endpoint::transmit_lent).
    ///
    /// # Errors
    /// As that.
    pub fn transmit_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<Transmitted, RingBroken> {
        self.rings.transmit_lent(umem, table)
    }

    /// [`Endpoint::transmit`](crate::Endpoint::transmit).
    ///
    /// # Errors
    /// As that.
    pub fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, TransmitError> {
        self.rings.transmit(umem, frames)
    }

    /// [`Endpoint::recycle`](crate::Endpoint::recycle).
    pub fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        self.rings.recycle(umem, table)
    }

    /// [`Endpoint::complete`](crate::Endpoint::complete).
    ///
    /// # Errors
    /// As that.
    pub fn complete(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        self.rings.complete(umem)
    }

    /// Frames in TX.
    ///
    /// # Errors
    /// [`RingBroken`] if TX is.
    pub fn waiting(&mut self, _: &mut Umem) -> Result<u32, RingBroken> {
        self.rings.tx.entries()
    }

    /// [`Endpoint::tx_slots`](crate::Endpoint::tx_slots).
    #[must_use]
    pub fn tx_slots(&self) -> u32 {
        self.rings.tx.free()
    }

    /// [`Endpoint::in_tx`](crate::Endpoint::in_tx).
    #[must_use]
    pub fn in_tx(&self, umem: &Umem) -> u32 {
        umem.ledger().count(Tag::tx(self.rings.id))
    }

    /// [`Endpoint::chunks`](crate::Endpoint::chunks).
    #[must_use]
    pub fn chunks(&self, umem: &Umem) -> ChunkCounts {
        umem.ledger().chunks(Some(self.rings.id))
    }

    /// [`Endpoint::counters`](crate::Endpoint::counters).
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        self.rings.counters
    }

    /// [`Endpoint::close`](crate::Endpoint::close).
    pub fn close(self, umem: &Umem) -> Closed {
        Closed { umem: umem.number(), id: self.rings.id }
    }
}

impl HeapKernel {
    /// Receives a packet of so many bytes into chunks of FILL; `false`, and nothing taken, where FILL or RX has too
    /// little for it.
    pub fn deliver(&mut self, bytes: u32) -> bool {
        let capacity = self.layout.frame_capacity();
        let parts = bytes.div_ceil(capacity);
        let waiting = self.fill.entries().expect("the user's side is honest");
        let mut slots = self.rx.reserve(parts).expect("the user's side is honest");
        if slots.slots() < parts || waiting < parts {
            return false;
        }
        let mut left = bytes;
        for Address(chunk) in self.fill.take(parts).expect("the user's side is honest") {
            let len = left.min(capacity);
            left -= len;
            let options = if left > 0 { XDP_PKT_CONTD } else { 0 };
            let address = chunk + u64::from(self.layout.frame_offset());
            let written = slots.write(Descriptor { address, len, options });
            debug_assert!(written, "as many slots were free");
        }
        slots.commit() == parts
    }

    /// Sends up to `max` frames of TX, as many as COMPLETION has room for, and says what they were.
    pub fn send(&mut self, max: u32) -> Vec<Descriptor> {
        let mut slots = self.completion.reserve(max).expect("the user's side is honest");
        let mut sent = Vec::new();
        for descriptor in self.tx.take(slots.slots()).expect("the user's side is honest") {
            let written = slots.write(Address(descriptor.address));
            debug_assert!(written, "as many slots were free");
            sent.push(descriptor);
        }
        slots.commit();
        sent
    }

    /// Frames in TX.
    pub fn in_tx(&mut self) -> u32 {
        self.tx.entries().expect("the user's side is honest")
    }

    /// Takes addresses out of FILL as a kernel does that is about to receive, and says which.
    pub fn take_fill(&mut self, max: u32) -> Vec<u64> {
        self.fill.take(max).expect("the user's side is honest").map(|Address(address)| address).collect()
    }

    /// Writes into RX what a kernel may never say, and says how many entries had room.
    pub fn forge_rx(&mut self, descriptors: &[Descriptor]) -> u32 {
        let mut slots = self.rx.reserve(self.layout.ring(RingName::Rx)).expect("the user's side is honest");
        let _ = descriptors.iter().take_while(|descriptor| slots.write(**descriptor)).count();
        slots.commit()
    }

    /// The same for COMPLETION.
    pub fn forge_completion(&mut self, addresses: &[u64]) -> u32 {
        let mut slots =
            self.completion.reserve(self.layout.ring(RingName::Completion)).expect("the user's side is honest");
        let _ = addresses.iter().take_while(|address| slots.write(Address(**address))).count();
        slots.commit()
    }

    /// Writes the kernel's index of a ring, and says what it was.
    pub fn forge_index(&self, ring: RingName, index: u32) -> u32 {
        let word = match ring {
            RingName::Rx => self.words.rx.producer(),
            RingName::Tx => self.words.tx.consumer(),
            RingName::Fill => self.words.fill.consumer(),
            RingName::Completion => self.words.completion.producer(),
        };
        word.swap(index, Ordering::Relaxed)
    }
}

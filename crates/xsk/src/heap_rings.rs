//! BPF rings in memory that no kernel knows, and the programs' side of them, as [`HeapSocket`](crate::HeapSocket).

use std::sync::atomic::Ordering;

use xsknet_ring::{Control, Program};

use crate::bpf_rings::{BpfRings, Positions};
use crate::counters::SocketCounters;
use crate::endpoint::Closed;
use crate::frame::Frame;
use crate::layout::Layout;
use crate::ledger::{ChunkCounts, Tag};
use crate::lent::LentDescriptor;
use crate::ring::{Descriptor, RingBroken, RingName};
use crate::rings::{Lengths, TransmitError, Transmitted};
use crate::umem::Umem;

/// The client's side: what a [`RingEndpoint`](crate::RingEndpoint) does without entering the kernel. Nothing of it is
/// ever [`RingBroken`].
#[derive(Debug)]
pub struct HeapRings(BpfRings);

/// The programs' side.
#[derive(Debug)]
pub struct HeapProgram {
    /// The rings.
    pub program: Program,
    layout: Layout,
}

impl HeapRings {
    /// Rings on a UMEM, with the slots of `layout`, whose positions start at `start`. Nothing is posted.
    ///
    /// # Panics
    /// If too many sockets share the UMEM.
    #[must_use]
    pub fn new(umem: &mut Umem, layout: Layout, start: u32) -> (Self, HeapProgram) {
        let id = umem.ledger_mut().enlist().expect("few sockets share the UMEM of a test");
        let (rx, tx) = (layout.ring(RingName::Rx), layout.ring(RingName::Tx));
        let memory = Control::anonymous().expect("a hundred kilobytes");
        let program = Program::new(memory.clone(), rx, tx, start);
        let layout = layout.with_bpf_rings(rx, tx);
        let at = Positions { rx: start, tx: start, posted: &[] };
        let rings = BpfRings::new(id, layout, memory, &at).expect("a layout's rings are powers of two, and small here");
        (Self(rings), HeapProgram { program, layout })
    }

    /// [`RingEndpoint::layout`](crate::RingEndpoint::layout).
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.0.layout()
    }

    /// No packet takes several frames.
    #[must_use]
    pub fn multi_buffer(&self) -> bool {
        false
    }

    /// [`RingEndpoint::set_mtu`](crate::RingEndpoint::set_mtu).
    pub fn set_mtu(&mut self, mtu: u32) {
        self.0.lengths = Lengths::of_mtu(mtu);
    }

    /// [`RingEndpoint::receive_lent`](crate::RingEndpoint::receive_lent).
    ///
    /// # Errors
    /// None.
    pub fn receive_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<usize, RingBroken> {
        Ok(self.0.receive_lent(umem, table))
    }

    /// [`RingEndpoint::is_idle`](crate::RingEndpoint::is_idle).
    ///
    /// # Errors
    /// None.
    pub fn is_idle(&mut self) -> Result<bool, RingBroken> {
        Ok(self.0.rx.is_empty())
    }

    /// Whether a frame has come.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.0.rx.is_empty()
    }

    /// [`RingEndpoint::refill`](crate::RingEndpoint::refill).
    ///
    /// # Errors
    /// None.
    pub fn refill(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        Ok(self.0.refill(umem))
    }

    /// [`RingEndpoint::transmit_lent`](crate::RingEndpoint::transmit_lent).
    ///
    /// # Errors
    /// None.
    pub fn transmit_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<Transmitted, RingBroken> {
        Ok(self.0.transmit_lent(umem, table))
    }

    /// [`RingEndpoint::transmit`](crate::RingEndpoint::transmit).
    ///
    /// # Errors
    /// As that.
    pub fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, TransmitError> {
        Ok(self.0.transmit(umem, frames)?)
    }

    /// [`RingEndpoint::recycle`](crate::RingEndpoint::recycle).
    pub fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        self.0.recycle(umem, table)
    }

    /// [`RingEndpoint::complete`](crate::RingEndpoint::complete).
    ///
    /// # Errors
    /// None.
    pub fn complete(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        Ok(self.0.complete(umem))
    }

    /// Frames in TX, once those that have left are free.
    ///
    /// # Errors
    /// None.
    pub fn waiting(&mut self, umem: &mut Umem) -> Result<u32, RingBroken> {
        self.0.complete(umem);
        Ok(self.0.tx.waiting())
    }

    /// [`RingEndpoint::tx_slots`](crate::RingEndpoint::tx_slots).
    #[must_use]
    pub fn tx_slots(&self) -> u32 {
        self.0.tx.free()
    }

    /// [`RingEndpoint::in_tx`](crate::RingEndpoint::in_tx).
    #[must_use]
    pub fn in_tx(&self, umem: &Umem) -> u32 {
        umem.ledger().count(Tag::tx(self.0.id))
    }

    /// [`RingEndpoint::chunks`](crate::RingEndpoint::chunks).
    #[must_use]
    pub fn chunks(&self, umem: &Umem) -> ChunkCounts {
        umem.ledger().chunks(Some(self.0.id))
    }

    /// [`RingEndpoint::counters`](crate::RingEndpoint::counters).
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        self.0.counters
    }

    /// [`RingEndpoint::close`](crate::RingEndpoint::close).
    pub fn close(self, umem: &Umem) -> Closed {
        Closed { umem: umem.number(), id: self.0.id }
    }
}

impl HeapProgram {
    /// Receives a frame of so many bytes; `false`, and nothing taken, where no chunk is posted or the frame is too long
    /// for one.
    pub fn deliver(&mut self, bytes: u32) -> bool {
        bytes <= self.layout.frame_capacity() && self.program.deliver(bytes).is_some()
    }

    /// Sends up to `max` frames, and says what they were.
    pub fn send(&mut self, max: u32) -> Vec<Descriptor> {
        let mut sent = Vec::new();
        while sent.len() < max as usize
            && let Some((position, address, len)) = self.program.take_tx()
        {
            self.program.give_tx(position);
            sent.push(Descriptor { address: address.into(), len, options: 0 });
        }
        sent
    }

    /// Takes chunks as a program does that is about to receive, and says where they begin.
    pub fn take_fill(&mut self, max: u32) -> Vec<u64> {
        let chunks = (0..max).map_while(|_| self.program.take_rx());
        chunks.map(|(_, chunk)| u64::from(chunk) * u64::from(self.layout.frame_size())).collect()
    }

    /// Receives frames of any length, where chunks are posted, and says how many. Where they lie is not the program's
    /// to say.
    pub fn forge_rx(&mut self, descriptors: &[Descriptor]) -> u32 {
        let taken = descriptors.iter().take_while(|descriptor| self.program.deliver(descriptor.len).is_some()).count();
        u32::try_from(taken).expect("few are forged")
    }

    /// Gives as many frames back that were not sent, and says how many. Which ones is not the program's to say.
    pub fn forge_completion(&mut self, addresses: &[u64]) -> u32 {
        u32::try_from(self.send(u32::try_from(addresses.len()).expect("few are forged")).len()).expect("no more")
    }

    /// Writes the sequence of the slot that the program takes next, and says what it was.
    pub fn forge_index(&self, ring: RingName, sequence: u32) -> u32 {
        let word = match ring {
            RingName::Rx | RingName::Fill => self.program.rx_sequence(),
            RingName::Tx | RingName::Completion => self.program.tx_sequence(),
        };
        word.swap(sequence, Ordering::Relaxed)
    }
}

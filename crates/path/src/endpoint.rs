//! An AF_XDP socket as rings, and a UMEM as their pool.

use std::os::fd::OwnedFd;
use std::time::Duration;

use xsknet_xsk::{
    Closed, Endpoint, FlushError, Frame, Layout, LentDescriptor, Readiness, RingBroken, TransmitError, Transmitted,
    Umem, WaitError,
};

use crate::rings::{ChunkCounts, Pool, Rings};

impl Pool for Umem {
    type Frame = Frame;

    #[inline]
    fn free(&self) -> u32 {
        Umem::free(self)
    }

    #[inline]
    fn lend(&mut self, table: &[LentDescriptor]) -> usize {
        Umem::lend(self, table)
    }

    fn take_all_back(&mut self) {
        Umem::take_all_back(self);
    }

    #[inline]
    fn allocate(&mut self) -> Option<Frame> {
        Umem::allocate(self)
    }

    #[inline]
    fn bytes_mut<'a>(&'a self, frame: &'a mut Frame, length: usize, continues: bool) -> &'a mut [u8] {
        if let Err(too_long) = frame.set_len(length) {
            panic!("{too_long}");
        }
        frame.set_continues(continues);
        Umem::bytes_mut(self, frame)
    }

    #[inline]
    fn release(&mut self, frame: Frame) {
        Umem::release(self, frame);
    }
}

impl Rings for Endpoint {
    type Pool = Umem;
    type Backing = OwnedFd;
    type Closed = Closed;

    #[inline]
    fn layout(&self) -> &Layout {
        Endpoint::layout(self)
    }

    #[inline]
    fn multi_buffer(&self) -> bool {
        Endpoint::multi_buffer(self)
    }

    fn set_mtu(&mut self, mtu: u32) {
        Endpoint::set_mtu(self, mtu);
    }

    #[inline]
    fn receive(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<usize, RingBroken> {
        self.receive_lent(umem, table)
    }

    #[inline]
    fn refill(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        Endpoint::refill(self, umem)
    }

    #[inline]
    fn is_idle(&mut self) -> Result<bool, RingBroken> {
        Endpoint::is_idle(self)
    }

    #[inline]
    fn is_readable(&self) -> bool {
        // Indices that cannot be are something that `receive` reports.
        self.rings().rx.entries != Some(0)
    }

    #[inline]
    fn transmit(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<Transmitted, RingBroken> {
        self.transmit_lent(umem, table)
    }

    #[inline]
    fn transmit_frames(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        Endpoint::transmit(self, umem, frames).map_err(|error| match error {
            TransmitError::Ring(broken) => broken,
            TransmitError::Frame(refused) => unreachable!("frames of this UMEM with bytes, not too many: {refused}"),
        })
    }

    #[inline]
    fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        Endpoint::recycle(self, umem, table)
    }

    #[inline]
    fn complete(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        Endpoint::complete(self, umem)
    }

    #[inline]
    fn flush(&mut self, umem: &mut Umem) -> Result<u32, FlushError> {
        Endpoint::flush(self, umem)
    }

    fn wait(&mut self, umem: &mut Umem, timeout: Duration) -> Result<Readiness, WaitError> {
        Endpoint::wait(self, umem, timeout)
    }

    #[inline]
    fn tx_slots(&self) -> u32 {
        Endpoint::tx_slots(self)
    }

    #[inline]
    fn in_tx(&self, umem: &Umem) -> u32 {
        Endpoint::in_tx(self, umem)
    }

    #[inline]
    fn starved(&self) -> u64 {
        let counters = self.counters();
        counters.fill_starved.wrapping_add(counters.fill_found_empty)
    }

    fn chunks(&self, umem: &Umem) -> ChunkCounts {
        Endpoint::chunks(self, umem).into()
    }

    fn close(self, umem: &Umem) -> Closed {
        Endpoint::close(self, umem)
    }

    fn reclaim(umem: &mut Umem, closed: Closed) {
        umem.reclaim(closed);
    }
}

impl From<xsknet_xsk::ChunkCounts> for ChunkCounts {
    fn from(counts: xsknet_xsk::ChunkCounts) -> Self {
        let xsknet_xsk::ChunkCounts { free, held, fill, tx, total } = counts;
        Self { free, held, kept: 0, fill, tx, elsewhere: counts.elsewhere(), total }
    }
}

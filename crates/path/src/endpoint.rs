//! A socket of either kind as rings, and a UMEM as their pool.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use xsknet_xsk::{
    Closed, DeviceState, Endpoint, FlushError, Frame, KernelStatistics, Layout, LentDescriptor, Readiness, RingBroken,
    RingEndpoint, SocketCounters, TransmitError, Transmitted, Umem, WaitError, Woken,
};

use crate::kick::{KICK_AFTER_FRAMES, KICK_AFTER_FRAMES_IN_BPF_RINGS};
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

/// A socket with the rings of the kernel, or one with BPF rings.
#[expect(clippy::large_enum_variant, reason = "one for each queue, and most have a socket's rings")]
#[derive(Debug)]
pub enum QueueEndpoint {
    /// AF_XDP's four rings.
    Socket(Endpoint),
    /// BPF rings.
    Rings(Box<RingEndpoint>),
}

/// Calls the same of whichever it is.
macro_rules! either {
    ($self:expr, $endpoint:ident => $call:expr) => {
        match $self {
            QueueEndpoint::Socket($endpoint) => $call,
            QueueEndpoint::Rings($endpoint) => $call,
        }
    };
}

impl QueueEndpoint {
    /// Asks for the state of the device. A system call.
    #[must_use]
    pub fn device(&self) -> DeviceState {
        either!(self, endpoint => endpoint.device())
    }

    /// What the rings have done.
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        either!(self, endpoint => endpoint.counters())
    }

    /// What the kernel has counted for the socket. A system call.
    ///
    /// # Errors
    /// What `getsockopt` answered.
    pub fn statistics(&self) -> io::Result<KernelStatistics> {
        either!(self, endpoint => endpoint.statistics())
    }

    /// Whether the descriptor becomes writable where a slot is free. That of BPF rings only becomes readable, and
    /// [`DataPath::woken`](crate::DataPath::woken) says for what.
    #[must_use]
    pub fn has_writable_event(&self) -> bool {
        matches!(self, Self::Socket(_))
    }
}

/// What an event loop watches.
impl AsFd for QueueEndpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, endpoint => endpoint.as_fd())
    }
}

impl Rings for QueueEndpoint {
    type Pool = Umem;
    type Backing = OwnedFd;
    type Closed = Closed;

    #[inline]
    fn layout(&self) -> &Layout {
        either!(self, endpoint => endpoint.layout())
    }

    #[inline]
    fn multi_buffer(&self) -> bool {
        match self {
            Self::Socket(endpoint) => endpoint.multi_buffer(),
            Self::Rings(_) => false,
        }
    }

    fn set_mtu(&mut self, mtu: u32) {
        either!(self, endpoint => endpoint.set_mtu(mtu));
    }

    #[inline]
    fn receive(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<usize, RingBroken> {
        match self {
            Self::Socket(endpoint) => endpoint.receive_lent(umem, table),
            Self::Rings(endpoint) => Ok(endpoint.receive_lent(umem, table)),
        }
    }

    #[inline]
    fn refill(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        match self {
            Self::Socket(endpoint) => endpoint.refill(umem),
            Self::Rings(endpoint) => Ok(endpoint.refill(umem)),
        }
    }

    #[inline]
    fn is_idle(&mut self) -> Result<bool, RingBroken> {
        match self {
            Self::Socket(endpoint) => endpoint.is_idle(),
            Self::Rings(endpoint) => Ok(endpoint.is_idle()),
        }
    }

    #[inline]
    fn is_readable(&self) -> bool {
        match self {
            // Indices that cannot be are something that `receive` reports.
            Self::Socket(endpoint) => endpoint.rings().rx.entries != Some(0),
            Self::Rings(endpoint) => !endpoint.is_idle(),
        }
    }

    #[inline]
    fn transmit(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<Transmitted, RingBroken> {
        match self {
            Self::Socket(endpoint) => endpoint.transmit_lent(umem, table),
            Self::Rings(endpoint) => Ok(endpoint.transmit_lent(umem, table)),
        }
    }

    #[inline]
    fn transmit_frames(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        let sent = match self {
            Self::Socket(endpoint) => endpoint.transmit(umem, frames),
            Self::Rings(endpoint) => endpoint.transmit(umem, frames).map_err(TransmitError::Frame),
        };
        sent.map_err(|error| match error {
            TransmitError::Ring(broken) => broken,
            TransmitError::Frame(refused) => unreachable!("frames of this UMEM with bytes, not too many: {refused}"),
        })
    }

    #[inline]
    fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        either!(self, endpoint => endpoint.recycle(umem, table))
    }

    #[inline]
    fn complete(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        match self {
            Self::Socket(endpoint) => endpoint.complete(umem),
            Self::Rings(endpoint) => Ok(endpoint.complete(umem)),
        }
    }

    fn kick_after(&self) -> usize {
        match self {
            Self::Socket(_) => KICK_AFTER_FRAMES,
            Self::Rings(_) => KICK_AFTER_FRAMES_IN_BPF_RINGS,
        }
    }

    #[inline]
    fn flush(&mut self, umem: &mut Umem) -> Result<u32, FlushError> {
        either!(self, endpoint => endpoint.flush(umem))
    }

    fn wait(&mut self, umem: &mut Umem, timeout: Duration) -> Result<Readiness, WaitError> {
        either!(self, endpoint => endpoint.wait(umem, timeout))
    }

    fn prepare_to_sleep(&mut self, umem: &mut Umem, sending: bool) {
        if let Self::Rings(endpoint) = self {
            endpoint.prepare_to_sleep(umem, sending);
        }
    }

    fn woken(&mut self) -> Option<Woken> {
        match self {
            Self::Socket(_) => None,
            Self::Rings(endpoint) => Some(endpoint.woken()),
        }
    }

    #[inline]
    fn tx_slots(&self) -> u32 {
        either!(self, endpoint => endpoint.tx_slots())
    }

    #[inline]
    fn in_tx(&self, umem: &Umem) -> u32 {
        either!(self, endpoint => endpoint.in_tx(umem))
    }

    #[inline]
    fn starved(&self) -> u64 {
        let counters = self.counters();
        counters.fill_starved.wrapping_add(counters.fill_found_empty)
    }

    fn chunks(&self, umem: &Umem) -> ChunkCounts {
        either!(self, endpoint => endpoint.chunks(umem)).into()
    }

    fn close(self, umem: &Umem) -> Closed {
        either!(self, endpoint => endpoint.close(umem))
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

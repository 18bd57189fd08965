use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::counters::SocketCounters;
use crate::donation::{AdoptError, RingDonation};
use crate::endpoint::{DeviceState, FlushError, Readiness, WaitError};
use crate::frame::Frame;
use crate::layout::Layout;
use crate::ledger::ChunkCounts;
use crate::ring_endpoint::RingEndpoint;
use crate::rings::FrameRefused;
use crate::umem::{Umem, UmemMemory};

/// A socket with BPF rings and its UMEM, as [`Socket`](crate::Socket) is one with the rings of the kernel.
#[derive(Debug)]
pub struct RingSocket {
    endpoint: RingEndpoint,
    umem: Umem,
    file: OwnedFd,
}

impl RingSocket {
    /// Takes over a bound socket with BPF rings: checks it and maps its UMEM and rings. Needs no capability.
    ///
    /// # Errors
    /// [`AdoptError`] says which claim of the donation does not hold. Its descriptors are closed then.
    pub fn adopt(donation: RingDonation) -> Result<Self, AdoptError> {
        let (endpoint, umem, file) = RingEndpoint::adopt(donation)?;
        Ok(Self { endpoint, umem, file })
    }

    /// The rings and the UMEM apart, and the array of the UMEM.
    #[must_use]
    pub fn into_parts(self) -> (RingEndpoint, Umem, OwnedFd) {
        (self.endpoint, self.umem, self.file)
    }

    /// The socket that [`RingSocket::into_parts`] took apart.
    #[must_use]
    pub fn of_parts(endpoint: RingEndpoint, umem: Umem, file: OwnedFd) -> Self {
        Self { endpoint, umem, file }
    }

    /// Gives the socket away: drops every mapping and says what is posted, and where the rings stand.
    ///
    /// # Errors
    /// [`RingsInUse`] with the socket in it, unless all frames are released and everything sent has been completed.
    pub fn donate(mut self) -> Result<RingDonation, RingsInUse> {
        self.complete();
        let ChunkCounts { held, tx, .. } = self.chunks();
        if held > 0 || tx > 0 {
            return Err(RingsInUse { held, tx, socket: Box::new(self) });
        }
        Ok(self.endpoint.into_donation(self.file))
    }

    /// [`Socket::close`](crate::Socket::close).
    pub fn close(mut self) -> ChunkCounts {
        let closed = self.endpoint.close(&self.umem);
        self.umem.reclaim(closed);
        self.umem.chunks()
    }

    /// Posts chunks up to the layout's target. Do it before a program delivers to the queue.
    pub fn prime(&mut self) -> usize {
        self.endpoint.prime(&mut self.umem)
    }

    /// [`Socket::receive`](crate::Socket::receive).
    pub fn receive(&mut self, max: usize, into: &mut Vec<Frame>) -> usize {
        self.endpoint.receive(&mut self.umem, max, into)
    }

    /// [`Socket::transmit`](crate::Socket::transmit).
    ///
    /// # Errors
    /// [`FrameRefused`] if the very first frame cannot be sent; `frames` is as before.
    pub fn transmit(&mut self, frames: &mut Vec<Frame>) -> Result<usize, FrameRefused> {
        self.endpoint.transmit(&mut self.umem, frames)
    }

    /// [`RingEndpoint::flush`].
    ///
    /// # Errors
    /// [`FlushError`]; the frames stay where they are.
    pub fn flush(&mut self) -> Result<u32, FlushError> {
        self.endpoint.flush(&mut self.umem)
    }

    /// [`Socket::complete`](crate::Socket::complete).
    pub fn complete(&mut self) -> usize {
        self.endpoint.complete(&mut self.umem)
    }

    /// [`Socket::wait`](crate::Socket::wait).
    ///
    /// # Errors
    /// [`WaitError::Poll`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Readiness, WaitError> {
        self.endpoint.wait(&mut self.umem, timeout)
    }

    /// [`Socket::allocate`](crate::Socket::allocate).
    pub fn allocate(&mut self) -> Option<Frame> {
        self.umem.allocate()
    }

    /// [`Socket::release`](crate::Socket::release).
    ///
    /// # Panics
    /// If the frame is of another socket.
    pub fn release(&mut self, frame: Frame) {
        self.umem.release(frame);
    }

    /// [`Socket::bytes`](crate::Socket::bytes).
    ///
    /// # Panics
    /// If the frame is of another socket.
    #[must_use]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        self.umem.bytes(frame)
    }

    /// [`Socket::bytes_mut`](crate::Socket::bytes_mut).
    ///
    /// # Panics
    /// If the frame is of another socket.
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.umem.bytes_mut(frame)
    }

    /// [`Socket::address`](crate::Socket::address).
    #[must_use]
    pub fn address(&self, frame: &Frame) -> u64 {
        self.umem.address(frame)
    }

    /// How many chunks each owner has.
    #[must_use]
    pub fn chunks(&self) -> ChunkCounts {
        self.umem.chunks()
    }

    /// The shape of the UMEM and of the BPF rings.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.endpoint.layout()
    }

    /// What this socket and its donors have done.
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        self.endpoint.counters()
    }

    /// The memory of the UMEM.
    #[must_use]
    pub fn memory(&self) -> UmemMemory {
        self.umem.memory()
    }

    /// [`Endpoint::device`](crate::Endpoint::device).
    #[must_use]
    pub fn device(&self) -> DeviceState {
        self.endpoint.device()
    }
}

/// As that of [`RingEndpoint`].
impl AsFd for RingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.endpoint.as_fd()
    }
}

/// A socket that is in use cannot be given away.
#[derive(Debug, thiserror::Error)]
#[error(
    "donating a socket: {held} frames are held and {tx} have not been completed; release the ones, \
     flush and complete the others"
)]
pub struct RingsInUse {
    /// Frames that the caller holds.
    pub held: u32,
    /// Frames sent and not completed.
    pub tx: u32,
    /// The socket, as it was.
    pub socket: Box<RingSocket>,
}

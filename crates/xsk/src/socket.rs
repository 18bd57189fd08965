use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::adopt::adopt;
use crate::counters::{KernelStatistics, SocketCounters};
use crate::donation::{AdoptError, BindMode, Donation};
use crate::endpoint::{DeviceState, Endpoint, FlushError, Readiness, RingLevels, WaitError};
use crate::frame::Frame;
use crate::layout::Layout;
use crate::ledger::{ChunkCounts, Tag};
use crate::refusal::DescriptorRefused;
use crate::ring::RingBroken;
use crate::rings::{TransmitError, TxBatch};
use crate::umem::{Umem, UmemMemory};

/// An AF_XDP socket with its UMEM and its four rings: the one hot path, no matter who made the socket.
///
/// It is tied to the device and queue it was bound to and to nothing of the thread or network namespace that uses it.
/// Between [`Socket::receive`], [`Socket::transmit`] and [`Socket::flush`] only the last enters the kernel, once a
/// batch; none allocates once the caller's vectors have grown to a batch.
#[doc(alias = "XSK")]
#[derive(Debug)]
pub struct Socket {
    endpoint: Endpoint,
    umem: Umem,
    file: OwnedFd,
}

impl Socket {
    /// Takes over a bound socket: checks it and maps its UMEM and rings. Needs no capability.
    ///
    /// # Errors
    /// [`AdoptError`] says which claim of the donation does not hold. Its descriptors are closed then.
    pub fn adopt(donation: Donation) -> Result<Self, AdoptError> {
        let (mut rings, memory) = adopt(&donation)?;
        let Donation { xsk, umem, layout, bind, counters, .. } = donation;
        rings.counters = counters;
        Ok(Self { endpoint: Endpoint::new(rings, xsk, layout, bind), umem: memory, file: umem })
    }

    /// The socket and its UMEM apart, so that other sockets can share the UMEM, and the file of the UMEM.
    #[must_use]
    pub fn into_parts(self) -> (Endpoint, Umem, OwnedFd) {
        (self.endpoint, self.umem, self.file)
    }

    /// The socket that [`Socket::into_parts`] took apart. No other may share its UMEM.
    #[must_use]
    pub fn of_parts(endpoint: Endpoint, umem: Umem, file: OwnedFd) -> Self {
        Self { endpoint, umem, file }
    }

    /// Whether packets may take several frames: the socket was bound with `XDP_USE_SG`. They may not unless this is
    /// called.
    pub fn set_multi_buffer(&mut self, multi_buffer: bool) {
        self.endpoint.set_multi_buffer(multi_buffer);
    }

    /// Whether packets may take several frames.
    #[must_use]
    pub fn multi_buffer(&self) -> bool {
        self.endpoint.multi_buffer()
    }

    /// Gives the socket away: drops every mapping and says which chunks the kernel has for reception.
    ///
    /// # Errors
    /// [`DonateError`] with the socket in it, unless all frames are released and everything sent has been completed.
    pub fn donate(mut self) -> Result<Donation, DonateError> {
        let completed = self.complete();
        let ChunkCounts { held, tx, .. } = self.chunks();
        if held > 0 || tx > 0 || completed.is_err() {
            return Err(DonateError { held, tx, broken: completed.err(), socket: Box::new(self) });
        }
        let (layout, bind, counters) = (*self.layout(), self.bind_mode(), self.counters());
        let (xsk, id) = self.endpoint.into_parts();
        let in_fill = self.umem.ledger().owned_by(Tag::fill(id)).collect();
        Ok(Donation { xsk, umem: self.file, layout, in_fill, bind, counters })
    }

    /// Closes the socket. All chunks are free then, but those of frames that the caller still holds: they are counted
    /// as `held`, and their bytes can no longer be reached.
    ///
    /// The kernel releases the queue a few milliseconds later, once no other descriptor of the socket is open.
    pub fn close(mut self) -> ChunkCounts {
        let closed = self.endpoint.close(&self.umem);
        self.umem.reclaim(closed);
        self.umem.chunks()
    }

    /// Fills FILL up to the layout's target. Do it before the socket is put into an XSKMAP: the kernel drops what
    /// arrives earlier.
    ///
    /// # Errors
    /// [`RingBroken`] if FILL is.
    pub fn prime(&mut self) -> Result<usize, RingBroken> {
        self.endpoint.prime(&mut self.umem)
    }

    /// Moves up to `max` received frames to the end of `into`, and lends free chunks to FILL in their place. What RX
    /// returns and is not a frame is counted in [`SocketCounters::refused_rx`]. In zero-copy mode it enters the kernel
    /// if that sleeps because it has no chunks.
    ///
    /// # Errors
    /// [`RingBroken`] if RX is, or FILL is and nothing was received; `into` is as before.
    pub fn receive(&mut self, max: usize, into: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        self.endpoint.receive(&mut self.umem, max, into)
    }

    /// Lends free chunks to FILL until reception has its share. [`Socket::receive`] does it; this is for callers that
    /// only release.
    ///
    /// # Errors
    /// [`RingBroken`] if FILL is.
    pub fn refill(&mut self) -> Result<usize, RingBroken> {
        self.endpoint.refill(&mut self.umem)
    }

    /// Puts frames into TX, from the front of `frames` and in their order, as many as there are slots; the others stay.
    /// Drains COMPLETION first. The kernel looks at TX at the next [`Socket::flush`].
    ///
    /// A frame that cannot be sent ends the batch before it, so it is the first of what stays.
    ///
    /// # Errors
    /// [`TransmitError`] if the very first frame cannot be sent, or a ring is broken; `frames` is as before.
    pub fn transmit(&mut self, frames: &mut Vec<Frame>) -> Result<usize, TransmitError> {
        self.endpoint.transmit(&mut self.umem, frames)
    }

    /// Reserves up to `frames` slots of TX. Drains COMPLETION first.
    ///
    /// # Errors
    /// [`RingBroken`] if TX or COMPLETION is.
    pub fn reserve(&mut self, frames: usize) -> Result<TxBatch<'_>, RingBroken> {
        self.endpoint.reserve(&mut self.umem, frames)
    }

    /// Takes back the chunks of frames that have left, and says how many.
    ///
    /// # Errors
    /// [`RingBroken`] if COMPLETION is.
    pub fn complete(&mut self) -> Result<usize, RingBroken> {
        self.endpoint.complete(&mut self.umem)
    }

    /// Lets the kernel send what is in TX, if it wants to be notified (need_wakeup), and says how many frames it has
    /// not yet taken: 0, or some of them when the device is busy. Then flush again later.
    ///
    /// In copy mode a kick moves at most `XDP_MAX_TX_SKB_BUDGET` frames (32 unless raised) and ends with EAGAIN, so it
    /// is repeated for as long as it moves anything, and 16 times beyond that.
    ///
    /// # Errors
    /// [`FlushError`]; the frames stay in TX.
    #[doc(alias = "kick")]
    pub fn flush(&mut self) -> Result<u32, FlushError> {
        self.endpoint.flush(&mut self.umem)
    }

    /// Sleeps until a frame has arrived or the time is over; not at all if RX holds frames, or the device is gone and
    /// the last sleep did not end with frames. It may wake early, with [`Readiness::TimedOut`], when a signal arrives.
    ///
    /// A device that is deleted meanwhile does not end the sleep: this kernel's `xsk_poll` reports neither POLLERR nor
    /// POLLHUP (6.18), so only the end of the time does. Choose one that you can bear.
    ///
    /// # Errors
    /// [`WaitError`] if a ring is broken or `poll` failed.
    pub fn wait(&mut self, timeout: Duration) -> Result<Readiness, WaitError> {
        self.endpoint.wait(&mut self.umem, timeout)
    }

    /// Takes a free chunk: an empty frame with [`Layout::frame_capacity`]. `None` when none is free: release frames, or
    /// let some [`complete`](Self::complete).
    pub fn allocate(&mut self) -> Option<Frame> {
        self.umem.allocate()
    }

    /// Takes a frame back.
    ///
    /// # Panics
    /// If the frame is of another socket.
    pub fn release(&mut self, frame: Frame) {
        self.umem.release(frame);
    }

    /// The bytes of a frame.
    ///
    /// # Panics
    /// If the frame is of another socket.
    #[must_use]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        self.umem.bytes(frame)
    }

    /// The bytes of a frame, to be written.
    ///
    /// # Panics
    /// If the frame is of another socket.
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.umem.bytes_mut(frame)
    }

    /// Where a frame begins, in bytes from the start of the UMEM.
    #[must_use]
    pub fn address(&self, frame: &Frame) -> u64 {
        self.umem.address(frame)
    }

    /// Chunks that the caller holds as frames.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.umem.outstanding()
    }

    /// How many chunks each owner has.
    #[must_use]
    pub fn chunks(&self) -> ChunkCounts {
        self.umem.chunks()
    }

    /// The shape of the UMEM and the rings.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.umem.layout()
    }

    /// The mode that the kernel granted.
    #[must_use]
    pub fn bind_mode(&self) -> BindMode {
        self.endpoint.bind_mode()
    }

    /// What this socket and its donors have done.
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        self.endpoint.counters()
    }

    /// The last entry of RX or COMPLETION that was refused, reported once.
    pub fn take_refusal(&mut self) -> Option<DescriptorRefused> {
        self.endpoint.take_refusal()
    }

    /// What the kernel has counted for this socket. A system call.
    ///
    /// # Errors
    /// What `getsockopt` answered.
    pub fn statistics(&self) -> io::Result<KernelStatistics> {
        self.endpoint.statistics()
    }

    /// How full the rings are.
    #[must_use]
    pub fn rings(&self) -> RingLevels {
        self.endpoint.rings()
    }

    /// The memory of the UMEM. It stays mapped for as long as the value lives, also when the socket is closed.
    #[must_use]
    pub fn memory(&self) -> UmemMemory {
        self.umem.memory()
    }

    /// The file behind the UMEM, for a second mapping of it.
    #[must_use]
    pub fn umem_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Asks how the device is: ENETDOWN while it is down, ENXIO once it is deleted (`__xsk_recvmsg`). A system call,
    /// which also makes the driver look at FILL if it sleeps.
    #[must_use]
    pub fn device(&self) -> DeviceState {
        self.endpoint.device()
    }
}

/// The XSK itself, for poll, epoll and an XSKMAP.
impl AsFd for Socket {
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
pub struct DonateError {
    /// Frames that the caller holds.
    pub held: u32,
    /// Frames sent and not completed.
    pub tx: u32,
    /// COMPLETION could not be drained.
    #[source]
    pub broken: Option<RingBroken>,
    /// The socket, as it was.
    pub socket: Box<Socket>,
}

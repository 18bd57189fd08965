use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::xdp_statistics;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::adopt::{MappedRings, join};
use crate::counters::{KernelStatistics, SocketCounters};
use crate::donation::{AdoptError, BindMode, EndpointDonation};
use crate::frame::{Frame, FrameTooLong};
use crate::layout::Layout;
use crate::ledger::{ChunkCounts, EndpointId, Tag};
use crate::lent::LentDescriptor;
use crate::refusal::DescriptorRefused;
use crate::ring::{RingBroken, RingLevel};
use crate::rings::{Lengths, TransmitError, Transmitted, TxBatch};
use crate::umem::{ReservedChunks, Umem};

/// The most kicks in a row that move nothing before [`Endpoint::flush`] leaves the rest for later.
pub(crate) const FRUITLESS_KICKS: u32 = 16;

/// An AF_XDP socket and its four rings, without the UMEM: several can share one, which is passed to each call. Frames
/// that one of them received can be sent by any other, and no byte is copied.
///
/// [`Socket`](crate::Socket) is one together with a UMEM of its own.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) rings: MappedRings,
    xsk: OwnedFd,
    layout: Layout,
    bind: BindMode,
    /// The last sleep ended with frames, so the device was there.
    woken_by_frames: bool,
}

/// What is left in a UMEM of a socket that was closed: the chunks that the kernel may still use for as long as another
/// descriptor of the socket is open anywhere.
#[must_use = "the chunks are lost until `reclaim`"]
#[derive(Debug)]
pub struct Closed {
    pub(crate) umem: u32,
    pub(crate) id: EndpointId,
}

impl Endpoint {
    pub(crate) fn new(rings: MappedRings, xsk: OwnedFd, layout: Layout, bind: BindMode) -> Self {
        Self { rings, xsk, layout, bind, woken_by_frames: false }
    }

    /// Takes over a bound socket that shares `umem`. Needs no capability.
    ///
    /// # Errors
    /// [`AdoptError`] says which claim of the donation does not hold; the chunks come back. Its descriptor is closed
    /// then.
    pub fn join(donation: EndpointDonation, umem: &mut Umem) -> Result<Self, (AdoptError, ReservedChunks)> {
        match join(&donation, umem) {
            Ok(mut rings) => {
                rings.counters = donation.counters;
                Ok(Self::new(rings, donation.xsk, donation.layout, donation.bind))
            }
            Err(refused) => Err((refused, donation.in_fill)),
        }
    }

    /// Closes this descriptor of the socket. Its chunks are free only after [`Umem::reclaim`].
    pub fn close(self, umem: &Umem) -> Closed {
        Closed { umem: umem.number(), id: self.rings.id }
    }

    pub(crate) fn into_parts(self) -> (OwnedFd, EndpointId) {
        (self.xsk, self.rings.id)
    }

    /// Whether packets may take several frames: the socket was bound with `XDP_USE_SG`. They may not unless this is
    /// called.
    pub fn set_multi_buffer(&mut self, multi_buffer: bool) {
        self.rings.multi_buffer = multi_buffer;
    }

    /// Whether packets may take several frames.
    #[must_use]
    pub fn multi_buffer(&self) -> bool {
        self.rings.multi_buffer
    }

    /// Sets what the device accepts: packets of up to this many bytes behind the Ethernet header and one VLAN tag. What
    /// [`Endpoint::transmit_lent`] is given and is longer, or shorter than the header, is refused and counted
    /// ([`SocketCounters::refused_lengths`]). The kernel would complete such a packet like any other, and drop it at
    /// the pair.
    pub fn set_mtu(&mut self, mtu: u32) {
        self.rings.lengths = Lengths::of_mtu(mtu);
    }

    /// [`Socket::prime`](crate::Socket::prime).
    ///
    /// # Errors
    /// [`RingBroken`] if FILL is.
    pub fn prime(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        let primed = self.rings.refill(umem);
        self.rings.counters.fill_found_empty = 0; // the reader was not late: nothing could have arrived yet
        primed
    }

    /// [`Socket::receive`](crate::Socket::receive).
    ///
    /// # Errors
    /// [`RingBroken`] if RX is, or FILL is and nothing was received; `into` is as before.
    pub fn receive(&mut self, umem: &mut Umem, max: usize, into: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        let received = self.rings.receive(umem, max, into)?;
        self.wake_fill();
        Ok(received)
    }

    /// Writes down received frames in `table`, as many as there is room for, and whole packets only: the caller has
    /// them by address, until [`Endpoint::transmit_lent`] or [`Endpoint::recycle`]. Lends free chunks to FILL in their
    /// stead. Says how many.
    ///
    /// With multi-buffer, have room for [`MAX_PARTS_RECEIVED`](crate::MAX_PARTS_RECEIVED), or a long packet may never
    /// come.
    ///
    /// # Errors
    /// [`RingBroken`] if RX is, or FILL is and nothing was received.
    pub fn receive_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<usize, RingBroken> {
        let received = self.rings.receive_lent(umem, table)?;
        self.wake_fill();
        Ok(received)
    }

    /// Whether RX holds no frame.
    ///
    /// # Errors
    /// [`RingBroken`] if RX is.
    pub fn is_idle(&mut self) -> Result<bool, RingBroken> {
        self.rings.rx.is_empty()
    }

    /// [`Socket::refill`](crate::Socket::refill).
    ///
    /// # Errors
    /// [`RingBroken`] if FILL is.
    pub fn refill(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        let filled = self.rings.refill(umem)?;
        self.wake_fill();
        Ok(filled)
    }

    /// [`Socket::transmit`](crate::Socket::transmit).
    ///
    /// # Errors
    /// [`TransmitError`] if the very first frame cannot be sent, or a ring is broken; `frames` is as before.
    pub fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, TransmitError> {
        self.rings.transmit(umem, frames)
    }

    /// Puts frames that were lent by address into TX, from the front of `table` and in their order, as many as there
    /// are slots; the others move to the front. A packet is sent whole or not at all. What cannot be sent is counted
    /// ([`SocketCounters::refused_tx`]), and its lent chunks are freed: the caller keeps none of them.
    ///
    /// # Errors
    /// [`RingBroken`] if TX is; nothing was touched.
    pub fn transmit_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<Transmitted, RingBroken> {
        self.rings.transmit_lent(umem, table)
    }

    /// Takes back frames that were lent by address, and says how many. What was not lent is counted
    /// ([`SocketCounters::refused_recycled`]).
    pub fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        self.rings.recycle(umem, table)
    }

    /// Slots of TX that were free when we last looked: a lower bound.
    #[must_use]
    pub fn tx_slots(&self) -> u32 {
        self.rings.tx.free()
    }

    /// [`Socket::reserve`](crate::Socket::reserve).
    ///
    /// # Errors
    /// [`RingBroken`] if TX or COMPLETION is.
    pub fn reserve<'a>(&'a mut self, umem: &'a mut Umem, frames: usize) -> Result<TxBatch<'a>, RingBroken> {
        self.rings.reserve(umem, frames)
    }

    /// [`Socket::complete`](crate::Socket::complete).
    ///
    /// # Errors
    /// [`RingBroken`] if COMPLETION is.
    pub fn complete(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        self.rings.complete(umem)
    }

    /// [`Socket::flush`](crate::Socket::flush).
    ///
    /// # Errors
    /// [`FlushError`]; the frames stay in TX.
    #[doc(alias = "kick")]
    pub fn flush(&mut self, umem: &mut Umem) -> Result<u32, FlushError> {
        let mut waiting = self.rings.tx.entries()?;
        let mut fruitless = 0;
        let mut retry = false;
        while waiting > 0 && fruitless < FRUITLESS_KICKS && self.rings.tx.needs_wakeup() {
            self.rings.counters.kicks += 1;
            self.rings.counters.kick_retries += u64::from(retry);
            match send(&self.xsk, &[], SendFlags::DONTWAIT) {
                Ok(_) => return Ok(self.rings.tx.entries()?),
                Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => retry = true,
                Err(errno @ Errno::NETDOWN) => return Err(FlushError::DeviceDown { waiting, cause: errno.into() }),
                Err(errno @ Errno::NXIO) => return Err(FlushError::DeviceGone { waiting, cause: errno.into() }),
                Err(errno) => return Err(FlushError::Refused { waiting, call: "sendto", cause: errno.into() }),
            }
            // The kernel sends no further than COMPLETION has room.
            self.rings.complete(umem)?;
            let left = self.rings.tx.entries()?;
            fruitless = if left < waiting { 0 } else { fruitless + 1 };
            waiting = left;
        }
        Ok(waiting)
    }

    /// [`Socket::wait`](crate::Socket::wait).
    ///
    /// # Errors
    /// [`WaitError`] if a ring is broken or `poll` failed.
    pub fn wait(&mut self, umem: &mut Umem, timeout: Duration) -> Result<Readiness, WaitError> {
        self.rings.refill(umem)?;
        if self.rings.rx.entries()? > 0 {
            return Ok(Readiness::Frames);
        }
        // Where the last sleep ended with frames, the question would cost a system call for each time that one wakes.
        if !mem::take(&mut self.woken_by_frames) && self.device() == DeviceState::Gone {
            return Ok(Readiness::DeviceGone);
        }
        // A time too long for the kernel's clock means no limit.
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.xsk, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => {
                self.woken_by_frames = true;
                Ok(Readiness::Frames)
            }
            Ok(_) => Ok(match self.device() {
                DeviceState::Gone => Readiness::DeviceGone,
                DeviceState::Down => Readiness::DeviceDown,
                DeviceState::Up => Readiness::TimedOut,
            }),
            Err(Errno::INTR) => Ok(Readiness::TimedOut),
            Err(errno) => Err(WaitError::Poll { cause: errno.into() }),
        }
    }

    /// How many chunks each owner has: those for reception and sending of this socket alone.
    #[must_use]
    pub fn chunks(&self, umem: &Umem) -> ChunkCounts {
        umem.ledger().chunks(Some(self.rings.id))
    }

    /// Chunks lent to sending.
    #[must_use]
    pub fn in_tx(&self, umem: &Umem) -> u32 {
        umem.ledger().count(Tag::tx(self.rings.id))
    }

    /// The shape of the UMEM and of the socket's rings.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The mode that the kernel granted.
    #[must_use]
    pub fn bind_mode(&self) -> BindMode {
        self.bind
    }

    /// What this socket and its donors have done.
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        self.rings.counters
    }

    /// The last entry of RX or COMPLETION that was refused, reported once.
    pub fn take_refusal(&mut self) -> Option<DescriptorRefused> {
        self.rings.last_refusal.take()
    }

    /// What the kernel has counted for this socket. A system call.
    ///
    /// # Errors
    /// What `getsockopt` answered.
    pub fn statistics(&self) -> io::Result<KernelStatistics> {
        kernel_statistics(&self.xsk)
    }

    /// How full the rings are.
    #[must_use]
    pub fn rings(&self) -> RingLevels {
        RingLevels {
            rx: self.rings.rx.level(),
            tx: self.rings.tx.level(),
            fill: self.rings.fill.level(),
            completion: self.rings.completion.level(),
        }
    }

    fn wake_fill(&mut self) {
        if self.rings.fill.needs_wakeup() {
            self.rings.counters.fill_kicks += 1;
            // The answer does not matter: the next receive asks again, and `wait` reports a device that has gone.
            let _ = self.device();
        }
    }

    /// Asks for the state of the device: ENETDOWN while it is down, ENXIO once it is deleted (`__xsk_recvmsg`). A
    /// system call, which also makes the driver look at FILL if it sleeps.
    #[must_use]
    pub fn device(&self) -> DeviceState {
        match recv(&self.xsk, &mut [0_u8; 0], RecvFlags::DONTWAIT) {
            Err(Errno::NXIO) => DeviceState::Gone,
            Err(Errno::NETDOWN) => DeviceState::Down,
            _ => DeviceState::Up,
        }
    }
}

/// The XSK itself, for poll, epoll and an XSKMAP.
impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.xsk.as_fd()
    }
}

impl Umem {
    /// Frees the chunks of a socket that was closed. Call it when no descriptor of the socket is open any more, in no
    /// process: until then the kernel writes what it receives into those of them that were in FILL.
    ///
    /// # Panics
    /// If the socket was on another UMEM.
    pub fn reclaim(&mut self, closed: Closed) {
        assert_eq!(closed.umem, self.number(), "a socket of another UMEM");
        self.ledger_mut().strike(closed.id);
    }
}

/// What the kernel has counted for a socket, through any descriptor of it. A system call.
///
/// # Errors
/// What `getsockopt` answered.
#[doc(alias = "XDP_STATISTICS")]
pub fn kernel_statistics(xsk: impl AsFd) -> io::Result<KernelStatistics> {
    let kernel = xdp_statistics(xsk)?;
    Ok(KernelStatistics {
        rx_dropped: kernel.rx_dropped,
        rx_invalid_descs: kernel.rx_invalid_descs,
        tx_invalid_descs: kernel.tx_invalid_descs,
        // Kernels before 5.9 lack these three; the socket needs a newer one anyway.
        rx_ring_full: kernel.rx_ring_full.unwrap_or(0),
        rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs.unwrap_or(0),
        tx_ring_empty_descs: kernel.tx_ring_empty_descs.unwrap_or(0),
    })
}

/// The state of the device that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Up, as far as the kernel says.
    Up,
    /// Down; it may come up again.
    Down,
    /// Deleted: no frame will ever arrive or leave. Make another socket.
    Gone,
}

/// Why [`Socket::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// RX holds frames.
    Frames,
    /// Nothing arrived in time.
    TimedOut,
    /// Nothing arrived, and the device is down; it may come up again.
    DeviceDown,
    /// The device was deleted: no frame will ever arrive. Make another socket.
    DeviceGone,
}

/// How full a socket's rings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLevels {
    /// Received frames that wait for [`Socket::receive`].
    pub rx: RingLevel,
    /// Frames that the kernel has not yet taken.
    pub tx: RingLevel,
    /// Chunks that the kernel has not yet taken.
    pub fill: RingLevel,
    /// Sent frames that wait for [`Socket::complete`].
    pub completion: RingLevel,
}

/// The kernel did not send what is in TX.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// TX or COMPLETION is broken.
    #[error(transparent)]
    Ring(#[from] RingBroken),
    /// The device is down; it may come up again.
    #[error("sending {waiting} frames failed: the device is down")]
    DeviceDown {
        /// Frames in TX.
        waiting: u32,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The device was deleted. Make another socket.
    #[error("sending {waiting} frames failed: the device was deleted")]
    DeviceGone {
        /// Frames in TX.
        waiting: u32,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The kernel refused otherwise.
    #[error("sending {waiting} frames failed: {call} was refused")]
    Refused {
        /// Frames in TX.
        waiting: u32,
        /// The system call.
        call: &'static str,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
}

/// Waiting for frames failed.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// RX or FILL is broken.
    #[error(transparent)]
    Ring(#[from] RingBroken),
    /// `poll` failed.
    #[error("waiting for frames: poll failed")]
    Poll {
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
}

/// Any of the ways in which using a socket fails, for callers that do all of it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A ring is broken.
    #[error(transparent)]
    Ring(#[from] RingBroken),
    /// A frame was not taken.
    #[error(transparent)]
    Transmit(#[from] TransmitError),
    /// The kernel did not send.
    #[error(transparent)]
    Flush(#[from] FlushError),
    /// Waiting failed.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A frame was to be longer than its chunk.
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
}

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::xdp_statistics;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::adopt::{MappedRings, adopt};
use crate::counters::{KernelStatistics, SocketCounters};
use crate::donation::{AdoptError, BindMode, DonateError, Donation};
use crate::frame::{Frame, FrameTooLong};
use crate::layout::Layout;
use crate::ledger::{Census, Owner};
use crate::refusal::DescriptorRefused;
use crate::ring::{RingBroken, RingLevel};
use crate::rings::{TransmitError, TxBatch};
use crate::umem::UmemMemory;

/// Kicks in a row that may move nothing before [`Socket::flush`] leaves the rest for later.
const FRUITLESS_KICKS: u32 = 16;

/// An AF_XDP socket with its UMEM and its four rings: the one hot path, whoever made the socket.
///
/// It is tied to the device and queue it was bound to and to nothing of the thread or network namespace that uses it. Between
/// [`Socket::receive`], [`Socket::transmit`] and [`Socket::flush`] only the last enters the kernel, once a batch; none allocates once
/// the caller's vectors have grown to a batch.
#[doc(alias = "XSK")]
#[derive(Debug)]
pub struct Socket {
    rings: MappedRings,
    xsk: OwnedFd,
    umem: OwnedFd,
    bind: BindMode,
}

impl Socket {
    /// Takes over a bound socket: checks it and maps its UMEM and rings. Needs no capability.
    ///
    /// # Errors
    /// [`AdoptError`] says which claim of the donation does not hold. Its descriptors are closed then.
    pub fn adopt(donation: Donation) -> Result<Self, AdoptError> {
        let mut rings = adopt(&donation)?;
        let Donation { xsk, umem, bind, counters, .. } = donation;
        rings.counters = counters;
        Ok(Self { rings, xsk, umem, bind })
    }

    /// Gives the socket away: drops every mapping and says which chunks the kernel has for reception.
    ///
    /// # Errors
    /// [`DonateError`] with the socket in it, unless all frames are released and everything sent has been completed.
    pub fn donate(mut self) -> Result<Donation, DonateError> {
        let completed = self.complete();
        let Census { held, tx, .. } = self.census();
        if held > 0 || tx > 0 || completed.is_err() {
            return Err(DonateError { held, tx, broken: completed.err(), socket: Box::new(self) });
        }
        let in_fill = self.rings.umem.ledger().owned_by(Owner::Fill).collect();
        let layout = *self.layout();
        let counters = self.counters();
        Ok(Donation { xsk: self.xsk, umem: self.umem, layout, in_fill, bind: self.bind, counters })
    }

    /// Closes the socket. All chunks are free then, but those of frames that the caller still holds: they are counted as `held`, and
    /// their bytes can no longer be reached.
    ///
    /// The kernel releases the queue a few milliseconds later, once no other descriptor of the socket is open.
    pub fn close(mut self) -> Census {
        self.rings.umem.ledger_mut().reclaim();
        self.census()
    }

    /// Fills FILL up to the layout's target. Do it before the socket is put into an XSKMAP: the kernel drops what arrives earlier.
    ///
    /// # Errors
    /// [`RingBroken`] if FILL is.
    pub fn prime(&mut self) -> Result<usize, RingBroken> {
        let primed = self.rings.refill();
        self.rings.counters.fill_found_empty = 0; // nobody was late: nothing could have arrived yet
        primed
    }

    /// Moves up to `max` received frames to the end of `into`, and lends free chunks to FILL in their stead. What RX returns and is no
    /// frame is counted in [`SocketCounters::refused_rx`]. In zero-copy mode it enters the kernel if that sleeps for want of chunks.
    ///
    /// # Errors
    /// [`RingBroken`] if RX is, or FILL is and nothing was received; `into` is as before.
    pub fn receive(&mut self, max: usize, into: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        let received = self.rings.receive(max, into)?;
        self.wake_fill();
        Ok(received)
    }

    /// Lends free chunks to FILL until reception has its share. [`Socket::receive`] does it; this is for those who only release.
    ///
    /// # Errors
    /// [`RingBroken`] if FILL is.
    pub fn refill(&mut self) -> Result<usize, RingBroken> {
        let filled = self.rings.refill()?;
        self.wake_fill();
        Ok(filled)
    }

    /// Puts frames into TX, from the front of `frames` and in their order, as many as there are slots; the others stay. Drains COMPLETION
    /// first. The kernel looks at TX at the next [`Socket::flush`].
    ///
    /// A frame that cannot be sent ends the batch before it, so it is the first of what stays.
    ///
    /// # Errors
    /// [`TransmitError`] if the very first frame cannot be sent, or a ring is broken; `frames` is as before.
    pub fn transmit(&mut self, frames: &mut Vec<Frame>) -> Result<usize, TransmitError> {
        self.rings.transmit(frames)
    }

    /// Reserves up to `frames` slots of TX. Drains COMPLETION first.
    ///
    /// # Errors
    /// [`RingBroken`] if TX or COMPLETION is.
    pub fn reserve(&mut self, frames: usize) -> Result<TxBatch<'_>, RingBroken> {
        self.rings.reserve(frames)
    }

    /// Takes back the chunks of frames that have left, and says how many.
    ///
    /// # Errors
    /// [`RingBroken`] if COMPLETION is.
    pub fn complete(&mut self) -> Result<usize, RingBroken> {
        self.rings.complete()
    }

    /// Lets the kernel send what is in TX, if it wants to be told (need_wakeup), and says how many frames it has not yet taken: 0, or
    /// some of them when the device is busy. Then flush again later.
    ///
    /// In copy mode a kick moves at most `XDP_MAX_TX_SKB_BUDGET` frames (32 unless raised) and ends with EAGAIN, so it is repeated for as long as
    /// it moves anything, and 16 times beyond that.
    ///
    /// # Errors
    /// [`FlushError`]; the frames stay in TX.
    #[doc(alias = "kick")]
    pub fn flush(&mut self) -> Result<u32, FlushError> {
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
                Err(errno) => return Err(FlushError::Refused { waiting, cause: errno.into() }),
            }
            // The kernel sends no further than COMPLETION has room.
            self.rings.complete()?;
            let left = self.rings.tx.entries()?;
            fruitless = if left < waiting { 0 } else { fruitless + 1 };
            waiting = left;
        }
        Ok(waiting)
    }

    /// Sleeps until a frame has arrived or the time is over; not at all if RX holds frames or the device is gone. It may wake early, with
    /// [`Readiness::TimedOut`], when a signal arrives.
    ///
    /// A device that is deleted meanwhile does not end the sleep: this kernel's `xsk_poll` reports neither POLLERR nor POLLHUP (6.18), so
    /// only the end of the time does. Choose one that you can bear.
    ///
    /// # Errors
    /// [`WaitError`] if a ring is broken or `poll` failed.
    pub fn wait(&mut self, timeout: Duration) -> Result<Readiness, WaitError> {
        self.rings.refill()?;
        if self.rings.rx.entries()? > 0 {
            return Ok(Readiness::Frames);
        }
        if self.device() == DeviceState::Gone {
            return Ok(Readiness::DeviceGone);
        }
        // A time too long for the kernel's clock is no limit.
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.xsk, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => Ok(Readiness::Frames),
            Ok(_) => Ok(match self.device() {
                DeviceState::Gone => Readiness::DeviceGone,
                DeviceState::Down => Readiness::DeviceDown,
                DeviceState::Up => Readiness::TimedOut,
            }),
            Err(Errno::INTR) => Ok(Readiness::TimedOut),
            Err(errno) => Err(WaitError::Poll { cause: errno.into() }),
        }
    }

    /// Takes a free chunk: an empty frame with [`Layout::frame_capacity`]. `None` when none is free: release frames, or let some
    /// [`complete`](Self::complete).
    pub fn allocate(&mut self) -> Option<Frame> {
        self.rings.umem.allocate()
    }

    /// Takes a frame back.
    ///
    /// # Panics
    /// If the frame is of another socket.
    pub fn release(&mut self, frame: Frame) {
        self.rings.umem.release(frame);
    }

    /// The bytes of a frame.
    ///
    /// # Panics
    /// If the frame is of another socket.
    #[must_use]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        self.rings.umem.bytes(frame)
    }

    /// The bytes of a frame, to be written.
    ///
    /// # Panics
    /// If the frame is of another socket.
    #[must_use]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.rings.umem.bytes_mut(frame)
    }

    /// Where a frame begins, in bytes from the start of the UMEM.
    #[must_use]
    pub fn address(&self, frame: &Frame) -> u64 {
        self.rings.umem.address(frame)
    }

    /// Chunks that the caller holds as frames.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.rings.umem.outstanding()
    }

    /// How many chunks each owner has.
    #[must_use]
    pub fn census(&self) -> Census {
        self.rings.umem.census()
    }

    /// The shape of the UMEM and the rings.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.rings.umem.layout()
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

    /// The last entry of RX or COMPLETION that was refused, told once.
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

    /// The memory of the UMEM. It stays mapped for as long as the value lives, also when the socket is closed.
    #[must_use]
    pub fn memory(&self) -> UmemMemory {
        self.rings.umem.memory()
    }

    /// The file behind the UMEM, for a second mapping of it.
    #[must_use]
    pub fn umem_fd(&self) -> BorrowedFd<'_> {
        self.umem.as_fd()
    }

    fn wake_fill(&mut self) {
        if self.rings.fill.needs_wakeup() {
            self.rings.counters.fill_kicks += 1;
            // Whatever it answers, the next receive asks again, and `wait` reports a device that has gone.
            let _ = self.device();
        }
    }

    /// Asks how the device is: ENETDOWN while it is down, ENXIO once it is deleted (`__xsk_recvmsg`). A system call, which also tells the
    /// driver to look at FILL if it sleeps.
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
impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.xsk.as_fd()
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

/// How the device is that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Up, as far as the kernel says.
    Up,
    /// Down; it may come up again.
    Down,
    /// Deleted: no frame will ever arrive or leave. Make another socket.
    Gone,
}

/// Why [`Socket::wait`] came back.
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
    #[error("sending {waiting} frames failed: sendto was refused")]
    Refused {
        /// Frames in TX.
        waiting: u32,
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

/// Any of the ways in which using a socket fails, for those who do all of it.
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

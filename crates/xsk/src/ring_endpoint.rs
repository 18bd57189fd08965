use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use xsknet_ring::layout::{RING_CHUNK, RING_MAX_OFFSET, RING_MIN_OFFSET, RING_ROOM};
use xsknet_ring::{Bell, Control, send};

use crate::adopt::adopt_unsized;
use crate::bpf_rings::{BpfRings, Positions};
use crate::counters::{KernelStatistics, SocketCounters};
use crate::donation::{AdoptError, BindMode, Donation, RingDonation, RingsDonation};
use crate::endpoint::{Closed, DeviceState, Endpoint, FRUITLESS_KICKS, FlushError, Readiness, WaitError};
use crate::frame::Frame;
use crate::layout::Layout;
use crate::ledger::{ChunkCounts, Tag};
use crate::lent::LentDescriptor;
use crate::refusal::DescriptorRefused;
use crate::rings::{FrameRefused, Lengths, Transmitted};
use crate::umem::Umem;

/// What a client does with BPF rings, over the chunks of a UMEM: as [`Endpoint`] for the rings of a socket, which this
/// has, too, for the state of its device. No packet takes several frames.
#[derive(Debug)]
pub struct RingEndpoint {
    rings: BpfRings,
    endpoint: Endpoint,
    program: OwnedFd,
    control: OwnedFd,
    bell: Bell,
    /// Has the bell, the XSK and `signal` in its set: an event loop watches one descriptor.
    events: OwnedFd,
    /// An eventfd: makes `events` readable for what is there before a sleep begins.
    signal: OwnedFd,
    signalled: bool,
    /// A sleep for a slot, too.
    sending_waits: bool,
    /// The last sleep ended with frames, so the device was there.
    woken_by_frames: bool,
}

/// What an event loop was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// A frame has come, or the device's state has to be asked for.
    pub readable: bool,
    /// A slot is free, for one who waited for it.
    pub writable: bool,
}

impl RingEndpoint {
    /// Takes over a socket with BPF rings, and maps its UMEM. Needs no capability.
    pub(crate) fn adopt(donation: RingDonation) -> Result<(Self, Umem, OwnedFd), AdoptError> {
        let RingDonation { socket, rings } = donation;
        let (frame_size, offset) = (socket.layout.frame_size(), socket.layout.frame_offset());
        if frame_size != RING_CHUNK || !(RING_MIN_OFFSET..=RING_MAX_OFFSET).contains(&offset) {
            return Err(AdoptError::RingLayout { frame_size, offset });
        }
        if let Some(&chunk) = socket.in_fill.first() {
            return Err(AdoptError::FillChunk { chunk, frames: socket.layout.frames() });
        }
        let (mapped, mut umem) = adopt_unsized(&socket)?;
        let refused = |what| move |cause: io::Error| AdoptError::Rings { what, cause };
        let Donation { xsk, umem: file, layout, bind, counters, .. } = socket;
        let RingsDonation { control, wake, program, rx_slots, tx_slots, rx_position, tx_position, posted } = rings;

        let posted_chunks = umem.ledger_mut().start_in_fill(&posted, Tag::FREE, mapped.id);
        posted_chunks.map_err(|chunk| AdoptError::FillChunk { chunk, frames: layout.frames() })?;
        let memory = Control::map(control.as_fd()).map_err(refused("mapping the slots"))?;
        let at = Positions { rx: rx_position, tx: tx_position, posted: &posted };
        let mut rings = BpfRings::new(mapped.id, layout.with_bpf_rings(rx_slots, tx_slots), memory, &at)?;
        rings.counters = counters;
        let bell = Bell::open(wake).map_err(refused("mapping the wake-up"))?;
        let (events, signal) = watch(&bell, xsk.as_fd()).map_err(refused("watching the wake-up"))?;
        let endpoint = Self {
            rings,
            endpoint: Endpoint::new(mapped, xsk, layout, bind),
            program,
            control,
            bell,
            events,
            signal,
            signalled: false,
            sending_waits: false,
            woken_by_frames: false,
        };
        Ok((endpoint, umem, file))
    }

    /// The socket on its way to another owner, who finds in the rings what was posted. Nothing is held or in TX.
    pub(crate) fn into_donation(self, file: OwnedFd) -> RingDonation {
        let Self { rings, endpoint, program, control, bell, .. } = self;
        let (layout, bind) = (*endpoint.layout(), endpoint.bind_mode());
        let (xsk, _) = endpoint.into_parts();
        let donation = RingsDonation {
            control,
            wake: bell.into_fd(),
            program,
            rx_slots: rings.rx.slots(),
            tx_slots: rings.tx.slots(),
            rx_position: rings.rx.position(),
            tx_position: rings.tx.position(),
            posted: rings.rx.chunks().collect(),
        };
        let socket = Donation { xsk, umem: file, layout, in_fill: Vec::new(), bind, counters: rings.counters };
        RingDonation { socket, rings: donation }
    }

    /// [`Endpoint::close`].
    pub fn close(self, umem: &Umem) -> Closed {
        self.endpoint.close(umem)
    }

    /// [`Endpoint::set_mtu`]. The programs take no frame longer than [`RING_ROOM`].
    pub fn set_mtu(&mut self, mtu: u32) {
        self.rings.lengths = Lengths::of_mtu(mtu).up_to(RING_ROOM);
    }

    /// [`Endpoint::prime`].
    pub fn prime(&mut self, umem: &mut Umem) -> usize {
        let primed = self.rings.refill(umem);
        self.rings.counters.fill_found_empty = 0; // nobody was late: nothing could have arrived yet
        primed
    }

    /// [`Endpoint::receive`].
    pub fn receive(&mut self, umem: &mut Umem, max: usize, into: &mut Vec<Frame>) -> usize {
        self.rings.receive(umem, max, into)
    }

    /// [`Endpoint::receive_lent`].
    pub fn receive_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        self.rings.receive_lent(umem, table)
    }

    /// [`Endpoint::refill`].
    pub fn refill(&mut self, umem: &mut Umem) -> usize {
        self.rings.refill(umem)
    }

    /// Whether there is nothing to receive. A look slows the program down: do not spin on it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rings.rx.is_empty()
    }

    /// [`Endpoint::transmit`].
    ///
    /// # Errors
    /// [`FrameRefused`] if the very first frame cannot be sent; `frames` is as before.
    pub fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, FrameRefused> {
        self.rings.transmit(umem, frames)
    }

    /// [`Endpoint::transmit_lent`].
    pub fn transmit_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Transmitted {
        self.rings.transmit_lent(umem, table)
    }

    /// [`Endpoint::recycle`].
    pub fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        self.rings.recycle(umem, table)
    }

    /// [`Endpoint::tx_slots`].
    #[must_use]
    pub fn tx_slots(&self) -> u32 {
        self.rings.tx.free()
    }

    /// [`Endpoint::complete`].
    pub fn complete(&mut self, umem: &mut Umem) -> usize {
        self.rings.complete(umem)
    }

    /// Runs the program until it has taken what waits, frees what has left, and says how many frames it has not taken:
    /// all of them where the daemon has closed the queue.
    ///
    /// # Errors
    /// [`FlushError`]; the frames stay where they are.
    #[doc(alias = "kick")]
    pub fn flush(&mut self, umem: &mut Umem) -> Result<u32, FlushError> {
        self.rings.complete(umem);
        let mut waiting = self.rings.tx.waiting();
        let (mut fruitless, mut retry) = (0, false);
        while let Some(length) = self.rings.tx.first_length()
            && fruitless < FRUITLESS_KICKS
        {
            self.rings.counters.kicks += 1;
            self.rings.counters.kick_retries += u64::from(retry);
            let ran = send(self.program.as_fd(), waiting, length);
            self.rings.complete(umem);
            let left = self.rings.tx.waiting();
            let moved = left < waiting;
            waiting = left;
            match ran {
                Ok(()) if moved => return Ok(left),
                Ok(()) => return self.taken_by_nobody(left),
                Err(cause) => match cause.raw_os_error().map(Errno::from_raw_os_error) {
                    // A signal breaks a call off, after any number of frames.
                    Some(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => retry = true,
                    _ => return Err(FlushError::Refused { waiting, call: "bpf", cause }),
                },
            }
            fruitless = if moved { 0 } else { fruitless + 1 };
        }
        Ok(waiting)
    }

    /// The program ran and found no frame of its own: the daemon has closed the queue, or is about to.
    fn taken_by_nobody(&self, waiting: u32) -> Result<u32, FlushError> {
        match self.device() {
            DeviceState::Up => Ok(waiting),
            DeviceState::Down => Err(FlushError::DeviceDown { waiting, cause: Errno::NETDOWN.into() }),
            DeviceState::Gone => Err(FlushError::DeviceGone { waiting, cause: Errno::NXIO.into() }),
        }
    }

    /// [`Endpoint::wait`].
    ///
    /// # Errors
    /// [`WaitError::Poll`].
    pub fn wait(&mut self, umem: &mut Umem, timeout: Duration) -> Result<Readiness, WaitError> {
        self.rings.refill(umem);
        if !self.is_idle() {
            return Ok(Readiness::Frames);
        }
        // Where the last sleep ended with frames, the question would cost a system call for each time that one wakes.
        if !mem::take(&mut self.woken_by_frames) && self.device() == DeviceState::Gone {
            return Ok(Readiness::DeviceGone);
        }
        self.bell.drain();
        self.rings.rx.arm();
        let polled = if self.is_idle() { self.sleep(timeout) } else { Ok(0) };
        self.rings.rx.disarm();
        self.bell.drain();
        if !self.is_idle() {
            self.woken_by_frames = true;
            return Ok(Readiness::Frames);
        }
        match polled {
            Ok(_) => Ok(match self.device() {
                DeviceState::Gone => Readiness::DeviceGone,
                DeviceState::Down => Readiness::DeviceDown,
                DeviceState::Up => Readiness::TimedOut,
            }),
            Err(Errno::INTR) => Ok(Readiness::TimedOut),
            Err(errno) => Err(WaitError::Poll { cause: errno.into() }),
        }
    }

    fn sleep(&self, timeout: Duration) -> Result<usize, Errno> {
        // A time too long for the kernel's clock means no limit.
        let timeout = Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.endpoint, PollFlags::IN)];
        poll(&mut fds, timeout.as_ref())
    }

    /// Has the descriptor become readable by the next frame, or at once where one is there; with `sending`, also where
    /// a slot is free: the program is run for it if it has to be, as the kernel sends when somebody polls.
    pub fn prepare_to_sleep(&mut self, umem: &mut Umem, sending: bool) {
        self.sending_waits = sending;
        if sending && !self.rings.tx.is_writable() {
            let _ = self.flush(umem); // no slot is free then, and the next flush says why
        }
        self.bell.drain();
        self.rings.rx.arm();
        let ready = !self.is_idle() || (sending && self.rings.tx.is_writable());
        match (ready, self.signalled) {
            // It can fail only where it counts 2^64 - 1 signals already.
            (true, false) => self.signalled = rustix::io::write(&self.signal, &1_u64.to_ne_bytes()).is_ok(),
            (false, true) => self.take_signal(),
            _ => {}
        }
    }

    /// The event loop has found the descriptor readable: it sleeps no longer.
    pub fn woken(&mut self) -> Woken {
        self.rings.rested();
        self.rings.rx.disarm();
        self.bell.drain();
        if self.signalled {
            self.take_signal();
        }
        let writable = mem::take(&mut self.sending_waits) && self.rings.tx.is_writable();
        // Neither frames nor slots: the XSK is in error, and the reader asks for the device.
        Woken { readable: !self.is_idle() || !writable, writable }
    }

    fn take_signal(&mut self) {
        let _ = rustix::io::read(&self.signal, &mut [0_u8; 8]); // nothing to read is as good
        self.signalled = false;
    }

    /// [`Endpoint::chunks`].
    #[must_use]
    pub fn chunks(&self, umem: &Umem) -> ChunkCounts {
        umem.ledger().chunks(Some(self.rings.id))
    }

    /// [`Endpoint::in_tx`].
    #[must_use]
    pub fn in_tx(&self, umem: &Umem) -> u32 {
        umem.ledger().count(Tag::tx(self.rings.id))
    }

    /// The shape of the UMEM and of the BPF rings: FILL is RX, and COMPLETION is TX.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.rings.layout()
    }

    /// The mode of the socket.
    #[must_use]
    pub fn bind_mode(&self) -> BindMode {
        self.endpoint.bind_mode()
    }

    /// [`Endpoint::counters`], of the BPF rings.
    #[must_use]
    pub fn counters(&self) -> SocketCounters {
        self.rings.counters
    }

    /// The last slot of reception that was refused, told once.
    pub fn take_refusal(&mut self) -> Option<DescriptorRefused> {
        self.rings.last_refusal.take()
    }

    /// What the kernel has counted for the socket, through which no frame goes. A system call.
    ///
    /// # Errors
    /// What `getsockopt` answered.
    pub fn statistics(&self) -> io::Result<KernelStatistics> {
        self.endpoint.statistics()
    }

    /// [`Endpoint::device`].
    #[must_use]
    pub fn device(&self) -> DeviceState {
        self.endpoint.device()
    }
}

/// What an event loop watches, from [`RingEndpoint::prepare_to_sleep`] to [`RingEndpoint::woken`]: an epoll descriptor,
/// which becomes readable and never writable.
impl AsFd for RingEndpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// The descriptor that an event loop watches, and the eventfd in its set.
fn watch(bell: &Bell, xsk: BorrowedFd<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&events, bell, EventData::new_u64(0), EventFlags::IN)?;
    epoll::add(&events, xsk, EventData::new_u64(1), EventFlags::IN)?;
    epoll::add(&events, &signal, EventData::new_u64(2), EventFlags::IN)?;
    Ok((events, signal))
}

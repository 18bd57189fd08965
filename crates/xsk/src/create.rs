//! Making a socket, through xsk-rs and libxdp. Nothing of either outlives [`create`]: it keeps a duplicate of the XSK and a descriptor of
//! the UMEM's memory, and adopts these two like any other socket. A process that may not open that memory goes another way: [`direct`].

use std::error::Error;
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;

use crate::counters::SocketCounters;
use crate::direct;
use crate::donation::{AdoptError, BindMode, Donation};
use crate::layout::Layout;
use crate::ring::{RingBroken, RingName};
use crate::socket::Socket;
use crate::sys;

/// The kernel releases a queue some milliseconds after its last socket was closed, even after the end of a process. That long a bind is
/// repeated while it answers EBUSY,
pub(crate) const BUSY_PATIENCE: Duration = Duration::from_secs(1);
/// at these intervals.
pub(crate) const BUSY_STEP: Duration = Duration::from_millis(10);

/// A receive queue of a device, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId(pub u32);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The mode to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindRequest {
    /// Copy mode.
    Copy,
    /// Zero-copy or nothing.
    ZeroCopy,
    /// Zero-copy, and copy mode where that is refused.
    #[default]
    Automatic,
}

/// The pages to take for a UMEM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// Huge pages or nothing.
    Require,
    /// Huge pages, and ordinary ones where too few are reserved.
    Prefer,
    /// Ordinary pages.
    #[default]
    Never,
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The device's name in the network namespace of the calling thread. Alternative names are not looked up.
    pub device: &'a str,
    /// The queue to bind to.
    pub queue: QueueId,
    /// The shape of UMEM and rings. The UMEM counts against RLIMIT_MEMLOCK, unless the caller has CAP_IPC_LOCK.
    pub layout: Layout,
    /// Where the UMEM lies. In huge pages it gets as many more chunks as fill the last one; what the layout says of pages is not asked.
    pub huge_pages: HugePages,
    /// The mode.
    pub bind: BindRequest,
    /// Whether to fill FILL before anything can arrive.
    pub prime: bool,
}

/// A socket, and how it came about.
#[derive(Debug)]
pub struct Created {
    /// The socket, bound and adopted.
    pub socket: Socket,
    /// The mode that the kernel granted.
    pub obtained: BindMode,
    /// Every step that was tried, in its order.
    pub tried: Vec<Attempt>,
}

/// How a socket is to be polled busily: by whoever waits for it, in place of an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one wait polls the device, in microseconds (`SO_BUSY_POLL`).
    #[doc(alias = "SO_BUSY_POLL")]
    pub microseconds: u32,
    /// How many frames one poll handles at most, up to 65,535 (`SO_BUSY_POLL_BUDGET`).
    #[doc(alias = "SO_BUSY_POLL_BUDGET")]
    pub budget: u32,
}

/// A step on the way to a socket, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// `huge-pages`, `zero-copy`, `copy`, `shared-umem`, `XDP_MAX_TX_SKB_BUDGET` or `busy-poll`.
    pub step: &'static str,
    /// The kernel's refusal; `None` if it granted the step.
    pub errno: Option<i32>,
    /// The outcome in words.
    pub why: String,
}

/// Makes a socket and binds it to a queue of a device, loading no XDP program: frames arrive once a program redirects them to it.
///
/// It needs CAP_NET_RAW and nothing else; without CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, which open the memory that xsk-rs maps, the
/// UMEM is a memfd. It blocks for up to a second while the queue is busy.
///
/// # Errors
/// [`CreateError`]; nothing is left of the attempt.
pub fn create(request: &Request<'_>) -> Result<Created, CreateError> {
    let index = find_device(request.device)?;
    let mut tried = Vec::new();
    let layout = request.layout.in_ordinary_pages();
    let huge = match request.huge_pages {
        HugePages::Never => None,
        HugePages::Require => Some(open_in_huge_pages(request, index, &mut tried)?),
        HugePages::Prefer => match open_in_huge_pages(request, index, &mut tried) {
            Ok(opened) => Some(opened),
            // What else is wrong, other pages do not cure.
            Err(CreateError::Umem { .. } | CreateError::HugePages { .. }) => None,
            Err(error) => return Err(error),
        },
    };
    let (layout, (xsk, umem, obtained)) = match huge {
        Some(opened) => opened,
        None => (layout, open(&Request { layout, ..*request }, index, &mut tried)?),
    };
    raise_tx_budget(&xsk, &layout, &mut tried);
    let (in_fill, counters) = (Vec::new(), SocketCounters::default());
    let donation = Donation { xsk, umem, layout, in_fill, bind: obtained, counters };
    let mut socket = Socket::adopt(donation)?;
    if request.prime {
        socket.prime()?;
    }
    Ok(Created { socket, obtained, tried })
}

/// Asks first, because libxdp's answer does not tell a missing device from a missing queue.
pub(crate) fn find_device(device: &str) -> Result<u32, CreateError> {
    let refused = |cause: Errno| CreateError::Lookup { device: device.into(), cause: cause.into() };
    let any = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).map_err(refused)?;
    match netdevice::name_to_index(&any, device) {
        Ok(index) => Ok(index),
        // A name that no device can have, being too long, is refused before the kernel is asked.
        Err(Errno::NODEV | Errno::INVAL | Errno::NAMETOOLONG) => {
            Err(CreateError::NoSuchDevice { device: device.into() })
        }
        Err(errno) => Err(refused(errno)),
    }
}

/// The XSK, bound, and the file of its UMEM.
pub(crate) type Opened = (OwnedFd, OwnedFd, BindMode);

fn open(request: &Request<'_>, index: u32, tried: &mut Vec<Attempt>) -> Result<Opened, CreateError> {
    if direct::is_needed() { direct::open_socket(request, index, tried) } else { open_by_xsk_rs(request, tried) }
}

fn open_in_huge_pages(
    request: &Request<'_>,
    index: u32,
    tried: &mut Vec<Attempt>,
) -> Result<(Layout, Opened), CreateError> {
    let refused = |tried: &mut Vec<Attempt>, cause: io::Error| {
        let why = format!("not had: {cause}; `vm.nr_hugepages` reserves such pages");
        tried.push(Attempt { step: "huge-pages", errno: cause.raw_os_error(), why });
        cause
    };
    let page = match huge_page_bytes() {
        Ok(page) => page,
        Err(cause) => return Err(CreateError::HugePages { cause: refused(tried, cause) }),
    };
    let layout = request.layout.in_huge_pages(page).map_err(|cause| {
        let (cause, bytes) = (io::Error::other(cause), request.layout.umem_bytes());
        CreateError::Umem { bytes, cause: refused(tried, cause) }
    })?;
    let mut bound = Vec::new();
    let opened = match open(&Request { layout, ..*request }, index, &mut bound) {
        Err(CreateError::Umem { bytes, cause }) => {
            return Err(CreateError::Umem { bytes, cause: refused(tried, cause) });
        }
        opened => opened,
    };
    let why = format!("{} pages of {page} bytes", layout.umem_bytes() / page);
    tried.push(Attempt { step: "huge-pages", errno: None, why });
    tried.append(&mut bound);
    opened.map(|opened| (layout, opened))
}

/// What the kernel takes for a huge page where nobody names a size.
fn huge_page_bytes() -> io::Result<u64> {
    let told = fs::read_to_string("/proc/meminfo")?;
    let kib = told
        .lines()
        .find_map(|line| line.strip_prefix("Hugepagesize:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).filter(|bytes| *bytes > 0).ok_or_else(|| Errno::OPNOTSUPP.into())
}

/// Makes the socket by xsk-rs, and keeps of it what outlives xsk-rs: both descriptors.
fn open_by_xsk_rs(request: &Request<'_>, tried: &mut Vec<Attempt>) -> Result<Opened, CreateError> {
    let layout = &request.layout;
    let bytes = layout.umem_bytes();
    let frames = NonZeroU32::new(layout.frames()).expect("a layout has at least one frame");
    let (umem, mut frames) = xsk_rs::Umem::new(umem_config(layout), frames, layout.huge_pages())
        .map_err(|error| CreateError::Umem { bytes, cause: cause_of(&error) })?;

    let (queues, obtained) = bind_modes(request, tried, |mode| bind_once(request, &umem, mode))?;
    let (_tx, rx, _fill_and_completion) = &queues;
    // SAFETY: the descriptor belongs to `queues`, which live to the end of this function.
    let xsk = unsafe { BorrowedFd::borrow_raw(rx.fd().as_raw_fd()) };
    let xsk = xsk.try_clone_to_owned().map_err(|cause| CreateError::Keep { what: "duplicate the XSK", cause })?;
    let memory =
        umem_file(&umem, &mut frames[0]).map_err(|cause| CreateError::Keep { what: "open the UMEM", cause })?;

    // The order libxdp wants: a UMEM with sockets refuses to be deleted.
    drop(queues);
    drop(umem);
    Ok((xsk, memory, obtained))
}

type Queues = (xsk_rs::TxQueue, xsk_rs::RxQueue, Option<(xsk_rs::FillQueue, xsk_rs::CompQueue)>);

/// Binds in the modes that were asked for, one after the other, by `bind_once`.
pub(crate) fn bind_modes<T>(
    request: &Request<'_>,
    tried: &mut Vec<Attempt>,
    mut bind_once: impl FnMut(BindMode) -> io::Result<T>,
) -> Result<(T, BindMode), CreateError> {
    let modes: &[BindMode] = match request.bind {
        BindRequest::Copy => &[BindMode::Copy],
        BindRequest::ZeroCopy => &[BindMode::ZeroCopy],
        BindRequest::Automatic => &[BindMode::ZeroCopy, BindMode::Copy],
    };
    let refused = |mode, cause: io::Error| {
        let (device, queue) = (request.device.to_owned(), request.queue);
        match cause.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::BUSY) => CreateError::QueueTaken { device, queue },
            Some(Errno::NODEV) => CreateError::NoSuchDevice { device },
            _ => {
                let multi_buffer = request.layout.multi_buffer();
                CreateError::Refused { call: "bind", mode, multi_buffer, device, queue, cause }
            }
        }
    };
    let (&last, before) = modes.split_last().expect("at least one mode is asked for");
    for &mode in before {
        match bind_patiently(request, tried, mode, &mut bind_once) {
            Ok(bound) => return Ok((bound, mode)),
            // Another mode does not change these two.
            Err(cause)
                if matches!(cause.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::BUSY | Errno::NODEV)) =>
            {
                return Err(refused(mode, cause));
            }
            Err(_) => {}
        }
    }
    let bound = bind_patiently(request, tried, last, &mut bind_once);
    bound.map(|bound| (bound, last)).map_err(|cause| refused(last, cause))
}

fn bind_patiently<T>(
    request: &Request<'_>,
    tried: &mut Vec<Attempt>,
    mode: BindMode,
    bind_once: &mut impl FnMut(BindMode) -> io::Result<T>,
) -> io::Result<T> {
    let begun = Instant::now();
    let mut repeated = 0;
    let result = loop {
        match bind_once(mode) {
            Err(cause) if is(&cause, Errno::BUSY) && begun.elapsed() < BUSY_PATIENCE => {
                repeated += 1;
                thread::sleep(BUSY_STEP);
            }
            result => break result,
        }
    };
    tried.push(attempt(request, mode, repeated, result.as_ref().err()));
    result
}

fn bind_once(request: &Request<'_>, umem: &xsk_rs::Umem, mode: BindMode) -> io::Result<Queues> {
    let size = |ring| QueueSize::new(request.layout.ring(ring)).expect("a layout's rings are powers of two");
    let mode = match mode {
        BindMode::Copy => BindFlags::XDP_COPY,
        BindMode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
    };
    let several = if request.layout.multi_buffer() { BindFlags::XDP_USE_SG } else { BindFlags::empty() };
    let config = SocketConfig::builder()
        .rx_queue_size(size(RingName::Rx))
        .tx_queue_size(size(RingName::Tx))
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP | mode | several)
        .build();
    let device: Interface = request.device.parse().map_err(|_| io::Error::from(Errno::NODEV))?;
    // SAFETY: the UMEM is fresh and has no other socket, and no program is loaded.
    let queues = unsafe { xsk_rs::Socket::new(config, umem, &device, request.queue.0) };
    queues.map_err(|error| cause_of(&error))
}

fn attempt(request: &Request<'_>, mode: BindMode, repeated: u32, refusal: Option<&io::Error>) -> Attempt {
    let step = match mode {
        BindMode::Copy => "copy",
        BindMode::ZeroCopy => "zero-copy",
    };
    let (device, queue) = (request.device, request.queue);
    let why = match refusal {
        None if repeated == 0 => "granted".to_owned(),
        None => format!("granted after the queue had answered busy {repeated} times"),
        Some(cause) if is(cause, Errno::BUSY) => format!("queue {queue} of {device} has a socket"),
        Some(cause) if is(cause, Errno::OPNOTSUPP) && mode == BindMode::ZeroCopy => {
            match request.layout.multi_buffer() {
                false => format!("the driver of {device} has no zero-copy"),
                true => format!("the driver of {device} has no zero-copy, or none of frames in several chunks"),
            }
        }
        Some(cause) if is(cause, Errno::INVAL) && request.layout.multi_buffer() => {
            format!(
                "{device} has no queue {queue}, or this kernel (before 6.6) no frames in several chunks (XDP_USE_SG)"
            )
        }
        Some(cause) if is(cause, Errno::INVAL) => format!("{device} has no queue {queue}, or not with these sizes"),
        Some(cause) => cause.to_string(),
    };
    Attempt { step, errno: refusal.and_then(io::Error::raw_os_error), why }
}

/// Gives a fresh socket its four rings.
pub(crate) fn set_ring_sizes(xsk: BorrowedFd<'_>, layout: &Layout) -> io::Result<()> {
    set_xdp_umem_fill_ring_size(xsk, layout.ring(RingName::Fill))?;
    set_xdp_umem_completion_ring_size(xsk, layout.ring(RingName::Completion))?;
    set_xdp_rx_ring_size(xsk, layout.ring(RingName::Rx))?;
    set_xdp_tx_ring_size(xsk, layout.ring(RingName::Tx))?;
    Ok(())
}

/// One `sendto` in copy mode moves 32 frames; with the budget at the ring's size it moves them all.
pub(crate) fn raise_tx_budget(xsk: &OwnedFd, layout: &Layout, tried: &mut Vec<Attempt>) {
    let frames = layout.ring(RingName::Tx);
    let (errno, why) = match sys::set_max_tx_skb_budget(xsk.as_fd(), frames) {
        Ok(()) => (None, format!("one kick sends up to {frames} frames")),
        Err(cause) if is(&cause, Errno::NOPROTOOPT) => {
            (cause.raw_os_error(), "this kernel sends 32 frames a kick and has no option for more".to_owned())
        }
        // The kernel takes 32 to the ring's slots, and answers EACCES otherwise.
        Err(cause) => (cause.raw_os_error(), format!("one kick sends up to 32 frames, not {frames}: {cause}")),
    };
    tried.push(Attempt { step: "XDP_MAX_TX_SKB_BUDGET", errno, why });
}

/// Has a socket prefer busy polling. It needs CAP_NET_ADMIN, which the socket's later owner may not have; that one still has to wait by
/// `recv` or `poll` for anything to be polled. Since Linux 5.11.
pub fn prefer_busy_poll(socket: &impl AsFd, wanted: BusyPoll) -> Attempt {
    let BusyPoll { microseconds, budget } = wanted;
    let options = [
        ("SO_PREFER_BUSY_POLL", libc::SO_PREFER_BUSY_POLL, 1),
        ("SO_BUSY_POLL", libc::SO_BUSY_POLL, microseconds),
        ("SO_BUSY_POLL_BUDGET", libc::SO_BUSY_POLL_BUDGET, budget),
    ];
    for (name, option, value) in options {
        if let Err(cause) = sys::set_socket_option(socket.as_fd(), option, value) {
            let why = format!("{name} was refused the value {value}: {cause}");
            return Attempt { step: "busy-poll", errno: cause.raw_os_error(), why };
        }
    }
    let why = format!("a wait polls for up to {microseconds} us, and up to {budget} frames at a time");
    Attempt { step: "busy-poll", errno: None, why }
}

fn umem_config(layout: &Layout) -> UmemConfig {
    let size = |ring| QueueSize::new(layout.ring(ring)).expect("a layout's rings are powers of two");
    UmemConfig::builder()
        .frame_size(FrameSize::new(layout.frame_size()).expect("a layout's frames have 2048 bytes or more"))
        .frame_headroom(layout.headroom())
        .fill_queue_size(size(RingName::Fill))
        .comp_queue_size(size(RingName::Completion))
        .build()
        .expect("a layout's headroom leaves room for a frame")
}

/// Opens the memory that xsk-rs mapped as a file: it is anonymous, but shared, and so has one. xsk-rs does not tell where its memory
/// begins; the first frame does.
fn umem_file(umem: &xsk_rs::Umem, first: &mut FrameDesc) -> io::Result<OwnedFd> {
    let offset = first.addr();
    // SAFETY: the frame is one of this UMEM, no ring has it, and only its address is taken.
    let frame = unsafe { umem.data_mut(first) }.contents().as_ptr();
    let start = format!("{:x}-", frame.addr() - offset);
    for mapping in fs::read_dir("/proc/self/map_files")? {
        let mapping = mapping?;
        if mapping.file_name().to_string_lossy().starts_with(&start) {
            return File::options().read(true).write(true).open(mapping.path()).map(OwnedFd::from);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// xsk-rs keeps the errno out of its Display, in the source.
fn cause_of(error: &(dyn Error + 'static)) -> io::Error {
    let errno = error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    errno.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

pub(crate) fn is(cause: &io::Error, errno: Errno) -> bool {
    cause.raw_os_error() == Some(errno.raw_os_error())
}

/// How making a socket can end.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The calling thread's network namespace has no device of this name.
    #[error("there is no device {device} in this network namespace")]
    NoSuchDevice {
        /// The name.
        device: String,
    },
    /// The kernel could not be asked about the device.
    #[error("looking up device {device} failed")]
    Lookup {
        /// The name.
        device: String,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The queue had a socket for all the time that a released one may take.
    #[error("queue {queue} of {device} already has a socket")]
    QueueTaken {
        /// The device.
        device: String,
        /// The queue.
        queue: QueueId,
    },
    /// The kernel refused the socket.
    #[error("{call} refused {mode} on queue {queue} of {device}")]
    Refused {
        /// The system call.
        call: &'static str,
        /// The mode asked for.
        mode: BindMode,
        /// Whether frames in several chunks were asked for.
        multi_buffer: bool,
        /// The device.
        device: String,
        /// The queue.
        queue: QueueId,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The UMEM's memory could not be had or registered.
    #[error("registering a UMEM of {bytes} bytes failed")]
    Umem {
        /// Bytes of the UMEM.
        bytes: u64,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// Huge pages are required, and this kernel has none.
    #[error("making a UMEM in huge pages: this kernel does not say how large they are")]
    HugePages {
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The socket whose UMEM was to be shared is not bound any more: its port is closed, or its device was deleted.
    #[error("binding to {device} on the UMEM of another socket: that one is not bound any more")]
    UmemGone {
        /// The device.
        device: String,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// More chunks were named for FILL than it has slots.
    #[error("{chunks} chunks were given for a FILL ring of {slots} slots")]
    FillTooSmall {
        /// Chunks named.
        chunks: usize,
        /// Slots of the ring.
        slots: u32,
    },
    /// The socket exists, but its descriptors could not be kept.
    #[error("making a socket: {what} failed")]
    Keep {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The socket exists, but could not be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// The FILL ring of the new socket is broken.
    #[error("making a socket: its FILL ring could not be filled")]
    Prime(#[from] RingBroken),
}

impl CreateError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchDevice { .. } => Some("`ip link` lists the devices; alternative names are not looked up"),
            Self::QueueTaken { .. } => {
                Some("close the other socket, or take another queue: `ethtool -l` says how many there are")
            }
            Self::Refused { mode: BindMode::ZeroCopy, cause, .. } if is(cause, Errno::OPNOTSUPP) => {
                Some("the driver has no zero-copy: ask for copy mode, or for zero-copy only where it can be had")
            }
            Self::Refused { multi_buffer: true, cause, .. } if is(cause, Errno::INVAL) => Some(
                "frames in several chunks (multi-buffer) take Linux 6.6; `ethtool -l` says how many queues the device has",
            ),
            Self::Refused { cause, .. } if is(cause, Errno::INVAL) => {
                Some("`ethtool -l` says how many queues the device has")
            }
            Self::UmemGone { .. } => Some("share the UMEM of a port that is open"),
            Self::FillTooSmall { .. } => Some("give fewer chunks, or ask for a larger ring"),
            Self::HugePages { .. } => Some("this kernel has no huge pages (CONFIG_HUGETLBFS): ask for ordinary ones"),
            Self::Umem { cause, .. } if is(cause, Errno::NOMEM) => Some(
                "ask for fewer or smaller frames; of huge pages, `vm.nr_hugepages` reserves some, and 'prefer' does without them \
                 where there are too few",
            ),
            Self::Umem { cause, .. } | Self::Refused { cause, .. } if is(cause, Errno::MFILE) => {
                Some("this process has as many open files as it may: raise `LimitNOFILE=`, or `ulimit -n`")
            }
            Self::Umem { cause, .. } if is(cause, Errno::NOBUFS) => {
                Some("the UMEM exceeds RLIMIT_MEMLOCK: raise it, grant CAP_IPC_LOCK, or ask for fewer frames")
            }
            Self::Umem { cause, .. } | Self::Refused { cause, .. } if is(cause, Errno::PERM) => {
                Some("making a socket takes CAP_NET_RAW")
            }
            _ => None,
        }
    }
}

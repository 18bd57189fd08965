//! Making a socket, through xsk-rs and libxdp. Nothing of either outlives [`create`]: it keeps a duplicate of the XSK
//! and a descriptor of the UMEM's memory, and adopts these two like any other socket. A process that may not open that
//! memory uses [`direct`] instead.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;

use crate::bind::{Opened, bind_modes, find_device, raise_tx_budget};
use crate::counters::SocketCounters;
use crate::create_error::CreateError;
use crate::direct;
use crate::donation::{BindMode, Donation};
use crate::layout::Layout;
use crate::request::{Attempt, HugePages, Request};
use crate::ring::RingName;
use crate::socket::Socket;

/// A socket, and how it was made.
#[derive(Debug)]
pub struct Created {
    /// The socket, bound and adopted.
    pub socket: Socket,
    /// The mode that the kernel granted.
    pub obtained: BindMode,
    /// Every step that was tried, in its order.
    pub attempts: Vec<Attempt>,
}

/// Makes a socket and binds it to a queue of a device, loading no XDP program: frames arrive once a program redirects
/// them to it.
///
/// It needs CAP_NET_RAW and nothing else; without CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, which open the memory that
/// xsk-rs maps, the UMEM is a memfd. It blocks for up to a second while the queue is busy.
///
/// # Errors
/// [`CreateError`]; nothing is left of the attempt.
pub fn create(request: &Request<'_>) -> Result<Created, CreateError> {
    let index = find_device(request.device)?;
    let mut attempts = Vec::new();
    let layout = request.layout.in_ordinary_pages();
    let huge = match request.huge_pages {
        HugePages::Never => None,
        HugePages::Require => Some(open_in_huge_pages(request, index, &mut attempts)?),
        HugePages::Prefer => match open_in_huge_pages(request, index, &mut attempts) {
            Ok(opened) => Some(opened),
            // Ordinary pages do not help against any other error.
            Err(CreateError::Umem { .. } | CreateError::HugePages { .. }) => None,
            Err(error) => return Err(error),
        },
    };
    let (layout, (xsk, umem, obtained)) = match huge {
        Some(opened) => opened,
        None => (layout, open(&Request { layout, ..*request }, index, &mut attempts)?),
    };
    raise_tx_budget(&xsk, &layout, &mut attempts);
    let (in_fill, counters) = (Vec::new(), SocketCounters::default());
    let donation = Donation { xsk, umem, layout, in_fill, bind: obtained, counters };
    let mut socket = Socket::adopt(donation)?;
    if request.prime {
        socket.prime()?;
    }
    Ok(Created { socket, obtained, attempts })
}

fn open(request: &Request<'_>, index: u32, attempts: &mut Vec<Attempt>) -> Result<Opened, CreateError> {
    if direct::is_needed() { direct::open_socket(request, index, attempts) } else { open_by_xsk_rs(request, attempts) }
}

fn open_in_huge_pages(
    request: &Request<'_>,
    index: u32,
    attempts: &mut Vec<Attempt>,
) -> Result<(Layout, Opened), CreateError> {
    let refused = |attempts: &mut Vec<Attempt>, cause: io::Error| {
        let why = format!("not granted: {cause}; `vm.nr_hugepages` reserves such pages");
        attempts.push(Attempt { step: "huge-pages", errno: cause.raw_os_error(), why });
        cause
    };
    let page = match huge_page_bytes() {
        Ok(page) => page,
        Err(cause) => return Err(CreateError::HugePages { cause: refused(attempts, cause) }),
    };
    let layout = request.layout.in_huge_pages(page).map_err(|cause| {
        let (cause, bytes) = (io::Error::other(cause), request.layout.umem_bytes());
        CreateError::Umem { bytes, cause: refused(attempts, cause) }
    })?;
    let mut bound = Vec::new();
    let opened = match open(&Request { layout, ..*request }, index, &mut bound) {
        Err(CreateError::Umem { bytes, cause }) => {
            return Err(CreateError::Umem { bytes, cause: refused(attempts, cause) });
        }
        opened => opened,
    };
    let why = format!("{} pages of {page} bytes", layout.umem_bytes() / page);
    attempts.push(Attempt { step: "huge-pages", errno: None, why });
    attempts.append(&mut bound);
    opened.map(|opened| (layout, opened))
}

/// The kernel's default size of a huge page.
fn huge_page_bytes() -> io::Result<u64> {
    let told = fs::read_to_string("/proc/meminfo")?;
    let kib = told
        .lines()
        .find_map(|line| line.strip_prefix("Hugepagesize:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).filter(|bytes| *bytes > 0).ok_or_else(|| Errno::OPNOTSUPP.into())
}

/// Makes the socket by xsk-rs and keeps both descriptors, which outlive xsk-rs.
fn open_by_xsk_rs(request: &Request<'_>, attempts: &mut Vec<Attempt>) -> Result<Opened, CreateError> {
    let layout = &request.layout;
    let bytes = layout.umem_bytes();
    let frames = NonZeroU32::new(layout.frames()).expect("a layout has at least one frame");
    let (umem, mut frames) = xsk_rs::Umem::new(umem_config(layout), frames, layout.huge_pages())
        .map_err(|error| CreateError::Umem { bytes, cause: cause_of(&error) })?;

    let (queues, obtained) = bind_modes(request, attempts, |mode| bind_once(request, &umem, mode))?;
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

/// Opens the memory that xsk-rs mapped as a file: it is anonymous, but shared, and so has one. xsk-rs does not
/// tell where its memory begins; the address of the first frame does.
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

/// xsk-rs has the errno in the source of its error, not in its Display.
fn cause_of(error: &(dyn Error + 'static)) -> io::Error {
    let errno = error.source().and_then(|source| source.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    errno.map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

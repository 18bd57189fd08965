//! A socket without a kernel: its rings lie in plain memory, as the kernel lays them out, and a thread plays the
//! kernel's part. For measuring what the user's side of the rings costs; no release has it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpRingOffset,
};

use crate::donation::BindMode;
use crate::endpoint::Endpoint;
use crate::layout::Layout;
use crate::ring::{Address, Consumer, Descriptor, Entry, MapRingError, MappedRing, Producer, RingBroken, RingName};
use crate::rings::Rings;
use crate::socket::Socket;
use crate::umem::Umem;

/// Where the kernel puts the words of a ring (`struct xdp_ring`), each on a cache line of its own.
const OFFSETS: XdpRingOffset = XdpRingOffset { producer: 0, consumer: 128, desc: 384, flags: Some(256) };

/// Frames that the thread passes on at a time.
const BATCH: u32 = 64;

/// The thread that plays the kernel. It ends when this is dropped.
#[derive(Debug)]
pub struct Loopback {
    over: Arc<AtomicBool>,
    delivered: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// A system call failed.
    #[error("making a socket without a kernel failed")]
    Io(#[from] io::Error),
    /// A ring does not fit.
    #[error(transparent)]
    Map(#[from] MapRingError),
    /// A ring is broken: nothing has been in it.
    #[error(transparent)]
    Broken(#[from] RingBroken),
}

impl Loopback {
    /// A socket on which every received frame is `packet`, as fast as chunks come back; what it sends is completed at
    /// once. The thread spins.
    ///
    /// # Errors
    /// [`LoopbackError`].
    ///
    /// # Panics
    /// If the packet is longer than a frame, or empty.
    pub fn start(layout: Layout, packet: &[u8]) -> Result<(Socket, Self), LoopbackError> {
        let file = memfd("umem", layout.umem_bytes())?;
        let mut umem = Umem::map(file.as_fd(), layout)?;
        let id = umem.ledger_mut().enlist().expect("a new UMEM has no sockets");
        let mut frames: Vec<_> = std::iter::from_fn(|| umem.allocate()).collect();
        for frame in &mut frames {
            frame.set_len(packet.len()).expect("the packet fits a frame");
            umem.bytes_mut(frame).copy_from_slice(packet);
        }
        frames.into_iter().for_each(|frame| umem.release(frame));

        let memory = memfd("rings", XDP_UMEM_PGOFF_COMPLETION_RING + (1 << 24))?;
        let rx = Consumer::open(RingName::Rx, map(&memory, &layout, RingName::Rx)?)?;
        let tx = Producer::open(RingName::Tx, map(&memory, &layout, RingName::Tx)?)?;
        let fill = Producer::open(RingName::Fill, map(&memory, &layout, RingName::Fill)?)?;
        let completion = Consumer::open(RingName::Completion, map(&memory, &layout, RingName::Completion)?)?;
        let mut kernel = Kernel {
            rx: Producer::open(RingName::Rx, map(&memory, &layout, RingName::Rx)?)?,
            tx: Consumer::open(RingName::Tx, map(&memory, &layout, RingName::Tx)?)?,
            fill: Consumer::open(RingName::Fill, map(&memory, &layout, RingName::Fill)?)?,
            completion: Producer::open(RingName::Completion, map(&memory, &layout, RingName::Completion)?)?,
            offset: u64::from(layout.frame_offset()),
            len: u32::try_from(packet.len()).expect("a frame has at most 4096 bytes"),
        };

        let (over, delivered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (seen, told) = (Arc::clone(&over), Arc::clone(&delivered));
        let thread = thread::Builder::new().name("loopback".to_owned()).spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let frames = kernel.turn().expect("both sides of the rings are ours");
                // The only writer; the reader only needs to know whether to go on.
                told.store(told.load(Ordering::Relaxed) + u64::from(frames), Ordering::Relaxed);
            }
        })?;
        let (xsk, _) = UnixStream::pair()?; // something to poll, which is never ready for reading
        let rings = Rings::new(id, layout.fill_target(), rx, tx, fill, completion);
        let endpoint = Endpoint::new(rings, xsk.into(), layout, BindMode::Copy);
        Ok((Socket::of_parts(endpoint, umem, file), Self { over, delivered, thread: Some(thread) }))
    }

    /// Frames put into RX so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it has told why it panicked
        }
    }
}

/// The kernel's sides of the rings.
struct Kernel {
    rx: Producer<MappedRing<Descriptor>>,
    tx: Consumer<MappedRing<Descriptor>>,
    fill: Consumer<MappedRing<Address>>,
    completion: Producer<MappedRing<Address>>,
    offset: u64,
    len: u32,
}

impl Kernel {
    /// Returns how many frames it put into RX.
    fn turn(&mut self) -> Result<u32, RingBroken> {
        let mut received = self.rx.reserve(BATCH)?;
        for Address(chunk) in self.fill.take(received.slots())? {
            let _ = received.write(Descriptor { address: chunk + self.offset, len: self.len, options: 0 });
        }
        let delivered = received.commit();
        let mut completed = self.completion.reserve(BATCH)?;
        for Descriptor { address, .. } in self.tx.take(completed.slots())? {
            let _ = completed.write(Address(address));
        }
        completed.commit();
        Ok(delivered)
    }
}

fn memfd(name: &str, bytes: u64) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    ftruncate(&file, bytes)?;
    Ok(file)
}

fn map<E: Entry>(memory: &OwnedFd, layout: &Layout, ring: RingName) -> Result<MappedRing<E>, MapRingError> {
    let offset = match ring {
        RingName::Rx => XDP_PGOFF_RX_RING,
        RingName::Tx => XDP_PGOFF_TX_RING,
        RingName::Fill => XDP_UMEM_PGOFF_FILL_RING,
        RingName::Completion => XDP_UMEM_PGOFF_COMPLETION_RING,
    };
    MappedRing::map_unchecked(memory.as_fd(), offset, &OFFSETS, layout.ring(ring))
}

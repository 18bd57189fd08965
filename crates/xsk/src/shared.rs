//! Another socket on a UMEM that is in use already, and whose memory belongs to the client: this process does not
//! map it.
//!
//! The kernel takes the UMEM, its mode and its flags from the first socket (`XDP_SHARED_UMEM`, `xsk_bind`), and wants
//! rings of the second one's own, FILL and COMPLETION included, because that is on another device or queue. What is
//! written into FILL is an address and not memory; so the maker of the socket can do it before anything can arrive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::sockopt::xdp_mmap_offsets;
use rustix::net::xdp::{
    SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING, XDP_UMEM_PGOFF_FILL_RING, XdpRingOffset,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use crate::bind::{BUSY_PATIENCE, BUSY_STEP, find_device, raise_tx_budget, set_ring_sizes};
use crate::create_error::{CreateError, is};
use crate::donation::{AdoptError, BindMode};
use crate::layout::Layout;
use crate::request::{Attempt, QueueId};
use crate::ring::{Address, Consumer, Descriptor, Entry, MappedRing, Producer, RingBroken, RingName};

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct SharedRequest<'a> {
    /// The device's name in the network namespace of the calling thread.
    pub device: &'a str,
    /// The queue to bind to. Not the first socket's own: that has its rings already.
    pub queue: QueueId,
    /// A bound socket of the UMEM. It may be closed afterwards: the kernel keeps the UMEM for as long as any socket has
    /// it.
    pub first: BorrowedFd<'a>,
    /// The first socket's mode, which is the UMEM's.
    pub bind: BindMode,
    /// The UMEM's shape, as the first socket's, and the sizes of this one's own rings.
    pub layout: Layout,
    /// The chunks for FILL. The caller must own them: nothing else uses them until RX returns them.
    pub in_fill: &'a [u32],
}

/// A bound socket on a UMEM that others have. It does not map the UMEM.
#[derive(Debug)]
pub struct SharedSocket {
    /// The XSK.
    pub xsk: OwnedFd,
    /// The shape of the UMEM and of this socket's rings.
    pub layout: Layout,
    /// The chunks lent to reception.
    pub in_fill: Vec<u32>,
    /// The mode.
    pub bind: BindMode,
    /// Every step that was tried, in its order.
    pub attempts: Vec<Attempt>,
    rx: Consumer<MappedRing<Descriptor>>,
    fill: Producer<MappedRing<Address>>,
    /// Frames that [`SharedSocket::turn_back`] took out of RX.
    turned_back: u64,
}

/// Makes a socket on the UMEM of another one, binds it to a queue of its own, and fills its FILL ring. It needs
/// CAP_NET_RAW, as any socket, and blocks for up to a second while the queue is busy.
///
/// # Errors
/// [`CreateError`]; nothing is left of the attempt.
pub fn create_shared(request: &SharedRequest<'_>) -> Result<SharedSocket, CreateError> {
    let &SharedRequest { device, queue, layout, bind: mode, .. } = request;
    check_chunks(&layout, request.in_fill)?;
    let index = find_device(device)?;
    let refused = |call, cause| CreateError::Refused {
        call,
        mode,
        multi_buffer: layout.multi_buffer(),
        device: device.to_owned(),
        queue,
        cause,
    };
    let xsk = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(|errno| refused("socket", errno.into()))?;
    set_ring_sizes(xsk.as_fd(), &layout).map_err(|cause| refused("setsockopt", cause))?;

    // No flag beside this one: xsk_bind() takes all others from the UMEM's first socket, and refuses them here.
    let address = SocketAddrXdpWithSharedUmem {
        addr: rustix::net::xdp::SocketAddrXdp::new(SocketAddrXdpFlags::XDP_SHARED_UMEM, index, queue.0),
        shared_umem_fd: request.first,
    };
    let begun = Instant::now();
    let bound = loop {
        match bind(&xsk, &address) {
            Err(Errno::BUSY) if begun.elapsed() < BUSY_PATIENCE => thread::sleep(BUSY_STEP),
            bound => break bound.map_err(io::Error::from),
        }
    };
    bound.map_err(|cause| match cause {
        cause if is(&cause, Errno::BUSY) => CreateError::QueueTaken { device: device.to_owned(), queue },
        cause if is(&cause, Errno::BADF) => CreateError::UmemGone { device: device.to_owned(), cause },
        cause => refused("bind", cause),
    })?;
    let why = format!("granted, in {mode} as the UMEM's first socket");
    let mut attempts = vec![Attempt { step: "shared-umem", errno: None, why }];
    raise_tx_budget(&xsk, &layout, &mut attempts);

    let offsets = xdp_mmap_offsets(&xsk)
        .map_err(|errno| AdoptError::Ask { call: "getsockopt(XDP_MMAP_OFFSETS)", cause: errno.into() })?;
    let rx = Consumer::open(RingName::Rx, map(&xsk, RingName::Rx, XDP_PGOFF_RX_RING, &offsets.rx, &layout)?)?;
    let fill = map(&xsk, RingName::Fill, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, &layout)?;
    let fill = Producer::open(RingName::Fill, fill)?;
    let in_fill = request.in_fill.to_vec();
    let mut socket = SharedSocket { xsk, layout, in_fill, bind: mode, attempts, rx, fill, turned_back: 0 };
    let chunk = u64::from(layout.frame_size());
    let filled = lend(&mut socket.fill, request.in_fill.iter().map(|number| Address(u64::from(*number) * chunk)))?;
    debug_assert_eq!(filled, request.in_fill.len(), "`check_chunks` found room for them");
    Ok(socket)
}

impl SharedSocket {
    /// Takes what RX holds and lends its chunks to FILL again, so that the next owner finds the socket as if nothing
    /// had arrived. Returns the length of each frame; its bytes cannot be reached here.
    ///
    /// # Errors
    /// [`RingBroken`]. No other process has these rings yet, so only a broken kernel breaks them.
    pub fn turn_back(&mut self) -> Result<Vec<u32>, RingBroken> {
        let mut lengths = Vec::new();
        let mut chunks = Vec::new();
        for Descriptor { address, len, .. } in self.rx.take(u32::MAX)? {
            lengths.push(len);
            chunks.push(Address(address - address % u64::from(self.layout.frame_size())));
        }
        lend(&mut self.fill, chunks.into_iter())?;
        self.turned_back += lengths.len() as u64;
        Ok(lengths)
    }

    /// Frames that [`SharedSocket::turn_back`] has taken: they count as received, or the sums with the kernel's
    /// counters would not hold.
    #[must_use]
    pub fn turned_back(&self) -> u64 {
        self.turned_back
    }
}

impl AsFd for SharedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.xsk.as_fd()
    }
}

fn map<E: Entry>(
    xsk: &OwnedFd,
    ring: RingName,
    page_offset: u64,
    offsets: &XdpRingOffset,
    layout: &Layout,
) -> Result<MappedRing<E>, AdoptError> {
    MappedRing::map(xsk.as_fd(), page_offset, offsets, layout.ring(ring))
        .map_err(|cause| AdoptError::MapRing { ring, cause })
}

fn lend(
    fill: &mut Producer<MappedRing<Address>>,
    chunks: impl ExactSizeIterator<Item = Address>,
) -> Result<usize, RingBroken> {
    let mut slots = fill.reserve(u32::try_from(chunks.len()).unwrap_or(u32::MAX))?;
    for chunk in chunks {
        if !slots.write(chunk) {
            break;
        }
    }
    Ok(slots.commit() as usize)
}

/// What is written into FILL comes from a client.
fn check_chunks(layout: &Layout, chunks: &[u32]) -> Result<(), CreateError> {
    let slots = layout.ring(RingName::Fill);
    if chunks.len() > slots as usize {
        return Err(CreateError::FillTooSmall { chunks: chunks.len(), slots });
    }
    let mut seen = vec![false; layout.frames() as usize];
    for &chunk in chunks {
        match seen.get_mut(chunk as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(AdoptError::FillChunk { chunk, frames: layout.frames() }.into()),
        }
    }
    Ok(())
}

//! From a [`Donation`] to a socket: each claim is checked before it is relied on.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_domain, xdp_mmap_offsets, xdp_options};
use rustix::net::xdp::{
    XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags,
    XdpRingOffset,
};

use crate::donation::{AdoptError, BindMode, Donation, EndpointDonation};
use crate::layout::Layout;
use crate::ledger::Tag;
use crate::ring::{Address, Consumer, Descriptor, Entry, MappedRing, Producer, RingName};
use crate::rings::Rings;
use crate::umem::Umem;

/// The rings of a real socket.
pub(crate) type MappedRings = Rings<MappedRing<Address>, MappedRing<Descriptor>>;

/// Maps what a donation describes, and checks it against what it says.
pub(crate) fn adopt(donation: &Donation) -> Result<(MappedRings, Umem), AdoptError> {
    check_domain(donation.xsk.as_fd())?;
    check_mode(donation.xsk.as_fd(), donation.bind)?;
    check_size(donation.umem.as_fd(), donation.layout)?;
    adopt_mapped(donation)
}

/// The same where only `mmap` knows the size of the memory: a BPF array is a file of no bytes.
pub(crate) fn adopt_unsized(donation: &Donation) -> Result<(MappedRings, Umem), AdoptError> {
    check_domain(donation.xsk.as_fd())?;
    check_mode(donation.xsk.as_fd(), donation.bind)?;
    adopt_mapped(donation)
}

fn adopt_mapped(donation: &Donation) -> Result<(MappedRings, Umem), AdoptError> {
    let needed = donation.layout.umem_bytes();
    let umem = Umem::map(donation.umem.as_fd(), donation.layout);
    let mut umem = umem.map_err(|cause| AdoptError::MapUmem { needed, cause })?;
    let rings = adopt_rings(donation.xsk.as_fd(), &donation.layout, &donation.in_fill, Tag::FREE, &mut umem)?;
    Ok((rings, umem))
}

/// Maps the rings of a socket on a UMEM that is there already.
pub(crate) fn join(donation: &EndpointDonation, umem: &mut Umem) -> Result<MappedRings, AdoptError> {
    let EndpointDonation { xsk, layout, in_fill, bind, .. } = donation;
    check_domain(xsk.as_fd())?;
    check_mode(xsk.as_fd(), *bind)?;
    let shape = |layout: &Layout| (layout.frame_size(), layout.frames(), layout.headroom());
    if shape(layout) != shape(umem.layout()) || in_fill.umem() != umem.id() {
        return Err(AdoptError::OtherUmem);
    }
    adopt_rings(xsk.as_fd(), layout, in_fill.chunks(), Tag::HELD, umem)
}

/// `from` has the chunks that are said to be in FILL. On an error the UMEM is as before.
fn adopt_rings(
    xsk: BorrowedFd<'_>,
    layout: &Layout,
    in_fill: &[u32],
    from: Tag,
    umem: &mut Umem,
) -> Result<MappedRings, AdoptError> {
    let offsets = xdp_mmap_offsets(xsk)
        .map_err(|errno| AdoptError::Ask { call: "getsockopt(XDP_MMAP_OFFSETS)", cause: errno.into() })?;
    let map = Map { xsk, layout };
    let mut rx = Consumer::open(RingName::Rx, map.ring(RingName::Rx, XDP_PGOFF_RX_RING, &offsets.rx)?)?;
    let mut tx = Producer::open(RingName::Tx, map.ring(RingName::Tx, XDP_PGOFF_TX_RING, &offsets.tx)?)?;
    let fill = Producer::open(RingName::Fill, map.ring(RingName::Fill, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr)?)?;
    let completion = map.ring(RingName::Completion, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr)?;
    let mut completion = Consumer::open(RingName::Completion, completion)?;

    let idle = [(RingName::Tx, tx.entries()?), (RingName::Completion, completion.entries()?)];
    if let Some((ring, entries)) = idle.into_iter().find(|(_, entries)| *entries > 0) {
        return Err(AdoptError::NotIdle { ring, entries });
    }
    rx.entries()?;
    let id = umem.ledger_mut().enlist().ok_or(AdoptError::TooManySockets)?;
    let lent = umem.ledger_mut().start_in_fill(in_fill, from, id);
    let checked = lent
        .map_err(|chunk| AdoptError::FillChunk { chunk, frames: layout.frames() })
        .and_then(|()| check_fill(umem, &fill, in_fill));
    if let Err(refused) = checked {
        umem.ledger_mut().undo_fill(from, id);
        return Err(refused);
    }
    let mut rings = Rings::new(id, layout.fill_target(), rx, tx, fill, completion);
    rings.multi_buffer = layout.multi_buffer();
    Ok(rings)
}

fn check_domain(xsk: BorrowedFd<'_>) -> Result<(), AdoptError> {
    match socket_domain(xsk) {
        Ok(AddressFamily::XDP) => Ok(()),
        Ok(_) => Err(AdoptError::NotXsk { cause: None }),
        Err(errno) => Err(AdoptError::NotXsk { cause: Some(errno.into()) }),
    }
}

fn check_mode(xsk: BorrowedFd<'_>, told: BindMode) -> Result<(), AdoptError> {
    let options =
        xdp_options(xsk).map_err(|errno| AdoptError::Ask { call: "getsockopt(XDP_OPTIONS)", cause: errno.into() })?;
    let zero_copy = options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY);
    let bound = if zero_copy { BindMode::ZeroCopy } else { BindMode::Copy };
    if bound == told { Ok(()) } else { Err(AdoptError::BindModeDisagrees { told, bound }) }
}

fn check_size(fd: BorrowedFd<'_>, layout: Layout) -> Result<(), AdoptError> {
    let needed = layout.umem_bytes();
    let stat = rustix::fs::fstat(fd).map_err(|errno| AdoptError::Ask { call: "fstat(UMEM)", cause: errno.into() })?;
    let bytes = u64::try_from(stat.st_size).unwrap_or(0);
    if bytes < needed { Err(AdoptError::UmemTooSmall { bytes, needed }) } else { Ok(()) }
}

struct Map<'a> {
    xsk: BorrowedFd<'a>,
    layout: &'a Layout,
}

impl Map<'_> {
    fn ring<E: Entry>(
        &self,
        ring: RingName,
        page_offset: u64,
        offsets: &XdpRingOffset,
    ) -> Result<MappedRing<E>, AdoptError> {
        MappedRing::map(self.xsk, page_offset, offsets, self.layout.ring(ring))
            .map_err(|cause| AdoptError::MapRing { ring, cause })
    }
}

/// What FILL holds must have been announced. The reverse cannot be asked: the kernel may have taken entries out since.
fn check_fill(umem: &Umem, fill: &Producer<MappedRing<Address>>, in_fill: &[u32]) -> Result<(), AdoptError> {
    let mut announced: HashSet<u64> = in_fill.iter().map(|chunk| umem.chunk_address(*chunk)).collect();
    match fill.pending().find(|address| !announced.remove(&address.0)) {
        Some(address) => Err(AdoptError::FillDisagrees { address: address.0, told: in_fill.len() }),
        None => Ok(()),
    }
}

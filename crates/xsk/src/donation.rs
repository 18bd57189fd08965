use std::os::fd::OwnedFd;
use std::{fmt, io};

use xsknet_ring::InvalidRing;
use xsknet_ring::layout::{RING_CHUNK, RING_MAX_OFFSET, RING_MIN_OFFSET};

use crate::counters::SocketCounters;
use crate::layout::Layout;
use crate::ledger::MAX_ENDPOINTS;
use crate::ring::{MapRingError, RingBroken, RingName};
use crate::umem::ReservedChunks;

/// How frames get from the driver into the UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindMode {
    /// The kernel copies each frame: any device, any driver.
    #[doc(alias = "XDP_COPY")]
    Copy,
    /// The device itself reads and writes the UMEM.
    #[doc(alias = "XDP_ZEROCOPY")]
    ZeroCopy,
}

impl BindMode {
    /// The name by which other languages have it: `"copy"` or `"zero-copy"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::ZeroCopy => "zero-copy",
        }
    }

    /// The mode of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Copy, Self::ZeroCopy].into_iter().find(|mode| mode.name() == name)
    }
}

impl fmt::Display for BindMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy mode",
            Self::ZeroCopy => "zero-copy mode",
        })
    }
}

/// A bound socket on its way to a new owner, perhaps in another process: two descriptors, and what they do not show.
#[derive(Debug)]
pub struct Donation {
    /// The XSK. It must be bound: an unbound one could be bound to any device of its network namespace.
    pub xsk: OwnedFd,
    /// The file behind the UMEM.
    pub umem: OwnedFd,
    /// The shape that both were made with.
    pub layout: Layout,
    /// The chunks lent to reception: in FILL, in the driver, or unread in RX. All others are free.
    pub in_fill: Vec<u32>,
    /// The mode that the kernel granted.
    pub bind: BindMode,
    /// What has been counted so far. The new owner continues from here, so that the sums with the kernel's counters
    /// still hold.
    pub counters: SocketCounters,
}

/// A bound socket that shares the UMEM of another one, on its way to the owner of that UMEM.
#[derive(Debug)]
pub struct EndpointDonation {
    /// The XSK, bound with `XDP_SHARED_UMEM`.
    pub xsk: OwnedFd,
    /// The shape of the UMEM, and of the socket's own rings.
    pub layout: Layout,
    /// The chunks lent to its reception: in FILL, in the driver, or unread in RX.
    pub in_fill: ReservedChunks,
    /// The mode that the kernel granted.
    pub bind: BindMode,
    /// What has been counted so far.
    pub counters: SocketCounters,
}

/// A bound socket whose frames go through BPF rings, on its way to a new owner.
#[derive(Debug)]
pub struct RingDonation {
    /// The XSK, for the state of its device, and the memory of the chunks: a BPF array. Its `in_fill` is empty, and its
    /// counters are those of the BPF rings.
    pub socket: Donation,
    /// The rings.
    pub rings: RingsDonation,
}

/// The BPF rings of a [`RingDonation`].
#[derive(Debug)]
pub struct RingsDonation {
    /// The array that both rings lie in.
    pub control: OwnedFd,
    /// The ring buffer that wakes the client.
    pub wake: OwnedFd,
    /// The program that sends.
    pub program: OwnedFd,
    /// Slots of reception.
    pub rx_slots: u32,
    /// Slots of sending.
    pub tx_slots: u32,
    /// The position of the oldest chunk posted, or the next to post.
    pub rx_position: u32,
    /// The position of the next frame to send.
    pub tx_position: u32,
    /// The chunks posted and not taken, oldest first. All others are free.
    pub posted: Vec<u32>,
}

/// A donation is not what it claims to be.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The descriptor given as XSK is not one.
    #[error("adopting a socket: the descriptor given as XSK is not an AF_XDP socket")]
    NotXsk {
        /// What the kernel returned, if it refused the call: ENOTSOCK for a file.
        #[source]
        cause: Option<io::Error>,
    },
    /// The kernel did not say where the rings are, or in which mode the socket is bound.
    #[error("adopting a socket: {call} failed")]
    Ask {
        /// The system call and its option.
        call: &'static str,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The kernel and the donor disagree about the mode.
    #[error("adopting a socket: it was announced in {told}, but it is bound in {bound}")]
    BindModeDisagrees {
        /// What the donation says.
        told: BindMode,
        /// What the kernel says.
        bound: BindMode,
    },
    /// The UMEM's file does not hold the layout's chunks.
    #[error("adopting a socket: its UMEM has {bytes} bytes, {needed} are needed for the chunks of the layout")]
    UmemTooSmall {
        /// Bytes of the file.
        bytes: u64,
        /// Bytes of the layout.
        needed: u64,
    },
    /// The UMEM cannot be mapped.
    #[error("adopting a socket: mapping the {needed} bytes of its UMEM failed")]
    MapUmem {
        /// Bytes of the layout.
        needed: u64,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// A ring cannot be mapped with the layout's size.
    #[error("adopting a socket: its {ring} ring does not fit the layout")]
    MapRing {
        /// The ring.
        ring: RingName,
        /// Why.
        #[source]
        cause: MapRingError,
    },
    /// A ring's indices cannot belong to one ring.
    #[error("adopting a socket found a broken ring")]
    RingBroken(#[from] RingBroken),
    /// The socket shares another UMEM than the one it was to join, or one of another shape.
    #[error("adopting a socket: it shares another UMEM, or its UMEM has another shape")]
    OtherUmem,
    /// Too many sockets share the UMEM.
    #[error("adopting a socket: {MAX_ENDPOINTS} sockets share its UMEM already")]
    TooManySockets,
    /// TX or COMPLETION holds entries, whose chunks the donation does not name.
    #[error("adopting a socket: its {ring} ring still holds {entries} entries; a donor drains it first")]
    NotIdle {
        /// The ring.
        ring: RingName,
        /// Entries in it.
        entries: u32,
    },
    /// The donation names a chunk twice, or one that the layout does not have.
    #[error("adopting a socket: chunk {chunk} is named twice as lent to FILL, or is not one of the {frames} chunks")]
    FillChunk {
        /// The chunk named.
        chunk: u32,
        /// Chunks of the layout.
        frames: u32,
    },
    /// Memory or descriptors of BPF rings cannot be had.
    #[error("adopting a socket: {what} of its BPF rings failed")]
    Rings {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// BPF rings cannot have this shape.
    #[error("adopting a socket: its BPF rings cannot be")]
    RingShape(#[from] InvalidRing),
    /// The layout is none of BPF rings.
    #[error(
        "adopting a socket: BPF rings have chunks of {RING_CHUNK} bytes and frames from {RING_MIN_OFFSET} to \
         {RING_MAX_OFFSET} on; the layout has {frame_size} bytes, and frames from {offset} on"
    )]
    RingLayout {
        /// Bytes of a chunk.
        frame_size: u32,
        /// Where a received frame begins in its chunk.
        offset: u32,
    },
    /// FILL holds an address that is not the start of a chunk that the donation names, or holds it twice.
    #[error(
        "adopting a socket: its FILL ring holds address {address:#x}, which is not one of the {told} chunks \
         announced, or comes twice"
    )]
    FillDisagrees {
        /// The address found.
        address: u64,
        /// Chunks that the donation names.
        told: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_bind_modes_read_back() {
        for (mode, name) in [(BindMode::Copy, "copy"), (BindMode::ZeroCopy, "zero-copy")] {
            assert_eq!(mode.name(), name);
            assert_eq!(BindMode::named(name), Some(mode));
        }
        for name in ["", "Copy", "zerocopy", "copy mode"] {
            assert_eq!(BindMode::named(name), None, "{name}");
        }
    }
}

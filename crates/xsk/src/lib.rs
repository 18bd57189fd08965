//! AF_XDP sockets: a UMEM, its frames, the four rings, and the adoption of sockets that another process made.
//!
//! A [`Socket`] comes from two file descriptors, [`Socket::adopt`], no matter who made them. Making them takes
//! CAP_NET_RAW and libxdp, and is the feature `create`.
//!
//! A [`Frame`] is the right to one chunk of the UMEM: received or allocated, it is sent or released, and a ledger knows
//! at any time who owns which chunk. What a ring returns is input: it becomes a frame only if the very chunk was lent.
//!
//! ```no_run
//! use std::time::Duration;
//! use xsknet_xsk::{Donation, Readiness, Socket};
//!
//! /// Sends every frame back to where it came from, until the device is deleted.
//! fn mirror(donation: Donation) -> Result<(), Box<dyn std::error::Error>> {
//!     let mut socket = Socket::adopt(donation)?;
//!     let mut frames = Vec::with_capacity(64);
//!     while socket.wait(Duration::from_secs(1))? != Readiness::DeviceGone {
//!         socket.receive(64 - frames.len(), &mut frames)?;
//!         for frame in &mut frames {
//!             if let Some(addresses) = socket.bytes_mut(frame).get_mut(..12) {
//!                 addresses.rotate_left(6);
//!             }
//!         }
//!         socket.transmit(&mut frames)?;
//!         socket.flush()?;
//!         frames.drain(..).for_each(|frame| socket.release(frame)); // TX had no room for these
//!     }
//!     Ok(())
//! }
//! ```
#![deny(unsafe_code)]

mod adopt;
#[cfg(feature = "create")]
mod bind;
mod bpf_rings;
#[cfg(feature = "create")]
mod busy_poll;
mod counters;
#[cfg(feature = "create")]
#[expect(unsafe_code, reason = "xsk-rs marks making a socket and touching its memory unsafe")]
mod create;
#[cfg(feature = "create")]
mod create_error;
#[cfg(feature = "create")]
mod create_on;
#[cfg(feature = "create")]
mod direct;
mod donation;
mod endpoint;
mod frame;
mod frame_socket;
mod heap_rings;
mod heap_socket;
mod layout;
mod ledger;
mod lent;
#[cfg(feature = "loopback")]
mod loopback;
#[expect(unsafe_code, reason = "maps memory that the kernel, and perhaps another process, shares")]
mod mapping;
#[cfg(feature = "create")]
#[expect(unsafe_code, reason = "gives functions the names by which C calls them")]
mod no_loader;
mod ranges;
mod refusal;
#[cfg(feature = "create")]
mod request;
pub mod ring;
mod ring_endpoint;
mod ring_socket;
mod rings;
#[cfg(feature = "create")]
mod shared;
mod socket;
#[cfg(feature = "create")]
#[expect(unsafe_code, reason = "setsockopt with options that rustix does not know")]
mod sys;
#[expect(unsafe_code, reason = "lends out the bytes of chunks whose token the caller holds")]
mod umem;

#[cfg(test)]
mod tests;

#[cfg(feature = "create")]
pub use busy_poll::{BusyPoll, prefer_busy_poll};
pub use counters::{KernelStatistics, SocketCounters};
#[cfg(feature = "create")]
pub use create::{Created, create};
#[cfg(feature = "create")]
pub use create_error::CreateError;
#[cfg(feature = "create")]
pub use create_on::{CreatedOn, create_on};
pub use donation::{AdoptError, BindMode, Donation, EndpointDonation, RingDonation, RingsDonation};
pub use endpoint::{
    Closed, DeviceState, Endpoint, FlushError, Readiness, RingLevels, SocketError, WaitError, kernel_statistics,
};
pub use frame::{Frame, FrameTooLong};
pub use frame_socket::FrameSocket;
pub use heap_rings::{HeapProgram, HeapRings};
pub use heap_socket::{HeapKernel, HeapSocket};
pub use layout::{
    Layout, LayoutBuilder, LayoutError, MAX_FRAME_SIZE, MAX_FRAMES, MAX_RING_SIZE, MIN_FRAME_SIZE, MIN_FRAMES,
    XDP_PACKET_HEADROOM,
};
pub use ledger::{ChunkCounts, EndpointId, MAX_ENDPOINTS, Owner};
pub use lent::{CONTINUES, LentDescriptor, MAX_PARTS_RECEIVED, MAX_PARTS_SENT, NOWHERE};
#[cfg(feature = "loopback")]
pub use loopback::{Loopback, LoopbackError};
pub use ranges::{RangeRefused, TooManyChunks, chunks_for_fill, chunks_of, ranges_of};
pub use refusal::{DescriptorRefused, Refusals};
#[cfg(feature = "create")]
pub use request::{Attempt, BindRequest, HugePages, QueueId, Request};
pub use ring::{MapRingError, RingBroken, RingLevel, RingName};
pub use ring_endpoint::{RingEndpoint, Woken};
pub use ring_socket::{RingSocket, RingsInUse};
pub use rings::{FrameRefused, TransmitError, Transmitted, TxBatch};
#[cfg(feature = "create")]
pub use shared::{SharedRequest, SharedSocket, create_shared};
pub use socket::{DonateError, Socket};
pub use umem::{ReservedChunks, Umem, UmemMemory};

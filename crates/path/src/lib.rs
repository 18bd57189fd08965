//! The data path of a client: which frames another language has, where it reads and writes their addresses, and when
//! the kernel is notified of what is queued. It knows nothing of that language but two-word descriptors and a few
//! counters in memory that both sides share, and whatever it reads there is input.
//!
//! [`DataPath`] is generic over the [`Rings`] below it and is compiled for each kind; [`SocketPath`] is the one on a
//! socket, with the rings of the kernel or BPF rings. A batch allocates nothing, and no packet causes a system call.
//!
//! | decision | made in |
//! | --- | --- |
//! | when the kernel is notified of frames in TX | `kick.rs` |
//! | which frames are taken back, and in which order a batch is handled | `data_path.rs` |
//! | what is shared with the other language, and where | `slate.rs`, `tables.rs` |
//! | who owns a chunk | below: [`Pool`], for a socket the ledger in `crates/xsk` |
//! | what rings have to offer | `rings.rs` |
//! | how a socket gets to another thread | `registry.rs`, `channel.rs` |
#![forbid(unsafe_code)]

mod channel;
mod data_path;
mod endpoint;
mod kick;
mod path_error;
mod registry;
mod rings;
mod slate;
mod socket_path;
mod tables;
mod words;

pub use channel::{ChannelEnd, channel};
pub use data_path::{Closing, DataPath};
pub use endpoint::QueueEndpoint;
pub use kick::{KICK_AFTER_CALLS, KICK_AFTER_FRAMES, KICK_AFTER_FRAMES_IN_BPF_RINGS};
pub use path_error::PathError;
pub use registry::{Key, Parcel, Registry};
pub use rings::{ChunkCounts, Pool, Rings};
pub use slate::{Slate, Word, layout};
pub use socket_path::{QueueSocket, SocketPath};
pub use tables::NoTable;
pub use words::Words;

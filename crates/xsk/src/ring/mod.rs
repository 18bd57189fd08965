//! One side of a single-producer, single-consumer ring, written once for every place its words may live: the kernel's
//! mapping ([`MappedRing`]), the heap of a unit test, and the atomics of a model checker.
//!
//! The rings mirror the kernel's [`xsk_queue.h`](https://github.com/torvalds/linux/blob/v6.18/net/xdp/xsk_queue.h) and
//! keep its letters:
//!
//! ```text
//! producer                           consumer
//!
//! load.acquire  consumer   (A)       load.acquire  producer   (C)
//! write         entries              read          entries
//! store.release producer   (B)       store.release consumer   (D)
//! ```
//!
//! * **(D) with (A)**: the producer overwrites a slot only after the consumer has finished reading it.
//! * **(B) with (C)**: the consumer reads a slot only after the producer has finished writing it.
//!
//! The kernel makes (A) a control dependency; Rust has none, so here it is an acquire load.
//!
//! A producer of TX or FILL may find that the kernel sleeps, and has to wake it. Each side writes one word and then
//! reads the other's, where neither acquire nor release keeps the order, and where x86 reorders them, too:
//!
//! ```text
//! producer                           kernel, about to sleep
//!
//! store.release producer   (B)       store         need_wakeup
//! fence.seqcst             (E)       (its own barrier)
//! load          need_wakeup          load          producer
//! ```
//!
//! * **(E)**: of an entry and a sleep that cross, at least one side sees the other. Without it the entry waits for the
//!   next system call.
//!
//! Others who have the mapping may write anything into it at any time. Each side therefore reads its own index once,
//! at [`Producer::open`] or [`Consumer::open`], keeps it to itself, and believes the peer's index only if both can
//! belong to one ring ([`published`]). Otherwise the call returns [`RingBroken`] and has touched nothing.
#![deny(clippy::arithmetic_side_effects)]

mod consumer;
mod entry;
pub(crate) mod heap;
#[expect(unsafe_code, reason = "reads and writes the memory that the kernel maps for a ring")]
mod mapped;
mod memory;
mod name;
mod position;
mod producer;

pub use consumer::{Consumer, Taking};
pub(crate) use entry::XDP_PKT_CONTD;
pub use entry::{Address, Descriptor, Entry};
pub use mapped::{MapRingError, MappedRing};
pub use memory::{RingMemory, Word};
pub use name::{RingBroken, RingLevel, RingName};
pub use position::{Position, published};
pub use producer::{Producer, Reservation};

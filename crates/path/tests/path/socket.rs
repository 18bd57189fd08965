//! The rings of an AF_XDP socket.

pub use xsknet_xsk::{HeapKernel, HeapSocket};

#[path = "batches.rs"]
mod batches;
#[path = "forged.rs"]
mod forged;
#[path = "hostile.rs"]
mod hostile;
#[path = "kicks.rs"]
mod kicks;
#[path = "lease.rs"]
mod lease;
#[path = "parts.rs"]
mod parts;
#[path = "plain.rs"]
mod plain;
#[path = "random.rs"]
mod random;
#[path = "sharing.rs"]
mod sharing;

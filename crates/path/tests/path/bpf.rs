//! BPF rings.

pub use xsknet_xsk::{HeapProgram as HeapKernel, HeapRings as HeapSocket};

#[path = "batches.rs"]
mod batches;
#[path = "hostile.rs"]
mod hostile;
#[path = "kicks.rs"]
mod kicks;
#[path = "lease.rs"]
mod lease;
#[path = "plain.rs"]
mod plain;
#[path = "program.rs"]
mod program;
#[path = "random.rs"]
mod random;
#[path = "sharing.rs"]
mod sharing;

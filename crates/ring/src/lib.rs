//! BPF rings: what a client and the programs in the kernel share, and the client's side of it.
//!
//! The uplink's program copies each frame into a chunk of the client's memory; the client sends by running a program of
//! its own, which copies a frame out of that memory, judges the copy and redirects it. There is no socket on the way.
//!
//! A slot goes to the program and comes back by its sequence; what belongs to it is written before:
//!
//! ```text
//! client                                 program
//!
//! write          value                   load           sequence
//! store.release  sequence = 2p + 1 (A)   cmpxchg        position         (a full barrier)
//!                                        read           value
//!                                        write          chunk, value
//! load.acquire   sequence = 2p + 2 (C)   xchg           sequence = 2p + 2   (B)
//! read           value, chunk
//! ```
//!
//! A client that goes to sleep, and a frame that arrives meanwhile: each side writes one word and then reads the
//! other's.
//!
//! ```text
//! client                                 program
//!
//! store          asleep = 1              xchg           sequence = 2p + 2   (B)
//! fence.seqcst                    (D)    load           asleep
//! load           sequence                if set: xchg 0, and ring the bell
//! ```
//!
//! Whatever is read from shared memory is input. Which chunk or address a slot has is therefore remembered here, and no
//! position is ever read: a slot has come back if its sequence says so, else it has not.
#![deny(unsafe_code)]

mod bell;
pub mod layout;
mod memory;
mod program;
mod rx;
#[expect(unsafe_code, reason = "maps memory that the kernel shares, and makes a system call that rustix lacks")]
mod sys;
mod tx;

#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use memory::{InvalidRing, Memory, Word};
pub use program::Program;
pub use rx::RxRing;
pub use sys::{Control, send};
pub use tx::TxRing;

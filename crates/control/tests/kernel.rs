//! Connections, listeners and descriptors against a kernel.

mod common;
mod seqpacket;
mod server;
mod slow_close;

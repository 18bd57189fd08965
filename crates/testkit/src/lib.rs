//! The lab for tests and the demo: namespaces, a wire, a remote host, frames, generators and captures.
#![deny(unsafe_code)]

mod asker;
mod checksum;
mod frames;
mod lab;
mod machine;
mod responder;
mod snapshot;

pub use asker::{Asked, Asker};
pub use checksum::Checksum;
pub use frames::{Arp, Ethernet, numbered, solicited_node_group};
pub use lab::{CARD, FAR, HOST4, HOST6, Lab, REMOTE4, REMOTE6, Wire, device, port_addresses, wait_until};
pub use machine::{Finished, Machine, Running};
pub use responder::{ECHO_PORT, Responder, Served, Serving, send_all};
pub use snapshot::Snapshot;

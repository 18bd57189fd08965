//! The lab for tests, the demo and first steps: namespaces, a wire, a remote host, frames, generators and captures.
#![deny(unsafe_code)]

mod asker;
mod checksum;
mod device;
mod frames;
mod generator;
mod lab;
mod lab_error;
mod lane;
mod machine;
#[expect(unsafe_code, reason = "unshare")]
mod mounts;
mod named;
#[expect(unsafe_code, reason = "packet sockets, which rustix has no addresses for")]
mod packet;
mod responder;
mod snapshot;
#[expect(unsafe_code, reason = "an AF_XDP socket with TX metadata, which xsknet-xsk does not make")]
mod tx_metadata;

pub use asker::{Asked, Asker};
pub use checksum::Checksum;
pub use device::device;
pub use frames::{Arp, Ethernet, numbered, solicited_node_group};
pub use generator::{Arrived, FarSource, Inspector, NUMBER_OFFSET, NumberedFrames, far_socket};
pub use lab::{CARD, FAR, HOST4, HOST6, Lab, REMOTE4, REMOTE6, Wire, port_addresses, wait_until};
pub use lab_error::{Inhabitant, LabError};
pub use machine::{Finished, Machine, Running};
pub use mounts::on_fresh_mounts;
pub use named::{LabName, NamedLab, Raised};
pub use packet::{Captured, Offloaded, PacketSocket};
pub use responder::{ECHO_PORT, Responder, Served, Serving, send_all};
pub use snapshot::Snapshot;
pub use tx_metadata::MetadataSender;

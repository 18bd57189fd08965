//! The BPF programs and their maps, typed: load, attach, pin, count, and run on a test packet.
//!
//! Two objects make the data path. [`Datapath`] is loaded once an uplink: the uplink program, which finds the port that a
//! frame is for, and the guard, which decides what a port may send. [`PortProgram`] is loaded once a port and hands its
//! frames to its socket. [`Injector`], [`LiveGenerator`], [`Sink`] and [`VlanEdge`] are for self-tests and
//! test beds.
//!
//! Nothing here speaks netlink. What sits on a device before an attachment is for the caller to find out; from a program's
//! id, [`describe_program`] tells the rest.
//!
//! The programs need Linux 5.18 (`xdp.frags`, live frames) and, to load and attach, `CAP_BPF`, `CAP_NET_ADMIN` and
//! `CAP_PERFMON`. Whoever holds a program's fd may inject live frames and whoever holds a map's fd may rewrite it, without
//! any capability: no fd leaves this crate, and the pins' folders are made with mode 0700. Whoever is given the pin of one
//! port's map, opens it with [`PinnedSocketMap`].
#![deny(unsafe_code)]

mod attachment;
pub mod bpffs;
pub mod contract;
mod counters;
mod datapath;
mod flow;
mod hint;
mod inject;
mod leftovers;
mod mode;
mod object;
mod pin;
mod pinned_map;
mod port;
mod program;
mod rights;
mod run;
mod sink;
mod socket_watch;
#[expect(unsafe_code, reason = "the bpf() calls that aya does not offer")]
mod sys;
mod tables;
mod tcx;
mod umem_watch;
mod vlan_edge;

#[cfg(test)]
mod tests;

pub use aya::maps::MapError;

pub use attachment::{AttachError, Attachment, Device, PinLinkError};
pub use contract::{Counter, PortId, Vlan};
pub use counters::Counters;
pub use datapath::{Datapath, DatapathOptions};
pub use hint::{errno, remedy};
pub use inject::{Direction, InjectOptions, Injector, LiveGenerator};
pub use leftovers::{empty_socket_map, object_ids, pinned_program, remove_link_pin};
pub use mode::{Attempt, Mode, Obtained, UnknownMode};
pub use object::{LoadError, daemon_objects};
pub use pin::MapShape;
pub use pinned_map::{PinnedMapError, PinnedSocketMap};
pub use port::PortProgram;
pub use program::{ProgramDescription, describe_program};
pub use rights::{Rates, Rights};
pub use run::{RunError, TestResult, Verdict};
pub use sink::{Sink, SinkReport};
pub use socket_watch::{SocketWatch, WatchedSocket, map_exists};
pub use tables::{Claimed, PortEntry, TableError};
pub use tcx::TcxError;
pub use umem_watch::{UmemWatch, WatchedUmem};
pub use vlan_edge::VlanEdge;

/// aya's maps have no `Debug`, and what they hold is not for a log line anyway.
macro_rules! opaque_debug {
    ($($name:ident),+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}
opaque_debug!(Datapath, PinnedSocketMap, PortProgram, Injector, LiveGenerator, Sink, SocketWatch, VlanEdge);

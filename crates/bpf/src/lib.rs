//! The BPF programs and their maps, typed: load, attach, pin, count, and run on a test packet.
//!
//! [`Datapath`] is loaded once per uplink: the uplink program, which finds the port that a frame is for, the guard,
//! which decides what a port may send, and the [`PortProgram`] on the inner ends of its ports' pairs, which hands
//! frames to their sockets. [`Injector`] is for self-tests; what only test beds need is in [`testbed`].
//!
//! Nothing here uses netlink. The caller finds out which program is on a device before an attachment; from its id,
//! [`describe_program`] gives the rest.
//!
//! The programs need Linux 5.18 (`xdp.frags`, live frames) and, to load and attach, `CAP_BPF`, `CAP_NET_ADMIN` and
//! `CAP_PERFMON`. A process that holds a program's fd can inject live frames, and one that holds a map's fd can rewrite
//! it, without any capability: no fd leaves this crate but those of a queue with BPF rings, for its client, and the
//! pins' folders are made with mode 0700. A process that is given the pin of one port's map opens it with
//! [`PinnedSocketMap`].
#![deny(unsafe_code)]

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

mod attachment;
pub mod bpffs;
pub mod contract;
mod counters;
mod datapath;
mod explain;
mod flow_index;
mod flow_kind;
mod flows;
mod groups;
mod hint;
mod inject;
mod leftovers;
mod link_guard;
mod load_error;
mod map_shape;
mod mode;
mod object;
mod pin;
mod pinned_map;
mod port;
mod program;
mod queue;
mod refusals;
mod rights;
mod ring_program;
mod rings;
mod run;
mod socket_watch;
#[expect(unsafe_code, reason = "the bpf() calls that aya does not offer")]
mod sys;
mod table_error;
mod tables;
mod taps;
pub mod testbed;
mod umem_watch;

#[cfg(test)]
mod tests;

pub use aya::maps::MapError;
pub use xsknet_filter::{Flow, FlowError, PortRange, Prefix};

pub use attachment::{AttachError, Attachment, Device, PinLinkError};
pub use contract::{Counter, PortId, Rule, Vlan};
pub use counters::Counters;
pub use datapath::{CopyError, Datapath, DatapathOptions, RingsError};
pub use explain::{Destination, ExplainError, Explanation, FrameVlan, LimitedKind, Step, Tagging};
pub use flows::FlowsError;
pub use groups::{Group, GroupsError};
pub use hint::{errno, remedy};
pub use inject::Injector;
pub use leftovers::{empty_socket_map, maps_reached_from, object_ids, pinned_program, remove_link_pin};
pub use link_guard::{LinkGuardError, guard_links, unguard_links};
pub use load_error::LoadError;
pub use map_shape::MapShape;
pub use mode::{Attempt, Mode, Obtained, TcSide, UnknownMode};
pub use object::daemon_objects;
pub use pinned_map::{PinnedMapError, PinnedSocketMap};
pub use port::{InnerEnd, PortProgram};
pub use program::{ProgramDescription, describe_program};
pub use refusals::Refusal;
pub use rights::{Rate, Rates, Rights};
pub use ring_program::RingProgram;
pub use rings::{RingCounters, RingMaps, RingRange, RingsEntry};
pub use run::{RunError, TestResult, Verdict};
pub use socket_watch::{SocketWatch, WatchedSocket, map_exists};
pub use table_error::{Claimed, TableError};
pub use tables::{LastCounters, PortEntry};
pub use taps::{Tap, TapError};
pub use umem_watch::{UmemWatch, WatchedUmem};

opaque_debug!(Datapath, InnerEnd, PinnedSocketMap, PortProgram, RingProgram, Injector, SocketWatch);

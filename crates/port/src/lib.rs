//! Uplinks and ports: composes sockets, programs and devices, keeps the journal, and undoes what it did.
//!
//! An [`Instance`] is one process's hold on the host. It makes a NIC an [`Uplink`]; a [`Port`] of an uplink is a veth
//! pair with a guard at its outer end and an AF_XDP socket at its inner end. Handing the socket over leaves a
//! [`BrokeredPort`]; a [`PinnedPort`] has its inner end in the namespace of its client, which makes the socket itself.
//! Everything blocks, and nothing here is on the path of a packet: frames go through the port's socket.
//!
//! The layers. A file imports from its own and from those above it, and never in a circle:
//! - `ids`, `info`, `attempt`, `statistics`, `explained`, `loss`: what ports and uplinks are, what they count and
//!   decide, how they are lost
//! - `paths`, `lock`, `mac`, `journal`, `observer`, `ability`, `error`, `mounts`: what outlives a process; how it fails
//! - `admission`, `mtu`, `spec`, `flow_texts`, `group_texts`, `claims`, `filters`, `repair`, `arp_nd`, `delivery`:
//!   rules that ask the kernel nothing
//! - `namespace`, `pins`, `bpffs_mount`, `host_sockets`, `placeholders`, `client_end`, `lingering`, `driver_losses`,
//!   `context`: what the uplinks of an instance share, and the one way to change the host and to undo it
//! - `nic`, `offloads`, `vlans`, `conflict_check`: a NIC by itself, what it lets in, whether a neighbour has an address
//! - `plan`, `datapath`, `kernel_port`, `build`: a port that is possible, what the kernel has of it, how that is made
//! - `groups`, `taps`, `uplink_state`, `receive_filters`, `copiers`, `upkeep`: a NIC with its ports, and what is done
//!   again when others undid it
//! - `selftest`, `flow_claims`, `group_changes`, `tap_changes`, `open_port`: the proof that a port works; its flows and
//!   groups, and taps; opening and closing, which all kinds of ports share
//! - `brokered`, `port`, `pinned`, `uplink`, `watch`: the handles of an uplink
//! - `leftovers`, `instance`: what an instance finds on the host, makes there, and leaves as it was
//! - `port_table`, `service`: what a daemon keeps of an instance
//!
//! ```no_run
//! use std::time::Duration;
//! use xsknet_bpf::Mode;
//! use xsknet_port::{Instance, InstanceOptions, PortSpec, UplinkOptions};
//! use xsknet_xsk::Readiness;
//!
//! let instance = Instance::open(InstanceOptions::default())?;
//! let uplink = instance.manage(&UplinkOptions { device: "eth0".parse()?, mode: Mode::Unspecified })?;
//! let mut port = uplink.open_port(PortSpec::new(["192.0.2.10".parse()?, "2001:db8::10".parse()?]))?;
//!
//! let mut frames = Vec::new();
//! while port.socket().wait(Duration::from_secs(1))? != Readiness::DeviceGone {
//!     port.socket().receive(64, &mut frames)?;
//!     for frame in frames.drain(..) {
//!         println!("{} bytes", port.socket().bytes(&frame).len());
//!         port.socket().release(frame); // or `transmit` and `flush`: out of the NIC
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Closing (or dropping) the port, the uplink and the instance gives the host back as it was: devices, offloads,
//! filters, mounts, pins. So does the next start after a crash.
#![deny(unsafe_code)]

mod ability;
mod admission;
mod arp_nd;
mod attempt;
mod bpffs_mount;
mod brokered;
mod build;
mod claims;
mod client_end;
mod conflict_check;
mod context;
mod copiers;
mod datapath;
mod delivery;
mod driver_losses;
mod error;
mod explained;
mod filters;
mod flow_claims;
mod flow_texts;
mod group_changes;
mod group_texts;
mod groups;
mod guard_mode;
mod host_sockets;
mod ids;
mod info;
mod inner_program;
mod instance;
mod journal;
mod kernel_port;
mod leftovers;
mod lingering;
mod lock;
mod loss;
mod mac;
mod mounts;
mod mtu;
mod namespace;
mod nic;
mod observer;
mod offloads;
mod open_port;
mod paths;
mod pinned;
mod pins;
mod placeholders;
mod plan;
mod port;
mod port_table;
mod receive_filters;
mod repair;
mod ring_port;
mod rings;
mod selftest;
mod service;
mod spec;
mod statistics;
mod tap_changes;
mod taps;
mod upkeep;
mod uplink;
mod uplink_state;
mod vlans;
mod watch;

pub use ability::Ability;
pub use attempt::Attempt;
pub use brokered::{BrokeredPort, SharedUmem};
pub use error::{
    CloseError, FlowClaimError, GroupError, ManageError, OpenError, OpenPortError, ShareError, StepError, TapRefused,
};
pub use explained::Explained;
pub use flow_claims::FlowChange;
pub use flow_texts::{MAX_PORT_FLOWS, flows_outside, parse_flows};
pub use group_changes::GroupChange;
pub use group_texts::{MAX_PORT_GROUPS, parse_groups};
pub use ids::PortKey;
pub use info::{NicState, PortInfo, QueuePair, RingKind, UplinkInfo};
pub use instance::{Instance, InstanceOptions, sweep_dead};
pub use journal::{Change, JournalError};
pub use leftovers::{any_here, sweep_dead_here};
pub use loss::Loss;
pub use mac::SecretError;
pub use mtu::{MIN_MTU, MtuLimit, fits_frames, for_mtu};
pub use observer::{Observer, Step};
pub use paths::{InstanceName, InstanceNameError, PRIVATE_PREFIX, PinPath, Places};
pub use pinned::{Client, Pin, PinnedPort};
pub use port::{HandOverError, Port};
pub use ring_port::{HandedOver, WithRings};
pub use service::{OnLoss, OnNotice, Service, ServiceError};
pub use spec::{
    CLIENT_RING_SIZE, FRAMES_PER_SLOT, LayoutSpec, MAX_NAME_LENGTH, PortKind, PortSpec, RingsWish, TapWish,
    parse_addresses,
};
pub use statistics::{Equality, PortStatistics, UplinkStatistics};
pub use uplink::{Uplink, UplinkOptions};
pub use watch::{Notice, Watch};
pub use xsknet_bpf::{Group, Rate, Rates, Refusal, Rights, Tap};

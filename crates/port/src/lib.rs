//! Uplinks and ports: composes sockets, programs and devices, keeps the journal, and undoes what it did.
//!
//! An [`Instance`] is one process's hold on the host. It makes cards [`Uplink`]s; a [`Port`] of an uplink is a veth pair
//! with a guard at its outer end and an AF_XDP socket at its inner end. Handing the socket over to somebody else leaves a
//! [`BrokeredPort`]; a [`PinnedPort`] has its inner end in the client's namespace, who makes the socket himself. Everything blocks, and nothing here is on the path of a packet: frames go through the port's socket.
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
//!         port.socket().release(frame); // or `transmit` and `flush`: out of the card
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Closing (or dropping) the port, the uplink and the instance gives the host back as it was: devices, offloads, filters,
//! mounts, pins. So does the next start after a crash.
#![deny(unsafe_code)]

mod ability;
mod admission;
mod arp_nd;
mod attempt;
mod brokered;
mod build;
mod claims;
mod client_end;
mod conflict_check;
mod context;
mod datapath;
mod delivery;
mod driver_losses;
mod error;
mod filters;
mod ids;
mod info;
mod instance;
mod journal;
mod kernel_port;
mod lingering;
mod lock;
mod loss;
mod mac;
mod mounts;
mod mtu;
mod namespace;
mod nic;
mod offloads;
mod open_port;
mod paths;
mod pinned;
mod pins;
mod plan;
mod port;
mod port_table;
mod receive_filters;
mod repair;
mod selftest;
mod service;
mod spec;
mod statistics;
mod upkeep;
mod uplink;
mod uplink_state;
mod vlans;
mod watch;

pub use ability::Ability;
pub use attempt::Attempt;
pub use brokered::{BrokeredPort, SharedUmem};
pub use context::{Observer, Step};
pub use error::{CloseError, ManageError, OpenError, OpenPortError, ShareError, StepError};
pub use ids::PortKey;
pub use info::{NicState, PortInfo, QueuePair, UplinkInfo};
pub use instance::{Instance, InstanceOptions, any_here, sweep_dead, sweep_dead_here};
pub use journal::{Change, JournalError};
pub use loss::Loss;
pub use mac::SecretError;
pub use mtu::{MtuLimit, fits_frames, for_mtu};
pub use paths::{InstanceName, InstanceNameError, PRIVATE_PREFIX, PinPath, Places};
pub use pinned::{Client, Pin, PinnedPort};
pub use port::{HandOverError, Port};
pub use service::{OnLoss, OnNotice, Service, ServiceError};
pub use spec::{CLIENT_RING_SIZE, LayoutSpec, PortKind, PortSpec, parse_addresses};
pub use statistics::{Equality, PortStatistics, UplinkStatistics};
pub use uplink::{Uplink, UplinkOptions};
pub use watch::{Notice, Watch};
pub use xsknet_bpf::{Rates, Rights};

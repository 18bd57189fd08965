//! Uplinks and ports: composes sockets, programs and devices, keeps the journal, and undoes what it did.
//!
//! An [`Instance`] is one process's hold on the host. It makes cards [`Uplink`]s; a [`Port`] of an uplink is a veth pair
//! with a guard at its outer end and an AF_XDP socket at its inner end. Handing the socket over to somebody else leaves a
//! [`BrokeredPort`]. Everything blocks, and nothing here is on the path of a packet: frames go through the port's socket.
#![deny(unsafe_code)]

mod ability;
mod error;
mod filters;
mod ground;
mod instance;
mod journal;
mod lock;
mod mounts;
mod names;
mod pins;
mod plan;
mod port;
mod room;
mod selftest;
mod statistics;
mod tried;
mod uplink;
mod watch;

pub use ability::Ability;
pub use error::{CloseError, HandOverError, ManageError, OpenError, OpenPortError, StepError};
pub use ground::{Observer, Step};
pub use instance::{Instance, InstanceOptions, sweep_dead};
pub use journal::{Change, JournalError};
pub use names::{InstanceName, InstanceNameError, PinPath, Places};
pub use port::{BrokeredPort, Port, PortInfo, PortKey, PortOptions};
pub use statistics::{Equality, PortStatistics, UplinkStatistics};
pub use tried::Tried;
pub use uplink::{Uplink, UplinkInfo, UplinkOptions};
pub use watch::{Loss, Watch};

/// The first program of the README must compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

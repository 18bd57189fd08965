//! Network devices of one namespace: veth pairs, addresses, filters, offloads, XDP features and statistics.
//!
//! Everything here is blocking and speaks to the kernel directly: rtnetlink and the `netdev` generic family through
//! [`Links`], the ethtool ioctl through [`Ethtool`]. Such a handle belongs to the namespace of the thread that made it
//! and stays there, so it may be used from any thread afterwards.
//!
//! ```no_run
//! use xsknet_link::{End, Links, Netns, VethPair};
//!
//! let inside = Netns::create()?;
//! let host = Links::here()?;
//! let pair = host.add_veth(&VethPair::new(End::new("p0".parse()?), End::new("p0i".parse()?).inside(&inside)))?;
//! host.set_up(pair.outer)?;
//! Links::in_namespace(&inside)?.set_up(pair.inner)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod address;
mod coalescing;
mod device;
mod device_name;
mod drops;
mod ethtool;
mod features;
mod filter;
mod generic;
mod link_error;
mod links;
mod mac_addr;
mod membership;
mod monitor;
mod neighbour;
mod netlink;
mod netns;
mod packet;
mod quiet;
#[expect(unsafe_code, reason = "unshare, packet sockets, some ioctls and the memory that one of them writes to")]
mod sys;
mod veth;
mod vlan;
mod xdp_features;

pub use device::{AttachedXdp, AttachedXdpMode, Device, LinkStats, VlanOf};
pub use device_name::{DeviceName, IfIndex, InvalidDeviceName};
pub use drops::{DropReader, Drops};
pub use ethtool::{Ethtool, Statistics};
pub use features::{Feature, FeatureChange, FeatureSet, Names, Offload, OffloadError};
pub use filter::FilterAnswer;
pub use link_error::{DeviceRef, LinkError};
pub use links::Links;
pub use mac_addr::{InvalidMacAddr, MacAddr};
pub use membership::{Membership, Promiscuity};
pub use monitor::{LinkEvent, Monitor};
pub use netns::{Netns, NetnsError, NetnsId};
pub use packet::{Heard, PacketSocket};
pub use quiet::{Ipv6Before, QuietError, Quieted, disable_ipv6, quiet};
pub use veth::{End, VethIndexes, VethPair};
pub use xdp_features::XdpFeatures;

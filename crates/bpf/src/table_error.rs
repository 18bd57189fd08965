//! Why a change of the tables fails.

use std::fmt;
use std::net::IpAddr;

use aya::maps::MapError;

use crate::contract::{MAX_ADDRESSES, MAX_PORT_QUEUE_PAIRS, MAX_PORTS, MAX_QUEUE_PAIRS, MAX_RINGS, PortId, Vlan};

/// What a port has for itself on its uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// A port id.
    Id(PortId),
    /// The ifindex of an outer end.
    Outer(u32),
    /// A MAC, within a VLAN.
    Mac([u8; 6]),
    /// An address, within a VLAN.
    Address(IpAddr),
}

impl fmt::Display for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "the port id {id}"),
            Self::Outer(ifindex) => write!(f, "the outer end with ifindex {ifindex}"),
            Self::Mac([a, b, c, d, e, g]) => write!(f, "the MAC {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
            Self::Address(address) => write!(f, "the address {address}"),
        }
    }
}

/// How a change of the tables fails. A port that could not be entered whole is not entered at all.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Another port has it.
    #[error("{claimed} ({vlan}) belongs to another port of this uplink")]
    Taken {
        /// What.
        claimed: Claimed,
        /// In which VLAN.
        vlan: Vlan,
    },
    /// No port can have it: a group or empty MAC, an unspecified, broadcast or multicast address.
    #[error("no port can have {claimed}: it is not a unicast address")]
    NotUnicast {
        /// What.
        claimed: Claimed,
    },
    /// A port has at least one queue pair, and no more than the programs choose among.
    #[error("a port cannot have {queue_pairs} queue pairs")]
    QueuePairs {
        /// As given.
        queue_pairs: usize,
    },
    /// No such device in the network namespace of the calling thread.
    #[error("there is no device with ifindex {ifindex} to redirect frames to")]
    DeviceMissing {
        /// As given.
        ifindex: u32,
    },
    /// The table holds as much as it can.
    #[error("the table {table} is full")]
    Full {
        /// Its name.
        table: &'static str,
    },
    /// The kernel refused.
    #[error("could not change the table {table}")]
    Refused {
        /// Its name.
        table: &'static str,
        /// What aya says; the errno is in its source.
        #[source]
        cause: MapError,
    },
}

/// The kernel's word in an error of aya's.
pub(crate) fn errno(cause: &MapError) -> Option<i32> {
    match cause {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

impl TableError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Taken { .. } => Some("close the other port first, or choose another address".into()),
            Self::Full { .. } => Some(format!(
                "an uplink takes {MAX_PORTS} ports, {MAX_QUEUE_PAIRS} queues of all its ports together, of which \
                 {MAX_RINGS} have BPF rings, and {MAX_ADDRESSES} addresses of one IP version"
            )),
            Self::QueuePairs { .. } => Some(format!("a port has 1 to {MAX_PORT_QUEUE_PAIRS} queue pairs")),
            Self::NotUnicast { .. } | Self::DeviceMissing { .. } | Self::Refused { .. } => None,
        }
    }
}

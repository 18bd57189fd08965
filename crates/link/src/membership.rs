//! What a device receives beside its own unicast, as the kernel has it for its sockets: multicast groups, everything.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use crate::{IfIndex, sys};

/// A device's membership of an IPv4 or IPv6 group, which ends with this value and with the process. Meanwhile the
/// kernel tells the switches (IGMP, MLD), and answers their queries.
#[derive(Debug)]
pub struct Membership {
    /// Bound to no port, so no packet comes to it.
    _socket: OwnedFd,
}

impl Membership {
    /// Joins a group with a device of the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel's: ENODEV where the device has no IP of this version, ENOBUFS where it has too many groups.
    pub fn join(index: IfIndex, group: IpAddr) -> io::Result<Self> {
        let family = if group.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        match group {
            IpAddr::V4(group) => {
                let any = Ipv4Addr::UNSPECIFIED;
                sockopt::set_ip_add_membership_with_ifindex(&socket, &group, &any, index.get())?;
            }
            IpAddr::V6(group) => sockopt::set_ipv6_add_membership(&socket, &group, index.get())?,
        }
        Ok(Self { _socket: socket })
    }
}

/// A device receives the frames for all stations, which ends with this value and with the process. The kernel counts
/// its users: what others have switched on stays on.
#[derive(Debug)]
pub struct Promiscuity {
    _socket: OwnedFd,
}

impl Promiscuity {
    /// Switches it on at a device of the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel's: EPERM without CAP_NET_RAW, ENODEV where the device does not exist.
    pub fn switch_on(index: IfIndex) -> io::Result<Self> {
        Ok(Self { _socket: sys::promiscuous_socket(index.get())? })
    }
}

//! The kernel's notifications of changes to the devices of a namespace.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::NetlinkBuffer;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::address::address_of;
use crate::{IfIndex, LinkError, Netns};

const RTM_NEWADDR: u16 = libc::RTM_NEWADDR;
const RTM_NEWLINK: u16 = libc::RTM_NEWLINK;
const RTM_DELLINK: u16 = libc::RTM_DELLINK;
const KERNEL: u32 = 0;

/// A change to the devices of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The namespace has this device no longer: deleted, or moved to another one.
    Deleted(IfIndex),
    /// A device was made, or something about it changed. This is how it was then.
    Changed {
        /// Which.
        index: IfIndex,
        /// Switched on (`IFF_UP`).
        up: bool,
        /// It has a carrier (`IFF_LOWER_UP`).
        lower_up: bool,
    },
    /// A device got this address, or something about it changed. Only for subscribers to addresses.
    Address(IpAddr),
    /// More happened than the kernel kept for us (ENOBUFS): look at every device again.
    Overrun,
}

/// A subscription to the devices of one namespace, from the moment it is made.
pub struct Monitor {
    socket: Socket,
    read: VecDeque<LinkEvent>,
}

impl Monitor {
    /// The devices of the calling thread's namespace.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if the kernel gives no subscription.
    pub fn here() -> Result<Self, LinkError> {
        Self::of(&[libc::RTNLGRP_LINK])
    }

    fn of(groups: &[u32]) -> Result<Self, LinkError> {
        let subscribe = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in groups {
                socket.add_membership(*group)?;
            }
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let unreachable = |cause| LinkError::Unreachable { what: "watch the devices", cause };
        Ok(Self { socket: subscribe().map_err(unreachable)?, read: VecDeque::new() })
    }

    /// The devices of another namespace.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if it may not be entered, or gives no subscription.
    pub fn in_namespace(netns: &Netns) -> Result<Self, LinkError> {
        netns.run(Self::here).map_err(|cause| LinkError::Unreachable { what: "watch the devices", cause })?
    }

    /// The devices of another namespace, and the addresses that they get.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] if it may not be entered, or gives no subscription.
    pub fn with_addresses(netns: &Netns) -> Result<Self, LinkError> {
        let groups = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
        let made = netns.run(|| Self::of(&groups));
        made.map_err(|cause| LinkError::Unreachable { what: "watch the devices", cause })?
    }

    /// Waits for the next event, `timeout` at most; `None` if nothing happened until then.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`].
    pub fn next(&mut self, timeout: Duration) -> Result<Option<LinkEvent>, LinkError> {
        self.wait(timeout).map_err(|cause| LinkError::Unreachable { what: "watch the devices", cause })
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<Option<LinkEvent>> {
        let begun = Instant::now();
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(Some(event));
            }
            match self.socket.recv_from_full() {
                // Any process may send to a netlink socket whose port it knows.
                Ok((datagram, sender)) if sender.port_number() == KERNEL => self.read.extend(events(&datagram)),
                Ok(_) => {}
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::NOBUFS) => return Ok(Some(LinkEvent::Overrun)),
                    Some(Errno::AGAIN) => {
                        let left = timeout.saturating_sub(begun.elapsed());
                        if left.is_zero() {
                            return Ok(None);
                        }
                        self.wait_readable(left)?;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    fn wait_readable(&self, timeout: Duration) -> io::Result<()> {
        // Longer than the kernel can count: wait forever.
        let timeout = Timespec::try_from(timeout).ok();
        match poll(&mut [PollFd::new(self, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The events in what the kernel sent; others' messages, and what is cut short, are passed over.
fn events(datagram: &[u8]) -> impl Iterator<Item = LinkEvent> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
        Some(event(message.message_type(), message.payload()))
    })
    .flatten()
}

/// What one message says, if it is about a device or its address.
fn event(kind: u16, payload: &[u8]) -> Option<LinkEvent> {
    if kind == RTM_NEWADDR {
        return address_of(payload).map(|(_, (address, _))| LinkEvent::Address(address));
    }
    // A bridge reports its ports in messages of its own family, and says "deleted" of one that merely leaves it.
    let header = LinkHeader::parse(payload).ok().filter(|header| header.interface_family == AddressFamily::Unspec)?;
    let index = IfIndex::new(header.index)?;
    match kind {
        RTM_DELLINK => Some(LinkEvent::Deleted(index)),
        RTM_NEWLINK => Some(LinkEvent::Changed {
            index,
            up: header.flags.contains(LinkFlags::Up),
            lower_up: header.flags.contains(LinkFlags::LowerUp),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with a `struct ifinfomsg` alone, as bytes.
    fn message(kind: u16, family: u8, index: i32, flags: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(32_u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([family, 0, 0, 0]);
        bytes.extend(index.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn a_bridge_that_loses_a_port_has_deleted_no_device() {
        let index = IfIndex::new(7).unwrap();
        let bridge = libc::AF_BRIDGE as u8;
        let datagram = [
            message(RTM_DELLINK, bridge, 7, 0),
            message(RTM_NEWLINK, 0, 7, libc::IFF_UP as u32),
            message(libc::RTM_NEWADDR, 0, 7, 0),
            message(RTM_DELLINK, 0, 7, 0),
        ];
        let seen: Vec<_> = events(&datagram.concat()).collect();
        assert_eq!(seen, [LinkEvent::Changed { index, up: true, lower_up: false }, LinkEvent::Deleted(index)]);
    }

    #[test]
    fn a_datagram_cut_anywhere_yields_no_more_than_its_whole_messages() {
        let whole = [message(RTM_NEWLINK, 0, 1, 0), message(RTM_DELLINK, 0, 2, 0)].concat();
        for length in 0..whole.len() {
            assert_eq!(events(&whole[..length]).count(), length / 32, "{length} bytes");
        }
    }
}

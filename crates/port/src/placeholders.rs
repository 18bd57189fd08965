//! Ports of the host whose packets go to a flow, kept from the host's programs: a socket is bound to each. It neither
//! listens nor is read, and it goes with this process at the latest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use xsknet_filter::Flow;

use crate::host_sockets::{TCP, UDP};
use crate::ids::PortKey;

/// The most sockets of an instance: they are descriptors of the daemon.
pub(crate) const MAX_PLACEHOLDERS: usize = 256;

/// An address and a port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) protocol: u8,
    pub(crate) address: SocketAddr,
}

/// Why a place is not kept.
#[derive(Debug)]
pub(crate) enum NotKept {
    /// A program of the host has it.
    Taken(Place),
    /// There are as many as there may be.
    TooMany,
    Kernel(io::Error),
}

/// All of an instance.
#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    sockets: BTreeMap<Place, OwnedFd>,
    wanted: BTreeMap<PortKey, BTreeSet<Place>>,
}

/// The places of which a flow takes all packets. `own` are the host's addresses, `nic` those of the uplink: a flow that
/// names no single address is about these alone.
pub(crate) fn places_of(flow: &Flow, own: &[IpAddr], nic: &[IpAddr]) -> Vec<Place> {
    let (Some(protocol @ (TCP | UDP)), Some(ports)) = (flow.protocol, flow.destination_ports) else {
        return Vec::new();
    };
    let takes_part = Flow { destination: None, protocol: None, destination_ports: None, ethertype: None, ..*flow };
    let is_one = ports.is_one() && ports.first() != 0;
    if !is_one || takes_part != (Flow { vlan: flow.vlan.filter(|vlan| *vlan == 0), ..Flow::default() }) {
        return Vec::new();
    }
    let addresses = if flow.destination.is_some_and(|prefix| prefix.is_host()) { own } else { nic };
    // A link-local address is good on one device only, and a socket would have to name it.
    let is_bindable = |address: IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && flow.ethertype.is_none_or(|ethertype| ethertype == 0x0800),
        IpAddr::V6(v6) => {
            !v6.is_loopback()
                && !v6.is_unicast_link_local()
                && flow.ethertype.is_none_or(|ethertype| ethertype == 0x86dd)
        }
    };
    let taken = |address: &IpAddr| flow.destination.is_none_or(|prefix| prefix.contains(*address));
    let addresses = addresses.iter().copied().filter(|address| is_bindable(*address)).filter(taken);
    addresses.map(|address| Place { protocol, address: SocketAddr::new(address, ports.first()) }).collect()
}

impl Placeholders {
    /// Keeps these places for a port, in the place of all that were kept for it. Of those in `must` each is kept, or
    /// none of it changes; what another one cannot have is left out. The thread is in the host's namespace.
    pub(crate) fn keep(
        &mut self,
        port: PortKey,
        wanted: BTreeSet<Place>,
        must: &BTreeSet<Place>,
    ) -> Result<(), NotKept> {
        let mut made = BTreeMap::new();
        for place in wanted.iter().filter(|place| !self.sockets.contains_key(place)) {
            let kept = match self.sockets.len() + made.len() {
                MAX_PLACEHOLDERS.. => Err(NotKept::TooMany),
                _ => hold(*place),
            };
            match kept {
                Ok(Some(socket)) => {
                    made.insert(*place, socket);
                }
                Err(error) if must.contains(place) => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        self.sockets.append(&mut made);
        self.wanted.insert(port, wanted);
        self.drop_unwanted();
        Ok(())
    }

    /// Gives the host all places of a port back.
    pub(crate) fn free(&mut self, port: PortKey) {
        if self.wanted.remove(&port).is_some() {
            self.drop_unwanted();
        }
    }

    fn drop_unwanted(&mut self) {
        let Self { sockets, wanted } = self;
        sockets.retain(|place, _| wanted.values().any(|places| places.contains(place)));
    }

    /// The numbers by which the kernel lists them.
    pub(crate) fn inodes(&self) -> BTreeSet<u64> {
        self.sockets.values().filter_map(|socket| rustix::fs::fstat(socket).ok()).map(|stat| stat.st_ino).collect()
    }
}

/// A socket bound to it; `None` where the host does not have the address (any more), or not yet.
fn hold(Place { protocol, address }: Place) -> Result<Option<OwnedFd>, NotKept> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if protocol == TCP { SocketType::STREAM } else { SocketType::DGRAM };
    let refused = |errno: Errno| NotKept::Kernel(errno.into());
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(refused)?;
    // What comes in by another device is never read: the kernel is to keep as little of it as it can.
    sockopt::set_socket_recv_buffer_size(socket.as_fd(), 0).map_err(refused)?;
    match bind(&socket, &address) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::ADDRNOTAVAIL) => Ok(None),
        Err(Errno::ADDRINUSE) => Err(NotKept::Taken(Place { protocol, address })),
        Err(errno) => Err(refused(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_a_flow_are_those_of_which_it_takes_everything() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let nic = [ip("192.0.2.1"), ip("2001:db8::1"), ip("fe80::1")];
        let own = [nic.as_slice(), &[ip("127.0.0.1"), ip("10.0.0.1")]].concat();
        let places = |text: &str| -> Vec<String> {
            let flows = text.parse::<xsknet_filter::Expression>().unwrap().flows().unwrap();
            let [flow] = flows[..] else { panic!("{text}") };
            places_of(&flow, &own, &nic).iter().map(|place| format!("{} {}", place.protocol, place.address)).collect()
        };
        assert_eq!(places("udp dst port 53"), ["17 192.0.2.1:53", "17 [2001:db8::1]:53"]);
        assert_eq!(places("tcp dst port 80 and dst host 192.0.2.1"), ["6 192.0.2.1:80"]);
        assert_eq!(places("tcp dst port 80 and dst host 10.0.0.1"), ["6 10.0.0.1:80"]);
        assert_eq!(places("ip and udp dst port 53 and not vlan"), ["17 192.0.2.1:53"]);
        for none in [
            "udp",
            "udp dst portrange 53-54",
            "udp dst port 53 and src net 10.0.0.0/8",
            "vlan 5 and udp dst port 53",
            "sctp dst port 53",
            "udp dst port 53 and dst host 192.0.2.9",
            "udp dst port 0",
        ] {
            assert_eq!(places(none), [""; 0], "{none}");
        }
        assert_eq!(places("udp src port 53 and udp dst port 53"), [""; 0]);
    }

    #[test]
    fn a_place_is_kept_as_long_as_a_port_wants_it() {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let place = Place { protocol: UDP, address: free };
        let (mut all, set) = (Placeholders::default(), BTreeSet::from([place]));
        for key in [1, 2] {
            all.keep(PortKey::new(key), set.clone(), &set).unwrap();
        }
        assert_eq!(all.inodes().len(), 1);
        assert_eq!(std::net::UdpSocket::bind(free).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        all.free(PortKey::new(1));
        assert!(std::net::UdpSocket::bind(free).is_err());
        all.keep(PortKey::new(2), BTreeSet::new(), &BTreeSet::new()).unwrap();
        let program = std::net::UdpSocket::bind(free).expect("the place is free again");
        let refused = all.keep(PortKey::new(1), set.clone(), &set);
        assert!(matches!(refused, Err(NotKept::Taken(taken)) if taken == place), "{refused:?}");
        all.keep(PortKey::new(1), set, &BTreeSet::new()).expect("it need not be kept");
        assert_eq!(all.inodes().len(), 0);
        drop(program);
    }
}

//! What uplinks and ports are: what became of their options, and what others may change about a NIC.

use std::collections::BTreeSet;
use std::net::IpAddr;

use xsknet_bpf::{Group, Obtained, PortId};
use xsknet_link::{Device, DeviceName, IfIndex, MacAddr, XdpFeatures};
use xsknet_xsk::BindMode;

use crate::attempt::Attempt;
use crate::ids::PortKey;

/// What of a NIC others may change at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicState {
    /// Its name. An uplink goes by the one that it had when it was managed.
    pub name: DeviceName,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
    /// It has a carrier.
    pub carrier: bool,
}

impl NicState {
    /// Whether frames can be sent: `"up"`, `"no-carrier"` or `"down"`.
    pub fn link(&self) -> &'static str {
        match (self.up, self.carrier) {
            (false, _) => "down",
            (true, false) => "no-carrier",
            (true, true) => "up",
        }
    }

    /// `None`: it is not an Ethernet device any more.
    pub(crate) fn of(device: &Device) -> Option<Self> {
        let Device { name, mac, mtu, up, lower_up, .. } = device;
        Some(Self { name: name.clone(), mac: (*mac)?, mtu: *mtu, up: *up, carrier: *lower_up })
    }
}

/// An uplink, as it was when it was managed.
#[derive(Debug, Clone)]
pub struct UplinkInfo {
    /// The NIC, by the name that it had when it became an uplink.
    pub device: DeviceName,
    /// Its number.
    pub index: IfIndex,
    /// Its MAC at that time: the names of ports are other MACs on another NIC.
    pub mac: MacAddr,
    /// The mode that the kernel granted.
    pub mode: Obtained,
    /// What was attempted on the way.
    pub attempts: Vec<Attempt>,
    /// XDP features of the NIC before a program was attached; `None` where the kernel does not tell (before 6.3).
    pub features_before: Option<XdpFeatures>,
    /// The same afterwards: some drivers show them only then.
    pub features_after: Option<XdpFeatures>,
}

/// An open port: what became of its spec.
#[derive(Debug, Clone)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its number in the instance's life, counted from 1: no two ports ever have the same.
    pub key: PortKey,
    /// Its number on the uplink, the key of its slot in the DEVMAP: given out again once the port is closed.
    pub id: PortId,
    /// The MAC that it receives at and sends from: its own, or without addresses that of its uplink when it was opened.
    pub mac: MacAddr,
    /// Its addresses; with an IPv6 address among them, the link-local one comes last.
    pub addresses: Vec<IpAddr>,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// The device at its outer end, among the host's: of its first queue.
    pub outer: DeviceName,
    /// The device at its inner end, in the instance's namespace, or in the client's of a pinned port: of its first
    /// queue.
    pub inner: DeviceName,
    /// The queue pair of each queue, in their order.
    pub queue_pairs: Vec<QueuePair>,
    /// Where its guard runs.
    pub guard_mode: Obtained,
    /// Where the program at its inner end runs.
    pub port_mode: Obtained,
    /// What its frames go through.
    pub rings: RingKind,
    /// The groups that it joined when it was opened.
    pub groups: BTreeSet<Group>,
    /// How its first socket is bound; `None` where its client makes it.
    pub bind_mode: Option<BindMode>,
    /// What was attempted on the way.
    pub attempts: Vec<Attempt>,
}

/// What the frames of a port go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingKind {
    /// The rings of AF_XDP sockets.
    Xsk,
    /// BPF rings.
    Bpf,
}

impl RingKind {
    /// The name by which other languages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xsk => "xsk",
            Self::Bpf => "bpf",
        }
    }
}

/// The devices of one of a port's queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePair {
    /// Among the host's.
    pub outer: DeviceName,
    /// In the instance's namespace, or in the client's of a pinned port.
    pub inner: DeviceName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_down_whatever_its_carrier_if_it_is_switched_off() {
        let link = |up, carrier| {
            let (name, mac) = ("eth0".parse().unwrap(), "02:00:00:00:00:01".parse().unwrap());
            NicState { name, mac, mtu: 1500, up, carrier }.link()
        };
        assert_eq!([link(true, true), link(true, false)], ["up", "no-carrier"]);
        assert_eq!([link(false, true), link(false, false)], ["down", "down"]);
    }
}

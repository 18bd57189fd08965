//! What a port is going to be: a spec that was found good, with all that it left open, before anything is made.

use std::borrow::Cow;
#[cfg(test)]
use std::collections::BTreeSet;
use std::net::IpAddr;

use xsknet_bpf::{PortId, Vlan};
use xsknet_link::{DeviceName, IfIndex, LinkError, MacAddr};
use xsknet_xsk::Layout;

use crate::claims::{Claim, Claims};
use crate::context::Context;
use crate::error::OpenPortError;
use crate::ids::PortKey;
use crate::info::QueuePair;
use crate::journal::{PortClaim, PortRecord, Scope};
use crate::mac::Identity;
use crate::nic::Nic;
use crate::spec::PortSpec;

/// A port that can be opened on its uplink.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) key: PortKey,
    pub(crate) id: PortId,
    /// What is changed for the port, is changed for this.
    pub(crate) scope: Scope,
    pub(crate) name: String,
    /// Of its inner ends. Where the port has the uplink's MAC, no frame that leaves has this one.
    pub(crate) mac: MacAddr,
    pub(crate) vlan: Vlan,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<IpAddr>,
    /// One a queue.
    pub(crate) queue_pairs: Vec<QueuePair>,
    pub(crate) alias: String,
    /// As it was asked for: what is not among the above is taken from here.
    pub(crate) spec: PortSpec,
}

/// What the host itself has, as it was found before a port is planned.
#[derive(Debug)]
pub(crate) struct HostView {
    addresses: Vec<IpAddr>,
    /// Those of the NIC, with the lengths of their prefixes: where untagged frames come from.
    networks: Vec<(IpAddr, u8)>,
    /// Of its devices, and of the hosts that it knows.
    macs: Vec<(MacAddr, String)>,
}

impl HostView {
    pub(crate) fn look(context: &Context, index: IfIndex) -> Result<Self, LinkError> {
        let links = &context.host.links;
        let devices = links.list()?.into_iter();
        let own = devices.filter_map(|device| Some((device.mac?, format!("the host's device `{}`", device.name))));
        let neighbours = links.neighbours()?.into_iter().map(|mac| (mac, "a neighbour".to_owned()));
        let (addresses, networks) = (links.all_addresses()?, links.addresses(index)?);
        Ok(Self { addresses, networks, macs: own.chain(neighbours).collect() })
    }
}

impl Plan {
    /// Takes what a port wants, where all of it can be had. Until it is given back nobody else gets any of it. `layout`
    /// is that of its UMEM, where it is known: its frames have to hold what comes.
    pub(crate) fn new(
        nic: &Nic,
        claims: &mut Claims,
        host: &HostView,
        spec: PortSpec,
        layout: Option<&Layout>,
    ) -> Result<(Self, Claim), OpenPortError> {
        let limit = nic.mtu_limit();
        let vlan = spec.validated(layout, Some(&limit))?;
        let id = claims.free_id()?;
        let name = spec.name.clone().unwrap_or_else(|| claims.made_up_name(spec.owner, id));
        let mtu = spec.mtu.unwrap_or(limit.mtu);
        let mut addresses = spec.addresses.clone();
        let identity = spec.name.as_deref().map_or(Identity::Addresses(vlan, &addresses), Identity::Name);
        let mac = match spec.mac {
            Some(mac) => mac,
            // Nobody is to know it, and ports without a name or addresses would all have the same.
            None if spec.has_uplink_mac() => MacAddr::random_local(),
            None => nic.context.secret.mac(spec.owner, nic.info.mac, identity),
        };
        check_mac(mac, nic, host)?;
        // A requested MAC may belong to a neighbour, and so may the address that follows from it. The one that follows
        // from the uplink's is the host's.
        let link_local = mac.link_local_ipv6().into();
        let is_drawn = spec.mac.is_none() && !spec.has_uplink_mac();
        if is_drawn && addresses.iter().any(IpAddr::is_ipv6) && !addresses.contains(&link_local) {
            addresses.push(link_local);
        }
        check_addresses(&addresses, vlan, nic, host)?;
        let (owner, queues) = (spec.owner, spec.queues);
        let uplink_mac = spec.has_uplink_mac();
        let claim = Claim { owner, name: name.clone(), mac, uplink_mac, vlan, addresses: addresses.clone(), queues };
        claims.take(id, claim.clone())?;
        let record =
            PortRecord { device: nic.info.device.clone(), number: id.number(), claim: Some(on_record(&claim)) };
        let scope = nic.context.open_port(nic.scope, record).map_err(|cause| {
            claims.give_back(id);
            nic.step(cause)
        })?;
        let index = nic.info.index;
        let names =
            |queue| QueuePair { outer: device_name('o', index, id, queue), inner: device_name('i', index, id, queue) };
        let queue_pairs = (0..queues).map(names).collect();
        let alias = nic.context.paths.alias(&name);
        let key = nic.context.next_port();
        Ok((Self { key, id, scope, name, mac, vlan, mtu, addresses, queue_pairs, alias, spec }, claim))
    }

    /// Whether it has no addresses.
    pub(crate) fn flows_alone(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// A claim in the form of the journal.
fn on_record(claim: &Claim) -> PortClaim {
    let Claim { owner, name, mac, uplink_mac: _, vlan, addresses, queues } = claim.clone();
    PortClaim { name, owner, mac, vlan: vlan.id(), addresses, queues }
}

fn check_mac(mac: MacAddr, nic: &Nic, host: &HostView) -> Result<(), OpenPortError> {
    if mac.is_multicast() {
        return Err(OpenPortError::MacInvalid { mac, what: "a multicast address" });
    }
    if mac.octets() == [0; 6] {
        return Err(OpenPortError::MacInvalid { mac, what: "all zeros" });
    }
    let taken = |holder: String| OpenPortError::MacTaken { mac, uplink: nic.info.device.clone(), holder };
    if mac == nic.state().mac {
        return Err(taken("the NIC itself".into()));
    }
    match host.macs.iter().find(|(its, _)| *its == mac) {
        Some((_, holder)) => Err(taken(holder.clone())),
        None => Ok(()),
    }
}

/// Whether the host can have them as a port's.
fn check_addresses(addresses: &[IpAddr], vlan: Vlan, nic: &Nic, host: &HostView) -> Result<(), OpenPortError> {
    for address in addresses {
        // A VLAN is another network.
        let networks = if vlan == Vlan::UNTAGGED { host.networks.as_slice() } else { &[] };
        if let Some(what) = networks.iter().find_map(|(own, prefix)| edge_of(*address, *own, *prefix)) {
            return Err(OpenPortError::AddressInvalid { address: address.to_string(), what });
        }
        // In a VLAN, too: the host may be there by a device that is not up yet, and a port that speaks for it may be
        // believed elsewhere.
        if host.addresses.contains(address) {
            let (address, uplink) = (*address, nic.info.device.clone());
            return Err(OpenPortError::AddressTaken { address, uplink, holder: "the host".into() });
        }
    }
    Ok(())
}

/// What an address is in the network of another one, if no single host can have it. Networks of two addresses have no
/// such address (RFC 3021, RFC 6164).
fn edge_of(address: IpAddr, own: IpAddr, prefix: u8) -> Option<Cow<'static, str>> {
    let (bits, own, width) = match (address, own) {
        (IpAddr::V4(address), IpAddr::V4(own)) => (u128::from(address.to_bits()), u128::from(own.to_bits()), 32_u32),
        (IpAddr::V6(address), IpAddr::V6(own)) => (address.to_bits(), own.to_bits(), 128),
        _ => return None,
    };
    let host_bits = width.checked_sub(u32::from(prefix)).filter(|bits| (2..width).contains(bits))?;
    let hosts = (1_u128 << host_bits) - 1;
    if (bits ^ own) & !hosts != 0 {
        return None;
    }
    let what = match bits & hosts {
        0 if width == 32 => "the network address of the NIC's network",
        0 => "the anycast address of all routers of the NIC's network",
        all if all == hosts && width == 32 => "the broadcast address of the NIC's network",
        _ => return None,
    };
    Some(format!("{what}, a /{prefix}").into())
}

/// A device name of at most 15 bytes that no other uplink's port has: both numbers in hexadecimal. The second and
/// further pairs of a port have their number in the place of the `k`, which costs no byte.
fn device_name(end: char, index: IfIndex, id: PortId, queue: u32) -> DeviceName {
    let mark = char::from_digit(queue, 10).filter(|_| queue > 0).unwrap_or('k');
    let name = format!("xs{mark}{end}{:x}-{:x}", index.get(), id.number());
    name.parse().expect("two numbers fit a device name")
}

#[cfg(test)]
mod tests {
    use xsknet_bpf::contract::{MAX_PORT_QUEUE_PAIRS, MAX_PORTS};

    use super::*;

    #[test]
    fn every_pair_of_every_port_has_names_of_its_own_that_fit() {
        let index = IfIndex::new(0xfff_ffff).unwrap();
        let id = PortId::new(MAX_PORTS).unwrap();
        let names =
            (0..MAX_PORT_QUEUE_PAIRS).flat_map(|queue| ['o', 'i'].map(|end| device_name(end, index, id, queue)));
        let names: BTreeSet<_> = names.map(|name| name.to_string()).collect();
        assert_eq!(names.len(), 2 * MAX_PORT_QUEUE_PAIRS as usize);
        assert!(names.contains("xskofffffff-400") && names.contains("xs7ifffffff-400"), "{names:?}");
    }

    #[test]
    fn no_host_has_the_edges_of_a_network() {
        let edge = |address: &str, own: &str, prefix| {
            edge_of(address.parse().unwrap(), own.parse().unwrap(), prefix).map(Cow::into_owned)
        };
        let network = |prefix| Some(format!("the network address of the NIC's network, a /{prefix}"));
        let broadcast = |prefix| Some(format!("the broadcast address of the NIC's network, a /{prefix}"));
        let routers = |prefix| Some(format!("the anycast address of all routers of the NIC's network, a /{prefix}"));
        assert_eq!(edge("192.0.2.0", "192.0.2.1", 24), network(24));
        assert_eq!(edge("192.0.2.255", "192.0.2.1", 24), broadcast(24));
        assert_eq!(edge("192.0.2.4", "192.0.2.6", 30), network(30));
        assert_eq!(edge("192.0.2.7", "192.0.2.6", 30), broadcast(30));
        assert_eq!(edge("2001:db8::", "2001:db8::1", 64), routers(64));
        assert_eq!(edge("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1", 64), None);
        for (address, own, prefix) in [
            ("192.0.2.10", "192.0.2.1", 24),
            ("192.0.3.0", "192.0.2.1", 24),
            ("192.0.2.6", "192.0.2.7", 31),
            ("192.0.2.7", "192.0.2.6", 31),
            ("192.0.2.0", "192.0.2.0", 32),
            ("2001:db8::", "2001:db8::1", 127),
            ("2001:db8::", "2001:db8::", 128),
            ("0.0.0.0", "192.0.2.1", 0),
            ("::", "2001:db8::1", 0),
            ("192.0.2.0", "2001:db8::1", 24),
        ] {
            assert_eq!(edge(address, own, prefix), None, "{address} in the /{prefix} of {own}");
        }
    }
}

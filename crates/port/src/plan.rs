//! What a port is going to be: options that were found good, before anything is made.

use std::borrow::Cow;
#[cfg(test)]
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use xsknet_bpf::contract::MAX_PORT_QUEUE_PAIRS;
use xsknet_bpf::{PortId, Rates, Rights, Vlan};
use xsknet_link::{DeviceName, IfIndex, LinkError, MacAddr};
use xsknet_xsk::Layout;

use crate::claims::{Claim, Claims};
use crate::error::OpenPortError;
use crate::ground::Ground;
use crate::identity::Identity;
use crate::port::PortKey;
use crate::turns::Said;
use crate::uplink::UplinkState;

/// Ethernet header and one VLAN tag: what a port's frames may be longer than its MTU.
pub(crate) const HEADERS: u32 = 14 + 4;

/// Of IPv4 (RFC 791), and of every Ethernet device.
const LEAST_MTU: u32 = 68;

/// What a port is to be, whoever makes its socket.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The user whose it is.
    pub(crate) owner: u32,
    pub(crate) name: Option<&'a str>,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) mac: Option<MacAddr>,
    pub(crate) vlan: Option<u16>,
    pub(crate) mtu: Option<u32>,
    /// Each with a pair of its own.
    pub(crate) queues: u32,
    /// How long frames gather at each inner end.
    pub(crate) coalesce: Option<Duration>,
    pub(crate) rights: Rights,
    pub(crate) rates: Rates,
    /// Of the UMEM, where it is known: its frames have to hold what comes.
    pub(crate) layout: Option<&'a Layout>,
}

/// A port that can be opened on its uplink.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) key: PortKey,
    pub(crate) id: PortId,
    pub(crate) mac: MacAddr,
    pub(crate) vlan: Vlan,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<IpAddr>,
    /// One a queue.
    pub(crate) pairs: Vec<Pair>,
    pub(crate) coalesce: Option<Duration>,
    pub(crate) rights: Rights,
    pub(crate) rates: Rates,
    pub(crate) alias: String,
}

/// The devices of one of a port's queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Among the host's.
    pub outer: DeviceName,
    /// In the instance's namespace, or in the client's of a pinned port.
    pub inner: DeviceName,
}

/// What the host itself has, as it was found before a port is planned.
#[derive(Debug)]
pub(crate) struct HostView {
    addresses: Vec<IpAddr>,
    /// Those of the card, with the lengths of their prefixes: where untagged frames come from.
    networks: Vec<(IpAddr, u8)>,
    /// Of its devices, and of the hosts that it knows.
    macs: Vec<(MacAddr, String)>,
}

impl HostView {
    pub(crate) fn look(ground: &Ground, card: IfIndex) -> Result<Self, LinkError> {
        let links = &ground.host.links;
        let devices = links.list()?.into_iter();
        let own = devices.filter_map(|device| Some((device.mac?, format!("the host's device `{}`", device.name))));
        let neighbours = links.neighbours()?.into_iter().map(|mac| (mac, "a neighbour".to_owned()));
        let (addresses, networks) = (links.all_addresses()?, links.addresses(card)?);
        Ok(Self { addresses, networks, macs: own.chain(neighbours).collect() })
    }
}

impl Plan {
    /// Takes what a port wants, where all of it can be had. Until it is given back nobody else gets any of it.
    pub(crate) fn new(
        uplink: &UplinkState,
        claims: &mut Claims,
        host: &HostView,
        wanted: &Wanted<'_>,
    ) -> Result<(Self, Claim), OpenPortError> {
        let vlan = wanted.check(Some(uplink))?;
        let id = claims.free_id()?;
        let name = wanted.name.map_or_else(|| claims.made_up_name(wanted.owner, id), str::to_owned);
        let mtu = wanted.mtu.unwrap_or(uplink.card().mtu);
        let mut addresses = wanted.addresses.to_vec();
        let identity = wanted.name.map_or(Identity::Addresses(vlan, &addresses), Identity::Name);
        let mac = match wanted.mac {
            Some(mac) => mac,
            None => uplink.ground.secret.mac(wanted.owner, uplink.info.mac, identity),
        };
        check_mac(mac, uplink, host)?;
        // Of a MAC that somebody has chosen, nobody knows whether it is good for an address, too.
        let link_local = mac.link_local_ipv6().into();
        if wanted.mac.is_none() && addresses.iter().any(IpAddr::is_ipv6) && !addresses.contains(&link_local) {
            addresses.push(link_local);
        }
        check_addresses(&addresses, vlan, uplink, host)?;
        let Wanted { owner, queues, coalesce, rights, rates, .. } = *wanted;
        let claim = Claim { owner, name: name.clone(), mac, vlan, addresses: addresses.clone(), queues };
        claims.take(id, claim.clone())?;
        let card = uplink.info.index;
        let names =
            |member| Pair { outer: device_name('o', card, id, member), inner: device_name('i', card, id, member) };
        let pairs = (0..queues).map(names).collect();
        let alias = uplink.ground.paths.alias(&name);
        let key = uplink.ground.next_port();
        Ok((Self { name, key, id, mac, vlan, mtu, addresses, pairs, coalesce, rights, rates, alias }, claim))
    }
}

impl Wanted<'_> {
    /// What opening it says to the neighbours: a question and an announcement for each address, its link-local one included.
    pub(crate) fn said(&self) -> Said {
        let addresses = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
        Said { frames: addresses.saturating_mul(2), rate: self.rates.broadcast }
    }

    /// Whether there can be such a port at all, whatever others have and whoever asks. Of the uplink nothing counts where it is not given. Returns
    /// the VLAN.
    pub(crate) fn check(&self, uplink: Option<&UplinkState>) -> Result<Vlan, OpenPortError> {
        if !(1..=MAX_PORT_QUEUE_PAIRS).contains(&self.queues) {
            return Err(OpenPortError::QueuesUnfit { queues: self.queues, limit: MAX_PORT_QUEUE_PAIRS });
        }
        self.name.map_or(Ok(()), check_name)?;
        let vlan = match self.vlan {
            None => Vlan::UNTAGGED,
            Some(vlan) => Vlan::tagged(vlan).ok_or(OpenPortError::VlanUnfit { vlan })?,
        };
        if let Some(mtu) = self.mtu.or(uplink.map(|uplink| uplink.card().mtu)) {
            check_mtu(mtu, uplink, self.layout)?;
        }
        if self.addresses.is_empty() {
            return Err(OpenPortError::NoAddress);
        }
        for (at, address) in self.addresses.iter().enumerate() {
            let twice = || self.addresses[..at].contains(address).then_some("listed twice");
            if let Some(what) = unfit(*address).or_else(twice) {
                return Err(OpenPortError::AddressUnfit { address: *address, what: what.into() });
            }
        }
        Ok(vlan)
    }
}

fn check_name(name: &str) -> Result<(), OpenPortError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        Err(OpenPortError::NameUnfit { name: name.into() })
    }
}

fn check_mtu(mtu: u32, uplink: Option<&UplinkState>, layout: Option<&Layout>) -> Result<(), OpenPortError> {
    if mtu < LEAST_MTU {
        return Err(OpenPortError::MtuTooSmall { mtu, least: LEAST_MTU });
    }
    if let Some(uplink) = uplink {
        let uplink_mtu = uplink.card().mtu;
        if mtu > uplink_mtu {
            return Err(OpenPortError::MtuAboveUplink { mtu, uplink_mtu, uplink: uplink.info.device.clone() });
        }
    }
    layout.map_or(Ok(()), |layout| fits_frames(mtu, layout))
}

/// The shape with frames in several chunks where that is wanted; where nothing is said of it, where one chunk does not hold a frame of
/// this MTU, in bytes.
pub fn for_mtu(layout: Layout, mtu: u32, multi_buffer: Option<bool>) -> Layout {
    let needed = mtu.saturating_add(HEADERS) > layout.frame_capacity();
    layout.with_multi_buffer(multi_buffer.unwrap_or(needed))
}

/// Whether frames of an UMEM of this shape hold what a port of this MTU (in bytes) gets from the wire: one that does not fit is
/// dropped by the kernel.
///
/// # Errors
/// [`OpenPortError::MtuTooLarge`].
pub fn fits_frames(mtu: u32, layout: &Layout) -> Result<(), OpenPortError> {
    let (needed, capacity) = (mtu.saturating_add(HEADERS), layout.longest_frame());
    if needed > capacity {
        let (frame_size, most) = (layout.frame_size(), capacity - HEADERS.min(capacity));
        return Err(OpenPortError::MtuTooLarge { mtu, needed, frame_size, capacity, most });
    }
    Ok(())
}

fn check_mac(mac: MacAddr, uplink: &UplinkState, host: &HostView) -> Result<(), OpenPortError> {
    if mac.is_multicast() {
        return Err(OpenPortError::MacUnfit { mac, what: "a group's" });
    }
    if mac.octets() == [0; 6] {
        return Err(OpenPortError::MacUnfit { mac, what: "no address" });
    }
    let taken = |holder: String| OpenPortError::MacTaken { mac, uplink: uplink.info.device.clone(), holder };
    if mac == uplink.card().mac {
        return Err(taken("the card itself".into()));
    }
    match host.macs.iter().find(|(its, _)| *its == mac) {
        Some((_, holder)) => Err(taken(holder.clone())),
        None => Ok(()),
    }
}

/// What the host tells of them.
fn check_addresses(
    addresses: &[IpAddr],
    vlan: Vlan,
    uplink: &UplinkState,
    host: &HostView,
) -> Result<(), OpenPortError> {
    for address in addresses {
        // A VLAN is another network.
        let networks = if vlan == Vlan::UNTAGGED { host.networks.as_slice() } else { &[] };
        if let Some(what) = networks.iter().find_map(|(own, prefix)| edge_of(*address, *own, *prefix)) {
            return Err(OpenPortError::AddressUnfit { address: *address, what });
        }
        // In a VLAN, too: the host may be there by a device that is not up yet, and who speaks for it may be believed elsewhere.
        if host.addresses.contains(address) {
            let (address, uplink) = (*address, uplink.info.device.clone());
            return Err(OpenPortError::AddressTaken { address, uplink, holder: "the host".into() });
        }
    }
    Ok(())
}

/// Why an address cannot be one host's.
fn unfit(address: IpAddr) -> Option<&'static str> {
    let kinds = [
        (address.is_unspecified(), "no address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a group's"),
        (matches!(address, IpAddr::V4(v4) if v4.is_broadcast()), "the broadcast address"),
        (matches!(address, IpAddr::V6(v6) if is_mapped(v6)), "an IPv4 address in IPv6's clothes"),
    ];
    kinds.into_iter().find_map(|(is, what)| is.then_some(what))
}

/// What an address is in the network of another one where no single host can have it. Networks of two addresses have no such (RFC 3021,
/// RFC 6164).
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
        0 if width == 32 => "the address of the card's network itself",
        0 => "the address that all routers of the card's network have",
        all if all == hosts && width == 32 => "the broadcast address of the card's network",
        _ => return None,
    };
    Some(format!("{what}, a /{prefix}").into())
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// A device name of at most 15 bytes that no other uplink's port has: both numbers in hexadecimal. The second and further pairs of a
/// port have their number in the place of the `k`, which costs no byte.
fn device_name(end: char, card: IfIndex, id: PortId, member: u32) -> DeviceName {
    let mark = char::from_digit(member, 10).filter(|_| member > 0).unwrap_or('k');
    let name = format!("xs{mark}{end}{:x}-{:x}", card.get(), id.number());
    name.parse().expect("two numbers fit a device name")
}

#[cfg(test)]
mod tests {
    use xsknet_bpf::contract::MAX_PORTS;

    use super::*;

    #[test]
    fn every_pair_of_every_port_has_names_of_its_own_that_fit() {
        let card = IfIndex::new(0xfff_ffff).unwrap();
        let id = PortId::new(MAX_PORTS).unwrap();
        let names =
            (0..MAX_PORT_QUEUE_PAIRS).flat_map(|member| ['o', 'i'].map(|end| device_name(end, card, id, member)));
        let names: BTreeSet<_> = names.map(|name| name.to_string()).collect();
        assert_eq!(names.len(), 2 * MAX_PORT_QUEUE_PAIRS as usize);
        assert!(names.contains("xskofffffff-400") && names.contains("xs7ifffffff-400"), "{names:?}");
    }

    #[test]
    fn no_host_has_the_edges_of_a_network() {
        let edge = |address: &str, own: &str, prefix| {
            edge_of(address.parse().unwrap(), own.parse().unwrap(), prefix).map(Cow::into_owned)
        };
        let network = |prefix| Some(format!("the address of the card's network itself, a /{prefix}"));
        let broadcast = |prefix| Some(format!("the broadcast address of the card's network, a /{prefix}"));
        let routers = |prefix| Some(format!("the address that all routers of the card's network have, a /{prefix}"));
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

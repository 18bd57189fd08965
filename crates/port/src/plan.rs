//! What a port is going to be: options that were found good, before anything is made.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use xsknet_bpf::contract::MAX_PORTS;
use xsknet_bpf::{PortId, Vlan};
use xsknet_link::{DeviceName, LinkError, MacAddr};
use xsknet_xsk::Layout;

use crate::error::{OpenPortError, StepError};
use crate::port::PortKey;
use crate::room::Room;
use crate::uplink::{OpenUplink, UplinkState};

/// Ethernet header and one VLAN tag: what a port's frames may be longer than its MTU.
const HEADERS: u32 = 14 + 4;

/// What a port is to be, whoever makes its socket.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) mac: Option<MacAddr>,
    pub(crate) vlan: Option<u16>,
    pub(crate) mtu: Option<u32>,
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
    pub(crate) outer: DeviceName,
    pub(crate) inner: DeviceName,
    pub(crate) alias: String,
}

impl Plan {
    pub(crate) fn new(uplink: &UplinkState, card: &OpenUplink, wanted: &Wanted<'_>) -> Result<Self, OpenPortError> {
        let device = &uplink.info.device;
        let id = free_id(&card.ports, device)?;
        let is_taken = |name: &str| card.ports.values().any(|room| room.plan.name == name);
        let name = match wanted.name {
            Some(name) if is_taken(name) => {
                return Err(OpenPortError::NameTaken { name: name.to_owned(), uplink: device.clone() });
            }
            Some(name) => name.to_owned(),
            None => made_up_name(id, is_taken),
        };
        check_name(&name)?;
        let vlan = match wanted.vlan {
            None => Vlan::UNTAGGED,
            Some(vlan) => Vlan::tagged(vlan).ok_or(OpenPortError::VlanUnfit { vlan })?,
        };
        let mtu = wanted.mtu.unwrap_or(uplink.info.mtu);
        check_mtu(mtu, uplink, wanted.layout)?;
        let mac = match (wanted.mac, wanted.name) {
            (Some(mac), _) => mac,
            (None, Some(name)) => MacAddr::stable_local(&format!("{}/{device}/{name}", uplink.ground.paths.instance())),
            (None, None) => MacAddr::random_local(),
        };
        check_mac(mac, vlan, uplink, card)?;
        let mut addresses = wanted.addresses.to_vec();
        let link_local = mac.link_local_ipv6().into();
        if addresses.iter().any(IpAddr::is_ipv6) && !addresses.contains(&link_local) {
            addresses.push(link_local);
        }
        check_addresses(&addresses, vlan, uplink, card)?;
        let outer = device_name('o', uplink, id);
        let inner = device_name('i', uplink, id);
        let alias = uplink.ground.paths.alias(&name);
        let key = uplink.ground.next_port();
        Ok(Self { name, key, id, mac, vlan, mtu, addresses, outer, inner, alias })
    }
}

fn free_id<T>(ports: &BTreeMap<PortId, T>, uplink: &DeviceName) -> Result<PortId, OpenPortError> {
    let mut ids = (1..=MAX_PORTS).filter_map(PortId::new);
    let free = ids.find(|id| !ports.contains_key(id));
    free.ok_or_else(|| OpenPortError::NoMorePorts { uplink: uplink.clone(), limit: MAX_PORTS })
}

/// Others may have chosen the obvious one.
fn made_up_name(id: PortId, is_taken: impl Fn(&str) -> bool) -> String {
    let obvious = format!("port-{id}");
    let others = (2..).map(|n| format!("{obvious}-{n}"));
    let mut names = std::iter::once(obvious.clone()).chain(others);
    names.find(|name| !is_taken(name)).expect("fewer names are taken than there are")
}

fn check_name(name: &str) -> Result<(), OpenPortError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        Err(OpenPortError::NameUnfit { name: name.into() })
    }
}

fn check_mtu(mtu: u32, uplink: &UplinkState, layout: Option<&Layout>) -> Result<(), OpenPortError> {
    if mtu > uplink.info.mtu {
        let (uplink_mtu, uplink) = (uplink.info.mtu, uplink.info.device.clone());
        return Err(OpenPortError::MtuAboveUplink { mtu, uplink_mtu, uplink });
    }
    layout.map_or(Ok(()), |layout| fits_frames(mtu, layout))
}

/// Whether frames of an UMEM of this shape hold what a port of this MTU (in bytes) gets from the wire: one that does not fit is
/// dropped by the kernel.
///
/// # Errors
/// [`OpenPortError::MtuTooLarge`].
pub fn fits_frames(mtu: u32, layout: &Layout) -> Result<(), OpenPortError> {
    let (needed, capacity) = (mtu.saturating_add(HEADERS), layout.frame_capacity());
    if needed > capacity {
        return Err(OpenPortError::MtuTooLarge { mtu, needed, frame_size: layout.frame_size(), capacity });
    }
    Ok(())
}

fn check_mac(mac: MacAddr, vlan: Vlan, uplink: &UplinkState, card: &OpenUplink) -> Result<(), OpenPortError> {
    if mac.is_multicast() {
        return Err(OpenPortError::MacUnfit { mac, what: "a group's" });
    }
    if mac.octets() == [0; 6] {
        return Err(OpenPortError::MacUnfit { mac, what: "no address" });
    }
    let taken = |holder: String| OpenPortError::MacTaken { mac, uplink: uplink.info.device.clone(), holder };
    if mac == uplink.info.mac {
        return Err(taken("the card itself".into()));
    }
    let same = |room: &&Room| room.plan.mac == mac && room.plan.vlan == vlan;
    match card.ports.values().find(same) {
        Some(room) => Err(taken(format!("port `{}`", room.plan.name))),
        None => Ok(()),
    }
}

fn check_addresses(
    addresses: &[IpAddr],
    vlan: Vlan,
    uplink: &UplinkState,
    card: &OpenUplink,
) -> Result<(), OpenPortError> {
    if addresses.is_empty() {
        return Err(OpenPortError::NoAddress);
    }
    let device = &uplink.info.device;
    let step = |cause: StepError| OpenPortError::Step { uplink: device.clone(), cause };
    let hosts = hosts_addresses(uplink).map_err(|cause| step(cause.into()))?;
    for (at, address) in addresses.iter().enumerate() {
        if let Some(what) = unfit(*address) {
            return Err(OpenPortError::AddressUnfit { address: *address, what });
        }
        if addresses[..at].contains(address) {
            return Err(OpenPortError::AddressUnfit { address: *address, what: "listed twice" });
        }
        let taken = |holder: String| OpenPortError::AddressTaken { address: *address, uplink: device.clone(), holder };
        // ARP for it would no longer reach the host. A VLAN is another network.
        if vlan == Vlan::UNTAGGED && hosts.contains(address) {
            return Err(taken("the host".into()));
        }
        let same = |room: &&Room| room.plan.vlan == vlan && room.plan.addresses.contains(address);
        if let Some(room) = card.ports.values().find(same) {
            return Err(taken(format!("port `{}`", room.plan.name)));
        }
    }
    Ok(())
}

fn hosts_addresses(uplink: &UplinkState) -> Result<Vec<IpAddr>, LinkError> {
    let links = &uplink.ground.host.links;
    let mut all = Vec::new();
    for device in links.list()? {
        all.extend(links.addresses(device.index)?.into_iter().map(|(address, _)| address));
    }
    Ok(all)
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

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// A device name of at most 15 bytes that no other uplink's port has: both numbers in hexadecimal.
fn device_name(end: char, uplink: &UplinkState, id: PortId) -> DeviceName {
    let name = format!("xsk{end}{:x}-{:x}", uplink.info.index.get(), id.number());
    name.parse().expect("two numbers fit a device name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_name_is_nobodys() {
        let id = PortId::new(7).unwrap();
        assert_eq!(made_up_name(id, |_| false), "port-7");
        assert_eq!(made_up_name(id, |name| ["port-7", "port-7-2"].contains(&name)), "port-7-3");
    }

    #[test]
    fn the_lowest_free_number_is_taken_until_there_is_none() {
        let card: DeviceName = "card0".parse().unwrap();
        let mut ports = BTreeMap::new();
        for number in 1..=MAX_PORTS {
            let id = free_id(&ports, &card).unwrap();
            assert_eq!(id.number(), number);
            ports.insert(id, ());
        }
        let error = free_id(&ports, &card).unwrap_err();
        assert_eq!(error.to_string(), "`card0` has 1024 ports, more do not fit");
        assert!(matches!(error, OpenPortError::NoMorePorts { limit: 1024, .. }));
        assert!(error.hint().is_some());

        let freed = PortId::new(700).unwrap();
        ports.remove(&freed);
        assert_eq!(free_id(&ports, &card).unwrap(), freed);
    }
}

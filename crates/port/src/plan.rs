//! What a port is going to be: options that were found good, before anything is made.

use std::collections::BTreeMap;
#[cfg(test)]
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use xsknet_bpf::contract::{MAX_MEMBERS, MAX_PAIRS, MAX_PORTS};
use xsknet_bpf::{PortId, Vlan};
use xsknet_link::{DeviceName, IfIndex, LinkError, MacAddr};
use xsknet_xsk::Layout;

use crate::error::{OpenPortError, StepError};
use crate::port::PortKey;
use crate::room::Room;
use crate::uplink::{OpenUplink, UplinkState};

/// Ethernet header and one VLAN tag: what a port's frames may be longer than its MTU.
pub(crate) const HEADERS: u32 = 14 + 4;

/// What a port is to be, whoever makes its socket.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) mac: Option<MacAddr>,
    pub(crate) vlan: Option<u16>,
    pub(crate) mtu: Option<u32>,
    /// Each with a pair of its own.
    pub(crate) queues: u32,
    /// How long frames gather at each inner end.
    pub(crate) coalesce: Option<Duration>,
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

impl Plan {
    pub(crate) fn new(uplink: &UplinkState, card: &OpenUplink, wanted: &Wanted<'_>) -> Result<Self, OpenPortError> {
        let device = &uplink.info.device;
        let id = free_id(&card.ports, device)?;
        check_queues(wanted.queues, device, card.ports.values().map(|room| room.members.len()).sum())?;
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
        let card = uplink.info.index;
        let names =
            |member| Pair { outer: device_name('o', card, id, member), inner: device_name('i', card, id, member) };
        let pairs = (0..wanted.queues).map(names).collect();
        let alias = uplink.ground.paths.alias(&name);
        let key = uplink.ground.next_port();
        Ok(Self { name, key, id, mac, vlan, mtu, addresses, pairs, coalesce: wanted.coalesce, alias })
    }
}

fn free_id<T>(ports: &BTreeMap<PortId, T>, uplink: &DeviceName) -> Result<PortId, OpenPortError> {
    let mut ids = (1..=MAX_PORTS).filter_map(PortId::new);
    let free = ids.find(|id| !ports.contains_key(id));
    free.ok_or_else(|| OpenPortError::NoMorePorts { uplink: uplink.clone(), limit: MAX_PORTS })
}

fn check_queues(queues: u32, uplink: &DeviceName, pairs: usize) -> Result<(), OpenPortError> {
    if !(1..=MAX_MEMBERS).contains(&queues) {
        return Err(OpenPortError::QueuesUnfit { queues, limit: MAX_MEMBERS });
    }
    if pairs + queues as usize > MAX_PAIRS as usize {
        return Err(OpenPortError::NoMoreQueues { uplink: uplink.clone(), limit: MAX_PAIRS });
    }
    Ok(())
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

/// A device name of at most 15 bytes that no other uplink's port has: both numbers in hexadecimal. The second and further pairs of a
/// port have their number in the place of the `k`, which costs no byte.
fn device_name(end: char, card: IfIndex, id: PortId, member: u32) -> DeviceName {
    let mark = char::from_digit(member, 10).filter(|_| member > 0).unwrap_or('k');
    let name = format!("xs{mark}{end}{:x}-{:x}", card.get(), id.number());
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
    fn every_pair_of_every_port_has_names_of_its_own_that_fit() {
        let card = IfIndex::new(0xfff_ffff).unwrap();
        let id = PortId::new(MAX_PORTS).unwrap();
        let names = (0..MAX_MEMBERS).flat_map(|member| ['o', 'i'].map(|end| device_name(end, card, id, member)));
        let names: BTreeSet<_> = names.map(|name| name.to_string()).collect();
        assert_eq!(names.len(), 2 * MAX_MEMBERS as usize);
        assert!(names.contains("xskofffffff-400") && names.contains("xs7ifffffff-400"), "{names:?}");
    }

    #[test]
    fn queues_are_bounded_a_port_and_an_uplink() {
        let card: DeviceName = "card0".parse().unwrap();
        for queues in [0, 9] {
            assert!(matches!(check_queues(queues, &card, 0), Err(OpenPortError::QueuesUnfit { limit: 8, .. })));
        }
        assert!(check_queues(8, &card, 4096 - 8).is_ok());
        let error = check_queues(8, &card, 4096 - 7).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the ports of `card0` have 4096 queues together at most, and these would be more"
        );
        assert!(error.hint().is_some());
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

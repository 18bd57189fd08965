//! What a flow is in the maps: an entry for IPv4, for IPv6, for what is not IP, or several of them.

use std::hash::Hash;
use std::net::IpAddr;

use aya::Pod;
use xsknet_filter::{Flow, PortRange, Precedence, Prefix};

use crate::contract::{FLOW_ICMP_TYPE, FLOW_PORTS, FLOW_SOURCE, FlowCommon, FlowKey4, FlowKey6, Kind, LinkKey, Vlan};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// The messages of neighbour discovery.
const DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

/// A key of flows.
pub(crate) trait FlowKey: Pod + Eq + Hash + Default {
    /// With the number of its kind.
    fn of_kind(self, number: u16) -> Self;
}

impl FlowKey for FlowKey4 {
    fn of_kind(mut self, number: u16) -> Self {
        self.common.kind = number;
        self
    }
}

impl FlowKey for FlowKey6 {
    fn of_kind(mut self, number: u16) -> Self {
        self.common.kind = number;
        self
    }
}

impl FlowKey for LinkKey {
    fn of_kind(mut self, number: u16) -> Self {
        self.kind = number;
        self
    }
}

/// The kind of a flow, without the number that a table gives it. The precedence tells apart what has the same masks:
/// an EtherType is in no key of an IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Shape<K> {
    pub mask: K,
    pub kind: Kind,
    pub precedence: Precedence,
}

/// A flow in one table: its kind, and its key there without the kind's number.
pub(crate) type Entry<K> = (Shape<K>, K);

/// A flow in each table where it can match something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entries {
    pub four: Option<Entry<FlowKey4>>,
    pub six: Option<Entry<FlowKey6>>,
    pub link: Option<Entry<LinkKey>>,
}

impl Entries {
    pub(crate) fn of(flow: &Flow) -> Self {
        Self { four: entry4(flow), six: entry6(flow), link: entry_link(flow) }
    }
}

/// ARP and neighbour discovery go to whose address they ask for, and are the host's otherwise: a port cannot answer
/// them for the host.
pub(crate) fn is_claimable(flow: &Flow) -> bool {
    let is_discovery = flow.protocol == Some(ICMPV6) && flow.icmp_type.is_some_and(|kind| DISCOVERY.contains(&kind));
    flow.ethertype != Some(ARP) && !is_discovery
}

fn entry4(flow: &Flow) -> Option<Entry<FlowKey4>> {
    let (source, source_mask) = address4(flow.source)?;
    let (destination, destination_mask) = address4(flow.destination)?;
    let (common, common_mask, kind) = common(flow, IPV4, ICMP)?;
    let mask = FlowKey4 { source: source_mask, destination: destination_mask, common: common_mask };
    Some((Shape { mask, kind, precedence: flow.precedence() }, FlowKey4 { source, destination, common }))
}

fn entry6(flow: &Flow) -> Option<Entry<FlowKey6>> {
    let (source, source_mask) = address6(flow.source)?;
    let (destination, destination_mask) = address6(flow.destination)?;
    let (common, common_mask, kind) = common(flow, IPV6, ICMPV6)?;
    let mask = FlowKey6 { source: source_mask, destination: destination_mask, common: common_mask };
    Some((Shape { mask, kind, precedence: flow.precedence() }, FlowKey6 { source, destination, common }))
}

fn entry_link(flow: &Flow) -> Option<Entry<LinkKey>> {
    let Flow { source: None, destination: None, protocol: None, .. } = flow else { return None };
    if flow.ethertype.is_some_and(|ethertype| [IPV4, IPV6].contains(&ethertype)) {
        return None;
    }
    let (vlan, vlan_mask) = vlan(flow.vlan);
    let (mac, mac_mask) = given(flow.destination_mac, [0xff; 6]);
    let (ethertype, ethertype_mask) = given(flow.ethertype.map(u16::to_be_bytes), [0xff; 2]);
    let mask = LinkKey { mac: mac_mask, vlan: vlan_mask, ethertype: ethertype_mask, ..LinkKey::default() };
    let key = LinkKey { mac, vlan, ethertype, ..LinkKey::default() };
    Some((Shape { mask, kind: Kind::default(), precedence: flow.precedence() }, key))
}

/// `None` where no packet of this IP version matches. Addresses have been compared already.
fn common(flow: &Flow, ethertype: u16, icmp: u8) -> Option<(FlowCommon, FlowCommon, Kind)> {
    if flow.ethertype.is_some_and(|its| its != ethertype) || flow.icmp_type.is_some() && flow.protocol != Some(icmp) {
        return None;
    }
    let source = Ports::of(flow.source_ports);
    let destination = Ports::of(flow.destination_ports);
    let (protocol, protocol_mask) = given(flow.protocol, 0xff);
    let (icmp_type, icmp_type_mask) = given(flow.icmp_type, 0xff);
    let (vlan, vlan_mask) = vlan(flow.vlan);
    let (mac, mac_mask) = given(flow.destination_mac, [0xff; 6]);
    let key = FlowCommon {
        source_port: source.value,
        destination_port: destination.value,
        protocol: 0,
        icmp_type,
        vlan,
        mac,
        kind: 0,
    };
    let mask = FlowCommon {
        source_port: source.mask,
        destination_port: destination.mask,
        protocol: 0,
        icmp_type: icmp_type_mask,
        vlan: vlan_mask,
        mac: mac_mask,
        kind: 0,
    };
    let flag = |is: bool, flag| if is { flag } else { 0 };
    // Any other one would let a port send from addresses of others, or speak all protocols of one.
    let names_a_sender = flow.destination.is_some_and(|prefix| prefix.is_host()) && flow.protocol.is_some();
    let flags = flag(flow.source_ports.or(flow.destination_ports).is_some(), FLOW_PORTS)
        | flag(flow.icmp_type.is_some(), FLOW_ICMP_TYPE)
        | flag(names_a_sender, FLOW_SOURCE);
    let kind = Kind {
        first_source_port: source.first,
        more_source_ports: source.more,
        first_destination_port: destination.first,
        more_destination_ports: destination.more,
        flags,
        protocol,
        protocol_mask,
        zero: 0,
    };
    Some((key, mask, kind))
}

/// Ports, as a masked value and as a range. One of them is trivial.
struct Ports {
    value: u16,
    mask: u16,
    first: u16,
    more: u16,
}

impl Ports {
    fn of(ports: Option<PortRange>) -> Self {
        let Some(ports) = ports else { return Self { value: 0, mask: 0, first: 0, more: u16::MAX } };
        let (first, more) = (ports.first(), ports.last() - ports.first());
        // A power of two, less one, and the first port is a multiple of it.
        let is_block = more & more.wrapping_add(1) == 0 && first & more == 0;
        if is_block {
            Self { value: first, mask: !more, first: 0, more: u16::MAX }
        } else {
            Self { value: 0, mask: 0, first, more }
        }
    }
}

fn vlan(vlan: Option<u16>) -> (u16, u16) {
    let key = |id| if id == 0 { Vlan::UNTAGGED.key() } else { Vlan::TAGGED | id };
    given(vlan.map(key), u16::MAX)
}

/// The value and its mask.
fn given<T: Default>(value: Option<T>, mask: T) -> (T, T) {
    value.map_or_else(|| (T::default(), T::default()), |value| (value, mask))
}

fn address4(prefix: Option<Prefix>) -> Option<([u8; 4], [u8; 4])> {
    let Some(prefix) = prefix else { return Some(([0; 4], [0; 4])) };
    let IpAddr::V4(address) = prefix.address() else { return None };
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.length())).unwrap_or(0);
    Some((address.octets(), mask.to_be_bytes()))
}

fn address6(prefix: Option<Prefix>) -> Option<([u8; 16], [u8; 16])> {
    let Some(prefix) = prefix else { return Some(([0; 16], [0; 16])) };
    let IpAddr::V6(address) = prefix.address() else { return None };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.length())).unwrap_or(0);
    Some((address.octets(), mask.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> Option<PortRange> {
        Some(PortRange::new(first, last).unwrap())
    }

    #[test]
    fn a_block_of_ports_is_a_mask_and_any_other_range_is_not() {
        for (ports, expected) in [
            (None, (0, 0, 0, u16::MAX)),
            (range(53, 53), (53, 0xffff, 0, u16::MAX)),
            (range(0, 0), (0, 0xffff, 0, u16::MAX)),
            (range(1024, 2047), (1024, 0xfc00, 0, u16::MAX)),
            (range(0, u16::MAX), (0, 0, 0, u16::MAX)),
            (range(1025, 2048), (0, 0, 1025, 1023)),
            (range(1024, 2048), (0, 0, 1024, 1024)),
            (range(2, 5), (0, 0, 2, 3)),
        ] {
            let Ports { value, mask, first, more } = Ports::of(ports);
            assert_eq!((value, mask, first, more), expected, "{ports:?}");
        }
    }

    #[test]
    fn a_flow_is_in_the_tables_where_it_can_match() {
        let host = Prefix::host([192, 0, 2, 1].into());
        let six = Prefix::host("2001:db8::1".parse().unwrap());
        for (flow, expected) in [
            (Flow::default(), [true, true, true]),
            (Flow { vlan: Some(42), ..Flow::default() }, [true, true, true]),
            (Flow { ethertype: Some(IPV4), ..Flow::default() }, [true, false, false]),
            (Flow { ethertype: Some(0x88cc), ..Flow::default() }, [false, false, true]),
            (Flow { protocol: Some(17), ..Flow::default() }, [true, true, false]),
            (Flow { protocol: Some(ICMP), icmp_type: Some(8), ..Flow::default() }, [true, false, false]),
            (Flow { protocol: Some(ICMPV6), icmp_type: Some(128), ..Flow::default() }, [false, true, false]),
            (Flow { destination: Some(host), ..Flow::default() }, [true, false, false]),
            (Flow { source: Some(six), ..Flow::default() }, [false, true, false]),
        ] {
            let Entries { four, six, link } = Entries::of(&flow);
            assert_eq!([four.is_some(), six.is_some(), link.is_some()], expected, "{flow:?}");
        }
    }

    #[test]
    fn only_one_address_and_a_protocol_make_a_sender() {
        let sends = |flow: &Flow| entry4(flow).unwrap().0.kind.flags & FLOW_SOURCE != 0;
        let whole =
            Flow { destination: Some(Prefix::host([192, 0, 2, 1].into())), protocol: Some(17), ..Flow::default() };
        assert!(sends(&whole));
        assert!(!sends(&Flow { protocol: None, ..whole }));
        assert!(!sends(&Flow { destination: None, ..whole }));
        assert!(!sends(&Flow { destination: Some(Prefix::new([192, 0, 2, 0].into(), 31).unwrap()), ..whole }));
    }

    #[test]
    fn arp_and_neighbour_discovery_cannot_be_claimed() {
        assert!(!is_claimable(&Flow { ethertype: Some(ARP), ..Flow::default() }));
        for icmp_type in DISCOVERY {
            let flow = Flow { protocol: Some(ICMPV6), icmp_type: Some(icmp_type), ..Flow::default() };
            assert!(!is_claimable(&flow));
            assert!(is_claimable(&Flow { protocol: Some(ICMP), ..flow }));
        }
    }
}

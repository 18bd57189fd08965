//! Random flows and frames for the tests. Their values come from few, so that flows and frames often meet.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Flow, PortRange, Prefix};

const MACS: [[u8; 6]; 3] = [[0x02, 0, 0x5e, 0x10, 0, 1], [0xff; 6], [0x33, 0x33, 0, 0, 0, 1]];
const VLANS: [u16; 4] = [0, 5, 7, 4095];
const PORTS: [u16; 5] = [0, 53, 80, 1000, 65535];
/// None is an extension header of IPv6.
const PROTOCOLS: [u8; 7] = [1, 2, 6, 17, 47, 58, 132];
const ICMP_TYPES: [u8; 4] = [0, 8, 128, 135];
const V4: [[u8; 4]; 4] = [[192, 0, 2, 1], [192, 0, 2, 200], [10, 0, 0, 1], [224, 0, 0, 1]];
const V6: [[u16; 8]; 4] = [
    [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1],
    [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x8001],
    [0xfe80, 0, 0, 0, 1, 2, 3, 4],
    [0xff02, 0, 0, 0, 0, 0, 0, 1],
];

pub fn macs() -> impl Strategy<Value = [u8; 6]> {
    select(&MACS)
}

pub fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![select(&V4).prop_map(IpAddr::from), select(&V6).prop_map(IpAddr::from)]
}

pub fn prefixes() -> impl Strategy<Value = Prefix> {
    (addresses(), select(&[0_u8, 1, 3, 8, 24, 31, 32, 64, 127, 128])).prop_map(|(address, length)| {
        // A prefix of the address that is no longer than it can be.
        (0..=length).rev().find_map(|length| masked(address, length)).unwrap()
    })
}

fn masked(address: IpAddr, length: u8) -> Option<Prefix> {
    match Prefix::new(address, length) {
        Ok(prefix) => Some(prefix),
        Err(crate::PrefixError::HostBits { network, .. }) => Prefix::new(network, length).ok(),
        Err(crate::PrefixError::TooLong { .. }) => None,
    }
}

pub fn ports() -> impl Strategy<Value = u16> {
    select(&PORTS)
}

pub fn port_ranges() -> impl Strategy<Value = PortRange> {
    (ports(), ports()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap())
}

pub fn protocols() -> impl Strategy<Value = u8> {
    select(&PROTOCOLS)
}

pub fn icmp_types() -> impl Strategy<Value = u8> {
    select(&ICMP_TYPES)
}

pub fn vlans() -> impl Strategy<Value = u16> {
    select(&VLANS)
}

pub fn ethertypes() -> impl Strategy<Value = u16> {
    select(&[0x0800_u16, 0x86dd, 0x0806, 0x8035, 0x88cc, 0x0800, 0x86dd])
}

/// Flows without a contradiction.
pub fn flows() -> impl Strategy<Value = Flow> {
    let transport = prop_oneof![
        3 => Just((None, None, None, None)),
        2 => protocols().prop_map(|protocol| (Some(protocol), None, None, None)),
        4 => (select(&[6_u8, 17, 132]), option::of(port_ranges()), option::of(port_ranges()))
            .prop_map(|(protocol, source, destination)| (Some(protocol), source, destination, None)),
        2 => (select(&[1_u8, 58]), icmp_types()).prop_map(|(protocol, ty)| (Some(protocol), None, None, Some(ty))),
    ];
    let link = (option::weighted(0.2, macs()), option::weighted(0.4, vlans()), option::weighted(0.4, ethertypes()));
    let network = (option::weighted(0.4, prefixes()), option::weighted(0.4, prefixes()));
    (link, network, transport)
        .prop_map(|((destination_mac, vlan, ethertype), (source, destination), transport)| Flow {
            destination_mac,
            vlan,
            ethertype,
            source,
            destination,
            protocol: transport.0,
            source_ports: transport.1,
            destination_ports: transport.2,
            icmp_type: transport.3,
        })
        .prop_filter("no contradiction", |flow| flow.check().is_ok())
}

/// Whole frames: tagged or not, IPv4 with options and fragments, IPv6 with extension headers, ARP, others.
pub fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => ipv4().prop_map(|packet| (0x0800, packet)),
        4 => ipv6(vec(extension(), 0..3)).prop_map(|packet| (0x86dd, packet)),
        1 => arp().prop_map(|packet| (0x0806, packet)),
        1 => arp().prop_map(|packet| (0x8035, packet)),
        1 => (select(&[0x88cc_u16, 0x0026, 0x05dc, 0x8100, 0x809b, 0x9100]), vec(any::<u8>(), 40..60)),
    ];
    (macs(), macs(), tags(), payload).prop_map(frame_of)
}

/// Frames that a flow and libpcap read alike: at most one tag, and no extension header of IPv6.
pub fn plain_frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => ipv4().prop_map(|packet| (0x0800, packet)),
        4 => ipv6(Just(Vec::new())).prop_map(|packet| (0x86dd, packet)),
        1 => (select(&[0x88cc_u16, 0x0026]), vec(any::<u8>(), 40..60)),
    ];
    let tags = vec((select(&[0x8100_u16, 0x88a8]), vlans()), 0..=1);
    (macs(), macs(), tags, payload).prop_map(frame_of)
}

type Tags = Vec<(u16, u16)>;

fn tags() -> impl Strategy<Value = Tags> {
    vec((select(&[0x8100_u16, 0x88a8, 0x9100]), vlans()), 0..=3)
}

fn frame_of((destination, source, tags, (ethertype, packet)): ([u8; 6], [u8; 6], Tags, (u16, Vec<u8>))) -> Vec<u8> {
    let mut frame = [destination, source].concat();
    for (kind, identifier) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend((0x2000 | identifier).to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// Ports, or what lies in their place, and some more bytes.
fn transport() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (ports(), ports()).prop_map(|(from, to)| [from.to_be_bytes(), to.to_be_bytes()].concat()),
        1 => icmp_types().prop_map(|ty| vec![ty, 0, 0, 0]),
    ]
    .prop_flat_map(|start| vec(any::<u8>(), 16).prop_map(move |rest| [start.as_slice(), &rest].concat()))
}

fn ipv4() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![6 => Just(0_u16), 1 => Just(0x4000), 1 => Just(0x2000), 1 => Just(0x2003), 1 => Just(5)];
    (0..4_u8, fragment, protocols(), select(&V4), select(&V4), transport()).prop_map(
        |(options, fragment, protocol, source, destination, transport)| {
            let mut packet = vec![0x45 + options, 0, 0, 60, 0, 1];
            packet.extend(fragment.to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(source);
            packet.extend(destination);
            packet.resize(20 + usize::from(options) * 4, 1);
            packet.extend(transport);
            packet
        },
    )
}

/// The kind of an extension header and its bytes, of which the first one names what follows.
fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        (select(&[0_u8, 43, 60]), 0..2_u8)
            .prop_map(|(kind, eights)| (kind, [vec![0, eights], vec![0; 6 + 8 * usize::from(eights)]].concat())),
        Just((44, vec![0, 0, 0, 1, 0, 0, 0, 9])),
        Just((44, vec![0, 0, 0, 8, 0, 0, 0, 9])),
        Just((51, vec![0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2])),
    ]
}

fn ipv6(extensions: impl Strategy<Value = Vec<(u8, Vec<u8>)>>) -> impl Strategy<Value = Vec<u8>> {
    (extensions, protocols(), select(&V6), select(&V6), transport()).prop_map(
        |(extensions, protocol, source, destination, transport)| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 60, protocol, 64];
            packet.extend([source, destination].concat().into_iter().flat_map(u16::to_be_bytes));
            // Each header names the next one, and the first name is in the IPv6 header.
            let mut name_at = 6;
            for (kind, bytes) in extensions {
                packet[name_at] = kind;
                name_at = packet.len();
                packet.extend(bytes);
            }
            packet[name_at] = protocol;
            packet.extend(transport);
            packet
        },
    )
}

fn arp() -> impl Strategy<Value = Vec<u8>> {
    (select(&V4), select(&V4)).prop_map(|(sender, target)| {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
        packet.extend([2, 0, 0x5e, 0x10, 0, 2]);
        packet.extend(sender);
        packet.extend([0; 6]);
        packet.extend(target);
        packet
    })
}

//! Which queue pair of a port gets a frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rstest::rstest;

use super::frames::*;
use super::lab::{ALICE, CAROL, ERIN, ERINS, Exit, FRANK, FRANKS, with_lab};
use super::model;

/// As many frames as the spread is measured on.
const FLOWS: usize = 10_000;

/// What Frank gets: 802.1Q, id 42, and perhaps a second tag.
fn for_frank(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    tagged(frame, &[&[(Q, 42)], tags].concat())
}

fn queue_pair(exit: Exit) -> u32 {
    match exit {
        Exit::QueuePair(_, queue_pair) => queue_pair,
        other => panic!("{other:?} is not a port of several queue pairs"),
    }
}

/// The same packet the other way: the addresses and ports change places, the MACs do not, so that it reaches the same
/// port.
fn turned(packet: &Packet) -> Packet {
    Packet { ends: [packet.ends[1], packet.ends[0]], ..packet.clone() }
}

#[derive(Debug, Clone)]
struct Packet {
    six: bool,
    protocol: u8,
    /// Sixteen bytes (IPv4 uses four of them), and a port.
    ends: [([u8; 16], u16); 2],
    fragment: u16,
    payload: Vec<u8>,
}

impl Packet {
    /// To a port of several queue pairs, by the MAC alone.
    fn frame(&self) -> Vec<u8> {
        let [(from, source), (to, destination)] = &self.ends;
        let upper = [&source.to_be_bytes()[..], &destination.to_be_bytes(), &self.payload].concat();
        if self.six {
            let (next, upper) = match self.fragment {
                0 => (self.protocol, upper),
                offset => (FRAGMENT, fragment(self.protocol, offset & 0x1fff, offset & 0x2000 != 0, &upper)),
            };
            return ethernet(MAC_E, MAC_FAR, IPV6, &ipv6(next, (*from).into(), (*to).into(), &upper));
        }
        let four = |address: &[u8; 16]| Ipv4Addr::from_octets([address[12], address[13], address[14], address[15]]);
        ethernet(MAC_E, MAC_FAR, IPV4, &ipv4_with(self.fragment, &[], self.protocol, four(from), four(to), &upper))
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let end = || (any::<[u8; 16]>(), any::<u16>());
    let protocol = prop::sample::select(vec![TCP, UDP, SCTP, ICMP, ICMPV6, 47, 50]);
    let fragment = prop::sample::select(vec![0u16, 0, 0, 0x2000, 0x2005, 5]);
    (any::<bool>(), protocol, end(), end(), fragment, prop::collection::vec(any::<u8>(), 8..64))
        .prop_map(|(six, protocol, a, b, fragment, payload)| Packet { six, protocol, ends: [a, b], fragment, payload })
}

#[test]
fn both_directions_of_a_flow_belong_to_one_queue_pair() {
    with_lab(|lab| {
        let mut runner = TestRunner::deterministic();
        for _ in 0..500 {
            let packet = packet().new_tree(&mut runner).unwrap().current();
            let back = turned(&packet).frame();
            assert_eq!(lab.uplink(&packet.frame()), lab.uplink(&back), "{packet:?}");
            let (there, back) = (for_frank(&packet.frame(), &[]), for_frank(&back, &[(Q, 7)]));
            assert_eq!(lab.uplink(&there), lab.uplink(&back), "behind tags: {packet:?}");
        }
    });
}

#[test]
fn the_rest_of_a_packet_does_not_matter() {
    with_lab(|lab| {
        let mut runner = TestRunner::deterministic();
        for _ in 0..500 {
            let packet = packet().new_tree(&mut runner).unwrap().current();
            let other = Packet { payload: vec![0xee; 200], ..packet.clone() };
            let mut frame = other.frame();
            frame[6..12].copy_from_slice(&MAC_A);
            // Type of service and identification, or traffic class and flow label.
            let scrambled: &[(usize, u8)] = if other.six {
                &[(14, 0x6e), (15, 0xd1), (17, 9), (21, 3)]
            } else {
                &[(15, 0x2e), (18, 7), (19, 8), (22, 3)]
            };
            for &(at, value) in scrambled {
                frame[at] = value;
            }
            assert_eq!(lab.uplink(&packet.frame()), lab.uplink(&frame), "{packet:?}");
        }
    });
}

/// Whether the queue pairs get shares like those of a fair die, whose chi square is above the bound once in 100,000
/// times.
fn assert_even(what: &str, found: &[u32]) {
    let bound = match found.len() {
        2 => 19.6,
        3 => 23.1,
        8 => 36.3,
        queue_pairs => panic!("no bound for {queue_pairs} queue pairs"),
    };
    let expected = f64::from(found.iter().sum::<u32>()) / found.len() as f64;
    let chi_square: f64 = found.iter().map(|&frames| (f64::from(frames) - expected).powi(2) / expected).sum();
    assert!(chi_square < bound, "{what}: {found:?}, chi square {chi_square:.1}");
}

fn client(n: u32) -> (Mac, Ipv4Addr) {
    (MAC_FAR, Ipv4Addr::from(0x0a00_0000 + n))
}

fn client6(n: u32) -> (Mac, Ipv6Addr) {
    (MAC_FAR, Ipv6Addr::from(0x2001_0db8_0001 << 80 | u128::from(n)))
}

/// The same host of another network.
fn far_client6(n: u32) -> (Mac, Ipv6Addr) {
    (MAC_FAR, Ipv6Addr::from((0x2a00_1450_0000_0000 + u128::from(n)) << 64 | 0x53))
}

fn port(n: u32) -> u16 {
    1024 + (n % 60_000) as u16
}

fn ping(n: u32) -> Vec<u8> {
    let echo = [8, 0, 0, 0, 0, 1, 0, 1];
    ethernet(MAC_E, MAC_FAR, IPV4, &ipv4(ICMP, client(n * 256 + 1).1, IP_E, &echo))
}

/// What it is, and the frame of each number.
type Mix = (&'static str, fn(u32) -> Vec<u8>);

/// Flows as there are: one of their ends is the port.
const MIXES: [Mix; 8] = [
    ("clients in a row, one port of theirs", |n| udp4(client(n), E, (5353, 53))),
    ("one client, its ports in a row", |n| udp4(FAR, E, (port(n), 443))),
    ("clients in a row, the same port at both ends", |n| udp4(client(n), E, (5060, 5060))),
    ("clients and ports in a row", |n| udp4(client(n / 100), E, (port(n % 100), 80))),
    ("IPv6 hosts of one network", |n| udp6(client6(n), E6, (5353, 53))),
    ("one IPv6 host, its ports in a row", |n| udp6(FAR6, E6, (port(n), 443))),
    ("IPv6 networks, the same host in each", |n| udp6(far_client6(n), E6, (123, 123))),
    ("clients that ping", ping),
];

#[test]
fn queue_pairs_get_even_shares_of_every_mix_of_flows() {
    // The model alone: that the kernel agrees with it is shown elsewhere, frame by frame.
    for (what, frame) in MIXES {
        for queue_pairs in [2, 3, 8] {
            let mut found = vec![0; queue_pairs as usize];
            (0..FLOWS as u32).for_each(|n| found[model::queue_pair(&frame(n), queue_pairs) as usize] += 1);
            assert_even(what, &found);
        }
    }
    for (queue_pairs, vlan) in [(ERINS, false), (FRANKS, true)] {
        let mut found = vec![0; queue_pairs as usize];
        let mut runner = TestRunner::deterministic();
        for _ in 0..FLOWS {
            let frame = packet().new_tree(&mut runner).unwrap().current().frame();
            let frame = if vlan { for_frank(&frame, &[]) } else { frame };
            found[model::queue_pair(&frame, queue_pairs) as usize] += 1;
        }
        assert_even("random flows", &found);
    }
}

#[test]
fn the_kernel_spreads_flows_as_the_model_does() {
    with_lab(|lab| {
        let mut found = [0; FRANKS as usize];
        for (what, frame) in MIXES {
            for n in 0..64 {
                let frame = for_frank(&frame(n), &[]);
                let exit = lab.uplink(&frame);
                assert_eq!(exit, Exit::QueuePair(FRANK, model::queue_pair(&frame, FRANKS)), "{what}");
                found[queue_pair(exit) as usize] += 1;
            }
        }
        assert!(found.iter().all(|&frames| frames > 0), "{found:?}");
    });
}

#[test]
fn self_tests_can_predict_where_a_packet_without_ports_goes() {
    with_lab(|lab| {
        for host in 0..100 {
            let ends = [Ipv4Addr::new(198, 51, 100, host), IP_E];
            let frame = ethernet(MAC_E, MAC_FAR, IPV4, &ipv4(253, ends[0], ends[1], &[0; 8]));
            let predicted = lab.predicted_queue_pair(ends, 253, ERINS);
            assert_eq!(lab.uplink(&frame), Exit::QueuePair(ERIN, predicted));
            assert_eq!(predicted, lab.predicted_queue_pair([ends[1], ends[0]], 253, ERINS));
        }
    });
}

/// Source and destination.
type Ports = (u16, u16);

/// Whether the ports have a say: many packets that differ in their ports alone reach one queue pair, or several.
#[rstest]
#[case::tcp4(true, |ports: Ports| ipv4_flow(0, &[], TCP, ports))]
#[case::udp4(true, |ports: Ports| ipv4_flow(0, &[], UDP, ports))]
#[case::sctp4(true, |ports: Ports| ipv4_flow(0, &[], SCTP, ports))]
#[case::tcp4_that_must_not_be_fragmented(true, |ports: Ports| ipv4_flow(0x4000, &[], TCP, ports))]
#[case::udp4_behind_options(true, |ports: Ports| ipv4_flow(0, &[1; 40], UDP, ports))]
#[case::udp4_first_fragment(false, |ports: Ports| ipv4_flow(0x2000, &[], UDP, ports))]
#[case::udp4_later_fragment(false, |ports: Ports| ipv4_flow(0x2007, &[], UDP, ports))]
#[case::udp4_last_fragment(false, |ports: Ports| ipv4_flow(7, &[], UDP, ports))]
#[case::icmp4(false, |ports: Ports| ipv4_flow(0, &[], ICMP, ports))]
#[case::esp4(false, |ports: Ports| ipv4_flow(0, &[], 50, ports))]
#[case::tcp6(true, |ports: Ports| ipv6_flow(TCP, udp(ports.0, ports.1)))]
#[case::udp6(true, |ports: Ports| ipv6_flow(UDP, udp(ports.0, ports.1)))]
#[case::sctp6(true, |ports: Ports| ipv6_flow(SCTP, udp(ports.0, ports.1)))]
#[case::icmp6(false, |ports: Ports| ipv6_flow(ICMPV6, udp(ports.0, ports.1)))]
#[case::udp6_first_fragment(false, |ports: Ports| ipv6_flow(FRAGMENT, fragment(UDP, 0, true, &udp(ports.0, ports.1))))]
#[case::udp6_later_fragment(false, |ports: Ports| ipv6_flow(FRAGMENT, fragment(UDP, 9, false, &udp(ports.0, ports.1))))]
#[case::udp6_behind_an_extension_header(false, |ports: Ports| ipv6_flow(DESTINATION, extension(DESTINATION, UDP, 8, &udp(ports.0, ports.1))))]
#[case::udp4_cut_before_the_ports(false, |ports: Ports| { let mut frame = ipv4_flow(0, &[], UDP, ports); frame.truncate(14 + 20 + 3); frame })]
#[case::ipv4_of_another_version(false, |ports: Ports| patched(ipv4_flow(0, &[], UDP, ports), 14, &[0x55]))]
#[case::ipv4_that_is_shorter_than_its_header(false, |ports: Ports| patched(ipv4_flow(0, &[], UDP, ports), 16, &[0, 19]))]
#[case::another_ethertype(false, |ports: Ports| ethernet(MAC_E, MAC_FAR, 0x88b5, &udp(ports.0, ports.1)))]
#[case::arp(false, |ports: Ports| ethernet(MAC_E, MAC_FAR, ARP, &arp(2, (MAC_FAR, Ipv4Addr::from(u32::from(ports.0))), E)))]
fn ports_have_a_say(#[case] have: bool, #[case] frame: fn(Ports) -> Vec<u8>) {
    with_lab(|lab| {
        let frames: Vec<_> = (0..32).map(|n| frame((1000 + n, 2000))).collect();
        for wrap in [None, Some([].as_slice()), Some(&[(Q, 7)]), Some(&[(AD, 7)])] {
            let wrapped = frames.iter().map(|frame| wrap.map_or(frame.clone(), |tags| for_frank(frame, tags)));
            let mut queue_pairs: Vec<_> = wrapped.map(|frame| queue_pair(lab.uplink(&frame))).collect();
            queue_pairs.sort_unstable();
            queue_pairs.dedup();
            assert_eq!(queue_pairs.len() > 1, have, "behind {wrap:?}: {queue_pairs:?}");
        }
    });
}

fn ipv4_flow(fragment: u16, options: &[u8], protocol: u8, ports: Ports) -> Vec<u8> {
    ethernet(MAC_E, MAC_FAR, IPV4, &ipv4_with(fragment, options, protocol, IP_FAR, IP_E, &udp(ports.0, ports.1)))
}

fn ipv6_flow(next: u8, payload: Vec<u8>) -> Vec<u8> {
    ethernet(MAC_E, MAC_FAR, IPV6, &ipv6(next, IP6_FAR, IP6_E, &payload))
}

#[test]
fn what_is_not_ip_goes_to_the_first_queue_pair() {
    with_lab(|lab| {
        let first = Exit::QueuePair(ERIN, 0);
        for frame in [
            arp_request(FAR, IP_E),
            arp_reply(FAR, E),
            ethernet(MAC_E, MAC_FAR, 0x88b5, &[7; 46]),
            ethernet(MAC_E, MAC_FAR, IPV4, &[]),
            ethernet(MAC_E, MAC_FAR, IPV4, &[0; 46]),
            ethernet(MAC_E, MAC_FAR, IPV6, &[0x60; 39]),
        ] {
            assert_eq!(lab.uplink(&frame), first);
        }
        assert_eq!(lab.uplink(&tagged(&arp_request(FAR, IP_E), &[(Q, 42)])), Exit::QueuePair(FRANK, 0));
    });
}

#[test]
fn solicitations_are_read_from_their_addresses_on() {
    with_lab(|lab| {
        let mut found = [0; ERINS as usize];
        for host in 0..64 {
            let from = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, host);
            let frame = solicitation((MAC_FAR, from), IP6_E, &source_link(MAC_FAR));
            let exit = lab.uplink(&frame);
            assert_eq!(exit, Exit::QueuePair(ERIN, model::queue_pair(&frame, ERINS)));
            found[queue_pair(exit) as usize] += 1;
        }
        assert!(found.iter().all(|&frames| frames > 0), "{found:?}");
    });
}

#[test]
fn from_port_to_port_and_from_the_wire_a_flow_takes_one_queue_pair() {
    with_lab(|lab| {
        for port in 1000..1064 {
            let inside = udp4(A, E, (port, 53));
            let from_the_wire = udp4((MAC_FAR, IP_A), E, (port, 53));
            assert_eq!(lab.guard(ALICE, &inside), lab.uplink(&from_the_wire));

            let answer = ethernet(MAC_E, MAC_FAR, IPV4, &ipv4(UDP, IP_E, IP_A, &udp(53, port)));
            assert_eq!(lab.guard(ALICE, &inside), lab.uplink(&answer), "the other way");

            let inside = tagged(&udp4((MAC_C, IP_A), E, (port, 53)), &[(Q, 42)]);
            assert_eq!(lab.guard(CAROL, &inside), lab.uplink(&for_frank(&from_the_wire, &[])));
        }
    });
}

#[test]
fn every_queue_pair_sends_as_the_port() {
    with_lab(|lab| {
        for queue_pair in 0..ERINS {
            assert_eq!(lab.guard_of_queue_pair(ERIN, queue_pair, &udp4(E, FAR, (9, 53))), Exit::Uplink);
            assert_eq!(lab.guard_of_queue_pair(ERIN, queue_pair, &udp4(E, A, (9, 53))), Exit::Port(ALICE));
            assert_eq!(
                lab.guard_of_queue_pair(ERIN, queue_pair, &udp4(E, E, (9, 53))),
                Exit::Uplink,
                "no way to itself"
            );
            let forged = Exit::By(crate::Counter::SourceMac);
            assert_eq!(lab.guard_of_queue_pair(ERIN, queue_pair, &udp4(A, FAR, (9, 53))), forged);
        }
    });
}

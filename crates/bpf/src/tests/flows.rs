//! Flows: which packets go to their port, what it may send by them, and how they change.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::Mutex;

use proptest::prelude::*;
use rstest::rstest;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xsknet_filter::{Flow, PortRange, Prefix};

use super::frames::*;
use super::lab::{
    ALICE, BOB, ERIN, ERINS, Exit, HEIDI, PrivateBpffs, QUEUE_SEED, device, enter_new_namespace, exit_of, in_namespace,
    ip, left_by, on_thread,
};
use super::model;
use crate::contract::{FLOW_LISTS, MAX_FLOW_KINDS};
use crate::datapath::Pace;
use crate::{Counter, Datapath, DatapathOptions, FlowsError, PortEntry, PortId, Rates, Rights, TestResult, Vlan};

/// The host's address on the uplink.
pub const IP_HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const IP6_HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
/// A VLAN of some flows.
pub const TAG: u16 = 42;

/// Without a tag. [`ERIN`] has [`ERINS`] queues, the others one. [`HEIDI`] and [`IVAN`] have the uplink's MAC: theirs
/// is only that of their devices. Ivan alone has addresses, [`IP_A`] and [`IP6_A`].
pub static PORTS: [(PortId, Mac); 5] = [(ALICE, MAC_A), (BOB, MAC_B), (ERIN, MAC_E), (HEIDI, MAC_H), (IVAN, MAC_IVAN)];

pub const IVAN: PortId = PortId::new(9).unwrap();
const MAC_IVAN: Mac = [0x02, 0, 0, 0, 0, 0x1c];
const IVANS: [IpAddr; 2] = [IpAddr::V4(IP_A), IpAddr::V6(IP6_A)];

const PASSED: Exit = Exit::By(Counter::Passed);
const SOURCE_IP: Exit = Exit::By(Counter::SourceIp);

const DEVICES: [&str; 8] = ["a0", "b0", "e0", "e1", "e2", "h0", "i0", "up0"];

/// The ports on devices of a private namespace.
pub struct Scene {
    pub datapath: Datapath,
    pub uplink: u32,
    outers: Vec<(PortId, Mac, Vec<u32>)>,
}

static SCENE: Mutex<Option<(File, Scene)>> = Mutex::new(None);

impl Scene {
    /// Runs `test` without any flow, alone. The scene is built once: loading takes longer than all frames of a test.
    pub fn run(test: impl FnOnce(&mut Self) + Send) {
        on_thread(|| {
            let mut scene = SCENE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let (namespace, scene) = scene.get_or_insert_with(|| {
                enter_new_namespace();
                let namespace = File::open("/proc/thread-self/ns/net").unwrap();
                for pair in DEVICES {
                    ip(&["link", "add", pair, "type", "veth", "peer", "name", &format!("{pair}p")]);
                }
                // Fragments of a test belong together, however long it takes.
                (namespace, Self::build(Pace { fragment_age: u32::MAX, ..Pace::real() }))
            });
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            scene.renew();
            test(scene);
        });
    }

    fn build(pace: Pace) -> Self {
        // The programs that explain find the maps by their pins, which go with this thread.
        let pins = PrivateBpffs::mount();
        let shared = pins.path().join("datapath");
        let options = DatapathOptions { uplink_mtu: 1500, queue_seed: QUEUE_SEED, pins: Some(&shared) };
        let mut datapath = Datapath::load_paced(options, pace).unwrap();
        let [alice, bob, one, two, three, heidi, ivan, uplink] = DEVICES.map(|name| device(name).index);
        datapath.set_uplink(uplink).unwrap();
        datapath.explain_uplink(&[0; 14], uplink).unwrap();
        let outers = [vec![alice], vec![bob], vec![one, two, three], vec![heidi], vec![ivan]];
        let outers = PORTS.iter().zip(outers).map(|(&(id, mac), outers)| (id, mac, outers)).collect();
        let mut scene = Self { datapath, uplink, outers };
        scene.add();
        scene
    }

    fn add(&mut self) {
        for (id, mac, outers) in &self.outers {
            self.datapath.add_port(&entry(*id, *mac, outers)).unwrap();
        }
    }

    /// As it was at first: no port has a flow, and no fragment is on its way.
    pub fn renew(&mut self) {
        self.datapath.tables().flows.room_in_tests = None;
        self.datapath.set_uplink_mac(MAC_HOST).unwrap();
        for (id, mac, outers) in &self.outers {
            self.datapath.remove_port(&entry(*id, *mac, outers)).unwrap();
        }
        self.add();
    }

    pub fn uplink(&mut self, frame: &[u8], expected: Exit) -> Exit {
        let ingress = self.uplink;
        let exit = self.exit(frame, expected, |datapath| datapath.test_uplink(frame, ingress).unwrap());
        let explained = self.datapath.explain_uplink(frame, ingress).unwrap();
        assert_eq!(exit_of(&explained, |port| port == ERIN), exit, "{explained:?}");
        exit
    }

    pub fn guard(&mut self, sender: PortId, frame: &[u8], expected: Exit) -> Exit {
        let ingress = self.outer(sender);
        let exit = self.exit(frame, expected, |datapath| datapath.test_guard(frame, ingress).unwrap());
        let explained = self.datapath.explain_guard(frame, ingress).unwrap();
        assert_eq!(exit_of(&explained, |port| port == ERIN), exit, "{explained:?}");
        exit
    }

    /// The first outer end of a port.
    pub(super) fn outer(&self, port: PortId) -> u32 {
        let (_, _, outers) = self.outers.iter().find(|(id, ..)| *id == port).unwrap();
        outers[0]
    }

    pub(super) fn arrives(&mut self, frame: &[u8], expected: Exit) {
        assert_eq!(self.uplink(frame, expected), expected, "{frame:02x?}");
    }

    pub(super) fn sends(&mut self, sender: PortId, frame: &[u8], expected: Exit) {
        assert_eq!(self.guard(sender, frame, expected), expected, "{frame:02x?}");
    }

    /// Runs the frame, and again without the slot that it may have taken: first without the one expected.
    fn exit(&mut self, frame: &[u8], expected: Exit, run: impl Fn(&Datapath) -> TestResult) -> Exit {
        match left_by(&run(&self.datapath), frame) {
            Counter::ToUplink => Exit::Uplink,
            Counter::ToPort => {
                let first = match expected {
                    Exit::Port(id) => Some((id, 0)),
                    Exit::QueuePair(id, queue_pair) => Some((id, queue_pair)),
                    _ => None,
                };
                let all = self.outers.iter().flat_map(|(id, _, outers)| (0..outers.len() as u32).map(|at| (*id, at)));
                let slots: Vec<_> = first.into_iter().chain(all).collect();
                for (id, queue_pair) in slots {
                    let key = id.key_of(queue_pair);
                    let (_, _, outers) = self.outers.iter().find(|(its, ..)| *its == id).unwrap();
                    self.datapath.tables().ports.remove(key).unwrap();
                    let again = left_by(&run(&self.datapath), frame);
                    self.datapath.tables().ports.insert(key, outers[queue_pair as usize], None, 0).unwrap();
                    if again == Counter::NoPort {
                        return if id == ERIN { Exit::QueuePair(id, queue_pair) } else { Exit::Port(id) };
                    }
                }
                panic!("to a port that is none of ours");
            }
            counter => Exit::By(counter),
        }
    }

    pub(super) fn claim(&mut self, port: PortId, flows: &[Flow]) {
        self.datapath.claim_flows(port, flows).unwrap();
    }
}

fn entry(id: PortId, mac: Mac, outers: &[u32]) -> PortEntry<'_> {
    PortEntry {
        id,
        outers,
        mac,
        uplink_mac: [HEIDI, IVAN].contains(&id),
        tap: false,
        vlan: Vlan::UNTAGGED,
        mtu: 1500,
        sources: if id == IVAN { &IVANS } else { &[] },
        targets: if id == IVAN { &IVANS } else { &[] },
        rights: Rights::default(),
        rates: Rates::UNLIMITED,
        rings: None,
    }
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

/// The host's address and those near it.
pub fn host4() -> impl Strategy<Value = Ipv4Addr> {
    let near = |last| Ipv4Addr::new(198, 51, 100, last);
    one_of(&[IP_HOST, IP_HOST, IP_HOST, near(0), near(2), IP_FAR, IP_FAR, Ipv4Addr::new(224, 0, 0, 251)])
}

pub fn host6() -> impl Strategy<Value = Ipv6Addr> {
    let near = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 3);
    one_of(&[IP6_HOST, IP6_HOST, IP6_HOST, near, IP6_FAR, IP6_FAR, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)])
}

fn prefix() -> impl Strategy<Value = Option<Prefix>> {
    let four = (host4(), one_of(&[32u8, 32, 31, 24, 4, 0])).prop_map(|(address, length)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        Prefix::new(Ipv4Addr::from_bits(address.to_bits() & mask).into(), length).unwrap()
    });
    let six = (host6(), one_of(&[128u8, 128, 126, 48, 8, 0])).prop_map(|(address, length)| {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Prefix::new(Ipv6Addr::from_bits(address.to_bits() & mask).into(), length).unwrap()
    });
    prop_oneof![2 => Just(None).boxed(), 3 => four.prop_map(Some).boxed(), 2 => six.prop_map(Some).boxed()]
}

fn ports() -> impl Strategy<Value = Option<PortRange>> {
    let ranges = [(53, 53), (80, 80), (0, 0), (50, 60), (53, 80), (1024, 2047), (1024, 1031), (0, 65535), (49, 52)];
    let range = one_of(&ranges).prop_map(|(first, last)| PortRange::new(first, last).ok());
    prop_oneof![3 => Just(None).boxed(), 2 => range.boxed()]
}

/// A flow that can be claimed, and overlaps many others.
pub fn flow() -> impl Strategy<Value = Flow> {
    let rarely = |values: &[u16]| {
        let some = one_of(values).prop_map(Some);
        prop_oneof![5 => Just(None).boxed(), 1 => some.boxed()]
    };
    let mac = prop_oneof![5 => Just(None).boxed(), 1 => one_of(&[Some(MAC_HOST), Some(MAC_FAR), Some(MAC_A)]).boxed()];
    let protocol =
        one_of(&[None, Some(UDP), Some(UDP), Some(TCP), Some(SCTP), Some(ICMP), Some(ICMPV6), Some(50), Some(2)]);
    let icmp_type = one_of(&[None, None, Some(0u8), Some(3), Some(8), Some(128), Some(129)]);
    let link = (mac, rarely(&[0, TAG, 7]), rarely(&[IPV4, IPV6, 0x88cc]));
    (link, prefix(), prefix(), protocol, ports(), ports(), icmp_type)
        .prop_map(|((destination_mac, vlan, ethertype), source, destination, protocol, from, to, icmp_type)| {
            let has_ports = [Some(TCP), Some(UDP), Some(SCTP)].contains(&protocol);
            let is_icmp = [Some(ICMP), Some(ICMPV6)].contains(&protocol);
            Flow {
                destination_mac,
                vlan,
                ethertype,
                source,
                destination,
                protocol,
                source_ports: from.filter(|_| has_ports),
                destination_ports: to.filter(|_| has_ports),
                icmp_type: icmp_type.filter(|_| is_icmp),
            }
        })
        .prop_filter("contradictory", |flow| flow.check().is_ok())
}

fn host_flow(protocol: u8) -> Flow {
    Flow { destination: Some(Prefix::host(IP_HOST.into())), protocol: Some(protocol), ..Flow::default() }
}

fn host_flow6(protocol: u8) -> Flow {
    Flow { destination: Some(Prefix::host(IP6_HOST.into())), ..host_flow(protocol) }
}

pub(super) fn to_port(port: u16) -> Flow {
    Flow { destination_ports: Some(PortRange::one(port)), ..host_flow(UDP) }
}

fn to_port6(port: u16) -> Flow {
    Flow { destination_ports: Some(PortRange::one(port)), ..host_flow6(UDP) }
}

const HOST: (Mac, Ipv4Addr) = (MAC_HOST, IP_HOST);
const HOST6: (Mac, Ipv6Addr) = (MAC_HOST, IP6_HOST);

fn to_host(payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_HOST, MAC_FAR, IPV4, payload)
}

fn to_host6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_HOST, MAC_FAR, IPV6, &ipv6(next, IP6_FAR, IP6_HOST, payload))
}

fn by_host(payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_FAR, MAC_HOST, IPV4, payload)
}

fn by_host6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_FAR, MAC_HOST, IPV6, &ipv6(next, IP6_HOST, IP6_FAR, payload))
}

/// An error that quotes.
fn icmp_error(icmp_type: u8, quoted: &[u8]) -> Vec<u8> {
    [&[icmp_type, 0, 0, 0, 0, 0, 0, 0], quoted].concat()
}

/// What the rows below begin with: Alice has the name server of the host, Bob what else the host gets by UDP, and its
/// pings.
fn rules() -> [(PortId, Vec<Flow>); 2] {
    let echo = Flow { icmp_type: Some(8), ..host_flow(ICMP) };
    let echo6 = Flow { icmp_type: Some(128), ..host_flow6(ICMPV6) };
    let discovery = Flow { ethertype: Some(0x88cc), ..Flow::default() };
    let in_vlan = Flow { vlan: Some(TAG), ..host_flow(SCTP) };
    let net = Flow {
        destination: Prefix::new([198, 51, 100, 0].into(), 24).ok(),
        protocol: Some(TCP),
        destination_ports: Some(PortRange::one(80)),
        ..Flow::default()
    };
    [
        (ALICE, vec![to_port(53), to_port6(53), discovery]),
        (BOB, vec![host_flow(UDP), host_flow6(UDP), echo, echo6, in_vlan, net]),
    ]
}

/// What has no flow of a port without addresses: its MAC is not one that frames have.
#[rstest]
#[case::a_datagram(udp4((MAC_H, IP_A), FAR, (53, 9)))]
#[case::an_answer_from_its_own_mac(udp4((MAC_H, IP_HOST), FAR, (53, 9)))]
#[case::from_no_mac(udp4(([0; 6], IP_HOST), FAR, (53, 9)))]
#[case::a_client_of_dhcp_from_no_mac(ethernet(BROADCAST, [0; 6], IPV4, &ipv4(UDP, NONE4, [255; 4].into(), &udp_with(68, 67, &dhcp([0; 6])))))]
#[case::an_announcement(arp_request((MAC_H, IP_HOST), IP_HOST))]
#[case::an_announcement_from_no_mac(arp_request(([0; 6], IP_HOST), IP_HOST))]
#[case::a_probe(arp_request((MAC_H, NONE4), IP_HOST))]
#[case::a_probe_from_no_mac(arp_request(([0; 6], NONE4), IP_HOST))]
#[case::an_advertisement(advertisement((MAC_H, IP6_HOST), IP6_HOST, &target_link(MAC_H)))]
#[case::an_advertisement_from_no_mac(advertisement(([0; 6], IP6_HOST), IP6_HOST, &target_link([0; 6])))]
#[case::a_report_from_no_mac(ethernet(MULTICAST6, [0; 6], IPV6, &ipv6(ICMPV6, NONE6, GROUP6, &icmpv6(143, &[0; 4]))))]
fn without_addresses_no_mac_is_a_ports_own(#[case] frame: Vec<u8>) {
    Scene::run(|scene| {
        scene.claim(HEIDI, &[to_port(53), to_port6(53)]);
        scene.sends(HEIDI, &frame, Exit::By(Counter::SourceMac));
        scene.sends(HEIDI, &by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))), Exit::Uplink);
    });
}

#[test]
fn without_addresses_a_port_has_what_comes_to_its_mac_during_its_trial_only() {
    Scene::run(|scene| {
        let to_mac = udp4(FAR, (MAC_H, IP_HOST), (9, 54));
        let heidi = scene.outers[3].2.clone();
        let port = entry(HEIDI, MAC_H, &heidi);
        scene.arrives(&to_mac, PASSED);
        scene.datapath.begin_trial(&port).unwrap();
        scene.arrives(&to_mac, Exit::Port(HEIDI));
        scene.datapath.end_trial(&port).unwrap();
        scene.arrives(&to_mac, PASSED);

        // Its removal ends it, too.
        scene.datapath.begin_trial(&port).unwrap();
        scene.renew();
        scene.arrives(&to_mac, PASSED);
    });
}

const A_PORT: Exit = Exit::Port(ALICE);
const B_PORT: Exit = Exit::Port(BOB);

#[rstest]
#[case::the_flow_of_a_port(udp4(FAR, HOST, (9, 53)), A_PORT)]
#[case::a_wider_flow(udp4(FAR, HOST, (9, 54)), B_PORT)]
#[case::ipv6(udp6(FAR6, HOST6, (9, 53)), A_PORT)]
#[case::a_wider_flow_of_ipv6(udp6(FAR6, HOST6, (9, 54)), B_PORT)]
#[case::another_address(udp4(FAR, (MAC_HOST, IP_FAR), (9, 53)), PASSED)]
#[case::another_protocol(to_host(&ipv4(TCP, IP_FAR, IP_HOST, &udp(9, 53))), PASSED)]
#[case::the_mac_of_a_port_comes_first(udp4(FAR, (MAC_E, IP_HOST), (9, 53)), Exit::QueuePair(ERIN, u32::MAX))]
#[case::any_mac_but_a_ports(udp4(FAR, (MAC_FAR, IP_HOST), (9, 53)), A_PORT)]
#[case::behind_options(to_host(&ipv4_with(0, &[1; 8], UDP, IP_FAR, IP_HOST, &udp(9, 53))), A_PORT)]
#[case::behind_extension_headers(to_host6(HOP_BY_HOP, &extension(HOP_BY_HOP, UDP, 16, &udp(9, 53))), A_PORT)]
#[case::in_any_vlan(tagged(&udp4(FAR, HOST, (9, 53)), &[(Q, TAG)]), A_PORT)]
#[case::in_its_vlan(tagged(&to_host(&ipv4(SCTP, IP_FAR, IP_HOST, &[0; 12])), &[(Q, TAG)]), B_PORT)]
#[case::in_another_vlan(tagged(&to_host(&ipv4(SCTP, IP_FAR, IP_HOST, &[0; 12])), &[(Q, 7)]), PASSED)]
#[case::in_no_vlan(to_host(&ipv4(SCTP, IP_FAR, IP_HOST, &[0; 12])), PASSED)]
#[case::three_tags(tagged(&udp4(FAR, HOST, (9, 53)), &[(Q, 1), (Q, 2), (Q, 3)]), PASSED)]
#[case::an_ethertype(ethernet(BROADCAST, MAC_FAR, 0x88cc, &[0; 46]), A_PORT)]
#[case::another_ethertype(ethernet(BROADCAST, MAC_FAR, 0x88cd, &[0; 46]), PASSED)]
#[case::ports_that_are_cut(udp4(FAR, HOST, (9, 53))[..14 + 23].to_vec(), B_PORT)]
#[case::ports_beyond_the_packet(patched(udp4(FAR, HOST, (9, 53)), 16, &[0, 23]), B_PORT)]
#[case::an_ip_header_that_is_cut(udp4(FAR, HOST, (9, 53))[..33].to_vec(), PASSED)]
#[case::an_ip_header_that_contradicts_itself(patched(udp4(FAR, HOST, (9, 53)), 16, &[0, 19]), PASSED)]
#[case::extension_headers_that_are_cut(to_host6(HOP_BY_HOP, &extension(HOP_BY_HOP, UDP, 16, &[]))[..14 + 50].to_vec(), PASSED)]
#[case::a_ping(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &[8, 0, 0, 0, 0, 1, 0, 1])), B_PORT)]
#[case::an_answer_to_a_ping(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &[0; 8])), PASSED)]
#[case::a_ping_of_ipv6(to_host6(ICMPV6, &icmpv6(128, &[0; 4])), B_PORT)]
#[case::arp_for_the_host(arp_request(FAR, IP_HOST), PASSED)]
#[case::neighbour_discovery_for_the_host(solicitation(FAR6, IP6_HOST, &[]), PASSED)]
#[case::an_error_about_an_answer(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(3, &ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))))), A_PORT)]
#[case::an_error_about_another_answer(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(3, &ipv4(UDP, IP_HOST, IP_FAR, &udp(54, 9))))), B_PORT)]
#[case::an_error_about_the_hosts_own(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(3, &ipv4(TCP, IP_HOST, IP_FAR, &udp(53, 9))))), PASSED)]
#[case::an_error_about_a_packet_to_the_host(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(3, &ipv4(UDP, IP_FAR, IP_HOST, &udp(9, 53))))), PASSED)]
#[case::an_error_about_a_ping_that_was_answered(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(11, &ipv4(ICMP, IP_HOST, IP_FAR, &[0; 8])))), B_PORT)]
#[case::an_error_about_a_ping_of_the_host(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(11, &ipv4(ICMP, IP_HOST, IP_FAR, &[8; 8])))), PASSED)]
#[case::an_error_that_quotes_too_little(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(3, &ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))[..19]))), PASSED)]
#[case::an_error_of_ipv6(to_host6(ICMPV6, &icmp_error(1, &ipv6(UDP, IP6_HOST, IP6_FAR, &udp(53, 9)))), A_PORT)]
#[case::an_error_of_ipv6_about_extension_headers(to_host6(ICMPV6, &icmp_error(2, &ipv6(DESTINATION, IP6_HOST, IP6_FAR, &extension(DESTINATION, UDP, 8, &udp(53, 9))))), A_PORT)]
#[case::a_redirect_is_no_error(to_host(&ipv4(ICMP, IP_FAR, IP_HOST, &icmp_error(5, &ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))))), PASSED)]
#[case::a_later_fragment_of_nothing_known(to_host(&ipv4_with(1, &[], UDP, IP_FAR, IP_HOST, &udp(9, 53))), Exit::By(Counter::PassedFragment))]
#[case::as_long_as_the_port_takes({ let mut frame = udp4(FAR, HOST, (9, 53)); frame.resize(1514, 0); frame }, A_PORT)]
#[case::one_byte_longer({ let mut frame = udp4(FAR, HOST, (9, 53)); frame.resize(1515, 0); frame }, Exit::By(Counter::TooLong))]
fn uplink(#[case] frame: Vec<u8>, #[case] exit: Exit) {
    let exit = match exit {
        Exit::QueuePair(id, u32::MAX) => Exit::QueuePair(id, model::queue_pair(&frame, ERINS)),
        exit => exit,
    };
    with_rules(|scene| scene.arrives(&frame, exit));
}

#[rstest]
#[case::an_answer(ALICE, by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))), Exit::Uplink)]
#[case::an_answer_of_ipv6(ALICE, by_host6(UDP, &udp(53, 9)), Exit::Uplink)]
#[case::an_answer_of_another_port(BOB, by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))), SOURCE_IP)]
#[case::what_a_wider_flow_describes(BOB, by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(54, 9))), Exit::Uplink)]
#[case::what_no_own_flow_describes(ALICE, by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(54, 9))), SOURCE_IP)]
#[case::another_protocol(ALICE, by_host(&ipv4(TCP, IP_HOST, IP_FAR, &udp(53, 9))), SOURCE_IP)]
#[case::another_address(ALICE, by_host(&ipv4(UDP, IP_A, IP_FAR, &udp(53, 9))), SOURCE_IP)]
#[case::the_same_from_its_own_mac(ALICE, udp4((MAC_A, IP_HOST), FAR, (53, 9)), SOURCE_IP)]
#[case::another_mac(ALICE, udp4((MAC_FAR, IP_HOST), FAR, (53, 9)), Exit::By(Counter::SourceMac))]
#[case::a_prefix_is_not_a_sender(BOB, by_host(&ipv4(TCP, IP_HOST, IP_FAR, &udp(80, 9))), SOURCE_IP)]
#[case::to_another_port(ALICE, udp4(HOST, B, (53, 9)), B_PORT)]
#[case::in_a_vlan_that_its_flow_does_not_name(ALICE, tagged(&by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))), &[(Q, TAG)]), Exit::By(Counter::Vlan))]
#[case::in_a_vlan_that_its_flow_names(BOB, tagged(&by_host(&ipv4(SCTP, IP_HOST, IP_FAR, &[0; 12])), &[(Q, TAG)]), Exit::Uplink)]
#[case::outside_of_it(BOB, by_host(&ipv4(SCTP, IP_HOST, IP_FAR, &[0; 12])), SOURCE_IP)]
#[case::with_an_inner_tag(ALICE, tagged(&by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9))), &[(Q, TAG), (Q, 7)]), Exit::By(Counter::Vlan))]
#[case::arp(ALICE, arp_reply(HOST, FAR), Exit::By(Counter::Arp))]
#[case::an_ethertype_is_not_a_sender(ALICE, ethernet(BROADCAST, MAC_HOST, 0x88cc, &[0; 46]), Exit::By(Counter::Ethertype))]
#[case::neighbour_discovery(BOB, by_host6(ICMPV6, &nd(ADVERTISEMENT, IP6_HOST, &target_link(MAC_HOST))), Exit::By(Counter::Nd))]
#[case::an_answer_to_a_ping(BOB, by_host(&ipv4(ICMP, IP_HOST, IP_FAR, &[0; 8])), Exit::Uplink)]
#[case::a_ping(BOB, by_host(&ipv4(ICMP, IP_HOST, IP_FAR, &[8; 8])), SOURCE_IP)]
#[case::an_answer_to_a_ping_of_ipv6(BOB, by_host6(ICMPV6, &icmpv6(129, &[0; 4])), Exit::Uplink)]
#[case::an_error(BOB, by_host(&ipv4(ICMP, IP_HOST, IP_FAR, &icmp_error(3, &ipv4(UDP, IP_FAR, IP_HOST, &udp(9, 54))))), SOURCE_IP)]
#[case::a_first_fragment(ALICE, by_host(&ipv4_with(0x2000, &[], UDP, IP_HOST, IP_FAR, &udp(53, 9))), SOURCE_IP)]
#[case::a_later_fragment(ALICE, by_host(&ipv4_with(1, &[], UDP, IP_HOST, IP_FAR, &udp(53, 9))), SOURCE_IP)]
#[case::an_atomic_fragment(ALICE, by_host6(FRAGMENT, &fragment(UDP, 0, false, &udp(53, 9))), SOURCE_IP)]
#[case::ports_that_are_cut(ALICE, by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9)))[..14 + 23].to_vec(), Exit::By(Counter::Malformed))]
#[case::to_a_client_of_dhcp(BOB, by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(67, 68))), Exit::By(Counter::Rogue))]
#[case::to_a_server_of_dhcp(BOB, by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(68, 67))), Exit::By(Counter::Rogue))]
#[case::a_source_route(ALICE, by_host(&ipv4_with(0, &[131, 4, 0, 0], UDP, IP_HOST, IP_FAR, &udp(53, 9))), Exit::By(Counter::Rogue))]
fn guard(#[case] sender: PortId, #[case] frame: Vec<u8>, #[case] exit: Exit) {
    with_rules(|scene| scene.sends(sender, &frame, exit));
}

fn with_rules(test: impl FnOnce(&mut Scene) + Send) {
    Scene::run(|scene| {
        for (port, flows) in rules() {
            scene.claim(port, &flows);
        }
        test(scene);
    });
}

#[test]
fn without_the_uplinks_mac_no_port_sends_by_its_flows() {
    with_rules(|scene| {
        let answer = by_host(&ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9)));
        scene.sends(ALICE, &answer, Exit::Uplink);
        scene.datapath.set_uplink_mac([0; 6]).unwrap();
        scene.sends(ALICE, &answer, Exit::By(Counter::SourceMac));
        let nobodys = ethernet(MAC_FAR, [0; 6], IPV4, &answer[14..]);
        scene.sends(ALICE, &nobodys, Exit::By(Counter::SourceMac));
    });
}

/// In each row the first flow is the one of greater precedence, and both match a datagram to port 53 of the host.
#[rstest]
#[case::longer_destination(
    Flow { destination: Some(Prefix::host(IP_HOST.into())), ..Flow::default() },
    Flow { destination: Prefix::new([198, 51, 100, 0].into(), 24).ok(), source_ports: None, ..to_port(53) }
)]
#[case::destination_port_before_source_port(to_port(53), Flow { source_ports: Some(PortRange::one(9)), ..host_flow(UDP) })]
#[case::one_port_before_a_range(to_port(53), Flow { destination_ports: PortRange::new(50, 60).ok(), ..host_flow(UDP) })]
#[case::a_range_before_any(Flow { destination_ports: PortRange::new(50, 60).ok(), ..host_flow(UDP) }, Flow { source_ports: Some(PortRange::one(9)), ..host_flow(UDP) })]
#[case::a_protocol(host_flow(UDP), Flow { source: Some(Prefix::host(IP_FAR.into())), protocol: None, ..host_flow(UDP) })]
#[case::longer_source(Flow { source: Some(Prefix::host(IP_FAR.into())), ..host_flow(UDP) }, Flow { source: Prefix::new([192, 0, 2, 0].into(), 24).ok(), vlan: Some(0), ..host_flow(UDP) })]
#[case::a_vlan(Flow { vlan: Some(0), ..host_flow(UDP) }, Flow { destination_mac: Some(MAC_HOST), ethertype: Some(IPV4), ..host_flow(UDP) })]
#[case::a_mac(Flow { destination_mac: Some(MAC_HOST), ..host_flow(UDP) }, Flow { ethertype: Some(IPV4), ..host_flow(UDP) })]
#[case::an_ethertype(Flow { ethertype: Some(IPV4), ..host_flow(UDP) }, host_flow(UDP))]
fn the_flow_of_greater_precedence_wins(#[case] first: Flow, #[case] second: Flow) {
    Scene::run(|scene| {
        let frame = udp4(FAR, HOST, (9, 53));
        for (one, other) in [(ALICE, BOB), (BOB, ALICE)] {
            scene.claim(other, &[second]);
            scene.arrives(&frame, Exit::Port(other));
            scene.claim(one, &[first]);
            scene.arrives(&frame, Exit::Port(one));
            scene.datapath.release_flows(one, &[first]).unwrap();
            scene.arrives(&frame, Exit::Port(other));
            scene.datapath.release_flows(other, &[second]).unwrap();
            scene.arrives(&frame, PASSED);
        }
    });
}

#[test]
fn later_fragments_follow_the_first() {
    Scene::run(|scene| {
        scene.claim(ALICE, &[to_port(53), to_port6(53)]);
        let lost = Exit::By(Counter::PassedFragment);
        let id = |frame: Vec<u8>, id| patched(frame, 18, &[id]);
        let [first, later] =
            [0x2000, 7].map(|field| to_host(&ipv4_with(field, &[], UDP, IP_FAR, IP_HOST, &udp(9, 53))));
        let other = to_host(&ipv4_with(0x2000, &[], UDP, IP_FAR, IP_HOST, &udp(9, 54)));
        scene.arrives(&id(later.clone(), 1), lost);
        scene.arrives(&id(first.clone(), 1), A_PORT);
        scene.arrives(&id(later.clone(), 1), A_PORT);
        scene.arrives(&id(later.clone(), 2), lost);
        scene.arrives(&tagged(&id(later.clone(), 1), &[(Q, TAG)]), lost);
        scene.arrives(&patched(id(later.clone(), 1), 23, &[TCP]), lost);
        scene.arrives(&patched(id(later.clone(), 1), 29, &[9]), lost);
        scene.arrives(&id(other, 3), PASSED);
        scene.arrives(&id(later.clone(), 3), lost);

        let six = |offset, more| to_host6(FRAGMENT, &fragment(UDP, offset, more, &udp(9, 53)));
        scene.arrives(&six(2, false), lost);
        scene.arrives(&six(0, false), A_PORT);
        scene.arrives(&six(2, false), lost);
        scene.arrives(&six(0, true), A_PORT);
        scene.arrives(&six(2, false), A_PORT);

        // Of a port that is gone, nothing is remembered; the flow alone may go.
        scene.datapath.release_flows(ALICE, &[to_port(53)]).unwrap();
        scene.arrives(&id(later.clone(), 1), A_PORT);
        scene.renew();
        scene.claim(BOB, &[to_port(53)]);
        scene.arrives(&id(later, 1), lost);
    });
}

#[test]
fn a_first_fragment_is_forgotten() {
    // As old as that it is at once.
    in_namespace(&DEVICES, || {
        let mut scene = Scene::build(Pace { fragment_age: 0, ..Pace::real() });
        scene.claim(ALICE, &[to_port(53)]);
        scene.arrives(&to_host(&ipv4_with(0x2000, &[], UDP, IP_FAR, IP_HOST, &udp(9, 53))), A_PORT);
        let later = to_host(&ipv4_with(7, &[], UDP, IP_FAR, IP_HOST, &udp(9, 53)));
        scene.arrives(&later, Exit::By(Counter::PassedFragment));
    });
}

#[test]
fn packets_errors_and_fragments_of_a_flow_have_one_queue() {
    Scene::run(|scene| {
        scene.claim(ERIN, &[host_flow(UDP), host_flow6(UDP)]);
        let mut found = [0; ERINS as usize];
        for from in 1000..1032 {
            let frame = udp4(FAR, HOST, (from, 53));
            let queue = model::queue_pair(&frame, ERINS);
            found[queue as usize] += 1;
            scene.arrives(&frame, Exit::QueuePair(ERIN, queue));
            let quoted = ipv4(UDP, IP_HOST, IP_FAR, &udp(53, from));
            for router in [IP_FAR, IP_A, IP_B] {
                let error = to_host(&ipv4(ICMP, router, IP_HOST, &icmp_error(3, &quoted)));
                scene.arrives(&error, Exit::QueuePair(ERIN, queue));
            }
            let frame = udp6(FAR6, HOST6, (from, 53));
            let queue = Exit::QueuePair(ERIN, model::queue_pair(&frame, ERINS));
            scene.arrives(&frame, queue);
            let error = icmp_error(1, &ipv6(UDP, IP6_HOST, IP6_FAR, &udp(53, from)));
            scene.arrives(&to_host6(ICMPV6, &error), queue);
        }
        assert!(found.iter().all(|&frames| frames > 0), "{found:?}");
        let [first, later] =
            [0x2000, 7].map(|field| to_host(&ipv4_with(field, &[], UDP, IP_FAR, IP_HOST, &udp(9, 53))));
        let queue = Exit::QueuePair(ERIN, model::queue_pair(&first, ERINS));
        scene.arrives(&first, queue);
        scene.arrives(&later, queue);
    });
}

#[test]
fn flows_that_cannot_be_are_refused_and_change_nothing() {
    Scene::run(|scene| {
        scene.claim(ALICE, &[to_port(53)]);
        let range = |first, last| Flow { destination_ports: PortRange::new(first, last).ok(), ..host_flow(UDP) };
        scene.claim(BOB, &[range(100, 200)]);
        let more = to_port(80);
        for (refused, expected) in [
            (to_port(53), "the flow \"dst host 198.51.100.1 and udp dst port 53\" is in conflict with"),
            (range(150, 250), "is in conflict with \"dst host 198.51.100.1 and udp dst portrange 100-200\" of port 2"),
            (Flow { protocol: None, ..to_port(53) }, "no packet can match the flow"),
            (Flow { ethertype: Some(ARP), ..Flow::default() }, "ARP and neighbour discovery cannot be claimed"),
            (Flow { icmp_type: Some(135), ..host_flow6(ICMPV6) }, "ARP and neighbour discovery cannot be claimed"),
        ] {
            let error = scene.datapath.claim_flows(ALICE, &[more, refused]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            let error = scene.datapath.replace_flows(BOB, &[more, refused]).err();
            if refused != range(150, 250) {
                assert!(error.unwrap().to_string().contains(expected));
            } else {
                assert!(error.is_none(), "it replaces the one that it was in conflict with");
                scene.datapath.replace_flows(BOB, &[range(100, 200)]).unwrap();
            }
            assert_eq!(scene.datapath.flows(ALICE).collect::<Vec<_>>(), [&to_port(53)]);
            assert_eq!(scene.datapath.flows(BOB).collect::<Vec<_>>(), [&range(100, 200)]);
            scene.arrives(&udp4(FAR, HOST, (9, 80)), PASSED);
            scene.arrives(&udp4(FAR, HOST, (9, 53)), A_PORT);
            scene.arrives(&udp4(FAR, HOST, (9, 150)), B_PORT);
        }
        scene.claim(BOB, &[range(201, 250)]);
        scene.arrives(&udp4(FAR, HOST, (9, 201)), B_PORT);
        scene.datapath.release_flows(ALICE, &[range(201, 250), to_port(9)]).unwrap();
        scene.arrives(&udp4(FAR, HOST, (9, 201)), B_PORT);
        let nobody = PortId::new(77).unwrap();
        assert!(matches!(scene.datapath.claim_flows(nobody, &[]), Err(FlowsError::NoPort { .. })));
    });
}

#[test]
fn the_number_of_kinds_is_bounded() {
    Scene::run(|scene| {
        // No two of these ranges have the same kind: none is a block of a power of two.
        let range = |at: u16| Flow { destination_ports: PortRange::new(at * 8 + 1, at * 8 + 3).ok(), ..host_flow(UDP) };
        let most = MAX_FLOW_KINDS as u16;
        for at in 0..most {
            scene.claim(ALICE, &[range(at)]);
        }
        for list in [&[range(most)][..], &[to_port6(1), range(most)]] {
            let error = scene.datapath.claim_flows(BOB, list).unwrap_err();
            assert!(matches!(error, FlowsError::TooManyKinds), "{error}");
        }
        assert_eq!(scene.datapath.flows(BOB).count(), 0);
        scene.arrives(&udp6(FAR6, HOST6, (9, 1)), PASSED);
        for at in 0..most {
            scene.arrives(&udp4(FAR, HOST, (9, at * 8 + 2)), A_PORT);
        }
        scene.arrives(&udp4(FAR, HOST, (9, 4)), PASSED);
        scene.datapath.release_flows(ALICE, &[range(0)]).unwrap();
        scene.claim(BOB, &[range(most)]);
        scene.arrives(&udp4(FAR, HOST, (9, most * 8 + 2)), B_PORT);
    });
}

#[test]
fn kinds_come_and_go_more_often_than_there_are_lists() {
    Scene::run(|scene| {
        scene.claim(BOB, &[host_flow(UDP)]);
        for _ in 0..FLOW_LISTS * 2 {
            scene.claim(ALICE, &[to_port(53)]);
            scene.arrives(&udp4(FAR, HOST, (9, 53)), A_PORT);
            scene.datapath.release_flows(ALICE, &[to_port(53)]).unwrap();
            scene.arrives(&udp4(FAR, HOST, (9, 53)), B_PORT);
        }
    });
}

pub(super) fn many(count: u16) -> Vec<Flow> {
    (0..count).map(|at| to_port(10_000 + at)).collect()
}

#[test]
fn many_flows_become_valid_together_or_not_at_all() {
    Scene::run(|scene| {
        let probe = |at: u16| udp4(FAR, HOST, (9, 10_000 + at));
        scene.claim(BOB, &[to_port(53)]);
        scene.claim(ALICE, &many(300));
        scene.arrives(&probe(299), A_PORT);

        // The kernel stops in the middle: the new table is too small.
        scene.datapath.tables().flows.room_in_tests = Some(512);
        let new: Vec<Flow> = (0..1000).map(|at| to_port(20_000 + at)).collect();
        for changed in [scene.datapath.replace_flows(ALICE, &new), scene.datapath.claim_flows(ALICE, &new)] {
            let error = changed.unwrap_err();
            assert!(matches!(&error, FlowsError::Refused(_)), "{error}");
            assert_eq!(scene.datapath.flows(ALICE).count(), 300);
            scene.arrives(&probe(0), A_PORT);
            scene.arrives(&probe(299), A_PORT);
            scene.arrives(&udp4(FAR, HOST, (9, 20_000)), PASSED);
            scene.arrives(&udp4(FAR, HOST, (9, 53)), B_PORT);
        }
        scene.datapath.tables().flows.room_in_tests = None;

        scene.datapath.replace_flows(ALICE, &new).unwrap();
        scene.arrives(&probe(0), PASSED);
        scene.arrives(&udp4(FAR, HOST, (9, 20_999)), A_PORT);
        scene.arrives(&udp4(FAR, HOST, (9, 53)), B_PORT);
        scene.datapath.release_flows(ALICE, &new).unwrap();
        scene.arrives(&udp4(FAR, HOST, (9, 20_999)), PASSED);
        scene.arrives(&udp4(FAR, HOST, (9, 53)), B_PORT);
    });
}

#[test]
fn a_table_in_use_grows_by_another_one() {
    Scene::run(|scene| {
        for flow in many(600) {
            scene.claim(ALICE, &[flow]);
        }
        for at in [0, 255, 256, 511, 512, 599] {
            scene.arrives(&udp4(FAR, HOST, (9, 10_000 + at)), A_PORT);
        }
    });
}

#[test]
fn flows_end_with_their_port() {
    Scene::run(|scene| {
        for count in [3, 300] {
            scene.claim(ALICE, &many(count));
            scene.arrives(&udp4(FAR, HOST, (9, 10_002)), A_PORT);
            scene.renew();
            scene.arrives(&udp4(FAR, HOST, (9, 10_002)), PASSED);
            scene.claim(BOB, &many(count));
            scene.renew();
        }
    });
}

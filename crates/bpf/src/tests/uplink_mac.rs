//! A port with addresses of its own at the uplink's MAC: what is steered to it, and what it may send.

use rstest::rstest;

use super::flows::{IP_HOST, IP6_HOST, IVAN, Scene, to_port};
use super::frames::*;
use super::lab::{ALICE, Exit};
use crate::{Counter, Rule};

const I: (Mac, std::net::Ipv4Addr) = (MAC_HOST, IP_A);
const I6: (Mac, std::net::Ipv6Addr) = (MAC_HOST, IP6_A);
const PASSED: Exit = Exit::By(Counter::Passed);
const A_PORT: Exit = Exit::Port(IVAN);
const OUT: Exit = Exit::Uplink;
const SOURCE_MAC: Exit = Exit::By(Counter::SourceMac);
const SOURCE_IP: Exit = Exit::By(Counter::SourceIp);
const SPOOFED_ARP: Exit = Exit::By(Counter::Arp);
const SPOOFED_ND: Exit = Exit::By(Counter::Nd);
const ROGUE: Exit = Exit::By(Counter::Rogue);
/// Another MAC for the uplink.
const MAC_NEW: Mac = [0x02, 0, 0, 0, 0xff, 0x03];

fn in_fragments(offset: u16) -> Vec<u8> {
    ethernet(MAC_HOST, MAC_FAR, IPV4, &ipv4_with(offset, &[], UDP, IP_FAR, IP_A, &udp(9, 53)))
}

fn icmp6_to(to: std::net::Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ethernet(MAC_HOST, MAC_FAR, IPV6, &ipv6(ICMPV6, IP6_FAR, to, message))
}

#[rstest]
#[case::a_datagram(udp4(FAR, I, (9, 53)), A_PORT)]
#[case::a_datagram_of_ipv6(udp6(FAR6, I6, (9, 53)), A_PORT)]
#[case::a_first_fragment(in_fragments(0x2000), A_PORT)]
#[case::a_later_fragment_without_the_first(in_fragments(3), A_PORT)]
#[case::an_unknown_protocol(ethernet(MAC_HOST, MAC_FAR, IPV4, &ipv4(253, IP_FAR, IP_A, &[])), A_PORT)]
#[case::for_the_host(udp4(FAR, (MAC_HOST, IP_HOST), (9, 53)), PASSED)]
#[case::for_the_host_by_ipv6(udp6(FAR6, (MAC_HOST, IP6_HOST), (9, 53)), PASSED)]
#[case::to_another_mac(udp4(FAR, (MAC_FAR, IP_A), (9, 53)), PASSED)]
#[case::to_all(ethernet(BROADCAST, MAC_FAR, IPV4, &ipv4(UDP, IP_FAR, IP_A, &udp(9, 53))), PASSED)]
#[case::in_a_vlan(tagged(&udp4(FAR, I, (9, 53)), &[(Q, 42)]), PASSED)]
#[case::behind_a_priority_tag(tagged(&udp4(FAR, I, (9, 53)), &[(Q, 0)]), PASSED)]
#[case::cut_in_the_header(ethernet(MAC_HOST, MAC_FAR, IPV4, &ipv4(UDP, IP_FAR, IP_A, &[])[..19]), PASSED)]
#[case::cut_in_the_header_of_ipv6(ethernet(MAC_HOST, MAC_FAR, IPV6, &ipv6(UDP, IP6_FAR, IP6_A, &[])[..39]), PASSED)]
#[case::of_another_version(patched(udp4(FAR, I, (9, 53)), 14, &[0x65]), PASSED)]
#[case::another_ethertype(ethernet(MAC_HOST, MAC_FAR, 0x88cc, &[0; 46]), PASSED)]
#[case::an_arp_request(arp_request(FAR, IP_A), A_PORT)]
#[case::an_arp_request_by_unicast(ethernet(MAC_HOST, MAC_FAR, ARP, &arp(1, FAR, ([0; 6], IP_A))), A_PORT)]
#[case::an_arp_request_for_the_host(arp_request(FAR, IP_HOST), PASSED)]
#[case::an_answer_to_its_arp(arp_reply(FAR, I), A_PORT)]
#[case::an_answer_to_the_hosts_arp(arp_reply(FAR, (MAC_HOST, IP_HOST)), PASSED)]
#[case::an_answer_to_arp_cut_short(ethernet(MAC_HOST, MAC_FAR, ARP, &arp(2, FAR, I)[..27]), PASSED)]
#[case::an_answer_to_arp_of_other_hardware(patched(arp_reply(FAR, I), 15, &[6]), PASSED)]
#[case::an_arp_reply_to_all_with_its_address(ethernet(BROADCAST, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), A_PORT)]
#[case::a_solicitation(solicitation(FAR6, IP6_A, &source_link(MAC_FAR)), A_PORT)]
#[case::a_solicitation_by_unicast(icmp6_to(IP6_A, &nd(SOLICITATION, IP6_A, &[])), A_PORT)]
#[case::a_solicitation_for_the_host(solicitation(FAR6, IP6_HOST, &[]), PASSED)]
#[case::an_answer_to_its_solicitation(icmp6_to(IP6_A, &nd(ADVERTISEMENT, IP6_FAR, &target_link(MAC_FAR))), A_PORT)]
#[case::an_answer_to_the_hosts_solicitation(icmp6_to(IP6_HOST, &nd(ADVERTISEMENT, IP6_FAR, &target_link(MAC_FAR))), PASSED)]
fn uplink(#[case] frame: Vec<u8>, #[case] expected: Exit) {
    Scene::run(|scene| scene.arrives(&frame, expected));
}

fn from(address: std::net::Ipv4Addr) -> Vec<u8> {
    udp4((MAC_HOST, address), FAR, (9, 53))
}

fn asks_dhcp(source: std::net::Ipv4Addr, chaddr: Mac) -> Vec<u8> {
    ethernet(BROADCAST, MAC_HOST, IPV4, &ipv4(UDP, source, [255; 4].into(), &udp_with(68, 67, &dhcp(chaddr))))
}

#[rstest]
#[case::a_datagram(from(IP_A), OUT)]
#[case::a_datagram_of_ipv6(udp6(I6, FAR6, (9, 53)), OUT)]
#[case::a_fragment(ethernet(MAC_FAR, MAC_HOST, IPV4, &ipv4_with(3, &[], UDP, IP_A, IP_FAR, &udp(9, 53))), OUT)]
#[case::from_its_devices_mac(udp4(([2, 0, 0, 0, 0, 0x1c], IP_A), FAR, (9, 53)), SOURCE_MAC)]
#[case::from_no_mac(udp4(([0; 6], IP_A), FAR, (9, 53)), SOURCE_MAC)]
#[case::from_another_ports_mac(udp4((MAC_A, IP_A), FAR, (9, 53)), SOURCE_MAC)]
#[case::from_the_hosts_address(from(IP_HOST), SOURCE_IP)]
#[case::from_the_hosts_address_of_ipv6(udp6((MAC_HOST, IP6_HOST), FAR6, (9, 53)), SOURCE_IP)]
#[case::from_a_strangers_address(from(IP_B), SOURCE_IP)]
#[case::in_a_vlan(tagged(&from(IP_A), &[(Q, 42)]), Exit::By(Counter::Vlan))]
#[case::behind_two_tags(tagged(&from(IP_A), &[(Q, 42), (Q, 7)]), Exit::By(Counter::Vlan))]
#[case::another_ethertype(ethernet(MAC_FAR, MAC_HOST, 0x88cc, &[0; 46]), Exit::By(Counter::Ethertype))]
#[case::arp(arp_request(I, IP_FAR), OUT)]
#[case::an_arp_probe(arp_request((MAC_HOST, NONE4), IP_A), OUT)]
#[case::an_answer_to_arp(arp_reply(I, FAR), OUT)]
#[case::arp_as_the_host(arp_request((MAC_HOST, IP_HOST), IP_FAR), SPOOFED_ARP)]
#[case::an_answer_to_arp_as_the_host(arp_reply((MAC_HOST, IP_HOST), FAR), SPOOFED_ARP)]
#[case::an_arp_probe_for_the_hosts_address(arp_request((MAC_HOST, NONE4), IP_HOST), SPOOFED_ARP)]
#[case::arp_with_its_devices_mac(ethernet(BROADCAST, MAC_HOST, ARP, &arp(1, ([2, 0, 0, 0, 0, 0x1c], IP_A), FAR)), SPOOFED_ARP)]
#[case::a_solicitation(solicitation(I6, IP6_FAR, &source_link(MAC_HOST)), OUT)]
#[case::duplicate_address_detection(solicitation((MAC_HOST, NONE6), IP6_A, &[]), OUT)]
#[case::an_advertisement(advertisement(I6, IP6_A, &target_link(MAC_HOST)), OUT)]
#[case::an_advertisement_of_the_hosts_address(advertisement(I6, IP6_HOST, &target_link(MAC_HOST)), SPOOFED_ND)]
#[case::an_advertisement_with_its_devices_mac(advertisement(I6, IP6_A, &target_link([2, 0, 0, 0, 0, 0x1c])), SPOOFED_ND)]
#[case::an_advertisement_from_the_host(advertisement((MAC_HOST, IP6_HOST), IP6_A, &target_link(MAC_HOST)), SPOOFED_ND)]
#[case::detection_of_the_hosts_address(solicitation((MAC_HOST, NONE6), IP6_HOST, &[]), SPOOFED_ND)]
#[case::dhcp_for_the_host(asks_dhcp(NONE4, MAC_HOST), ROGUE)]
#[case::dhcp_from_its_own_address(asks_dhcp(IP_A, MAC_HOST), ROGUE)]
#[case::dhcp_for_another_mac(asks_dhcp(NONE4, [2, 0, 0, 0, 0, 0x1c]), ROGUE)]
#[case::dhcp6(ethernet(MULTICAST6, MAC_HOST, IPV6, &ipv6(UDP, IP6_A, GROUP6, &udp_with(546, 547, &dhcp6(1)))), ROGUE)]
#[case::to_its_own_address(udp4(I, I, (9, 53)), OUT)]
fn guard(#[case] frame: Vec<u8>, #[case] expected: Exit) {
    Scene::run(|scene| scene.sends(IVAN, &frame, expected));
}

#[test]
fn another_port_reaches_it_by_its_address() {
    Scene::run(|scene| {
        scene.claim(ALICE, &[to_port(53)]);
        let by_flow = |to| ethernet(to, MAC_HOST, IPV4, &ipv4(UDP, IP_HOST, IP_A, &udp(53, 9)));
        scene.sends(ALICE, &by_flow(MAC_HOST), A_PORT);
        scene.sends(ALICE, &by_flow(MAC_FAR), OUT);
        // And the other way round.
        scene.sends(IVAN, &udp4(I, (MAC_A, IP_FAR), (9, 53)), Exit::Port(ALICE));
    });
}

#[test]
fn flows_beside_its_addresses_let_it_send_from_those_of_the_host() {
    Scene::run(|scene| {
        let answer = ethernet(MAC_FAR, MAC_HOST, IPV4, &ipv4(UDP, IP_HOST, IP_FAR, &udp(53, 9)));
        scene.sends(IVAN, &answer, SOURCE_IP);
        scene.claim(IVAN, &[to_port(53)]);
        scene.sends(IVAN, &answer, OUT);
        scene.sends(IVAN, &from(IP_A), OUT);
        scene.arrives(&ethernet(MAC_HOST, MAC_FAR, IPV4, &ipv4(UDP, IP_FAR, IP_HOST, &udp(9, 53))), A_PORT);
        // A flow of another port does not take what is for its address.
        let all = xsknet_filter::Flow { protocol: Some(UDP), ..Default::default() };
        scene.claim(ALICE, &[all]);
        scene.arrives(&udp4(FAR, I, (9, 80)), A_PORT);
        scene.arrives(&udp4(FAR, (MAC_HOST, IP_B), (9, 80)), Exit::Port(ALICE));
    });
}

#[test]
fn it_follows_the_uplinks_mac() {
    Scene::run(|scene| {
        let to = |mac| udp4(FAR, (mac, IP_A), (9, 53));
        let sent = |mac| udp4((mac, IP_A), FAR, (9, 53));
        scene.datapath.set_uplink_mac(MAC_NEW).unwrap();
        scene.arrives(&to(MAC_NEW), A_PORT);
        scene.arrives(&to(MAC_HOST), PASSED);
        scene.sends(IVAN, &sent(MAC_NEW), OUT);
        scene.sends(IVAN, &sent(MAC_HOST), SOURCE_MAC);
        scene.sends(IVAN, &arp_request((MAC_HOST, IP_A), IP_FAR), SOURCE_MAC);
        scene.sends(IVAN, &arp_request((MAC_NEW, IP_A), IP_FAR), OUT);
        // A MAC of a port cannot be the uplink's: the programs keep the one that they have.
        assert!(scene.datapath.set_uplink_mac(MAC_A).is_err());
        scene.arrives(&to(MAC_NEW), A_PORT);
        scene.datapath.set_uplink_mac(MAC_HOST).unwrap();
        scene.arrives(&to(MAC_HOST), A_PORT);
        scene.arrives(&to(MAC_NEW), PASSED);
    });
}

#[test]
fn what_decides_is_named() {
    Scene::run(|scene| {
        let uplink = scene.uplink;
        let arriving = |frame: &[u8]| scene.datapath.explain_uplink(frame, uplink).unwrap().rule;
        assert_eq!(arriving(&udp4(FAR, I, (9, 53))), Rule::PortAddress);
        assert_eq!(arriving(&arp_reply(FAR, I)), Rule::PortAddress);
        assert_eq!(arriving(&udp4(FAR, (MAC_HOST, IP_B), (9, 53))), Rule::Unclaimed);
        let sending = |port, frame: &[u8]| scene.datapath.explain_guard(frame, scene.outer(port)).unwrap().rule;
        assert_eq!(sending(IVAN, &asks_dhcp(NONE4, MAC_HOST)), Rule::HostDhcp);
        assert_eq!(sending(IVAN, &from(IP_B)), Rule::NoFlow);
        let other = udp4((MAC_A, IP_FAR), I, (9, 53));
        assert_eq!(sending(ALICE, &other), Rule::SourceAddress);
    });
}

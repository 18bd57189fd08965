//! The uplink program's verdict table.

use rstest::rstest;

use super::frames::*;
use super::lab::{ALICE, BOB, CAROL, Exit, UPLINK_MTU, with_lab};
use crate::Counter;

const PASSED: Exit = Exit::By(Counter::Passed);
const A_PORT: Exit = Exit::Port(ALICE);

fn to_a(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_A, MAC_FAR, ethertype, payload)
}

fn long(frame: Vec<u8>, length: usize) -> Vec<u8> {
    let mut frame = frame;
    frame.resize(length, 0);
    frame
}

fn solicitation_behind(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(MULTICAST6, MAC_FAR, IPV6, &ipv6(next, IP6_FAR, GROUP6, payload))
}

fn asking_for_a() -> Vec<u8> {
    nd(SOLICITATION, IP6_A, &source_link(MAC_FAR))
}

#[rstest]
#[case::unicast_to_a_port(udp4(FAR, A, (9, 53)), A_PORT)]
#[case::unicast_to_another_port(udp4(FAR, B, (9, 53)), Exit::Port(BOB))]
#[case::the_mac_decides_and_not_the_address(udp4(FAR, (MAC_A, IP_B), (9, 53)), A_PORT)]
#[case::ipv6_to_a_port(udp6(FAR6, A6, (9, 53)), A_PORT)]
#[case::any_ethertype_to_a_port(to_a(0x88b5, &[0; 46]), A_PORT)]
#[case::an_802_3_length_to_a_port(to_a(46, &[0; 46]), A_PORT)]
#[case::nothing_behind_the_header_to_a_port(to_a(IPV4, &[]), A_PORT)]
#[case::arp_cut_short_to_a_port(to_a(ARP, &[0; 4]), A_PORT)]
#[case::solicitation_cut_short_to_a_port(to_a(IPV6, &[0x60; 20]), A_PORT)]
#[case::router_advertisement_to_a_port(to_a(IPV6, &ipv6(ICMPV6, LINK_LOCAL_A, IP6_A, &icmpv6(134, &[0; 12]))), A_PORT)]
#[case::dhcp_offer_to_a_port(udp4(FAR, A, (67, 68)), A_PORT)]
#[case::unicast_to_nobody(udp4(A, FAR, (9, 53)), PASSED)]
#[case::broadcast(ethernet(BROADCAST, MAC_FAR, IPV4, &ipv4(UDP, IP_FAR, [255; 4].into(), &udp(67, 68))), PASSED)]
#[case::multicast(ethernet(MULTICAST6, MAC_FAR, 0x88cc, &[0; 46]), PASSED)]
#[case::vlan_of_a_port(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 42)]), Exit::Port(CAROL))]
#[case::priority_bits_are_no_part_of_the_vlan(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 0xf02a)]), Exit::Port(CAROL))]
#[case::a_second_tag_is_carried_along(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 42), (Q, 7)]), Exit::Port(CAROL))]
#[case::a_second_tag_of_another_kind(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 42), (AD, 7)]), Exit::Port(CAROL))]
#[case::the_inner_tag_is_not_the_vlan(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 7), (Q, 42)]), PASSED)]
#[case::another_vlan(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 43)]), PASSED)]
#[case::untagged_to_a_tagged_port(ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), PASSED)]
#[case::tagged_to_an_untagged_port(tagged(&udp4(FAR, A, (9, 53)), &[(Q, 42)]), PASSED)]
#[case::priority_tag_to_an_untagged_port(tagged(&udp4(FAR, A, (9, 53)), &[(Q, 0xe000)]), PASSED)]
#[case::provider_tag_to_a_tagged_port(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(AD, 42)]), PASSED)]
#[case::provider_tag_outside(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(AD, 7), (Q, 42)]), PASSED)]
#[case::three_tags(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 42), (Q, 7), (Q, 7)]), PASSED)]
#[case::first_tag_cut(ethernet(MAC_C, MAC_FAR, Q, &[0, 42]), PASSED)]
#[case::second_tag_cut(ethernet(MAC_C, MAC_FAR, Q, &[0, 42, 0x81, 0, 0, 7]), PASSED)]
#[case::arp_request_for_a_port(arp_request(FAR, IP_A), A_PORT)]
#[case::arp_probe_for_a_port(arp_request((MAC_FAR, NONE4), IP_A), A_PORT)]
#[case::arp_request_by_unicast_to_the_host(ethernet(MAC_FAR, MAC_FAR, ARP, &arp(1, FAR, ([0; 6], IP_A))), A_PORT)]
#[case::arp_request_for_another_port_than_the_mac_says(ethernet(MAC_A, MAC_FAR, ARP, &arp(1, FAR, ([0; 6], IP_B))), A_PORT)]
#[case::arp_request_for_nobody(arp_request(FAR, IP_FAR), PASSED)]
#[case::arp_request_in_a_vlan(tagged(&arp_request(FAR, IP_A), &[(Q, 42)]), Exit::Port(CAROL))]
#[case::arp_request_in_another_vlan(tagged(&arp_request(FAR, IP_A), &[(Q, 45)]), PASSED)]
#[case::arp_request_behind_two_tags(tagged(&arp_request(FAR, IP_A), &[(Q, 42), (Q, 7)]), Exit::Port(CAROL))]
#[case::arp_reply_to_a_port(arp_reply(FAR, A), A_PORT)]
#[case::arp_reply_by_broadcast(ethernet(BROADCAST, MAC_FAR, ARP, &arp(2, FAR, A)), PASSED)]
#[case::arp_reply_to_all_with_a_ports_address(ethernet(BROADCAST, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), A_PORT)]
#[case::arp_reply_to_a_group_with_a_ports_address(ethernet(MULTICAST6, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), A_PORT)]
#[case::arp_reply_to_the_host_with_a_ports_address(ethernet(MAC_FAR, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), PASSED)]
#[case::arp_reply_to_another_port_with_a_ports_address(ethernet(MAC_B, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), Exit::Port(BOB))]
#[case::arp_reply_to_all_in_a_vlan(tagged(&ethernet(BROADCAST, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), &[(Q, 42)]), Exit::Port(CAROL))]
#[case::arp_reply_to_all_in_another_vlan(tagged(&ethernet(BROADCAST, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), &[(Q, 7)]), PASSED)]
#[case::arp_announcement_of_a_ports_address(arp_request((MAC_FAR, IP_A), IP_A), A_PORT)]
#[case::arp_request_with_a_ports_address_for_nobody(arp_request((MAC_FAR, IP_A), IP_FAR), PASSED)]
#[case::reverse_arp_reply_to_all(patched(ethernet(BROADCAST, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), 21, &[4]), PASSED)]
#[case::arp_of_other_hardware(patched(arp_request(FAR, IP_A), 15, &[6]), PASSED)]
#[case::arp_of_another_protocol(patched(arp_request(FAR, IP_A), 16, &[0x86]), PASSED)]
#[case::arp_of_other_lengths(patched(arp_request(FAR, IP_A), 18, &[8]), PASSED)]
#[case::reverse_arp_operation(patched(arp_request(FAR, IP_A), 21, &[3]), PASSED)]
#[case::solicitation_for_a_port(solicitation(FAR6, IP6_A, &source_link(MAC_FAR)), A_PORT)]
#[case::solicitation_for_its_link_local(solicitation(FAR6, LINK_LOCAL_A, &source_link(MAC_FAR)), A_PORT)]
#[case::duplicate_address_detection_of_others(solicitation((MAC_FAR, NONE6), IP6_A, &[]), A_PORT)]
#[case::solicitation_for_nobody(solicitation(FAR6, IP6_FAR, &source_link(MAC_FAR)), PASSED)]
#[case::solicitation_in_a_vlan(tagged(&solicitation(FAR6, IP6_A, &[]), &[(Q, 42)]), Exit::Port(CAROL))]
#[case::solicitation_behind_options(solicitation_behind(HOP_BY_HOP, &extension(HOP_BY_HOP, ICMPV6, 16, &asking_for_a())), A_PORT)]
#[case::solicitation_in_an_atomic_fragment(solicitation_behind(FRAGMENT, &fragment(ICMPV6, 0, false, &asking_for_a())), PASSED)]
#[case::solicitation_in_a_first_fragment(solicitation_behind(FRAGMENT, &fragment(ICMPV6, 0, true, &asking_for_a())), PASSED)]
#[case::later_fragment_that_looks_like_one(solicitation_behind(FRAGMENT, &fragment(ICMPV6, 1, false, &asking_for_a())), PASSED)]
#[case::solicitation_longer_than_its_payload(patched(solicitation(FAR6, IP6_A, &[]), 19, &[23]), PASSED)]
#[case::ipv6_of_another_version(patched(solicitation(FAR6, IP6_A, &[]), 14, &[0x50]), PASSED)]
#[case::advertisement_to_a_group(solicitation_behind(ICMPV6, &nd(ADVERTISEMENT, IP6_A, &[])), A_PORT)]
#[case::advertisement_to_a_group_of_its_link_local(solicitation_behind(ICMPV6, &nd(ADVERTISEMENT, LINK_LOCAL_A, &target_link(MAC_FAR))), A_PORT)]
#[case::advertisement_to_a_group_of_nobody(solicitation_behind(ICMPV6, &nd(ADVERTISEMENT, IP6_FAR, &[])), PASSED)]
#[case::advertisement_to_a_group_in_a_vlan(tagged(&solicitation_behind(ICMPV6, &nd(ADVERTISEMENT, IP6_A, &[])), &[(Q, 42)]), Exit::Port(CAROL))]
#[case::advertisement_to_a_group_in_another_vlan(tagged(&solicitation_behind(ICMPV6, &nd(ADVERTISEMENT, IP6_A, &[])), &[(Q, 7)]), PASSED)]
#[case::advertisement_to_a_group_in_an_atomic_fragment(solicitation_behind(FRAGMENT, &fragment(ICMPV6, 0, false, &nd(ADVERTISEMENT, IP6_A, &[]))), PASSED)]
#[case::advertisement_to_a_group_longer_than_its_payload(patched(solicitation_behind(ICMPV6, &nd(ADVERTISEMENT, IP6_A, &[])), 19, &[23]), PASSED)]
#[case::advertisement_to_the_host_of_a_ports_address(ethernet(MAC_FAR, MAC_FAR, IPV6, &ipv6(ICMPV6, IP6_FAR, IP6_FAR, &nd(ADVERTISEMENT, IP6_A, &[]))), PASSED)]
#[case::redirect_to_a_group(solicitation_behind(ICMPV6, &nd(137, IP6_A, &[])), PASSED)]
#[case::advertisement_to_a_port(to_a(IPV6, &ipv6(ICMPV6, IP6_FAR, IP6_A, &nd(ADVERTISEMENT, IP6_FAR, &[]))), A_PORT)]
#[case::router_advertisement_to_all(ethernet(MULTICAST6, MAC_FAR, IPV6, &ipv6(ICMPV6, IP6_FAR, GROUP6, &icmpv6(134, &[0; 12]))), PASSED)]
#[case::as_long_as_the_port_takes(long(udp4(FAR, A, (9, 53)), 1514), A_PORT)]
#[case::one_byte_longer(long(udp4(FAR, A, (9, 53)), 1515), Exit::By(Counter::TooLong))]
#[case::as_long_as_a_smaller_port_takes(long(udp4(FAR, B, (9, 53)), 1414), Exit::Port(BOB))]
#[case::one_byte_longer_than_that(long(udp4(FAR, B, (9, 53)), 1415), Exit::By(Counter::TooLong))]
#[case::the_first_tag_is_free(long(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[]), &[(Q, 42)]), 1518), Exit::Port(CAROL))]
#[case::one_byte_longer_with_a_tag(long(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[]), &[(Q, 42)]), 1519), Exit::By(Counter::TooLong))]
#[case::the_second_tag_is_not_free(long(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[]), &[(Q, 42), (Q, 7)]), 1519), Exit::By(Counter::TooLong))]
#[case::a_long_frame_that_nobody_claims(long(udp4(A, FAR, (9, 53)), 2000), PASSED)]
#[case::a_long_request_for_a_port(long(arp_request(FAR, IP_A), 1515), Exit::By(Counter::TooLong))]
#[case::a_port_that_is_gone(udp4(FAR, D, (9, 53)), Exit::By(Counter::NoPort))]
#[case::request_for_a_port_that_is_gone(arp_request(FAR, IP_D), Exit::By(Counter::NoPort))]
fn uplink(#[case] frame: Vec<u8>, #[case] exit: Exit) {
    assert_eq!(UPLINK_MTU, 1500, "the lengths above");
    assert_eq!(with_lab(|lab| lab.uplink(&frame)), exit);
}

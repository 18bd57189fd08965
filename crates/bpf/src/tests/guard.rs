//! The guard's verdict table. Unless a case says otherwise, Alice sends.

use rstest::rstest;

use super::frames::*;
use super::lab::{ALICE, BOB, CAROL, Exit, GRACE, HEIDI, with_lab};
use crate::Counter;

const OUT: Exit = Exit::Uplink;
const TO_B: Exit = Exit::Port(BOB);

const fn dropped(by: Counter) -> Exit {
    Exit::By(by)
}

const SOURCE_MAC: Exit = dropped(Counter::SourceMac);
const VLAN: Exit = dropped(Counter::Vlan);
const SOURCE_IP: Exit = dropped(Counter::SourceIp);
const ARP_RULE: Exit = dropped(Counter::Arp);
const ND: Exit = dropped(Counter::Nd);
const ROGUE: Exit = dropped(Counter::Rogue);
const ETHERTYPE: Exit = dropped(Counter::Ethertype);
const MALFORMED: Exit = dropped(Counter::Malformed);
const TOO_LONG: Exit = dropped(Counter::TooLong);

fn long(frame: Vec<u8>, length: usize) -> Vec<u8> {
    let mut frame = frame;
    frame.resize(length, 0);
    frame
}

/// IPv4 from Alice to the wire.
fn ip4(fragment: u16, options: &[u8], protocol: u8, from: std::net::Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_FAR, MAC_A, IPV4, &ipv4_with(fragment, options, protocol, from, IP_FAR, payload))
}

fn arp_to(to: Mac, packet: &[u8]) -> Vec<u8> {
    ethernet(to, MAC_A, ARP, packet)
}

/// ICMPv6 from Alice's MAC and this address to a group.
fn icmp6_from(from: std::net::Ipv6Addr, message: &[u8]) -> Vec<u8> {
    ethernet(MULTICAST6, MAC_A, IPV6, &ipv6(ICMPV6, from, GROUP6, message))
}

fn own_solicitation() -> Vec<u8> {
    nd(SOLICITATION, IP6_FAR, &source_link(MAC_A))
}

fn forged_solicitation() -> Vec<u8> {
    nd(SOLICITATION, IP6_FAR, &source_link(MAC_FAR))
}

fn forged_advertisement() -> Vec<u8> {
    nd(ADVERTISEMENT, IP6_FAR, &target_link(MAC_A))
}

/// `count` destination-options headers, then `last`.
fn chain(count: usize, last: u8, payload: &[u8]) -> Vec<u8> {
    (0..count).fold((last, payload.to_vec()), |(next, rest), _| (DESTINATION, extension(DESTINATION, next, 8, &rest))).1
}

fn options(count: usize) -> Vec<u8> {
    [14u8, 1, 0, 0, 0, 0, 0, 0].repeat(count)
}

/// UDP to all, with this payload.
fn to_all4(from: (Mac, std::net::Ipv4Addr), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let datagram = udp_with(ports.0, ports.1, payload);
    ethernet(BROADCAST, from.0, IPV4, &ipv4(UDP, from.1, [255; 4].into(), &datagram))
}

/// From a DHCP client that has no address yet.
fn discover(payload: &[u8]) -> Vec<u8> {
    to_all4((MAC_A, NONE4), (68, 67), payload)
}

/// UDP over IPv6 from Alice to the wire, with this payload.
fn udp6_with(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    ipv6_from_a(UDP, &udp_with(ports.0, ports.1, payload))
}

/// Where a client's fields stand in its message.
const CLIENT_ADDRESS: usize = 12;
const RELAY: usize = 24;
const CLIENT_MAC: usize = 28;
/// As much of a DHCP message as is looked at.
const DHCP_CLIENT: usize = 44;
/// Where the lengths stand in an untagged frame.
const TOTAL_LENGTH: usize = 16;
const UDP_LENGTH: usize = 38;

/// An option of a source route, with one address in it.
fn route(kind: u8) -> Vec<u8> {
    [&[kind, 7, 4][..], &IP_FAR.octets()].concat()
}

/// An IPv4 datagram from Alice to the wire with these options, padded to whole words.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    ip4(0, &options, UDP, IP_A, &udp(9, 53))
}

#[rstest]
// Who and where.
#[case::own_mac_and_address(udp4(A, FAR, (9, 53)), OUT)]
#[case::foreign_source_mac(udp4((MAC_FAR, IP_A), FAR, (9, 53)), SOURCE_MAC)]
#[case::another_ports_source_mac(udp4(B, FAR, (9, 53)), SOURCE_MAC)]
#[case::source_mac_comes_before_all_else(tagged(&ethernet(MAC_FAR, MAC_FAR, 0x88cc, &[0; 9]), &[(Q, 1), (Q, 1), (Q, 1)]), SOURCE_MAC)]
#[case::tagged_by_an_untagged_port(tagged(&udp4(A, FAR, (9, 53)), &[(Q, 42)]), VLAN)]
#[case::priority_tag_by_an_untagged_port(tagged(&udp4(A, FAR, (9, 53)), &[(Q, 0)]), VLAN)]
#[case::provider_tag(tagged(&udp4(A, FAR, (9, 53)), &[(AD, 42)]), VLAN)]
#[case::three_tags(tagged(&udp4(A, FAR, (9, 53)), &[(Q, 1), (Q, 1), (Q, 1)]), VLAN)]
#[case::first_tag_cut(ethernet(MAC_FAR, MAC_A, Q, &[0, 42]), MALFORMED)]
#[case::second_tag_cut(ethernet(MAC_FAR, MAC_A, Q, &[0, 42, 0x81, 0, 0]), MALFORMED)]
// Other EtherTypes.
#[case::lldp(ethernet(MULTICAST6, MAC_A, 0x88cc, &[0; 46]), ETHERTYPE)]
#[case::an_802_3_length(ethernet(BROADCAST, MAC_A, 46, &[0; 46]), ETHERTYPE)]
#[case::other_ethertype_to_another_port(ethernet(MAC_B, MAC_A, 0x88b5, &[0; 46]), ETHERTYPE)]
// ARP.
#[case::arp_request(arp_request(A, IP_FAR), OUT)]
#[case::arp_request_for_another_port(arp_request(A, IP_B), TO_B)]
#[case::arp_request_for_a_port_that_is_gone(arp_request(A, IP_D), dropped(Counter::NoPort))]
#[case::arp_request_for_another_port_by_unicast_to_the_wire(arp_to(MAC_FAR, &arp(1, A, ([0; 6], IP_B))), TO_B)]
#[case::arp_request_for_the_wire_by_unicast_to_another_port(arp_to(MAC_B, &arp(1, A, ([0; 6], IP_FAR))), TO_B)]
#[case::arp_announcement(arp_request(A, IP_A), OUT)]
#[case::arp_probe_for_its_own(arp_request((MAC_A, NONE4), IP_A), OUT)]
#[case::arp_probe_for_anothers(arp_request((MAC_A, NONE4), IP_B), ARP_RULE)]
#[case::arp_probe_for_nobodys(arp_request((MAC_A, NONE4), IP_FAR), ARP_RULE)]
#[case::arp_request_as_another_port(arp_request((MAC_A, IP_B), IP_FAR), ARP_RULE)]
#[case::arp_request_as_the_gateway(arp_request((MAC_A, IP_FAR), IP_B), ARP_RULE)]
#[case::arp_request_with_a_foreign_sender_mac(arp_to(BROADCAST, &arp(1, (MAC_FAR, IP_A), ([0; 6], IP_FAR))), ARP_RULE)]
#[case::arp_reply(arp_reply(A, FAR), OUT)]
#[case::arp_reply_to_another_port(arp_reply(A, B), TO_B)]
#[case::arp_reply_to_all(arp_to(BROADCAST, &arp(2, A, A)), OUT)]
#[case::arp_reply_as_the_gateway(arp_reply((MAC_A, IP_FAR), B), ARP_RULE)]
#[case::arp_reply_without_an_address(arp_reply((MAC_A, NONE4), (MAC_FAR, IP_A)), ARP_RULE)]
#[case::arp_reply_with_a_foreign_sender_mac(arp_to(MAC_B, &arp(2, (MAC_FAR, IP_A), B)), ARP_RULE)]
#[case::arp_of_other_hardware(patched(arp_request(A, IP_FAR), 15, &[6]), ARP_RULE)]
#[case::arp_of_another_protocol(patched(arp_request(A, IP_FAR), 16, &[0x86]), ARP_RULE)]
#[case::arp_of_another_hardware_length(patched(arp_request(A, IP_FAR), 18, &[8]), ARP_RULE)]
#[case::arp_of_another_protocol_length(patched(arp_request(A, IP_FAR), 19, &[16]), ARP_RULE)]
#[case::arp_operation_0(patched(arp_request(A, IP_FAR), 21, &[0]), ARP_RULE)]
#[case::reverse_arp_operation(patched(arp_request(A, IP_FAR), 21, &[3]), ARP_RULE)]
// IPv4.
#[case::ipv4_to_another_port(udp4(A, B, (9, 53)), TO_B)]
#[case::ipv4_to_a_port_that_is_gone(udp4(A, D, (9, 53)), dropped(Counter::NoPort))]
#[case::the_mac_decides_and_not_the_address(udp4(A, (MAC_FAR, IP_B), (9, 53)), OUT)]
#[case::ipv4_to_its_own_mac(udp4(A, A, (9, 53)), OUT)]
#[case::ipv4_broadcast(ethernet(BROADCAST, MAC_A, IPV4, &ipv4(UDP, IP_A, [255; 4].into(), &udp(9, 53))), OUT)]
#[case::ipv4_of_another_port(udp4((MAC_A, IP_B), FAR, (9, 53)), SOURCE_IP)]
#[case::ipv4_of_nobody(udp4((MAC_A, IP_FAR), B, (9, 53)), SOURCE_IP)]
#[case::dhcp_client_without_an_address(discover(&dhcp(MAC_A)), OUT)]
#[case::dhcp_client_with_its_address(to_all4(A, (68, 67), &patched(dhcp(MAC_A), CLIENT_ADDRESS, &IP_A.octets())), OUT)]
#[case::dhcp_client_with_another_source_port(to_all4(A, (1068, 67), &dhcp(MAC_A)), OUT)]
#[case::dhcp_client_without_options(discover(&dhcp(MAC_A)[..DHCP_CLIENT]), OUT)]
#[case::dhcp_for_another_client(discover(&dhcp(MAC_B)), ROGUE)]
#[case::dhcp_for_another_client_from_another_port(to_all4(A, (1068, 67), &dhcp(MAC_FAR)), ROGUE)]
#[case::dhcp_for_a_client_that_differs_in_the_last_byte(discover(&patched(dhcp(MAC_A), CLIENT_MAC + 5, &[0x0c])), ROGUE)]
#[case::dhcp_with_anothers_address(to_all4(A, (68, 67), &patched(dhcp(MAC_A), CLIENT_ADDRESS, &IP_B.octets())), ROGUE)]
#[case::dhcp_with_nobodys_address(to_all4(A, (68, 67), &patched(dhcp(MAC_A), CLIENT_ADDRESS, &IP_FAR.octets())), ROGUE)]
#[case::dhcp_reply_to_a_server(discover(&patched(dhcp(MAC_A), 0, &[2])), ROGUE)]
#[case::dhcp_of_other_hardware(discover(&patched(dhcp(MAC_A), 1, &[6])), ROGUE)]
#[case::dhcp_of_another_hardware_length(discover(&patched(dhcp(MAC_A), 2, &[7])), ROGUE)]
#[case::dhcp_relayed(to_all4(A, (67, 67), &patched(dhcp(MAC_A), RELAY, &IP_A.octets())), ROGUE)]
#[case::dhcp_cut_in_the_frame(discover(&dhcp(MAC_A))[..42 + DHCP_CLIENT - 1].to_vec(), MALFORMED)]
#[case::dhcp_cut_by_the_total_length(patched(discover(&dhcp(MAC_A)), TOTAL_LENGTH, &[0, 28 + DHCP_CLIENT as u8 - 1]), MALFORMED)]
#[case::dhcp_cut_by_the_udp_length(patched(discover(&dhcp(MAC_A)), UDP_LENGTH, &[0, 8 + DHCP_CLIENT as u8 - 1]), MALFORMED)]
#[case::dhcp_behind_options(ip4(0, &[1; 40], UDP, IP_A, &udp_with(68, 67, &dhcp(MAC_A))), OUT)]
#[case::dhcp_for_another_client_behind_options(ip4(0, &[1; 40], UDP, IP_A, &udp_with(68, 67, &dhcp(MAC_B))), ROGUE)]
#[case::dhcp_in_a_first_fragment(ip4(0x2000, &[], UDP, IP_A, &udp_with(68, 67, &dhcp(MAC_A))), ROGUE)]
#[case::dhcp_cut_in_a_first_fragment(ip4(0x2000, &[], UDP, IP_A, &udp(68, 67)), ROGUE)]
#[case::dhcp_that_may_not_be_fragmented(ip4(0x4000, &[], UDP, IP_A, &udp_with(68, 67, &dhcp(MAC_A))), OUT)]
#[case::other_udp_without_an_address(udp4((MAC_A, NONE4), FAR, (68, 69)), SOURCE_IP)]
#[case::dhcp_server_without_an_address(udp4((MAC_A, NONE4), B, (67, 68)), SOURCE_IP)]
#[case::tcp_without_an_address(ip4(0, &[], TCP, NONE4, &udp(68, 67)), SOURCE_IP)]
#[case::fragments_without_an_address(ip4(0x2000, &[], UDP, NONE4, &udp(68, 67)), ROGUE)]
#[case::later_fragment_without_an_address(ip4(1, &[], UDP, NONE4, &udp(68, 67)), SOURCE_IP)]
#[case::udp_cut_without_an_address(ip4(0, &[], UDP, NONE4, &udp(68, 67)[..7]), MALFORMED)]
#[case::dhcp_server(udp4(A, B, (67, 68)), ROGUE)]
#[case::dhcp_server_behind_options(ip4(0, &[1; 40], UDP, IP_A, &udp(67, 68)), ROGUE)]
#[case::dhcp_server_in_a_first_fragment(ip4(0x2000, &[], UDP, IP_A, &udp(67, 68)), ROGUE)]
#[case::dhcp_server_with_a_foreign_address(udp4((MAC_A, IP_FAR), B, (67, 68)), SOURCE_IP)]
#[case::dhcp_server_from_another_port(udp4(A, B, (1067, 68)), ROGUE)]
#[case::dhcp_client_to_client(udp4(A, B, (68, 68)), ROGUE)]
#[case::beside_the_dhcp_client(udp4(A, B, (67, 69)), TO_B)]
#[case::dhcpv6_port_in_ipv4(udp4(A, B, (547, 546)), ROGUE)]
#[case::from_a_dhcp_clients_port(udp4(A, B, (68, 53)), TO_B)]
#[case::dhcp_ports_in_tcp(ip4(0, &[], TCP, IP_A, &udp(67, 68)), OUT)]
#[case::later_fragment_is_not_read(ip4(1, &[], UDP, IP_A, &udp(67, 68)), OUT)]
#[case::later_fragment_of_another(ip4(1, &[], UDP, IP_B, &udp(9, 53)), SOURCE_IP)]
#[case::udp_ports_behind_the_total_length(patched(udp4(A, FAR, (9, 53)), 16, &[0, 27]), MALFORMED)]
#[case::ipv4_of_another_version(patched(udp4(A, FAR, (9, 53)), 14, &[0x65]), MALFORMED)]
#[case::ipv4_header_too_small(patched(udp4(A, FAR, (9, 53)), 14, &[0x44]), MALFORMED)]
#[case::ipv4_header_longer_than_the_frame(patched(udp4(A, FAR, (9, 53)), 14, &[0x4f]), MALFORMED)]
#[case::ipv4_total_length_below_the_header(patched(udp4(A, FAR, (9, 53)), 16, &[0, 19]), MALFORMED)]
// IPv4 options.
#[case::loose_source_route(with_options(&route(131)), ROGUE)]
#[case::strict_source_route(with_options(&route(137)), ROGUE)]
#[case::record_route(with_options(&route(7)), OUT)]
#[case::router_alert(with_options(&[148, 4, 0, 0]), OUT)]
#[case::timestamp(with_options(&[68, 8, 5, 0, 0, 0, 0, 0]), OUT)]
#[case::source_route_behind_others(with_options(&[&[1, 148, 4, 0, 0, 1, 7, 3, 4][..], &route(131)].concat()), ROGUE)]
#[case::source_route_at_the_very_end(with_options(&[&[1; 37][..], &[137, 3, 4]].concat()), ROGUE)]
#[case::source_route_inside_another_option(with_options(&[&[7, 11, 4, 0][..], &route(131)].concat()), OUT)]
#[case::source_route_behind_the_end(with_options(&[&[0][..], &route(131)].concat()), OUT)]
#[case::source_route_in_a_later_fragment(ip4(1, &[&route(131)[..], &[0]].concat(), UDP, IP_A, &udp(9, 53)), ROGUE)]
#[case::source_route_in_tcp(ip4(0, &[&route(137)[..], &[0]].concat(), TCP, IP_A, &[0; 20]), ROGUE)]
#[case::source_route_from_a_foreign_address(ip4(0, &[&route(131)[..], &[0]].concat(), UDP, IP_FAR, &udp(9, 53)), SOURCE_IP)]
#[case::ipv4_option_of_length_0(with_options(&[7, 0, 0, 0]), MALFORMED)]
#[case::ipv4_option_of_length_1(with_options(&[7, 1, 0, 0]), MALFORMED)]
#[case::ipv4_option_of_length_2(with_options(&[7, 2, 1, 1]), OUT)]
#[case::ipv4_option_longer_than_the_header(with_options(&[1, 7, 4, 0]), MALFORMED)]
#[case::ipv4_option_without_a_length(with_options(&[1, 1, 1, 7]), MALFORMED)]
#[case::source_route_without_a_length(with_options(&[1, 1, 1, 131]), MALFORMED)]
#[case::source_route_longer_than_the_header(with_options(&[131, 5, 4, 0]), MALFORMED)]
#[case::forty_options(with_options(&[1; 40]), OUT)]
// ICMP and IGMP.
#[case::icmp_echo(ip4(0, &[], ICMP, IP_A, &[8, 0, 0, 0, 0, 0, 0, 0]), OUT)]
#[case::icmp_redirect(ip4(0, &[], ICMP, IP_A, &[5, 1, 0, 0, 192, 0, 2, 10]), ROGUE)]
#[case::icmp_redirect_to_another_port(ethernet(MAC_B, MAC_A, IPV4, &ipv4(ICMP, IP_A, IP_B, &[5, 1, 0, 0, 192, 0, 2, 10])), ROGUE)]
#[case::icmp_router_advertisement(ip4(0, &[], ICMP, IP_A, &[9, 0, 0, 0, 0, 0, 0, 0]), ROGUE)]
#[case::icmp_router_solicitation(ip4(0, &[], ICMP, IP_A, &[10, 0, 0, 0, 0, 0, 0, 0]), OUT)]
#[case::icmp_unreachable(ip4(0, &[], ICMP, IP_A, &[3, 1, 0, 0, 0, 0, 0, 0]), OUT)]
#[case::icmp_redirect_behind_options(ip4(0, &[1; 40], ICMP, IP_A, &[5, 1, 0, 0]), ROGUE)]
#[case::icmp_redirect_in_a_first_fragment(ip4(0x2000, &[], ICMP, IP_A, &[5, 1, 0, 0, 192, 0, 2, 10]), ROGUE)]
#[case::icmp_in_a_later_fragment(ip4(1, &[], ICMP, IP_A, &[5, 1, 0, 0, 192, 0, 2, 10]), OUT)]
#[case::icmp_cut(ip4(0, &[], ICMP, IP_A, &[8, 0, 0]), MALFORMED)]
#[case::icmp_behind_the_total_length(patched(ip4(0, &[], ICMP, IP_A, &[8; 8]), TOTAL_LENGTH, &[0, 23]), MALFORMED)]
#[case::igmp_report(ip4(0, &[], IGMP, IP_A, &[0x16; 8]), OUT)]
#[case::igmp_v1_report(ip4(0, &[], IGMP, IP_A, &[0x12; 8]), OUT)]
#[case::igmp_v3_report(ip4(0, &[], IGMP, IP_A, &[0x22; 8]), OUT)]
#[case::igmp_leave(ip4(0, &[148, 4, 0, 0], IGMP, IP_A, &[0x17; 8]), OUT)]
#[case::igmp_query(ip4(0, &[], IGMP, IP_A, &[0x11; 8]), ROGUE)]
#[case::igmp_query_behind_a_router_alert(ip4(0, &[148, 4, 0, 0], IGMP, IP_A, &[0x11; 8]), ROGUE)]
#[case::igmp_query_in_a_first_fragment(ip4(0x2000, &[], IGMP, IP_A, &[0x11; 8]), ROGUE)]
#[case::igmp_dvmrp(ip4(0, &[], IGMP, IP_A, &[0x13; 8]), ROGUE)]
#[case::igmp_pim_version_1(ip4(0, &[], IGMP, IP_A, &[0x14; 8]), ROGUE)]
#[case::multicast_router_advertisement(ip4(0, &[], IGMP, IP_A, &[0x30; 8]), ROGUE)]
#[case::multicast_router_solicitation(ip4(0, &[], IGMP, IP_A, &[0x31; 4]), ROGUE)]
#[case::multicast_router_termination(ip4(0, &[], IGMP, IP_A, &[0x32; 4]), ROGUE)]
#[case::igmp_without_an_address(ip4(0, &[], IGMP, NONE4, &[0x16; 8]), SOURCE_IP)]
#[case::igmp_cut(ip4(0, &[], IGMP, IP_A, &[0x16; 3]), MALFORMED)]
// Routing protocols.
#[case::igrp(ip4(0, &[], 9, IP_A, &[0; 20]), ROGUE)]
#[case::eigrp(ip4(0, &[], 88, IP_A, &[0; 20]), ROGUE)]
#[case::ospf(ip4(0, &[], 89, IP_A, &[0; 20]), ROGUE)]
#[case::ospf_in_a_later_fragment(ip4(1, &[], 89, IP_A, &[0; 20]), ROGUE)]
#[case::pim(ip4(0, &[], 103, IP_A, &[0; 20]), ROGUE)]
#[case::vrrp(ip4(0, &[], 112, IP_A, &[0; 20]), ROGUE)]
#[case::is_is(ip4(0, &[], 124, IP_A, &[0; 20]), ROGUE)]
#[case::manet(ip4(0, &[], 138, IP_A, &[0; 20]), ROGUE)]
#[case::beside_eigrp(ip4(0, &[], 87, IP_A, &[0; 20]), OUT)]
#[case::beside_ospf(ip4(0, &[], 90, IP_A, &[0; 20]), OUT)]
#[case::beside_vrrp(ip4(0, &[], 113, IP_A, &[0; 20]), OUT)]
#[case::a_protocol_without_a_header(ip4(0, &[], 253, IP_A, &[]), OUT)]
#[case::hsrp(udp4(A, FAR, (1985, 1985)), ROGUE)]
#[case::hsrp_from_another_port(udp4(A, FAR, (9, 1985)), ROGUE)]
#[case::from_the_port_of_hsrp(udp4(A, FAR, (1985, 9)), OUT)]
#[case::hsrp_in_a_first_fragment(ip4(0x2000, &[], UDP, IP_A, &udp(9, 1985)), ROGUE)]
#[case::hsrp6(udp6(A6, FAR6, (9, 2029)), ROGUE)]
#[case::glbp(udp4(A, FAR, (9, 3222)), ROGUE)]
#[case::rip(udp4(A, FAR, (520, 520)), ROGUE)]
#[case::beside_rip(udp4(A, FAR, (520, 519)), OUT)]
#[case::ripng(udp6(A6, FAR6, (9, 521)), ROGUE)]
#[case::ripng_behind_options(ipv6_from_a(DESTINATION, &extension(DESTINATION, UDP, 24, &udp(9, 521))), ROGUE)]
#[case::beside_ripng(udp6(A6, FAR6, (9, 522)), OUT)]
#[case::ldp(udp4(A, FAR, (646, 646)), ROGUE)]
#[case::olsr(udp4(A, FAR, (698, 698)), ROGUE)]
#[case::babel(udp6(A6, FAR6, (6696, 6696)), ROGUE)]
#[case::beside_babel(udp6(A6, FAR6, (6696, 6697)), OUT)]
#[case::ospf6(ipv6_from_a(89, &[0; 20]), ROGUE)]
#[case::ospf6_behind_options(ipv6_from_a(DESTINATION, &extension(DESTINATION, 89, 8, &[0; 20])), ROGUE)]
#[case::ospf6_in_a_first_fragment(ipv6_from_a(FRAGMENT, &fragment(89, 0, true, &[0; 24])), ROGUE)]
#[case::ospf6_in_a_later_fragment(ipv6_from_a(FRAGMENT, &fragment(89, 1, false, &[0; 24])), ROGUE)]
#[case::pim6(ipv6_from_a(103, &[0; 20]), ROGUE)]
#[case::vrrp6(ipv6_from_a(112, &[0; 20]), ROGUE)]
// IPv6.
#[case::ipv6(udp6(A6, FAR6, (9, 53)), OUT)]
#[case::ipv6_from_its_link_local(udp6((MAC_A, LINK_LOCAL_A), FAR6, (9, 53)), OUT)]
#[case::ipv6_to_another_port(udp6(A6, B6, (9, 53)), TO_B)]
#[case::ipv6_of_another_port(udp6((MAC_A, IP6_B), FAR6, (9, 53)), SOURCE_IP)]
#[case::ipv6_without_an_address(udp6((MAC_A, NONE6), FAR6, (9, 53)), SOURCE_IP)]
#[case::dhcpv6_server(udp6(A6, B6, (547, 546)), ROGUE)]
#[case::dhcpv6_server_behind_options(ipv6_from_a(DESTINATION, &extension(DESTINATION, UDP, 24, &udp(547, 546))), ROGUE)]
#[case::dhcpv6_server_from_another_port(udp6(A6, B6, (1547, 546)), ROGUE)]
#[case::dhcpv6_server_in_a_first_fragment(ipv6_from_a(FRAGMENT, &fragment(UDP, 0, true, &udp(9, 546))), ROGUE)]
#[case::beside_the_dhcpv6_client(udp6(A6, B6, (547, 545)), TO_B)]
#[case::dhcp_port_in_ipv6(udp6(A6, B6, (67, 68)), ROGUE)]
#[case::dhcp_server_port_in_ipv6(udp6(A6, B6, (68, 67)), TO_B)]
#[case::dhcpv6_solicit(udp6_with((546, 547), &dhcp6(1)), OUT)]
#[case::dhcpv6_advertise(udp6_with((546, 547), &dhcp6(2)), ROGUE)]
#[case::dhcpv6_request(udp6_with((546, 547), &dhcp6(3)), OUT)]
#[case::dhcpv6_confirm(udp6_with((546, 547), &dhcp6(4)), OUT)]
#[case::dhcpv6_renew(udp6_with((9, 547), &dhcp6(5)), OUT)]
#[case::dhcpv6_rebind(udp6_with((546, 547), &dhcp6(6)), OUT)]
#[case::dhcpv6_reply(udp6_with((546, 547), &dhcp6(7)), ROGUE)]
#[case::dhcpv6_release(udp6_with((546, 547), &dhcp6(8)), OUT)]
#[case::dhcpv6_decline(udp6_with((546, 547), &dhcp6(9)), OUT)]
#[case::dhcpv6_reconfigure(udp6_with((546, 547), &dhcp6(10)), ROGUE)]
#[case::dhcpv6_information_request(udp6_with((546, 547), &dhcp6(11)), OUT)]
#[case::dhcpv6_relay_forward(udp6_with((547, 547), &dhcp6(12)), ROGUE)]
#[case::dhcpv6_relay_reply(udp6_with((547, 547), &dhcp6(13)), ROGUE)]
#[case::dhcpv6_of_type_0(udp6_with((546, 547), &dhcp6(0)), ROGUE)]
#[case::dhcpv6_cut(udp6_with((546, 547), &dhcp6(1)[..3]), MALFORMED)]
#[case::dhcpv6_cut_by_the_udp_length(patched(udp6_with((546, 547), &dhcp6(1)), 14 + 40 + 4, &[0, 11]), MALFORMED)]
#[case::dhcpv6_solicit_behind_options(ipv6_from_a(DESTINATION, &extension(DESTINATION, UDP, 24, &udp_with(546, 547, &dhcp6(1)))), OUT)]
#[case::dhcpv6_solicit_in_a_first_fragment(ipv6_from_a(FRAGMENT, &fragment(UDP, 0, true, &udp_with(546, 547, &dhcp6(1)))), ROGUE)]
#[case::dhcpv6_solicit_in_an_atomic_fragment(ipv6_from_a(FRAGMENT, &fragment(UDP, 0, false, &udp_with(546, 547, &dhcp6(1)))), ROGUE)]
#[case::udp_cut(ipv6_from_a(UDP, &udp(9, 53)[..7]), MALFORMED)]
#[case::udp_behind_the_payload_length(patched(udp6(A6, FAR6, (9, 53)), 18, &[0, 7]), MALFORMED)]
#[case::tcp(ipv6_from_a(TCP, &[0; 20]), OUT)]
#[case::no_next_header(ipv6_from_a(NO_NEXT, &[]), OUT)]
#[case::ipv6_of_another_version(patched(udp6(A6, FAR6, (9, 53)), 14, &[0x40]), MALFORMED)]
#[case::every_kind_of_extension_header_but_routing(ipv6_from_a(HOP_BY_HOP, &extension(HOP_BY_HOP, AUTHENTICATION, 8,
    &extension(AUTHENTICATION, DESTINATION, 28,
        &extension(DESTINATION, FRAGMENT, 16, &fragment(TCP, 0, true, &[0; 24]))))), OUT)]
#[case::routing_header(ipv6_from_a(ROUTING, &extension(ROUTING, TCP, 24, &[0; 20])), ROGUE)]
#[case::routing_header_behind_options(ipv6_from_a(HOP_BY_HOP, &extension(HOP_BY_HOP, ROUTING, 8, &extension(ROUTING, UDP, 24, &udp(9, 53)))), ROGUE)]
#[case::routing_header_of_a_later_fragment(ipv6_from_a(ROUTING, &extension(ROUTING, FRAGMENT, 8, &fragment(UDP, 1, false, &[0; 8]))), ROGUE)]
#[case::routing_header_cut(ipv6_from_a(ROUTING, &[]), ROGUE)]
#[case::options_behind_a_fragment_header(ipv6_from_a(FRAGMENT, &fragment(DESTINATION, 0, true, &chain(1, UDP, &udp(9, 53)))), MALFORMED)]
#[case::options_in_an_atomic_fragment(ipv6_from_a(FRAGMENT, &fragment(DESTINATION, 0, false, &chain(1, UDP, &udp(9, 53)))), MALFORMED)]
#[case::a_fragment_of_a_fragment(ipv6_from_a(FRAGMENT, &fragment(FRAGMENT, 0, false, &fragment(TCP, 0, true, &[0; 24]))), MALFORMED)]
#[case::a_fragment_behind_options(ipv6_from_a(DESTINATION, &extension(DESTINATION, FRAGMENT, 16, &fragment(UDP, 0, true, &udp(9, 53)))), OUT)]
#[case::eight_extension_headers(ipv6_from_a(DESTINATION, &chain(8, TCP, &[0; 20])), OUT)]
#[case::nine_extension_headers(ipv6_from_a(DESTINATION, &chain(9, TCP, &[0; 20])), MALFORMED)]
#[case::the_longest_extension_header(ethernet(MAC_FAR, MAC_A, IPV6, &ipv6(DESTINATION, IP6_A, IP6_FAR, &extension(DESTINATION, TCP, 1400, &[0; 20]))), OUT)]
#[case::extension_header_longer_than_the_frame(patched(ipv6_from_a(DESTINATION, &chain(1, TCP, &[0; 20])), 55, &[9]), MALFORMED)]
#[case::extension_header_longer_than_the_payload(patched(ipv6_from_a(DESTINATION, &chain(1, TCP, &[0; 20])), 18, &[0, 7]), MALFORMED)]
#[case::chain_that_ends_the_frame(ipv6_from_a(DESTINATION, &extension(DESTINATION, TCP, 8, &[])), MALFORMED)]
#[case::first_fragment_without_an_upper_header(ipv6_from_a(FRAGMENT, &fragment(TCP, 0, true, &[])), MALFORMED)]
#[case::first_fragment_that_ends_in_the_chain(ipv6_from_a(FRAGMENT, &fragment(DESTINATION, 0, true, &[ICMPV6, 1, 0, 0, 0, 0, 0, 0])), MALFORMED)]
#[case::later_fragment(ipv6_from_a(FRAGMENT, &fragment(UDP, 1, false, &udp(547, 546))), OUT)]
#[case::later_fragment_of_another6(ethernet(MAC_FAR, MAC_A, IPV6, &ipv6(FRAGMENT, IP6_B, IP6_FAR, &fragment(UDP, 1, false, &[0; 8]))), SOURCE_IP)]
#[case::later_fragment_without_an_address6(ethernet(MAC_FAR, MAC_A, IPV6, &ipv6(FRAGMENT, NONE6, IP6_FAR, &fragment(ICMPV6, 1, false, &icmpv6(143, &[0; 4])))), SOURCE_IP)]
// ICMPv6 that is not neighbour discovery.
#[case::echo(ipv6_from_a(ICMPV6, &icmpv6(128, &[0; 4])), OUT)]
#[case::echo_without_an_address(icmp6_from(NONE6, &icmpv6(128, &[0; 4])), SOURCE_IP)]
#[case::mld_report_without_an_address(icmp6_from(NONE6, &icmpv6(131, &[0; 20])), OUT)]
#[case::mld_done_without_an_address(icmp6_from(NONE6, &icmpv6(132, &[0; 20])), OUT)]
#[case::mldv2_report_without_an_address(ethernet(MULTICAST6, MAC_A, IPV6, &ipv6(HOP_BY_HOP, NONE6, GROUP6, &extension(HOP_BY_HOP, ICMPV6, 8, &icmpv6(143, &[0; 4])))), OUT)]
#[case::mld_query(icmp6_from(LINK_LOCAL_A, &icmpv6(130, &[0; 20])), ROGUE)]
#[case::mld_query_behind_a_router_alert(ethernet(MULTICAST6, MAC_A, IPV6, &ipv6(HOP_BY_HOP, LINK_LOCAL_A, GROUP6, &extension(HOP_BY_HOP, ICMPV6, 8, &icmpv6(130, &[0; 20])))), ROGUE)]
#[case::mld_query_in_a_fragment(ipv6_from_a(FRAGMENT, &fragment(ICMPV6, 0, true, &icmpv6(130, &[0; 20]))), ROGUE)]
#[case::mld_report(icmp6_from(LINK_LOCAL_A, &icmpv6(143, &[0; 4])), OUT)]
#[case::router_renumbering(icmp6_from(LINK_LOCAL_A, &icmpv6(138, &[0; 12])), ROGUE)]
#[case::node_information(icmp6_from(LINK_LOCAL_A, &icmpv6(139, &[0; 12])), OUT)]
#[case::before_multicast_router_discovery(icmp6_from(LINK_LOCAL_A, &icmpv6(150, &[0; 4])), OUT)]
#[case::multicast_router_advertisement6(icmp6_from(LINK_LOCAL_A, &icmpv6(151, &[0; 4])), ROGUE)]
#[case::multicast_router_solicitation6(icmp6_from(LINK_LOCAL_A, &icmpv6(152, &[])), ROGUE)]
#[case::multicast_router_termination6(icmp6_from(LINK_LOCAL_A, &icmpv6(153, &[])), ROGUE)]
#[case::behind_multicast_router_discovery(icmp6_from(LINK_LOCAL_A, &icmpv6(154, &[0; 4])), OUT)]
#[case::rpl(icmp6_from(LINK_LOCAL_A, &icmpv6(155, &[0; 4])), ROGUE)]
#[case::mld_query_without_an_address(icmp6_from(NONE6, &icmpv6(130, &[0; 20])), SOURCE_IP)]
#[case::icmpv6_cut(ipv6_from_a(ICMPV6, &[128, 0, 0]), MALFORMED)]
// Routers.
#[case::router_advertisement(icmp6_from(LINK_LOCAL_A, &icmpv6(134, &[0; 12])), ROGUE)]
#[case::redirect(icmp6_from(LINK_LOCAL_A, &icmpv6(137, &[0; 36])), ROGUE)]
#[case::router_advertisement_behind_options(ethernet(MULTICAST6, MAC_A, IPV6, &ipv6(HOP_BY_HOP, LINK_LOCAL_A, GROUP6, &extension(HOP_BY_HOP, ICMPV6, 8, &icmpv6(134, &[0; 12])))), ROGUE)]
#[case::router_advertisement_in_a_fragment(ethernet(MULTICAST6, MAC_A, IPV6, &ipv6(FRAGMENT, LINK_LOCAL_A, GROUP6, &fragment(ICMPV6, 0, true, &icmpv6(134, &[0; 12])))), ROGUE)]
#[case::router_advertisement_with_a_foreign_address(icmp6_from(IP6_FAR, &icmpv6(134, &[0; 12])), SOURCE_IP)]
#[case::router_advertisement_without_an_address(icmp6_from(NONE6, &icmpv6(134, &[0; 12])), SOURCE_IP)]
#[case::router_solicitation(icmp6_from(LINK_LOCAL_A, &icmpv6(133, &[&[0; 4][..], &source_link(MAC_A)].concat())), OUT)]
#[case::router_solicitation_with_a_foreign_mac(icmp6_from(LINK_LOCAL_A, &icmpv6(133, &[&[0; 4][..], &source_link(MAC_FAR)].concat())), ND)]
#[case::router_solicitation_without_an_address(icmp6_from(NONE6, &icmpv6(133, &[0; 4])), SOURCE_IP)]
#[case::router_solicitation_cut(icmp6_from(LINK_LOCAL_A, &icmpv6(133, &[0; 3])), MALFORMED)]
// Neighbour solicitations.
#[case::solicitation(solicitation(A6, IP6_FAR, &source_link(MAC_A)), OUT)]
#[case::solicitation_for_another_port(solicitation(A6, IP6_B, &source_link(MAC_A)), TO_B)]
#[case::solicitation_for_another_port_by_unicast_to_the_wire(ipv6_from_a(ICMPV6, &nd(SOLICITATION, IP6_B, &source_link(MAC_A))), TO_B)]
#[case::solicitation_for_the_wire_by_unicast_to_another_port(ethernet(MAC_B, MAC_A, IPV6, &ipv6(ICMPV6, IP6_A, IP6_FAR, &own_solicitation())), TO_B)]
#[case::solicitation_without_options(solicitation(A6, IP6_FAR, &[]), OUT)]
#[case::solicitation_with_a_foreign_mac(solicitation(A6, IP6_FAR, &source_link(MAC_FAR)), ND)]
#[case::solicitation_with_a_foreign_mac_in_a_second_option(solicitation(A6, IP6_FAR, &[source_link(MAC_A), source_link(MAC_B)].concat()), ND)]
#[case::solicitation_with_a_foreign_target_mac(solicitation(A6, IP6_FAR, &target_link(MAC_FAR)), ND)]
#[case::solicitation_with_a_mac_of_another_length(solicitation(A6, IP6_FAR, &[&[1, 2][..], &MAC_A, &[0; 8]].concat()), ND)]
#[case::solicitation_with_a_foreign_source(solicitation((MAC_A, IP6_FAR), IP6_B, &source_link(MAC_A)), SOURCE_IP)]
#[case::duplicate_address_detection(solicitation((MAC_A, NONE6), IP6_A, &[]), OUT)]
#[case::duplicate_address_detection_for_anothers(solicitation((MAC_A, NONE6), IP6_B, &[]), ND)]
#[case::duplicate_address_detection_for_nobodys(solicitation((MAC_A, NONE6), IP6_FAR, &[]), ND)]
#[case::solicitation_behind_options(ipv6_from_a(DESTINATION, &chain(2, ICMPV6, &own_solicitation())), OUT)]
#[case::forged_solicitation_behind_options(ipv6_from_a(DESTINATION, &chain(2, ICMPV6, &forged_solicitation())), ND)]
#[case::solicitation_in_a_first_fragment(ipv6_from_a(FRAGMENT, &fragment(ICMPV6, 0, true, &own_solicitation())), ND)]
#[case::solicitation_in_an_atomic_fragment(ipv6_from_a(FRAGMENT, &fragment(ICMPV6, 0, false, &own_solicitation())), ND)]
#[case::solicitation_behind_a_fragment_header_and_options(ipv6_from_a(FRAGMENT, &fragment(DESTINATION, 0, false, &chain(1, ICMPV6, &own_solicitation()))), MALFORMED)]
#[case::solicitation_longer_than_its_payload(patched(solicitation(A6, IP6_FAR, &[]), 18, &[0, 23]), MALFORMED)]
#[case::option_longer_than_the_payload(patched(solicitation(A6, IP6_FAR, &source_link(MAC_A)), 18, &[0, 28]), MALFORMED)]
#[case::payload_longer_than_the_frame(patched(solicitation(A6, IP6_FAR, &source_link(MAC_A)), 18, &[0, 40]), MALFORMED)]
#[case::option_of_length_0(solicitation(A6, IP6_FAR, &[14, 0, 0, 0, 0, 0, 0, 0]), MALFORMED)]
#[case::option_that_claims_more_than_there_is(solicitation(A6, IP6_FAR, &[14, 2, 0, 0, 0, 0, 0, 0]), MALFORMED)]
#[case::eight_options(solicitation(A6, IP6_FAR, &options(8)), OUT)]
#[case::nine_options(solicitation(A6, IP6_FAR, &options(9)), ND)]
#[case::foreign_mac_in_a_ninth_option(solicitation(A6, IP6_FAR, &[options(8), source_link(MAC_FAR)].concat()), ND)]
#[case::bytes_behind_the_payload_are_no_option(patched(solicitation(A6, IP6_FAR, &source_link(MAC_FAR)), 18, &[0, 24]), OUT)]
// Neighbour advertisements.
#[case::advertisement(advertisement(A6, IP6_A, &target_link(MAC_A)), OUT)]
#[case::advertisement_of_its_link_local(advertisement(A6, LINK_LOCAL_A, &target_link(MAC_A)), OUT)]
#[case::advertisement_to_another_port(ethernet(MAC_B, MAC_A, IPV6, &ipv6(ICMPV6, IP6_A, IP6_B, &nd(ADVERTISEMENT, IP6_A, &target_link(MAC_A)))), TO_B)]
#[case::advertisement_without_options(advertisement(A6, IP6_A, &[]), OUT)]
#[case::advertisement_of_anothers(advertisement(A6, IP6_B, &target_link(MAC_A)), ND)]
#[case::advertisement_of_the_gateways(advertisement(A6, IP6_FAR, &target_link(MAC_A)), ND)]
#[case::advertisement_with_a_foreign_mac(advertisement(A6, IP6_A, &target_link(MAC_FAR)), ND)]
#[case::advertisement_with_a_foreign_source_mac(advertisement(A6, IP6_A, &source_link(MAC_FAR)), ND)]
#[case::advertisement_with_a_foreign_source(advertisement((MAC_A, IP6_FAR), IP6_A, &target_link(MAC_A)), SOURCE_IP)]
#[case::advertisement_without_an_address(advertisement((MAC_A, NONE6), IP6_A, &target_link(MAC_A)), SOURCE_IP)]
#[case::forged_advertisement_behind_options(ipv6_from_a(HOP_BY_HOP, &extension(HOP_BY_HOP, ICMPV6, 8, &forged_advertisement())), ND)]
#[case::forged_advertisement_behind_authentication(ipv6_from_a(AUTHENTICATION, &extension(AUTHENTICATION, ICMPV6, 20, &forged_advertisement())), ND)]
// Length: the last rule.
#[case::as_long_as_the_uplink_takes(long(udp4(A, FAR, (9, 53)), 1514), OUT)]
#[case::one_byte_longer(long(udp4(A, FAR, (9, 53)), 1515), TOO_LONG)]
#[case::as_long_as_the_other_port_takes(long(udp4(A, B, (9, 53)), 1414), TO_B)]
#[case::one_byte_longer_than_that(long(udp4(A, B, (9, 53)), 1415), TOO_LONG)]
#[case::one_byte_longer_than_the_target_takes(long(arp_request(A, IP_B), 1415), TOO_LONG)]
#[case::too_long_is_the_last_to_object(long(udp4((MAC_A, IP_FAR), B, (9, 53)), 2000), SOURCE_IP)]
fn guard_of_alice(#[case] frame: Vec<u8>, #[case] exit: Exit) {
    assert_eq!(with_lab(|lab| lab.guard(ALICE, &frame)), exit);
}

const C: (Mac, std::net::Ipv4Addr) = (MAC_C, IP_A);

#[rstest]
#[case::tagged_with_her_vlan(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42)]), OUT)]
#[case::priority_bits_are_free(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 0xe02a)]), OUT)]
#[case::a_second_tag(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42), (Q, 7)]), VLAN)]
#[case::a_second_tag_of_her_own_vlan(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42), (Q, 42)]), VLAN)]
#[case::a_second_tag_of_another_kind(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42), (AD, 7)]), VLAN)]
#[case::a_priority_tag_behind_hers(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42), (Q, 0)]), VLAN)]
#[case::arp_behind_a_second_tag(tagged(&arp_request(C, IP_FAR), &[(Q, 42), (Q, 7)]), VLAN)]
#[case::second_tag_cut(tagged(&ethernet(MAC_FAR, MAC_C, Q, &[0, 7]), &[(Q, 42)]), MALFORMED)]
#[case::three_tags(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42), (Q, 7), (AD, 7)]), VLAN)]
#[case::untagged(udp4(C, FAR, (9, 53)), VLAN)]
#[case::another_vlan(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 43)]), VLAN)]
#[case::provider_tag(tagged(&udp4(C, FAR, (9, 53)), &[(AD, 42)]), VLAN)]
#[case::a_mac_of_another_vlan_is_the_wires(tagged(&udp4(C, B, (9, 53)), &[(Q, 42)]), OUT)]
#[case::an_address_of_another_vlan_is_the_wires(tagged(&arp_request(C, IP_B), &[(Q, 42)]), OUT)]
#[case::arp_request_for_an_address_that_alice_has_elsewhere(tagged(&arp_request(C, IP_A), &[(Q, 42)]), OUT)]
#[case::solicitation_behind_a_tag(tagged(&solicitation((MAC_C, IP6_A), IP6_FAR, &source_link(MAC_C)), &[(Q, 42)]), OUT)]
#[case::forged_solicitation_behind_a_tag(tagged(&solicitation((MAC_C, IP6_A), IP6_FAR, &source_link(MAC_A)), &[(Q, 42)]), ND)]
#[case::dhcp_behind_a_tag(tagged(&to_all4((MAC_C, NONE4), (68, 67), &dhcp(MAC_C)), &[(Q, 42)]), OUT)]
#[case::dhcp_with_a_mac_of_another_vlan(tagged(&to_all4((MAC_C, NONE4), (68, 67), &dhcp(MAC_A)), &[(Q, 42)]), ROGUE)]
#[case::source_route_behind_a_tag(tagged(&ethernet(MAC_FAR, MAC_C, IPV4, &ipv4_with(0, &[131, 3, 4, 0], UDP, IP_A, IP_FAR, &udp(9, 53))), &[(Q, 42)]), ROGUE)]
#[case::the_first_tag_is_free(long(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42)]), 1518), OUT)]
#[case::one_byte_longer(long(tagged(&udp4(C, FAR, (9, 53)), &[(Q, 42)]), 1519), TOO_LONG)]
fn guard_of_carol(#[case] frame: Vec<u8>, #[case] exit: Exit) {
    assert_eq!(with_lab(|lab| lab.guard(CAROL, &frame)), exit);
}

const H: (Mac, std::net::Ipv4Addr) = (MAC_H, IP_A);

/// She may send a second tag, and nothing that routers send.
#[rstest]
#[case::without_one(tagged(&udp4(H, FAR, (9, 53)), &[(Q, 44)]), OUT)]
#[case::a_second_tag_is_carried_along(tagged(&udp4(H, FAR, (9, 53)), &[(Q, 44), (Q, 7)]), OUT)]
#[case::a_second_tag_of_another_kind(tagged(&udp4(H, FAR, (9, 53)), &[(Q, 44), (AD, 7)]), OUT)]
#[case::a_priority_tag_behind_hers(tagged(&udp4(H, FAR, (9, 53)), &[(Q, 44), (Q, 0)]), OUT)]
#[case::behind_it_she_is_checked_as_well(tagged(&udp4((MAC_H, IP_B), FAR, (9, 53)), &[(Q, 44), (AD, 7)]), SOURCE_IP)]
#[case::forged_solicitation_behind_two_tags(tagged(&solicitation((MAC_H, IP6_A), IP6_FAR, &source_link(MAC_A)), &[(Q, 44), (Q, 7)]), ND)]
#[case::dhcp_server_behind_two_tags(tagged(&udp4(H, FAR, (1067, 68)), &[(Q, 44), (Q, 7)]), ROGUE)]
#[case::source_route_behind_two_tags(tagged(&ethernet(MAC_FAR, MAC_H, IPV4, &ipv4_with(0, &[1, 131, 3, 4], UDP, IP_A, IP_FAR, &udp(9, 53))), &[(Q, 44), (Q, 7)]), ROGUE)]
#[case::the_outer_tag_is_her_vlan(tagged(&udp4(H, FAR, (9, 53)), &[(Q, 7), (Q, 44)]), VLAN)]
#[case::three_tags(tagged(&udp4(H, FAR, (9, 53)), &[(Q, 44), (Q, 7), (Q, 7)]), VLAN)]
#[case::the_second_tag_is_not_free(long(tagged(&udp4(H, FAR, (9, 53)), &[(Q, 44), (Q, 7)]), 1519), TOO_LONG)]
fn guard_of_heidi(#[case] frame: Vec<u8>, #[case] exit: Exit) {
    assert_eq!(with_lab(|lab| lab.guard(HEIDI, &frame)), exit);
}

const G: (Mac, std::net::Ipv4Addr) = (MAC_G, IP_A);

/// IPv4 from Grace to the wire.
fn ip4_of_grace(fragment: u16, options: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_FAR, MAC_G, IPV4, &ipv4_with(fragment, options, protocol, IP_A, IP_FAR, payload))
}

/// IPv6 from Grace.
fn ip6_of_grace(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC_FAR, MAC_G, IPV6, &ipv6(next, IP6_A, IP6_FAR, payload))
}

/// Grace may send what routers send, from its own addresses.
#[rstest]
#[case::dhcp_server(udp4(G, FAR, (67, 68)), OUT)]
#[case::dhcp_server_in_a_first_fragment(ip4_of_grace(0x2000, &[], UDP, &udp(67, 68)), OUT)]
#[case::dhcp_relayed(to_all4(G, (67, 67), &patched(dhcp(MAC_B), RELAY, &IP_A.octets())), OUT)]
#[case::dhcp_cut(udp4(G, FAR, (68, 67)), OUT)]
#[case::dhcp_without_an_address(to_all4((MAC_G, NONE4), (68, 67), &dhcp(MAC_B)), OUT)]
#[case::dhcp_server_without_an_address(to_all4((MAC_G, NONE4), (67, 68), &dhcp(MAC_B)), SOURCE_IP)]
#[case::dhcp_server_with_a_foreign_address(udp4((MAC_G, IP_FAR), FAR, (67, 68)), SOURCE_IP)]
#[case::dhcpv6_reply(ip6_of_grace(UDP, &udp(547, 546)), OUT)]
#[case::dhcpv6_relay_forward(ip6_of_grace(UDP, &udp_with(547, 547, &dhcp6(12))), OUT)]
#[case::rip(udp4(G, FAR, (520, 520)), OUT)]
#[case::hsrp(udp4(G, FAR, (1985, 1985)), OUT)]
#[case::ospf(ip4_of_grace(0, &[], 89, &[0; 20]), OUT)]
#[case::vrrp(ip4_of_grace(0, &[], 112, &[0; 20]), OUT)]
#[case::ospf6(ip6_of_grace(89, &[0; 20]), OUT)]
#[case::icmp_redirect(ip4_of_grace(0, &[], ICMP, &[5, 1, 0, 0]), OUT)]
#[case::icmp_cut(ip4_of_grace(0, &[], ICMP, &[5, 1, 0]), MALFORMED)]
#[case::igmp_query(ip4_of_grace(0, &[148, 4, 0, 0], IGMP, &[0x11; 8]), OUT)]
#[case::mld_query(ip6_of_grace(ICMPV6, &icmpv6(130, &[0; 20])), OUT)]
#[case::multicast_router_advertisement(ip6_of_grace(ICMPV6, &icmpv6(151, &[0; 4])), OUT)]
#[case::loose_source_route(ip4_of_grace(0, &[131, 3, 4, 0], UDP, &udp(9, 53)), OUT)]
#[case::option_of_length_0(ip4_of_grace(0, &[131, 0, 4, 0], UDP, &udp(9, 53)), MALFORMED)]
#[case::routing_header(ip6_of_grace(ROUTING, &extension(ROUTING, TCP, 24, &[0; 20])), OUT)]
#[case::routing_header_cut(ip6_of_grace(ROUTING, &[]), MALFORMED)]
#[case::router_advertisement(ip6_of_grace(ICMPV6, &icmpv6(134, &[0; 12])), OUT)]
#[case::redirect(ip6_of_grace(ICMPV6, &icmpv6(137, &[0; 36])), OUT)]
#[case::router_advertisement_in_a_fragment(ip6_of_grace(FRAGMENT, &fragment(ICMPV6, 0, true, &icmpv6(134, &[0; 12]))), ND)]
#[case::advertisement_of_the_gateways(ip6_of_grace(ICMPV6, &nd(ADVERTISEMENT, IP6_FAR, &target_link(MAC_G))), ND)]
#[case::arp_reply_as_the_gateway(arp_reply((MAC_G, IP_FAR), FAR), ARP_RULE)]
fn guard_of_grace(#[case] frame: Vec<u8>, #[case] exit: Exit) {
    assert_eq!(with_lab(|lab| lab.guard(GRACE, &tagged(&frame, &[(Q, 43)]))), exit);
}

#[test]
fn routing_brings_no_inner_tags() {
    let frame = tagged(&udp4(G, FAR, (9, 53)), &[(Q, 43), (Q, 7)]);
    assert_eq!(with_lab(|lab| lab.guard(GRACE, &frame)), VLAN);
}

#[rstest]
#[case::to_alice(udp4(B, A, (9, 53)), Exit::Port(ALICE))]
#[case::asking_for_alice(arp_request(B, IP_A), Exit::Port(ALICE))]
#[case::solicitation_for_alices_link_local(solicitation(B6, LINK_LOCAL_A, &source_link(MAC_B)), Exit::Port(ALICE))]
#[case::as_alice(udp4((MAC_B, IP_A), FAR, (9, 53)), SOURCE_IP)]
#[case::with_alices_mac(udp4(A, FAR, (9, 53)), SOURCE_MAC)]
fn guard_of_bob(#[case] frame: Vec<u8>, #[case] exit: Exit) {
    assert_eq!(with_lab(|lab| lab.guard(BOB, &frame)), exit);
}

#[test]
fn a_device_without_an_entry_sends_nothing() {
    assert_eq!(with_lab(|lab| lab.guard_of_nobody(&udp4(A, FAR, (9, 53)))), dropped(Counter::NoGuard));
}

//! Each kind of frame, cut at every length from the 14 bytes that the kernel takes at least.

use rstest::rstest;

use super::frames::*;
use super::lab::{ALICE, CAROL, Exit, HEIDI, with_lab};
use crate::{Counter, PortId};

const MALFORMED: Exit = Exit::By(Counter::Malformed);
const PASSED: Exit = Exit::By(Counter::Passed);

/// `whole` is the least length at which the frame is judged as a whole frame is.
#[rstest]
#[case::arp(ALICE, arp_request(A, IP_FAR), 42)]
#[case::udp4(ALICE, udp4(A, FAR, (9, 53)), 42)]
#[case::udp4_behind_options(ALICE, ethernet(MAC_FAR, MAC_A, IPV4, &ipv4_with(0, &[1; 8], UDP, IP_A, IP_FAR, &udp(9, 53))), 50)]
#[case::tcp4(ALICE, ethernet(MAC_FAR, MAC_A, IPV4, &ipv4(TCP, IP_A, IP_FAR, &[0; 20])), 34)]
#[case::udp6(ALICE, udp6(A6, FAR6, (9, 53)), 62)]
#[case::tcp6(ALICE, ipv6_from_a(TCP, &[0; 20]), 55)]
#[case::udp6_behind_options(ALICE, ipv6_from_a(DESTINATION, &extension(DESTINATION, UDP, 16, &udp(9, 53))), 78)]
#[case::echo6(ALICE, ipv6_from_a(ICMPV6, &icmpv6(128, &[0; 20])), 58)]
#[case::solicitation(ALICE, solicitation(A6, IP6_FAR, &source_link(MAC_A)), 86)]
#[case::advertisement(ALICE, advertisement(A6, IP6_A, &target_link(MAC_A)), 86)]
#[case::later_fragment(ALICE, ipv6_from_a(FRAGMENT, &fragment(UDP, 1, false, &[0; 16])), 62)]
#[case::tagged_udp4(CAROL, tagged(&udp4((MAC_C, IP_A), FAR, (9, 53)), &[(Q, 42)]), 46)]
#[case::udp4_behind_two_tags(HEIDI, tagged(&udp4((MAC_H, IP_A), FAR, (9, 53)), &[(Q, 44), (Q, 7)]), 50)]
#[case::dhcp(ALICE, ethernet(BROADCAST, MAC_A, IPV4, &ipv4(UDP, NONE4, [255; 4].into(), &udp_with(68, 67, &dhcp(MAC_A)))), 86)]
#[case::dhcp6(ALICE, ipv6_from_a(UDP, &udp_with(546, 547, &dhcp6(1))), 66)]
#[case::icmp(ALICE, ethernet(MAC_FAR, MAC_A, IPV4, &ipv4(ICMP, IP_A, IP_FAR, &[8; 20])), 38)]
#[case::igmp_behind_a_router_alert(ALICE, ethernet(MAC_FAR, MAC_A, IPV4, &ipv4_with(0, &[148, 4, 0, 0], IGMP, IP_A, IP_FAR, &[0x16; 8])), 42)]
fn guard(#[case] sender: PortId, #[case] frame: Vec<u8>, #[case] whole: usize) {
    with_lab(|lab| {
        for length in 14..=frame.len() {
            let expected = if length < whole { MALFORMED } else { Exit::Uplink };
            assert_eq!(lab.guard(sender, &frame[..length]), expected, "{length} bytes");
        }
    });
}

#[rstest]
#[case::arp(arp_request(FAR, IP_A), ALICE, 42)]
#[case::solicitation(solicitation(FAR6, IP6_A, &source_link(MAC_FAR)), ALICE, 78)]
#[case::solicitation_behind_options(
    ethernet(MULTICAST6, MAC_FAR, IPV6, &ipv6(HOP_BY_HOP, IP6_FAR, GROUP6,
        &extension(HOP_BY_HOP, ICMPV6, 8, &nd(SOLICITATION, IP6_A, &[])))),
    ALICE, 86
)]
#[case::arp_reply_to_all(ethernet(BROADCAST, MAC_FAR, ARP, &arp(2, (MAC_FAR, IP_A), FAR)), ALICE, 42)]
#[case::advertisement_to_a_group(ethernet(MULTICAST6, MAC_FAR, IPV6, &ipv6(ICMPV6, IP6_FAR, GROUP6, &nd(ADVERTISEMENT, IP6_A, &[]))), ALICE, 78)]
#[case::arp_behind_a_tag(tagged(&arp_request(FAR, IP_A), &[(Q, 42)]), CAROL, 46)]
#[case::arp_behind_two_tags(tagged(&arp_request(FAR, IP_A), &[(Q, 42), (AD, 1)]), CAROL, 50)]
#[case::unicast(udp4(FAR, A, (9, 53)), ALICE, 14)]
#[case::tagged_unicast(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 42)]), CAROL, 18)]
#[case::unicast_behind_two_tags(tagged(&ethernet(MAC_C, MAC_FAR, IPV4, &[0; 46]), &[(Q, 42), (Q, 7)]), CAROL, 22)]
fn uplink(#[case] frame: Vec<u8>, #[case] port: PortId, #[case] whole: usize) {
    with_lab(|lab| {
        for length in 14..=frame.len() {
            let expected = if length < whole { PASSED } else { Exit::Port(port) };
            assert_eq!(lab.uplink(&frame[..length]), expected, "{length} bytes");
        }
    });
}

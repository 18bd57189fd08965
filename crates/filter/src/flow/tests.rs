use proptest::prelude::*;

use super::*;
use crate::test_values::{flows, frames};

fn net(address: &str, length: u8) -> Option<Prefix> {
    Some(Prefix::new(address.parse().unwrap(), length).unwrap())
}

fn ports(first: u16, last: u16) -> Option<PortRange> {
    Some(PortRange::new(first, last).unwrap())
}

fn udp_to(destination_ports: Option<PortRange>) -> Flow {
    Flow { protocol: Some(ip::UDP), destination_ports, ..Flow::default() }
}

#[test]
fn a_flow_is_printed_in_tcpdumps_words() {
    let full = Flow {
        destination_mac: Some([2, 0, 0x5e, 0x10, 0, 1]),
        vlan: Some(7),
        ethertype: Some(0x0800),
        source: net("198.51.100.0", 24),
        destination: net("192.0.2.10", 32),
        protocol: Some(ip::TCP),
        source_ports: ports(1024, 65535),
        destination_ports: ports(80, 80),
        icmp_type: None,
    };
    let expected = "vlan 7 and ether dst 02:00:5e:10:00:01 and ip and src net 198.51.100.0/24 and dst host 192.0.2.10 \
                    and tcp src portrange 1024-65535 and tcp dst port 80";
    assert_eq!(full.to_string(), expected);

    let texts = [
        (Flow::any(), ""),
        (Flow { vlan: Some(0), protocol: Some(ip::SCTP), ..Flow::default() }, "sctp and not vlan"),
        (Flow { ethertype: Some(0x88cc), ..Flow::default() }, "ether proto 0x88cc"),
        (Flow { ethertype: Some(0x0806), ..Flow::default() }, "arp"),
        (Flow { ethertype: Some(0x0800), protocol: Some(1), ..Flow::default() }, "icmp"),
        (Flow { ethertype: Some(0x86dd), protocol: Some(1), ..Flow::default() }, "ip6 and proto 1"),
        (Flow { protocol: Some(1), icmp_type: Some(8), ..Flow::default() }, "icmp[icmptype] = 8"),
        (Flow { protocol: Some(58), icmp_type: Some(128), ..Flow::default() }, "icmp6[icmp6type] = 128"),
        (Flow { destination: net("2001:db8::", 32), ..Flow::default() }, "dst net 2001:db8::/32"),
    ];
    for (flow, text) in texts {
        assert_eq!(flow.check(), Ok(()), "{text}");
        assert_eq!(flow.to_string(), text);
    }
}

#[test]
fn each_contradiction_has_a_name() {
    let (v4, v6) = (net("192.0.2.0", 24).unwrap(), net("2001:db8::", 32).unwrap());
    let cases = [
        (Flow { vlan: Some(4096), ..Flow::default() }, FlowError::VlanOutOfRange { vlan: 4096 }),
        (Flow { ethertype: Some(0x05ff), ..Flow::default() }, FlowError::EtherTypeIsLength { ethertype: 0x05ff }),
        (Flow { ethertype: Some(0x8100), ..Flow::default() }, FlowError::EtherTypeIsTag { ethertype: 0x8100 }),
        (Flow { ethertype: Some(0x809b), ..Flow::default() }, FlowError::EtherTypeIsAppleTalk { ethertype: 0x809b }),
        (
            Flow { source: Some(v4), destination: Some(v6), ..Flow::default() },
            FlowError::FamiliesDiffer { source_prefix: v4, destination_prefix: v6 },
        ),
        (
            Flow { ethertype: Some(0x86dd), source: Some(v4), ..Flow::default() },
            FlowError::AddressOfOtherEtherType { ethertype: 0x86dd, prefix: v4 },
        ),
        (
            Flow { ethertype: Some(0x0806), destination: Some(v4), ..Flow::default() },
            FlowError::AddressOfOtherEtherType { ethertype: 0x0806, prefix: v4 },
        ),
        (
            Flow { ethertype: Some(0x0806), protocol: Some(6), ..Flow::default() },
            FlowError::ProtocolWithoutIp { ethertype: 0x0806, protocol: 6 },
        ),
        (Flow { source_ports: ports(1, 1), ..Flow::default() }, FlowError::PortsWithoutTransport { protocol: None }),
        (Flow { protocol: Some(1), ..udp_to(ports(1, 1)) }, FlowError::PortsWithoutTransport { protocol: Some(1) }),
        (Flow { icmp_type: Some(8), ..Flow::default() }, FlowError::TypeWithoutIcmp { protocol: None }),
        (Flow { icmp_type: Some(8), ..udp_to(None) }, FlowError::TypeWithoutIcmp { protocol: Some(17) }),
        (
            Flow { icmp_type: Some(8), protocol: Some(1), source: Some(v6), ..Flow::default() },
            FlowError::IcmpOfOtherVersion { protocol: 1 },
        ),
        (
            Flow { icmp_type: Some(8), protocol: Some(58), ethertype: Some(0x0800), ..Flow::default() },
            FlowError::IcmpOfOtherVersion { protocol: 58 },
        ),
    ];
    for (flow, error) in cases {
        assert_eq!(flow.check(), Err(error), "{flow:?}");
    }
    assert_eq!(
        FlowError::PortsWithoutTransport { protocol: Some(1) }.to_string(),
        "ports need the protocol TCP (6), UDP (17) or SCTP (132), not protocol 1"
    );
}

#[test]
fn the_order_of_precedence_is_the_documented_one() {
    let destination = |length| Flow { destination: net("0.0.0.0", length), ..Flow::default() };
    let source = |length| Flow { source: net("0.0.0.0", length), ..Flow::default() };
    let from = |source_ports| Flow { source_ports, ..udp_to(None) };
    let first_to_last = [
        destination(32),
        destination(8),
        destination(0),
        udp_to(ports(53, 53)),
        udp_to(ports(1, 65535)),
        from(ports(53, 53)),
        from(ports(1, 2)),
        udp_to(None),
        source(32),
        source(0),
        Flow { vlan: Some(0), ..Flow::default() },
        Flow { destination_mac: Some([2; 6]), ..Flow::default() },
        Flow { ethertype: Some(0x0800), ..Flow::default() },
        Flow::any(),
    ];
    for pair in first_to_last.windows(2) {
        assert!(pair[0].precedence() > pair[1].precedence(), "`{}` before `{}`", pair[0], pair[1]);
    }
    let echo = Flow { protocol: Some(1), icmp_type: Some(8), ..Flow::default() };
    assert!(echo.precedence() > Flow { icmp_type: None, vlan: Some(3), ..echo }.precedence());
    assert!(echo.precedence() < Flow { icmp_type: None, source: net("0.0.0.0", 0), ..echo }.precedence());
}

#[test]
fn flows_that_tie_conflict_only_where_they_overlap() {
    let (dns, ntp) = (udp_to(ports(53, 53)), udp_to(ports(123, 123)));
    assert_eq!(dns.precedence(), ntp.precedence());
    assert!(!dns.conflicts_with(&ntp));
    assert!(dns.conflicts_with(&dns));
    let (low, high, all) = (udp_to(ports(1, 10)), udp_to(ports(5, 20)), udp_to(ports(1, 65535)));
    assert!(low.conflicts_with(&high));
    assert!(low.conflicts_with(&all));
    assert!(dns.overlaps(&all) && !dns.conflicts_with(&all), "one port comes before a range");
    assert!(!Flow { protocol: Some(6), ..dns }.overlaps(&dns));
    let arp = Flow { ethertype: Some(0x0806), ..Flow::default() };
    assert!(!arp.overlaps(&dns), "ARP has no ports");
    assert!(!arp.overlaps(&Flow { source: net("0.0.0.0", 0), ..Flow::default() }));
    let echo6 = Flow { protocol: Some(58), icmp_type: Some(128), ..Flow::default() };
    assert!(!echo6.overlaps(&Flow { source: net("0.0.0.0", 0), ..Flow::default() }));
}

#[test]
fn a_flow_contains_what_asks_for_all_that_it_asks_for() {
    let dns = udp_to(ports(53, 53));
    let own = Flow { destination: net("192.0.2.10", 32), ..dns };
    assert!(dns.contains(&own) && !own.contains(&dns));
    assert!(udp_to(ports(1, 1023)).contains(&own) && !udp_to(ports(54, 1023)).contains(&own));
    assert!(Flow { destination: net("192.0.2.0", 24), ..dns }.contains(&own));
    assert!(!Flow { destination: net("192.0.3.0", 24), ..dns }.contains(&own));
    assert!(!Flow { destination: net("192.0.2.10", 32), ..Flow::default() }.contains(&dns));
    assert!(!Flow { protocol: Some(ip::TCP), ..dns }.contains(&own));
    // An address tells the version of IP, and so does the type of an ICMP message.
    let v4 = Flow { ethertype: Some(0x0800), ..Flow::default() };
    let echo = Flow { protocol: Some(1), icmp_type: Some(8), ..Flow::default() };
    assert!(v4.contains(&own) && v4.contains(&echo) && !v4.contains(&dns));
    assert!(!v4.contains(&Flow { destination: net("2001:db8::", 32), ..dns }));
    assert!(!Flow { vlan: Some(0), ..Flow::default() }.contains(&dns));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_frame_of_two_flows_is_of_their_intersection(a in flows(), b in flows(), frame in frames()) {
        let fields = Fields::parse(&frame).unwrap();
        let both = a.matches(&fields) && b.matches(&fields);
        prop_assert_eq!(a.intersection(&b).is_some_and(|flow| flow.matches(&fields)), both);
        prop_assert_eq!(a.overlaps(&b), b.overlaps(&a));
        prop_assert!(!both || a.overlaps(&b));
    }

    #[test]
    fn a_frame_of_a_flow_is_of_all_flows_that_contain_it(a in flows(), b in flows(), frame in frames()) {
        let fields = Fields::parse(&frame).unwrap();
        prop_assert!(!a.contains(&b) || !b.matches(&fields) || a.matches(&fields));
        prop_assert!(a.contains(&a) && Flow::any().contains(&a));
        if let Some(both) = a.intersection(&b) {
            prop_assert!(a.contains(&both) && b.contains(&both));
        }
    }

    #[test]
    fn different_flows_in_conflict_differ_in_ranges_of_ports_only(a in flows(), b in flows()) {
        if a.conflicts_with(&b) {
            let without_ports = |flow: Flow| Flow { source_ports: None, destination_ports: None, ..flow };
            let (a, b) = (a.intersection(&b).unwrap(), b);
            prop_assert_eq!(without_ports(a), without_ports(b));
        }
    }
}

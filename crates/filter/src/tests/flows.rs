use proptest::prelude::*;

use super::judge::compiled;
use super::texts::plain_expressions;
use crate::test_values::{flows, frames, plain_frames};
use crate::{Expression, Fields, Flow, FlowError, NotAFlow, WhyNot};

fn expression(text: &str) -> Expression {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

#[track_caller]
fn texts(text: &str) -> Vec<String> {
    expression(text).flows().unwrap_or_else(|error| panic!("`{text}`: {error}")).iter().map(Flow::to_string).collect()
}

#[test]
fn or_makes_several_flows_and_and_intersects_them() {
    assert_eq!(texts(""), [""]);
    assert_eq!(
        texts("port 53"),
        [
            "tcp src port 53",
            "tcp dst port 53",
            "udp src port 53",
            "udp dst port 53",
            "sctp src port 53",
            "sctp dst port 53"
        ]
    );
    assert_eq!(texts("udp port 53"), ["udp src port 53", "udp dst port 53"]);
    assert_eq!(texts("port 53 and udp"), texts("udp port 53"));
    assert_eq!(texts("src and dst port 53 and tcp"), ["tcp src port 53 and tcp dst port 53"]);
    assert_eq!(
        texts("dst net 192.0.2.0/24 and dst net 192.0.0.0/16 and (tcp or udp)"),
        ["dst net 192.0.2.0/24 and tcp", "dst net 192.0.2.0/24 and udp"]
    );
    assert_eq!(texts("udp dst portrange 10-20 and dst portrange 15-30"), ["udp dst portrange 15-20"]);
    assert_eq!(texts("tcp dst port 80 or 443 or 80"), ["tcp dst port 80", "tcp dst port 443"]);
    assert_eq!(texts("dst host 192.0.2.1 and (udp or icmp) and udp"), ["dst host 192.0.2.1 and udp"]);
    assert_eq!(texts("ip multicast"), ["ip and dst net 224.0.0.0/3"]);
    assert_eq!(texts("broadcast and arp"), ["ether dst ff:ff:ff:ff:ff:ff and arp"]);
    assert_eq!(texts("icmp[icmptype] = icmp-echo"), ["icmp[icmptype] = 8"]);
    assert_eq!(texts("net 10.0.0.0 mask 255.0.0.0"), ["src net 10.0.0.0/8", "dst net 10.0.0.0/8"]);
}

#[test]
fn vlan_selects_the_outer_tag() {
    assert_eq!(texts("vlan 5"), ["vlan 5"]);
    assert_eq!(texts("vlan 5 and udp dst port 53"), ["vlan 5 and udp dst port 53"]);
    assert_eq!(texts("udp and not vlan"), ["udp and not vlan"]);
    assert_eq!(texts("not not vlan 7 and ether dst ff:ff:ff:ff:ff:ff"), ["vlan 7 and ether dst ff:ff:ff:ff:ff:ff"]);
}

#[test]
fn two_negations_are_none() {
    assert_eq!(texts("not not tcp"), ["tcp"]);
    assert_eq!(texts("not (not tcp or not dst net 10.0.0.0/8)"), ["dst net 10.0.0.0/8 and tcp"]);
    assert_eq!(texts("not (not tcp and not udp)"), ["tcp", "udp"]);
}

#[test]
fn what_is_not_a_flow_is_refused_where_it_stands() {
    let no_field = |what| WhyNot::NoField { what };
    let calculation = "a calculation, except `icmp[icmptype] = N` and `icmp6[icmp6type] = N`,";
    let cases = [
        ("udp and len > 100", "len > 100", no_field(calculation)),
        ("udp and less 100", "less 100", no_field("the length of a frame")),
        ("tcp[tcpflags] & tcp-syn != 0", "tcp[tcpflags] & tcp-syn != 0", no_field(calculation)),
        ("icmp[icmptype] != 8", "icmp[icmptype] != 8", no_field(calculation)),
        ("icmp[icmptype] = 256", "icmp[icmptype] = 256", no_field(calculation)),
        ("ether src 02:00:00:00:00:01", "ether src 02:00:00:00:00:01", no_field("the source MAC")),
        ("multicast", "multicast", no_field("one bit of the destination MAC")),
        ("udp and not port 53", "port 53", WhyNot::Negated),
        ("not (udp or icmp)", "udp", WhyNot::Negated),
        ("udp and not vlan 5", "vlan 5", WhyNot::Negated),
        ("net 10.0.0.1 mask 255.0.0.255", "net 10.0.0.1 mask 255.0.0.255", WhyNot::Mask),
        ("vlan and ip", "vlan", WhyNot::AnyVlan),
        ("vlan 0", "vlan 0", WhyNot::PriorityTag),
        ("vlan 5 or vlan 7", "vlan 7", WhyNot::InnerVlan),
        ("vlan 5 and ip or vlan 7 and ip", "vlan 7", WhyNot::InnerVlan),
        ("not vlan and udp", "udp", WhyNot::BehindTag),
        ("vlan 5 and udp or tcp", "tcp", WhyNot::BehindTag),
        ("udp and vlan 5", "udp", WhyNot::BeforeTag),
        ("arp host 192.0.2.1", "arp host 192.0.2.1", WhyNot::ArpAddress),
        ("(udp or arp) and dst host 192.0.2.1", "dst host 192.0.2.1", WhyNot::ArpAddress),
        ("ether proto 0x8100", "ether proto 0x8100", WhyNot::Field(FlowError::EtherTypeIsTag { ethertype: 0x8100 })),
        ("tcp and udp", "tcp and udp", WhyNot::Nothing),
        ("tcp port 1 and src port 2 and dst port 2", "tcp port 1 and src port 2 and dst port 2", WhyNot::Nothing),
    ];
    for (text, part, why) in cases {
        let start = text.rfind(part).unwrap();
        let refused = expression(text).flows();
        assert_eq!(refused, Err(NotAFlow { range: start..start + part.len(), why }), "`{text}`");
    }
}

#[test]
fn the_number_of_flows_is_bounded() {
    let ports = |count: usize| {
        let ports: Vec<_> = (1..=count).map(|port| port.to_string()).collect();
        format!("dst port ({})", ports.join(" or "))
    };
    let hosts = |count: usize| {
        let hosts: Vec<_> = (0..count).map(|host| format!("10.0.{}.{}", host / 256, host % 256)).collect();
        format!("dst host ({})", hosts.join(" or "))
    };
    let count = |text: String| expression(&text).flows().map(|flows| flows.len()).map_err(|refused| refused.why);
    assert_eq!(count(format!("udp and {}", ports(1000))), Ok(1000));
    assert_eq!(count(format!("udp {} and {}", ports(64), hosts(64))), Ok(4096));
    let too_many = WhyNot::TooMany { most: Expression::MAX_FLOWS, most_steps: 1 << 18 };
    assert_eq!(count(format!("udp {} and {}", ports(64), hosts(65))), Err(too_many.clone()));
    assert_eq!(count(ports(1366)), Err(too_many.clone()));
    let pairs = vec!["port 1"; 40].join(" and ");
    assert_eq!(count(pairs), Ok(9), "both sides, and the pairs of each protocol");
    let sums = vec!["portrange 1-50000 or 2-60000"; 30].join(" and portrange 1-60000 and ");
    assert!(matches!(count(sums), Ok(..=4096) | Err(WhyNot::TooMany { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_printed_flow_is_read_as_the_same_flow(flow in flows()) {
        prop_assert_eq!(expression(&flow.to_string()).flows(), Ok(vec![flow]));
    }

    /// A flow that names no VLAN is of every VLAN, and libpcap reads the packet of an untagged frame only.
    #[test]
    fn libpcap_finds_the_packets_of_a_printed_flow(flow in flows(), frame in plain_frames()) {
        let fields = Fields::parse(&frame).unwrap();
        if flow.vlan.is_some() || fields.tag.is_none() {
            let judge = compiled(&flow.to_string(), false).unwrap();
            prop_assert_eq!(flow.matches(&fields), judge.filter(&frame), "{}", flow);
        }
    }

    #[test]
    fn an_expression_matches_the_packets_of_its_flows(text in plain_expressions(), frame in plain_frames()) {
        let Ok(expression) = text.parse::<Expression>() else { return Ok(()) };
        let Ok(flows) = expression.flows() else { return Ok(()) };
        let fields = Fields::parse(&frame).unwrap();
        if fields.tag.is_none() || flows.iter().all(|flow| flow.vlan.is_some()) {
            let is_of_a_flow = flows.iter().any(|flow| flow.matches(&fields));
            prop_assert_eq!(is_of_a_flow, expression.matches(&frame), "`{}` as {:?}", text, flows);
        }
    }

    #[test]
    fn flows_have_no_contradictions_and_are_different(text in plain_expressions(), frame in frames()) {
        let Ok(Ok(flows)) = text.parse::<Expression>().map(|expression| expression.flows()) else { return Ok(()) };
        for (n, flow) in flows.iter().enumerate() {
            prop_assert_eq!(flow.check(), Ok(()));
            prop_assert!(!flows[..n].contains(flow));
            let printed = expression(&flow.to_string());
            let _ = printed.matches(&frame);
        }
    }
}

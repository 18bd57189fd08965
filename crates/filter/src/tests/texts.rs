//! Random expressions, as text.

use proptest::prelude::*;
use proptest::sample::select;

use crate::test_values::{addresses, ethertypes, icmp_types, macs, port_ranges, ports, prefixes, protocols, vlans};

fn direction() -> impl Strategy<Value = &'static str> {
    select(&["", "src ", "dst ", "src or dst ", "dst or src ", "src and dst ", "dst and src "])
}

fn mac() -> impl Strategy<Value = String> {
    macs().prop_map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":"))
}

const NETS: &[&str] = &["192.0.2", "10", "10.0", "192.0.2.0 mask 255.255.255.0", "10.0.0.1 mask 255.0.0.255"];

/// One test without calculations.
fn primitive() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(&[
            "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "ah", "esp", "vrrp",
            "broadcast", "multicast", "ether broadcast", "ether multicast", "ip multicast", "ip6 multicast",
        ])
        .prop_map(str::to_owned),
        3 => (direction(), addresses()).prop_map(|(direction, address)| format!("{direction}host {address}")),
        1 => (direction(), addresses()).prop_map(|(direction, address)| {
            if direction.is_empty() { format!("host {address}") } else { format!("{direction}{address}") }
        }),
        1 => (select(&["ip", "arp", "rarp", "ip6"]), direction(), addresses()).prop_map(
            |(protocol, direction, address)| {
                let protocol = if address.is_ipv6() { "ip6" } else { protocol };
                let protocol = if address.is_ipv4() && protocol == "ip6" { "ip" } else { protocol };
                format!("{protocol} {direction}host {address}")
            }
        ),
        3 => (direction(), prefixes()).prop_map(|(direction, prefix)| format!("{direction}net {prefix}")),
        1 => (direction(), select(NETS))
            .prop_map(|(direction, net)| format!("{direction}net {net}")),
        4 => (select(&["", "tcp ", "udp ", "sctp "]), direction(), ports())
            .prop_map(|(protocol, direction, port)| format!("{protocol}{direction}port {port}")),
        2 => (select(&["", "tcp ", "udp ", "sctp "]), direction(), port_ranges()).prop_map(
            |(protocol, direction, range)| format!("{protocol}{direction}portrange {}-{}", range.last(), range.first())
        ),
        2 => (select(&["", "src ", "dst ", "src and dst "]), mac())
            .prop_map(|(direction, mac)| format!("ether {direction}host {mac}")),
        1 => ethertypes().prop_map(|ethertype| format!("ether proto {ethertype:#x}")),
        2 => (select(&["proto", "ip proto", "ip6 proto"]), protocols())
            .prop_map(|(words, number)| format!("{words} {number}")),
        1 => select(&["ether proto \\ip6", "ip proto \\tcp", "proto \\udp"]).prop_map(str::to_owned),
        2 => vlans().prop_map(|vlan| format!("vlan {vlan}")),
        1 => Just("vlan".to_owned()),
        1 => (select(&["less", "greater"]), 0..90_u32).prop_map(|(word, length)| format!("{word} {length}")),
        2 => icmp_types().prop_map(|number| format!("icmp[icmptype] = {number}")),
        1 => icmp_types().prop_map(|number| format!("icmp6[icmp6type] = {number}")),
        2 => (ports(), select(&["or", "and"]), ports()).prop_map(|(a, join, b)| format!("port {a} {join} {b}")),
        1 => (addresses(), addresses()).prop_map(|(a, b)| format!("dst host ({a} or not {b})")),
        1 => (addresses(), addresses(), ports())
            .prop_map(|(a, b, port)| format!("src host {a} and not port {port} or host {b}")),
        1 => (prefixes(), prefixes()).prop_map(|(a, b)| format!("dst net {a} or {b}")),
    ]
}

/// A value of a calculation.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => (0..70_u32).prop_map(|number| number.to_string()),
        1 => select(&["0xff", "0x0800", "017", "4294967295", "tcp-syn", "icmp-echo", "1500"]).prop_map(str::to_owned),
        1 => Just("len".to_owned()),
    ];
    leaf.prop_recursive(4, 10, 2, |inner| {
        let header = select(&[
            "ether", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "pim", "vrrp", "ether",
            "ip",
        ]);
        let operator = select(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]);
        prop_oneof![
            3 => (header.clone(), 0..50_u32, select(&["", ":1", ":2", ":4"]))
                .prop_map(|(header, index, size)| format!("{header}[{index}{size}]")),
            1 => (header, inner.clone(), select(&["", ":2"]))
                .prop_map(|(header, index, size)| format!("{header}[{index}{size}]")),
            3 => (inner.clone(), operator, inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            1 => inner.clone().prop_map(|inner| format!("- {inner}")),
            1 => inner.prop_map(|inner| format!("({inner})")),
        ]
    })
}

pub fn relations() -> impl Strategy<Value = String> {
    (value(), select(&["=", "==", "!=", ">", ">=", "<", "<="]), value())
        .prop_map(|(left, comparison, right)| format!("{left} {comparison} {right}"))
}

fn joined(leaf: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    leaf.prop_recursive(5, 12, 2, |inner| {
        prop_oneof![
            4 => (inner.clone(), select(&["and", "or", "&&", "||"]), inner.clone())
                .prop_map(|(left, join, right)| format!("{left} {join} {right}")),
            2 => (select(&["not ", "!", "! "]), inner.clone()).prop_map(|(not, inner)| format!("{not}{inner}")),
            2 => inner.clone().prop_map(|inner| format!("({inner})")),
            // A value without words, which takes those of the value before it.
            1 => (inner, select(&["and", "or"]), addresses())
                .prop_map(|(left, join, address)| format!("{left} {join} {address}")),
        ]
    })
}

/// Expressions of every kind of test.
pub fn expressions() -> impl Strategy<Value = String> {
    joined(prop_oneof![4 => primitive(), 1 => relations()])
}

/// Expressions without calculations, which are flows more often.
pub fn plain_expressions() -> impl Strategy<Value = String> {
    joined(primitive())
}

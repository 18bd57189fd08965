//! Compares `contract.rs` with the header, as libclang read it in the build.

use std::collections::HashMap;
use std::mem::{offset_of, size_of};

use crate::contract::*;
use crate::counters::Counters;

/// `name -> value` of all constants, and `struct -> [(size, offset of each field)]`, as bindgen printed them.
struct Header {
    constants: HashMap<String, u64>,
    sizes: HashMap<String, u64>,
    offsets: HashMap<String, u64>,
}

fn header() -> Header {
    let text = include_str!(concat!(env!("OUT_DIR"), "/contract_header.rs"));
    let mut header = Header { constants: HashMap::new(), sizes: HashMap::new(), offsets: HashMap::new() };
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for piece in flat.split("pub const ").skip(1) {
        if let Some((name, rest)) = piece.split_once(':')
            && let Some(value) = rest.split_once("= ").and_then(|(_, value)| value.split_once(';'))
            && let Ok(value) = value.0.parse()
        {
            header.constants.insert(name.to_owned(), value);
        }
    }
    // ["Size of xsknet_claim"][::std::mem::size_of::<xsknet_claim>() - 8usize];
    for piece in flat.split("[\"Size of ").skip(1) {
        let (name, rest) = piece.split_once('"').expect("a name");
        header.sizes.insert(name.to_owned(), assertion(rest));
    }
    for piece in flat.split("[\"Offset of field: ").skip(1) {
        let (name, rest) = piece.split_once('"').expect("a name");
        header.offsets.insert(name.to_owned(), assertion(rest));
    }
    header
}

fn assertion(text: &str) -> u64 {
    let value = text.split_once(" - ").and_then(|(_, rest)| rest.split_once("usize")).expect("a layout assertion");
    value.0.parse().expect("a number")
}

#[test]
fn constants_are_the_headers() {
    let header = header();
    for (name, value) in [
        ("XSKNET_MAX_PORTS", u64::from(MAX_PORTS)),
        ("XSKNET_MAX_PORT_QUEUE_PAIRS", u64::from(MAX_PORT_QUEUE_PAIRS)),
        ("XSKNET_MAX_QUEUE_PAIRS", u64::from(MAX_QUEUE_PAIRS)),
        ("XSKNET_QUEUE_PAIR_SHIFT", u64::from(QUEUE_PAIR_SHIFT)),
        ("XSKNET_MAX_ADDRESSES", u64::from(MAX_ADDRESSES)),
        ("XSKNET_MAX_TAGS", u64::from(MAX_TAGS)),
        ("XSKNET_NO_PORT_ID", u64::from(NO_PORT_ID)),
        ("XSKNET_MAY_INNER_TAGS", u64::from(MAY_INNER_TAGS)),
        ("XSKNET_MAY_ROUTING", u64::from(MAY_ROUTING)),
        ("XSKNET_UPLINK_MAC", u64::from(UPLINK_MAC)),
        ("XSKNET_CLAIM_PACKETS", u64::from(CLAIM_PACKETS)),
        ("XSKNET_LIMITED", u64::from(LIMITED)),
        ("XSKNET_BROADCAST", 0),
        ("XSKNET_MULTICAST", 1),
        ("XSKNET_UNKNOWN_UNICAST", 2),
        ("XSKNET_KINDS", u64::from(KINDS)),
        ("XSKNET_COPIES", u64::from(COPIES)),
        ("XSKNET_REFUSALS", u64::from(REFUSALS)),
        ("XSKNET_REFUSAL_BYTES", u64::from(REFUSAL_BYTES)),
        ("XSKNET_REFUSALS_BYTES", u64::from(REFUSALS_BYTES)),
        ("XSKNET_KIND_SHIFT", u64::from(KIND_SHIFT)),
        ("XSKNET_TIME_SHIFT", u64::from(TIME_SHIFT)),
        ("XSKNET_BYTE_SHIFT", u64::from(BYTE_SHIFT)),
        ("XSKNET_UNTAGGED", u64::from(Vlan::UNTAGGED.key())),
        ("XSKNET_TAGGED", u64::from(Vlan::TAGGED)),
        ("XSKNET_FOREIGN_TAG", u64::from(Vlan::FOREIGN_TAG)),
        ("XSKNET_COUNTERS", COUNTERS as u64),
        ("XSKNET_MAX_FLOWS", u64::from(MAX_FLOWS)),
        ("XSKNET_MAX_FLOW_KINDS", u64::from(MAX_FLOW_KINDS)),
        ("XSKNET_MAX_LINK_KINDS", u64::from(MAX_LINK_KINDS)),
        ("XSKNET_FLOW_LISTS", u64::from(FLOW_LISTS)),
        ("XSKNET_FLOW_TABLES", u64::from(FLOW_TABLES)),
        ("XSKNET_FLOW_PORTS", u64::from(FLOW_PORTS)),
        ("XSKNET_FLOW_ICMP_TYPE", u64::from(FLOW_ICMP_TYPE)),
        ("XSKNET_FLOW_SOURCE", u64::from(FLOW_SOURCE)),
        ("XSKNET_MAX_GROUPS", u64::from(MAX_GROUPS)),
        ("XSKNET_MAX_MEMBERS", u64::from(MAX_MEMBERS)),
        ("XSKNET_GROUP_MAC", u64::from(GROUP_MAC)),
        ("XSKNET_GROUP_IP4", u64::from(GROUP_IP4)),
        ("XSKNET_GROUP_IP6", u64::from(GROUP_IP6)),
        ("XSKNET_TAP", u64::from(TAP)),
        ("XSKNET_MAX_TAPS", u64::from(MAX_TAPS)),
        ("XSKNET_MAX_TAP_RULES", u64::from(MAX_TAP_RULES)),
        ("XSKNET_TAP_LINK", u64::from(TAP_LINK)),
        ("XSKNET_TAP_IP4", u64::from(TAP_IP4)),
        ("XSKNET_TAP_IP6", u64::from(TAP_IP6)),
        ("XSKNET_TAP_READS_NOTHING", u64::from(TAP_READS_NOTHING)),
        ("XSKNET_TAP_READS_ADDRESSES", u64::from(TAP_READS_ADDRESSES)),
        ("XSKNET_TAP_READS_PROTOCOL", u64::from(TAP_READS_PROTOCOL)),
        ("XSKNET_TAPPED_RECEIVED", u64::from(TAPPED_RECEIVED)),
        ("XSKNET_TAPPED_SENT", u64::from(TAPPED_SENT)),
        ("XSKNET_TAPPED_SENT_BY_HOST", u64::from(TAPPED_SENT_BY_HOST)),
        ("XSKNET_MAX_RINGS", u64::from(MAX_RINGS)),
        ("XSKNET_RING_SLOTS", u64::from(RING_SLOTS)),
        ("XSKNET_RING_CHUNK", u64::from(RING_CHUNK)),
        ("XSKNET_RING_ROOM", u64::from(RING_ROOM)),
        ("XSKNET_RING_MIN_OFFSET", u64::from(RING_MIN_OFFSET)),
        ("XSKNET_RING_MAX_OFFSET", u64::from(RING_MAX_OFFSET)),
        ("XSKNET_RING_WAKE_BYTES", u64::from(RING_WAKE_BYTES)),
        ("XSKNET_TRACE_NOTES", TRACE_NOTES as u64),
    ] {
        assert_eq!(header.constants.get(name), Some(&value), "{name}");
    }
}

#[test]
fn counters_have_the_headers_order_and_names() {
    let header = header();
    for (position, counter) in Counter::ALL.into_iter().enumerate() {
        assert_eq!(counter as usize, position);
        let drop = if counter.is_drop() { "DROP_" } else { "" };
        let name = format!("XSKNET_{drop}{}", counter.name().to_uppercase());
        assert_eq!(header.constants.get(&name), Some(&(position as u64)), "{name}");
    }
}

#[test]
fn targets_have_the_headers_numbers() {
    let header = header();
    let targets = [
        ("XSKNET_TARGET_QUEUE_PAIRS", Target::QueuePairs),
        ("XSKNET_TARGET_RINGS", Target::Rings),
        ("XSKNET_TARGET_ADDRESS", Target::Address),
    ];
    for (name, target) in targets {
        assert_eq!(header.constants.get(name), Some(&u64::from(target as u32)), "{name}");
        assert_eq!(Target::from_number(target as u32), Some(target));
    }
    let all = header.constants.keys().filter(|name| name.starts_with("XSKNET_TARGET_")).count();
    assert_eq!(all, targets.len(), "a target of the header has no mirror");
    assert_eq!(Target::from_number(0), None, "an empty value claims nothing");
    assert_eq!(Target::from_number(4), None);
}

#[test]
fn rules_have_the_headers_order_and_names() {
    let header = header();
    for (number, rule) in (1..).zip(Rule::ALL) {
        let name = format!("XSKNET_RULE_{}", rule.name().to_uppercase());
        assert_eq!(header.constants.get(&name), Some(&number), "{name}");
        assert_eq!(Rule::from_number(number as u32), Some(*rule));
    }
    let all = header.constants.keys().filter(|name| name.starts_with("XSKNET_RULE_")).count();
    assert_eq!(all, Rule::ALL.len(), "a rule of the header has no mirror");
    assert_eq!((Rule::from_number(0), Rule::from_number(all as u32 + 1)), (None, None));
}

#[test]
fn notes_have_the_headers_numbers() {
    let header = header();
    let number = |name: &str| header.constants[&format!("XSKNET_NOTE_{name}")];
    for (name, kind) in [
        ("RULE", NoteKind::Rule),
        ("LEFT", NoteKind::Left),
        ("TAGS", NoteKind::Tags),
        ("SENDER", NoteKind::Sender),
        ("MAC", NoteKind::Mac),
        ("TARGET4", NoteKind::Target4),
        ("TARGET6", NoteKind::Target6),
        ("DESTINATION4", NoteKind::Destination4),
        ("DESTINATION6", NoteKind::Destination6),
        ("SOURCE4", NoteKind::Source4),
        ("SOURCE6", NoteKind::Source6),
        ("FLOW4", NoteKind::Flow4),
        ("FLOW6", NoteKind::Flow6),
        ("FLOW6_REST", NoteKind::Flow6Rest),
        ("FLOW_LINK", NoteKind::FlowLink),
        ("QUOTED", NoteKind::Quoted),
        ("FRAGMENT", NoteKind::Fragment),
        ("LENGTH", NoteKind::Length),
        ("TO", NoteKind::To),
        ("RATE", NoteKind::Rate),
    ] {
        assert_eq!(NoteKind::from_number(kind as u32), Some(kind));
        assert_eq!(number(name), u64::from(kind as u32), "{name}");
    }
    let all = header.constants.keys().filter(|name| name.starts_with("XSKNET_NOTE_")).count();
    assert_eq!(all, 20, "a note of the header has no mirror");
}

#[test]
fn layouts_are_the_headers() {
    let header = header();
    macro_rules! same {
        ($rust:ty, $c:literal, $($field:ident),+) => {
            assert_eq!(header.sizes.get($c), Some(&(size_of::<$rust>() as u64)), "size of {}", $c);
            let fields = [$((concat!($c, "::", stringify!($field)), offset_of!($rust, $field) as u64)),+];
            for (name, offset) in fields {
                assert_eq!(header.offsets.get(name), Some(&offset), "offset of {name}");
            }
            let count = header.offsets.keys().filter(|name| name.starts_with(concat!($c, "::"))).count();
            assert_eq!(count, fields.len(), "fields of {}", $c);
        };
    }
    same!(PortCounters, "xsknet_port_counters", to_socket, no_socket);
    same!(MacKey, "xsknet_mac_key", mac, vlan);
    same!(Source4, "xsknet_source4", address, port);
    same!(Source6, "xsknet_source6", address, port);
    same!(Target4, "xsknet_target4", address, vlan, zero);
    same!(Target6, "xsknet_target6", address, vlan, zero);
    same!(Claim, "xsknet_claim", target, port, mtu, queue_pairs, rings, flags);
    same!(Guard, "xsknet_guard", port, mac, vlan, flags);
    same!(GroupKey, "xsknet_group_key", address, vlan, kind);
    same!(GroupMembers, "xsknet_group", rings, members, member);
    same!(GroupState, "xsknet_group_state", rings, members);
    same!(RefusalRecord, "xsknet_refusal", time, length, reason, bytes);
    same!(RateState, "xsknet_rate", due, limit, frame, byte);
    same!(TapState, "xsknet_tap_state", received, sent);
    same!(TapRule, "xsknet_tap_rule", value, mask, kind, layer, reads);
    same!(TapEntry, "xsknet_tap", claim, snap, sample, all, rules, rule);
    same!(Tapped, "xsknet_tapped", time, length, became, way);
    same!(RxSlot, "xsknet_rx_slot", sequence, value);
    same!(TxSlot, "xsknet_tx_slot", sequence, address, length, zero);
    same!(RingControl, "xsknet_ring_control", asleep, zero, rx, tx);
    same!(
        RingState,
        "xsknet_ring_state",
        rx_head,
        no_chunk,
        invalid_chunk,
        rx_mask,
        offset,
        zero,
        tx_head,
        tx_mask,
        key,
        guard,
        zero_too
    );
    same!(Identity, "xsknet_identity", ring, key, inner, dry_runs);
    same!(FlowState, "xsknet_flow_state", list, removals);
    same!(FlowCommon, "xsknet_flow_common", source_port, destination_port, protocol, icmp_type, vlan, mac, kind);
    same!(FlowKey4, "xsknet_flow4", source, destination, common);
    same!(FlowKey6, "xsknet_flow6", source, destination, common);
    same!(LinkKey, "xsknet_flow_link", mac, kind, vlan, ethertype, zero);
    same!(
        Kind,
        "xsknet_kind",
        first_source_port,
        more_source_ports,
        first_destination_port,
        more_destination_ports,
        flags,
        protocol,
        protocol_mask,
        zero
    );
    same!(KindOf<FlowKey4>, "xsknet_kind4", mask, kind);
    same!(KindOf<FlowKey6>, "xsknet_kind6", mask, kind);
    same!(FlowList, "xsknet_flow_list", tables, kinds4, kinds6, links, four, six, link);
    same!(Fragmented, "xsknet_fragmented", source, destination, id, vlan, protocol, version);
    same!(Note, "xsknet_note", kind, value, word);
    same!(Trace, "xsknet_trace", count, zero, notes);
    same!(Steered, "xsknet_steered", claim, queue_pair, removals, at);
    assert_eq!(header.sizes.get("xsknet_counters"), Some(&(size_of::<Counters>() as u64)));
    let ours = header.sizes.keys().filter(|name| name.starts_with("xsknet_")).count();
    assert_eq!(ours, 36, "a struct of the header has no mirror");
}

#[test]
fn vlan_ids_that_no_port_can_have_are_refused() {
    assert_eq!(Vlan::tagged(0), None);
    assert_eq!(Vlan::tagged(4095), None);
    assert_eq!(Vlan::tagged(4094).and_then(Vlan::id), Some(4094));
    assert_eq!(Vlan::UNTAGGED.id(), None);
}

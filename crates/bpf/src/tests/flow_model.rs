//! What flows do in both programs once more, in Rust, and random rule sets and packets to compare them on.
//!
//! The model reads a frame as a list of bytes and asks all flows, one after the other; it shares neither code nor
//! tables with the kernel's.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use xsknet_filter::{Fields, Flow};

use super::flows::{IP_HOST, IP6_HOST, IVAN, PORTS, Scene, TAG, flow, host4, host6};
use super::frames::*;
use super::lab::{ERIN, ERINS, Exit, HEIDI};
use super::model::{self, Port, Sent, Tag, Unread, one_of};
use crate::{Counter, FlowsError, PortId, Rates};

const PASSED: Exit = Exit::By(Counter::Passed);

/// A fragmented packet: VLAN, version, protocol, addresses, id.
type Fragmented = (Option<u16>, u8, u8, Vec<u8>, Vec<u8>);

/// A packet as flows see it.
struct Packet<'a> {
    fields: Fields,
    /// From the IP header on, if it is IP.
    upper: Upper<'a>,
}

enum Upper<'a> {
    /// Not IP, or nothing that can be read.
    None,
    Later(Fragmented),
    /// The bytes behind the IP headers, as far as both the frame and the packet have them; whether others follow.
    First(&'a [u8], Option<Fragmented>),
}

/// Ports, what they have claimed, and what is remembered of fragments.
pub(super) struct Model {
    pub(super) ports: Vec<Port>,
    pub(super) uplink_mtu: usize,
    pub(super) flows: Vec<(PortId, Flow)>,
    sent: HashMap<PortId, Sent>,
    fragments: HashMap<Fragmented, (PortId, u32)>,
}

fn address4(bytes: &[u8]) -> IpAddr {
    Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap()).into()
}

fn address6(bytes: &[u8]) -> IpAddr {
    Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..16]).unwrap()).into()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn id_of(tag: Tag) -> Option<u16> {
    match tag {
        Tag::None => None,
        Tag::Id(id) => Some(id),
        // Of no flow that names a VLAN.
        Tag::Foreign => Some(0xffff),
    }
}

/// Of the link alone; and what is behind it.
fn parse_link(frame: &[u8]) -> Option<(Fields, &[u8])> {
    let model::Read { tag, ethertype, body, .. } = model::read(frame).ok()?;
    let fields = Fields {
        destination_mac: frame[..6].try_into().unwrap(),
        tag: id_of(tag),
        ethertype,
        addresses: None,
        protocol: None,
        ports: None,
        icmp_type: None,
    };
    Some((fields, body))
}

/// Whether a tap of these flows gets a frame. `None` where its tags cannot be read.
pub(super) fn is_tapped(flows: &[Flow], frame: &[u8]) -> Option<bool> {
    let (mut fields, body) = parse_link(frame)?;
    // What cannot be read of the packet is missing, and not the frame.
    match fields.ethertype {
        IPV4 => drop(parse4(body, body.len(), &mut fields)),
        IPV6 => drop(parse6(body, body.len(), &mut fields)),
        _ => {}
    }
    Some(flows.iter().any(|flow| flow.matches(&fields)))
}

/// `None`: nothing that a flow could match.
fn parse(frame: &[u8]) -> Option<Packet<'_>> {
    let (mut fields, body) = parse_link(frame)?;
    let upper = match fields.ethertype {
        ARP => return None,
        IPV4 => parse4(body, body.len(), &mut fields)?,
        IPV6 => parse6(body, body.len(), &mut fields)?,
        _ => Upper::None,
    };
    Some(Packet { fields, upper })
}

/// `end` bounds the packet where it is a part of another one.
fn parse4<'a>(body: &'a [u8], end: usize, fields: &mut Fields) -> Option<Upper<'a>> {
    if body.len() < 20 || body[0] >> 4 != 4 {
        return None;
    }
    let (header, total) = (usize::from(body[0] & 15) * 4, usize::from(u16_at(body, 2)));
    if header < 20 || total < header || header > end {
        return None;
    }
    fields.addresses = Some((address4(&body[12..]), address4(&body[16..])));
    fields.protocol = Some(body[9]);
    let name = (fields.tag, 4, body[9], body[12..20].to_vec(), body[4..6].to_vec());
    let (offset, more) = (u16_at(body, 6) & 0x1fff, u16_at(body, 6) & 0x2000 != 0);
    if offset != 0 {
        return Some(Upper::Later(name));
    }
    let upper = body.get(header..total.min(body.len()).min(end)).unwrap_or_default();
    read_upper(fields, body[9], ICMP, upper);
    Some(Upper::First(upper, more.then_some(name)))
}

fn parse6<'a>(body: &'a [u8], end: usize, fields: &mut Fields) -> Option<Upper<'a>> {
    if body.len() < 40 || end < 40 || body[0] >> 4 != 6 {
        return None;
    }
    fields.addresses = Some((address6(&body[8..]), address6(&body[24..])));
    let left = usize::from(u16_at(body, 4)).min(end - 40).min(body.len() - 40);
    let (mut protocol, mut rest, mut fragment) = (body[6], &body[40..40 + left], None);
    for passed in 0.. {
        let length = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION => rest.get(1).map(|units| (usize::from(*units) + 1) * 8),
            AUTHENTICATION => rest.get(1).map(|units| (usize::from(*units) + 2) * 4),
            FRAGMENT => Some(8),
            _ => break,
        };
        // The kernel reads 8 bytes of each in the frame, of which the packet may count fewer.
        if passed == 8 || fragment.is_some() || rest.len() < length? || rest.len() < 8 {
            return None;
        }
        let (extension, behind) = rest.split_at(length?);
        if protocol == FRAGMENT {
            let name = (fields.tag, 6, extension[0], body[8..40].to_vec(), extension[4..8].to_vec());
            if u16_at(extension, 2) & 0xfff8 != 0 {
                fields.protocol = Some(extension[0]);
                return Some(Upper::Later(name));
            }
            fragment = Some((name, u16_at(extension, 2) & 1 != 0));
        }
        (protocol, rest) = (extension[0], behind);
    }
    fields.protocol = Some(protocol);
    read_upper(fields, protocol, ICMPV6, rest);
    Some(Upper::First(rest, fragment.and_then(|(name, more)| more.then_some(name))))
}

fn read_upper(fields: &mut Fields, protocol: u8, icmp: u8, upper: &[u8]) {
    if upper.len() < 4 {
        return;
    }
    fields.ports = [TCP, UDP, SCTP].contains(&protocol).then(|| (u16_at(upper, 0), u16_at(upper, 2)));
    fields.icmp_type = (protocol == icmp).then_some(upper[0]);
}

fn answered(icmp_type: u8, six: bool) -> Option<u8> {
    let pairs: &[(u8, u8)] = if six { &[(128, 129), (139, 140)] } else { &[(8, 0), (13, 14), (15, 16), (17, 18)] };
    pairs.iter().find_map(|&(one, other)| match icmp_type {
        its if its == one => Some(other),
        its if its == other => Some(one),
        _ => None,
    })
}

fn reversed(fields: &Fields) -> Fields {
    let swap = |(a, b)| (b, a);
    let six = fields.ethertype == IPV6;
    Fields {
        addresses: fields.addresses.map(|(source, destination)| (destination, source)),
        ports: fields.ports.map(swap),
        icmp_type: fields.icmp_type.and_then(|icmp_type| answered(icmp_type, six)),
        ..*fields
    }
}

impl Model {
    /// Without flows.
    pub(super) fn new(ports: Vec<Port>, uplink_mtu: usize) -> Self {
        Self { ports, uplink_mtu, flows: Vec::new(), sent: HashMap::new(), fragments: HashMap::new() }
    }

    fn port(&self, id: PortId) -> &Port {
        self.ports.iter().find(|port| port.id == id).expect("flows are of its ports")
    }

    fn owner(&self, fields: &Fields) -> Option<(PortId, &Flow)> {
        let matching = self.flows.iter().filter(|(_, flow)| flow.matches(fields));
        matching.max_by_key(|(_, flow)| flow.precedence()).map(|(port, flow)| (*port, flow))
    }

    /// How a frame that arrives leaves the uplink program.
    pub(super) fn uplink(&mut self, frame: &[u8]) -> Exit {
        if model::read(frame).is_err() {
            return PASSED;
        }
        if let Some(port) = model::claimant(&self.ports, frame) {
            return model::to_port(port, frame, model::queue_pair(frame, port.queue_pairs));
        }
        if self.flows.is_empty() {
            return PASSED;
        }
        let Some(packet) = parse(frame) else { return PASSED };
        let (port, queue, name) = match packet.upper {
            Upper::None => match self.owner(&packet.fields) {
                Some((port, _)) => (port, 0, None),
                None => return PASSED,
            },
            Upper::Later(name) => match self.fragments.get(&name) {
                Some(&(port, queue)) => return model::to_port(self.port(port), frame, queue),
                None => return Exit::By(Counter::PassedFragment),
            },
            Upper::First(upper, name) => {
                let six = packet.fields.ethertype == IPV6;
                if six && packet.fields.icmp_type.is_some_and(|icmp_type| (133..=137).contains(&icmp_type)) {
                    return PASSED;
                }
                let own = || {
                    let (port, _) = self.owner(&packet.fields)?;
                    Some((port, model::queue_pair(frame, self.port(port).queue_pairs)))
                };
                let Some((port, queue)) = self.quoted(&packet.fields, upper).or_else(own) else { return PASSED };
                (port, queue, name)
            }
        };
        if let Some(name) = name {
            self.fragments.insert(name, (port, queue));
        }
        model::to_port(self.port(port), frame, queue)
    }

    /// Whose answers an error speaks of.
    fn quoted(&self, outer: &Fields, upper: &[u8]) -> Option<(PortId, u32)> {
        let six = outer.ethertype == IPV6;
        let errors: &[u8] = if six { &[1, 2, 3, 4] } else { &[3, 4, 11, 12] };
        if !outer.icmp_type.is_some_and(|icmp_type| errors.contains(&icmp_type)) {
            return None;
        }
        let quoted = upper.get(8..)?;
        let mut fields = Fields { addresses: None, protocol: None, ports: None, icmp_type: None, ..*outer };
        // What pads the frame is no part of the packet.
        let flow = if six {
            parse6(quoted, quoted.len(), &mut fields)?;
            model::flow6(&quoted[..quoted.len().min(40 + usize::from(u16_at(quoted, 4)))])
        } else {
            parse4(quoted, quoted.len(), &mut fields)?;
            model::flow4(&quoted[..quoted.len().min(usize::from(u16_at(quoted, 2)))])
        };
        let (port, _) = self.owner(&reversed(&fields))?;
        Some((port, flow.map_or(0, |flow| model::queue_of(flow, self.port(port).queue_pairs))))
    }

    /// How a frame that a port sends leaves the guard.
    pub(super) fn guard(&mut self, sender: PortId, frame: &[u8]) -> Exit {
        let exit = self.allowed(sender, frame);
        if matches!(exit, Exit::By(_)) {
            return exit;
        }
        let rates = self.port(sender).rates;
        let sent = self.sent.entry(sender).or_default();
        sent.count(&rates, frame, exit == Exit::Uplink).map_or_else(Exit::By, |()| exit)
    }

    /// Likewise, if its port has no rates.
    fn allowed(&self, sender: PortId, frame: &[u8]) -> Exit {
        let own = self.port(sender);
        let judged = if own.speaks_for_itself(frame) {
            model::judge(&self.ports, own, frame).map(|target| (own.tag, target))
        } else {
            self.judge(own, frame).map(|tag| (tag, None))
        };
        match judged {
            Err(reason) => Exit::By(reason),
            Ok((tag, target)) => model::leaves(&self.ports, self.uplink_mtu, own, tag, frame, target),
        }
    }

    /// Whose flow the frame, reversed, belongs to.
    pub(super) fn sender(&self, frame: &[u8]) -> Option<PortId> {
        let fields = parse(frame)?.fields;
        self.owner(&reversed(&Fields { destination_mac: MAC_HOST, ..fields })).map(|(port, _)| port)
    }

    /// The rules for a frame from a MAC that is not the port's own.
    fn judge(&self, own: &Port, frame: &[u8]) -> Result<Tag, Counter> {
        if frame[6..12] != MAC_HOST {
            return Err(Counter::SourceMac);
        }
        let model::Read { tag, inner, ethertype, body } = model::read(frame).map_err(|unread| match unread {
            Unread::Cut => Counter::Malformed,
            Unread::TooManyTags => Counter::Vlan,
        })?;
        if inner && !own.inner_tags {
            return Err(Counter::Vlan);
        }
        let mut fields = Fields {
            destination_mac: MAC_HOST,
            tag: id_of(tag),
            ethertype,
            addresses: None,
            protocol: None,
            ports: None,
            icmp_type: None,
        };
        let six = ethertype == IPV6;
        let (upper, fragment) = match ethertype {
            ARP => return Err(Counter::Arp),
            IPV4 => {
                let upper = parse4(body, body.len(), &mut fields).ok_or(Counter::Malformed)?;
                let header = usize::from(body[0] & 15) * 4;
                model::judge_options(own, body.get(20..header).ok_or(Counter::Malformed)?)?;
                (upper, u16_at(body, 6) & 0x3fff != 0)
            }
            IPV6 => {
                if body.len() < 40 || body[0] >> 4 != 6 {
                    return Err(Counter::Malformed);
                }
                let fragment = match model::chain(body, own.routing) {
                    model::Chain::Broken => return Err(Counter::Malformed),
                    model::Chain::Routed => return Err(Counter::Rogue),
                    model::Chain::Later { .. } => true,
                    model::Chain::Upper { fragment, .. } => fragment,
                };
                (parse6(body, body.len(), &mut fields).ok_or(Counter::Malformed)?, fragment)
            }
            _ => return Err(Counter::Ethertype),
        };
        if fragment {
            return Err(Counter::SourceIp);
        }
        let Upper::First(upper, _) = upper else { return Err(Counter::SourceIp) };
        if upper.len() < 4 {
            return Err(Counter::Malformed);
        }
        let protocol = fields.protocol.unwrap();
        match protocol {
            _ if model::is_routers_protocol(protocol) && !own.routing => return Err(Counter::Rogue),
            UDP if own.routing => {}
            UDP if model::is_routers_port(u16_at(upper, 2)) => return Err(Counter::Rogue),
            UDP if [67, 547].contains(&u16_at(upper, 2)) => return Err(Counter::Rogue),
            IGMP => return Err(Counter::SourceIp),
            ICMPV6 if six && (133..=137).contains(&upper[0]) => return Err(Counter::Nd),
            ICMP if six || answered(upper[0], false).is_none() => return Err(Counter::SourceIp),
            ICMPV6 if !six || answered(upper[0], true).is_none() => return Err(Counter::SourceIp),
            _ => {}
        }
        let (source, _) = fields.addresses.unwrap();
        let is_host = match source {
            IpAddr::V4(source) => source != NONE4 && source.octets()[0] < 224,
            IpAddr::V6(source) => source != NONE6 && !source.is_multicast(),
        };
        let flow = self.owner(&reversed(&fields)).filter(|(port, _)| is_host && *port == own.id).map(|(_, flow)| flow);
        match flow {
            Some(Flow { destination: Some(prefix), protocol: Some(_), vlan, .. }) if prefix.is_host() => {
                if tag == own.tag || vlan.is_some() { Ok(tag) } else { Err(Counter::Vlan) }
            }
            _ => Err(Counter::SourceIp),
        }
    }
}

/// Those of the scene, as they are without flows.
fn ports() -> Vec<Port> {
    let port = |&(id, mac): &(PortId, Mac)| Port {
        id,
        mac: if id == IVAN { MAC_HOST } else { mac },
        tag: Tag::None,
        mtu: 1500,
        queue_pairs: if id == ERIN { ERINS } else { 1 },
        ip4: if id == IVAN { vec![IP_A.octets()] } else { Vec::new() },
        ip6: if id == IVAN { vec![IP6_A.octets()] } else { Vec::new() },
        inner_tags: false,
        routing: false,
        uplink_mac: [HEIDI, IVAN].contains(&id),
        gone: false,
        rates: Rates::UNLIMITED,
    };
    PORTS.iter().map(port).collect()
}

fn port() -> impl Strategy<Value = u16> {
    one_of(&[53, 53, 80, 49, 50, 60, 61, 1023, 1024, 2047, 2048, 0, 65535, 67, 68, 520])
}

/// What stands behind the IP headers: protocol and bytes. Errors quote `inner`.
fn upper(six: bool, inner: Vec<u8>) -> impl Strategy<Value = (u8, Vec<u8>)> {
    let transport = (one_of(&[TCP, UDP, UDP, UDP, SCTP]), port(), port())
        .prop_map(|(protocol, from, to)| (protocol, udp(from, to)));
    let types: &[u8] = if six { &[1, 2, 3, 4, 128, 129, 135, 136, 137, 143] } else { &[0, 3, 3, 5, 8, 11, 12, 13, 14] };
    let message = (one_of(types), Just(inner)).prop_map(move |(icmp_type, inner)| {
        (if six { ICMPV6 } else { ICMP }, [&[icmp_type, 0, 0, 0, 0, 0, 0, 0][..], &inner].concat())
    });
    let other =
        (one_of(&[50u8, 2, 89, 1, 58, 59]), 0usize..12).prop_map(|(protocol, length)| (protocol, vec![8; length]));
    prop_oneof![6 => transport, 3 => message, 1 => other]
}

fn packet4(inner: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let fragment = one_of(&[0u16, 0, 0, 0, 0, 0, 0x4000, 0x2000, 0x2000, 0x2001, 1, 3]);
    let options = one_of(&[vec![], vec![], vec![], vec![1; 4], vec![131, 4, 0, 0], vec![7, 1, 0, 0]]);
    (fragment, options, upper(false, inner), host4(), host4(), 0u8..3).prop_map(
        |(fragment, options, (protocol, upper), from, to, id)| {
            patched(ipv4_with(fragment, &options, protocol, from, to, &upper), 5, &[id])
        },
    )
}

fn packet6(inner: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let header = (
        one_of(&[HOP_BY_HOP, ROUTING, DESTINATION, AUTHENTICATION, FRAGMENT, FRAGMENT]),
        1usize..3,
        0u16..3,
        any::<bool>(),
    );
    let headers = prop_oneof![3 => Just(Vec::new()).boxed(), 1 => prop::collection::vec(header, 1..3).boxed()];
    (headers, upper(true, inner), host6(), host6()).prop_map(|(headers, upper, from, to)| {
        let (next, payload) = headers.into_iter().fold(upper, |(next, rest), (kind, units, offset, more)| {
            let wrapped = match kind {
                FRAGMENT => super::frames::fragment(next, offset.saturating_sub(1), more, &rest),
                AUTHENTICATION => extension(kind, next, 8 + 4 * units, &rest),
                _ => extension(kind, next, 8 * units, &rest),
            };
            (kind, wrapped)
        });
        ipv6(next, from, to, &payload)
    })
}

/// A frame that some flow may match; `from` is its source.
pub(super) fn frame(from: Mac) -> impl Strategy<Value = Vec<u8>> {
    let cut = |packet: Vec<u8>| {
        let length = packet.len();
        let whole = Just(packet.clone());
        prop_oneof![3 => whole, 1 => (0..=length).prop_map(move |length| packet[..length].to_vec())]
    };
    let four = packet4(Vec::new()).prop_flat_map(cut).prop_flat_map(packet4).prop_map(|packet| (IPV4, packet));
    let six = packet6(Vec::new()).prop_flat_map(cut).prop_flat_map(packet6).prop_map(|packet| (IPV6, packet));
    let other = (one_of(&[0x88ccu16, 0x88f7, ARP]), Just(vec![0; 46]));
    let body = prop_oneof![6 => four, 4 => six, 1 => other];
    let to = one_of(&[MAC_HOST, MAC_HOST, MAC_HOST, MAC_FAR, MAC_A, MAC_H, BROADCAST]);
    let tags = one_of(&[vec![], vec![], vec![], vec![(Q, TAG)], vec![(Q, 0)], vec![(AD, TAG)], vec![(Q, TAG), (Q, 5)]]);
    let value = prop_oneof![any::<u8>(), one_of(&[0u8, 1, 4, 6, 17, 44, 58, 60, 0x45, 0x46, 0x60])];
    let changes = prop_oneof![
        4 => Just(Vec::new()).boxed(),
        1 => prop::collection::vec((any::<prop::sample::Index>(), value), 1..3).boxed(),
    ];
    let length = prop_oneof![
        6 => Just(None).boxed(),
        1 => (14usize..120).prop_map(Some).boxed(),
        1 => one_of(&[1514usize, 1515, 1518, 1519]).prop_map(Some).boxed(),
    ];
    (body, to, tags, changes, length).prop_map(move |((ethertype, body), to, tags, changes, length)| {
        let mut frame = tagged(&ethernet(to, from, ethertype, &body), &tags);
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(length) = length {
            frame.resize(length.max(14), 0);
        }
        frame[6..12].copy_from_slice(&from);
        frame
    })
}

/// What a port that has flows of the host may send, or nearly so.
pub(super) fn answer() -> impl Strategy<Value = Vec<u8>> {
    let upper = (one_of(&[TCP, UDP, UDP, UDP, SCTP]), port(), port());
    let length = one_of(&[None, None, None, None, Some(1514), Some(1515), Some(1519)]);
    let tags = one_of(&[vec![], vec![], vec![], vec![(Q, TAG)], vec![(Q, 0)]]);
    (upper, any::<bool>(), one_of(&[MAC_FAR, MAC_FAR, MAC_A, MAC_H, BROADCAST]), tags, length).prop_map(
        |((protocol, from, to), six, mac, tags, length)| {
            let upper = udp(from, to);
            let frame = if six {
                ethernet(mac, MAC_HOST, IPV6, &ipv6(protocol, IP6_HOST, IP6_FAR, &upper))
            } else {
                ethernet(mac, MAC_HOST, IPV4, &ipv4(protocol, IP_HOST, IP_FAR, &upper))
            };
            let mut frame = tagged(&frame, &tags);
            frame.resize(length.unwrap_or(frame.len()), 0);
            frame
        },
    )
}

pub(super) fn draw<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// Rule sets that are compared; `XSKNET_RULE_SETS` asks for more.
fn rule_sets() -> u32 {
    std::env::var("XSKNET_RULE_SETS").map_or(25, |sets| sets.parse().expect("XSKNET_RULE_SETS is a number"))
}

/// Frames for each state of a rule set, in each direction.
const FRAMES: usize = 100;

#[test]
fn kernel_and_model_agree_on_random_flows() {
    Scene::run(|scene| {
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let mut exits: HashMap<String, u32> = HashMap::new();
        let foreign = prop_oneof![frame(MAC_H), frame([0; 6])];
        let (arriving, sent) = (frame(MAC_FAR), prop_oneof![4 => frame(MAC_HOST), 4 => answer(), 1 => foreign]);
        let rules = prop::collection::vec((0..PORTS.len(), flow()), 0..48);
        for _ in 0..rule_sets() {
            let mut model = Model::new(ports(), 1500);
            for step in 0..3 {
                change(scene, &mut model, step, draw(&mut runner, &rules));
                for number in 0..FRAMES {
                    let frame = draw(&mut runner, &arriving);
                    let expected = model.uplink(&frame);
                    let found = scene.uplink(&frame, expected);
                    assert_eq!(found, expected, "arriving {frame:02x?}\nflows {:#?}", model.flows);
                    *exits.entry(format!("uplink {found:?}")).or_default() += 1;

                    let frame = draw(&mut runner, &sent);
                    let others = PORTS.iter().map(|(port, _)| *port).cycle().skip(number % PORTS.len());
                    // Mostly the one that may.
                    let own = model.sender(&frame).into_iter().chain(others).nth(usize::from(number % 4 == 0)).unwrap();
                    let expected = model.guard(own, &frame);
                    let found = scene.guard(own, &frame, expected);
                    assert_eq!(found, expected, "sent by {own} {frame:02x?}\nflows {:#?}", model.flows);
                    *exits.entry(format!("guard {found:?}")).or_default() += 1;
                }
            }
            scene.renew();
        }
        // Uplink: passed in two ways, too_long, three ports, and all queue pairs of the fourth. Guard: source_mac,
        // malformed, vlan, arp, ethertype, source_ip, rogue, nd, too_long, the uplink, and Alice by her MAC.
        assert!(exits.len() >= 2 + 1 + 3 + ERINS as usize + 9 + 2, "{exits:#?}");
    });
}

/// One way after the other to get from the flows of the model to others.
fn change(scene: &mut Scene, model: &mut Model, step: u32, rules: Vec<(usize, Flow)>) {
    if step == 1 {
        // Every second one leaves, one by one.
        let (gone, kept) = model.flows.iter().enumerate().partition::<Vec<_>, _>(|(number, _)| number % 2 == 0);
        for (_, (port, flow)) in gone {
            scene.datapath.release_flows(*port, std::slice::from_ref(flow)).unwrap();
        }
        model.flows = kept.into_iter().map(|(_, entry)| *entry).collect();
    }
    let replaces = step == 2;
    for (at, (id, _)) in PORTS.iter().enumerate() {
        let (before, others) = model.flows.iter().copied().partition::<Vec<_>, _>(|(port, _)| replaces && port == id);
        let mut own: Vec<Flow> = Vec::new();
        for (_, flow) in rules.iter().filter(|(port, _)| *port == at) {
            let taken = others.iter().map(|(_, other)| other).chain(&own).any(|other| other.conflicts_with(flow));
            if !taken {
                own.push(*flow);
            } else if !replaces {
                let list = [&own[..], std::slice::from_ref(flow)].concat();
                let refused = scene.datapath.claim_flows(*id, &list).unwrap_err();
                assert!(matches!(refused, FlowsError::Taken { .. }), "{refused}");
            }
        }
        let changed =
            if replaces { scene.datapath.replace_flows(*id, &own) } else { scene.datapath.claim_flows(*id, &own) };
        model.flows = others;
        match changed {
            Ok(()) => model.flows.extend(own.iter().map(|flow| (*id, *flow))),
            // It has what it had.
            Err(FlowsError::TooManyKinds) => model.flows.extend(before),
            Err(refused) => panic!("{refused}"),
        }
    }
}

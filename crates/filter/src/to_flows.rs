//! From a tree to flows: each way to fulfil the expression is one flow.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::not_a_flow::{NotAFlow, WhyNot};
use crate::protocol::{ethertype, ip};
use crate::tree::{
    Comparison, Direction, Header, Load, Node, NodeKind, Primitive, Relation, Size, Test, Value, Version, Within,
};
use crate::{Flow, PortRange, Prefix};

/// The most flows of an expression.
pub(crate) const MAX_FLOWS: usize = 4096;

/// How many pairs of flows are intersected at most.
const MAX_STEPS: usize = 1 << 18;

type Result<T> = std::result::Result<T, NotAFlow>;

pub(crate) fn flows(root: &Node) -> Result<Vec<Flow>> {
    let ways = Search { steps: 0 }.ways(root, false)?;
    let mut seen = HashSet::new();
    let mut flows = Vec::new();
    for way in ways {
        way.check_tags()?;
        if seen.insert(way.flow) {
            flows.push(way.flow);
        }
    }
    if flows.is_empty() { refuse(&root.range, WhyNot::Nothing) } else { Ok(flows) }
}

fn refuse<T>(range: &Range<usize>, why: WhyNot) -> Result<T> {
    Err(NotAFlow { range: range.clone(), why })
}

/// One way to fulfil a part of the expression.
#[derive(Clone, Debug)]
struct Way {
    flow: Flow,
    /// Where EtherType or packet are read as those of a frame without a tag.
    untagged: Option<Range<usize>>,
    /// Where they are read behind one tag.
    tagged: Option<Range<usize>>,
}

impl Way {
    fn of(flow: Flow) -> Self {
        Self { flow, untagged: None, tagged: None }
    }

    /// A test that reads behind a tag is one of frames with a tag, and the others are of frames without.
    fn check_tags(&self) -> Result<()> {
        let asks_for_tag = matches!(self.flow.vlan, Some(1..));
        match (&self.untagged, &self.tagged) {
            (Some(range), _) if asks_for_tag => refuse(range, WhyNot::BeforeTag),
            (_, Some(range)) if !asks_for_tag => refuse(range, WhyNot::BehindTag),
            _ => Ok(()),
        }
    }

    fn and(&self, other: &Self, range: &Range<usize>) -> Result<Option<Self>> {
        let Some(flow) = self.flow.intersection(&other.flow) else {
            let is_arp_of_host = |a, b| is_arp(a) && has_ipv4_address(b);
            // `host 192.0.2.1` matches ARP packets, too, and they cannot be left out where ARP is asked for.
            if is_arp_of_host(&self.flow, &other.flow) || is_arp_of_host(&other.flow, &self.flow) {
                return refuse(range, WhyNot::ArpAddress);
            }
            return Ok(None);
        };
        let first = |a: &Option<Range<usize>>, b: &Option<Range<usize>>| a.clone().or_else(|| b.clone());
        let (untagged, tagged) = (first(&self.untagged, &other.untagged), first(&self.tagged, &other.tagged));
        Ok(Some(Self { flow, untagged, tagged }))
    }
}

fn is_arp(flow: &Flow) -> bool {
    matches!(flow.ethertype, Some(ethertype::ARP | ethertype::RARP))
}

fn has_ipv4_address(flow: &Flow) -> bool {
    flow.source.or(flow.destination).is_some_and(|prefix| prefix.address().is_ipv4())
}

struct Search {
    steps: usize,
}

impl Search {
    fn ways(&mut self, node: &Node, is_negated: bool) -> Result<Vec<Way>> {
        match (&node.kind, is_negated) {
            (NodeKind::Not(inner), _) => self.ways(inner, !is_negated),
            (NodeKind::Primitive(primitive), _) => ways_of(primitive, is_negated, &node.range),
            (NodeKind::All(parts), false) | (NodeKind::Any(parts), true) => {
                let mut all = vec![Way::of(Flow::any())];
                for part in parts {
                    let ways = self.ways(part, is_negated)?;
                    all = self.intersections(&all, &ways, &part.range)?;
                }
                Ok(all)
            }
            (NodeKind::Any(parts), false) | (NodeKind::All(parts), true) => {
                let mut all = Vec::new();
                for part in parts {
                    all.append(&mut self.ways(part, is_negated)?);
                    if all.len() > MAX_FLOWS {
                        return refuse(&node.range, TOO_MANY);
                    }
                }
                Ok(all)
            }
        }
    }

    fn intersections(&mut self, left: &[Way], right: &[Way], range: &Range<usize>) -> Result<Vec<Way>> {
        self.steps += left.len() * right.len();
        if self.steps > MAX_STEPS {
            return refuse(range, TOO_MANY);
        }
        let mut seen = HashSet::new();
        let mut both = Vec::new();
        for left in left {
            for right in right {
                let Some(way) = left.and(right, range)? else { continue };
                if seen.insert((way.flow, way.untagged.is_some(), way.tagged.is_some())) {
                    both.push(way);
                }
            }
            if both.len() > MAX_FLOWS {
                return refuse(range, TOO_MANY);
            }
        }
        Ok(both)
    }
}

const TOO_MANY: WhyNot = WhyNot::TooMany { most: MAX_FLOWS, most_steps: MAX_STEPS };

fn ways_of(primitive: &Primitive, is_negated: bool, range: &Range<usize>) -> Result<Vec<Way>> {
    if let Test::Vlan { identifier } = primitive.test {
        return vlan(identifier, primitive.tags, is_negated, range);
    }
    if is_negated {
        return refuse(range, WhyNot::Negated);
    }
    // The addresses of Ethernet stand before the tags.
    let is_behind_tags = !matches!(primitive.test, Test::Mac { .. });
    let range_of = |tags| (is_behind_tags && primitive.tags == tags).then(|| range.clone());
    let (untagged, tagged) = (range_of(0), range_of(1));
    let flows = flows_of(&primitive.test).map_err(|why| NotAFlow { range: range.clone(), why })?;
    if is_behind_tags && primitive.tags > 1 {
        return refuse(range, WhyNot::InnerVlan);
    }
    Ok(flows.into_iter().map(|flow| Way { flow, untagged: untagged.clone(), tagged: tagged.clone() }).collect())
}

fn vlan(identifier: Option<u16>, tags: usize, is_negated: bool, range: &Range<usize>) -> Result<Vec<Way>> {
    let vlan = match (identifier, is_negated) {
        _ if tags > 0 => return refuse(range, WhyNot::InnerVlan),
        (None, true) => 0,
        (Some(_), true) => return refuse(range, WhyNot::Negated),
        (None, false) => return refuse(range, WhyNot::AnyVlan),
        (Some(0), false) => return refuse(range, WhyNot::PriorityTag),
        (Some(identifier), false) => identifier,
    };
    Ok(vec![Way::of(Flow { vlan: Some(vlan), ..Flow::any() })])
}

fn flows_of(test: &Test) -> std::result::Result<Vec<Flow>, WhyNot> {
    let no_field = |what| Err(WhyNot::NoField { what });
    match test {
        Test::EtherType(ethertype) => {
            let flow = Flow { ethertype: Some(*ethertype), ..Flow::any() };
            flow.check()?;
            Ok(vec![flow])
        }
        Test::Protocol { version, number } => {
            Ok(vec![Flow { ethertype: version.map(ethertype_of), protocol: Some(*number), ..Flow::any() }])
        }
        Test::Host4 { within: Within::Arp | Within::Rarp, .. } => Err(WhyNot::ArpAddress),
        Test::Host4 { within, direction, address, mask } => {
            let length = mask.leading_ones();
            let address = IpAddr::from(Ipv4Addr::from_bits(*address));
            let prefix = u8::try_from(length).ok().and_then(|length| Prefix::new(address, length).ok());
            let Some(prefix) = prefix.filter(|_| length + mask.trailing_zeros() >= u32::BITS) else {
                return Err(WhyNot::Mask);
            };
            let ethertype = (*within == Within::Ip).then_some(ethertype::IPV4);
            Ok(with_prefix(Flow { ethertype, ..Flow::any() }, *direction, prefix))
        }
        Test::Host6 { direction, address, mask } => {
            let length = mask.iter().map(|word| word.count_ones()).sum::<u32>();
            let [a, b, c, d] = address.map(u128::from);
            let address = Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d);
            let prefix = u8::try_from(length).ok().and_then(|length| Prefix::new(address.into(), length).ok());
            Ok(with_prefix(Flow::any(), *direction, prefix.ok_or(WhyNot::Mask)?))
        }
        Test::Mac { direction: Direction::Destination, address } => {
            Ok(vec![Flow { destination_mac: Some(*address), ..Flow::any() }])
        }
        Test::Mac { .. } => no_field("the source MAC"),
        Test::Ports { protocol, direction, first, last } => {
            let Ok(ports) = PortRange::new(*first, *last) else { return Err(WhyNot::Nothing) };
            let protocols = match protocol {
                Some(protocol) => vec![*protocol],
                None => vec![ip::TCP, ip::UDP, ip::SCTP],
            };
            let of = |protocol| with_ports(Flow { protocol: Some(protocol), ..Flow::any() }, *direction, ports);
            Ok(protocols.into_iter().flat_map(of).collect())
        }
        Test::MacMulticast => no_field("one bit of the destination MAC"),
        Test::Multicast { version } => {
            let destination = match version {
                Version::V4 => Prefix::new([224, 0, 0, 0].into(), 3),
                Version::V6 => Prefix::new([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8),
            };
            Ok(vec![Flow { ethertype: Some(ethertype_of(*version)), destination: destination.ok(), ..Flow::any() }])
        }
        Test::Vlan { .. } => Err(WhyNot::AnyVlan),
        Test::LengthAtMost(_) | Test::LengthAtLeast(_) => no_field("the length of a frame"),
        Test::Relation(relation) => match icmp_type(relation) {
            Some((protocol, icmp_type)) => {
                Ok(vec![Flow { protocol: Some(protocol), icmp_type: Some(icmp_type), ..Flow::any() }])
            }
            None => no_field("a calculation, except `icmp[icmptype] = N` and `icmp6[icmp6type] = N`,"),
        },
    }
}

fn ethertype_of(version: Version) -> u16 {
    match version {
        Version::V4 => ethertype::IPV4,
        Version::V6 => ethertype::IPV6,
    }
}

fn with_prefix(flow: Flow, direction: Direction, prefix: Prefix) -> Vec<Flow> {
    on_sides(flow, direction, |flow| flow.source = Some(prefix), |flow| flow.destination = Some(prefix))
}

fn with_ports(flow: Flow, direction: Direction, ports: PortRange) -> Vec<Flow> {
    on_sides(flow, direction, |flow| flow.source_ports = Some(ports), |flow| flow.destination_ports = Some(ports))
}

fn on_sides(
    flow: Flow,
    direction: Direction,
    set_source: impl Fn(&mut Flow),
    set_destination: impl Fn(&mut Flow),
) -> Vec<Flow> {
    let (mut source, mut destination, mut both) = (flow, flow, flow);
    set_source(&mut source);
    set_destination(&mut destination);
    set_source(&mut both);
    set_destination(&mut both);
    match direction {
        Direction::Source => vec![source],
        Direction::Destination => vec![destination],
        Direction::Either => vec![source, destination],
        Direction::Both => vec![both],
    }
}

/// The protocol and the type, if the relation is `icmp[icmptype] = N` or `icmp6[icmp6type] = N`.
fn icmp_type(relation: &Relation) -> Option<(u8, u8)> {
    let (Value::Load(load), Comparison::Equal, Value::Number(number)) =
        (&relation.left, relation.comparison, &relation.right)
    else {
        return None;
    };
    let Load { header, index: Value::Number(0), size: Size::One } = &**load else { return None };
    let protocol = match header {
        Header::Transport4(ip::ICMP) => ip::ICMP,
        Header::Icmp6 => ip::ICMPV6,
        _ => return None,
    };
    Some((protocol, u8::try_from(*number).ok()?))
}

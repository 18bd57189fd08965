//! Both programs once more, in Rust, and random frames to compare them on.
//!
//! The model reads a frame as a list of bytes and decides rule by rule; it shares neither code nor tables with the
//! kernel's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::frames::*;
use super::lab::{
    ALICE, BOB, CAROL, ERIN, ERINS, Exit, FRANK, FRANKS, GONE, GRACE, HEIDI, Lab, QUEUE_SEED, UPLINK_MTU, with_lab,
};
use crate::{Counter, PortId, Rate, Rates};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Tag {
    None,
    Id(u16),
    Foreign,
}

/// A port, as far as the rules know it.
#[derive(Debug, Clone)]
pub(super) struct Port {
    pub(super) id: PortId,
    pub(super) mac: Mac,
    pub(super) tag: Tag,
    pub(super) mtu: usize,
    pub(super) queue_pairs: u32,
    pub(super) ip4: Vec<[u8; 4]>,
    pub(super) ip6: Vec<[u8; 16]>,
    pub(super) inner_tags: bool,
    pub(super) routing: bool,
    /// On the wire it has the uplink's MAC, which `mac` is then, unless it has no addresses either.
    pub(super) uplink_mac: bool,
    /// Its device is not there any more.
    pub(super) gone: bool,
    /// Not of unicast to unknown stations: the model does not know which are.
    pub(super) rates: Rates,
}

/// Those of the lab.
static PORTS: LazyLock<Vec<Port>> = LazyLock::new(|| {
    let (four, six) = (IP_A.octets(), IP6_A.octets());
    let alice = Port {
        id: ALICE,
        mac: MAC_A,
        tag: Tag::None,
        mtu: 1500,
        queue_pairs: 1,
        ip4: vec![four],
        ip6: vec![six, LINK_LOCAL_A.octets()],
        inner_tags: false,
        routing: false,
        uplink_mac: false,
        gone: false,
        rates: Rates::UNLIMITED,
    };
    let (ip4, ip6) = (vec![IP_E.octets()], vec![IP6_E.octets()]);
    let erin = Port { id: ERIN, mac: MAC_E, queue_pairs: ERINS, ip4, ip6, ..alice.clone() };
    let (ip4, ip6) = (vec![IP_B.octets()], vec![IP6_B.octets()]);
    vec![
        Port { id: BOB, mac: MAC_B, mtu: 1400, ip4, ip6, ..alice.clone() },
        Port { id: CAROL, mac: MAC_C, tag: Tag::Id(42), ip6: vec![six], ..alice.clone() },
        Port { id: GONE, mac: MAC_D, ip4: vec![IP_D.octets()], ip6: Vec::new(), gone: true, ..alice.clone() },
        Port { id: FRANK, tag: Tag::Id(42), queue_pairs: FRANKS, ..erin.clone() },
        Port { id: GRACE, mac: MAC_G, tag: Tag::Id(43), routing: true, ..alice.clone() },
        Port { id: HEIDI, mac: MAC_H, tag: Tag::Id(44), inner_tags: true, ..alice.clone() },
        erin,
        alice,
    ]
});

impl Port {
    /// What routers say.
    fn rogue<T>(&self, otherwise: T) -> Result<T, Counter> {
        if self.routing { Ok(otherwise) } else { Err(Counter::Rogue) }
    }

    fn has(&self, address: &[u8]) -> bool {
        self.ip4.iter().any(|own| own == address) || self.ip6.iter().any(|own| own == address)
    }

    /// Whether the rules for its own MAC and addresses are those for a frame from the MAC that it has on the wire. One
    /// that shares the MAC sends by its flows what has another source.
    pub(super) fn speaks_for_itself(&self, frame: &[u8]) -> bool {
        if self.ip4.is_empty() && self.ip6.is_empty() && self.uplink_mac || frame[6..12] != self.mac {
            return false;
        }
        match (self.uplink_mac, read(frame)) {
            (true, Ok(Read { ethertype: IPV4, body, .. })) if flow4(body).is_some() => {
                body[12..16] == [0; 4] || self.has(&body[12..16])
            }
            (true, Ok(Read { ethertype: IPV6, body, .. })) if flow6(body).is_some() => {
                body[8..24] == [0; 16] || self.has(&body[8..24])
            }
            _ => true,
        }
    }
}

/// Where frames to this MAC in this VLAN go.
pub(super) fn port_with_mac<'a>(ports: &'a [Port], mac: &[u8], tag: Tag) -> Option<&'a Port> {
    ports.iter().find(|port| !port.uplink_mac && port.mac == mac && port.tag == tag)
}

/// Where a frame goes that is for an address at the uplink's MAC.
fn port_at_uplink_mac<'a>(ports: &'a [Port], frame: &[u8]) -> Option<&'a Port> {
    let Read { tag, ethertype, body, .. } = read(frame).ok().filter(|_| frame[..6] == MAC_HOST)?;
    let address = match ethertype {
        IPV4 => &body[flow4(body).map(|_| 16..20)?],
        IPV6 => &body[flow6(body).map(|_| 24..40)?],
        ARP if body.len() >= 28 && body[..8] == [0, 1, 8, 0, 6, 4, 0, 2] => &body[24..28],
        _ => return None,
    };
    ports.iter().find(|port| port.uplink_mac && port.tag == tag && port.has(address))
}

fn port_with_address<'a>(ports: &'a [Port], address: &[u8], tag: Tag) -> Option<&'a Port> {
    ports.iter().find(|port| port.tag == tag && port.has(address))
}

/// Takes `count` bytes off the front.
fn split<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) struct Read<'a> {
    pub(super) tag: Tag,
    pub(super) inner: bool,
    pub(super) ethertype: u16,
    pub(super) body: &'a [u8],
}

pub(super) enum Unread {
    Cut,
    TooManyTags,
}

pub(super) fn read(frame: &[u8]) -> Result<Read<'_>, Unread> {
    let mut body = &frame[14..];
    let mut ethertype = u16_at(frame, 12);
    let mut tag = Tag::None;
    let mut inner = false;
    for depth in 0.. {
        if ethertype != Q && ethertype != AD {
            break;
        }
        if depth == 2 {
            return Err(Unread::TooManyTags);
        }
        let bytes = split(&mut body, 4).ok_or(Unread::Cut)?;
        if depth == 0 {
            tag = if ethertype == Q { Tag::Id(u16_at(bytes, 0) & 0xfff) } else { Tag::Foreign };
        }
        inner = depth == 1;
        ethertype = u16_at(bytes, 2);
    }
    Ok(Read { tag, inner, ethertype, body })
}

/// Whether a frame is longer than the target takes. Of the tags, the first one is free.
pub(super) fn is_too_long(frame: &[u8], mtu: usize) -> bool {
    let tagged = [Q, AD].contains(&u16_at(frame, 12));
    frame.len() > mtu + if tagged { 18 } else { 14 }
}

pub(super) fn to_port(port: &Port, frame: &[u8], queue_pair: u32) -> Exit {
    if is_too_long(frame, port.mtu) {
        Exit::By(Counter::TooLong)
    } else if port.gone {
        Exit::By(Counter::NoPort)
    } else if port.queue_pairs == 1 {
        Exit::Port(port.id)
    } else {
        Exit::QueuePair(port.id, queue_pair)
    }
}

/// Which of a port's queue pairs gets the frame.
pub fn queue_pair(frame: &[u8], queue_pairs: u32) -> u32 {
    let Ok(Read { ethertype, body, .. }) = read(frame) else { return 0 };
    let flow = match ethertype {
        IPV4 => flow4(body),
        IPV6 => flow6(body),
        _ => None,
    };
    flow.map_or(0, |flow| queue_of(flow, queue_pairs))
}

pub(super) fn queue_of((ends, protocol): Flow, queue_pairs: u32) -> u32 {
    let sum = ends.into_iter().fold(u64::from(protocol), |sum, (address, port)| {
        sum.wrapping_add(spread(spread(address ^ u64::from(QUEUE_SEED)).wrapping_add(u64::from(port))))
    });
    let picked = (u128::from(spread(sum) >> 32) * u128::from(queue_pairs)) >> 32;
    u32::try_from(picked).unwrap()
}

/// Knuth's multiplicative hash, with the better half of the product also in the worse one.
fn spread(value: u64) -> u64 {
    let product = (u128::from(value) * 0x9e37_79b9_7f4a_7c15) as u64;
    product ^ (product >> 32)
}

/// Both ends, each an address as a number and a port, and the protocol.
pub(super) type Flow = ([(u64, u16); 2], u8);

/// As the machine reads it, for numbers that nobody but the two compare.
fn word(bytes: &[u8]) -> u64 {
    u64::from(u32::from_ne_bytes(bytes[..4].try_into().unwrap()))
}

fn half(bytes: &[u8]) -> u16 {
    u16::from_ne_bytes([bytes[0], bytes[1]])
}

fn with_ports(addresses: [u64; 2], protocol: u8, whole: bool, upper: &[u8]) -> Flow {
    let ports = if whole && [TCP, UDP, SCTP].contains(&protocol) && upper.len() >= 4 {
        [half(upper), half(&upper[2..])]
    } else {
        [0, 0]
    };
    ([(addresses[0], ports[0]), (addresses[1], ports[1])], protocol)
}

pub(super) fn flow4(body: &[u8]) -> Option<Flow> {
    let header = usize::from(body.first()? & 15) * 4;
    if body.len() < 20
        || body[0] >> 4 != 4
        || header < 20
        || usize::from(u16_at(body, 2)) < header
        || body.len() < header
    {
        return None;
    }
    let whole = u16_at(body, 6) & 0x3fff == 0;
    Some(with_ports([word(&body[12..]), word(&body[16..])], body[9], whole, &body[header..]))
}

pub(super) fn flow6(body: &[u8]) -> Option<Flow> {
    if body.len() < 40 || body[0] >> 4 != 6 {
        return None;
    }
    let folded = [8, 24].map(|at| {
        let [a, b, c, d] = [0, 4, 8, 12].map(|part| word(&body[at + part..]));
        spread(a << 32 | b).wrapping_add(c << 32 | d)
    });
    Some(with_ports(folded, body[6], true, &body[40..]))
}

/// The upper layer of an IPv6 packet: protocol, whether a fragment header came before, and its bytes, once as the frame
/// has them and once as the payload length counts them. `Later` is a fragment but the first, `Routed` has a routing
/// header that it may not have.
pub(super) enum Chain<'a> {
    Broken,
    Routed,
    Later { protocol: u8 },
    Upper { protocol: u8, fragment: bool, body: &'a [u8], left: usize },
}

pub(super) fn chain(ip: &[u8], may_route: bool) -> Chain<'_> {
    let (mut protocol, mut fragment, mut body, mut left) = (ip[6], false, &ip[40..], usize::from(u16_at(ip, 4)));
    for passed in 0.. {
        let kind = protocol;
        if ![HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION].contains(&kind) {
            break;
        }
        if passed == 8 || fragment {
            return Chain::Broken;
        }
        if kind == ROUTING && !may_route {
            return Chain::Routed;
        }
        if body.len() < 8 {
            return Chain::Broken;
        }
        let length = match kind {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(body[1]) + 2) * 4,
            _ => (usize::from(body[1]) + 1) * 8,
        };
        if length > left || length > body.len() {
            return Chain::Broken;
        }
        protocol = body[0];
        if kind == FRAGMENT {
            fragment = true;
            if u16_at(body, 2) >> 3 != 0 {
                return Chain::Later { protocol };
            }
        }
        body = &body[length..];
        left -= length;
    }
    Chain::Upper { protocol, fragment, body, left }
}

fn to_its_queue_pair(port: &Port, frame: &[u8]) -> Exit {
    to_port(port, frame, queue_pair(frame, port.queue_pairs))
}

fn uplink(frame: &[u8]) -> Exit {
    claimant(&PORTS, frame).map_or(Exit::By(Counter::Passed), |port| to_its_queue_pair(port, frame))
}

/// Which port claims the frame by its MAC, or by the address that it asks for.
pub(super) fn claimant<'a>(ports: &'a [Port], frame: &[u8]) -> Option<&'a Port> {
    let Read { tag, ethertype, body, .. } = read(frame).ok()?;
    let group = frame[0] & 1 != 0;
    if let Some(port) = port_with_mac(ports, &frame[..6], tag).or_else(|| port_at_uplink_mac(ports, frame)) {
        return Some(port);
    }
    match ethertype {
        ARP if body.len() >= 28 && body[..8] == [0, 1, 8, 0, 6, 4, 0, 1] => {
            port_with_address(ports, &body[24..28], tag)
        }
        ARP if body.len() >= 28 && body[..8] == [0, 1, 8, 0, 6, 4, 0, 2] && group => {
            port_with_address(ports, &body[14..18], tag)
        }
        IPV6 if body.len() >= 40 && body[0] >> 4 == 6 => match chain(body, true) {
            Chain::Upper { protocol: ICMPV6, fragment: false, body, left }
                if body.len() >= 24 && left >= 24 && (body[0] == SOLICITATION || body[0] == ADVERTISEMENT && group) =>
            {
                port_with_address(ports, &body[8..24], tag)
            }
            _ => None,
        },
        _ => None,
    }
}

fn guard(sender: PortId, frame: &[u8]) -> Exit {
    let own = PORTS.iter().find(|port| port.id == sender).unwrap();
    match judge(&PORTS, own, frame) {
        Err(reason) => Exit::By(reason),
        Ok(target) => leaves(&PORTS, UPLINK_MTU as usize, own, own.tag, frame, target),
    }
}

/// Where a frame goes that a port may send. `target` has the address that it asks for.
pub(super) fn leaves(
    ports: &[Port],
    uplink_mtu: usize,
    own: &Port,
    tag: Tag,
    frame: &[u8],
    target: Option<&Port>,
) -> Exit {
    let by_address = || port_at_uplink_mac(ports, frame);
    let by_mac = || port_with_mac(ports, &frame[..6], tag).or_else(by_address);
    match target.or_else(by_mac).filter(|port| port.id != own.id) {
        Some(port) => to_its_queue_pair(port, frame),
        None if is_too_long(frame, uplink_mtu) => Exit::By(Counter::TooLong),
        None => Exit::Uplink,
    }
}

/// What a port has sent at a standstill of its rates.
#[derive(Debug, Default)]
pub(super) struct Sent {
    broadcast: u64,
    multicast: u64,
    frames: u64,
    bits: u64,
}

impl Sent {
    /// Counts a frame that no other rule drops, or says which rate drops it instead.
    pub(super) fn count(&mut self, rates: &Rates, frame: &[u8], to_uplink: bool) -> Result<(), Counter> {
        let bits = frame.len() as u64 * 8;
        let (flood, limit) = match frame[..6].try_into() {
            Ok(BROADCAST) => (&mut self.broadcast, rates.broadcast),
            _ => (&mut self.multicast, rates.multicast),
        };
        let floods = to_uplink && frame[0] & 1 == 1;
        let is_full = |sent: u64, limit: Option<Rate>| {
            limit.is_some_and(|rate| rate.per_second == 0 || sent >= rate.burst.max(1))
        };
        if is_full(self.frames, rates.frames) {
            return Err(Counter::FrameRate);
        }
        // The frame that exceeds the burst passes, too.
        if rates.bits.is_some_and(|rate| rate.per_second == 0 || self.bits > rate.burst) {
            return Err(Counter::BitRate);
        }
        if floods && is_full(*flood, limit) {
            return Err(Counter::Rate);
        }
        self.frames += 1;
        self.bits += bits;
        *flood += u64::from(floods);
        Ok(())
    }
}

type Judgement<'a> = Result<Option<&'a Port>, Counter>;

/// The rules for a frame from the port's own MAC.
pub(super) fn judge<'a>(ports: &'a [Port], own: &Port, frame: &[u8]) -> Judgement<'a> {
    if frame[6..12] != own.mac {
        return Err(Counter::SourceMac);
    }
    let Read { tag, inner, ethertype, body } = read(frame).map_err(|unread| match unread {
        Unread::Cut => Counter::Malformed,
        Unread::TooManyTags => Counter::Vlan,
    })?;
    if tag != own.tag || inner && !own.inner_tags {
        return Err(Counter::Vlan);
    }
    match ethertype {
        ARP => judge_arp(ports, own, body),
        IPV4 => judge_ipv4(own, body).map(|()| None),
        IPV6 => judge_ipv6(ports, own, body),
        _ => Err(Counter::Ethertype),
    }
}

/// Another port that has the address.
fn another<'a>(ports: &'a [Port], own: &Port, address: &[u8]) -> Option<&'a Port> {
    port_with_address(ports, address, own.tag).filter(|port| port.id != own.id)
}

fn judge_arp<'a>(ports: &'a [Port], own: &Port, body: &[u8]) -> Judgement<'a> {
    let arp = body.get(..28).ok_or(Counter::Malformed)?;
    let (sender, target) = (&arp[14..18], &arp[24..28]);
    let sender_is_own = arp[8..14] == own.mac && own.has(sender);
    let probes_own = arp[8..14] == own.mac && sender == [0; 4] && own.has(target);
    match &arp[..8] {
        [0, 1, 8, 0, 6, 4, 0, 1] if sender_is_own || probes_own => Ok(another(ports, own, target)),
        [0, 1, 8, 0, 6, 4, 0, 2] if sender_is_own => Ok(None),
        _ => Err(Counter::Arp),
    }
}

/// The options of an IPv4 header, one after the other.
pub(super) fn judge_options(own: &Port, mut options: &[u8]) -> Result<(), Counter> {
    while let [kind, rest @ ..] = options {
        options = match (kind, rest) {
            (0, _) => return Ok(()),
            (1, rest) => rest,
            (131 | 137, [length, ..]) if (2..=options.len()).contains(&usize::from(*length)) => {
                own.rogue(&options[usize::from(*length)..])?
            }
            (_, [length, ..]) if (2..=options.len()).contains(&usize::from(*length)) => {
                &options[usize::from(*length)..]
            }
            _ => return Err(Counter::Malformed),
        };
    }
    Ok(())
}

pub(super) fn is_routers_port(port: u16) -> bool {
    [68, 520, 521, 546, 646, 698, 1985, 2029, 3222, 6696].contains(&port)
}

pub(super) fn is_routers_protocol(protocol: u8) -> bool {
    [9, 88, 89, 103, 112, 124, 138].contains(&protocol)
}

fn judge_dhcp(own: &Port, datagram: &[u8]) -> Result<(), Counter> {
    let length = usize::from(u16_at(datagram, 4)).min(datagram.len());
    let dhcp = datagram[..length].get(8..52).ok_or(Counter::Malformed)?;
    let own_address = dhcp[12..16] == [0; 4] || own.ip4.iter().any(|address| dhcp[12..16] == *address);
    if dhcp[..3] == [1, 1, 6] && dhcp[24..28] == [0; 4] && dhcp[28..34] == own.mac && own_address {
        Ok(())
    } else {
        Err(Counter::Rogue)
    }
}

fn judge_ipv4(own: &Port, body: &[u8]) -> Result<(), Counter> {
    if body.len() < 20 || body[0] >> 4 != 4 {
        return Err(Counter::Malformed);
    }
    let (header, total) = (usize::from(body[0] & 15) * 4, usize::from(u16_at(body, 2)));
    if header < 20 || total < header || body.len() < header {
        return Err(Counter::Malformed);
    }
    let nobody = body[12..16] == [0; 4];
    if !nobody && !own.has(&body[12..16]) {
        return Err(Counter::SourceIp);
    }
    judge_options(own, &body[20..header])?;
    let upper = &body[header..total.min(body.len())];
    let (more, later) = (u16_at(body, 6) & 0x2000 != 0, u16_at(body, 6) & 0x1fff != 0);
    match body[9] {
        UDP if !later => match upper.get(..8).map(|udp| (u16_at(udp, 0), u16_at(udp, 2))) {
            None => Err(Counter::Malformed),
            Some(ports) if nobody && ports != (68, 67) => Err(Counter::SourceIp),
            Some((_, 67)) if own.routing => Ok(()),
            Some((_, 67)) if more || own.uplink_mac => Err(Counter::Rogue),
            Some((_, 67)) => judge_dhcp(own, upper),
            Some((_, port)) if is_routers_port(port) => own.rogue(()),
            Some(_) => Ok(()),
        },
        _ if nobody => Err(Counter::SourceIp),
        ICMP | IGMP if later => Ok(()),
        ICMP | IGMP if upper.len() < 4 => Err(Counter::Malformed),
        ICMP if [5, 9].contains(&upper[0]) => own.rogue(()),
        IGMP if ![0x12, 0x16, 0x17, 0x22].contains(&upper[0]) => own.rogue(()),
        protocol if is_routers_protocol(protocol) => own.rogue(()),
        _ => Ok(()),
    }
}

fn judge_ipv6<'a>(ports: &'a [Port], own: &Port, body: &[u8]) -> Judgement<'a> {
    if body.len() < 40 || body[0] >> 4 != 6 {
        return Err(Counter::Malformed);
    }
    let nobody = body[8..24] == [0; 16];
    if !nobody && !own.has(&body[8..24]) {
        return Err(Counter::SourceIp);
    }
    match chain(body, own.routing) {
        Chain::Broken => Err(Counter::Malformed),
        Chain::Routed => Err(Counter::Rogue),
        Chain::Later { .. } if nobody => Err(Counter::SourceIp),
        Chain::Later { protocol } if is_routers_protocol(protocol) => own.rogue(None),
        Chain::Later { .. } => Ok(None),
        Chain::Upper { protocol: ICMPV6, fragment, body, left } => {
            judge_icmpv6(ports, own, (nobody, fragment), body, left)
        }
        Chain::Upper { .. } if nobody => Err(Counter::SourceIp),
        Chain::Upper { protocol: NO_NEXT, .. } => Ok(None),
        Chain::Upper { protocol, .. } if is_routers_protocol(protocol) && !own.routing => Err(Counter::Rogue),
        Chain::Upper { protocol: UDP, fragment, body, left } => {
            judge_udp6(own, fragment, &body[..left.min(body.len())]).map(|()| None)
        }
        Chain::Upper { body, left, .. } if !body.is_empty() && left > 0 => Ok(None),
        Chain::Upper { .. } => Err(Counter::Malformed),
    }
}

fn judge_udp6(own: &Port, fragment: bool, datagram: &[u8]) -> Result<(), Counter> {
    let udp = datagram.get(..8).ok_or(Counter::Malformed)?;
    match u16_at(udp, 2) {
        547 if own.routing => Ok(()),
        547 if fragment || own.uplink_mac => Err(Counter::Rogue),
        547 if datagram.len() < 12 || u16_at(udp, 4) < 12 => Err(Counter::Malformed),
        547 if ![1, 3, 4, 5, 6, 8, 9, 11].contains(&datagram[8]) => Err(Counter::Rogue),
        port if is_routers_port(port) => own.rogue(()),
        _ => Ok(()),
    }
}

fn judge_icmpv6<'a>(
    ports: &'a [Port],
    own: &Port,
    (nobody, fragment): (bool, bool),
    body: &[u8],
    left: usize,
) -> Judgement<'a> {
    if body.len() < 4 || left < 4 {
        return Err(Counter::Malformed);
    }
    let kind = body[0];
    if nobody && ![131, 132, 135, 143].contains(&kind) {
        return Err(Counter::SourceIp);
    }
    let header = match kind {
        134 | 137 if fragment && own.routing => return Err(Counter::Nd),
        130 | 134 | 137 | 138 | 151..=153 | 155 => return own.rogue(None),
        133..=136 if fragment => return Err(Counter::Nd),
        133 => 8,
        135 | 136 => 24,
        _ => return Ok(None),
    };
    if body.len() < header || left < header {
        return Err(Counter::Malformed);
    }
    let target = body.get(8..header).filter(|target| !target.is_empty());
    if target.is_some_and(|target| (kind == ADVERTISEMENT || nobody) && !own.has(target)) {
        return Err(Counter::Nd);
    }
    let (mut options, mut left) = (&body[header..], left - header);
    for passed in 0.. {
        if left == 0 {
            break;
        }
        if passed == 8 {
            return Err(Counter::Nd);
        }
        if left < 8 || options.len() < 8 {
            return Err(Counter::Malformed);
        }
        let length = usize::from(options[1]) * 8;
        if length == 0 || length > left || length > options.len() {
            return Err(Counter::Malformed);
        }
        if [1, 2].contains(&options[0]) && (length != 8 || options[2..8] != own.mac) {
            return Err(Counter::Nd);
        }
        (options, left) = (&options[length..], left - length);
    }
    Ok(if kind == SOLICITATION { target.and_then(|target| another(ports, own, target)) } else { None })
}

/// A frame that is right or nearly so: random bytes alone would never get past the source MAC.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    to: Mac,
    stolen: u8,
    untagged: u8,
    tags: Vec<(u16, u16)>,
    ethertype: u16,
    body: Vec<u8>,
    changes: Vec<(prop::sample::Index, u8)>,
    length: Option<usize>,
}

pub(super) fn draft() -> impl Strategy<Value = Draft> {
    (to(), any::<[u8; 2]>(), tags(), body(), changes(), length()).prop_map(
        |(to, [stolen, untagged], tags, (ethertype, body), changes, length)| Draft {
            to,
            stolen,
            untagged,
            tags,
            ethertype,
            body,
            changes,
            length,
        },
    )
}

impl Draft {
    /// From this MAC in this VLAN, mostly.
    pub(super) fn frame(self, own: Mac, tag: Tag) -> Vec<u8> {
        let Self { to, stolen, untagged, tags, ethertype, body, changes, length } = self;
        let from = if stolen < 8 { MAC_FAR } else { own };
        let tags = match tag {
            Tag::Id(id) if untagged >= 64 => vec![(Q, id)],
            Tag::Id(id) if untagged >= 16 => [&[(Q, id)], &tags[..]].concat(),
            Tag::None if untagged >= 16 && tags.len() < 2 => Vec::new(),
            _ => tags,
        };
        // The bodies are written for Alice, whose addresses the tagged ports have in their VLANs.
        let mut frame = tagged(&ethernet(to, from, ethertype, &with_mac(body, own)), &tags);
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(length) = length {
            frame.resize(length.max(14), 0);
        }
        frame
    }
}

/// A sender, and a frame of its own.
fn input() -> impl Strategy<Value = (PortId, Vec<u8>)> {
    (sender(), draft()).prop_map(|(sender, draft)| {
        let own = PORTS.iter().find(|port| port.id == sender).unwrap();
        (sender, draft.frame(own.mac, own.tag))
    })
}

fn with_mac(mut body: Vec<u8>, own: Mac) -> Vec<u8> {
    for at in 0..body.len().saturating_sub(5) {
        if body[at..at + 6] == MAC_A {
            body[at..at + 6].copy_from_slice(&own);
        }
    }
    body
}

fn sender() -> impl Strategy<Value = PortId> {
    one_of(&[ALICE, ALICE, CAROL, BOB, GRACE, HEIDI])
}

fn to() -> impl Strategy<Value = Mac> {
    one_of(&[MAC_A, MAC_B, MAC_C, MAC_D, MAC_E, MAC_E, MAC_G, MAC_H, MAC_HOST, MAC_FAR, MAC_FAR, BROADCAST, MULTICAST6])
}

pub(super) fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn tags() -> impl Strategy<Value = Vec<(u16, u16)>> {
    prop::collection::vec((one_of(&[Q, Q, Q, AD]), one_of(&[42u16, 42, 0xe02a, 0, 43, 44])), 0..3)
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    let value =
        prop_oneof![any::<u8>(), one_of(&[0u8, 1, 2, 3, 6, 8, 17, 43, 44, 51, 58, 59, 60, 67, 68, 133, 135, 136])];
    let some = prop::collection::vec((any::<prop::sample::Index>(), value), 1..4);
    prop_oneof![2 => Just(Vec::new()).boxed(), 1 => some.boxed()]
}

fn length() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![4 => Just(None).boxed(), 1 => (14usize..140).prop_map(Some).boxed(),
        1 => one_of(&[1414usize, 1415, 1418, 1419, 1514, 1515, 1518, 1519, 1522]).prop_map(Some).boxed()]
}

fn body() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let arp_body = (0u16..4, one_of(&[MAC_A, MAC_A, MAC_A, MAC_FAR]), ip4(), ip4())
        .prop_map(|(operation, mac, sender, target)| (ARP, arp(operation, (mac, sender), ([0; 6], target))));
    let ipv4_body = (one_of(&[0u16, 0, 0, 0, 0x2000, 1, 0x4000]), ip_options(), upper4(), ip4(), ip4()).prop_map(
        |(fragment, options, (protocol, upper), from, to)| {
            (IPV4, ipv4_with(fragment, &options, protocol, from, to, &upper))
        },
    );
    let ipv6_body =
        (ip6(), ip6(), prop::collection::vec(header(), 0..4), upper()).prop_map(|(from, to, headers, upper)| {
            let (next, payload) = headers.into_iter().fold(upper, |(next, rest), (kind, units, offset)| {
                let wrapped = match kind {
                    FRAGMENT => fragment(next, offset, units % 2 == 0, &rest),
                    AUTHENTICATION => extension(kind, next, 8 + 4 * units, &rest),
                    _ => extension(kind, next, 8 * units, &rest),
                };
                (kind, wrapped)
            });
            (IPV6, ipv6(next, from, to, &payload))
        });
    let other = (one_of(&[0x88ccu16, 46, 0x88b5, IPV4, IPV6, ARP]), prop::collection::vec(any::<u8>(), 0..64));
    prop_oneof![2 => arp_body, 5 => ipv4_body, 6 => ipv6_body, 1 => other]
}

fn ip_options() -> impl Strategy<Value = Vec<u8>> {
    let option = (one_of(&[0u8, 1, 1, 1, 7, 68, 131, 137, 148]), one_of(&[3u8, 4, 4, 7, 8, 0, 1, 2, 40]), any::<u8>())
        .prop_map(|(kind, length, byte)| match kind {
            0 | 1 => vec![kind],
            _ => [&[kind, length][..], &vec![byte; usize::from(length.clamp(2, 8)) - 2]].concat(),
        });
    let some = prop::collection::vec(option, 0..6).prop_map(|options| {
        let mut options = options.concat();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        options
    });
    prop_oneof![2 => Just(Vec::new()).boxed(), 1 => Just(vec![1; 40]).boxed(), 3 => some.boxed()]
}

fn upper4() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let types = one_of(&[0u8, 5, 8, 9, 0x11, 0x12, 0x14, 0x16, 0x17, 0x22, 0x30, 0x32]);
    let message = (one_of(&[ICMP, IGMP]), types, 0usize..12).prop_map(|(protocol, kind, length)| {
        let mut message = vec![0; length];
        message[..length.min(1)].fill(kind);
        (protocol, message)
    });
    let client =
        (one_of(&[68u16, 1068]), one_of(&[MAC_A, MAC_A, MAC_FAR]), one_of(&[NONE4, NONE4, IP_A, IP_B]), 0u8..8)
            .prop_map(|(from, mac, address, odd)| {
                let dhcp = patched(dhcp(mac), 12, &address.octets());
                let dhcp = match odd {
                    0 => dhcp[..43].to_vec(),
                    1 => dhcp[..44].to_vec(),
                    2 => patched(dhcp, 24, &IP_A.octets()),
                    3 => patched(dhcp, 0, &[2]),
                    _ => dhcp,
                };
                (UDP, udp_with(from, 67, &dhcp))
            });
    let other = (one_of(&[TCP, SCTP, 88, 89, 90, 103, 112, 138]), 0usize..20)
        .prop_map(|(protocol, length)| (protocol, vec![0; length]));
    prop_oneof![
        3 => ports(&[67, 68, 53, 520, 1985, 546]).prop_map(|(from, to)| (UDP, udp(from, to))),
        4 => client,
        2 => message,
        2 => other,
    ]
}

fn ip4() -> impl Strategy<Value = std::net::Ipv4Addr> {
    one_of(&[IP_A, IP_A, IP_A, IP_B, IP_D, IP_E, IP_FAR, NONE4])
}

fn ip6() -> impl Strategy<Value = std::net::Ipv6Addr> {
    one_of(&[IP6_A, IP6_A, IP6_A, LINK_LOCAL_A, IP6_B, IP6_E, IP6_FAR, NONE6])
}

fn ports(some: &[u16]) -> impl Strategy<Value = (u16, u16)> + use<> {
    (one_of(some), one_of(some))
}

fn header() -> impl Strategy<Value = (u8, usize, u16)> {
    (one_of(&[HOP_BY_HOP, ROUTING, DESTINATION, AUTHENTICATION, FRAGMENT]), 1usize..4, one_of(&[0u16, 0, 0, 1]))
}

fn upper() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let option = (one_of(&[1u8, 2, 14]), one_of(&[MAC_A, MAC_A, MAC_A, MAC_A, MAC_A, MAC_A, MAC_B, MAC_FAR]))
        .prop_map(|(kind, mac)| [&[kind, 1][..], &mac].concat());
    let discovery = (133u8..138, ip6(), prop::collection::vec(option, 0..11)).prop_map(|(kind, target, options)| {
        let options = options.concat();
        (ICMPV6, if kind == 133 { icmpv6(kind, &[&[0; 4][..], &options].concat()) } else { nd(kind, target, &options) })
    });
    let other = (one_of(&[128u8, 130, 131, 132, 138, 143, 151, 154, 155]), 0usize..24)
        .prop_map(|(kind, length)| (ICMPV6, icmpv6(kind, &vec![0; length])));
    prop_oneof![
        5 => discovery,
        2 => other,
        2 => ports(&[546, 547, 53, 521]).prop_map(|(from, to)| (UDP, udp(from, to))),
        2 => (0u8..14, 0usize..5).prop_map(|(kind, length)| (UDP, udp_with(546, 547, &dhcp6(kind)[..length.min(4)]))),
        2 => (one_of(&[TCP, 89]), 0usize..20).prop_map(|(protocol, length)| (protocol, vec![0; length])),
        1 => Just((NO_NEXT, Vec::new())),
    ]
}

/// Rounds of random frames at most.
const ROUNDS: u32 = 8;

/// `PROPTEST_CASES` asks for more.
pub(super) fn runner() -> TestRunner {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    config.cases = config.cases.max(16_384);
    TestRunner::new(config)
}

/// Compares on random frames. `ways` is how many different exits there are: a comparison that never gets to one of them
/// proves nothing about it. The rarest of them may need another round or two.
fn agree<S: Strategy>(
    inputs: fn() -> S,
    ways: usize,
    kernel: fn(&mut Lab, &S::Value) -> Exit,
    model: fn(&S::Value) -> Exit,
) {
    let found = with_lab(|lab| {
        let lab = RefCell::new(lab);
        let found = RefCell::new(BTreeMap::new());
        for _ in 0..ROUNDS {
            runner()
                .run(&inputs(), |input| {
                    let exit = kernel(&mut lab.borrow_mut(), &input);
                    *found.borrow_mut().entry(format!("{exit:?}")).or_insert(0) += 1;
                    prop_assert_eq!(exit, model(&input));
                    Ok(())
                })
                .unwrap_or_else(|difference| panic!("kernel left, model right: {difference}"));
            if found.borrow().len() >= ways {
                break;
            }
        }
        found.into_inner()
    });
    assert_eq!(found.len(), ways, "{found:?}");
}

#[test]
fn guard_agrees_with_the_model() {
    // Nine reasons, no_port, the uplink, the two ports of one queue pair that share a network, and all queue pairs of
    // the two others; no frame provokes no_guard and no_uplink.
    agree(
        input,
        9 + 1 + 1 + 2 + (ERINS + FRANKS) as usize,
        |lab, (sender, frame)| {
            let exit = lab.guard(*sender, frame);
            let own = PORTS.iter().find(|port| port.id == *sender).unwrap();
            assert!(frame[6..12] == own.mac || exit == Exit::By(Counter::SourceMac), "a foreign MAC got through");
            exit
        },
        |(sender, frame)| guard(*sender, frame),
    );
}

#[test]
fn uplink_agrees_with_the_model() {
    // Passed, too_long, no_port, five ports of one queue pair, and all queue pairs of two others.
    agree(input, 3 + 5 + (ERINS + FRANKS) as usize, |lab, (_, frame)| lab.uplink(frame), |(_, frame)| uplink(frame));
}

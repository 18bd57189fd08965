//! Evaluates a tree on a frame, load by load as libpcap's program does: a load behind the end of the frame ends the
//! evaluation, and the frame does not match, whatever the rest of the expression is.

use crate::protocol::{ethertype, ip};
use crate::tree::{
    Comparison, Direction, Header, Load, Node, NodeKind, Operator, Primitive, Relation, Size, Test, Value, Version,
    Within,
};

/// The frame ended before a byte that was to be read, or a division by zero.
pub(crate) struct Ended;

type Verdict = Result<bool, Ended>;

/// A frame as far as it was captured, and its length on the wire.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub bytes: &'a [u8],
    pub wire_length: u32,
}

impl Frame<'_> {
    fn read<const N: usize>(self, at: usize) -> Result<[u8; N], Ended> {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Ended)
    }

    fn byte(self, at: usize) -> Result<u8, Ended> {
        self.bytes.get(at).copied().ok_or(Ended)
    }

    fn half(self, at: usize) -> Result<u16, Ended> {
        self.read(at).map(u16::from_be_bytes)
    }

    fn word(self, at: usize) -> Result<u32, Ended> {
        self.read(at).map(u32::from_be_bytes)
    }
}

pub(crate) fn evaluate(node: &Node, frame: Frame<'_>) -> Verdict {
    match &node.kind {
        NodeKind::Primitive(primitive) => test(primitive, frame),
        NodeKind::Not(inner) => Ok(!evaluate(inner, frame)?),
        NodeKind::All(parts) => {
            for part in parts {
                if !evaluate(part, frame)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        NodeKind::Any(parts) => {
            for part in parts {
                if evaluate(part, frame)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
    }
}

/// Where the EtherType is, and where the packet behind it begins.
#[derive(Clone, Copy)]
struct Offsets {
    ethertype: usize,
    packet: usize,
}

fn test(primitive: &Primitive, frame: Frame<'_>) -> Verdict {
    let at = Offsets { ethertype: 12 + 4 * primitive.tags, packet: 14 + 4 * primitive.tags };
    match &primitive.test {
        Test::EtherType(wanted) => Ok(frame.half(at.ethertype)? == *wanted),
        Test::Protocol { version, number } => has_protocol(frame, at, *version, *number),
        Test::Host4 { within, direction, address, mask } => {
            let (source, destination) = match (frame.half(at.ethertype)?, within) {
                (ethertype::IPV4, Within::Any | Within::Ip) => (12, 16),
                (ethertype::ARP, Within::Any | Within::Arp) | (ethertype::RARP, Within::Any | Within::Rarp) => (14, 24),
                _ => return Ok(false),
            };
            let is_in = |offset: usize| Ok(frame.word(at.packet + offset)? & mask == *address);
            on_side(*direction, is_in, source, destination)
        }
        Test::Host6 { direction, address, mask } => {
            if frame.half(at.ethertype)? != ethertype::IPV6 {
                return Ok(false);
            }
            let is_in = |offset: usize| {
                for (n, (address, mask)) in address.iter().zip(mask).enumerate() {
                    if frame.word(at.packet + offset + 4 * n)? & mask != *address {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            on_side(*direction, is_in, 8, 24)
        }
        Test::Mac { direction, address: [a, b, c, d, e, f] } => {
            let (start, end) = (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]));
            // The end of an address is compared first.
            let is_it = |offset: usize| Ok(frame.word(offset + 2)? == end && frame.half(offset)? == start);
            on_side(*direction, is_it, 6, 0)
        }
        Test::Ports { protocol, direction, first, last } => {
            let is_wanted = |found: u8| match protocol {
                Some(protocol) => found == *protocol,
                None => ip::has_ports(found),
            };
            let Some(transport) = transport(frame, at, is_wanted)? else { return Ok(false) };
            let is_in = |offset: usize| Ok((*first..=*last).contains(&frame.half(transport + offset)?));
            on_side(*direction, is_in, 0, 2)
        }
        Test::MacMulticast => Ok(frame.byte(0)? & 1 != 0),
        Test::Multicast { version: Version::V4 } => {
            Ok(frame.half(at.ethertype)? == ethertype::IPV4 && frame.byte(at.packet + 16)? >= 224)
        }
        Test::Multicast { version: Version::V6 } => {
            Ok(frame.half(at.ethertype)? == ethertype::IPV6 && frame.byte(at.packet + 24)? == 0xff)
        }
        Test::Vlan { identifier } => Ok(ethertype::is_tag(frame.half(at.ethertype)?)
            && match identifier {
                Some(identifier) => frame.half(at.packet)? & 0x0fff == *identifier,
                None => true,
            }),
        Test::LengthAtMost(most) => Ok(frame.wire_length <= *most),
        Test::LengthAtLeast(least) => Ok(frame.wire_length >= *least),
        Test::Relation(relation) => holds(relation, frame, at),
    }
}

fn on_side(direction: Direction, is_it: impl Fn(usize) -> Verdict, source: usize, destination: usize) -> Verdict {
    match direction {
        Direction::Source => is_it(source),
        Direction::Destination => is_it(destination),
        Direction::Either => Ok(is_it(source)? || is_it(destination)?),
        Direction::Both => Ok(is_it(source)? && is_it(destination)?),
    }
}

fn has_protocol(frame: Frame<'_>, at: Offsets, version: Option<Version>, number: u8) -> Verdict {
    match (frame.half(at.ethertype)?, version) {
        (ethertype::IPV4, None | Some(Version::V4)) => Ok(frame.byte(at.packet + 9)? == number),
        (ethertype::IPV6, None | Some(Version::V6)) => {
            let next = frame.byte(at.packet + 6)?;
            Ok(next == number || (next == ip::FRAGMENT && frame.byte(at.packet + 40)? == number))
        }
        _ => Ok(false),
    }
}

/// Where the ports of a packet are, if its protocol is wanted and they are in this fragment.
fn transport(frame: Frame<'_>, at: Offsets, is_wanted: impl Fn(u8) -> bool) -> Result<Option<usize>, Ended> {
    match frame.half(at.ethertype)? {
        ethertype::IPV6 => Ok(is_wanted(frame.byte(at.packet + 6)?).then_some(at.packet + 40)),
        ethertype::IPV4 => {
            let is_it = is_wanted(frame.byte(at.packet + 9)?) && !is_later_fragment(frame, at)?;
            Ok(if is_it { Some(at.packet + header_length(frame, at)?) } else { None })
        }
        _ => Ok(None),
    }
}

fn is_later_fragment(frame: Frame<'_>, at: Offsets) -> Verdict {
    Ok(frame.half(at.packet + 6)? & 0x1fff != 0)
}

fn header_length(frame: Frame<'_>, at: Offsets) -> Result<usize, Ended> {
    Ok(usize::from(frame.byte(at.packet)? & 0x0f) * 4)
}

fn holds(relation: &Relation, frame: Frame<'_>, at: Offsets) -> Verdict {
    if !(is_readable(&relation.left, frame, at)? && is_readable(&relation.right, frame, at)?) {
        return Ok(false);
    }
    let (left, right) = (value(&relation.left, frame, at)?, value(&relation.right, frame, at)?);
    Ok(match relation.comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
    })
}

/// Whether the packet has the headers that a value is read from. libpcap asks only for those of the left operand.
fn is_readable(value: &Value, frame: Frame<'_>, at: Offsets) -> Verdict {
    let load = match value {
        Value::Number(_) | Value::Length => return Ok(true),
        Value::Negative(inner) => return is_readable(inner, frame, at),
        Value::Binary(parts) => return is_readable(&parts.0, frame, at),
        Value::Load(load) => load,
    };
    match load.header {
        Header::Link => is_readable(&load.index, frame, at),
        Header::Network(kind) => Ok(is_readable(&load.index, frame, at)? && frame.half(at.ethertype)? == kind),
        Header::Transport4(protocol) => Ok(frame.half(at.ethertype)? == ethertype::IPV4
            && is_readable(&load.index, frame, at)?
            && frame.byte(at.packet + 9)? == protocol
            && !is_later_fragment(frame, at)?),
        Header::Icmp6 => Ok(is_readable(&load.index, frame, at)?
            && frame.half(at.ethertype)? == ethertype::IPV6
            && frame.byte(at.packet + 6)? == ip::ICMPV6),
    }
}

fn value(of: &Value, frame: Frame<'_>, at: Offsets) -> Result<u32, Ended> {
    match of {
        Value::Number(number) => Ok(*number),
        Value::Length => Ok(frame.wire_length),
        Value::Negative(inner) => Ok(value(inner, frame, at)?.wrapping_neg()),
        Value::Load(load) => read(load, frame, at),
        Value::Binary(parts) => {
            let (left, operator, right) = &**parts;
            let (left, right) = (value(left, frame, at)?, value(right, frame, at)?);
            match operator {
                Operator::Add => Ok(left.wrapping_add(right)),
                Operator::Subtract => Ok(left.wrapping_sub(right)),
                Operator::Multiply => Ok(left.wrapping_mul(right)),
                Operator::Divide => left.checked_div(right).ok_or(Ended),
                Operator::Remainder => left.checked_rem(right).ok_or(Ended),
                Operator::And => Ok(left & right),
                Operator::Or => Ok(left | right),
                Operator::Xor => Ok(left ^ right),
                Operator::ShiftLeft => Ok(left.checked_shl(right).unwrap_or(0)),
                Operator::ShiftRight => Ok(left.checked_shr(right).unwrap_or(0)),
            }
        }
    }
}

fn read(load: &Load, frame: Frame<'_>, at: Offsets) -> Result<u32, Ended> {
    let index = value(&load.index, frame, at)?;
    let (base, index) = match load.header {
        Header::Link => (0, index),
        Header::Network(_) => (at.packet, index),
        // The sum wraps: `tcp[-1]` is the last byte of the IPv4 header.
        Header::Transport4(_) => {
            let header_length = u32::from(frame.byte(at.packet)? & 0x0f) * 4;
            (at.packet, index.wrapping_add(header_length))
        }
        Header::Icmp6 => (at.packet + 40, index),
    };
    let start = usize::try_from(index).ok().and_then(|index| base.checked_add(index)).ok_or(Ended)?;
    match load.size {
        Size::One => frame.byte(start).map(u32::from),
        Size::Two => frame.half(start).map(u32::from),
        Size::Four => frame.word(start),
    }
}

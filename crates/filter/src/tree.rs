//! The tree of an expression.

use std::ops::Range;

/// A part of an expression, and the bytes of the text that it was read from.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub kind: NodeKind,
    pub range: Range<usize>,
    /// How many levels lie below and including this one: bounds every recursion over the tree.
    pub levels: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Primitive(Primitive),
}

/// One test of a packet.
#[derive(Clone, Debug)]
pub(crate) struct Primitive {
    pub test: Test,
    /// How many times `vlan` stands before it in the text. libpcap reads EtherType and payload so many tags further
    /// back, whether those stand in the same branch of the expression or not.
    pub tags: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    EtherType(u16),
    Protocol { version: Option<Version>, number: u8 },
    Host4 { within: Within, direction: Direction, address: u32, mask: u32 },
    Host6 { direction: Direction, address: [u32; 4], mask: [u32; 4] },
    Mac { direction: Direction, address: [u8; 6] },
    Ports { protocol: Option<u8>, direction: Direction, first: u16, last: u16 },
    MacMulticast,
    Multicast { version: Version },
    Vlan { identifier: Option<u16> },
    LengthAtMost(u32),
    LengthAtLeast(u32),
    Relation(Box<Relation>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

/// In which packets an IPv4 address is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// In those of IPv4, ARP and RARP.
    Any,
    Ip,
    Arp,
    Rarp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Source,
    Destination,
    Either,
    Both,
}

/// Two values and how they are compared. Values are unsigned numbers of 32 bits.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub left: Value,
    pub comparison: Comparison,
    pub right: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(u32),
    /// The length of the frame on the wire.
    Length,
    Load(Box<Load>),
    Negative(Box<Value>),
    Binary(Box<(Value, Operator, Value)>),
}

/// Bytes of a header, as a number.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub header: Header,
    pub index: Value,
    pub size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    One,
    Two,
    Four,
}

/// What an index counts from, and what a packet must be for its bytes to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Link,
    /// The network header of packets of this EtherType.
    Network(u16),
    /// The header behind IPv4 for this protocol.
    Transport4(u8),
    /// The bytes behind the header of IPv6 whose next header is ICMPv6.
    Icmp6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

impl Node {
    pub fn primitive(test: Test, tags: usize, range: Range<usize>) -> Self {
        Self { kind: NodeKind::Primitive(Primitive { test, tags }), range, levels: 1 }
    }

    pub fn not(inner: Self, start: usize) -> Self {
        let (range, levels) = (start..inner.range.end, inner.levels + 1);
        Self { kind: NodeKind::Not(Box::new(inner)), range, levels }
    }

    /// `left and right`, or `left or right`. A chain of the same word is one node.
    pub fn joined(left: Self, word: Join, right: Self) -> Self {
        let range = left.range.start.min(right.range.start)..left.range.end.max(right.range.end);
        let (mut parts, below) = match (word, left.kind) {
            (Join::And, NodeKind::All(parts)) | (Join::Or, NodeKind::Any(parts)) => (parts, left.levels - 1),
            (_, kind) => (vec![Self { kind, range: left.range, levels: left.levels }], left.levels),
        };
        let levels = below.max(right.levels) + 1;
        parts.push(right);
        let kind = match word {
            Join::And => NodeKind::All(parts),
            Join::Or => NodeKind::Any(parts),
        };
        Self { kind, range, levels }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    And,
    Or,
}

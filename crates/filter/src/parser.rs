//! From words and signs to a tree.
//!
//! The grammar is that of libpcap: `and` and `or` bind alike and to the left, `not` binds to what follows it directly,
//! and a value without words before it takes those of the value before it (`port 80 or 443`).

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::lexer::{Keyword, Protocol, Token, TokenKind, tokens};
use crate::parse_error::{ParseError, Reason};
use crate::protocol::{ethertype, ip};
use crate::tree::{
    Comparison, Direction, Header, Join, Load, Node, Operator, Relation, Size, Test, Value, Version, Within,
};

/// The most bytes of a text.
pub(crate) const MAX_LENGTH: usize = 65_536;

/// How deeply parentheses, brackets and `not` may be nested.
const MAX_DEPTH: usize = 64;

/// How many levels a tree may have: each change between `and` and `or` adds one.
const MAX_LEVELS: usize = 512;

/// How many operators and loads the two sides of a comparison may have together.
const MAX_CALCULATION: usize = 128;

type Result<T> = std::result::Result<T, ParseError>;

/// The tree of a text; `None` for a text without a word, which every frame matches.
pub(crate) fn parse(text: &str) -> Result<Option<Node>> {
    if text.len() > MAX_LENGTH {
        let reason = Reason::TooLong { length: text.len(), most: MAX_LENGTH };
        return Err(ParseError { range: MAX_LENGTH..text.len(), reason });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens: &tokens, at: 0, tags: 0, depth: 0, calculation: 0 };
    if parser.peek() == TokenKind::End {
        return Ok(None);
    }
    let operand = parser.sequence(None)?;
    let (node, _, _) = parser.node_of(operand, None)?;
    match parser.peek() {
        TokenKind::End => Ok(Some(node)),
        _ => Err(parser.unexpected("`and` or `or`")),
    }
}

/// The words before a value, which the next value may leave out.
#[derive(Clone, Copy)]
struct Qualifier {
    protocol: Option<Protocol>,
    direction: Option<Direction>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As after `src`: a host.
    Default,
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Default | Self::Host => "host",
            Self::Net => "net",
            Self::Port => "port",
            Self::PortRange => "portrange",
            Self::Proto => "proto",
        }
    }
}

/// What stands on one side of `and` or `or`, or inside parentheses.
struct Operand {
    what: What,
    /// What a value behind it may leave out.
    qualifier: Option<Qualifier>,
    range: Range<usize>,
}

enum What {
    /// A test that began with a word of its own.
    Term(Node),
    /// Values without one.
    Values(Node),
    /// A number: a value, or the beginning of a calculation.
    Number(u32),
    /// A calculation, so far without a comparison.
    Calculation(Value),
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    tags: usize,
    depth: usize,
    calculation: usize,
}

// The tokens.
impl Parser<'_> {
    fn token(&self) -> &Token {
        // The last token is the end, and nothing steps over it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> TokenKind {
        self.token().kind
    }

    fn peek_second(&self) -> TokenKind {
        self.tokens.get(self.at + 1).map_or(TokenKind::End, |token| token.kind)
    }

    fn here(&self) -> Range<usize> {
        self.token().range.clone()
    }

    fn next(&mut self) -> Token {
        let token = self.token().clone();
        self.at += 1;
        token
    }

    /// Where the token before this one ends.
    fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|before| self.tokens.get(before)).map_or(0, |token| token.range.end)
    }

    fn takes(&mut self, kind: TokenKind) -> bool {
        let is_there = self.peek() == kind;
        if is_there {
            self.at += 1;
        }
        is_there
    }

    fn takes_join(&mut self) -> Option<Join> {
        match self.peek() {
            TokenKind::Keyword(Keyword::Join(join)) => {
                self.at += 1;
                Some(join)
            }
            _ => None,
        }
    }

    fn expect(&mut self, sign: &'static str, wanted: &'static str) -> Result<()> {
        if self.takes(TokenKind::Sign(sign)) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    fn number(&mut self, wanted: &'static str) -> Result<u32> {
        match self.peek() {
            TokenKind::Number(number) => {
                self.at += 1;
                Ok(number)
            }
            _ => Err(self.unexpected(wanted)),
        }
    }

    fn unexpected(&self, wanted: &'static str) -> ParseError {
        let range = self.here();
        let found = self.text[range.clone()].to_owned();
        ParseError { range, reason: Reason::Unexpected { found, wanted } }
    }

    /// Runs a step one level deeper.
    fn deeper<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            let reason = Reason::TooDeep { what: "parentheses, brackets and `not` are nested", most: MAX_DEPTH };
            return Err(ParseError { range: self.here(), reason });
        }
        self.depth += 1;
        let result = step(self);
        self.depth -= 1;
        result
    }
}

fn refuse<T>(range: Range<usize>, reason: Reason) -> Result<T> {
    Err(ParseError { range, reason })
}

// Tests joined by words.
impl Parser<'_> {
    /// One or more operands with `and` and `or` between them.
    fn sequence(&mut self, qualifier: Option<Qualifier>) -> Result<Operand> {
        let first = self.operand(qualifier)?;
        if !matches!(self.peek(), TokenKind::Keyword(Keyword::Join(_))) {
            return Ok(first);
        }
        let (mut node, is_term, mut qualifier) = self.node_of(first, qualifier)?;
        while let Some(join) = self.takes_join() {
            let operand = self.operand(qualifier)?;
            let (right, right_is_term, right_qualifier) = self.node_of(operand, qualifier)?;
            if right_is_term && !is_term {
                let wanted = "a value: in parentheses that begin with a value, all are values";
                let found = self.text[right.range.clone()].to_owned();
                return refuse(right.range, Reason::Unexpected { found, wanted });
            }
            node = Node::joined(node, join, right);
            if node.levels > MAX_LEVELS {
                let what = "`and` and `or` alternate";
                return refuse(node.range, Reason::TooDeep { what, most: MAX_LEVELS });
            }
            qualifier = right_qualifier;
        }
        let range = node.range.clone();
        let what = if is_term { What::Term(node) } else { What::Values(node) };
        Ok(Operand { what, qualifier, range })
    }

    /// The test that an operand is, and whether it began with a word of its own.
    fn node_of(&mut self, operand: Operand, before: Option<Qualifier>) -> Result<(Node, bool, Option<Qualifier>)> {
        match operand.what {
            What::Term(node) => Ok((node, true, operand.qualifier)),
            What::Values(node) => Ok((node, false, operand.qualifier)),
            What::Number(number) => {
                let node = self.value_of_number(number, before, operand.range)?;
                Ok((node, false, before))
            }
            What::Calculation(_) => Err(self.unexpected("a comparison, such as `=` or `>`")),
        }
    }

    fn operand(&mut self, qualifier: Option<Qualifier>) -> Result<Operand> {
        let start = self.here().start;
        match self.peek() {
            TokenKind::Keyword(Keyword::Not) => {
                self.next();
                let inner = self.deeper(|parser| parser.operand(qualifier))?;
                let (node, is_term, after) = self.node_of(inner, qualifier)?;
                let node = Node::not(node, start);
                let range = node.range.clone();
                let what = if is_term { What::Term(node) } else { What::Values(node) };
                Ok(Operand { what, qualifier: after, range })
            }
            TokenKind::Sign("(") => {
                self.next();
                let inner = self.deeper(|parser| parser.sequence(qualifier))?;
                self.expect(")", "`)`")?;
                let range = start..self.end();
                match inner.what {
                    What::Calculation(value) => self.calculation(value, range, qualifier),
                    What::Number(number) => self.calculation(Value::Number(number), range, qualifier),
                    // Behind parentheses a value takes the words from before them.
                    What::Term(node) => {
                        Ok(Operand { what: What::Term(Node { range: range.clone(), ..node }), qualifier, range })
                    }
                    What::Values(node) => {
                        let what = What::Values(Node { range: range.clone(), ..node });
                        Ok(Operand { what, qualifier: inner.qualifier, range })
                    }
                }
            }
            TokenKind::Number(number) => {
                let range = self.next().range;
                self.calculation(Value::Number(number), range, qualifier)
            }
            TokenKind::Sign("-") | TokenKind::Keyword(Keyword::Length) => self.calculation_from_here(qualifier),
            TokenKind::Keyword(Keyword::Protocol(_)) if self.peek_second() == TokenKind::Sign("[") => {
                self.calculation_from_here(qualifier)
            }
            TokenKind::Dotted { .. } | TokenKind::V6(_) | TokenKind::Mac(_) | TokenKind::Name => {
                let node = self.value(qualifier)?;
                let range = node.range.clone();
                Ok(Operand { what: What::Values(node), qualifier, range })
            }
            TokenKind::Keyword(_) => self.term(),
            TokenKind::Sign(_) | TokenKind::End => Err(self.unexpected("a test, such as `host 192.0.2.1` or `tcp`")),
        }
    }
}

// Tests that begin with a word.
impl Parser<'_> {
    fn term(&mut self) -> Result<Operand> {
        let start = self.here().start;
        let protocol = match self.peek() {
            TokenKind::Keyword(Keyword::Protocol(protocol)) => {
                self.next();
                Some(protocol)
            }
            _ => None,
        };
        let protocol_range = start..self.end();
        let (direction, kind) = match self.peek() {
            TokenKind::Keyword(Keyword::Broadcast) => {
                self.next();
                let test = broadcast(protocol, start..self.end())?;
                return Ok(self.finished(test, start));
            }
            TokenKind::Keyword(Keyword::Multicast) => {
                self.next();
                let test = multicast(protocol, start..self.end())?;
                return Ok(self.finished(test, start));
            }
            TokenKind::Keyword(Keyword::Source | Keyword::Destination) => {
                (Some(self.direction()?), self.kind().unwrap_or(Kind::Default))
            }
            TokenKind::Keyword(Keyword::Proto) => {
                self.next();
                (None, Kind::Proto)
            }
            _ => match (self.kind(), protocol) {
                (Some(kind), _) => (None, kind),
                (None, Some(protocol)) => {
                    let test = self.protocol_alone(protocol, protocol_range)?;
                    return Ok(self.finished(test, start));
                }
                (None, None) => return self.other_term(start),
            },
        };
        let qualifier = Qualifier { protocol, direction, kind };
        let node = self.id(qualifier)?;
        let range = start..node.range.end;
        let what = What::Term(Node { range: range.clone(), ..node });
        Ok(Operand { what, qualifier: Some(qualifier), range })
    }

    /// An operand that leaves no words to a value behind it.
    fn finished(&self, test: Test, start: usize) -> Operand {
        let range = start..self.end();
        Operand { what: What::Term(Node::primitive(test, self.tags, range.clone())), qualifier: None, range }
    }

    fn direction(&mut self) -> Result<Direction> {
        let first = self.next().kind;
        let is_source = first == TokenKind::Keyword(Keyword::Source);
        let Some(join) = self.takes_join() else {
            return Ok(if is_source { Direction::Source } else { Direction::Destination });
        };
        let other = if is_source { Keyword::Destination } else { Keyword::Source };
        if !self.takes(TokenKind::Keyword(other)) {
            return Err(self.unexpected(if is_source { "`dst`" } else { "`src`" }));
        }
        Ok(match join {
            Join::And => Direction::Both,
            Join::Or => Direction::Either,
        })
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.peek() {
            TokenKind::Keyword(Keyword::Host) => Kind::Host,
            TokenKind::Keyword(Keyword::Net) => Kind::Net,
            TokenKind::Keyword(Keyword::Port) => Kind::Port,
            TokenKind::Keyword(Keyword::PortRange) => Kind::PortRange,
            _ => return None,
        };
        self.next();
        Some(kind)
    }

    fn protocol_alone(&self, protocol: Protocol, range: Range<usize>) -> Result<Test> {
        let of = |version, number| Ok(Test::Protocol { version, number });
        match protocol {
            Protocol::Link => Err(self.unexpected("`host`, `src`, `dst`, `proto`, `broadcast`, `multicast` or `[`")),
            Protocol::Ip => Ok(Test::EtherType(ethertype::IPV4)),
            Protocol::Ip6 => Ok(Test::EtherType(ethertype::IPV6)),
            Protocol::Arp => Ok(Test::EtherType(ethertype::ARP)),
            Protocol::Rarp => Ok(Test::EtherType(ethertype::RARP)),
            Protocol::Tcp | Protocol::Udp | Protocol::Sctp | Protocol::Pim | Protocol::Ah | Protocol::Esp => {
                of(None, self.ip_number(protocol, range)?)
            }
            Protocol::Icmp6 => of(Some(Version::V6), ip::ICMPV6),
            Protocol::Icmp | Protocol::Igmp | Protocol::Igrp | Protocol::Vrrp | Protocol::Carp => {
                of(Some(Version::V4), self.ip_number(protocol, range)?)
            }
        }
    }

    fn ip_number(&self, protocol: Protocol, range: Range<usize>) -> Result<u8> {
        Ok(match protocol {
            Protocol::Icmp => ip::ICMP,
            Protocol::Igmp => ip::IGMP,
            Protocol::Tcp => ip::TCP,
            Protocol::Igrp => ip::IGRP,
            Protocol::Udp => ip::UDP,
            Protocol::Esp => ip::ESP,
            Protocol::Ah => ip::AUTHENTICATION,
            Protocol::Icmp6 => ip::ICMPV6,
            Protocol::Pim => ip::PIM,
            Protocol::Vrrp | Protocol::Carp => ip::VRRP,
            Protocol::Sctp => ip::SCTP,
            Protocol::Link | Protocol::Ip | Protocol::Ip6 | Protocol::Arp | Protocol::Rarp => {
                return refuse(range, NO_INDEX);
            }
        })
    }

    fn other_term(&mut self, start: usize) -> Result<Operand> {
        let test = match self.peek() {
            TokenKind::Keyword(Keyword::Less) => {
                self.next();
                Test::LengthAtMost(self.number("a length")?)
            }
            TokenKind::Keyword(Keyword::Greater) => {
                self.next();
                Test::LengthAtLeast(self.number("a length")?)
            }
            TokenKind::Keyword(Keyword::Vlan) => {
                self.next();
                let identifier = self.vlan_identifier()?;
                let operand = self.finished(Test::Vlan { identifier }, start);
                self.tags += 1;
                return Ok(operand);
            }
            _ => return Err(self.unexpected("a test, such as `host 192.0.2.1` or `tcp`")),
        };
        Ok(self.finished(test, start))
    }

    fn vlan_identifier(&mut self) -> Result<Option<u16>> {
        if !matches!(self.peek(), TokenKind::Number(_) | TokenKind::Sign("(")) {
            return Ok(None);
        }
        let start = self.here().start;
        let number = self.number_in_parentheses("the number of a VLAN")?;
        match u16::try_from(number) {
            Ok(identifier) if identifier <= 0x0fff => Ok(Some(identifier)),
            _ => refuse(start..self.end(), Reason::NumberTooLarge { highest: 0x0fff }),
        }
    }

    fn number_in_parentheses(&mut self, wanted: &'static str) -> Result<u32> {
        if !self.takes(TokenKind::Sign("(")) {
            return self.number(wanted);
        }
        let number = self.deeper(|parser| parser.number_in_parentheses(wanted))?;
        self.expect(")", "`)`")?;
        Ok(number)
    }
}

const NO_INDEX: Reason = Reason::WrongProtocol { what: "[]", allowed: "protocols whose bytes can be read" };

fn broadcast(protocol: Option<Protocol>, range: Range<usize>) -> Result<Test> {
    match protocol {
        None | Some(Protocol::Link) => Ok(Test::Mac { direction: Direction::Destination, address: [0xff; 6] }),
        Some(Protocol::Ip) => refuse(range, Reason::IpBroadcast),
        Some(_) => refuse(range, Reason::WrongProtocol { what: "broadcast", allowed: "`ether`" }),
    }
}

fn multicast(protocol: Option<Protocol>, range: Range<usize>) -> Result<Test> {
    match protocol {
        None | Some(Protocol::Link) => Ok(Test::MacMulticast),
        Some(Protocol::Ip) => Ok(Test::Multicast { version: Version::V4 }),
        Some(Protocol::Ip6) => Ok(Test::Multicast { version: Version::V6 }),
        Some(_) => refuse(range, Reason::WrongProtocol { what: "multicast", allowed: "`ether`, `ip` and `ip6`" }),
    }
}

// Values.
impl Parser<'_> {
    /// The value behind its words, several of them in parentheses, or `not` one.
    fn id(&mut self, qualifier: Qualifier) -> Result<Node> {
        let start = self.here().start;
        match self.peek() {
            TokenKind::Keyword(Keyword::Not) => {
                self.next();
                let inner = self.deeper(|parser| parser.id(qualifier))?;
                Ok(Node::not(inner, start))
            }
            TokenKind::Sign("(") => {
                self.next();
                let mut node = self.deeper(|parser| parser.id(qualifier))?;
                while let Some(join) = self.takes_join() {
                    let right = self.deeper(|parser| parser.id(qualifier))?;
                    node = Node::joined(node, join, right);
                    if node.levels > MAX_LEVELS {
                        let what = "`and` and `or` alternate";
                        return refuse(node.range, Reason::TooDeep { what, most: MAX_LEVELS });
                    }
                }
                self.expect(")", "`)`")?;
                Ok(Node { range: start..self.end(), ..node })
            }
            TokenKind::Number(number) => {
                let range = self.next().range;
                self.value_of_number(number, Some(qualifier), range)
            }
            _ => self.value(Some(qualifier)),
        }
    }

    /// A value other than a number.
    fn value(&mut self, qualifier: Option<Qualifier>) -> Result<Node> {
        let token = self.next();
        let start = token.range.start;
        let test = match token.kind {
            TokenKind::Dotted { address, bits } => {
                let given = all_but_host_bits(u32::from(bits));
                let mask = self.mask_of_dotted()?;
                let range = start..self.end();
                let qualifier = known(qualifier, &range)?;
                if mask.is_some() && qualifier.kind != Kind::Net {
                    let (wanted, found) = (quoted(qualifier.kind), "a network");
                    return refuse(range, Reason::WrongValue { wanted, found });
                }
                let mask = mask.unwrap_or(given);
                if address & !mask != 0 {
                    return refuse(range, Reason::HostBits);
                }
                self.host4(qualifier, address, mask, range)?
            }
            TokenKind::V6(address) => {
                let length = self.length_of_v6()?;
                let range = start..self.end();
                host6(known(qualifier, &range)?, address, length, range)?
            }
            TokenKind::Mac(address) => {
                let qualifier = known(qualifier, &token.range)?;
                let is_ether = matches!(qualifier.protocol, Some(Protocol::Link));
                if !is_ether || !matches!(qualifier.kind, Kind::Default | Kind::Host) {
                    let wanted = if is_ether { quoted(qualifier.kind) } else { "what stands without `ether`" };
                    return refuse(token.range, Reason::WrongValue { wanted, found: "a MAC address" });
                }
                Test::Mac { direction: qualifier.direction.unwrap_or(Direction::Either), address }
            }
            TokenKind::Name => self.named(known(qualifier, &token.range)?, token.range)?,
            _ => {
                self.at -= 1;
                return Err(self.unexpected("a value: an address, a network or a number"));
            }
        };
        Ok(Node::primitive(test, self.tags, start..self.end()))
    }

    /// The mask behind an IPv4 network: `/24` or `mask 255.255.255.0`.
    fn mask_of_dotted(&mut self) -> Result<Option<u32>> {
        if self.takes(TokenKind::Sign("/")) {
            let range = self.here();
            let length = self.number("the length of a prefix")?;
            if length > 32 {
                return refuse(range, Reason::NumberTooLarge { highest: 32 });
            }
            return Ok(Some(all_but_host_bits(length)));
        }
        if self.takes(TokenKind::Keyword(Keyword::Mask)) {
            return match self.next().kind {
                TokenKind::Dotted { address, .. } => Ok(Some(address)),
                _ => {
                    self.at -= 1;
                    Err(self.unexpected("a mask, such as `255.255.255.0`"))
                }
            };
        }
        Ok(None)
    }

    fn length_of_v6(&mut self) -> Result<Option<u8>> {
        if !self.takes(TokenKind::Sign("/")) {
            return Ok(None);
        }
        let range = self.here();
        let length = self.number("the length of a prefix")?;
        match u8::try_from(length) {
            Ok(length) if length <= 128 => Ok(Some(length)),
            _ => refuse(range, Reason::NumberTooLarge { highest: 128 }),
        }
    }

    fn value_of_number(&self, number: u32, qualifier: Option<Qualifier>, range: Range<usize>) -> Result<Node> {
        let qualifier = known(qualifier, &range)?;
        let test = match qualifier.kind {
            Kind::Default | Kind::Host => self.host4(qualifier, number, u32::MAX, range.clone())?,
            Kind::Net => {
                // Zero bytes in front are left out: 10 is 10.0.0.0/8, and 0 is the address 0.0.0.0.
                let shift = if number == 0 { 0 } else { number.leading_zeros() / 8 * 8 };
                self.host4(qualifier, number << shift, u32::MAX << shift, range.clone())?
            }
            Kind::Port | Kind::PortRange => {
                let port = port(number, &range)?;
                self.ports(qualifier, port, port, range.clone())?
            }
            Kind::Proto => self.protocol_number(qualifier, number, range.clone())?,
        };
        Ok(Node::primitive(test, self.tags, range))
    }

    fn named(&self, qualifier: Qualifier, range: Range<usize>) -> Result<Test> {
        let word = &self.text[range.clone()];
        let name = word.strip_prefix('\\').unwrap_or(word);
        let refuse_name = |instead| refuse(range.clone(), Reason::Name { name: name.to_owned(), instead });
        match qualifier.kind {
            Kind::Default | Kind::Host if matches!(qualifier.protocol, Some(Protocol::Link)) => {
                refuse_name("the MAC address")
            }
            Kind::Default | Kind::Host => refuse_name("the address"),
            Kind::Net => refuse_name("the network with its prefix length"),
            Kind::Port => refuse_name("the number of the port"),
            Kind::PortRange => {
                let Some((first, last)) = name.split_once('-').filter(|(a, b)| is_decimal(a) && is_decimal(b)) else {
                    return refuse_name("a range such as `1024-65535`");
                };
                let [first, last] = [first, last].map(|digits| port(digits.parse().unwrap_or(u32::MAX), &range));
                let (first, last) = (first?, last?);
                self.ports(qualifier, first.min(last), first.max(last), range)
            }
            Kind::Proto => {
                let is_link = matches!(qualifier.protocol, Some(Protocol::Link));
                let table = if is_link { ETHERTYPE_NAMES } else { PROTOCOL_NAMES };
                match table.iter().find(|(known, _)| *known == name) {
                    Some((_, number)) => self.protocol_number(qualifier, *number, range),
                    None => refuse_name("the number of the protocol"),
                }
            }
        }
    }

    fn host4(&self, qualifier: Qualifier, address: u32, mask: u32, range: Range<usize>) -> Result<Test> {
        if !matches!(qualifier.kind, Kind::Default | Kind::Host | Kind::Net) {
            let wanted = quoted(qualifier.kind);
            return refuse(range, Reason::WrongValue { wanted, found: "an IPv4 address" });
        }
        let within = match qualifier.protocol {
            None => Within::Any,
            Some(Protocol::Ip) => Within::Ip,
            Some(Protocol::Arp) => Within::Arp,
            Some(Protocol::Rarp) => Within::Rarp,
            Some(Protocol::Ip6) => {
                return refuse(range, Reason::WrongValue { wanted: "an `ip6` address", found: "an IPv4 address" });
            }
            Some(Protocol::Link) => {
                return refuse(range, Reason::WrongValue { wanted: "an `ether` address", found: "an IPv4 address" });
            }
            Some(_) => {
                let (what, allowed) = (qualifier.kind.name(), "`ip`, `arp` and `rarp`");
                return refuse(range, Reason::WrongProtocol { what, allowed });
            }
        };
        Ok(Test::Host4 { within, direction: qualifier.direction.unwrap_or(Direction::Either), address, mask })
    }

    fn ports(&self, qualifier: Qualifier, first: u16, last: u16, range: Range<usize>) -> Result<Test> {
        let protocol = match qualifier.protocol {
            None => None,
            Some(Protocol::Tcp) => Some(ip::TCP),
            Some(Protocol::Udp) => Some(ip::UDP),
            Some(Protocol::Sctp) => Some(ip::SCTP),
            Some(_) => {
                let (what, allowed) = (qualifier.kind.name(), "`tcp`, `udp` and `sctp`");
                return refuse(range, Reason::WrongProtocol { what, allowed });
            }
        };
        Ok(Test::Ports { protocol, direction: qualifier.direction.unwrap_or(Direction::Either), first, last })
    }

    fn protocol_number(&self, qualifier: Qualifier, number: u32, range: Range<usize>) -> Result<Test> {
        let version = match qualifier.protocol {
            None => None,
            Some(Protocol::Ip) => Some(Version::V4),
            Some(Protocol::Ip6) => Some(Version::V6),
            Some(Protocol::Link) => return ether_proto(number, range),
            Some(_) => {
                return refuse(range, Reason::WrongProtocol { what: "proto", allowed: "`ether`, `ip` and `ip6`" });
            }
        };
        match u8::try_from(number) {
            Ok(number) => Ok(Test::Protocol { version, number }),
            Err(_) => refuse(range, Reason::NumberTooLarge { highest: 255 }),
        }
    }
}

/// What `ether proto \NAME` knows, of libpcap's own table.
const ETHERTYPE_NAMES: &[(&str, u32)] = &[("ip", 0x0800), ("arp", 0x0806), ("rarp", 0x8035), ("ip6", 0x86dd)];

/// What `ip proto \NAME` knows, of what libpcap looks up in /etc/protocols.
const PROTOCOL_NAMES: &[(&str, u32)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
];

fn ether_proto(number: u32, range: Range<usize>) -> Result<Test> {
    match u16::try_from(number) {
        Err(_) => refuse(range, Reason::NumberTooLarge { highest: 0xffff }),
        Ok(..=1500) => refuse(range, Reason::ServiceAccessPoint),
        Ok(ethertype::APPLETALK | ethertype::APPLETALK_ARP) => refuse(range, Reason::AppleTalk),
        Ok(number) => Ok(Test::EtherType(number)),
    }
}

fn host6(qualifier: Qualifier, address: Ipv6Addr, length: Option<u8>, range: Range<usize>) -> Result<Test> {
    let wrong = |wanted| Reason::WrongValue { wanted, found: "an IPv6 address" };
    match (qualifier.kind, length) {
        (Kind::Net, _) | (Kind::Default | Kind::Host, None | Some(128)) => {}
        (Kind::Default | Kind::Host, Some(_)) => {
            return refuse(range, Reason::WrongValue { wanted: quoted(qualifier.kind), found: "a network" });
        }
        (kind, _) => return refuse(range, wrong(quoted(kind))),
    }
    match qualifier.protocol {
        None | Some(Protocol::Ip6) => {}
        Some(Protocol::Ip) => return refuse(range, wrong("an `ip` address")),
        Some(Protocol::Link) => return refuse(range, wrong("an `ether` address")),
        Some(_) => {
            let (what, allowed) = (qualifier.kind.name(), "`ip6`");
            return refuse(range, Reason::WrongProtocol { what, allowed });
        }
    }
    let mask = u128::MAX.checked_shl(128 - u32::from(length.unwrap_or(128))).unwrap_or(0);
    let bits = address.to_bits();
    if bits & !mask != 0 {
        return refuse(range, Reason::HostBits);
    }
    let direction = qualifier.direction.unwrap_or(Direction::Either);
    Ok(Test::Host6 { direction, address: words(bits), mask: words(mask) })
}

fn words(bits: u128) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bits.to_be_bytes();
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(u32::from_be_bytes)
}

fn known(qualifier: Option<Qualifier>, range: &Range<usize>) -> Result<Qualifier> {
    qualifier.ok_or_else(|| ParseError { range: range.clone(), reason: Reason::NoQualifier })
}

fn quoted(kind: Kind) -> &'static str {
    match kind {
        Kind::Default | Kind::Host => "a host",
        Kind::Net => "a network",
        Kind::Port => "a port",
        Kind::PortRange => "a range of ports",
        Kind::Proto => "a protocol",
    }
}

fn port(number: u32, range: &Range<usize>) -> Result<u16> {
    number
        .try_into()
        .map_err(|_| ParseError { range: range.clone(), reason: Reason::NumberTooLarge { highest: 65_535 } })
}

fn is_decimal(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// The mask of a prefix of so many bits, at most 32.
fn all_but_host_bits(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length).unwrap_or(0)
}

/// An operator, and how tightly it binds. `^` and `%` have no place among the others in libpcap's grammar: whatever
/// follows them belongs to their right side, and they take their left operand from any operator before them.
const OPERATORS: &[(&str, Operator, Option<u8>)] = &[
    ("|", Operator::Or, Some(1)),
    ("&", Operator::And, Some(2)),
    ("<<", Operator::ShiftLeft, Some(3)),
    (">>", Operator::ShiftRight, Some(3)),
    ("+", Operator::Add, Some(4)),
    ("-", Operator::Subtract, Some(4)),
    ("*", Operator::Multiply, Some(5)),
    ("/", Operator::Divide, Some(5)),
    ("%", Operator::Remainder, None),
    ("^", Operator::Xor, None),
];

const MINUS_SIGN: Option<u8> = Some(6);

const COMPARISONS: &[(&str, Comparison)] = &[
    ("=", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
];

// Calculations and comparisons.
impl Parser<'_> {
    fn calculation_from_here(&mut self, qualifier: Option<Qualifier>) -> Result<Operand> {
        let start = self.here().start;
        let first = self.atom()?;
        self.calculation(first, start..self.end(), qualifier)
    }

    /// A comparison whose left side begins with `first`, or as much of it as there is.
    fn calculation(&mut self, first: Value, range: Range<usize>, qualifier: Option<Qualifier>) -> Result<Operand> {
        let start = range.start;
        let left = self.climb(first, None, start)?;
        let comparison = match self.peek() {
            TokenKind::Sign(sign) => COMPARISONS.iter().find(|(known, _)| *known == sign),
            _ => None,
        };
        let Some((_, comparison)) = comparison else {
            let range = start..self.end();
            let what = match left {
                Value::Number(number) => What::Number(number),
                other => What::Calculation(other),
            };
            return Ok(Operand { what, qualifier, range });
        };
        self.next();
        let right = self.side()?;
        self.calculation = 0;
        let relation = Relation { left, comparison: *comparison, right };
        Ok(self.finished(Test::Relation(Box::new(relation)), start))
    }

    /// A whole calculation.
    fn side(&mut self) -> Result<Value> {
        let start = self.here().start;
        let first = self.atom()?;
        self.climb(first, None, start)
    }

    fn atom(&mut self) -> Result<Value> {
        let start = self.here().start;
        match self.peek() {
            TokenKind::Number(number) => {
                self.next();
                Ok(Value::Number(number))
            }
            TokenKind::Keyword(Keyword::Length) => {
                self.next();
                Ok(Value::Length)
            }
            TokenKind::Sign("(") => {
                self.next();
                let value = self.deeper(Self::side)?;
                self.expect(")", "`)`")?;
                Ok(value)
            }
            TokenKind::Sign("-") => {
                self.next();
                let inner = self.deeper(|parser| {
                    let first = parser.atom()?;
                    parser.climb(first, Some(MINUS_SIGN), start)
                })?;
                self.count(start)?;
                Ok(Value::Negative(Box::new(inner)))
            }
            TokenKind::Keyword(Keyword::Protocol(protocol)) if self.peek_second() == TokenKind::Sign("[") => {
                let range = self.next().range;
                self.load(protocol, range)
            }
            _ => Err(self.unexpected("a number, `len` or bytes such as `ip[0]`")),
        }
    }

    fn load(&mut self, protocol: Protocol, range: Range<usize>) -> Result<Value> {
        let header = match protocol {
            Protocol::Link => Header::Link,
            Protocol::Ip => Header::Network(ethertype::IPV4),
            Protocol::Ip6 => Header::Network(ethertype::IPV6),
            Protocol::Arp => Header::Network(ethertype::ARP),
            Protocol::Rarp => Header::Network(ethertype::RARP),
            Protocol::Icmp6 => Header::Icmp6,
            Protocol::Ah | Protocol::Esp => return refuse(range, NO_INDEX),
            _ => Header::Transport4(self.ip_number(protocol, range.clone())?),
        };
        self.expect("[", "`[`")?;
        let index = self.deeper(Self::side)?;
        let size = if self.takes(TokenKind::Sign(":")) {
            let size_range = self.here();
            match self.number("1, 2 or 4")? {
                1 => Size::One,
                2 => Size::Two,
                4 => Size::Four,
                _ => return refuse(size_range, Reason::Size),
            }
        } else {
            Size::One
        };
        self.expect("]", "`]`")?;
        self.count(range.start)?;
        Ok(Value::Load(Box::new(Load { header, index, size })))
    }

    /// Takes the operators behind `left` that do not belong to the operator before it, which binds as tightly as
    /// `before` says.
    fn climb(&mut self, mut left: Value, before: Option<Option<u8>>, start: usize) -> Result<Value> {
        loop {
            let TokenKind::Sign(sign) = self.peek() else { return Ok(left) };
            let Some((_, operator, binding)) = OPERATORS.iter().find(|(known, ..)| *known == sign) else {
                return Ok(left);
            };
            if let (Some(Some(before)), Some(binding)) = (before, binding)
                && before >= *binding
            {
                return Ok(left);
            }
            self.next();
            let right_start = self.here().start;
            let right = self.deeper(|parser| {
                let first = parser.atom()?;
                parser.climb(first, Some(*binding), right_start)
            })?;
            match (operator, &right) {
                (Operator::Divide | Operator::Remainder, Value::Number(0)) => {
                    return refuse(right_start..self.end(), Reason::DivisionByZero);
                }
                (Operator::ShiftLeft | Operator::ShiftRight, Value::Number(32..)) => {
                    return refuse(right_start..self.end(), Reason::ShiftTooFar);
                }
                _ => {}
            }
            self.count(start)?;
            left = Value::Binary(Box::new((left, *operator, right)));
        }
    }

    /// Counts an operator or a load of this comparison.
    fn count(&mut self, start: usize) -> Result<()> {
        self.calculation += 1;
        if self.calculation > MAX_CALCULATION {
            let reason = Reason::TooDeep { what: "a comparison has operators or reads bytes", most: MAX_CALCULATION };
            return refuse(start..self.end(), reason);
        }
        Ok(())
    }
}

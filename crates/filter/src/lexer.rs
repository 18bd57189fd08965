//! The words and signs of an expression. As in libpcap, a word is as long as it can be, so that `len-4` is one word.

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::parse_error::{ParseError, Reason};
use crate::tree::Join;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Keyword(Keyword),
    Number(u32),
    /// Two to four decimal numbers with dots, the first one in the highest bits, and how many bits they are.
    Dotted {
        address: u32,
        bits: u8,
    },
    V6(Ipv6Addr),
    Mac([u8; 6]),
    /// Any other word.
    Name,
    Sign(&'static str),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Join(Join),
    Not,
    Source,
    Destination,
    Host,
    Net,
    Mask,
    Port,
    PortRange,
    Proto,
    Less,
    Greater,
    Length,
    Broadcast,
    Multicast,
    Vlan,
    Protocol(Protocol),
}

/// A protocol that has a name of its own in the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Link,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Ah,
    Esp,
}

/// The signs; a longer one stands before those that it begins with.
const SIGNS: &[&str] = &[
    "&&", "||", ">=", "<=", "!=", "==", "<<", ">>", "+", "-", "*", "/", "%", ":", "[", "]", "<", ">", "(", ")", "!",
    "&", "|", "^", "=",
];

/// Cuts a text into words and signs; the last one is [`TokenKind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = text.as_bytes().get(at) {
        if matches!(first, b' ' | b'\t' | b'\r' | b'\n') {
            at += 1;
            continue;
        }
        let (kind, length) = token_at(text, at)?;
        tokens.push(Token { kind, range: at..at + length });
        at += length;
    }
    tokens.push(Token { kind: TokenKind::End, range: text.len()..text.len() });
    Ok(tokens)
}

fn token_at(text: &str, at: usize) -> Result<(TokenKind, usize), ParseError> {
    let rest = &text[at..];
    let refuse = |length: usize, reason: Reason| Err(ParseError { range: at..at + length, reason });

    // `0:2` in `ip[0:2]` has one colon, and no address has less than two.
    let length = run(rest, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    let with_colons = rest[..length].trim_end_matches('.');
    if with_colons.bytes().filter(|byte| *byte == b':').count() >= 2 {
        let kind = match (with_colons.parse(), mac(with_colons, ':')) {
            (Ok(address), _) => TokenKind::V6(address),
            (_, Some(address)) => TokenKind::Mac(address),
            _ => return refuse(with_colons.len(), Reason::NoAddress),
        };
        return Ok((kind, with_colons.len()));
    }
    if let Some(escaped) = rest.strip_prefix('\\') {
        let length = run(escaped, |byte| !matches!(byte, b' ' | b'!' | b'(' | b')' | b'\n' | b'\t'));
        return if length == 0 { refuse(1, Reason::Sign) } else { Ok((TokenKind::Name, 1 + length)) };
    }
    if rest.as_bytes()[0].is_ascii_alphanumeric() {
        let length = run(rest, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let word = rest[..length].trim_end_matches(['-', '_']);
        return match kind_of(word) {
            Ok(kind) => Ok((kind, word.len())),
            Err(reason) => refuse(word.len(), reason),
        };
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(&"&&") => Ok((TokenKind::Keyword(Keyword::Join(Join::And)), 2)),
        Some(&"||") => Ok((TokenKind::Keyword(Keyword::Join(Join::Or)), 2)),
        Some(&"==") => Ok((TokenKind::Sign("="), 2)),
        Some(&"!") => Ok((TokenKind::Keyword(Keyword::Not), 1)),
        Some(sign) => Ok((TokenKind::Sign(sign), sign.len())),
        None => refuse(rest.chars().next().map_or(1, char::len_utf8), Reason::Sign),
    }
}

fn run(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_part(*byte)).count()
}

fn kind_of(word: &str) -> Result<TokenKind, Reason> {
    if let Some(keyword) = keyword(word) {
        return Ok(TokenKind::Keyword(keyword));
    }
    if let Some((_, why)) = REFUSED.iter().find(|(words, _)| words.split(' ').any(|refused| refused == word)) {
        return Err(Reason::NotSupported { word: word.into(), why });
    }
    let mac = mac(word, '-').or_else(|| mac(word, '.')).or_else(|| mac_of_digits(word));
    if let Some(address) = mac {
        return Ok(TokenKind::Mac(address));
    }
    if is_number(word) {
        return number(word).map(TokenKind::Number);
    }
    let parts = || word.split('.');
    if (2..=4).contains(&parts().count()) && parts().all(is_number) {
        return dotted(word);
    }
    let constant = CONSTANTS.iter().find(|(name, _)| *name == word);
    Ok(constant.map_or(TokenKind::Name, |(_, value)| TokenKind::Number(*value)))
}

/// Digits, or hexadecimal digits behind `0x`.
fn is_number(word: &str) -> bool {
    let of = |digits: &str, is_digit: fn(&u8) -> bool| !digits.is_empty() && digits.as_bytes().iter().all(is_digit);
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => of(digits, u8::is_ascii_hexdigit),
        None => of(word, u8::is_ascii_digit),
    }
}

/// As in C: hexadecimal behind `0x`, octal behind `0`.
fn number(word: &str) -> Result<u32, Reason> {
    let (digits, radix) = match word.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&word[2..], 16),
        [b'0', _, ..] => (&word[1..], 8),
        _ => (word, 10),
    };
    if radix == 8 && digits.contains(['8', '9']) {
        return Err(Reason::NotOctal);
    }
    u32::from_str_radix(digits, radix).map_err(|_| Reason::NumberTooLarge { highest: u32::MAX })
}

/// Parts of an IPv4 address are decimal, also behind a zero.
fn dotted(word: &str) -> Result<TokenKind, Reason> {
    let mut address = 0;
    let mut bits = 0;
    for part in word.split('.') {
        let part: u8 = part.parse().map_err(|_| Reason::NoIpv4Address)?;
        address = address << 8 | u32::from(part);
        bits += 8;
    }
    Ok(TokenKind::Dotted { address: address << (32 - u32::from(bits)), bits })
}

/// Six groups of one or two hexadecimal digits.
fn mac(word: &str, separator: char) -> Option<[u8; 6]> {
    let mut octets = [0; 6];
    let mut groups = word.split(separator);
    for octet in &mut octets {
        let group = groups.next().filter(|group| matches!(group.len(), 1 | 2))?;
        *octet = hexadecimal(group)?;
    }
    groups.next().is_none().then_some(octets)
}

/// `001122334455`, or `0011.2233.4455`.
fn mac_of_digits(word: &str) -> Option<[u8; 6]> {
    let digits = match word.as_bytes() {
        [_, _, _, _, b'.', _, _, _, _, b'.', _, _, _, _] => word.replace('.', ""),
        _ => word.to_owned(),
    };
    if digits.len() != 12 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut octets = [0; 6];
    for (n, octet) in octets.iter_mut().enumerate() {
        *octet = hexadecimal(&digits[2 * n..2 * n + 2])?;
    }
    Some(octets)
}

fn hexadecimal(digits: &str) -> Option<u8> {
    u8::from_str_radix(digits, 16).ok()
}

fn keyword(word: &str) -> Option<Keyword> {
    Some(match word {
        "and" => Keyword::Join(Join::And),
        "or" => Keyword::Join(Join::Or),
        "not" => Keyword::Not,
        "src" => Keyword::Source,
        "dst" => Keyword::Destination,
        "host" => Keyword::Host,
        "net" => Keyword::Net,
        "mask" => Keyword::Mask,
        "port" => Keyword::Port,
        "portrange" => Keyword::PortRange,
        "proto" => Keyword::Proto,
        "less" => Keyword::Less,
        "greater" => Keyword::Greater,
        "len" | "length" => Keyword::Length,
        "broadcast" => Keyword::Broadcast,
        "multicast" => Keyword::Multicast,
        "vlan" => Keyword::Vlan,
        _ => Keyword::Protocol(protocol(word)?),
    })
}

fn protocol(word: &str) -> Option<Protocol> {
    Some(match word {
        "ether" | "link" => Protocol::Link,
        "ip" => Protocol::Ip,
        "ip6" => Protocol::Ip6,
        "arp" => Protocol::Arp,
        "rarp" => Protocol::Rarp,
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        "icmp" => Protocol::Icmp,
        "icmp6" => Protocol::Icmp6,
        "igmp" => Protocol::Igmp,
        "igrp" => Protocol::Igrp,
        "pim" => Protocol::Pim,
        "vrrp" => Protocol::Vrrp,
        "carp" => Protocol::Carp,
        "ah" => Protocol::Ah,
        "esp" => Protocol::Esp,
        _ => return None,
    })
}

/// Words of the language that are refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("gateway", "it needs the names of hosts, and none is looked up"),
    ("protochain", "it follows a chain of headers in a loop"),
    ("byte", "write `ether[N]` instead"),
    ("mpls pppoed pppoes geneve", "only VLAN tags are stepped over"),
    ("llc stp ipx netbeui", "frames of IEEE 802.2 are not read"),
    ("iso esis es-is isis is-is l1 l2 iih lsp snp csnp psnp clnp", "OSI protocols are not read"),
    ("atalk aarp decnet lat sca moprc mopdl", "this protocol is not read"),
    ("ppp slip fddi tr wlan radio", "frames are those of Ethernet"),
    (
        "type subtype dir direction addr1 addr2 addr3 addr4 address1 address2 address3 address4 ra ta",
        "frames are those of Ethernet",
    ),
    ("inbound outbound ifindex", "a frame does not tell how it arrived"),
    ("on ifname rset ruleset rnr rulenum srnr subrulenum reason action", "there is no log of a packet filter"),
    (
        "lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect",
        "frames are those of Ethernet",
    ),
    ("fisu lssu lsu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls", "frames are those of Ethernet"),
];

/// Names of numbers: offsets and values of ICMP, ICMPv6 and TCP.
const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

//! Why a text is not an expression.

use std::ops::Range;

/// Where a text is not an expression, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (at byte {})", .range.start)]
pub struct ParseError {
    /// The bytes of the text that the reason is about. Empty at its end, if something is missing there.
    pub range: Range<usize>,
    /// Why.
    pub reason: Reason,
}

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The text is longer than [`Expression::MAX_LENGTH`](crate::Expression::MAX_LENGTH).
    #[error("an expression has at most {most} bytes, not {length}")]
    TooLong {
        /// The length of the text.
        length: usize,
        /// The highest one.
        most: usize,
    },
    /// Parentheses, `not` and changes between `and` and `or` are nested too deeply, or a calculation is too long.
    #[error("{what} more than {most} times")]
    TooDeep {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        most: usize,
    },
    /// A character that the language does not have.
    #[error("this character means nothing here")]
    Sign,
    /// A word or sign where another one must stand.
    #[error("{} instead of {wanted}", standing(.found))]
    Unexpected {
        /// What stands there; empty at the end.
        found: String,
        /// What should.
        wanted: &'static str,
    },
    /// A word of tcpdump's language that is refused.
    #[error("`{word}` is not supported: {why}")]
    NotSupported {
        /// The word.
        word: String,
        /// Why.
        why: &'static str,
    },
    /// The name of a host, network or service, which would have to be looked up.
    #[error("`{name}` would have to be looked up, and no name is: write {instead}")]
    Name {
        /// The name.
        name: String,
        /// What to write.
        instead: &'static str,
    },
    /// A value stands where nothing before it tells what it is.
    #[error("nothing before it tells what this is: write `host`, `net`, `port` or `proto` before it")]
    NoQualifier,
    /// A value of another kind than the words before it ask for.
    #[error("{wanted} cannot be {found}")]
    WrongValue {
        /// What the words before it ask for.
        wanted: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// A protocol that does not go with what follows, such as `tcp host`.
    #[error("`{what}` goes with {allowed} only")]
    WrongProtocol {
        /// What follows the protocol.
        what: &'static str,
        /// The protocols that it goes with.
        allowed: &'static str,
    },
    /// Neither an IPv6 address nor a MAC address.
    #[error("this is neither an IPv6 address nor a MAC address")]
    NoAddress,
    /// Not an IPv4 address.
    #[error("this is not an IPv4 address: it has up to four decimal numbers up to 255")]
    NoIpv4Address,
    /// A number that is too large.
    #[error("this number is too large: the highest here is {highest}")]
    NumberTooLarge {
        /// The highest one.
        highest: u32,
    },
    /// A number that begins with 0 has octal digits only.
    #[error("a number that begins with 0 is octal and has no digit 8 or 9")]
    NotOctal,
    /// A network has bits set that its mask leaves out.
    #[error("this network has bits set that its mask leaves out")]
    HostBits,
    /// An EtherType of at most 1500 is a service access point of IEEE 802.2.
    #[error("values up to 1500 are service access points of IEEE 802.2, whose frames are not read")]
    ServiceAccessPoint,
    /// AppleTalk's frames have SNAP headers, too.
    #[error("AppleTalk is also found behind SNAP headers, which are not read")]
    AppleTalk,
    /// Bytes are read one, two or four at a time.
    #[error("1, 2 or 4 bytes can be read at once")]
    Size,
    /// A division by zero.
    #[error("this divides by zero")]
    DivisionByZero,
    /// A shift by more bits than a number has.
    #[error("a number has 32 bits and is shifted by at most 31")]
    ShiftTooFar,
    /// `ip broadcast` depends on the netmask of an interface.
    #[error("`ip broadcast` depends on the netmask of an interface: write `dst host` and the broadcast address")]
    IpBroadcast,
}

fn standing(found: &str) -> String {
    if found.is_empty() { "the expression ends here".into() } else { format!("`{found}` stands here") }
}

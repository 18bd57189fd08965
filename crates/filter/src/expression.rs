//! An expression in tcpdump's language.

use std::str::FromStr;

use crate::evaluate::{Frame, evaluate};
use crate::not_a_flow::NotAFlow;
use crate::parse_error::ParseError;
use crate::tree::Node;
use crate::{Flow, parser, to_flows};

/// A filter in the language of tcpdump (pcap-filter(7)), for Ethernet frames.
///
/// It is read from text, and it decides as libpcap does, cut frames included. The empty text matches every frame.
/// `docs/flows.md` lists what the language has, and what is refused.
///
/// ```
/// use xsknet_filter::Expression;
///
/// let names: Expression = "udp dst port 53 and dst net 192.0.2.0/24".parse()?;
/// assert_eq!(names.flows()?.len(), 1);
/// assert!(!names.matches(&[0; 60]));
///
/// let error = "udp dst port domain".parse::<Expression>().unwrap_err();
/// assert_eq!(error.range, 13..19);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Expression {
    root: Option<Node>,
}

impl Expression {
    /// The most bytes of a text.
    pub const MAX_LENGTH: usize = parser::MAX_LENGTH;

    /// The most flows of an expression.
    pub const MAX_FLOWS: usize = to_flows::MAX_FLOWS;

    /// Whether a whole frame matches. It allocates nothing.
    #[must_use]
    pub fn matches(&self, frame: &[u8]) -> bool {
        self.matches_captured(frame, frame.len().try_into().unwrap_or(u32::MAX))
    }

    /// Whether a frame matches of which only the beginning is here. Tests of its length see `wire_length`; a frame that
    /// ends before a byte that decides does not match, as with libpcap. It allocates nothing.
    #[must_use]
    pub fn matches_captured(&self, bytes: &[u8], wire_length: u32) -> bool {
        match &self.root {
            None => true,
            Some(root) => evaluate(root, Frame { bytes, wire_length }).unwrap_or(false),
        }
    }

    /// The flows whose packets this expression matches, in the order of the text, each one once.
    ///
    /// `or` makes several flows, `and` intersects them, and `port 53` is the source or the destination port of TCP, UDP
    /// or SCTP, that is six flows. They match what the expression matches, with the differences that `docs/flows.md`
    /// lists: VLAN tags that the expression does not name, extension headers of IPv6, and addresses in ARP.
    ///
    /// # Errors
    /// If something is not a field of a flow, negated where no field can express it, or if there would be no flow or
    /// more than [`MAX_FLOWS`](Self::MAX_FLOWS).
    pub fn flows(&self) -> Result<Vec<Flow>, NotAFlow> {
        match &self.root {
            None => Ok(vec![Flow::any()]),
            Some(root) => to_flows::flows(root),
        }
    }
}

impl FromStr for Expression {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parser::parse(text).map(|root| Self { root })
    }
}

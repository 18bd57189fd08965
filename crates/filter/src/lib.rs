//! Filter expressions in the language of tcpdump (pcap-filter(7)): one parser and one tree, for whole frames and for
//! flows.
//!
//! An [`Expression`] decides about frames as libpcap does. [`Expression::flows`] turns it into [`Flow`]s, which a
//! classifier can match: one value, prefix or range for each field of a packet's headers. [`Fields`] is what a
//! classifier reads of a frame, so that [`Flow::matches`] is the reference model of any classifier.
#![forbid(unsafe_code)]

mod evaluate;
mod expression;
mod fields;
mod flow;
mod flow_error;
mod lexer;
mod not_a_flow;
mod parse_error;
mod parser;
mod port_range;
mod prefix;
mod protocol;
#[cfg(test)]
mod test_values;
#[cfg(test)]
mod tests;
mod to_flows;
mod tree;

pub use expression::Expression;
pub use fields::Fields;
pub use flow::{Flow, Precedence};
pub use flow_error::FlowError;
pub use not_a_flow::{NotAFlow, WhyNot};
pub use parse_error::{ParseError, Reason};
pub use port_range::{PortRange, PortRangeError};
pub use prefix::{Prefix, PrefixError};

//! Filter expressions in the language of tcpdump (pcap-filter(7)): one parser and one tree, for whole frames and for
//! flows.
//!
//! A [`Flow`] is what a classifier can match: one value, prefix or range for each field of a packet's headers.
//! [`Fields`] is what a classifier reads of a frame, so that [`Flow::matches`] is the reference model of any classifier.
#![forbid(unsafe_code)]

mod fields;
mod flow;
mod flow_error;
mod port_range;
mod prefix;
mod protocol;
#[cfg(test)]
mod test_values;

pub use fields::Fields;
pub use flow::{Flow, Precedence};
pub use flow_error::FlowError;
pub use port_range::{PortRange, PortRangeError};
pub use prefix::{Prefix, PrefixError};

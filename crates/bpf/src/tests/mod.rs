//! Tests on the running kernel, as root, each in a network namespace of its own; and of the contract with the programs.

mod attach;
mod claims;
mod contract;
mod cuts;
mod explain;
#[cfg(feature = "measure")]
mod flow_cost;
mod flow_model;
pub(crate) mod flows;
mod frames;
#[cfg(feature = "measure")]
mod group_cost;
mod groups;
mod guard;
mod lab;
mod model;
mod pins;
mod queue;
mod random_rules;
#[cfg(feature = "measure")]
mod rate_cost;
mod rates;
mod refusals;
mod ring_client;
mod rings;
mod sources;
#[cfg(feature = "measure")]
mod tap_cost;
mod taps;
mod uplink;
mod uplink_mac;
mod verifier;

//! Tests on the running kernel, as root: each in a network namespace that nobody else sees.

mod attach;
mod cuts;
mod flow;
mod frames;
mod guard;
mod lab;
mod model;
mod pins;
mod rates;
mod sources;
mod uplink;

//! What an instance, its uplinks and its ports do to a kernel: one program, which is linked once.

mod announce;
mod attack_exposure;
mod attack_flood;
mod attack_identity;
mod attack_metadata;
mod attack_namespace;
mod attack_undo;
mod brokered;
mod common;
mod devices;
mod drops;
mod errors;
mod host_changes;
mod jumbo;
mod leftovers;
mod losses;
mod numbers;
mod path;
mod pinned;
mod places;
mod port_errors;
mod queue_pairs;
mod shared;
mod undo;
mod vlan;
mod watch;

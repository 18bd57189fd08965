//! What an uplink has for the groups of its ports, beside the tables of its programs: memberships, which the switches
//! are told of, and the program that copies for ports without BPF rings.

use std::collections::{BTreeMap, BTreeSet};

use xsknet_bpf::{Attachment, Group, PortId, Vlan};
use xsknet_link::Membership;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    /// The groups of each port, and its VLAN.
    pub(crate) joined: BTreeMap<PortId, (Vlan, BTreeSet<Group>)>,
    /// One for all ports without a VLAN that are in the group.
    pub(crate) memberships: BTreeMap<Group, Membership>,
    /// The program that copies, while a port needs it. Dropped, not detached: the journal has its pin.
    pub(crate) copy: Option<Attachment>,
}

impl GroupState {
    /// Ends the memberships that no port needs any more.
    pub(crate) fn leave_unused(&mut self) {
        let Self { joined, memberships, .. } = self;
        let is_used = |group: &Group| joined.values().any(|(vlan, its)| *vlan == Vlan::UNTAGGED && its.contains(group));
        memberships.retain(|group, _| is_used(group));
    }
}

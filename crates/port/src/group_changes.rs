//! Puts an open port into groups, and takes it out of them: at the NIC's filter, at the switches, and in the tables of
//! the uplink's programs.

use std::collections::BTreeSet;

use xsknet_bpf::{Group, PortId, Vlan};
use xsknet_link::{MacAddr, Membership};

use crate::attempt::Attempt;
use crate::copiers::{Copier, attach_copier, detach_copier_unless};
use crate::datapath::{read, write};
use crate::error::{GroupError, StepError};
use crate::group_texts::MAX_PORT_GROUPS;
use crate::groups::GroupState;
use crate::ids::PortKey;
use crate::receive_filters::{let_in_mac, let_out_mac};
use crate::uplink_state::UplinkState;

/// What becomes of the groups of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupChange {
    /// It is in these, too.
    Join,
    /// It is not in these any more. What it is not in is left alone.
    Leave,
}

/// Changes the groups of a port, or nothing. Returns what the switches were not told. The caller holds
/// [`UplinkState::work`].
pub(crate) fn change_groups(
    uplink: &UplinkState,
    (id, key): (PortId, PortKey),
    change: GroupChange,
    groups: &BTreeSet<Group>,
) -> Result<Vec<Attempt>, GroupError> {
    let closed = || GroupError::UplinkClosed { uplink: uplink.nic.info.device.clone() };
    let (datapath, port) = uplink.port(id).filter(|(_, port)| port.plan.key == key).ok_or_else(closed)?;
    if port.plan.spec.tap.is_some() {
        return Err(GroupError::OfTap { port: port.plan.name.clone() });
    }
    let mut state = uplink.groups();
    let has = state.joined.get(&id).map(|(_, groups)| groups.clone()).unwrap_or_default();
    let wanted: BTreeSet<Group> = match change {
        GroupChange::Join => &has | groups,
        GroupChange::Leave => &has - groups,
    };
    if wanted.len() > MAX_PORT_GROUPS {
        return Err(GroupError::TooMany { limit: MAX_PORT_GROUPS });
    }
    let (added, dropped) = (&wanted - &has, &has - &wanted);
    let mut done = BTreeSet::new();
    let mut make = || -> Result<(), GroupError> {
        // First what has frames come in, so that a port that is in a group gets all of them.
        for &group in &added {
            done.insert(group);
            filter_of(group).map_or(Ok(()), |mac| let_in_mac(uplink, id, mac))?;
        }
        if port.rings.is_none() && !wanted.is_empty() {
            attach_copier::<GroupError>(uplink, &mut state.copy, Copier::Groups)?.ok_or_else(closed)?;
        }
        write(&datapath).set_groups(id, &wanted)?;
        uplink.nic.context.passed("the port's groups are set");
        Ok(())
    };
    let made = make();
    let gone = if made.is_ok() { &dropped } else { &done };
    let mut undone = Ok(());
    for &group in gone {
        undone = filter_of(group).map_or(Ok(()), |mac| let_out_mac(uplink, id, mac)).and(undone);
    }
    if made.is_ok() {
        state.joined.insert(id, (port.plan.vlan, wanted));
    }
    let needs_copy = read(&datapath).needs_copy();
    undone = detach_copier_unless(needs_copy, uplink, &mut state.copy, Copier::Groups).and(undone);
    made?;
    undone?;
    state.leave_unused();
    Ok(added.iter().filter_map(|&group| tell_switches(uplink, &mut state, group, port.plan.vlan)).collect())
}

/// Takes back what an uplink has for the groups of a port that is being closed, whose entries are gone from the tables.
/// What the NIC lets in for it goes with the rest of that.
pub(crate) fn forget_groups(uplink: &UplinkState, id: PortId, needs_copy: bool) -> Result<(), StepError> {
    let mut state = uplink.groups();
    if state.joined.remove(&id).is_none() {
        return Ok(());
    }
    state.leave_unused();
    detach_copier_unless(needs_copy, uplink, &mut state.copy, Copier::Groups)
}

/// What the NIC has to let in; it takes broadcast in any case.
fn filter_of(group: Group) -> Option<MacAddr> {
    (group != Group::BROADCAST).then(|| MacAddr::new(group.mac()))
}

/// Has the kernel be a member of a group that a port has joined. A refusal is told: the NIC lets the group in all the
/// same, and most switches flood what nobody has asked for.
fn tell_switches(uplink: &UplinkState, state: &mut GroupState, group: Group, vlan: Vlan) -> Option<Attempt> {
    let Group::Ip(address) = group else { return None };
    if let Some(id) = vlan.id() {
        return Some(Attempt::membership(group, format!("not done in VLAN {id}: the port itself has to send reports")));
    }
    if state.memberships.contains_key(&group) {
        return None;
    }
    match uplink.nic.context.host.run(|| Membership::join(uplink.nic.info.index, address)) {
        Ok(Ok(membership)) => {
            state.memberships.insert(group, membership);
            None
        }
        Ok(Err(cause)) => Some(Attempt::membership_refused(group, &cause)),
        Err(cause) => Some(Attempt::membership(group, cause.to_string())),
    }
}

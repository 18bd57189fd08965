//! Has a NIC let in the frames of a port: for its MAC, for the groups of its IPv6 addresses and those that it joins,
//! and of its VLAN. A port with the NIC's own MAC gets what comes to that: no entry is taken for it, of which a NIC has
//! few.

use std::collections::BTreeSet;
use std::net::IpAddr;

use xsknet_bpf::PortId;
use xsknet_link::MacAddr;

use crate::attempt::Attempt;
use crate::claims::Claim;
use crate::error::StepError;
use crate::filters::Entry;
use crate::uplink_state::UplinkState;
use crate::vlans;

/// Makes the NIC accept the frames of a claim. Returns what was done for its VLAN.
pub(crate) fn let_in(uplink: &UplinkState, id: PortId, claim: &Claim) -> Result<Option<Attempt>, StepError> {
    let mut told = None;
    let mut open = uplink.lock();
    let Some(managed) = open.as_mut() else { return Ok(told) };
    // Under the lock: a port that is being closed takes its own away.
    let there = uplink.nic.filters()?;
    for entry in filters_of(claim) {
        let is_first = managed.need(id, entry);
        match entry {
            Entry::Mac(mac) if is_first && !there.contains(&mac) => uplink.nic.add_filter(mac)?,
            Entry::Mac(_) => {}
            // Each port is told.
            Entry::Vlan(vlan) => {
                let access = vlans::let_in(&uplink.nic, vlan)?;
                told = access.attempt(vlan);
                managed.vlan_access.insert(vlan, access);
            }
        }
    }
    drop(open);
    uplink.nic.context.passed("the NIC lets the port's frames in");
    Ok(told)
}

/// Makes the NIC accept frames to one MAC more.
pub(crate) fn let_in_mac(uplink: &UplinkState, id: PortId, mac: MacAddr) -> Result<(), StepError> {
    let mut open = uplink.lock();
    let Some(managed) = open.as_mut() else { return Ok(()) };
    let there = uplink.nic.filters()?;
    if managed.need(id, Entry::Mac(mac)) && !there.contains(&mac) {
        uplink.nic.add_filter(mac)?;
    }
    drop(open);
    uplink.nic.context.passed("the NIC lets a group in");
    Ok(())
}

/// Takes that back, if it was done.
pub(crate) fn let_out_mac(uplink: &UplinkState, id: PortId, mac: MacAddr) -> Result<(), StepError> {
    let mut open = uplink.lock();
    let Some(managed) = open.as_mut() else { return Ok(()) };
    let entry = Entry::Mac(mac);
    let its = managed.let_in.entry(id).or_default();
    let Some(at) = its.iter().position(|its| *its == entry) else { return Ok(()) };
    its.remove(at);
    if managed.filters.release(entry) { uplink.nic.remove_filter(mac) } else { Ok(()) }
}

/// Takes back as much of that as was done, of all of a port.
pub(crate) fn let_out(uplink: &UplinkState, id: PortId) -> Result<(), StepError> {
    let mut last = Ok(());
    let mut open = uplink.lock();
    let Some(managed) = open.as_mut() else { return Ok(()) };
    for entry in managed.let_in.remove(&id).unwrap_or_default() {
        if !managed.filters.release(entry) {
            continue;
        }
        let undone = match entry {
            Entry::Mac(mac) => uplink.nic.remove_filter(mac),
            Entry::Vlan(vlan) => {
                managed.vlan_access.remove(&vlan);
                vlans::let_out(&uplink.nic, vlan)
            }
        };
        last = undone.and(last);
    }
    last
}

fn filters_of(claim: &Claim) -> BTreeSet<Entry> {
    let solicited = claim.addresses.iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(MacAddr::solicited_node(*address)),
        IpAddr::V4(_) => None,
    });
    let own = (!claim.uplink_mac).then_some(claim.mac);
    solicited.chain(own).map(Entry::Mac).chain(claim.vlan.id().map(Entry::Vlan)).collect()
}

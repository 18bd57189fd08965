//! Changes the flows of an open port, and keeps the host's own packets out of them.

use std::collections::BTreeSet;

use xsknet_bpf::{FlowsError, PortId};
use xsknet_filter::Flow;

use crate::datapath::{read, write};
use crate::error::{FlowClaimError, StepError};
use crate::flow_texts::MAX_PORT_FLOWS;
use crate::host_sockets::{self, HostSocket, name_of, takes_from_kernel};
use crate::ids::{PortKey, ROOT};
use crate::placeholders::{MAX_PLACEHOLDERS, NotKept, Place, Placeholders, places_of};
use crate::uplink_state::UplinkState;

/// What becomes of the flows of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowChange {
    /// It gets these, too. What it has already stays.
    Claim,
    /// It gives these back. What it does not have is left alone.
    Release,
    /// It gets these in the place of all that it has.
    Replace,
}

/// Changes the flows of a port, or nothing. The caller holds [`UplinkState::work`].
pub(crate) fn change_flows(
    uplink: &UplinkState,
    (id, key): (PortId, PortKey),
    change: FlowChange,
    flows: &[Flow],
    override_host: bool,
) -> Result<(), FlowClaimError> {
    let closed = || FlowClaimError::UplinkClosed { uplink: uplink.nic.info.device.clone() };
    let (datapath, port) = uplink.port(id).filter(|(_, port)| port.plan.key == key).ok_or_else(closed)?;
    if port.plan.spec.tap.is_some() {
        return Err(FlowClaimError::OfTap { port: port.plan.name.clone() });
    }
    let owner = port.plan.spec.owner;
    // One change after the other, so that the host's sockets are looked at and kept away by one of them.
    let mut placeholders = uplink.nic.context.placeholders();
    let has: BTreeSet<Flow> = read(&datapath).flows(id).copied().collect();
    let named: BTreeSet<Flow> = flows.iter().copied().collect();
    let wanted: BTreeSet<Flow> = match change {
        FlowChange::Claim => &has | &named,
        FlowChange::Release => &has - &named,
        FlowChange::Replace => named,
    };
    if wanted.len() > MAX_PORT_FLOWS {
        return Err(FlowClaimError::TooMany { limit: MAX_PORT_FLOWS });
    }
    let added: Vec<Flow> = wanted.difference(&has).copied().collect();
    let guarded: &[Flow] = if override_host { &[] } else { added.as_slice() };
    if !added.is_empty() {
        // What it has is kept until it is certain that it goes.
        guard_host(uplink, key, owner, &mut placeholders, &(&has | &wanted), guarded)?;
    }
    let all: Vec<Flow> = wanted.iter().copied().collect();
    let changed = match change {
        FlowChange::Claim => write(&datapath).claim_flows(id, &added),
        FlowChange::Release => write(&datapath).release_flows(id, flows),
        FlowChange::Replace => write(&datapath).replace_flows(id, &all),
    };
    // Nothing must be kept here. What is kept too long, because the kernel was not to be asked, goes with the port.
    let _ = guard_host(uplink, key, owner, &mut placeholders, if changed.is_ok() { &wanted } else { &has }, &[]);
    changed.map_err(|error| told(uplink, owner, error))
}

/// Keeps the places of all flows that are wanted from programs of the host. Refuses what takes packets of the host's
/// own by one of `guarded`.
fn guard_host(
    uplink: &UplinkState,
    key: PortKey,
    owner: u32,
    placeholders: &mut Placeholders,
    wanted: &BTreeSet<Flow>,
    guarded: &[Flow],
) -> Result<(), FlowClaimError> {
    if wanted.is_empty() {
        placeholders.free(key);
        return Ok(());
    }
    let host = &uplink.nic.context.host;
    let own = host.links.all_addresses().map_err(StepError::from)?;
    let nic = host.links.addresses(uplink.nic.info.index).map_err(StepError::from)?;
    let nic: Vec<_> = nic.into_iter().map(|(address, _)| address).collect();
    if let Some(flow) = guarded.iter().find(|flow| takes_from_kernel(flow, &own)) {
        return Err(FlowClaimError::HostKernel { flow: Box::new(*flow) });
    }
    let places = |flow: &Flow| places_of(flow, &own, &nic);
    let must: BTreeSet<Place> = guarded.iter().flat_map(places).collect();
    let all: BTreeSet<Place> = wanted.iter().flat_map(places).collect();
    let refused = |attempt, cause| StepError::Io { attempt, cause };
    host.run(|| {
        if !guarded.is_empty() {
            let ours = placeholders.inodes();
            let sockets = host_sockets::read().map_err(|cause| refused("list the host's sockets", cause))?;
            let of_host = sockets.iter().filter(|socket| !ours.contains(&socket.inode));
            for socket in of_host {
                if let Some(flow) = guarded.iter().find(|flow| socket.starves_by(flow)) {
                    return Err(starved(flow, socket, owner));
                }
            }
        }
        placeholders.keep(key, all, &must).map_err(|error| match error {
            NotKept::TooMany => FlowClaimError::TooManyPlaceholders { limit: MAX_PLACEHOLDERS },
            NotKept::Kernel(cause) => refused("keep a port of the host free", cause).into(),
            // It was bound since the host's sockets were listed.
            NotKept::Taken(place) => {
                let flow = guarded.iter().copied().find(|flow| places(flow).contains(&place)).unwrap_or_default();
                let (protocol, address) = (name_of(place.protocol), place.address);
                FlowClaimError::HostSocket { flow: Box::new(flow), protocol, address, process: None }
            }
        })
    })?
}

/// Which process of the host has a socket is for root to know.
fn starved(flow: &Flow, socket: &HostSocket, owner: u32) -> FlowClaimError {
    let process = if owner == ROOT { socket.process() } else { None };
    let protocol = name_of(socket.protocol);
    FlowClaimError::HostSocket { flow: Box::new(*flow), protocol, address: socket.local, process }
}

/// The error for this user, which does not see the ports of others.
fn told(uplink: &UplinkState, asker: u32, error: FlowsError) -> FlowClaimError {
    let (flow, other, port) = match error {
        FlowsError::Taken { flow, other, port } => (flow, other, port),
        other => return FlowClaimError::Refused(other),
    };
    let holder = uplink.port(port).map(|(_, holder)| holder);
    let visible = holder.filter(|holder| asker == ROOT || asker == holder.plan.spec.owner);
    let (holder, other) = match visible {
        Some(holder) => (format!("port `{}`", holder.plan.name), Some(other)),
        None => ("another user's port".into(), None),
    };
    FlowClaimError::Taken { flow, other, holder, uplink: uplink.nic.info.device.clone() }
}

//! Opens a port, step by step, and closes it: what all kinds of ports have in common.

use std::collections::BTreeSet;
use std::sync::Arc;

use xsknet_bpf::{Group, LastCounters, PortId, Refusal};
use xsknet_filter::Flow;
use xsknet_xsk::Layout;

use crate::attempt::Attempt;
use crate::build::steer;
use crate::conflict_check::ConflictCheck;
use crate::datapath::{SharedDatapath, read, write};
use crate::error::{CloseError, FlowClaimError, GroupError, OpenPortError, StepError};
use crate::explained::Explained;
use crate::flow_claims::{FlowChange, change_flows};
use crate::group_changes::{GroupChange, change_groups, forget_groups};
use crate::ids::PortKey;
use crate::info::PortInfo;
use crate::journal::Scope;
use crate::kernel_port::KernelPort;
use crate::lingering::Retained;
use crate::plan::{HostView, Plan};
use crate::receive_filters::{let_in, let_out};
use crate::rings::PortRings;
use crate::selftest::Trial;
use crate::spec::PortSpec;
use crate::statistics::PortStatistics;
use crate::tap_changes::{forget_tap, start_tap};
use crate::uplink_state::UplinkState;

/// A port that is open until this is closed or dropped.
#[derive(Debug)]
pub(crate) struct OpenPort {
    pub(crate) uplink: Arc<UplinkState>,
    pub(crate) info: PortInfo,
    /// What other processes may keep of it.
    pub(crate) retained: Option<Retained>,
    scope: Scope,
    is_open: bool,
}

impl OpenPort {
    /// Builds a port by `build`, steers its frames to it, and has `prove` check that it works. Others may do the
    /// same meanwhile. `layout` is that of its UMEM, where it is known.
    pub(crate) fn open<T>(
        uplink: Arc<UplinkState>,
        mut spec: PortSpec,
        layout: Option<&Layout>,
        build: impl FnOnce(Plan, &UplinkState, &SharedDatapath) -> Result<(KernelPort, PortInfo, T), OpenPortError>,
        prove: impl FnOnce(&Trial<'_>, &mut T) -> Result<(), OpenPortError>,
    ) -> Result<(Self, T), OpenPortError> {
        let nic = &uplink.nic;
        let step = |cause: StepError| nic.step(cause);
        let work = uplink.work();
        let turn = nic.context.admission.open(spec.owner, spec.neighbour_traffic());
        spec.check_reception()?;
        uplink.check_link()?;
        uplink.check().map_err(step)?;
        let host = HostView::look(&nic.context, nic.info.index).map_err(|cause| nic.step(cause))?;
        // One that the daemon drew is nobody's.
        let is_mac_given = spec.mac.is_some();
        let (flows, override_host) = (std::mem::take(&mut spec.flows), spec.override_host);
        let groups = std::mem::take(&mut spec.groups);
        let (plan, claim, datapath) = uplink.claim(&host, spec, layout)?;
        let (id, key, scope) = (plan.id, plan.key, plan.scope);
        nic.context.opened(scope);
        let make = || -> Result<_, OpenPortError> {
            if is_mac_given
                && read(&datapath).has_heard(claim.mac.octets(), claim.vlan).map_err(|cause| nic.step(cause))?
            {
                let (mac, uplink) = (claim.mac, nic.info.device.clone());
                return Err(OpenPortError::MacTaken { mac, uplink, holder: "a neighbour".into() });
            }
            let vlan = let_in(&uplink, id, &claim).map_err(step)?;
            // The port is built while the neighbours think. Without addresses there is nothing to ask for.
            let conflicts = (!claim.addresses.is_empty()).then(|| ConflictCheck::begin(nic, &claim));
            let (port, mut info, mut made) = build(plan, &uplink, &datapath)?;
            info.attempts.extend(vlan);
            match &conflicts {
                Some(Ok(conflicts)) => conflicts.finish(nic)?,
                Some(Err(attempt)) => info.attempts.push(attempt.clone()),
                None => {}
            }
            let port = Arc::new(port);
            uplink.publish(&port);
            steer(nic, &datapath, &port).map_err(step)?;
            let trial = Trial { uplink: &uplink, datapath: &datapath, port: &port, info: &info };
            prove(&trial, &mut made)?;
            // Last: a port that does not work takes nothing from the host.
            if !flows.is_empty() {
                change_flows(&uplink, (id, key), FlowChange::Claim, &flows, override_host)?;
            }
            if !groups.is_empty() {
                info.attempts.extend(change_groups(&uplink, (id, key), GroupChange::Join, &groups)?);
                info.groups = groups;
            }
            start_tap(&uplink, &port)?;
            if let Some(Ok(conflicts)) = conflicts {
                info.attempts.extend(conflicts.announce(nic, &info.addresses).err());
            }
            Ok((info, made))
        };
        let made = make();
        // Undoing takes another one.
        drop(turn);
        let (info, made) = made.inspect_err(|_| {
            // Before another port gets this number and the names that go with it. What cannot be undone stays in the
            // journal; the first error is the one to report.
            let _ = unmake(&uplink, id, key, scope, None);
        })?;
        drop(work);
        Ok((Self { uplink, info, retained: None, scope, is_open: true }, made))
    }

    pub(crate) fn statistics(&self) -> Result<PortStatistics, StepError> {
        self.uplink.statistics_of(self.info.id)
    }

    pub(crate) fn explain(&self, frame: &[u8]) -> Result<Option<Explained>, StepError> {
        self.uplink.explain_sending(self.info.id, frame)
    }

    pub(crate) fn refusals(&self) -> Result<Option<Vec<Refusal>>, StepError> {
        self.uplink.refusals(self.info.id)
    }

    pub(crate) fn change_flows(
        &self,
        change: FlowChange,
        flows: &[Flow],
        override_host: bool,
    ) -> Result<(), FlowClaimError> {
        let _work = self.uplink.work();
        change_flows(&self.uplink, (self.info.id, self.info.key), change, flows, override_host)
    }

    pub(crate) fn change_groups(
        &self,
        change: GroupChange,
        groups: &BTreeSet<Group>,
    ) -> Result<Vec<Attempt>, GroupError> {
        let _work = self.uplink.work();
        change_groups(&self.uplink, (self.info.id, self.info.key), change, groups)
    }

    pub(crate) fn close(mut self) -> Result<(), CloseError> {
        self.end()
    }

    /// Once: another port may have the number afterwards.
    fn end(&mut self) -> Result<(), CloseError> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        let _work = self.uplink.work();
        unmake(&self.uplink, self.info.id, self.info.key, self.scope, self.retained.take())
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("xsknet: port `{}`: {error}: {}", self.info.name, error.cause);
        }
    }
}

/// Undoes a port, whole or half made. The caller holds [`UplinkState::work`]. `retained` is what its owner may hold on
/// to, where that is not this process.
fn unmake(
    uplink: &UplinkState,
    id: PortId,
    key: PortKey,
    scope: Scope,
    retained: Option<Retained>,
) -> Result<(), CloseError> {
    let context = &*uplink.nic.context;
    let (datapath, port) = match uplink.lock().as_mut() {
        // It went with its uplink.
        None => {
            context.lingering.report_gone(key);
            return Ok(());
        }
        Some(managed) => (Arc::clone(&managed.datapath), managed.ports.remove(&id)),
    };
    let mut failed = None;
    let mut programs = Vec::new();
    // First nothing more is steered to the port, then nothing more comes from it, then it goes.
    if let Some(port) = port {
        programs.extend(port.queues.iter().map(|queue| Arc::clone(&queue.program)));
        let removed = write(&datapath).remove_port(&port.entry());
        context.passed("the port's map entries are gone");
        // Its flows are gone: the host may have their packets again.
        context.placeholders().free(key);
        // Before the last reading: programs that were under way count as well.
        let uninstalled = port.rings.as_deref().map_or(Ok(()), PortRings::uninstall);
        // Counters that cannot be read any more are not a reason to keep the port.
        let last = port.statistics(context).unwrap_or_default();
        match removed {
            Ok(LastCounters { guard, copies }) => {
                if let Some(managed) = uplink.lock().as_mut() {
                    managed.closed += PortStatistics { guard, copies, ..last };
                }
            }
            Err(cause) => failed = Some(StepError::from(cause)),
        }
        failed = failed.or(uninstalled.err());
        let needs_copy = read(&datapath).needs_copy();
        failed = failed.or(forget_groups(uplink, id, needs_copy).err());
        failed = failed.or(forget_tap(uplink, id).err());
        let sockets = port.queues.iter().map(|queue| &queue.socket);
        match retained {
            Some(retained) => context.lingering.watch(key, sockets, retained),
            None => context.lingering.report_gone(key),
        }
    }
    if let Err(cause) = let_out(uplink, id) {
        failed = Some(cause);
    }
    let undone = context.undo(scope);
    // The inner ends keep their places at the program as long as there are the devices.
    drop(programs);
    if let Some(managed) = uplink.lock().as_mut() {
        match &undone {
            Ok(()) => managed.claims.give_back(id),
            Err(_) => managed.claims.spoil(id),
        }
    }
    undone?;
    match failed {
        None => Ok(()),
        Some(cause) => Err(CloseError { left: 1, what: "a map entry or a filter of the NIC".into(), cause }),
    }
}

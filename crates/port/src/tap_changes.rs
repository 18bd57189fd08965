//! Makes an open port a tap, and takes back what an uplink has for one.

use xsknet_bpf::PortId;
use xsknet_link::Promiscuity;

use crate::copiers::{Copier, attach_copier, detach_copier_unless};
use crate::datapath::{read, write};
use crate::error::{StepError, TapRefused};
use crate::kernel_port::KernelPort;
use crate::spec::TapWish;
use crate::uplink_state::UplinkState;

/// Has a port get its copies, if it is a tap. The caller holds [`UplinkState::work`].
pub(crate) fn start_tap(uplink: &UplinkState, port: &KernelPort) -> Result<(), TapRefused> {
    let Some(TapWish { tap, promiscuous }) = &port.plan.spec.tap else { return Ok(()) };
    let nic = &uplink.nic;
    let closed = || TapRefused::UplinkClosed { uplink: nic.info.device.clone() };
    let mut state = uplink.taps();
    // First what has frames come in, so that a tap that is open gets all of them.
    if *promiscuous {
        let switched = nic.context.host.run(|| Promiscuity::switch_on(nic.info.index))?;
        let on = switched.map_err(|cause| StepError::Io { attempt: "have the NIC receive all frames", cause })?;
        state.promiscuous.insert(port.plan.id, on);
        nic.context.passed("the NIC receives what is for other stations");
    }
    if tap.sent {
        attach_copier::<TapRefused>(uplink, &mut state.copy, Copier::Taps)?.ok_or_else(closed)?;
    }
    let (datapath, _) = uplink.ports().ok_or_else(closed)?;
    write(&datapath).start_tap(&port.entry(), tap)?;
    nic.context.passed("the tap gets copies");
    Ok(())
}

/// Takes back what an uplink has for a tap that is being closed, whose entries are gone from the tables.
pub(crate) fn forget_tap(uplink: &UplinkState, id: PortId) -> Result<(), StepError> {
    let mut state = uplink.taps();
    state.promiscuous.remove(&id);
    let Some((datapath, _)) = uplink.ports() else { return Ok(()) };
    let needed = read(&datapath).needs_tap();
    detach_copier_unless(needed, uplink, &mut state.copy, Copier::Taps)
}

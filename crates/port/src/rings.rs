//! BPF rings of a port: whether it can have them, and what of them its uplink's programs have.

use std::sync::Arc;

use xsknet_bpf::contract::{RING_CHUNK, RING_MAX_OFFSET, RING_ROOM, RING_SLOTS};
use xsknet_bpf::{Mode, RingCounters, RingMaps, RingRange, RingsEntry};
use xsknet_xsk::{BindRequest, HugePages, Layout, RingName};

use crate::attempt::Attempt;
use crate::datapath::{SharedDatapath, read, write};
use crate::error::{OpenPortError, StepError};
use crate::guard_mode::guard_mode;
use crate::mtu::HEADERS;
use crate::nic::Nic;
use crate::spec::PortSpec;

/// The longest MTU: a frame may have a second VLAN tag, which counts into its port's MTU, and one that is free.
pub(crate) const MAX_MTU: u32 = RING_ROOM - HEADERS;

/// What a port with BPF rings has of its uplink's programs, until it is dropped.
#[derive(Debug)]
pub(crate) struct PortRings {
    datapath: SharedDatapath,
    range: RingRange,
    /// One for each queue.
    pub(crate) maps: Vec<RingMaps>,
    pub(crate) rx_slots: u32,
    pub(crate) tx_slots: u32,
    offset: u32,
}

/// Why a port of these options cannot have BPF rings, in words.
pub(crate) fn obstacle(nic: &Nic, spec: &PortSpec, mtu: u32) -> Option<String> {
    let layout = &spec.layout;
    let wrong = |what: String| Some(format!("BPF rings take {what}"));
    if layout.frame_size() != RING_CHUNK {
        return wrong(format!("chunks of {RING_CHUNK} bytes, not of {}", layout.frame_size()));
    }
    if layout.frame_offset() > RING_MAX_OFFSET {
        let most = RING_MAX_OFFSET - xsknet_xsk::XDP_PACKET_HEADROOM;
        return wrong(format!("a headroom of up to {most} bytes, not of {}", layout.headroom()));
    }
    if mtu > MAX_MTU {
        return wrong(format!("an MTU of up to {MAX_MTU}, not of {mtu}"));
    }
    let asked = [
        (spec.multi_buffer == Some(true), "no packets in several chunks (multi-buffer)"),
        (spec.huge_pages == HugePages::Require, "no huge pages"),
        (spec.bind == BindRequest::ZeroCopy, "no zero-copy"),
        (spec.busy_poll.is_some(), "no busy polling"),
    ];
    if let Some((_, what)) = asked.into_iter().find(|(is_asked, _)| *is_asked) {
        return wrong(what.into());
    }
    // Nothing leaves a tap.
    if spec.tap.is_some() {
        return None;
    }
    let mut attempts = Vec::new();
    match guard_mode(nic, mtu, &mut attempts) {
        Mode::Skb => {
            let told = attempts.pop().map(|attempt| attempt.why);
            let why = told.unwrap_or_else(|| format!("the program of `{}` runs in skb mode", nic.info.device));
            Some(format!("what leaves BPF rings is redirected to the NIC: {why}"))
        }
        _ => None,
    }
}

impl PortRings {
    /// Makes the memory of all queues, which the programs find once it is [installed](Self::install).
    pub(crate) fn new(
        datapath: &SharedDatapath,
        nic: &Nic,
        layout: &Layout,
        queues: u32,
    ) -> Result<Self, OpenPortError> {
        let refused = |why: String| unavailable(nic, why);
        let slots = |ring| layout.ring(ring).min(RING_SLOTS);
        let (rx_slots, tx_slots, offset) = (slots(RingName::Rx), slots(RingName::Tx), layout.frame_offset());
        let maps = (0..queues).map(|_| RingMaps::new(layout.frames())).collect::<Result<_, _>>();
        let maps = maps.map_err(|cause| refused(format!("the kernel made no memory for them: {cause}")))?;
        let range = write(datapath).claim_rings(queues).map_err(|error| refused(chain(&error)))?;
        Ok(Self { datapath: Arc::clone(datapath), range, maps, rx_slots, tx_slots, offset })
    }

    /// Has the programs find the memory. It takes as long as all CPUs take to leave whatever programs they are in.
    pub(crate) fn install(&self, nic: &Nic) -> Result<(), OpenPortError> {
        let installed = read(&self.datapath).install_rings(self.range, &self.maps);
        installed.map_err(|error| unavailable(nic, chain(&error)))
    }

    pub(crate) fn range(&self) -> RingRange {
        self.range
    }

    pub(crate) fn entry(&self) -> RingsEntry {
        RingsEntry { range: self.range, rx_slots: self.rx_slots, tx_slots: self.tx_slots, offset: self.offset }
    }

    pub(crate) fn counters(&self) -> Result<RingCounters, StepError> {
        Ok(read(&self.datapath).ring_counters(self.range)?)
    }

    /// From now on no program reads or writes the client's memory. The port's table entries are gone already.
    pub(crate) fn uninstall(&self) -> Result<(), StepError> {
        Ok(read(&self.datapath).uninstall_rings(self.range)?)
    }
}

impl Drop for PortRings {
    fn drop(&mut self) {
        // A second time does nothing. Places that cannot be given back stay taken until the uplink is released.
        if self.uninstall().is_ok() {
            let _ = write(&self.datapath).release_rings(self.range);
        }
    }
}

pub(crate) fn unavailable(nic: &Nic, why: String) -> OpenPortError {
    OpenPortError::RingsUnavailable { uplink: nic.info.device.clone(), why }
}

pub(crate) fn told(why: String) -> Attempt {
    Attempt { hook: "rings", step: "bpf".into(), errno: None, why: format!("not taken: {why}") }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

//! Does again what others, or a driver, have undone about a NIC and its ports: programs, offloads, VLANs.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use xsknet_bpf::{Attachment, Datapath, Obtained};
use xsknet_link::Offload;

use crate::copiers::{Copier, repair_copier};
use crate::datapath::{SharedDatapath, read};
use crate::delivery::{Sample, Stalled};
use crate::error::StepError;
use crate::offloads;
use crate::repair::{Part, Repair, TAKEN_OFF};
use crate::uplink_state::UplinkState;
use crate::vlans::{self, VlanAccess};

impl UplinkState {
    /// Whether frames that come in are seen, and as they came: test frames would be seen without that, since they run
    /// the program wherever it is.
    pub(crate) fn check(&self) -> Result<(), StepError> {
        for repair in self.repair_own().into_iter().chain(self.hold_offloads()) {
            repair.outcome?;
            self.repaired.lock().unwrap_or_else(PoisonError::into_inner).push(Repair { outcome: Ok(()), ..repair });
        }
        Ok(())
    }

    /// Repeats what others have undone on the NIC or the pairs. Returns what that was, and whether it could be done.
    pub(crate) fn repair(&self) -> Vec<Repair> {
        let mut repairs = std::mem::take(&mut *self.repaired.lock().unwrap_or_else(PoisonError::into_inner));
        repairs.extend(self.repair_own().or_else(|| self.check_delivery()));
        repairs.extend(self.hold_offloads());
        repairs.extend(self.hold_vlans());
        repairs.extend(self.repair_copiers());
        let Some((datapath, ports)) = self.ports() else { return repairs };
        for port in ports {
            // One that is being closed loses its programs.
            let is_open = || self.has(&port);
            repairs.extend(port.repair(&self.nic.context, &datapath).into_iter().filter(|_| is_open()));
        }
        repairs
    }

    /// Switches offloads off again that others have switched on and that break the isolation of VLANs.
    pub(crate) fn hold_offloads(&self) -> Vec<Repair> {
        if !self.is_open() {
            return Vec::new();
        }
        let context = &self.nic.context;
        let Ok(device) = context.host.links.by_index(self.nic.info.index) else { return Vec::new() };
        let held = offloads::hold_off(context, &device.name, Offload::VlanRx).into_iter();
        held.map(|(name, outcome)| Repair { part: Part::Offload { name }, outcome }).collect()
    }

    /// Attaches the NIC's program again that others have detached.
    fn repair_own(&self) -> Option<Repair> {
        let (attachment, datapath) = self.attached()?;
        let mut attachment = attachment.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(attachment.is_attached(), Ok(true)) {
            return None;
        }
        self.attach_again(&mut attachment, &datapath, TAKEN_OFF.into())
    }

    /// Attaches the programs that copy again that others have detached.
    fn repair_copiers(&self) -> impl Iterator<Item = Repair> {
        let copy = repair_copier(self, &mut self.groups().copy, Copier::Groups);
        let tap = repair_copier(self, &mut self.taps().copy, Copier::Taps);
        copy.into_iter().chain(tap)
    }

    fn attached(&self) -> Option<(Arc<Mutex<Attachment>>, SharedDatapath)> {
        self.lock().as_ref().map(|managed| (Arc::clone(&managed.attachment), Arc::clone(&managed.datapath)))
    }

    fn attach_again(&self, attachment: &mut Attachment, datapath: &RwLock<Datapath>, why: String) -> Option<Repair> {
        let (host, info) = (&self.nic.context.host, &self.nic.info);
        // Without the device it had to go.
        let device = host.links.by_index(info.index).ok()?.name;
        let target = xsknet_bpf::Device { name: device.to_string(), index: info.index.get() };
        let mode = info.mode.into();
        let fresh = host.run(|| read(datapath).attach_uplink(&target, mode));
        let outcome = fresh.and_then(|fresh| Ok(attachment.replace(fresh?)?));
        Some(Repair { part: Part::Program { key: None, program: "uplink", device, why }, outcome })
    }

    /// Looks whether the program sees what the NIC receives, and attaches it anew where the driver has stopped running
    /// it. In skb mode it is the stack that runs it, and that loses none; there a frame may come that the program is
    /// not to see.
    pub(crate) fn check_delivery(&self) -> Option<Repair> {
        let (attachment, datapath) = self.attached().filter(|_| self.nic.info.mode == Obtained::Native)?;
        let device = self.nic.context.host.links.by_index(self.nic.info.index).ok()?;
        let (received, carrier, carrier_changes) = (device.stats.rx_packets, device.lower_up, device.carrier_changes);
        let seen = read(&datapath).uplink_counters().ok()?.seen();
        let mut delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = delivery.look(Sample { received, seen, carrier, carrier_changes, mtu: device.mtu })?;
        let why = |frames| format!("the driver had stopped running it: {frames} frames arrived that it did not see");
        match stalled {
            Stalled::Found(frames) => {
                let mut attachment = attachment.lock().unwrap_or_else(PoisonError::into_inner);
                // A refusal shows when it is attached again.
                let _ = attachment.take_off();
                self.attach_again(&mut attachment, &datapath, why(frames))
            }
            Stalled::Still(frames) => {
                let device = device.name;
                let part = Part::Program { key: None, program: "uplink", device: device.clone(), why: why(frames) };
                Some(Repair { part, outcome: Err(StepError::Deaf { device, frames }) })
            }
        }
    }

    /// Lets VLANs of ports in again that were filtered out: a device of the host that requested one is gone, or a
    /// filter was switched on.
    fn hold_vlans(&self) -> Vec<Repair> {
        let Some(ids) = self.lock().as_ref().map(|managed| managed.filters.vlans()) else { return Vec::new() };
        ids.into_iter().filter_map(|id| self.hold_vlan(id)).collect()
    }

    fn hold_vlan(&self, id: u16) -> Option<Repair> {
        // Held, so that the last port of it does not go meanwhile.
        let mut managed = self.lock();
        let managed = managed.as_mut().filter(|managed| managed.filters.vlans().contains(&id))?;
        let before = managed.vlan_access.get(&id).cloned();
        // What was refused once would be each second.
        if matches!(before, Some(VlanAccess::Promiscuous(_) | VlanAccess::Shut(_))) {
            return None;
        }
        // The loss of a NIC is reported elsewhere.
        let access = vlans::let_in(&self.nic, id).ok()?;
        managed.vlan_access.insert(id, access.clone());
        let outcome = match access {
            VlanAccess::Shut(why) => Err(StepError::VlanShut { id, why }),
            VlanAccess::Open | VlanAccess::Theirs => return None,
            same if before.as_ref() == Some(&same) => return None,
            _ => Ok(()),
        };
        Some(Repair { part: Part::Vlan { id }, outcome })
    }
}

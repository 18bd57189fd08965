//! What an uplink is made of while it is managed, shared by its handles, its ports and the watch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use xsknet_bpf::contract::RING_ROOM;
use xsknet_bpf::{Attachment, Counter, Datapath, Explanation, Injector, PortId, Refusal, Rule};
use xsknet_link::{IfIndex, LinkError, MacAddr};
use xsknet_xsk::Layout;

use crate::claims::{Claim, Claims};
use crate::conflict_check::announce_again;
use crate::datapath::{SharedDatapath, read, write};
use crate::delivery::Delivery;
use crate::driver_losses::NicLosses;
use crate::error::{CloseError, OpenPortError, StepError};
use crate::explained::Explained;
use crate::filters::{Entry, Filters};
use crate::groups::GroupState;
use crate::ids::PortKey;
use crate::info::NicState;
use crate::kernel_port::KernelPort;
use crate::loss::Loss;
use crate::nic::Nic;
use crate::plan::{HostView, Plan};
use crate::repair::Repair;
use crate::spec::PortSpec;
use crate::statistics::{PortStatistics, UplinkStatistics};
use crate::taps::TapState;
use crate::vlans::VlanAccess;

/// An uplink.
#[derive(Debug)]
pub(crate) struct UplinkState {
    pub(crate) nic: Nic,
    /// Repairs that were not reported yet.
    pub(crate) repaired: Mutex<Vec<Repair>>,
    /// Whether the NIC hands its program what it receives.
    pub(crate) delivery: Mutex<Delivery>,
    /// The name of the NIC's driver.
    driver: String,
    /// The NIC's own losses before it was ours.
    baseline: NicLosses,
    /// Held for moments alone: whatever holds it waits for one answer of the kernel at most.
    managed: Mutex<Option<Managed>>,
    /// Held for a change of groups, which may load a program.
    groups: Mutex<GroupState>,
    /// Likewise for taps.
    taps: Mutex<TapState>,
    /// Held for reading while a port is made or unmade, side by side; for writing to end the uplink, which waits for
    /// them.
    work: RwLock<()>,
}

/// What exists while the NIC is managed.
#[derive(Debug)]
pub(crate) struct Managed {
    pub(crate) datapath: SharedDatapath,
    pub(crate) filters: Filters,
    /// What the NIC lets in for each port.
    pub(crate) let_in: BTreeMap<PortId, Vec<Entry>>,
    /// What ports have, those included that are just being opened or closed.
    pub(crate) claims: Claims,
    /// How the VLANs of ports get in.
    pub(crate) vlan_access: BTreeMap<u16, VlanAccess>,
    /// The ports that frames are steered to.
    pub(crate) ports: BTreeMap<PortId, Arc<KernelPort>>,
    /// What has frames come in at a NIC whose program runs in skb mode, once it was needed.
    injector: Option<Arc<Injector>>,
    /// The last readings of the ports that were here.
    pub(crate) closed: PortStatistics,
    /// Dropped, not detached: the pin keeps the program until the journal's undo removes it. With a lock of its own,
    /// since it may have to wait for the kernel's of all devices (RTNL).
    pub(crate) attachment: Arc<Mutex<Attachment>>,
}

impl Managed {
    /// A NIC without ports.
    pub(crate) fn new(datapath: Datapath, attachment: Attachment, claims: Claims) -> Self {
        Self {
            datapath: Arc::new(RwLock::new(datapath)),
            filters: Filters::default(),
            let_in: BTreeMap::new(),
            claims,
            vlan_access: BTreeMap::new(),
            ports: BTreeMap::new(),
            injector: None,
            closed: PortStatistics::default(),
            attachment: Arc::new(Mutex::new(attachment)),
        }
    }

    /// One more user of something that the NIC lets in; true where the NIC has to be told.
    pub(crate) fn need(&mut self, id: PortId, entry: Entry) -> bool {
        self.let_in.entry(id).or_default().push(entry);
        self.filters.need(entry)
    }
}

impl UplinkState {
    pub(crate) fn new(nic: Nic, managed: Managed) -> Self {
        let (host, info) = (&nic.context.host, &nic.info);
        let driver = host.ethtool.driver(&info.device).unwrap_or_default();
        let baseline = NicLosses::read(host, info.index, &driver, info.mode, 0);
        let (repaired, delivery, groups, taps) = Default::default();
        let (managed, work) = (Mutex::new(Some(managed)), RwLock::new(()));
        Self { nic, repaired, delivery, driver, baseline, managed, groups, taps, work }
    }

    /// A panic while a port was opened or closed must not keep the others from being closed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Managed>> {
        self.managed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn groups(&self) -> MutexGuard<'_, GroupState> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn taps(&self) -> MutexGuard<'_, TapState> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while a port is made or unmade.
    pub(crate) fn work(&self) -> RwLockReadGuard<'_, ()> {
        self.work.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Forgets the live objects, and leaves the undoing to the instance's own. Waits for ports that are
    /// being made or unmade.
    pub(crate) fn let_go(&self) {
        let _alone = self.work.write().unwrap_or_else(PoisonError::into_inner);
        self.forget();
    }

    /// The programs go with the rest: the host may have the packets of all flows again.
    fn forget(&self) -> bool {
        *self.groups() = GroupState::default();
        *self.taps() = TapState::default();
        let managed = self.lock().take();
        for port in managed.iter().flat_map(|managed| managed.ports.values()) {
            self.nic.context.placeholders().free(port.plan.key);
        }
        managed.is_some()
    }

    pub(crate) fn release(&self) -> Result<(), CloseError> {
        let _alone = self.work.write().unwrap_or_else(PoisonError::into_inner);
        if self.forget() { self.nic.context.undo(self.nic.scope) } else { Ok(()) }
    }

    /// Looks at the NIC, and has everything follow that depends on it. What is gone stays as it was last seen.
    pub(crate) fn refresh(&self) -> NicState {
        let before = self.nic.state();
        let Ok(device) = self.nic.context.host.links.by_index(self.nic.info.index) else { return before };
        let Some(now) = NicState::of(&device) else { return before };
        if now.mtu != before.mtu || now.mac != before.mac {
            self.follow(&before, &now);
        }
        // Not held meanwhile: planning a port looks here, too, while it holds what `follow` needs.
        self.nic.set_state(now.clone());
        now
    }

    /// The guards let out what the NIC can send, and the host goes on taking in what is sent to it at the outer ends.
    fn follow(&self, before: &NicState, now: &NicState) {
        let Some((datapath, ports)) = self.ports() else { return };
        let device = &self.nic.info.device;
        let set = write(&datapath).set_uplink_mtu(now.mtu);
        if let Err(error) = set {
            eprintln!("xsknet: uplink `{device}`: its guards do not know the MTU {}: {error}", now.mtu);
        }
        let set = write(&datapath).set_uplink_mac(now.mac.octets());
        if let Err(error) = set {
            eprintln!("xsknet: uplink `{device}`: its guards do not know the MAC {}: {error}", now.mac);
        }
        // The neighbours would go on sending to the old one.
        let moved = ports.iter().filter(|port| now.mac != before.mac && port.plan.spec.has_uplink_mac());
        for Plan { name, vlan, addresses, .. } in moved.map(|port| &port.plan) {
            if let Err(attempt) = announce_again(&self.nic, now.mac, *vlan, addresses) {
                eprintln!("xsknet: port `{name}`: {}: {}", attempt.step, attempt.why);
            }
        }
        for outer in ports.iter().flat_map(|port| port.queues.iter().map(|queue| queue.outer_index)) {
            // It may be on its way out.
            let _ = self.nic.context.host.links.set_mac(outer, now.mac);
        }
    }

    /// Whether frames could leave now. One that is gone is found out later.
    pub(crate) fn check_link(&self) -> Result<(), OpenPortError> {
        let state = match self.refresh() {
            NicState { up: false, .. } => "is down",
            NicState { carrier: false, .. } => "has no carrier",
            _ => return Ok(()),
        };
        Err(OpenPortError::LinkDown { uplink: self.nic.info.device.clone(), state })
    }

    /// Takes what a port wants, and gives what it is built with. `layout` is that of its UMEM, where it is known.
    pub(crate) fn claim(
        &self,
        host: &HostView,
        spec: PortSpec,
        layout: Option<&Layout>,
    ) -> Result<(Plan, Claim, SharedDatapath), OpenPortError> {
        let mut managed = self.lock();
        let Some(managed) = managed.as_mut() else {
            return Err(OpenPortError::UplinkClosed { uplink: self.nic.info.device.clone() });
        };
        let (plan, claim) = Plan::new(&self.nic, &mut managed.claims, host, spec, layout)?;
        Ok((plan, claim, Arc::clone(&managed.datapath)))
    }

    /// From now on the port is one of the uplink's.
    pub(crate) fn publish(&self, port: &Arc<KernelPort>) {
        if let Some(managed) = self.lock().as_mut() {
            managed.ports.insert(port.plan.id, Arc::clone(port));
        }
    }

    /// The port of this number.
    pub(crate) fn port(&self, id: PortId) -> Option<(SharedDatapath, Arc<KernelPort>)> {
        let managed = self.lock();
        let managed = managed.as_ref()?;
        Some((Arc::clone(&managed.datapath), Arc::clone(managed.ports.get(&id)?)))
    }

    /// Whether it is still one of the uplink's: another one may have its number by now.
    pub(crate) fn has(&self, port: &Arc<KernelPort>) -> bool {
        self.port(port.plan.id).is_some_and(|(_, its)| Arc::ptr_eq(&its, port))
    }

    pub(crate) fn ports(&self) -> Option<(SharedDatapath, Vec<Arc<KernelPort>>)> {
        let managed = self.lock();
        let managed = managed.as_ref()?;
        Some((Arc::clone(&managed.datapath), managed.ports.values().cloned().collect()))
    }

    /// Of the ports that frames are steered to.
    pub(crate) fn keys(&self) -> Vec<PortKey> {
        self.ports().map_or_else(Vec::new, |(_, ports)| ports.iter().map(|port| port.plan.key).collect())
    }

    /// The open ports that have this address.
    pub(crate) fn ports_with(&self, address: IpAddr) -> Vec<PortKey> {
        let Some((_, ports)) = self.ports() else { return Vec::new() };
        let having = ports.iter().filter(|port| port.plan.addresses.contains(&address));
        having.map(|port| port.plan.key).collect()
    }

    /// Whether some port has this MAC.
    pub(crate) fn is_of_a_port(&self, mac: MacAddr) -> bool {
        self.lock().as_ref().is_some_and(|managed| managed.claims.has_mac(mac))
    }

    /// Keeps a duplicate of a client's own socket with the port, for its statistics. False: the port is closed.
    pub(crate) fn share_socket(&self, id: PortId, socket: OwnedFd) -> bool {
        self.port(id).is_some_and(|(_, port)| {
            let [queue] = port.queues.as_slice() else { unreachable!("a pinned port has one queue") };
            queue.hold(socket);
            true
        })
    }

    /// Sends frames as if the NIC had received them.
    pub(crate) fn injector(&self) -> Result<Arc<Injector>, StepError> {
        if let Some(there) = self.lock().as_ref().and_then(|managed| managed.injector.clone()) {
            return Ok(there);
        }
        let loaded = Arc::new(Injector::load(self.nic.info.index.get())?);
        if let Some(managed) = self.lock().as_mut() {
            managed.injector = Some(Arc::clone(&loaded));
        }
        Ok(loaded)
    }

    /// What is gone of the devices that `suspect` picks, each with its number.
    pub(crate) fn losses_among(&self, suspect: &dyn Fn(IfIndex) -> bool) -> Vec<(IfIndex, Loss)> {
        let Some((_, ports)) = self.ports() else { return Vec::new() };
        let (device, own, links) = (&self.nic.info.device, self.nic.info.index, &self.nic.context.host.links);
        let gone = |index| suspect(index) && matches!(links.by_index(index), Err(LinkError::DeviceMissing { .. }));
        let uplink = gone(own).then(|| (own, Loss::Uplink { device: device.clone() }));
        let ports = ports.iter().filter_map(|port| {
            let lost = port.queues.iter().map(|queue| queue.outer_index).find(|outer| gone(*outer))?;
            // One that was closed in the meantime had to go.
            if !self.has(port) {
                return None;
            }
            let change = port.client.as_ref().map(|client| client.missing());
            Some((lost, Loss::Port { uplink: device.clone(), key: port.plan.key, change }))
        });
        uplink.into_iter().chain(ports).collect()
    }

    pub(crate) fn statistics(&self) -> Result<UplinkStatistics, StepError> {
        let (datapath, closed) = match self.lock().as_ref() {
            Some(managed) => (Arc::clone(&managed.datapath), managed.closed),
            None => return Ok(UplinkStatistics::default()),
        };
        let datapath = read(&datapath);
        let (program, info) = (datapath.uplink_counters()?, &self.nic.info);
        // The driver is told to drop what was copied into a ring.
        let dropped = self.nic.seen_by_the_driver(program.dropped() + program.to_ring());
        let now = NicLosses::read(&self.nic.context.host, info.index, &self.driver, info.mode, dropped);
        let since = |now: Option<u64>, before: Option<u64>| now.map(|now| now.saturating_sub(before.unwrap_or(0)));
        Ok(UplinkStatistics {
            program,
            unattributed: datapath.unattributed_counters()?,
            transmit_drops: since(now.transmit_drops, self.baseline.transmit_drops),
            refused_redirects: since(now.refused_redirects, self.baseline.refused_redirects),
            announced: self.nic.announced(),
            closed,
        })
    }

    /// The names of the open ports, and what the kernel says of each.
    pub(crate) fn port_statistics(&self) -> Result<Vec<(String, PortStatistics)>, StepError> {
        let Some((datapath, ports)) = self.ports() else { return Ok(Vec::new()) };
        ports.iter().map(|port| Ok((port.plan.name.clone(), self.read_statistics(&datapath, port)?))).collect()
    }

    pub(crate) fn statistics_of(&self, id: PortId) -> Result<PortStatistics, StepError> {
        let Some((datapath, port)) = self.port(id) else { return Ok(PortStatistics::default()) };
        let read = self.read_statistics(&datapath, &port);
        // Closed while it was read.
        if read.is_err() && self.port(id).is_none() { Ok(PortStatistics::default()) } else { read }
    }

    /// What the uplink's program decides about a frame that arrives, and why. `None`: the uplink is closed.
    pub(crate) fn explain_arrival(&self, frame: &[u8]) -> Result<Option<Explained>, StepError> {
        let Some((datapath, ports)) = self.ports() else { return Ok(None) };
        let ingress = self.nic.info.index.get();
        let explain = || read(&datapath).explain_uplink(frame, ingress);
        let explanation = self.nic.context.host.run(explain)??;
        Ok(Some(Explained { explanation, uplink: self.nic.info.device.clone(), ports: keys_of(&ports) }))
    }

    /// What the guard decides about a frame that a port sends, and why. `None`: the port is closed.
    pub(crate) fn explain_sending(&self, id: PortId, frame: &[u8]) -> Result<Option<Explained>, StepError> {
        let Some((datapath, ports)) = self.ports() else { return Ok(None) };
        let Some(port) = ports.iter().find(|port| port.plan.id == id) else { return Ok(None) };
        // All its queue pairs send alike.
        let Some(queue) = port.queues.first() else { return Ok(None) };
        let ingress = queue.outer_index.get();
        let explanation = if port.rings.is_some() && frame.len() > RING_ROOM as usize {
            Explanation { counter: Counter::Malformed, rule: Rule::RingLength, to: None, steps: Vec::new() }
        } else {
            let explain = || read(&datapath).explain_guard(frame, ingress);
            self.nic.context.host.run(explain)??
        };
        Ok(Some(Explained { explanation, uplink: self.nic.info.device.clone(), ports: keys_of(&ports) }))
    }

    /// Samples of the frames that a port's guard refused since the last call. The first call has it take them. `None`:
    /// the port is closed.
    pub(crate) fn refusals(&self, id: PortId) -> Result<Option<Vec<Refusal>>, StepError> {
        let Some((datapath, _)) = self.port(id) else { return Ok(None) };
        if let Some(refusals) = read(&datapath).refusals(id)? {
            return Ok(Some(refusals));
        }
        read(&datapath).prepare_sampling(id)?;
        let mut datapath = write(&datapath);
        // Else another port of this id would begin with it.
        if self.port(id).is_none() {
            return Ok(None);
        }
        datapath.start_sampling(id)?;
        Ok(Some(Vec::new()))
    }

    fn read_statistics(&self, datapath: &RwLock<Datapath>, port: &KernelPort) -> Result<PortStatistics, StepError> {
        let pairs = port.statistics(&self.nic.context)?;
        let (guard, copies) = {
            let datapath = read(datapath);
            (datapath.guard_counters(port.plan.id)?, datapath.copy_counters(port.plan.id)?)
        };
        Ok(PortStatistics { guard, copies, ..pairs })
    }
}

fn keys_of(ports: &[Arc<KernelPort>]) -> BTreeMap<PortId, PortKey> {
    ports.iter().map(|port| (port.plan.id, port.plan.key)).collect()
}

/// The last handle gives the NIC back, as `release` does; a port is one too.
impl Drop for UplinkState {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            eprintln!("xsknet: uplink `{}`: {error}: {}", self.nic.info.device, error.cause);
        }
    }
}

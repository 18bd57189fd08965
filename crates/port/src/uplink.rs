//! An uplink: a card that the instance manages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak};

use xsknet_bpf::{Attachment, Counters, Datapath, DatapathOptions, Injector, Mode, Obtained, PortId, describe_program};
use xsknet_link::{Device, DeviceName, IfIndex, LinkError, MacAddr, Offload, XdpFeatures};
use xsknet_xsk::SharedSocket;

use crate::claims::{Claim, Claims};
use crate::drivers::CardLosses;
use crate::error::{CloseError, ManageError, OpenPortError, StepError};
use crate::filters::{Entry, Filters};
use crate::ground::{Ground, UPLINK_LINK};
use crate::hearing::{Deaf, Hearing, Round};
use crate::journal::{Change, Scope};
use crate::names::PinPath;
use crate::offloads;
use crate::pinned::{Client, PinnedPort, PinnedPortOptions};
use crate::pins;
use crate::plan::{HostView, Plan, Wanted};
use crate::port::{BrokeredPort, Port, PortKey, PortOptions};
use crate::remains::Kept;
use crate::room::{self, Member, Room};
use crate::shared::{self, SharedUmem};
use crate::statistics::{PortStatistics, UplinkStatistics};
use crate::tried::Tried;
use crate::vlans::{self, Way};
use crate::watch::Loss;

/// The programs and tables of an uplink, read side by side, and written for moments.
pub(crate) type SharedDatapath = Arc<RwLock<Datapath>>;

/// Which card, and how.
#[derive(Debug, Clone)]
pub struct UplinkOptions {
    /// The card, in the namespace of the thread that opened the instance.
    pub device: DeviceName,
    /// Where the card's program runs. The ports' programs follow it as far as the kernel lets them.
    pub mode: Mode,
}

/// What of a card others may change at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardState {
    /// Its name. An uplink goes by the one that it had when it was managed.
    pub name: DeviceName,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
    /// It has a carrier.
    pub carrier: bool,
}

impl CardState {
    /// `None`: it is no Ethernet device any more.
    fn of(card: &Device) -> Option<Self> {
        let Device { name, mac, mtu, up, lower_up, .. } = card;
        Some(Self { name: name.clone(), mac: (*mac)?, mtu: *mtu, up: *up, carrier: *lower_up })
    }
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct UplinkInfo {
    /// The card, by the name that it had when it became an uplink.
    pub device: DeviceName,
    /// Its number.
    pub index: IfIndex,
    /// Its MAC at that time: the names of ports are other MACs on another card.
    pub mac: MacAddr,
    /// The mode that the kernel granted.
    pub mode: Obtained,
    /// What was tried on the way.
    pub tried: Vec<Tried>,
    /// XDP features of the card before a program was attached; `None` where the kernel does not tell (before 6.3).
    pub features_before: Option<XdpFeatures>,
    /// The same afterwards: some drivers show them only then.
    pub features_after: Option<XdpFeatures>,
}

/// A card that is managed, until it is released, its instance is closed, or this and its last port are dropped.
#[derive(Debug)]
pub struct Uplink {
    state: Arc<UplinkState>,
}

#[derive(Debug)]
pub(crate) struct UplinkState {
    pub(crate) ground: Arc<Ground>,
    pub(crate) info: UplinkInfo,
    /// The card as it was last seen.
    card: Mutex<CardState>,
    /// What was repaired, and nobody was told of yet.
    repaired: Mutex<Vec<Repair>>,
    /// Whether its program hears.
    hearing: Mutex<Hearing>,
    /// The name of the card's driver.
    driver: String,
    /// The card's own losses before it was ours.
    baseline: CardLosses,
    /// Held for moments alone: nobody who has it waits for more than one answer of the kernel.
    open: Mutex<Option<OpenUplink>>,
    /// Read by all who make or unmake a port, side by side; written by who ends the uplink, and so waits for them.
    work: RwLock<()>,
}

/// What exists while the card is managed.
#[derive(Debug)]
pub(crate) struct OpenUplink {
    pub(crate) datapath: SharedDatapath,
    pub(crate) filters: Filters,
    /// What the card lets in for each port.
    pub(crate) let_in: BTreeMap<PortId, Vec<Entry>>,
    /// What ports have, those included that are just being opened or closed.
    claims: Claims,
    /// How the VLANs of ports get in.
    pub(crate) ways: BTreeMap<u16, Way>,
    /// The ports that frames are steered to.
    rooms: BTreeMap<PortId, Arc<Room>>,
    /// What has frames come in at a card whose program runs in skb mode, once it was needed.
    injector: Option<Arc<Injector>>,
    /// The last readings of the ports that were here.
    closed: PortStatistics,
    /// Frames that announced ports.
    announced: u64,
    /// Dropped, not detached: the pin keeps the program until the journal's undo removes it. With a lock of its own, since it may have to
    /// wait for the kernel's of all devices (RTNL).
    attachment: Arc<Mutex<Attachment>>,
}

/// What somebody had undone, and whether it is done again.
#[derive(Debug)]
pub(crate) struct Repair {
    pub(crate) part: Part,
    pub(crate) outcome: Result<(), StepError>,
}

/// What can be repaired.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// A program on its device.
    Program {
        /// The port whose pair it is; `None` for the card's own.
        key: Option<PortKey>,
        /// `"uplink"`, `"guard"` or `"port"`.
        program: &'static str,
        device: DeviceName,
        /// What had become of it: `somebody took it off`.
        why: String,
    },
    /// An offload of the card that has to be off.
    Offload { name: String },
    /// A VLAN that the card has to let in.
    Vlan { id: u16 },
}

/// What had become of a program that is off its device.
pub(crate) const TAKEN_OFF: &str = "somebody took it off";

impl Uplink {
    pub(crate) fn open(ground: Arc<Ground>, options: &UplinkOptions) -> Result<Self, ManageError> {
        let device = options.device.clone();
        let card = ground.host.links.by_name(&device).map_err(|error| match error {
            LinkError::DeviceMissing { .. } => ManageError::DeviceMissing { device: device.clone() },
            other => ManageError::Step { device: device.clone(), cause: other.into() },
        })?;
        // The loopback device has six zeros.
        let mac = card.mac.filter(|mac| mac.octets() != [0; 6]);
        let Some(mac) = mac else { return Err(ManageError::NotEthernet { device }) };
        if let Some(why) = card.deaf {
            return Err(ManageError::Deaf { device, why });
        }
        if let Some(there) = card.xdp.first() {
            if let Some(instance) = pins::owner(&ground.paths.all_pins(), there.program_id) {
                return Err(ManageError::AlreadyManaged { device, instance });
            }
            let program = describe_program(there.program_id).ok().flatten();
            let (name, tag) = program.map_or_else(Default::default, |program| (program.name, program.tag));
            let (id, mode) = (there.program_id, there.mode);
            return Err(ManageError::ForeignProgram { device, id, name, tag, mode });
        }
        let scope = Scope::Uplink { device };
        let opened = Self::attach(&ground, &scope, &card, mac, options);
        match opened {
            Ok((info, open)) => {
                let driver = ground.host.ethtool.driver(&info.device).unwrap_or_default();
                let baseline = losses(&ground, info.index, &driver, info.mode, 0);
                let seen = CardState::of(&card).expect("it has a MAC");
                let (card, open, work) = (Mutex::new(seen), Mutex::new(Some(open)), RwLock::new(()));
                let (repaired, hearing) = Default::default();
                let state = UplinkState { ground, info, card, repaired, hearing, driver, baseline, open, work };
                // The first look tells nothing; a link that goes away before the second is noticed by it.
                let _ = state.listen();
                Ok(Self { state: Arc::new(state) })
            }
            Err(error) => {
                let _ = ground.undo(&scope);
                Err(error)
            }
        }
    }

    fn attach(
        ground: &Ground,
        scope: &Scope,
        card: &Device,
        mac: MacAddr,
        options: &UplinkOptions,
    ) -> Result<(UplinkInfo, OpenUplink), ManageError> {
        let device = &options.device;
        let step = |cause| ManageError::Step { device: device.clone(), cause };
        let features = || ground.host.links.xdp_features(card.index).ok().flatten();
        let features_before = features();

        let folder = PinPath::uplink(device);
        let pins = ground.paths.pin(&folder);
        // The loader would use maps that it finds, and an earlier run may have left some that could not be removed.
        pins::remove(&pins).map_err(step)?;
        let mut datapath = ground
            .change(scope, Change::Pins { folder: folder.clone() }, || {
                let options = DatapathOptions { uplink_mtu: card.mtu, queue_seed: random(), pins: Some(&pins) };
                Ok(Datapath::load(options)?)
            })
            .map_err(|error| match error {
                StepError::Load(cause) => ManageError::Load { device: device.clone(), cause },
                other => step(other),
            })?;

        // A card that strips tags would show a frame of some VLAN as an untagged one, and so to a port of none.
        let mut tried = offloads::switch_off(ground, scope, card, Offload::VlanRx).map_err(step)?;

        let pin = folder.file(UPLINK_LINK);
        let attach = || {
            ground.change(scope, Change::Attachment { pin: pin.clone() }, || {
                let target = xsknet_bpf::Device { name: device.to_string(), index: card.index.get() };
                ground.host.run(|| {
                    let mut attachment = datapath.attach_uplink(&target, options.mode)?;
                    ground.passed("the uplink's program is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
        };
        let (attachment, switched) = offloads::recorded(ground, scope, card, attach).map_err(|error| match error {
            StepError::Attach(cause) => ManageError::Attach { device: device.clone(), cause },
            other => step(other),
        })?;
        let index = card.index;
        ground
            .host
            .run(|| datapath.set_uplink(index.get()))
            .and_then(|set| set.map_err(StepError::from))
            .map_err(step)?;
        ground.passed("the uplink's slot is set");

        tried.extend(Tried::programs("uplink", attachment.tried()));
        tried.extend(switched);
        let driver = ground.host.ethtool.driver(&card.name).unwrap_or_default();
        tried.extend(unfinished_checksums(&driver, attachment.obtained()));
        let info = UplinkInfo {
            device: device.clone(),
            index,
            mac,
            mode: attachment.obtained(),
            tried,
            features_before,
            features_after: features(),
        };
        let spoiled = ground.left.iter().filter_map(|scope| match scope {
            Scope::Port { device: its, port } if its == device => PortId::new(*port),
            _ => None,
        });
        let open = OpenUplink {
            datapath: Arc::new(RwLock::new(datapath)),
            filters: Filters::default(),
            let_in: BTreeMap::new(),
            ways: BTreeMap::new(),
            claims: Claims::new(device.clone(), spoiled.collect()),
            rooms: BTreeMap::new(),
            injector: None,
            closed: PortStatistics::default(),
            announced: 0,
            attachment: Arc::new(Mutex::new(attachment)),
        };
        Ok((info, open))
    }

    /// What became of the options.
    pub fn info(&self) -> &UplinkInfo {
        &self.state.info
    }

    /// The card as it is now.
    pub fn card(&self) -> CardState {
        self.state.refresh()
    }

    /// Opens a port. It is handed out once a self-test frame went through it each way.
    ///
    /// # Errors
    /// See [`OpenPortError`]; nothing of the port is left.
    pub fn open_port(&self, options: PortOptions) -> Result<Port, OpenPortError> {
        Port::open(Arc::clone(&self.state), options)
    }

    /// Opens a port with one queue, on the UMEM of another port of the same client: of any uplink of the instance. `in_fill` are the chunks for
    /// its FILL ring, which are the client's to give. The socket goes to that client; what of the UMEM this process has is its socket alone.
    /// A self-test frame comes back as a descriptor, unread; none is sent.
    ///
    /// # Errors
    /// See [`OpenPortError`]; nothing of the port is left.
    pub fn open_shared(
        &self,
        options: PortOptions,
        umem: &SharedUmem,
        in_fill: &[u32],
    ) -> Result<(BrokeredPort, SharedSocket), OpenPortError> {
        shared::open(Arc::clone(&self.state), options, umem, in_fill)
    }

    /// Opens a port whose inner end is in its client's namespace and whose socket the client makes. No self-test is possible.
    /// Frames for the port that come before its socket are dropped, and counted as `no_socket`.
    ///
    /// # Errors
    /// See [`OpenPortError`]; nothing of the port is left.
    pub fn open_pinned(&self, options: &PinnedPortOptions, client: Client) -> Result<PinnedPort, OpenPortError> {
        PinnedPort::open(Arc::clone(&self.state), options, client)
    }

    /// What the uplink's program and the card say; zero once the uplink is closed.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn statistics(&self) -> Result<UplinkStatistics, StepError> {
        self.state.statistics()
    }

    /// The names of the open ports, and what the kernel says of each.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn port_statistics(&self) -> Result<Vec<(String, PortStatistics)>, StepError> {
        let Some((datapath, rooms)) = self.state.rooms() else { return Ok(Vec::new()) };
        let told = rooms.iter().map(|room| Ok((room.plan.name.clone(), self.state.room_statistics(&datapath, room)?)));
        told.collect()
    }

    /// Closes all ports and gives the card back as it was. Twice is once.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn release(&self) -> Result<(), CloseError> {
        self.state.release()
    }

    pub(crate) fn state(&self) -> &UplinkState {
        &self.state
    }

    pub(crate) fn downgrade(&self) -> Weak<UplinkState> {
        Arc::downgrade(&self.state)
    }
}

impl UplinkState {
    pub(crate) fn scope(&self) -> Scope {
        Scope::Uplink { device: self.info.device.clone() }
    }

    pub(crate) fn port_scope(&self, port: PortId) -> Scope {
        Scope::Port { device: self.info.device.clone(), port: port.number() }
    }

    /// A panic while a port was opened or closed must not keep the others from being closed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<OpenUplink>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held by who makes or unmakes a port.
    pub(crate) fn work(&self) -> RwLockReadGuard<'_, ()> {
        self.work.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Forgets the live objects, and leaves the undoing to the instance's own. Waits for those who make or unmake ports.
    pub(crate) fn let_go(&self) {
        let _alone = self.work.write().unwrap_or_else(PoisonError::into_inner);
        self.lock().take();
    }

    pub(crate) fn release(&self) -> Result<(), CloseError> {
        let _alone = self.work.write().unwrap_or_else(PoisonError::into_inner);
        let open = self.lock().take();
        match open {
            Some(open) => {
                drop(open);
                self.ground.undo(&self.scope())
            }
            None => Ok(()),
        }
    }

    /// Whether frames could leave now. One that is gone is found out later.
    pub(crate) fn check_link(&self) -> Result<(), OpenPortError> {
        let state = match self.refresh() {
            CardState { up: false, .. } => "is down",
            CardState { carrier: false, .. } => "has no carrier",
            _ => return Ok(()),
        };
        Err(OpenPortError::LinkDown { uplink: self.info.device.clone(), state })
    }

    /// The card as it was last seen.
    pub(crate) fn card(&self) -> CardState {
        self.seen().clone()
    }

    fn seen(&self) -> MutexGuard<'_, CardState> {
        self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the card, and has everything follow that depends on it. What is gone stays as it was last seen.
    pub(crate) fn refresh(&self) -> CardState {
        let before = self.card();
        let Ok(card) = self.ground.host.links.by_index(self.info.index) else { return before };
        let Some(now) = CardState::of(&card) else { return before };
        if now.mtu != before.mtu || now.mac != before.mac {
            self.follow(&now);
        }
        // Not held meanwhile: who plans a port looks here, too, and has what `follow` needs.
        *self.seen() = now.clone();
        now
    }

    /// The guards let out what the card can send, and the host goes on taking in what is sent to it at the outer ends.
    fn follow(&self, card: &CardState) {
        let Some((datapath, rooms)) = self.rooms() else { return };
        let set = datapath.write().unwrap_or_else(PoisonError::into_inner).set_uplink_mtu(card.mtu);
        if let Err(error) = set {
            eprintln!("xsknet: uplink `{}`: its guards do not know the MTU {}: {error}", self.info.device, card.mtu);
        }
        for outer in rooms.iter().flat_map(|room| room.members.iter().map(|member| member.outer_index)) {
            // It may be on its way out.
            let _ = self.ground.host.links.set_mac(outer, card.mac);
        }
    }

    /// Whether frames that come in are seen, and as they came: test frames would be seen without that, since they run the program wherever
    /// it is.
    pub(crate) fn check(&self) -> Result<(), StepError> {
        for repair in self.repair_own().into_iter().chain(self.hold_offloads()) {
            repair.outcome?;
            self.repaired.lock().unwrap_or_else(PoisonError::into_inner).push(Repair { outcome: Ok(()), ..repair });
        }
        Ok(())
    }

    /// Switches off again what somebody has switched on, and without which frames of VLANs are not kept apart.
    pub(crate) fn hold_offloads(&self) -> Vec<Repair> {
        if !self.is_open() {
            return Vec::new();
        }
        let Ok(card) = self.ground.host.links.by_index(self.info.index) else { return Vec::new() };
        let held = offloads::hold_off(&self.ground, &card.name, Offload::VlanRx).into_iter();
        held.map(|(name, outcome)| Repair { part: Part::Offload { name }, outcome }).collect()
    }

    /// Puts the program back that somebody took off the card.
    fn repair_own(&self) -> Option<Repair> {
        let (attachment, datapath) = self.attached()?;
        let mut attachment = attachment.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(attachment.is_attached(), Ok(true)) {
            return None;
        }
        self.attach_again(&mut attachment, &datapath, TAKEN_OFF.into())
    }

    fn attached(&self) -> Option<(Arc<Mutex<Attachment>>, SharedDatapath)> {
        self.lock().as_ref().map(|card| (Arc::clone(&card.attachment), Arc::clone(&card.datapath)))
    }

    fn attach_again(&self, attachment: &mut Attachment, datapath: &RwLock<Datapath>, why: String) -> Option<Repair> {
        // Without the device it had to go.
        let device = self.ground.host.links.by_index(self.info.index).ok()?.name;
        let target = xsknet_bpf::Device { name: device.to_string(), index: self.info.index.get() };
        let mode = self.info.mode.into();
        let fresh = self.ground.host.run(|| room::read(datapath).attach_uplink(&target, mode));
        let outcome = fresh.and_then(|fresh| Ok(attachment.replace(fresh?)?));
        Some(Repair { part: Part::Program { key: None, program: "uplink", device, why }, outcome })
    }

    /// Looks whether the program hears what the card receives, and attaches it anew where the driver has stopped running it. In skb mode it
    /// is the stack that runs it, and that loses none; there a frame may come that the program is not to see.
    fn listen(&self) -> Option<Repair> {
        let (attachment, datapath) = self.attached().filter(|_| self.info.mode == Obtained::Native)?;
        let card = self.ground.host.links.by_index(self.info.index).ok()?;
        let (received, carrier, carrier_changes) = (card.stats.rx_packets, card.lower_up, card.carrier_changes);
        let seen = room::read(&datapath).uplink_counters().ok()?.seen();
        let mut hearing = self.hearing.lock().unwrap_or_else(PoisonError::into_inner);
        let deaf = hearing.look(Round { received, seen, carrier, carrier_changes, mtu: card.mtu })?;
        let why = |frames| format!("the driver had stopped running it: {frames} frames came that it did not see");
        match deaf {
            Deaf::Found(frames) => {
                let mut attachment = attachment.lock().unwrap_or_else(PoisonError::into_inner);
                // A refusal shows when it is attached again.
                let _ = attachment.take_off();
                self.attach_again(&mut attachment, &datapath, why(frames))
            }
            Deaf::Still(frames) => {
                let part = Part::Program { key: None, program: "uplink", device: card.name.clone(), why: why(frames) };
                Some(Repair { part, outcome: Err(StepError::Deaf { device: card.name, frames }) })
            }
        }
    }

    /// Lets VLANs of ports in again that somebody has shut out: a device of the host that asked for one is gone, or a filter was switched
    /// on.
    fn hold_vlans(&self) -> Vec<Repair> {
        let Some(ids) = self.lock().as_ref().map(|card| card.filters.vlans()) else { return Vec::new() };
        let again = |id: u16| {
            // Held, so that the last port of it does not go meanwhile.
            let mut open = self.lock();
            let card = open.as_mut().filter(|card| card.filters.vlans().contains(&id))?;
            let before = card.ways.get(&id).cloned();
            // What was refused once would be each second.
            if matches!(before, Some(Way::Promiscuous(_) | Way::Shut(_))) {
                return None;
            }
            let way = vlans::let_in(self, id);
            let outcome = match way {
                Ok(way) => {
                    card.ways.insert(id, way.clone());
                    if let Way::Shut(why) = way {
                        return Some(Repair { part: Part::Vlan { id }, outcome: Err(StepError::VlanShut { id, why }) });
                    }
                    if before.as_ref() == Some(&way) || matches!(way, Way::Open | Way::Theirs) {
                        return None;
                    }
                    Ok(())
                }
                // A card that is gone is told of otherwise.
                Err(_) => return None,
            };
            Some(Repair { part: Part::Vlan { id }, outcome })
        };
        ids.into_iter().filter_map(again).collect()
    }

    /// Does again what somebody has undone about the card or the pairs. Tells what, and whether that could be done.
    pub(crate) fn repair(&self) -> Vec<Repair> {
        let mut repairs = std::mem::take(&mut *self.repaired.lock().unwrap_or_else(PoisonError::into_inner));
        repairs.extend(self.repair_own().or_else(|| self.listen()));
        repairs.extend(self.hold_offloads());
        repairs.extend(self.hold_vlans());
        let Some((datapath, rooms)) = self.rooms() else { return repairs };
        for room in rooms {
            // One that is being closed loses its programs.
            let is_open = || self.room(room.plan.id).is_some_and(|(_, its)| Arc::ptr_eq(&its, &room));
            repairs.extend(room.repair(&self.ground, &datapath).into_iter().filter(|_| is_open()));
        }
        repairs
    }

    /// The open ports that have this address.
    pub(crate) fn ports_with(&self, address: IpAddr) -> Vec<PortKey> {
        let Some((_, rooms)) = self.rooms() else { return Vec::new() };
        let having = rooms.iter().filter(|room| room.plan.addresses.contains(&address));
        having.map(|room| room.plan.key).collect()
    }

    /// Takes what a port wants, and gives what it is built with.
    pub(crate) fn claim(
        &self,
        host: &HostView,
        wanted: &Wanted<'_>,
    ) -> Result<(Plan, Claim, SharedDatapath), OpenPortError> {
        let mut open = self.lock();
        let Some(card) = open.as_mut() else {
            return Err(OpenPortError::UplinkClosed { uplink: self.info.device.clone() });
        };
        let (plan, claim) = Plan::new(self, &mut card.claims, host, wanted)?;
        Ok((plan, claim, Arc::clone(&card.datapath)))
    }

    /// From now on the port is one of the uplink's.
    pub(crate) fn publish(&self, room: &Arc<Room>) {
        if let Some(card) = self.lock().as_mut() {
            card.rooms.insert(room.plan.id, Arc::clone(room));
        }
    }

    /// Closes a port. `kept` is what its owner may hold on to, where that is not this process.
    pub(crate) fn close_port(&self, id: PortId, key: PortKey, kept: Option<Kept>) -> Result<(), CloseError> {
        let _work = self.work();
        self.unmake(id, key, kept)
    }

    /// Undoes a port, whole or half made. The caller holds [`work`](Self::work).
    pub(crate) fn unmake(&self, id: PortId, key: PortKey, kept: Option<Kept>) -> Result<(), CloseError> {
        let (datapath, room) = match self.lock().as_mut() {
            // It went with its uplink.
            None => {
                self.ground.remains.nothing_of(key);
                return Ok(());
            }
            Some(card) => (Arc::clone(&card.datapath), card.rooms.remove(&id)),
        };
        let mut failed = None;
        // First nothing more is steered to the port, then nothing more comes from it, then it goes.
        if let Some(room) = room {
            let removed = datapath.write().unwrap_or_else(PoisonError::into_inner).remove_port(&room.entry());
            self.ground.passed("the port's map entries are gone");
            // What cannot be read any more is no reason to keep the port.
            let last = self.pair_statistics(&room).unwrap_or_default();
            match removed {
                Ok(guard) => {
                    if let Some(card) = self.lock().as_mut() {
                        card.closed += PortStatistics { guard, ..last };
                    }
                }
                Err(cause) => failed = Some(StepError::from(cause)),
            }
            match kept {
                Some(kept) => self.ground.remains.bury(&room, kept),
                None => self.ground.remains.nothing_of(key),
            }
        }
        if let Err(cause) = room::let_out(self, id) {
            failed = Some(cause);
        }
        let undone = self.ground.undo(&self.port_scope(id));
        if let Some(card) = self.lock().as_mut() {
            match &undone {
                Ok(()) => card.claims.give_back(id),
                Err(_) => card.claims.spoil(id),
            }
        }
        undone?;
        match failed {
            None => Ok(()),
            Some(cause) => Err(CloseError { left: 1, what: "a map entry or a filter of the card".into(), cause }),
        }
    }

    pub(crate) fn remove_filter(&self, mac: MacAddr) -> Result<(), StepError> {
        let ours = self.info.index;
        self.ground.undo_one(
            |change| matches!(change, Change::Filter { index, mac: its, .. } if *its == mac && *index == ours),
        )
    }

    /// The port of this number.
    pub(crate) fn room(&self, id: PortId) -> Option<(SharedDatapath, Arc<Room>)> {
        let open = self.lock();
        let card = open.as_ref()?;
        Some((Arc::clone(&card.datapath), Arc::clone(card.rooms.get(&id)?)))
    }

    fn rooms(&self) -> Option<(SharedDatapath, Vec<Arc<Room>>)> {
        let open = self.lock();
        let card = open.as_ref()?;
        Some((Arc::clone(&card.datapath), card.rooms.values().cloned().collect()))
    }

    /// Of the ports that frames are steered to.
    pub(crate) fn keys(&self) -> Vec<PortKey> {
        self.rooms().map_or_else(Vec::new, |(_, rooms)| rooms.iter().map(|room| room.plan.key).collect())
    }

    /// Sends frames as if the card had received them.
    pub(crate) fn injector(&self) -> Result<Arc<Injector>, StepError> {
        if let Some(there) = self.lock().as_ref().and_then(|card| card.injector.clone()) {
            return Ok(there);
        }
        let loaded = Arc::new(Injector::load(self.info.index.get())?);
        if let Some(card) = self.lock().as_mut() {
            card.injector = Some(Arc::clone(&loaded));
        }
        Ok(loaded)
    }

    /// Whether some port has this MAC.
    pub(crate) fn is_of_a_port(&self, mac: MacAddr) -> bool {
        self.lock().as_ref().is_some_and(|card| card.claims.has_mac(mac))
    }

    /// What is gone of the devices that `suspect` picks, each with its number.
    pub(crate) fn losses_among(&self, suspect: &dyn Fn(IfIndex) -> bool) -> Vec<(IfIndex, Loss)> {
        let Some((_, rooms)) = self.rooms() else { return Vec::new() };
        let device = &self.info.device;
        let gone = |index| {
            suspect(index) && matches!(self.ground.host.links.by_index(index), Err(LinkError::DeviceMissing { .. }))
        };
        let card = gone(self.info.index).then(|| (self.info.index, Loss::Uplink { device: device.clone() }));
        let ports = rooms.iter().filter_map(|room| {
            let lost = room.members.iter().map(|member| member.outer_index).find(|outer| gone(*outer))?;
            // One that was closed in the meantime had to go.
            self.room(room.plan.id).filter(|(_, its)| Arc::ptr_eq(its, room))?;
            let change = room.client.as_ref().map(|client| client.missing());
            Some((lost, Loss::Port { uplink: device.clone(), key: room.plan.key, change }))
        });
        card.into_iter().chain(ports).collect()
    }

    /// One frame more that announced a port.
    pub(crate) fn count_announcement(&self) {
        if let Some(card) = self.lock().as_mut() {
            card.announced += 1;
        }
    }

    /// Frames of a port's own that the kernel refused after its guard had let them go.
    pub(crate) fn refused(&self, room: &Room) -> u64 {
        let refused = |member: &Member| outer_losses(&self.ground, member).refused_redirects.unwrap_or(0);
        room.members.iter().map(refused).sum()
    }

    fn statistics(&self) -> Result<UplinkStatistics, StepError> {
        let (datapath, closed, announced) = match self.lock().as_ref() {
            Some(open) => (Arc::clone(&open.datapath), open.closed, open.announced),
            None => return Ok(UplinkStatistics::default()),
        };
        let datapath = room::read(&datapath);
        let program = datapath.uplink_counters()?;
        let now = losses(&self.ground, self.info.index, &self.driver, self.info.mode, program.dropped());
        let since = |now: Option<u64>, before: Option<u64>| now.map(|now| now.saturating_sub(before.unwrap_or(0)));
        Ok(UplinkStatistics {
            program,
            unattributed: datapath.unattributed_counters()?,
            transmit_drops: since(now.transmit_drops, self.baseline.transmit_drops),
            refused_redirects: since(now.refused_redirects, self.baseline.refused_redirects),
            announced,
            closed,
        })
    }

    pub(crate) fn statistics_of(&self, id: PortId) -> Result<PortStatistics, StepError> {
        let Some((datapath, room)) = self.room(id) else { return Ok(PortStatistics::default()) };
        let read = self.room_statistics(&datapath, &room);
        // Closed while it was read.
        if read.is_err() && self.room(id).is_none() { Ok(PortStatistics::default()) } else { read }
    }

    /// Keeps a duplicate of a client's own socket with the port, for its statistics. False: the port is closed.
    pub(crate) fn share_socket(&self, id: PortId, socket: OwnedFd) -> bool {
        self.room(id).is_some_and(|(_, room)| {
            let [member] = room.members.as_slice() else { unreachable!("a pinned port has one queue") };
            member.hold(socket);
            true
        })
    }

    fn room_statistics(&self, datapath: &RwLock<Datapath>, room: &Room) -> Result<PortStatistics, StepError> {
        let pairs = self.pair_statistics(room)?;
        Ok(PortStatistics { guard: room::read(datapath).guard_counters(room.plan.id)?, ..pairs })
    }

    /// All but the guard's verdicts, which are the uplink's, of all pairs together.
    fn pair_statistics(&self, room: &Room) -> Result<PortStatistics, StepError> {
        let mut sum = PortStatistics::default();
        for member in &room.members {
            let outer = outer_losses(&self.ground, member);
            // By its number: a client may rename its end.
            let inner = room.inner_site(&self.ground).links.by_index(member.inner_index);
            let socket = member.socket.lock().unwrap_or_else(PoisonError::into_inner);
            let socket = socket.as_ref().map(xsknet_xsk::kernel_statistics).transpose();
            sum += PortStatistics {
                guard: Counters::default(),
                program: member.program.counters()?,
                socket: socket.map_err(|cause| StepError::Io { attempt: "read a socket's statistics", cause })?,
                inner_transmit_drops: inner.map_or(0, |inner| inner.stats.tx_dropped),
                outer_transmit_drops: outer.transmit_drops.unwrap_or(0),
                outer_refused_redirects: outer.refused_redirects.unwrap_or(0),
            };
        }
        Ok(sum)
    }
}

/// The last handle gives the card back, as `release` does; a port is one too.
impl Drop for UplinkState {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            eprintln!("xsknet: uplink `{}`: {error}: {}", self.info.device, error.cause);
        }
    }
}

/// Of the kernel.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(bytes.len()), "getrandom answers up to 256 bytes at once");
    u32::from_ne_bytes(bytes)
}

/// Of a device with this driver, whose program runs in this mode and has dropped so many frames. One that is gone counts none.
fn losses(ground: &Ground, index: IfIndex, driver: &str, mode: Obtained, dropped: u64) -> CardLosses {
    let Ok(device) = ground.host.links.by_index(index) else { return CardLosses::default() };
    let Ok(own) = ground.host.ethtool.statistics(&device.name) else { return CardLosses::default() };
    CardLosses::of(driver, mode, &device.stats, &own, dropped)
}

fn outer_losses(ground: &Ground, member: &Member) -> CardLosses {
    // A veth counts apart what its program drops.
    losses(ground, member.outer_index, "veth", member.guard_mode(), 0)
}

/// A sender's stack leaves checksums to its card. A pair and a hypervisor have none, and hand the packet on as it is.
fn unfinished_checksums(driver: &str, mode: Obtained) -> Option<Tried> {
    let sender = match (driver, mode) {
        ("veth", _) => "a kernel sends at the other end of this pair",
        // In native mode it is asked to finish them: virtnet_xdp_set() clears VIRTIO_NET_F_GUEST_CSUM.
        ("virtio_net", Obtained::Skb) => "the hypervisor and its other guests send",
        _ => return None,
    };
    let why = format!(
        "not known: what {sender} comes with unfinished checksums, and looks damaged, unless `ethtool -K <that end> tx off` was run there"
    );
    Some(Tried { hook: "uplink", step: "whole checksums".into(), errno: None, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_that_a_sender_may_leave_unfinished_are_told_with_what_mends_it() {
        for (driver, mode, told) in [
            ("veth", Obtained::Native, true),
            ("veth", Obtained::Skb, true),
            ("virtio_net", Obtained::Skb, true),
            ("virtio_net", Obtained::Native, false),
            ("igb", Obtained::Skb, false),
        ] {
            let tried = unfinished_checksums(driver, mode);
            assert_eq!(tried.is_some_and(|tried| tried.why.contains("tx off")), told, "{driver} {mode:?}");
        }
    }
}

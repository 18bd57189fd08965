//! An uplink: a card that the instance manages.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use xsknet_bpf::{Attachment, Counters, Datapath, DatapathOptions, Mode, Obtained, PortId, describe_program};
use xsknet_link::{Device, DeviceName, IfIndex, LinkError, MacAddr, Offload, XdpFeatures};
use xsknet_xsk::SharedSocket;

use crate::error::{CloseError, ManageError, OpenPortError, StepError};
use crate::filters::Filters;
use crate::ground::Ground;
use crate::journal::{Change, Scope};
use crate::names::PinPath;
use crate::pinned::{Client, PinnedPort, PinnedPortOptions};
use crate::pins;
use crate::port::{BrokeredPort, Port, PortOptions};
use crate::room::Room;
use crate::shared::{self, SharedUmem};
use crate::statistics::{PortStatistics, UplinkStatistics};
use crate::tried::Tried;
use crate::watch::Loss;

/// Which card, and how.
#[derive(Debug, Clone)]
pub struct UplinkOptions {
    /// The card, in the namespace of the thread that opened the instance.
    pub device: DeviceName,
    /// Where the card's program runs. The ports' programs follow it as far as the kernel lets them.
    pub mode: Mode,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct UplinkInfo {
    /// The card.
    pub device: DeviceName,
    /// Its number.
    pub index: IfIndex,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its MTU, in bytes, when it became an uplink.
    pub mtu: u32,
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
    /// The card's own losses before it was ours.
    baseline: CardLosses,
    open: Mutex<Option<OpenUplink>>,
}

/// What exists while the card is managed.
#[derive(Debug)]
pub(crate) struct OpenUplink {
    pub(crate) datapath: Datapath,
    pub(crate) filters: Filters,
    pub(crate) ports: BTreeMap<PortId, Room>,
    /// The last readings of the ports that were here.
    closed: PortStatistics,
    /// Dropped, not detached: the pin keeps the program until the journal's undo removes it.
    _attachment: Attachment,
}

#[derive(Debug, Clone, Copy, Default)]
struct CardLosses {
    transmit_drops: u64,
    refused_redirects: u64,
}

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
                let baseline = card_losses(&ground, &info.device);
                let state = UplinkState { ground, info, baseline, open: Mutex::new(Some(open)) };
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
        let mut datapath = ground
            .change(scope, Change::Pins { folder: folder.clone() }, || {
                let options = DatapathOptions { uplink_mtu: card.mtu, flow_seed: random(), pins: Some(&pins) };
                Ok(Datapath::load(options)?)
            })
            .map_err(|error| match error {
                StepError::Load(cause) => ManageError::Load { device: device.clone(), cause },
                other => step(other),
            })?;

        // A card that strips tags would show a frame of some VLAN as an untagged one, and so to a port of none.
        let mut tried = switch_off(ground, scope, card, Offload::VlanRx).map_err(step)?;

        let pin = folder.file("uplink-link");
        let attachment = ground
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let target = xsknet_bpf::Device { name: device.to_string(), index: card.index.get() };
                ground.host.run(|| {
                    let mut attachment = datapath.attach_uplink(&target, options.mode)?;
                    ground.passed("the uplink's program is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(|error| match error {
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
        let info = UplinkInfo {
            device: device.clone(),
            index,
            mac,
            mtu: card.mtu,
            mode: attachment.obtained(),
            tried,
            features_before,
            features_after: features(),
        };
        let open = OpenUplink {
            datapath,
            filters: Filters::default(),
            ports: BTreeMap::new(),
            closed: PortStatistics::default(),
            _attachment: attachment,
        };
        Ok((info, open))
    }

    /// What became of the options.
    pub fn info(&self) -> &UplinkInfo {
        &self.state.info
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
        let open = self.state.lock();
        let rooms = open.iter().flat_map(|open| open.ports.values().map(move |room| (open, room)));
        rooms.map(|(open, room)| Ok((room.plan.name.clone(), self.state.room_statistics(open, room)?))).collect()
    }

    /// Closes all ports and gives the card back as it was. Twice is once.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn release(&self) -> Result<(), CloseError> {
        self.state.release()
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

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Forgets the live objects, and leaves the undoing to the instance's own.
    pub(crate) fn let_go(&self) {
        self.lock().take();
    }

    pub(crate) fn release(&self) -> Result<(), CloseError> {
        match self.lock().take() {
            Some(open) => {
                drop(open);
                self.ground.undo(&self.scope())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn close_port(&self, id: PortId) -> Result<(), CloseError> {
        let mut open = self.lock();
        let Some(uplink) = open.as_mut() else { return Ok(()) };
        let Some(room) = uplink.ports.remove(&id) else { return Ok(()) };
        // First nothing more is steered to the port, then nothing more comes from it, then it goes.
        let removed = uplink.datapath.remove_port(&room.entry());
        self.ground.passed("the port's map entries are gone");
        let OpenUplink { filters, closed, .. } = uplink;
        // What cannot be read any more is no reason to keep the port.
        let last = self.pair_statistics(&room).unwrap_or_default();
        let mut failed = match removed {
            Ok(guard) => {
                *closed += PortStatistics { guard, ..last };
                None
            }
            Err(cause) => Some(StepError::from(cause)),
        };
        for mac in &room.filters {
            if filters.release(*mac)
                && let Err(cause) = self.remove_filter(*mac)
            {
                failed = Some(cause);
            }
        }
        drop(room);
        self.ground.undo(&self.port_scope(id))?;
        match failed {
            None => Ok(()),
            Some(cause) => Err(CloseError { left: 1, what: "a map entry or a filter of the card".into(), cause }),
        }
    }

    pub(crate) fn remove_filter(&self, mac: MacAddr) -> Result<(), StepError> {
        self.ground.undo_one(|change| matches!(change, Change::Filter { device, mac: its, .. } if *its == mac && *device == self.info.device))
    }

    /// What is gone of the devices that `suspect` picks, each with its number. Waits for what is just being opened or closed.
    pub(crate) fn losses_among(&self, suspect: &dyn Fn(IfIndex) -> bool) -> Vec<(IfIndex, Loss)> {
        let open = self.lock();
        let Some(open) = open.as_ref() else { return Vec::new() };
        let device = &self.info.device;
        let gone = |index| {
            suspect(index) && matches!(self.ground.host.links.by_index(index), Err(LinkError::DeviceMissing { .. }))
        };
        let card = gone(self.info.index).then(|| (self.info.index, Loss::Uplink { device: device.clone() }));
        let ports = open.ports.values().filter_map(|room| {
            let lost = room.members.iter().map(|member| member.outer_index).find(|outer| gone(*outer))?;
            let change = room.client.as_ref().map(|client| client.missing());
            Some((lost, Loss::Port { uplink: device.clone(), key: room.plan.key, change }))
        });
        card.into_iter().chain(ports).collect()
    }

    /// Frames that the card or a port's pair refused after a program had let them go.
    pub(crate) fn losses(&self, room: &Room) -> u64 {
        let of = |device| {
            let losses = card_losses(&self.ground, device);
            losses.transmit_drops + losses.refused_redirects
        };
        let pairs = room.members.iter().map(|member| of(&member.pair.outer));
        of(&self.info.device) + pairs.sum::<u64>()
    }

    fn statistics(&self) -> Result<UplinkStatistics, StepError> {
        let open = self.lock();
        let Some(open) = open.as_ref() else { return Ok(UplinkStatistics::default()) };
        let now = card_losses(&self.ground, &self.info.device);
        Ok(UplinkStatistics {
            program: open.datapath.uplink_counters()?,
            unattributed: open.datapath.unattributed_counters()?,
            transmit_drops: now.transmit_drops.saturating_sub(self.baseline.transmit_drops),
            refused_redirects: now.refused_redirects.saturating_sub(self.baseline.refused_redirects),
            closed: open.closed,
        })
    }

    pub(crate) fn statistics_of(&self, id: PortId) -> Result<PortStatistics, StepError> {
        let open = self.lock();
        let room = open.as_ref().and_then(|open| open.ports.get(&id).map(|room| (open, room)));
        room.map_or_else(|| Ok(PortStatistics::default()), |(open, room)| self.room_statistics(open, room))
    }

    /// Keeps a duplicate of a client's own socket with the port, for its statistics. False: the port is closed.
    pub(crate) fn share_socket(&self, id: PortId, socket: OwnedFd) -> bool {
        let mut open = self.lock();
        let room = open.as_mut().and_then(|open| open.ports.get_mut(&id));
        room.is_some_and(|room| {
            let [member] = room.members.as_mut_slice() else { unreachable!("a pinned port has one queue") };
            member.socket = Some(socket);
            true
        })
    }

    fn room_statistics(&self, open: &OpenUplink, room: &Room) -> Result<PortStatistics, StepError> {
        Ok(PortStatistics { guard: open.datapath.guard_counters(room.plan.id)?, ..self.pair_statistics(room)? })
    }

    /// All but the guard's verdicts, which are the uplink's, of all pairs together.
    fn pair_statistics(&self, room: &Room) -> Result<PortStatistics, StepError> {
        let mut sum = PortStatistics::default();
        for member in &room.members {
            let outer = card_losses(&self.ground, &member.pair.outer);
            // By its number: a client may rename its end.
            let inner = room.inner_site(&self.ground).links.by_index(member.inner_index);
            let socket = member.socket.as_ref().map(xsknet_xsk::kernel_statistics).transpose();
            sum += PortStatistics {
                guard: Counters::default(),
                program: member.program.counters()?,
                socket: socket.map_err(|cause| StepError::Io { attempt: "read a socket's statistics", cause })?,
                inner_transmit_drops: inner.map_or(0, |inner| inner.stats.tx_dropped),
                outer_transmit_drops: outer.transmit_drops,
                outer_refused_redirects: outer.refused_redirects,
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

/// A device without such statistics, or that is gone, counts none.
fn card_losses(ground: &Ground, device: &DeviceName) -> CardLosses {
    let transmit_drops = ground.host.links.by_name(device).map_or(0, |device| device.stats.tx_dropped);
    let driver = ground.host.ethtool.statistics(device).ok();
    let refused_redirects = driver.and_then(|driver| driver.sum("rx", "drops")).unwrap_or(0);
    CardLosses { transmit_drops, refused_redirects }
}

/// Switches an offload of a card off, each of its features journaled with what was wanted before. What the card keeps on
/// regardless is told.
fn switch_off(ground: &Ground, scope: &Scope, card: &Device, offload: Offload) -> Result<Vec<Tried>, StepError> {
    let ethtool = &ground.host.ethtool;
    let features = ethtool.features(&card.name)?;
    let mut kept = Vec::new();
    for name in features.names(offload) {
        let Some(feature) = features.feature(name).filter(|feature| feature.active) else { continue };
        if !feature.changeable {
            let why = "the card keeps it on: frames of VLANs look untagged to its program".into();
            kept.push(Tried { hook: "uplink", step: format!("{name} off"), errno: None, why });
            continue;
        }
        let (device, index) = (card.name.clone(), card.index);
        let change = Change::Offload { device, index, feature: name.into(), was: feature.wanted };
        ground.change(scope, change, || -> Result<(), StepError> {
            ethtool.set_features(&card.name, &[(name, false)])?;
            Ok(())
        })?;
    }
    Ok(kept)
}

//! A port: a veth pair, a guard at its outer end, an AF_XDP socket at its inner end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use xsknet_bpf::contract::MAX_PORTS;
use xsknet_bpf::{Attempt, Mode, Obtained, PortId, PortProgram, Vlan};
use xsknet_link::{DeviceName, End, FilterAnswer, IfIndex, LinkError, MacAddr, VethPair, XdpFeatures, quiet};
use xsknet_xsk::{BindMode, BindRequest, Census, Created, Layout, QueueId, Request, Socket};

use crate::error::{CloseError, OpenPortError, StepError};
use crate::journal::{Change, Scope};
use crate::names::PinPath;
use crate::selftest;
use crate::statistics::{Equality, PortStatistics};
use crate::tried::Tried;
use crate::uplink::{OpenUplink, Room, UplinkState};

/// Ethernet header and one VLAN tag: what a port's frames may be longer than its MTU.
pub(crate) const HEADERS: u32 = 14 + 4;

/// What a port is to be. `PortOptions::new` has the defaults.
#[derive(Debug, Clone)]
pub struct PortOptions {
    /// Its name, unique on the uplink, of 1 to 64 letters, digits, `-`, `_` and `.`; made up where there is none.
    pub name: Option<String>,
    /// Its addresses on the uplink's network; at least one.
    pub addresses: Vec<IpAddr>,
    /// Its MAC. Default: stable for a port with a name, else random; locally administered either way.
    pub mac: Option<MacAddr>,
    /// Its VLAN, 1 to 4094: all its frames carry this tag. Default: none do.
    pub vlan: Option<u16>,
    /// Its MTU in bytes, at most the uplink's, which is the default.
    pub mtu: Option<u32>,
    /// Its UMEM and rings.
    pub layout: Layout,
    /// How its socket is bound.
    pub bind: BindRequest,
}

impl PortOptions {
    /// A port with these addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            name: None,
            addresses: addresses.into_iter().collect(),
            mac: None,
            vlan: None,
            mtu: None,
            layout: Layout::builder().build().expect("the defaults fit each other"),
            bind: BindRequest::Automatic,
        }
    }
}

/// What became of a port's options.
#[derive(Debug, Clone)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its number on the uplink: the key of its slot in the DEVMAP.
    pub id: PortId,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses; with an IPv6 address among them, the link-local one comes last.
    pub addresses: Vec<IpAddr>,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// The device at its outer end, among the host's.
    pub outer: DeviceName,
    /// The device at its inner end, in the instance's namespace.
    pub inner: DeviceName,
    /// Where its guard runs.
    pub guard_mode: Obtained,
    /// Where the program at its inner end runs.
    pub port_mode: Obtained,
    /// How its socket is bound.
    pub bind_mode: BindMode,
    /// What was tried on the way.
    pub tried: Vec<Tried>,
}

/// An open port. Dropping it closes it; `close` also says what could not be undone.
#[derive(Debug)]
pub struct Port {
    uplink: Arc<UplinkState>,
    info: PortInfo,
    socket: Option<Socket>,
}

impl Port {
    pub(crate) fn open(uplink: Arc<UplinkState>, options: PortOptions) -> Result<Self, OpenPortError> {
        let mut open = uplink.lock();
        let Some(card) = open.as_mut() else {
            return Err(OpenPortError::UplinkClosed { uplink: uplink.info.device.clone() });
        };
        let plan = Plan::new(&uplink, card, &options)?;
        let id = plan.id;
        let scope = uplink.port_scope(id);
        let (room, mut socket, info) = match plan.build(&uplink, card, &options, &scope) {
            Ok(built) => built,
            Err(error) => {
                drop(open);
                // What cannot be undone stays in the journal; the reason is the better story.
                let _ = uplink.ground.undo(&scope);
                return Err(error);
            }
        };
        card.ports.insert(id, room);
        let ready = steer(&uplink, card, id)
            .map_err(|cause| OpenPortError::Step { uplink: uplink.info.device.clone(), cause })
            .and_then(|()| selftest::both_ways(&uplink, card, id, &info, &mut socket));
        drop(open);
        if let Err(error) = ready {
            let _ = uplink.close_port(id);
            return Err(error);
        }
        Ok(Self { uplink, info, socket: Some(socket) })
    }

    /// What became of the options.
    pub fn info(&self) -> &PortInfo {
        &self.info
    }

    /// The port's socket: frames and rings.
    pub fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("a port has its socket until it is closed")
    }

    /// What the kernel says of the port.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn statistics(&self) -> Result<PortStatistics, StepError> {
        self.uplink.statistics_of(self.info.id)
    }

    /// The sums of this port's frames, which hold at rest.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn equalities(&mut self) -> Result<[Equality; 3], StepError> {
        let owner = self.socket().counters();
        Ok(self.statistics()?.equalities(&owner))
    }

    /// Closes the port: nothing is steered to it any more, its pair is gone, and every frame is at home.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(mut self) -> Result<Census, CloseError> {
        let socket = self.socket.take().expect("a port has its socket until it is closed");
        let closed = self.uplink.close_port(self.info.id);
        let census = socket.close();
        closed.map(|()| census)
    }
}

impl AsMut<Socket> for Port {
    fn as_mut(&mut self) -> &mut Socket {
        self.socket()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.socket.take().is_some()
            && let Err(error) = self.uplink.close_port(self.info.id)
        {
            eprintln!("xsknet: port `{}`: {error}: {}", self.info.name, error.cause);
        }
    }
}

/// A port whose options were found good, before anything is made.
struct Plan {
    name: String,
    id: PortId,
    mac: MacAddr,
    vlan: Vlan,
    mtu: u32,
    addresses: Vec<IpAddr>,
    outer: DeviceName,
    inner: DeviceName,
    alias: String,
}

impl Plan {
    fn new(uplink: &UplinkState, card: &OpenUplink, options: &PortOptions) -> Result<Self, OpenPortError> {
        let device = &uplink.info.device;
        let id = (1..=MAX_PORTS).filter_map(PortId::new).find(|id| !card.ports.contains_key(id));
        let id = id.ok_or_else(|| OpenPortError::NoMorePorts { uplink: device.clone(), limit: MAX_PORTS })?;
        let name = options.name.clone().unwrap_or_else(|| format!("port-{id}"));
        check_name(&name)?;
        if card.ports.values().any(|room| room.name == name) {
            return Err(OpenPortError::NameTaken { name, uplink: device.clone() });
        }
        let vlan = match options.vlan {
            None => Vlan::UNTAGGED,
            Some(vlan) => Vlan::tagged(vlan).ok_or(OpenPortError::VlanUnfit { vlan })?,
        };
        let mtu = options.mtu.unwrap_or(uplink.info.mtu);
        check_mtu(mtu, uplink, &options.layout)?;
        let mac = match (&options.mac, &options.name) {
            (Some(mac), _) => *mac,
            (None, Some(name)) => MacAddr::stable_local(&format!("{}/{device}/{name}", uplink.ground.paths.instance())),
            (None, None) => MacAddr::random_local(),
        };
        check_mac(mac, vlan, uplink, card)?;
        let mut addresses = options.addresses.clone();
        if addresses.iter().any(IpAddr::is_ipv6) {
            addresses.push(mac.link_local_ipv6().into());
        }
        check_addresses(&addresses, vlan, uplink, card)?;
        let outer = device_name('o', uplink, id);
        let inner = device_name('i', uplink, id);
        let alias = uplink.ground.paths.alias(&name);
        Ok(Self { name, id, mac, vlan, mtu, addresses, outer, inner, alias })
    }

    /// Everything up to the self-test. What a failure leaves is undone by the caller.
    fn build(
        &self,
        uplink: &UplinkState,
        card: &mut OpenUplink,
        options: &PortOptions,
        scope: &Scope,
    ) -> Result<(Room, Socket, PortInfo), OpenPortError> {
        let ground = &*uplink.ground;
        let step = |cause: StepError| OpenPortError::Step { uplink: uplink.info.device.clone(), cause };
        let (outer, inner) = self.make_pair(uplink, scope).map_err(step)?;

        let folder = PinPath::port(&uplink.info.device, self.id.number());
        let pins = ground.paths.pin(&folder);
        let mut program = ground
            .change(scope, Change::Pins { folder: folder.clone() }, || -> Result<_, StepError> {
                Ok(PortProgram::load(Some(&pins))?)
            })
            .map_err(step)?;

        let mode = port_mode(uplink.info.mode);
        let pin = folder.file("port-link");
        let inner_attachment = ground
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: self.inner.to_string(), index: inner.get() };
                ground.ports.run(|| -> Result<_, StepError> {
                    let mut attachment = program.attach(&device, mode)?;
                    ground.passed("the port's program is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;

        let mut tried = tried("port", inner_attachment.tried());
        let mode = guard_mode(uplink, &mut tried);
        let pin = folder.file("guard-link");
        let outer_attachment = ground
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: self.outer.to_string(), index: outer.get() };
                ground.host.run(|| -> Result<_, StepError> {
                    let mut attachment = card.datapath.attach_guard(&device, mode)?;
                    ground.passed("the guard is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;
        tried.extend(self::tried("guard", outer_attachment.tried()));

        // The socket is bound and its FILL ring primed before the XSKMAP knows it, else the first frames are lost.
        let request = Request {
            device: self.inner.as_str(),
            queue: QueueId(0),
            layout: options.layout,
            bind: options.bind,
            prime: true,
        };
        let Created { socket, obtained, tried: bound } =
            ground.ports.run(|| xsknet_xsk::create(&request)).map_err(step)??;
        tried.extend(bound.into_iter().map(|attempt| Tried {
            hook: "bind",
            step: attempt.step.to_string(),
            errno: attempt.errno,
            why: attempt.why,
        }));
        ground.passed("the socket is bound");
        let duplicate = socket
            .as_fd()
            .try_clone_to_owned()
            .map_err(|cause| step(StepError::Io { attempt: "duplicate the socket", cause }))?;
        program.set_socket(socket.as_fd()).map_err(|cause| step(cause.into()))?;
        ground.passed("the socket is in the XSKMAP");

        let info = PortInfo {
            name: self.name.clone(),
            id: self.id,
            mac: self.mac,
            addresses: self.addresses.clone(),
            vlan: options.vlan,
            mtu: self.mtu,
            outer: self.outer.clone(),
            inner: self.inner.clone(),
            guard_mode: outer_attachment.obtained(),
            port_mode: inner_attachment.obtained(),
            bind_mode: obtained,
            tried,
        };
        let room = Room {
            name: self.name.clone(),
            id: self.id,
            outer_index: outer,
            mac: self.mac,
            vlan: self.vlan,
            mtu: self.mtu,
            addresses: self.addresses.clone(),
            outer: self.outer.clone(),
            inner: self.inner.clone(),
            filters: Vec::new(),
            program,
            _attachments: [inner_attachment, outer_attachment],
            socket: duplicate,
        };
        Ok((room, socket, info))
    }

    /// Both ends are born in the ports' namespace and get their alias there, so that no device without our mark is ever
    /// among the host's.
    fn make_pair(&self, uplink: &UplinkState, scope: &Scope) -> Result<(IfIndex, IfIndex), StepError> {
        let ground = &*uplink.ground;
        let change = Change::Pair { outer: self.outer.clone(), inner: self.inner.clone(), alias: self.alias.clone() };
        ground.change(scope, change, || {
            let links = &ground.ports.links;
            let mtu = self.mtu;
            let pair = links.add_veth(&VethPair::new(
                // The card's MAC, so that the host takes what is sent to it there.
                End::new(self.outer.clone()).mac(uplink.info.mac).mtu(mtu),
                End::new(self.inner.clone()).mac(self.mac).mtu(mtu),
            ))?;
            ground.passed("the pair is made");
            links.set_alias(pair.outer, &self.alias)?;
            links.set_alias(pair.inner, &self.alias)?;
            ground.passed("the pair is marked");
            // Neither end may talk by itself, nor hand on frames that only a kernel's own stack could take.
            ground.ports.run(|| quiet(&self.outer).and_then(|_| quiet(&self.inner)))??;
            links.move_to(pair.outer, &ground.host.namespace)?;
            ground.passed("the outer end is among the host's devices");
            // The settings of IPv6 are the namespace's, not the device's: they do not travel with it.
            ground.host.run(|| quiet(&self.outer))??;
            let outer = ground.host.links.by_name(&self.outer)?.index;
            let inner = pair.inner;
            ground.host.links.set_up(outer)?;
            links.set_up(inner)?;
            Ok((outer, inner))
        })
    }
}

/// Lets the card take the port's frames in, and the uplink's program send them to the port.
fn steer(uplink: &UplinkState, card: &mut OpenUplink, id: PortId) -> Result<(), StepError> {
    let OpenUplink { datapath, filters, ports, .. } = card;
    let room = ports.get_mut(&id).expect("the port that is being opened");
    let solicited = room.addresses.iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(MacAddr::solicited_node(*address)),
        IpAddr::V4(_) => None,
    });
    let needed: BTreeSet<MacAddr> = solicited.chain([room.mac]).collect();
    for mac in needed {
        room.filters.push(mac);
        if filters.need(mac) {
            tell_card(uplink, mac)?;
        }
    }
    uplink.ground.passed("the card lets the port's frames in");
    uplink.ground.host.run(|| datapath.add_port(&room.entry()))??;
    uplink.ground.passed("the port's map entries are set");
    Ok(())
}

/// Has the card let `mac` in: by a filter, or in promiscuous mode where it takes none.
fn tell_card(uplink: &UplinkState, mac: MacAddr) -> Result<(), StepError> {
    let (device, index) = (uplink.info.device.clone(), uplink.info.index);
    let links = &uplink.ground.host.links;
    // An entry that is there already is not ours to remove. Asked before the journal is written: a crash between the two
    // would make it ours.
    if links.filters(index)?.contains(&mac) {
        return Ok(());
    }
    let scope = uplink.scope();
    let change = Change::Filter { device: device.clone(), index, mac };
    let answer = uplink.ground.change(&scope, change.clone(), || Ok::<_, StepError>(links.add_filter(index, mac)?))?;
    match answer {
        FilterAnswer::Added => Ok(()),
        FilterAnswer::AlreadyThere => uplink.ground.forget(&change),
        FilterAnswer::Refused(_) => {
            uplink.ground.forget(&change)?;
            if links.by_index(index)?.promiscuous {
                return Ok(());
            }
            let change = Change::Promiscuous { device, index };
            uplink.ground.change(&scope, change, || Ok(links.set_promiscuous(index, true)?))
        }
    }
}

/// The port's program runs where the uplink's does: a native redirect reaches only a native program at the inner end.
fn port_mode(uplink: Obtained) -> Mode {
    match uplink {
        Obtained::Native | Obtained::Hw => Mode::Native,
        Obtained::Skb => Mode::Skb,
    }
}

/// The guard runs native only if the card can transmit what is redirected to it: for a veth that hangs on the wire's
/// far end, and a refused frame would vanish without an error.
fn guard_mode(uplink: &UplinkState, tried: &mut Vec<Tried>) -> Mode {
    if uplink.info.mode == Obtained::Skb {
        return Mode::Skb;
    }
    match uplink.ground.host.links.xdp_features(uplink.info.index) {
        Ok(Some(features)) if !features.contains(XdpFeatures::NDO_XMIT) => {
            let device = &uplink.info.device;
            tried.push(Tried {
                hook: "guard",
                step: "native".into(),
                errno: None,
                why: format!(
                    "not taken: {device} does not transmit redirected frames (no ndo-xmit); the far end of a veth needs \
                     GRO or a native program for that"
                ),
            });
            Mode::Skb
        }
        _ => Mode::Native,
    }
}

pub(crate) fn tried(hook: &'static str, attempts: &[Attempt]) -> Vec<Tried> {
    let told = attempts.iter().map(|attempt| Tried {
        hook,
        step: attempt.mode.to_string(),
        errno: attempt.errno,
        why: attempt.why.clone(),
    });
    told.collect()
}

fn check_name(name: &str) -> Result<(), OpenPortError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        Err(OpenPortError::NameUnfit { name: name.into() })
    }
}

fn check_mtu(mtu: u32, uplink: &UplinkState, layout: &Layout) -> Result<(), OpenPortError> {
    if mtu > uplink.info.mtu {
        let (uplink_mtu, uplink) = (uplink.info.mtu, uplink.info.device.clone());
        return Err(OpenPortError::MtuAboveUplink { mtu, uplink_mtu, uplink });
    }
    let (needed, capacity) = (mtu.saturating_add(HEADERS), layout.frame_capacity());
    if needed > capacity {
        return Err(OpenPortError::MtuTooLarge { mtu, needed, frame_size: layout.frame_size(), capacity });
    }
    Ok(())
}

fn check_mac(mac: MacAddr, vlan: Vlan, uplink: &UplinkState, card: &OpenUplink) -> Result<(), OpenPortError> {
    if mac.is_multicast() {
        return Err(OpenPortError::MacUnfit { mac, what: "a group's" });
    }
    if mac.octets() == [0; 6] {
        return Err(OpenPortError::MacUnfit { mac, what: "no address" });
    }
    let taken = |holder: String| OpenPortError::MacTaken { mac, uplink: uplink.info.device.clone(), holder };
    if mac == uplink.info.mac {
        return Err(taken("the card itself".into()));
    }
    let same = |room: &&Room| room.mac == mac && room.vlan == vlan;
    match card.ports.values().find(same) {
        Some(room) => Err(taken(format!("port `{}`", room.name))),
        None => Ok(()),
    }
}

fn check_addresses(
    addresses: &[IpAddr],
    vlan: Vlan,
    uplink: &UplinkState,
    card: &OpenUplink,
) -> Result<(), OpenPortError> {
    if addresses.is_empty() {
        return Err(OpenPortError::NoAddress);
    }
    let device = &uplink.info.device;
    let step = |cause: StepError| OpenPortError::Step { uplink: device.clone(), cause };
    let hosts = hosts_addresses(uplink).map_err(|cause| step(cause.into()))?;
    for (at, address) in addresses.iter().enumerate() {
        if let Some(what) = unfit(*address) {
            return Err(OpenPortError::AddressUnfit { address: *address, what });
        }
        if addresses[..at].contains(address) {
            return Err(OpenPortError::AddressUnfit { address: *address, what: "listed twice" });
        }
        let taken = |holder: String| OpenPortError::AddressTaken { address: *address, uplink: device.clone(), holder };
        // ARP for it would no longer reach the host. A VLAN is another network.
        if vlan == Vlan::UNTAGGED && hosts.contains(address) {
            return Err(taken("the host".into()));
        }
        let same = |room: &&Room| room.vlan == vlan && room.addresses.contains(address);
        if let Some(room) = card.ports.values().find(same) {
            return Err(taken(format!("port `{}`", room.name)));
        }
    }
    Ok(())
}

fn hosts_addresses(uplink: &UplinkState) -> Result<Vec<IpAddr>, LinkError> {
    let links = &uplink.ground.host.links;
    let mut all = Vec::new();
    for device in links.list()? {
        all.extend(links.addresses(device.index)?.into_iter().map(|(address, _)| address));
    }
    Ok(all)
}

/// Why an address cannot be one host's.
fn unfit(address: IpAddr) -> Option<&'static str> {
    let kinds = [
        (address.is_unspecified(), "no address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a group's"),
        (matches!(address, IpAddr::V4(v4) if v4.is_broadcast()), "the broadcast address"),
        (matches!(address, IpAddr::V6(v6) if is_mapped(v6)), "an IPv4 address in IPv6's clothes"),
    ];
    kinds.into_iter().find_map(|(is, what)| is.then_some(what))
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

/// A device name of at most 15 bytes that no other uplink's port has: both numbers in hexadecimal.
fn device_name(end: char, uplink: &UplinkState, id: PortId) -> DeviceName {
    let name = format!("xsk{end}{:x}-{:x}", uplink.info.index.get(), id.number());
    name.parse().expect("two numbers fit a device name")
}

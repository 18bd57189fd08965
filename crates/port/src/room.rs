//! The kernel's half of a port: how it is built, and how frames come to it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use xsknet_bpf::{AttachError, Attachment, Datapath, Mode, Obtained, PortEntry, PortId, PortProgram};
use xsknet_link::{End, FilterAnswer, IfIndex, LinkError, MacAddr, VethPair, XdpFeatures, quiet};
use xsknet_xsk::{Created, QueueId, Request, Socket, prefer_busy_poll};

use crate::claims::Claim;
use crate::client_end::ClientEnd;
use crate::error::{OpenPortError, StepError};
use crate::filters::Entry;
use crate::ground::{Ground, Site};
use crate::journal::{Change, Scope};
use crate::names::PinPath;
use crate::pins;
use crate::plan::{HEADERS, Pair, Plan};
use crate::port::{PortInfo, PortOptions};
use crate::remains::Umem;
use crate::tried::Tried;
use crate::uplink::{Part, Repair, TAKEN_OFF, UplinkState};
use crate::vlans;

/// The kernel's half of a port.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) plan: Plan,
    /// One a queue, in their order.
    pub(crate) members: Vec<Member>,
    /// The numbers of the members' outer ends.
    outers: Vec<u32>,
    /// The inner end, where it is in a client's namespace.
    pub(crate) client: Option<Arc<ClientEnd>>,
}

/// What one queue of a port consists of: a pair, with a program and a map of its own.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) pair: Pair,
    pub(crate) outer_index: IfIndex,
    /// In its own namespace.
    pub(crate) inner_index: IfIndex,
    pub(crate) program: PortProgram,
    attachments: Mutex<Attachments>,
    /// That its socket was made with.
    pub(crate) umem: Option<Umem>,
    /// Held for its statistics; `None` until its owner shares it. It must go with the port, or a dead owner's socket would stay
    /// in the XSKMAP.
    pub(crate) socket: Mutex<Option<OwnedFd>>,
}

#[derive(Debug)]
struct Attachments {
    inner: Attachment,
    guard: Attachment,
}

type Attach<'a> = &'a (dyn Fn(&xsknet_bpf::Device, Mode) -> Result<Attachment, AttachError> + Sync);

impl Room {
    /// Puts programs back that somebody took off the pairs, where the devices are still there.
    pub(crate) fn repair(&self, ground: &Ground, datapath: &RwLock<Datapath>) -> Vec<Repair> {
        self.members.iter().flat_map(|member| member.repair(self, ground, datapath)).collect()
    }

    /// The port as the programs know it.
    pub(crate) fn entry(&self) -> PortEntry<'_> {
        let Plan { id, mac, vlan, mtu, addresses, rights, rates, .. } = &self.plan;
        PortEntry {
            id: *id,
            outers: &self.outers,
            mac: mac.octets(),
            vlan: *vlan,
            mtu: *mtu,
            sources: addresses,
            targets: addresses,
            rights: *rights,
            rates: *rates,
        }
    }

    /// The namespace of the inner ends.
    pub(crate) fn inner_site<'a>(&'a self, ground: &'a Ground) -> &'a Site {
        self.client.as_ref().map_or(&ground.ports, |client| &client.site)
    }

    /// Makes the port's sockets, here in this process: one a queue.
    pub(crate) fn make_sockets(
        &mut self,
        uplink: &UplinkState,
        options: &PortOptions,
        info: &mut PortInfo,
    ) -> Result<Vec<Socket>, OpenPortError> {
        self.members.iter_mut().map(|member| member.make_socket(uplink, options, info)).collect()
    }
}

impl Member {
    fn make_socket(
        &mut self,
        uplink: &UplinkState,
        options: &PortOptions,
        info: &mut PortInfo,
    ) -> Result<Socket, OpenPortError> {
        let ground = &*uplink.ground;
        let step = |cause: StepError| OpenPortError::Step { uplink: uplink.info.device.clone(), cause };
        // The socket is bound and its FILL ring primed before the XSKMAP knows it, else the first frames are lost.
        let request = Request {
            device: self.pair.inner.as_str(),
            queue: QueueId(0),
            layout: options.layout,
            huge_pages: options.huge_pages,
            bind: options.bind,
            prime: true,
        };
        let bytes = options.layout.umem_bytes();
        let create = || ground.umem_ends.registered(bytes, || xsknet_xsk::create(&request));
        let (created, umem) = ground.ports.run(create).map_err(step)?;
        let Created { socket, obtained, tried: bound } = created?;
        self.umem = umem;
        info.bind_mode.get_or_insert(obtained);
        let polled = options.busy_poll.map(|wanted| prefer_busy_poll(&socket, wanted));
        add_new(&mut info.tried, bound.into_iter().chain(polled).map(Tried::bind));
        ground.passed("the socket is bound");
        let duplicate = socket.as_fd().try_clone_to_owned();
        self.hold(duplicate.map_err(|cause| step(StepError::Io { attempt: "duplicate the socket", cause }))?);
        self.program.set_socket(socket.as_fd()).map_err(|cause| step(cause.into()))?;
        ground.passed("the socket is in the XSKMAP");
        Ok(socket)
    }

    /// Where its guard runs.
    pub(crate) fn guard_mode(&self) -> Obtained {
        self.attached().guard.obtained()
    }

    fn attached(&self) -> MutexGuard<'_, Attachments> {
        self.attachments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn repair(&self, room: &Room, ground: &Ground, datapath: &RwLock<Datapath>) -> Vec<Repair> {
        let mut attached = self.attached();
        let Attachments { inner, guard } = &mut *attached;
        let off = |attachment: &Attachment| !matches!(attachment.is_attached(), Ok(true));
        let mut repairs = Vec::new();
        let mut repair = |program, site: &Site, index: IfIndex, attachment: &mut Attachment, attach: Attach<'_>| {
            // Without its device it had to go.
            let Ok(device) = site.links.by_index(index) else { return };
            let target = xsknet_bpf::Device { name: device.name.to_string(), index: index.get() };
            let mode = attachment.obtained().into();
            let outcome = site.run(|| attach(&target, mode)).and_then(|fresh| Ok(attachment.replace(fresh?)?));
            let why = TAKEN_OFF.into();
            let part = Part::Program { key: Some(room.plan.key), program, device: device.name, why };
            repairs.push(Repair { part, outcome });
        };
        if off(guard) {
            let attach = |target: &_, mode| read(datapath).attach_guard(target, mode);
            repair("guard", &ground.host, self.outer_index, guard, &attach);
        }
        if off(inner) {
            let attach = |target: &_, mode| self.program.attach(target, mode);
            repair("port", room.inner_site(ground), self.inner_index, inner, &attach);
        }
        repairs
    }

    /// Keeps a duplicate of its socket.
    pub(crate) fn hold(&self, socket: OwnedFd) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }
}

/// What was tried for one queue is as a rule what was tried for all, and told once.
fn add_new(told: &mut Vec<Tried>, more: impl IntoIterator<Item = Tried>) {
    for tried in more {
        if !told.contains(&tried) {
            told.push(tried);
        }
    }
}

impl Plan {
    /// Everything up to the sockets, with the inner end in a client's namespace where one is given. The outer ends are still down. What a
    /// failure leaves is undone by the caller.
    pub(crate) fn build(
        self,
        uplink: &UplinkState,
        datapath: &RwLock<Datapath>,
        client: Option<Site>,
        scope: &Scope,
    ) -> Result<(Room, PortInfo), OpenPortError> {
        let mut tried = Vec::new();
        let mode = guard_mode(uplink, self.mtu, &mut tried);
        if client.is_some() && mode == Mode::Skb {
            let told = tried.pop().map(|tried| tried.why);
            let why = told.unwrap_or_else(|| format!("the program of `{}` does", uplink.info.device));
            return Err(OpenPortError::GuardUnfit { uplink: uplink.info.device.clone(), why });
        }
        let made = (0..self.pairs.len())
            .map(|member| self.build_member(member, uplink, datapath, client.as_ref(), scope, mode, &mut tried));
        let members: Vec<Member> = made.collect::<Result<_, _>>()?;
        let [first, ..] = members.as_slice() else { unreachable!("a port has at least one queue") };
        let attached = first.attached();
        let info = PortInfo {
            name: self.name.clone(),
            key: self.key,
            id: self.id,
            mac: self.mac,
            addresses: self.addresses.clone(),
            vlan: self.vlan.id(),
            mtu: self.mtu,
            outer: first.pair.outer.clone(),
            inner: first.pair.inner.clone(),
            members: self.pairs.clone(),
            guard_mode: attached.guard.obtained(),
            port_mode: attached.inner.obtained(),
            bind_mode: None,
            tried,
        };
        drop(attached);
        let client = client.map(|site| {
            let ground = Arc::clone(&uplink.ground);
            Arc::new(ClientEnd::new(ground, uplink.info.device.clone(), &self, first, site))
        });
        let outers = members.iter().map(|member| member.outer_index.get()).collect();
        Ok((Room { plan: self, members, outers, client }, info))
    }

    /// Both programs are on the pair while both its ends are down and out of everybody's reach; only then does the inner end go to a
    /// client, who may set it up at once and send.
    #[expect(clippy::too_many_arguments, reason = "what all of a port's members are made of")]
    fn build_member(
        &self,
        member: usize,
        uplink: &UplinkState,
        datapath: &RwLock<Datapath>,
        client: Option<&Site>,
        scope: &Scope,
        guard_mode: Mode,
        tried: &mut Vec<Tried>,
    ) -> Result<Member, OpenPortError> {
        let ground = &*uplink.ground;
        let step = |cause: StepError| OpenPortError::Step { uplink: uplink.info.device.clone(), cause };
        let pair = self.pairs[member].clone();
        let (outer, inner) = self.make_pair(&pair, uplink, scope).map_err(step)?;

        let folder = PinPath::member(&uplink.info.device, self.id.number(), member);
        let pins = ground.paths.pin(&folder);
        let program = ground
            .change(scope, Change::Pins { folder: folder.clone() }, || -> Result<_, StepError> {
                // The loader would use a map that it finds, and an earlier port's client may hold that one.
                pins::remove(&pins)?;
                Ok(PortProgram::load(Some(&pins))?)
            })
            .map_err(step)?;

        let pin = folder.file("guard-link");
        let outer_attachment = ground
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: pair.outer.to_string(), index: outer.get() };
                ground.host.run(|| -> Result<_, StepError> {
                    let mut attachment = read(datapath).attach_guard(&device, guard_mode)?;
                    ground.passed("the guard is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;
        add_new(tried, Tried::programs("guard", outer_attachment.tried()));

        let mode = port_mode(uplink.info.mode);
        let pin = folder.file("port-link");
        let inner_attachment = ground
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: pair.inner.to_string(), index: inner.get() };
                ground.ports.run(|| -> Result<_, StepError> {
                    let mut attachment = program.attach(&device, mode)?;
                    ground.passed("the port's program is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;
        add_new(tried, Tried::programs("port", inner_attachment.tried()));

        let inner = match client {
            Some(client) => pair.move_to_client(ground, client, outer, inner).map_err(|cause| match cause {
                StepError::Link(LinkError::NameTaken { name }) if name == pair.inner => {
                    OpenPortError::ClientDeviceTaken { device: name }
                }
                cause => step(cause),
            })?,
            None => inner,
        };
        let links = &client.unwrap_or(&ground.ports).links;
        links.set_up(inner).map_err(|cause| step(cause.into()))?;
        ground.passed("the inner end is up");
        // The program brings the device's NAPI instances along, once it is up.
        add_new(tried, self.coalesce.map(|time| Tried::coalescing(time, links.coalesce(inner, time))));

        let attachments = Mutex::new(Attachments { inner: inner_attachment, guard: outer_attachment });
        let socket = Mutex::new(None);
        Ok(Member { pair, outer_index: outer, inner_index: inner, program, attachments, umem: None, socket })
    }

    /// Both ends are born in the ports' namespace, down, and get their alias there, so that no device without our mark is ever
    /// among the host's.
    fn make_pair(&self, names: &Pair, uplink: &UplinkState, scope: &Scope) -> Result<(IfIndex, IfIndex), StepError> {
        let ground = &*uplink.ground;
        let change = Change::Pair { outer: names.outer.clone(), inner: names.inner.clone(), alias: self.alias.clone() };
        ground.change(scope, change, || {
            let links = &ground.ports.links;
            let mtu = self.mtu;
            // Each end is made where it belongs: moving it there would hold the lock of all network devices for some 20 ms.
            let pair = links.add_veth(&VethPair::new(
                // The card's MAC, so that the host takes what is sent to it there.
                End::new(names.outer.clone()).mac(uplink.card().mac).mtu(mtu).inside(&ground.host.namespace),
                End::new(names.inner.clone()).mac(self.mac).mtu(mtu),
            ))?;
            ground.passed("the pair is made");
            ground.host.links.set_alias(pair.outer, &self.alias)?;
            links.set_alias(pair.inner, &self.alias)?;
            ground.passed("the pair is marked");
            // Neither end may talk by itself, nor hand on frames that only a kernel's own stack could take.
            ground.host.run(|| quiet(&names.outer))??;
            ground.ports.run(|| quiet(&names.inner))??;
            ground.passed("the pair is quiet");
            Ok((pair.outer, pair.inner))
        })
    }
}

impl Pair {
    /// The number of the inner end there, by which it is known from now on: its name is its owner's to change.
    fn move_to_client(
        &self,
        ground: &Ground,
        client: &Site,
        outer: IfIndex,
        inner: IfIndex,
    ) -> Result<IfIndex, StepError> {
        ground.ports.links.move_to(inner, &client.namespace)?;
        ground.passed("the inner end is in the client's namespace");
        // Asked of the end that is out of the client's reach.
        let peer = ground.host.links.by_index(outer)?.peer_index;
        let inner = peer.ok_or_else(|| LinkError::DeviceMissing { device: (&self.inner).into() })?;
        let name = client.links.by_index(inner)?.name;
        client.run(|| quiet(&name))??;
        ground.passed("the inner end is quiet in the client's namespace");
        Ok(inner)
    }
}

/// Has the card take in the frames of what a port claims. Tells what a VLAN took.
pub(crate) fn let_in(uplink: &UplinkState, id: PortId, claim: &Claim) -> Result<Option<Tried>, StepError> {
    let mut told = None;
    for entry in filters_of(claim) {
        let mut open = uplink.lock();
        let Some(card) = open.as_mut() else { return Ok(told) };
        card.let_in.entry(id).or_default().push(entry);
        let is_first = card.filters.need(entry);
        match entry {
            Entry::Mac(mac) if is_first => tell_card(uplink, mac)?,
            Entry::Mac(_) => {}
            // Each port is told.
            Entry::Vlan(vlan) => {
                let way = vlans::let_in(uplink, vlan)?;
                told = way.tried(vlan);
                card.ways.insert(vlan, way);
            }
        }
    }
    uplink.ground.passed("the card lets the port's frames in");
    Ok(told)
}

/// Takes back as much of that as was done.
pub(crate) fn let_out(uplink: &UplinkState, id: PortId) -> Result<(), StepError> {
    let mut last = Ok(());
    let mut open = uplink.lock();
    let Some(card) = open.as_mut() else { return Ok(()) };
    for entry in card.let_in.remove(&id).unwrap_or_default() {
        if !card.filters.release(entry) {
            continue;
        }
        let undone = match entry {
            Entry::Mac(mac) => uplink.remove_filter(mac),
            Entry::Vlan(vlan) => {
                card.ways.remove(&vlan);
                vlans::let_out(uplink, vlan)
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
    solicited.chain([claim.mac]).map(Entry::Mac).chain(claim.vlan.id().map(Entry::Vlan)).collect()
}

/// Has the uplink's program send frames to the port, and the guard let the port's frames out; then the port comes up. The outer ends come
/// last: until then nothing leaves the pairs.
pub(crate) fn steer(uplink: &UplinkState, datapath: &RwLock<Datapath>, room: &Room) -> Result<(), StepError> {
    uplink.ground.host.run(|| datapath.write().unwrap_or_else(PoisonError::into_inner).add_port(&room.entry()))??;
    uplink.ground.passed("the port's map entries are set");
    for member in &room.members {
        uplink.ground.host.links.set_up(member.outer_index)?;
    }
    uplink.ground.passed("the outer ends are up");
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
            make_promiscuous(uplink)
        }
    }
}

/// Unless somebody has asked for it already.
pub(crate) fn make_promiscuous(uplink: &UplinkState) -> Result<(), StepError> {
    let (device, index) = (uplink.info.device.clone(), uplink.info.index);
    let links = &uplink.ground.host.links;
    if links.by_index(index)?.promiscuous {
        return Ok(());
    }
    let change = Change::Promiscuous { device, index };
    uplink.ground.change(&uplink.scope(), change, || Ok(links.set_promiscuous(index, true)?))
}

/// A panic while it was written to leaves tables that the kernel holds all the same.
pub(crate) fn read(datapath: &RwLock<Datapath>) -> std::sync::RwLockReadGuard<'_, Datapath> {
    datapath.read().unwrap_or_else(PoisonError::into_inner)
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
fn guard_mode(uplink: &UplinkState, mtu: u32, tried: &mut Vec<Tried>) -> Mode {
    if uplink.info.mode == Obtained::Skb {
        return Mode::Skb;
    }
    let device = &uplink.info.device;
    let why = match uplink.ground.host.links.xdp_features(uplink.info.index) {
        Ok(Some(features)) if !features.contains(XdpFeatures::NDO_XMIT) => format!(
            "not taken: {device} does not transmit redirected frames (no ndo-xmit); the far end of a veth needs GRO or a \
             native program for that"
        ),
        Ok(Some(features)) if mtu > one_buffer() && !features.contains(XdpFeatures::NDO_XMIT_SG) => format!(
            "not taken: {device} transmits no redirected frames in several buffers (no ndo-xmit-sg), which an MTU of {mtu} \
             makes; up to {} it would be native",
            one_buffer()
        ),
        _ => return Mode::Native,
    };
    tried.push(Tried { hook: "guard", step: "native".into(), errno: None, why });
    Mode::Skb
}

/// The largest MTU whose frames XDP has in one buffer: a page less XDP's headroom, the kernel's book-keeping behind it
/// (`skb_shared_info`, 320 bytes), the Ethernet header and one VLAN tag.
fn one_buffer() -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    page - xsknet_xsk::XDP_PACKET_HEADROOM - 320 - HEADERS
}

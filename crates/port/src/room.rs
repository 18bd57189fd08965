//! The kernel's half of a port: how it is built, and how frames come to it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use xsknet_bpf::{Attachment, Mode, Obtained, PortEntry, PortId, PortProgram, Rates, Rights};
use xsknet_link::{End, FilterAnswer, IfIndex, LinkError, MacAddr, VethPair, XdpFeatures, quiet};
use xsknet_xsk::{Created, QueueId, Request, Socket, prefer_busy_poll};

use crate::client_end::ClientEnd;
use crate::error::{OpenPortError, StepError};
use crate::ground::{Ground, Site};
use crate::journal::{Change, Scope};
use crate::names::PinPath;
use crate::pins;
use crate::plan::{HEADERS, Pair, Plan};
use crate::port::{PortInfo, PortOptions};
use crate::tried::Tried;
use crate::uplink::{OpenUplink, UplinkState};

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
    /// The addresses that the card lets in for this port.
    pub(crate) filters: Vec<MacAddr>,
}

/// What one queue of a port consists of: a pair, with a program and a map of its own.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) pair: Pair,
    pub(crate) outer_index: IfIndex,
    /// In its own namespace.
    pub(crate) inner_index: IfIndex,
    pub(crate) program: PortProgram,
    attachments: [Attachment; 2],
    /// Held for its statistics; `None` until its owner shares it. It must go with the port, or a dead owner's socket would stay
    /// in the XSKMAP.
    pub(crate) socket: Option<OwnedFd>,
}

impl Room {
    /// The port as the programs know it.
    pub(crate) fn entry(&self) -> PortEntry<'_> {
        let Plan { id, mac, vlan, mtu, addresses, .. } = &self.plan;
        let (rights, rates) = (Rights::default(), Rates::UNLIMITED);
        PortEntry { id: *id, outers: &self.outers, mac: mac.octets(), vlan: *vlan, mtu: *mtu, addresses, rights, rates }
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
        let Created { socket, obtained, tried: bound } =
            ground.ports.run(|| xsknet_xsk::create(&request)).map_err(step)??;
        info.bind_mode.get_or_insert(obtained);
        let polled = options.busy_poll.map(|wanted| prefer_busy_poll(&socket, wanted));
        add_new(&mut info.tried, bound.into_iter().chain(polled).map(Tried::bind));
        ground.passed("the socket is bound");
        let duplicate = socket.as_fd().try_clone_to_owned();
        self.socket = Some(duplicate.map_err(|cause| step(StepError::Io { attempt: "duplicate the socket", cause }))?);
        self.program.set_socket(socket.as_fd()).map_err(|cause| step(cause.into()))?;
        ground.passed("the socket is in the XSKMAP");
        Ok(socket)
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
    /// Everything up to the sockets, with the inner end in a client's namespace where one is given. What a failure leaves is
    /// undone by the caller.
    pub(crate) fn build(
        self,
        uplink: &UplinkState,
        card: &mut OpenUplink,
        client: Option<Site>,
        scope: &Scope,
    ) -> Result<(Room, PortInfo), OpenPortError> {
        let mut tried = Vec::new();
        let mode = guard_mode(uplink, self.mtu, &mut tried);
        let made = (0..self.pairs.len())
            .map(|member| self.build_member(member, uplink, card, client.as_ref(), scope, mode, &mut tried));
        let members: Vec<Member> = made.collect::<Result<_, _>>()?;
        let [first, ..] = members.as_slice() else { unreachable!("a port has at least one queue") };
        let [inner_attachment, outer_attachment] = &first.attachments;
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
            guard_mode: outer_attachment.obtained(),
            port_mode: inner_attachment.obtained(),
            bind_mode: None,
            tried,
        };
        let client = client.map(|site| {
            let ground = Arc::clone(&uplink.ground);
            Arc::new(ClientEnd::new(ground, uplink.info.device.clone(), &self, first, site))
        });
        let outers = members.iter().map(|member| member.outer_index.get()).collect();
        Ok((Room { plan: self, members, outers, client, filters: Vec::new() }, info))
    }

    #[expect(clippy::too_many_arguments, reason = "what all of a port's members are made of")]
    fn build_member(
        &self,
        member: usize,
        uplink: &UplinkState,
        card: &OpenUplink,
        client: Option<&Site>,
        scope: &Scope,
        guard_mode: Mode,
        tried: &mut Vec<Tried>,
    ) -> Result<Member, OpenPortError> {
        let ground = &*uplink.ground;
        let step = |cause: StepError| OpenPortError::Step { uplink: uplink.info.device.clone(), cause };
        let pair = self.pairs[member].clone();
        let (outer, inner) = self.make_pair(&pair, uplink, client, scope).map_err(|cause| match cause {
            StepError::Link(LinkError::NameTaken { name }) if client.is_some() && name == pair.inner => {
                OpenPortError::ClientDeviceTaken { device: name }
            }
            cause => step(cause),
        })?;

        let folder = PinPath::member(&uplink.info.device, self.id.number(), member);
        let pins = ground.paths.pin(&folder);
        let program = ground
            .change(scope, Change::Pins { folder: folder.clone() }, || -> Result<_, StepError> {
                // The loader would use a map that it finds, and an earlier port's client may hold that one.
                pins::remove(&pins)?;
                Ok(PortProgram::load(Some(&pins))?)
            })
            .map_err(step)?;

        let mode = port_mode(uplink.info.mode);
        let pin = folder.file("port-link");
        let inner_attachment = ground
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: pair.inner.to_string(), index: inner.get() };
                client.unwrap_or(&ground.ports).run(|| -> Result<_, StepError> {
                    let mut attachment = program.attach(&device, mode)?;
                    ground.passed("the port's program is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;
        add_new(tried, Tried::programs("port", inner_attachment.tried()));
        // The program brings the device's NAPI instances along, so not before.
        let links = &client.unwrap_or(&ground.ports).links;
        add_new(tried, self.coalesce.map(|time| Tried::coalescing(time, links.coalesce(inner, time))));

        let pin = folder.file("guard-link");
        let outer_attachment = ground
            .change(scope, Change::Attachment { pin: pin.clone() }, || {
                let device = xsknet_bpf::Device { name: pair.outer.to_string(), index: outer.get() };
                ground.host.run(|| -> Result<_, StepError> {
                    let mut attachment = card.datapath.attach_guard(&device, guard_mode)?;
                    ground.passed("the guard is attached");
                    attachment.pin(&ground.paths.pin(&pin))?;
                    Ok(attachment)
                })?
            })
            .map_err(step)?;
        add_new(tried, Tried::programs("guard", outer_attachment.tried()));

        let attachments = [inner_attachment, outer_attachment];
        Ok(Member { pair, outer_index: outer, inner_index: inner, program, attachments, socket: None })
    }

    /// Both ends are born in the ports' namespace and get their alias there, so that no device without our mark is ever
    /// among the host's.
    fn make_pair(
        &self,
        names: &Pair,
        uplink: &UplinkState,
        client: Option<&Site>,
        scope: &Scope,
    ) -> Result<(IfIndex, IfIndex), StepError> {
        let ground = &*uplink.ground;
        let change = Change::Pair { outer: names.outer.clone(), inner: names.inner.clone(), alias: self.alias.clone() };
        ground.change(scope, change, || {
            let links = &ground.ports.links;
            let mtu = self.mtu;
            let pair = links.add_veth(&VethPair::new(
                // The card's MAC, so that the host takes what is sent to it there.
                End::new(names.outer.clone()).mac(uplink.info.mac).mtu(mtu),
                End::new(names.inner.clone()).mac(self.mac).mtu(mtu),
            ))?;
            ground.passed("the pair is made");
            links.set_alias(pair.outer, &self.alias)?;
            links.set_alias(pair.inner, &self.alias)?;
            ground.passed("the pair is marked");
            // Neither end may talk by itself, nor hand on frames that only a kernel's own stack could take.
            ground.ports.run(|| quiet(&names.outer).and_then(|_| quiet(&names.inner)))??;
            links.move_to(pair.outer, &ground.host.namespace)?;
            ground.passed("the outer end is among the host's devices");
            // The settings of IPv6 are the namespace's, not the device's: they do not travel with it.
            ground.host.run(|| quiet(&names.outer))??;
            let outer = ground.host.links.by_name(&names.outer)?.index;
            let inner = match client {
                Some(client) => names.move_to_client(ground, client, outer, pair.inner)?,
                None => pair.inner,
            };
            ground.host.links.set_up(outer)?;
            client.unwrap_or(&ground.ports).links.set_up(inner)?;
            Ok((outer, inner))
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

/// Lets the card take the port's frames in, and the uplink's program send them to the port.
pub(crate) fn steer(uplink: &UplinkState, card: &mut OpenUplink, id: PortId) -> Result<(), StepError> {
    let OpenUplink { datapath, filters, ports, .. } = card;
    let room = ports.get_mut(&id).expect("the port that is being opened");
    let solicited = room.plan.addresses.iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(MacAddr::solicited_node(*address)),
        IpAddr::V4(_) => None,
    });
    let needed: BTreeSet<MacAddr> = solicited.chain([room.plan.mac]).collect();
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

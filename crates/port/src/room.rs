//! The kernel's half of a port: how it is built, and how frames come to it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use xsknet_bpf::{Attachment, Mode, Obtained, PortEntry, PortId, PortProgram};
use xsknet_link::{End, FilterAnswer, IfIndex, MacAddr, VethPair, XdpFeatures, quiet};
use xsknet_xsk::{Created, QueueId, Request, Socket, prefer_busy_poll};

use crate::error::{OpenPortError, StepError};
use crate::journal::{Change, Scope};
use crate::names::PinPath;
use crate::plan::Plan;
use crate::port::{PortInfo, PortOptions};
use crate::tried::Tried;
use crate::uplink::{OpenUplink, UplinkState};

/// The kernel's half of a port.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) plan: Plan,
    pub(crate) outer_index: IfIndex,
    /// The addresses that the card lets in for this port.
    pub(crate) filters: Vec<MacAddr>,
    pub(crate) program: PortProgram,
    pub(crate) _attachments: [Attachment; 2],
    /// Held for its statistics. It must go with the port, or a dead owner's socket would stay in the XSKMAP.
    pub(crate) socket: OwnedFd,
}

impl Room {
    /// The port as the programs know it.
    pub(crate) fn entry(&self) -> PortEntry<'_> {
        let Plan { id, mac, vlan, mtu, addresses, .. } = &self.plan;
        let (outer, mac) = (self.outer_index.get(), mac.octets());
        PortEntry { id: *id, outer, mac, vlan: *vlan, mtu: *mtu, addresses }
    }
}

impl Plan {
    /// Everything up to the self-test. What a failure leaves is undone by the caller.
    pub(crate) fn build(
        self,
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

        let mut tried = Tried::programs("port", inner_attachment.tried());
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
        tried.extend(Tried::programs("guard", outer_attachment.tried()));

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
        tried.extend(bound.into_iter().map(Tried::bind));
        tried.extend(options.busy_poll.map(|wanted| Tried::bind(prefer_busy_poll(&socket, wanted))));
        ground.passed("the socket is bound");
        let duplicate = socket
            .as_fd()
            .try_clone_to_owned()
            .map_err(|cause| step(StepError::Io { attempt: "duplicate the socket", cause }))?;
        program.set_socket(socket.as_fd()).map_err(|cause| step(cause.into()))?;
        ground.passed("the socket is in the XSKMAP");

        let info = PortInfo {
            name: self.name.clone(),
            key: self.key,
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
            plan: self,
            outer_index: outer,
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

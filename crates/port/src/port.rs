//! A port: a veth pair, a guard at its outer end, an AF_XDP socket at its inner end; and as often as it has queues.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use xsknet_bpf::{Datapath, Obtained, PortId, Rates, Rights};
use xsknet_link::{DeviceName, MacAddr};
use xsknet_xsk::{BindMode, BindRequest, BusyPoll, ChunkCounts, Donation, HugePages, Layout, Socket};

use crate::error::{CloseError, HandOverError, OpenPortError, StepError};
use crate::journal::Scope;
use crate::plan::{HostView, Pair, Plan, Wanted, for_mtu};
use crate::question::Question;
use crate::remains::{Kept, UmemFile};
use crate::room::{Room, let_in, read, steer};
use crate::selftest::{self, Trial};
use crate::statistics::{Equality, PortStatistics};
use crate::tried::Tried;
use crate::uplink::{Uplink, UplinkState};

/// What a port is to be. `PortOptions::new` has the defaults.
#[derive(Debug, Clone)]
pub struct PortOptions {
    /// The user whose it is: its name is one among this user's ports, and other users' ports are not told of in its errors.
    /// Default: root.
    pub owner: u32,
    /// Its name, unique on the uplink among the ports of its owner, of 1 to 64 letters, digits, `-`, `_` and `.`; made up where there
    /// is none.
    pub name: Option<String>,
    /// Its addresses on the uplink's network; at least one.
    pub addresses: Vec<IpAddr>,
    /// Its MAC. Default: locally administered, and the same whenever its owner opens a port of this name on this card, or, without a
    /// name, with these addresses; nobody can choose it by a name. A MAC that is given is good for no link-local address by itself.
    pub mac: Option<MacAddr>,
    /// Its VLAN, 1 to 4094: all its frames carry this tag. Default: none do.
    pub vlan: Option<u16>,
    /// Its MTU in bytes, at most the uplink's, which is the default.
    pub mtu: Option<u32>,
    /// Its queues, 1 to 8: each is a pair with a socket, an UMEM and rings of its own. The uplink's program decides by a frame's flow
    /// which of them gets it, the same for both directions; what is no IP is the first one's.
    pub queues: u32,
    /// What it may send that others may not. Default: nothing.
    pub rights: Rights,
    /// How many frames a second it may send to the uplink of the kinds that reach everybody there. Default: as many as it likes.
    pub rates: Rates,
    /// UMEM and rings, of each queue.
    pub layout: Layout,
    /// Whether each UMEM lies in huge pages. A fall-back is told in `tried`.
    pub huge_pages: HugePages,
    /// Whether a frame may take several chunks (`XDP_USE_SG`). Default: where the MTU asks for it. What the layout says is not asked.
    pub multi_buffer: Option<bool>,
    /// How its sockets are bound.
    pub bind: BindRequest,
    /// Whether its sockets prefer busy polling, which its owner may not be able to ask for. A refusal is told in `tried`.
    pub busy_poll: Option<BusyPoll>,
    /// How long frames gather at each of its inner ends once some have been handled: fewer wake-ups, and each frame late by so much at
    /// most. A refusal is told in `tried`, and that skb mode has no such thing. Default: not at all.
    pub coalesce: Option<Duration>,
}

impl PortOptions {
    /// A port with these addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            owner: 0,
            name: None,
            addresses: addresses.into_iter().collect(),
            mac: None,
            vlan: None,
            mtu: None,
            queues: 1,
            rights: Rights::default(),
            rates: Rates::UNLIMITED,
            layout: Layout::builder().build().expect("the defaults fit each other"),
            huge_pages: HugePages::Never,
            multi_buffer: None,
            bind: BindRequest::Automatic,
            busy_poll: None,
            coalesce: None,
        }
    }

    /// Whether there can be such a port at all, whatever others have and whoever asks: [`Uplink::open_port`](crate::Uplink::open_port) refuses
    /// no other for such a reason. It asks the kernel nothing. Of the uplink only its MTU counts, and not where it is not given.
    ///
    /// # Errors
    /// [`OpenPortError`] for what is wrong with the options themselves.
    pub fn check(&self, uplink: Option<&Uplink>) -> Result<(), OpenPortError> {
        let uplink = uplink.map(Uplink::state);
        let mtu = self.mtu.or(uplink.map(|uplink| uplink.card().mtu));
        let layout = mtu.map(|mtu| for_mtu(self.layout, mtu, self.multi_buffer));
        Wanted { layout: layout.as_ref(), ..self.wanted() }.check(uplink).map(drop)
    }

    /// The same for a port on a UMEM that is there, of whose shape the options say nothing.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_shared(&self, uplink: Option<&Uplink>) -> Result<(), OpenPortError> {
        Wanted { layout: None, ..self.wanted() }.check(uplink.map(Uplink::state)).map(drop)
    }

    pub(crate) fn wanted(&self) -> Wanted<'_> {
        let Self { owner, name, addresses, mac, vlan, mtu, queues, rights, rates, layout, coalesce, .. } = self;
        Wanted {
            owner: *owner,
            name: name.as_deref(),
            addresses,
            mac: *mac,
            vlan: *vlan,
            mtu: *mtu,
            queues: *queues,
            rights: *rights,
            rates: *rates,
            coalesce: *coalesce,
            layout: Some(layout),
        }
    }
}

/// Tells a port from all others that its instance ever opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey(u32);

impl PortKey {
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a port's options.
#[derive(Debug, Clone)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// Its number in the instance's life, counted from 1: no two ports ever have the same.
    pub key: PortKey,
    /// Its number on the uplink, the key of its slot in the DEVMAP: given out again once the port is closed.
    pub id: PortId,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its addresses; with an IPv6 address among them, the link-local one comes last.
    pub addresses: Vec<IpAddr>,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// The device at its outer end, among the host's: of its first queue.
    pub outer: DeviceName,
    /// The device at its inner end, in the instance's namespace, or in the client's of a pinned port: of its first queue.
    pub inner: DeviceName,
    /// The pair of each queue, in their order.
    pub members: Vec<Pair>,
    /// Where its guard runs.
    pub guard_mode: Obtained,
    /// Where the program at its inner end runs.
    pub port_mode: Obtained,
    /// How its first socket is bound; `None` where its client makes it.
    pub bind_mode: Option<BindMode>,
    /// What was tried on the way.
    pub tried: Vec<Tried>,
}

/// An open port and its sockets. Dropping it closes it; `close` also says what could not be undone.
#[derive(Debug)]
pub struct Port {
    // Before the sockets: nothing may be steered to them any more when they go.
    hold: Hold,
    sockets: Vec<Socket>,
}

/// An open port whose sockets were handed over: its frames and rings are somebody else's, and this process has no mapping of
/// them. Dropping it closes it; `close` also says what could not be undone.
#[derive(Debug)]
pub struct BrokeredPort {
    pub(crate) hold: Hold,
    /// Of its first queue.
    pub(crate) layout: Layout,
    pub(crate) bind: BindMode,
}

/// What keeps a port open.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) uplink: Arc<UplinkState>,
    pub(crate) info: PortInfo,
    /// What somebody else may keep of it.
    pub(crate) kept: Option<Kept>,
    open: bool,
}

impl Port {
    pub(crate) fn open(uplink: Arc<UplinkState>, options: PortOptions) -> Result<Self, OpenPortError> {
        let mtu = options.mtu.unwrap_or(uplink.refresh().mtu);
        let layout = for_mtu(options.layout, mtu, options.multi_buffer);
        let options = PortOptions { layout, ..options };
        let build = |plan: Plan, uplink: &UplinkState, datapath: &RwLock<Datapath>, scope: &Scope| {
            let (mut room, mut info) = plan.build(uplink, datapath, None, scope)?;
            let sockets = room.make_sockets(uplink, &options, &mut info)?;
            Ok((room, info, sockets))
        };
        let prove = |trial: &Trial<'_>, sockets: &mut Vec<Socket>| {
            let mut numbered = sockets.iter_mut().enumerate();
            numbered.try_for_each(|(member, socket)| selftest::both_ways(trial, member, socket))
        };
        let (hold, sockets) = Hold::open(uplink, &options.wanted(), build, prove)?;
        Ok(Self { hold, sockets })
    }

    /// What became of the options.
    pub fn info(&self) -> &PortInfo {
        &self.hold.info
    }

    /// The socket of its first queue: frames and rings.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.sockets[0]
    }

    /// The sockets of all its queues, in their order.
    pub fn sockets(&mut self) -> &mut [Socket] {
        &mut self.sockets
    }

    /// What the kernel says of the port.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn statistics(&self) -> Result<PortStatistics, StepError> {
        self.hold.statistics()
    }

    /// The sums of this port's frames, which hold at rest.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn equalities(&mut self) -> Result<[Equality; 3], StepError> {
        let owners: Vec<_> = self.sockets.iter().map(Socket::counters).collect();
        Ok(self.statistics()?.equalities(&owners))
    }

    /// Gives the sockets away, to another process perhaps, in the order of their queues, and keeps the port open. No mapping of the UMEM or of a ring stays
    /// in this process: whoever has the UMEM's file may truncate it, and a touch of a mapping would then be the end.
    ///
    /// # Errors
    /// [`HandOverError`] with the port in it, unless all frames are released and everything sent has been completed.
    pub fn hand_over(mut self) -> Result<(BrokeredPort, Vec<Donation>), HandOverError> {
        // All or none, so that the port stays whole.
        let (mut held, mut tx, mut broken) = (0, 0, None);
        for socket in &mut self.sockets {
            broken = broken.or(socket.complete().err());
            let chunks = socket.chunks();
            held += chunks.outstanding();
            tx += chunks.tx;
        }
        if held > 0 || tx > 0 || broken.is_some() {
            return Err(HandOverError { held, tx, broken, port: Box::new(self) });
        }
        let Self { mut hold, sockets } = self;
        let (layout, bind) = (*sockets[0].layout(), sockets[0].bind_mode());
        let donations =
            sockets.into_iter().map(|socket| socket.donate().expect("nothing was sent since it was looked at"));
        let donations: Vec<_> = donations.collect();
        let room = hold.uplink.room(hold.info.id);
        let watched = |at: usize| room.as_ref().and_then(|(_, room)| room.members.get(at)?.umem.clone());
        let files = donations.iter().enumerate();
        let umems = files.filter_map(|(at, donation)| UmemFile::new(&donation.umem, watched(at)).ok()).collect();
        hold.kept = Some(Kept { umems, map: None });
        Ok((BrokeredPort { hold, layout, bind }, donations))
    }

    /// Closes the port: nothing is steered to it any more, and its pairs are gone. Returns the chunk counts of its
    /// sockets.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(self) -> Result<Vec<ChunkCounts>, CloseError> {
        let Self { hold, sockets } = self;
        let closed = hold.close();
        let chunks = sockets.into_iter().map(Socket::close).collect();
        closed.map(|()| chunks)
    }
}

impl AsMut<Socket> for Port {
    fn as_mut(&mut self) -> &mut Socket {
        self.socket()
    }
}

impl BrokeredPort {
    /// What became of the options.
    pub fn info(&self) -> &PortInfo {
        &self.hold.info
    }

    /// What the kernel says of the port.
    ///
    /// # Errors
    /// The kernel's, for a map or a device.
    pub fn statistics(&self) -> Result<PortStatistics, StepError> {
        self.hold.statistics()
    }

    /// Closes the port. Whoever holds one of its sockets, or a copy, can neither send nor receive any more once this returns.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(self) -> Result<(), CloseError> {
        self.hold.close()
    }
}

impl Hold {
    /// Builds a port by `build`, steers its frames to it, and has `prove` look whether that works. Others may do the same meanwhile.
    pub(crate) fn open<T>(
        uplink: Arc<UplinkState>,
        wanted: &Wanted<'_>,
        build: impl FnOnce(Plan, &UplinkState, &RwLock<Datapath>, &Scope) -> Result<(Room, PortInfo, T), OpenPortError>,
        prove: impl FnOnce(&Trial<'_>, &mut T) -> Result<(), OpenPortError>,
    ) -> Result<(Self, T), OpenPortError> {
        let step = |cause: StepError| OpenPortError::Step { uplink: uplink.info.device.clone(), cause };
        let work = uplink.work();
        let turn = uplink.ground.turns.open(wanted.owner, wanted.said());
        uplink.check_link()?;
        uplink.check().map_err(step)?;
        let host = HostView::look(&uplink.ground, uplink.info.index).map_err(|cause| step(cause.into()))?;
        let (plan, claim, datapath) = uplink.claim(&host, wanted)?;
        let (id, key) = (plan.id, plan.key);
        let make = || -> Result<_, OpenPortError> {
            // One that the daemon drew is nobody's.
            if wanted.mac.is_some()
                && read(&datapath).has_heard(claim.mac.octets(), claim.vlan).map_err(|cause| step(cause.into()))?
            {
                let (mac, uplink) = (claim.mac, uplink.info.device.clone());
                return Err(OpenPortError::MacTaken { mac, uplink, holder: "a neighbour".into() });
            }
            let vlan = let_in(&uplink, id, &claim).map_err(step)?;
            // The port is built while the neighbours think.
            let question = Question::ask(&uplink, &claim);
            let (room, mut info, mut made) = build(plan, &uplink, &datapath, &uplink.port_scope(id))?;
            info.tried.extend(vlan);
            match &question {
                Ok(question) => question.answer(&uplink)?,
                Err(tried) => info.tried.push(tried.clone()),
            }
            let room = Arc::new(room);
            uplink.publish(&room);
            steer(&uplink, &datapath, &room).map_err(step)?;
            let trial = Trial { uplink: &uplink, datapath: &datapath, room: &room, info: &info };
            prove(&trial, &mut made)?;
            if let Ok(question) = question {
                info.tried.extend(question.announce(&uplink, &info.addresses).err());
            }
            Ok((info, made))
        };
        let made = make();
        // Undoing takes another one.
        drop(turn);
        let (info, made) = made.inspect_err(|_| {
            // Before anybody else gets this number, and the names that go with it. What cannot be undone stays in the journal; the
            // reason is the better story.
            let _ = uplink.unmake(id, key, None);
        })?;
        drop(work);
        Ok((Self { uplink, info, kept: None, open: true }, made))
    }

    pub(crate) fn statistics(&self) -> Result<PortStatistics, StepError> {
        self.uplink.statistics_of(self.info.id)
    }

    pub(crate) fn close(mut self) -> Result<(), CloseError> {
        self.end()
    }

    /// Once: another port may have the number afterwards.
    fn end(&mut self) -> Result<(), CloseError> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        self.uplink.close_port(self.info.id, self.info.key, self.kept.take())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("xsknet: port `{}`: {error}: {}", self.info.name, error.cause);
        }
    }
}

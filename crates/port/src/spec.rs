//! What a port is asked to be: the one definition of its options, their defaults, and what is wrong with them by
//! themselves.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use xsknet_bpf::contract::{MAX_PORT_QUEUE_PAIRS, MAX_TAP_FLOWS};
use xsknet_bpf::{Group, Rates, Rights, Tap, Vlan};
use xsknet_filter::Flow;
use xsknet_link::MacAddr;
use xsknet_xsk::{BindRequest, BusyPoll, HugePages, Layout, LayoutError, RingName};

use crate::admission::NeighbourTraffic;
use crate::error::{OpenPortError, TapRefused};
use crate::mtu::{MtuLimit, check_mtu, for_mtu};

/// The longest name of a port, in bytes.
pub const MAX_NAME_LENGTH: usize = 64;

/// Chunks of a UMEM for each slot of a ring, unless the request says otherwise: one for reception, one for sending.
pub const FRAMES_PER_SLOT: u32 = 2;

/// What a port is to be. `PortSpec::new` has the defaults.
#[derive(Debug, Clone)]
pub struct PortSpec {
    /// The user that owns it: its name is unique among this user's ports, and its errors do not reveal the ports of
    /// other users. Default: root.
    pub owner: u32,
    /// Its name, unique on the uplink among the ports of its owner, of 1 to 64 letters, digits, `-`, `_` and `.`; made
    /// up where there is none.
    pub name: Option<String>,
    /// Its addresses on the uplink's network. Without any it has flows alone, at least one when it is opened, and its
    /// uplink's MAC.
    pub addresses: Vec<IpAddr>,
    /// Whether its addresses are at the uplink's MAC, and its frames have this MAC. It gets no link-local address by
    /// itself then. Default: no.
    pub uplink_mac: bool,
    /// Its MAC. Default: locally administered, and the same whenever its owner opens a port of this name on this NIC,
    /// or, without a name, with these addresses; nobody can choose it by a name. A MAC that is given is good for no
    /// link-local address by itself, and for no port that has the uplink's.
    pub mac: Option<MacAddr>,
    /// Its VLAN, 1 to 4094: all its frames carry this tag. Default: none do.
    pub vlan: Option<u32>,
    /// Its MTU in bytes, at most the uplink's, which is the default.
    pub mtu: Option<u32>,
    /// Its queues, 1 to 8: each is a queue pair with a socket, a UMEM and rings of its own. The uplink's program
    /// decides by a frame's flow which of them gets it, the same for both directions; what is not IP is the first
    /// one's. A pinned port has one, whatever this says.
    pub queues: u32,
    /// What it may send that others may not. Default: nothing.
    pub rights: Rights,
    /// How many frames a second it may send to the uplink of the kinds that reach all stations there. Default: not
    /// limited.
    pub rates: Rates,
    /// How long frames gather at each of its inner ends once some have been handled: fewer wake-ups, and each frame
    /// late by so much at most. `attempts` says if the kernel refuses it. Default: not at all.
    pub coalesce: Option<Duration>,
    /// What packets it takes beside those to its MAC: see `docs/verdicts.md`. Default: none.
    pub flows: Vec<Flow>,
    /// Whether its flows may take packets of the host's own. Default: no.
    pub override_host: bool,
    /// Of what groups it gets copies: see `docs/verdicts.md`. Default: none.
    pub groups: BTreeSet<Group>,
    /// Of what it gets copies, where it is a tap: it then has no addresses, flows, VLAN, MTU or groups of its own,
    /// sends nothing, and needs BPF rings. Default: it is not a tap.
    pub tap: Option<TapWish>,
    /// What its frames go through. Not for pinned ports, nor for those on the UMEM of another one.
    pub rings: RingsWish,
    /// UMEM and rings, of each queue. This and what follows is about the port's sockets, and so not for a pinned port,
    /// whose client makes its socket.
    pub layout: Layout,
    /// Whether each UMEM lies in huge pages. `attempts` reports a fall-back.
    pub huge_pages: HugePages,
    /// Whether a frame may take several chunks (`XDP_USE_SG`). Default: where the MTU asks for it. What the layout says
    /// is not asked.
    pub multi_buffer: Option<bool>,
    /// How its sockets are bound.
    pub bind: BindRequest,
    /// Whether its sockets prefer busy polling, which its owner may not be able to request. `attempts` reports a
    /// refusal.
    pub busy_poll: Option<BusyPoll>,
}

/// What a tap shall get copies of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapWish {
    /// Which frames, and how much of them.
    pub tap: Tap,
    /// Whether the uplink receives what is for other stations, too.
    pub promiscuous: bool,
}

/// What the frames of a port shall go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RingsWish {
    /// The rings of an AF_XDP socket.
    #[default]
    Xsk,
    /// BPF rings, or the port is not opened.
    Bpf,
    /// BPF rings where they can be had, else those of an AF_XDP socket.
    Auto,
}

impl RingsWish {
    /// All, by the names that other languages have for them.
    pub const NAMED: [(&'static str, Self); 3] = [("xsk", Self::Xsk), ("bpf", Self::Bpf), ("auto", Self::Auto)];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find_map(|(its, wish)| (its == name).then_some(wish))
    }
}

/// Which side makes a port's sockets and their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// The daemon makes both.
    Brokered,
    /// The daemon makes the socket, on a UMEM that is there: of its shape the spec says nothing.
    Shared,
    /// The client makes both.
    Pinned,
}

impl PortSpec {
    /// A port with these addresses. Without any it needs flows.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            owner: 0,
            name: None,
            addresses: addresses.into_iter().collect(),
            uplink_mac: false,
            mac: None,
            vlan: None,
            mtu: None,
            queues: 1,
            rights: Rights::default(),
            rates: Rates::UNLIMITED,
            coalesce: None,
            flows: Vec::new(),
            override_host: false,
            groups: BTreeSet::new(),
            tap: None,
            rings: RingsWish::Xsk,
            layout: Layout::builder().build().expect("the defaults fit each other"),
            huge_pages: HugePages::Never,
            multi_buffer: None,
            bind: BindRequest::Automatic,
            busy_poll: None,
        }
    }

    /// Whether such a port is possible at all, regardless of other ports and of the user: what passes is not refused
    /// for such a reason later. Makes no system call. Of the uplink only its MTU counts, if the uplink is given. Flows
    /// are not looked at, nor whether a port without addresses has any.
    ///
    /// # Errors
    /// [`OpenPortError`] for what is wrong with the options themselves.
    pub fn check(&self, kind: PortKind, uplink: Option<&MtuLimit>) -> Result<(), OpenPortError> {
        let mtu = self.mtu.or(uplink.map(|uplink| uplink.mtu));
        let layout = match kind {
            PortKind::Brokered => mtu.map(|mtu| for_mtu(self.layout, mtu, self.multi_buffer)),
            PortKind::Shared | PortKind::Pinned => None,
        };
        self.check_tap()?;
        self.validated(layout.as_ref(), uplink).map(drop)
    }

    /// Whether a tap is possible, where it is to be one.
    pub(crate) fn check_tap(&self) -> Result<(), TapRefused> {
        let Some(TapWish { tap, .. }) = &self.tap else { return Ok(()) };
        let own = [
            (!self.addresses.is_empty(), "addresses"),
            (!self.flows.is_empty(), "flows outside of `tap`"),
            (!self.groups.is_empty(), "groups"),
            (self.vlan.is_some(), "a VLAN"),
            (self.mac.is_some(), "a MAC"),
            (self.mtu.is_some(), "an MTU"),
        ];
        if let Some((_, what)) = own.into_iter().find(|(has, _)| *has) {
            return Err(TapRefused::NotATaps { what });
        }
        if self.rings != RingsWish::Bpf {
            return Err(TapRefused::NeedsRings);
        }
        if !tap.received && !tap.sent {
            return Err(TapRefused::Nothing);
        }
        if tap.sample == 0 {
            return Err(TapRefused::SampleInvalid);
        }
        if !(Tap::MIN_SNAP..=Tap::MAX_SNAP).contains(&tap.snap) {
            return Err(TapRefused::SnapInvalid { snap: tap.snap });
        }
        if tap.flows.len() > MAX_TAP_FLOWS as usize {
            return Err(TapRefused::TooManyFlows { flows: tap.flows.len() });
        }
        Ok(())
    }

    /// The same, with frames of this shape, where it is known. Returns the VLAN.
    pub(crate) fn validated(&self, layout: Option<&Layout>, uplink: Option<&MtuLimit>) -> Result<Vlan, OpenPortError> {
        if !(1..=MAX_PORT_QUEUE_PAIRS).contains(&self.queues) {
            return Err(OpenPortError::QueuesInvalid { queues: self.queues, limit: MAX_PORT_QUEUE_PAIRS });
        }
        self.name.as_deref().map_or(Ok(()), check_name)?;
        let vlan = match self.vlan {
            None => Vlan::UNTAGGED,
            Some(vlan) => vlan_of(vlan)?,
        };
        if let Some(mtu) = self.mtu.or(uplink.map(|uplink| uplink.mtu)) {
            check_mtu(mtu, uplink, layout)?;
        }
        if let (Some(mac), true) = (self.mac, self.has_uplink_mac()) {
            let what = "given to a port that has its uplink's";
            return Err(OpenPortError::MacInvalid { mac, what });
        }
        for (at, address) in self.addresses.iter().enumerate() {
            let twice = || self.addresses[..at].contains(address).then_some("listed twice");
            if let Some(what) = never_a_host(*address).or_else(twice) {
                return Err(OpenPortError::AddressInvalid { address: address.to_string(), what: what.into() });
            }
        }
        Ok(vlan)
    }

    /// Whether it has no MAC on the wire but the uplink's.
    pub(crate) fn has_uplink_mac(&self) -> bool {
        self.uplink_mac || self.addresses.is_empty()
    }

    /// Whether anything can come to the port.
    pub(crate) fn check_reception(&self) -> Result<(), OpenPortError> {
        let nothing = self.addresses.is_empty() && self.flows.is_empty() && self.tap.is_none();
        if nothing { Err(OpenPortError::NoAddress) } else { Ok(()) }
    }

    /// What opening it sends to the neighbours: a question and an announcement for each address, its link-local one
    /// included. Nothing without addresses.
    pub(crate) fn neighbour_traffic(&self) -> NeighbourTraffic {
        let rate = self.rates.broadcast.map(|rate| u32::try_from(rate.per_second).unwrap_or(u32::MAX));
        if self.addresses.is_empty() {
            return NeighbourTraffic { frames: 0, rate };
        }
        let addresses = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
        NeighbourTraffic { frames: addresses.saturating_mul(2), rate }
    }
}

/// The default of a client that makes its socket itself. Of its UMEM, twice as many frames of 2048 bytes: 4 MiB. Twice
/// that would be the 8 MiB that most systems let a user lock, to the byte; but the io_uring of Node's own event loop
/// counts against them, too.
pub const CLIENT_RING_SIZE: u32 = 1024;

/// Sizes of a UMEM and its rings, as a client gives them: what is left out has its default here.
#[derive(Debug, Clone, Copy, Default)]
pub struct LayoutSpec {
    /// Chunks of the UMEM. Default: twice the ring's size.
    pub frames: Option<u32>,
    /// Bytes of a chunk.
    pub frame_size: Option<u32>,
    /// Bytes before each received frame.
    pub headroom: Option<u32>,
    /// Slots of each of the four rings.
    pub ring_size: Option<u32>,
}

impl LayoutSpec {
    /// For a client that makes its socket itself.
    pub fn of_client(ring_size: Option<u32>) -> Self {
        Self { ring_size: Some(ring_size.unwrap_or(CLIENT_RING_SIZE)), ..Self::default() }
    }

    /// The shape.
    ///
    /// # Errors
    /// [`LayoutError`] for sizes that the kernel does not take or that do not fit each other.
    pub fn layout(self) -> Result<Layout, LayoutError> {
        let Self { frames, frame_size, headroom, ring_size } = self;
        let defaults = Layout::builder().build()?;
        let ring_size = ring_size.unwrap_or(defaults.ring(RingName::Rx));
        let layout = Layout::builder()
            .frames(frames.unwrap_or(ring_size.saturating_mul(FRAMES_PER_SLOT)))
            .frame_size(frame_size.unwrap_or(defaults.frame_size()))
            .headroom(headroom.unwrap_or(defaults.headroom()))
            .rings(ring_size);
        layout.build()
    }
}

/// The addresses in these texts, each without the length of its prefix.
///
/// # Errors
/// [`OpenPortError::AddressInvalid`] for the first that is not an address.
pub fn parse_addresses(texts: &[String]) -> Result<Vec<IpAddr>, OpenPortError> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| OpenPortError::AddressInvalid { address: text.clone(), what: "not an IP address".into() })
    };
    texts.iter().map(parse).collect()
}

/// The VLAN of this number.
fn vlan_of(vlan: u32) -> Result<Vlan, OpenPortError> {
    u16::try_from(vlan).ok().and_then(Vlan::tagged).ok_or(OpenPortError::VlanInvalid { vlan })
}

fn check_name(name: &str) -> Result<(), OpenPortError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=MAX_NAME_LENGTH).contains(&name.len()) && name.chars().all(fits) {
        Ok(())
    } else {
        Err(OpenPortError::NameInvalid { name: name.into() })
    }
}

/// Why an address cannot be one host's, on whatever network.
fn never_a_host(address: IpAddr) -> Option<&'static str> {
    let kinds = [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (matches!(address, IpAddr::V4(v4) if v4.is_broadcast()), "the broadcast address"),
        (matches!(address, IpAddr::V6(v6) if is_mapped(v6)), "an IPv4-mapped IPv6 address"),
    ];
    kinds.into_iter().find_map(|(is, what)| is.then_some(what))
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> PortSpec {
        PortSpec::new(["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()])
    }

    #[track_caller]
    fn refused(spec: &PortSpec, message: &str) {
        for kind in [PortKind::Brokered, PortKind::Shared, PortKind::Pinned] {
            let error = spec.check(kind, None).unwrap_err();
            assert!(error.to_string().contains(message), "{kind:?}: {error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_options_themselves_is_found_for_every_kind_of_port() {
        for kind in [PortKind::Brokered, PortKind::Shared, PortKind::Pinned] {
            good().check(kind, None).unwrap();
        }
        for vlan in [0, 4095, 4096, 65_537, u32::MAX] {
            refused(&PortSpec { vlan: Some(vlan), ..good() }, &format!("{vlan} is not a VLAN ID"));
        }
        for queues in [0, MAX_PORT_QUEUE_PAIRS + 1] {
            refused(&PortSpec { queues, ..good() }, &format!("{queues} queues"));
        }
        for name in ["", "a b", "é", &"x".repeat(65)] {
            refused(&PortSpec { name: Some(name.into()), ..good() }, "cannot name a port");
        }
        refused(&PortSpec { mtu: Some(67), ..good() }, "an MTU of 67 is less than 68");
        let mac = "02:00:00:00:00:01".parse().ok();
        refused(&PortSpec { mac, addresses: Vec::new(), ..good() }, "given to a port that has its uplink's");
        refused(&PortSpec { mac, uplink_mac: true, ..good() }, "given to a port that has its uplink's");
        for (address, what) in [
            ("0.0.0.0", "the unspecified address"),
            ("::", "the unspecified address"),
            ("127.0.0.1", "a loopback address"),
            ("ff02::1", "a multicast address"),
            ("255.255.255.255", "the broadcast address"),
            ("::ffff:192.0.2.9", "an IPv4-mapped IPv6 address"),
            ("192.0.2.10", "listed twice"),
        ] {
            let mut spec = good();
            spec.addresses.push(address.parse().unwrap());
            refused(&spec, &format!("{address} cannot be a port's address: it is {what}"));
        }
    }

    #[test]
    fn a_port_has_addresses_or_flows() {
        let nothing = PortSpec::new([]);
        assert!(matches!(nothing.check_reception(), Err(OpenPortError::NoAddress)));
        let flows = crate::parse_flows(&["udp dst port 53".to_owned()]).unwrap();
        for spec in [good(), PortSpec { flows, ..nothing }] {
            spec.check(PortKind::Pinned, None).unwrap();
            spec.check_reception().unwrap();
        }
        assert_eq!(PortSpec::new([]).neighbour_traffic().frames, 0);
        assert_eq!(good().neighbour_traffic().frames, 6);
    }

    #[test]
    fn frames_have_to_hold_the_mtu_where_the_daemon_makes_the_umem() {
        let uplink = MtuLimit { uplink: "eth0".parse().unwrap(), mtu: 9000 };
        let single = PortSpec { multi_buffer: Some(false), ..good() };
        let error = single.check(PortKind::Brokered, Some(&uplink)).unwrap_err();
        assert!(matches!(error, OpenPortError::MtuTooLarge { mtu: 9000, .. }), "{error}");
        single.check(PortKind::Brokered, None).expect("the MTU is not known");
        single.check(PortKind::Pinned, Some(&uplink)).expect("the frames are the client's");
        single.check(PortKind::Shared, Some(&uplink)).expect("the frames are those of another port");
        good().check(PortKind::Brokered, Some(&uplink)).expect("in several chunks");
        let above = PortSpec { mtu: Some(9001), ..good() };
        let error = above.check(PortKind::Pinned, Some(&uplink)).unwrap_err();
        assert!(matches!(error, OpenPortError::MtuAboveUplink { mtu: 9001, uplink_mtu: 9000, .. }), "{error}");
    }

    #[test]
    fn a_umem_has_twice_as_many_frames_as_its_rings_have_slots_unless_told_otherwise() {
        let shape = |spec: LayoutSpec| {
            let layout = spec.layout().unwrap();
            (layout.frames(), layout.frame_size(), layout.ring(RingName::Rx), layout.ring(RingName::Completion))
        };
        assert_eq!(shape(LayoutSpec::default()), (4096, 2048, 2048, 2048));
        assert_eq!(shape(LayoutSpec { ring_size: Some(512), ..LayoutSpec::default() }), (1024, 2048, 512, 512));
        let own = LayoutSpec { frames: Some(8192), frame_size: Some(4096), ..LayoutSpec::default() };
        assert_eq!(shape(own), (8192, 4096, 2048, 2048));
        assert_eq!(shape(LayoutSpec::of_client(None)), (2 * CLIENT_RING_SIZE, 2048, 1024, 1024));
        assert_eq!(shape(LayoutSpec::of_client(Some(64))), (128, 2048, 64, 64));
        assert!(LayoutSpec { ring_size: Some(u32::MAX), ..LayoutSpec::default() }.layout().is_err());
    }

    #[test]
    fn the_first_text_that_is_not_an_address_is_named() {
        let texts = ["192.0.2.10", "2001:db8::10"].map(str::to_owned);
        assert_eq!(parse_addresses(&texts).unwrap(), good().addresses);
        for bad in ["", "192.0.2.10/24", "192.0.2.300", "fe80::1%eth0", "card0"] {
            let error = parse_addresses(&["192.0.2.10".to_owned(), bad.to_owned()]).unwrap_err();
            assert_eq!(error.to_string(), format!("{bad} cannot be a port's address: it is not an IP address"));
        }
    }
}

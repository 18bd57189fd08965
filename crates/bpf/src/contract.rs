//! The Rust side of `bpf/include/xsknet/contract.h`: keys, values, limits and counters of every map.

use std::fmt;
use std::num::NonZeroU32;

pub use xsknet_ring::layout::{
    RING_CHUNK, RING_MAX_OFFSET, RING_MIN_OFFSET, RING_ROOM, RING_SLOTS, RING_WAKE_BYTES, RingControl, RxSlot, TxSlot,
};

/// Ports on one uplink, at most.
pub const MAX_PORTS: u32 = 1024;
/// Queue pairs of one port, at most.
pub const MAX_PORT_QUEUE_PAIRS: u32 = 8;
/// Queue pairs on one uplink, of all its ports together, at most.
pub const MAX_QUEUE_PAIRS: u32 = 4096;
/// Where the queue pair stands in a key of `ports`, above the port's id.
pub const QUEUE_PAIR_SHIFT: u32 = 16;
/// Addresses of one IP version on one uplink, at most; link-local ones count.
pub const MAX_ADDRESSES: u32 = 8192;
/// VLAN tags in front of a frame's EtherType, at most.
pub const MAX_TAGS: u32 = 2;
/// Key of the counters of frames that came from an outer end without a guard entry. No port has it.
pub const NO_PORT_ID: u32 = 0;
/// Bits of [`Guard::flags`].
pub(crate) const MAY_INNER_TAGS: u32 = 0x1;
pub(crate) const MAY_ROUTING: u32 = 0x2;
/// Likewise: its MAC is the uplink's.
pub(crate) const UPLINK_MAC: u32 = 0x4;
/// Likewise: it is a tap, and sends nothing.
pub(crate) const TAP: u32 = 0x8;
/// A bit of [`Claim::flags`]: packets for the address, to the uplink's MAC.
pub(crate) const CLAIM_PACKETS: u32 = 0x1;
/// Shifted by the kind.
pub(crate) const LIMITED: u32 = 0x100;
/// Kinds of what is limited: broadcast, multicast, unknown unicast, copies, all frames and their bits, in this order.
pub(crate) const KINDS: u32 = 6;
/// The kind of copies from groups, which is not one of the guard's.
pub(crate) const COPIES: u32 = 3;
/// Likewise of the samples of what a port's guard refuses, which is not a rate of the port.
pub(crate) const REFUSALS: u32 = 6;
/// Bytes of a refused frame that are kept, from its start.
pub const REFUSAL_BYTES: u32 = 128;
/// Bytes of the ring buffer of a port's samples.
pub(crate) const REFUSALS_BYTES: u32 = 16384;
/// Where the port's id stands in a key of `rates`, above the kind.
pub(crate) const KIND_SHIFT: u32 = 3;
/// The unit of time of [`RateState`] is a nanosecond, divided by two so often.
pub(crate) const TIME_SHIFT: u32 = 4;
/// The unit of a byte's share is that unit, divided by two so often.
pub(crate) const BYTE_SHIFT: u32 = 10;
/// Of a frame that is counted in bytes: the highest MTU, an Ethernet header and a tag.
pub(crate) const MAX_RATED_LENGTH: u64 = 65_535 + 18;
/// Flows on one uplink, of all its ports together, at most.
pub const MAX_FLOWS: u32 = 65536;
/// Kinds of flows of one IP version on one uplink, at most: flows that look at the same parts of a packet are of one
/// kind.
pub const MAX_FLOW_KINDS: u32 = 64;
/// Likewise of flows of what is not IP. There cannot be more.
pub(crate) const MAX_LINK_KINDS: u32 = 8;
pub(crate) const FLOW_LISTS: u32 = 16;
pub(crate) const FLOW_TABLES: u32 = 2;
/// Bits of [`Kind::flags`].
pub(crate) const FLOW_PORTS: u32 = 0x1;
pub(crate) const FLOW_ICMP_TYPE: u32 = 0x2;
pub(crate) const FLOW_SOURCE: u32 = 0x4;
/// Groups of all ports of one uplink, at most; one group in two VLANs counts twice.
pub const MAX_GROUPS: u32 = 4096;
/// Ports in one group, at most.
pub const MAX_MEMBERS: u32 = 64;
pub(crate) const GROUP_MAC: u16 = 1;
pub(crate) const GROUP_IP4: u16 = 4;
pub(crate) const GROUP_IP6: u16 = 6;
/// Taps on one uplink, at most.
pub const MAX_TAPS: u32 = 8;
/// A flow of a tap is up to three of them.
pub(crate) const MAX_TAP_RULES: u32 = 96;
/// Flows of one tap, at most.
pub const MAX_TAP_FLOWS: u32 = MAX_TAP_RULES / 3;
pub(crate) const TAP_LINK: u32 = 0;
pub(crate) const TAP_IP4: u32 = 4;
pub(crate) const TAP_IP6: u32 = 6;
pub(crate) const TAP_READS_NOTHING: u32 = 0;
pub(crate) const TAP_READS_ADDRESSES: u32 = 1;
pub(crate) const TAP_READS_PROTOCOL: u32 = 2;
/// Values of [`Tapped::way`], which the programs and clients alone use.
#[cfg(test)]
pub(crate) const TAPPED_RECEIVED: u16 = 0;
#[cfg(test)]
pub(crate) const TAPPED_SENT: u16 = 1;
#[cfg(test)]
pub(crate) const TAPPED_SENT_BY_HOST: u16 = 2;
/// Queues with BPF rings on one uplink, at most.
pub const MAX_RINGS: u32 = 1024;
/// Notes of a frame, at most.
pub(crate) const TRACE_NOTES: usize = 64;
/// Number of [`Counter`]s.
pub const COUNTERS: usize = Counter::ALL.len();

/// Names a port on its uplink. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub NonZeroU32);

impl PortId {
    /// `None` for 0, which names no port.
    pub const fn new(id: u32) -> Option<Self> {
        match NonZeroU32::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The id as the kernel's maps hold it.
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// The key in `ports` of one of the port's queue pairs.
    pub(crate) const fn key_of(self, queue_pair: u32) -> u32 {
        self.number() | queue_pair << QUEUE_PAIR_SHIFT
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The VLAN of a port: none (untagged frames only), or one (frames with that 802.1Q outer tag only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vlan(u16);

impl Vlan {
    /// Frames without a tag. A priority tag (id 0) is a tag.
    pub const UNTAGGED: Self = Self(0x0000);
    /// The lowest id of a tag that names a VLAN: 0 is a priority tag.
    pub const MIN: u16 = 1;
    /// The highest: 4095 is reserved (IEEE 802.1Q, table 9-2).
    pub const MAX: u16 = 4094;
    pub(crate) const TAGGED: u16 = 0x1000;
    #[cfg(test)]
    pub(crate) const FOREIGN_TAG: u16 = 0x2000;

    /// `None` unless `id` is [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    pub const fn tagged(id: u16) -> Option<Self> {
        match id {
            Self::MIN..=Self::MAX => Some(Self(Self::TAGGED | id)),
            _ => None,
        }
    }

    /// The id of the tag, or `None` if untagged.
    pub const fn id(self) -> Option<u16> {
        match self.0 & Self::TAGGED {
            0 => None,
            _ => Some(self.0 & 0x0fff),
        }
    }

    pub(crate) const fn key(self) -> u16 {
        self.0
    }

    /// `None` for a VLAN that no port has: that of a priority tag, of the reserved id, or of another kind of tag.
    pub(crate) const fn from_key(key: u16) -> Option<Self> {
        match key {
            0 => Some(Self::UNTAGGED),
            Self::TAGGED..=0x1fff => Self::tagged(key & 0x0fff),
            _ => None,
        }
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id() {
            Some(id) => write!(f, "VLAN {id}"),
            None => f.write_str("no VLAN"),
        }
    }
}

/// What becomes of a frame in a program. Every frame moves [`Counter::Seen`] and exactly one of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Counter {
    /// The frame reached the program.
    Seen,
    /// Not claimed: left to the host.
    Passed,
    /// Left to the host: a fragment other than the first, and no flow is known for the first.
    PassedFragment,
    /// Redirected to a port.
    ToPort,
    /// Written into a port's BPF ring. For the driver the frame was dropped.
    ToRing,
    /// Redirected to the uplink.
    ToUplink,
    /// Redirected to the port's socket.
    ToSocket,
    /// Dropped: the Ethernet source is not the port's.
    SourceMac,
    /// Dropped: not the port's VLAN, or a second tag that the port may not send, or more than two.
    Vlan,
    /// Dropped: the IP source is not the port's.
    SourceIp,
    /// Dropped: ARP that does not name the port as its sender.
    Arp,
    /// Dropped: neighbour discovery that does not speak of the port's own address and MAC.
    Nd,
    /// Dropped: a router's or a DHCP server's message, a source route, or DHCP for another client.
    Rogue,
    /// Dropped: neither ARP nor IP.
    Ethertype,
    /// Dropped: cut short, or contradicting itself.
    Malformed,
    /// Dropped: longer than the MTU of what it was going to.
    TooLong,
    /// Dropped: the port's slot was empty.
    NoPort,
    /// Dropped: the uplink's slot was empty.
    NoUplink,
    /// Dropped: the port has no socket.
    NoSocket,
    /// Dropped: the device has no guard entry.
    NoGuard,
    /// Dropped: more frames of this kind to the uplink than the port may send.
    Rate,
    /// Dropped: more frames than the port may send.
    FrameRate,
    /// Dropped: more bits than the port may send.
    BitRate,
    /// Dropped: the client has given its BPF ring no chunk, or one that it does not have.
    NoChunk,
    /// Dropped: the kernel had no memory for a copy.
    NoMemory,
}

impl Counter {
    /// All, in the order of the contract.
    pub const ALL: [Self; 25] = [
        Self::Seen,
        Self::Passed,
        Self::PassedFragment,
        Self::ToPort,
        Self::ToRing,
        Self::ToUplink,
        Self::ToSocket,
        Self::SourceMac,
        Self::Vlan,
        Self::SourceIp,
        Self::Arp,
        Self::Nd,
        Self::Rogue,
        Self::Ethertype,
        Self::Malformed,
        Self::TooLong,
        Self::NoPort,
        Self::NoUplink,
        Self::NoSocket,
        Self::NoGuard,
        Self::Rate,
        Self::FrameRate,
        Self::BitRate,
        Self::NoChunk,
        Self::NoMemory,
    ];

    /// The name in statistics: `"seen"`, `"to_port"`, `"source_mac"`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Passed => "passed",
            Self::PassedFragment => "passed_fragment",
            Self::ToPort => "to_port",
            Self::ToRing => "to_ring",
            Self::ToUplink => "to_uplink",
            Self::ToSocket => "to_socket",
            Self::SourceMac => "source_mac",
            Self::Vlan => "vlan",
            Self::SourceIp => "source_ip",
            Self::Arp => "arp",
            Self::Nd => "nd",
            Self::Rogue => "rogue",
            Self::Ethertype => "ethertype",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::NoPort => "no_port",
            Self::NoUplink => "no_uplink",
            Self::NoSocket => "no_socket",
            Self::NoGuard => "no_guard",
            Self::Rate => "rate",
            Self::FrameRate => "frame_rate",
            Self::BitRate => "bit_rate",
            Self::NoChunk => "no_chunk",
            Self::NoMemory => "no_memory",
        }
    }

    /// `None` for a number that the contract does not have.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether the frame was dropped.
    pub const fn is_drop(self) -> bool {
        self as u32 >= Self::SourceMac as u32
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Declares [`Rule`], the list of all of them, and their names.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $name:literal,)+) => {
        /// What decided about a frame.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule,)+
        }

        impl Rule {
            /// All, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$rule),+];

            /// The name in messages and in `docs/verdicts.md`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)+
                }
            }
        }
    };
}

rules! {
    /// The frame ends within its VLAN tags, or has more than two: it is left to the host.
    TagsUnreadable = "tags_unreadable",
    /// No port claims it: it is left to the host.
    Unclaimed = "unclaimed",
    /// It is for a port's MAC in the port's VLAN.
    PortMac = "port_mac",
    /// It is for the uplink's MAC, and for an address of a port that has this MAC.
    PortAddress = "port_address",
    /// ARP asks for a port's address.
    ArpTarget = "arp_target",
    /// An ARP reply to all speaks of a port's address.
    ArpSender = "arp_sender",
    /// Neighbour discovery asks for a port's address, or speaks of it to all.
    NdTarget = "nd_target",
    /// A flow matches it.
    Flow = "flow",
    /// It is an ICMP error, and a flow matches the answers to the packet that it quotes.
    QuotedFlow = "quoted_flow",
    /// It is a later fragment, whose first one went to a port by a flow.
    Fragment = "fragment",
    /// It is a later fragment, and nothing is known of the first one.
    FragmentUnknown = "fragment_unknown",
    /// The device that it came from does not belong to a port.
    NoGuard = "no_guard",
    /// Its source is neither the port's MAC nor the uplink's.
    SourceMac = "source_mac",
    /// It ends within its Ethernet header or its VLAN tags.
    TagsCut = "tags_cut",
    /// It has more than two VLAN tags.
    TagsTooMany = "tags_too_many",
    /// It is in another VLAN than the port.
    OtherVlan = "other_vlan",
    /// It has a second VLAN tag, which the port may not send.
    InnerTag = "inner_tag",
    /// It is neither ARP nor IP.
    Ethertype = "ethertype",
    /// It ends within ARP.
    ArpCut = "arp_cut",
    /// It is not ARP for IPv4 over Ethernet.
    ArpForm = "arp_form",
    /// It is neither an ARP request nor a reply.
    ArpOperation = "arp_operation",
    /// ARP names another MAC as the sender's.
    ArpMac = "arp_mac",
    /// ARP names a sender that is not the port's address.
    ArpAddress = "arp_address",
    /// An ARP probe asks for an address that is not the port's.
    ArpProbe = "arp_probe",
    /// It ends within its IPv4 header, or that contradicts itself.
    Ipv4Header = "ipv4_header",
    /// An IPv4 option reaches beyond the header, or is too short.
    Ipv4Options = "ipv4_options",
    /// It has a source route, which the port may not send.
    SourceRoute = "source_route",
    /// It ends within its IPv6 header, or that is not one.
    Ipv6Header = "ipv6_header",
    /// It ends within its extension headers, or there are too many or others behind a fragment header.
    ExtensionHeaders = "extension_headers",
    /// It has a routing header, which the port may not send.
    RoutingHeader = "routing_header",
    /// Its source address is not the port's.
    SourceAddress = "source_address",
    /// It has no source address, and is none of the messages that need none.
    NoSourceAddress = "no_source_address",
    /// It ends before what has to be read behind its IP headers.
    UpperCut = "upper_cut",
    /// It is of a protocol that routers speak, and the port may not.
    RoutersProtocol = "routers_protocol",
    /// It is for a port of UDP where routers or DHCP clients listen, and the port may not send there.
    RoutersPort = "routers_port",
    /// It is a message that routers send, and the port may not.
    RoutersMessage = "routers_message",
    /// It is for a DHCP server, and in fragments.
    DhcpFragment = "dhcp_fragment",
    /// It is for a DHCP server, and ends too early.
    DhcpCut = "dhcp_cut",
    /// It is for a DHCP server, and is not a request of the port for itself.
    DhcpClient = "dhcp_client",
    /// It is neighbour discovery in fragments.
    NdFragment = "nd_fragment",
    /// It ends within a message of neighbour discovery.
    NdCut = "nd_cut",
    /// Neighbour discovery speaks of an address that is not the port's.
    NdAddress = "nd_address",
    /// An option of neighbour discovery is empty, or reaches beyond the packet.
    NdOption = "nd_option",
    /// Neighbour discovery names a MAC that is not the port's.
    NdLinkAddress = "nd_link_address",
    /// Neighbour discovery has more options than are read.
    NdOptions = "nd_options",
    /// It is for a DHCP server, which would take a port with the uplink's MAC for the host.
    HostDhcp = "host_dhcp",
    /// It is ARP with the uplink's MAC, which the host speaks.
    HostArp = "host_arp",
    /// It is neighbour discovery with the uplink's MAC, which the host speaks.
    HostNd = "host_nd",
    /// It is a fragment with the uplink's MAC.
    HostFragment = "host_fragment",
    /// It has the uplink's MAC, and is for a port of UDP where routers, DHCP servers or DHCP clients listen.
    HostPort = "host_port",
    /// It has the uplink's MAC, and is IGMP, or a message of ICMP that is neither a question nor an answer.
    HostMessage = "host_message",
    /// It has the uplink's MAC, and no address, a multicast or the broadcast address as its source.
    HostSource = "host_source",
    /// It has the uplink's MAC, and the first flow that matches it, reversed, is not the port's.
    NoFlow = "no_flow",
    /// It has the uplink's MAC, and its flow gives no protocol, or not one destination address.
    FlowReceives = "flow_receives",
    /// It has the uplink's MAC, is in another VLAN than the port, and its flow gives none.
    FlowVlan = "flow_vlan",
    /// It comes from a tap, which sends nothing.
    TapSends = "tap_sends",
    /// It is longer than what its target takes.
    TooLong = "too_long",
    /// The port's slot is empty.
    NoPort = "no_port",
    /// The uplink's slot is empty.
    NoUplink = "no_uplink",
    /// The client has posted no chunk for it in the port's BPF ring, or one that does not exist.
    NoChunk = "no_chunk",
    /// It is longer than a frame in a BPF ring can be.
    RingLength = "ring_length",
    /// It is more of its kind than the port may send to the uplink.
    Rate = "rate",
    /// It is one frame more than the port may send.
    FrameRate = "frame_rate",
    /// It is more bits than the port may send.
    BitRate = "bit_rate",
    /// It asks for another port's address: to that port.
    ToTarget = "to_target",
    /// It is for another port's MAC: to that port.
    ToMac = "to_mac",
    /// It is for the uplink's MAC, and for an address of another port that has this MAC: to that port.
    ToAddress = "to_address",
    /// It leaves by the uplink.
    ToUplink = "to_uplink",
}

impl Rule {
    /// `None` for a number that the contract does not have.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }
}

/// What a program that explains writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum NoteKind {
    Rule = 1,
    Left,
    Tags,
    Sender,
    Mac,
    Target4,
    Target6,
    Destination4,
    Destination6,
    Source4,
    Source6,
    Flow4,
    Flow6,
    Flow6Rest,
    FlowLink,
    Quoted,
    Fragment,
    Length,
    To,
    Rate,
}

impl NoteKind {
    const ALL: [Self; 20] = [
        Self::Rule,
        Self::Left,
        Self::Tags,
        Self::Sender,
        Self::Mac,
        Self::Target4,
        Self::Target6,
        Self::Destination4,
        Self::Destination6,
        Self::Source4,
        Self::Source6,
        Self::Flow4,
        Self::Flow6,
        Self::Flow6Rest,
        Self::FlowLink,
        Self::Quoted,
        Self::Fragment,
        Self::Length,
        Self::To,
        Self::Rate,
    ];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// In a [`Trace`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Note {
    /// The number of a [`NoteKind`].
    pub kind: u32,
    pub value: u32,
    pub word: [u64; 3],
}

/// The only value of `traces`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Trace {
    /// Of the notes, those included that found no room.
    pub count: u32,
    pub zero: u32,
    pub notes: [Note; TRACE_NOTES],
}

/// Value of `port_counters`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct PortCounters {
    pub to_socket: u64,
    pub no_socket: u64,
}

/// Key of `macs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct MacKey {
    pub mac: [u8; 6],
    pub vlan: u16,
}

/// Key of `sources4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Source4 {
    pub address: [u8; 4],
    pub port: u32,
}

/// Key of `sources6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Source6 {
    pub address: [u8; 16],
    pub port: u32,
}

/// Key of `targets4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Target4 {
    pub address: [u8; 4],
    pub vlan: u16,
    pub zero: u16,
}

/// Key of `targets6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Target6 {
    pub address: [u8; 16],
    pub vlan: u16,
    pub zero: u16,
}

/// What gets the frames of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Target {
    /// Those of a port.
    QueuePairs = 1,
    /// Likewise, by their BPF rings.
    Rings = 2,
    /// Of the uplink's MAC: those of the port that has the address which the packet is for.
    Address = 3,
}

impl Target {
    /// `None` for a number that the contract does not have.
    #[cfg(test)]
    pub(crate) const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::QueuePairs),
            2 => Some(Self::Rings),
            3 => Some(Self::Address),
            _ => None,
        }
    }
}

/// Value of `macs`, `targets4` and `targets6`, and of the inner maps of flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Claim {
    /// The number of a [`Target`].
    pub target: u32,
    /// Whose claim it is.
    pub port: u32,
    pub mtu: u32,
    pub queue_pairs: u32,
    /// Of [`Target::Rings`]: those of the first queue.
    pub rings: u32,
    pub flags: u32,
}

/// Value of `guards`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Guard {
    pub port: u32,
    pub mac: [u8; 6],
    pub vlan: u16,
    pub flags: u32,
}

/// Key of `groups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct GroupKey {
    pub address: [u8; 16],
    pub vlan: u16,
    pub kind: u16,
}

/// Value of `groups`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct GroupMembers {
    /// Those with BPF rings, which come first.
    pub rings: u32,
    pub members: u32,
    pub member: [Claim; MAX_MEMBERS as usize],
}

impl GroupMembers {
    pub(crate) const NONE: Self = {
        let nobody = Claim { target: 0, port: 0, mtu: 0, queue_pairs: 0, rings: 0, flags: 0 };
        Self { rings: 0, members: 0, member: [nobody; MAX_MEMBERS as usize] }
    };
}

/// The only value of `group_states`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct GroupState {
    pub rings: u32,
    pub members: u32,
}

/// The only value of `tap_states`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct TapState {
    pub received: u32,
    pub sent: u32,
}

/// A flow of a tap, in one of the layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct TapRule {
    pub value: FlowKey6,
    pub mask: FlowKey6,
    pub kind: Kind,
    pub layer: u32,
    pub reads: u32,
}

/// Value of `taps`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct TapEntry {
    pub claim: Claim,
    pub snap: u32,
    pub sample: u32,
    pub all: u32,
    pub rules: u32,
    pub rule: [TapRule; MAX_TAP_RULES as usize],
}

/// What lies before a tap's frame in its chunk.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Tapped {
    pub time: u64,
    pub length: u32,
    pub became: u16,
    pub way: u16,
}

/// Value of `rates`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RateState {
    pub due: u64,
    pub limit: i64,
    pub frame: u64,
    pub byte: u64,
}

/// What an inner map of `refusal_rings` has of a frame.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct RefusalRecord {
    pub time: u64,
    pub length: u32,
    pub reason: u32,
    pub bytes: [u8; REFUSAL_BYTES as usize],
}

/// Value of `ring_states`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RingState {
    pub rx_head: u64,
    pub no_chunk: u64,
    pub invalid_chunk: u64,
    pub rx_mask: u32,
    pub offset: u32,
    pub zero: [u64; 12],
    pub tx_head: u64,
    pub tx_mask: u32,
    pub key: u32,
    pub guard: Guard,
    pub zero_too: [u64; 12],
}

/// The only value of `identities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Identity {
    pub ring: u32,
    pub key: u32,
    pub inner: u32,
    pub dry_runs: u32,
}

/// The only value of `flow_states`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct FlowState {
    pub list: u32,
    pub removals: u32,
}

/// What flows of both IP versions look at, beside addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct FlowCommon {
    pub source_port: u16,
    pub destination_port: u16,
    pub protocol: u8,
    pub icmp_type: u8,
    pub vlan: u16,
    pub mac: [u8; 6],
    pub kind: u16,
}

impl FlowCommon {
    /// As it lies in memory.
    fn from_words([first, second]: [u64; 2]) -> Self {
        let ([a, b, c, d, protocol, icmp_type, e, f], [mac @ .., g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
        Self {
            source_port: u16::from_ne_bytes([a, b]),
            destination_port: u16::from_ne_bytes([c, d]),
            protocol,
            icmp_type,
            vlan: u16::from_ne_bytes([e, f]),
            mac,
            kind: u16::from_ne_bytes([g, h]),
        }
    }
}

/// Key of an inner map of `flows4`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct FlowKey4 {
    pub source: [u8; 4],
    pub destination: [u8; 4],
    pub common: FlowCommon,
}

/// Key of an inner map of `flows6`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct FlowKey6 {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub common: FlowCommon,
}

/// Key of an inner map of `flows_link`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct LinkKey {
    pub mac: [u8; 6],
    pub kind: u16,
    pub vlan: u16,
    /// In network byte order.
    pub ethertype: [u8; 2],
    pub zero: u32,
}

impl FlowKey4 {
    /// As it lies in memory.
    pub(crate) fn from_words([addresses, first, second]: [u64; 3]) -> Self {
        let [a, b, c, d, destination @ ..] = addresses.to_ne_bytes();
        Self { source: [a, b, c, d], destination, common: FlowCommon::from_words([first, second]) }
    }
}

impl FlowKey6 {
    /// As it lies in memory.
    pub(crate) fn from_words([a, b, c]: [u64; 3], [d, first, second]: [u64; 3]) -> Self {
        Self {
            source: address_of_words([a, b]),
            destination: address_of_words([c, d]),
            common: FlowCommon::from_words([first, second]),
        }
    }
}

impl LinkKey {
    /// As it lies in memory.
    pub(crate) fn from_words([first, second]: [u64; 2]) -> Self {
        let ([mac @ .., a, b], [c, d, e, f, g @ ..]) = (first.to_ne_bytes(), second.to_ne_bytes());
        Self {
            mac,
            kind: u16::from_ne_bytes([a, b]),
            vlan: u16::from_ne_bytes([c, d]),
            ethertype: [e, f],
            zero: u32::from_ne_bytes(g),
        }
    }
}

/// The bytes of an IPv6 address, whose halves are these words in memory.
pub(crate) fn address_of_words(words: [u64; 2]) -> [u8; 16] {
    let mut address = [0; 16];
    for (half, word) in address.chunks_exact_mut(8).zip(words) {
        half.copy_from_slice(&word.to_ne_bytes());
    }
    address
}

/// What a kind of flows asks for that is not in their keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub(crate) struct Kind {
    pub first_source_port: u16,
    pub more_source_ports: u16,
    pub first_destination_port: u16,
    pub more_destination_ports: u16,
    pub flags: u32,
    pub protocol: u8,
    /// 0: any.
    pub protocol_mask: u8,
    pub zero: u16,
}

/// A kind in `flow_lists`, by what its keys consist of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct KindOf<K> {
    pub mask: K,
    pub kind: Kind,
}

/// Value of `flow_lists`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct FlowList {
    pub tables: u32,
    pub kinds4: u32,
    pub kinds6: u32,
    pub links: u32,
    pub four: [KindOf<FlowKey4>; MAX_FLOW_KINDS as usize],
    pub six: [KindOf<FlowKey6>; MAX_FLOW_KINDS as usize],
    pub link: [LinkKey; MAX_LINK_KINDS as usize],
}

/// Key of `fragmented`, which the programs alone use.
#[cfg(test)]
#[repr(C)]
pub(crate) struct Fragmented {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub id: u32,
    pub vlan: u16,
    pub protocol: u8,
    pub version: u8,
}

/// Value of `fragmented`.
#[cfg(test)]
#[repr(C)]
pub(crate) struct Steered {
    pub claim: Claim,
    pub queue_pair: u32,
    pub removals: u32,
    pub at: u64,
}

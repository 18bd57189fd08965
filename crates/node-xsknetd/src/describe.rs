//! What crosses to JavaScript: the shapes of `packages/xsknet/src/protocol.ts`, field by field.

use std::collections::BTreeMap;
use std::time::Duration;

use napi::Either;
use napi::bindgen_prelude::Null;
use napi_derive::napi;
use serde_json::json;
use xsknet_failure::errno_name;
use xsknet_link::DeviceName;
use xsknet_port::{
    LayoutSpec, Notice, PortKey, PortSpec, RingsWish, Tap, TapWish, parse_addresses, parse_flows, parse_groups,
};
use xsknet_xsk::{
    BindMode, BindRequest, Donation, HugePages, Layout, RingDonation, RingName, RingsDonation, SharedSocket,
    SocketCounters, ranges_of,
};

use crate::error::Failure;

/// What a port is to be. Of a pinned port, sizes, `zeroCopy` and `busyPoll` are its client's affair.
#[napi(object, object_to_js = false)]
#[derive(Default)]
pub struct PortRequest {
    pub name: Option<String>,
    /// Without prefix lengths.
    pub addresses: Vec<String>,
    #[napi(ts_type = "'own' | 'uplink'")]
    pub mac: Option<String>,
    pub vlan: Option<u32>,
    pub mtu: Option<u32>,
    /// 1 unless given.
    pub queues: Option<u32>,
    /// Twice the ring's size unless given.
    pub frames: Option<u32>,
    pub frame_size: Option<u32>,
    pub headroom: Option<u32>,
    /// Of all four rings.
    pub ring_size: Option<u32>,
    #[napi(ts_type = "'require' | 'prefer' | 'never'")]
    pub huge_pages: Option<String>,
    /// Where the MTU asks for it unless given.
    pub multi_buffer: Option<bool>,
    #[napi(ts_type = "'require' | 'prefer' | 'never'")]
    pub zero_copy: Option<String>,
    #[napi(ts_type = "'xsk' | 'bpf' | 'auto'")]
    pub rings: Option<String>,
    pub busy_poll: Option<BusyPoll>,
    pub coalesce_microseconds: Option<u32>,
    /// In tcpdump's language.
    pub flows: Option<Vec<String>>,
    pub override_host: Option<bool>,
    /// `broadcast`, multicast addresses and multicast MACs.
    pub groups: Option<Vec<String>>,
    /// Of what it gets copies, if it is a tap.
    pub tap: Option<TapRequest>,
    /// On the UMEM of another port of the same client: of the sizes above the ring's alone counts then.
    pub umem_of: Option<UmemOf>,
}

impl PortRequest {
    /// What is asked for, by root and without any limit: see [`Terms::of`].
    pub fn spec(self) -> Result<PortSpec, Failure> {
        let Self { name, addresses, vlan, mtu, queues, frames, frame_size, headroom, ring_size, .. } = self;
        let defaults = PortSpec::new(parse_addresses(&addresses)?);
        Ok(PortSpec {
            name,
            uplink_mac: uplink_mac(self.mac.as_deref())?,
            vlan,
            mtu,
            queues: queues.unwrap_or(defaults.queues),
            rings: rings(self.rings.as_deref())?,
            coalesce: self.coalesce_microseconds.map(|count| Duration::from_micros(count.into())),
            layout: LayoutSpec { frames, frame_size, headroom, ring_size }.layout()?,
            huge_pages: huge_pages(self.huge_pages.as_deref())?,
            multi_buffer: self.multi_buffer,
            bind: bind_request(self.zero_copy.as_deref())?,
            busy_poll: self.busy_poll.map(Into::into),
            flows: parse_flows(&self.flows.unwrap_or_default())?,
            override_host: self.override_host.unwrap_or_default(),
            groups: parse_groups(&self.groups.unwrap_or_default())?,
            tap: self.tap.map(TapRequest::wish).transpose()?,
            ..defaults
        })
    }
}

/// Of what a tap gets copies: all of everything unless given.
#[napi(object, object_to_js = false)]
pub struct TapRequest {
    pub received: Option<bool>,
    pub sent: Option<bool>,
    /// In tcpdump's language.
    pub flows: Option<Vec<String>>,
    pub sample: Option<u32>,
    pub snap_length: Option<u32>,
    pub promiscuous: Option<bool>,
}

impl TapRequest {
    fn wish(self) -> Result<TapWish, Failure> {
        let Self { received, sent, flows, sample, snap_length, promiscuous } = self;
        let tap = Tap {
            received: received.unwrap_or(true),
            sent: sent.unwrap_or(true),
            flows: parse_flows(&flows.unwrap_or_default())?,
            sample: sample.unwrap_or(1),
            snap: snap_length.unwrap_or(Tap::MAX_SNAP),
        };
        Ok(TapWish { tap, promiscuous: promiscuous.unwrap_or_default() })
    }
}

/// A UMEM that a client has already.
#[napi(object, object_to_js = false)]
pub struct UmemOf {
    /// A port on it.
    pub port: u32,
    /// The chunks for reception: ranges.
    #[napi(ts_type = "[first: number, count: number][]")]
    pub in_fill: Vec<(u32, u32)>,
}

/// On what terms a port is opened: whose it is, and what its guard lets pass.
#[napi(object, object_to_js = false)]
pub struct Terms {
    pub uid: u32,
    pub inner_tags: bool,
    pub routing: bool,
    pub rates: Rates,
}

/// Frames a second, or bits; not limited unless given.
#[napi(object, object_to_js = false)]
pub struct Rates {
    pub broadcast: Option<Rate>,
    pub multicast: Option<Rate>,
    pub unknown_unicast: Option<Rate>,
    pub copies: Option<Rate>,
    pub frames: Option<Rate>,
    pub bits: Option<Rate>,
}

/// So much in a second, and so much at once.
#[napi(object, object_to_js = false)]
pub struct Rate {
    pub per_second: i64,
    pub burst: i64,
}

impl From<Rate> for xsknet_port::Rate {
    fn from(Rate { per_second, burst }: Rate) -> Self {
        // The configuration has nothing below 0.
        let [per_second, burst] = [per_second, burst].map(|number| u64::try_from(number).unwrap_or(0));
        Self { per_second, burst }
    }
}

impl Terms {
    /// The spec on these terms.
    pub fn of(self, spec: PortSpec) -> PortSpec {
        let Self { uid, inner_tags, routing, rates } = self;
        let Rates { broadcast, multicast, unknown_unicast, copies, frames, bits } = rates;
        let [broadcast, multicast, unknown_unicast, copies, frames, bits] =
            [broadcast, multicast, unknown_unicast, copies, frames, bits].map(|rate| rate.map(Into::into));
        let rights = xsknet_port::Rights { inner_tags, routing };
        let rates = xsknet_port::Rates { broadcast, multicast, unknown_unicast, copies, frames, bits };
        PortSpec { owner: uid, rights, rates, ..spec }
    }
}

/// Who a pinned port is for. The group is the connection's, for the pin.
#[napi(object, object_to_js = false)]
pub struct Owner {
    pub terms: Terms,
    pub gid: u32,
}

/// Which socket a client makes for its pinned port.
#[napi(object, object_to_js = false)]
pub struct PinnedSocketRequest {
    /// Of the port's answer.
    pub xsks: String,
    /// Of the port's answer; in the network namespace of this process.
    pub device: String,
    /// Of the port's answer.
    pub queue: u32,
    /// The port's, in bytes: frames have to hold what it lets in.
    pub mtu: u32,
    /// Twice the ring's size unless given.
    pub frames: Option<u32>,
    pub frame_size: Option<u32>,
    pub headroom: Option<u32>,
    /// Of all four rings; 1024 unless given.
    pub ring_size: Option<u32>,
    #[napi(ts_type = "'require' | 'prefer' | 'never'")]
    pub huge_pages: Option<String>,
    /// Where the MTU asks for it unless given.
    pub multi_buffer: Option<bool>,
    #[napi(ts_type = "'require' | 'prefer' | 'never'")]
    pub zero_copy: Option<String>,
    pub busy_poll: Option<BusyPoll>,
}

impl PinnedSocketRequest {
    /// What of a port's spec is about its sockets.
    pub fn spec(self) -> Result<PortSpec, Failure> {
        let Self { frames, frame_size, headroom, ring_size, huge_pages, multi_buffer, zero_copy, busy_poll, .. } = self;
        let sockets = PortRequest {
            frames,
            frame_size,
            headroom,
            ring_size: LayoutSpec::of_client(ring_size).ring_size,
            huge_pages,
            multi_buffer,
            zero_copy,
            busy_poll,
            ..PortRequest::default()
        };
        sockets.spec()
    }
}

#[napi(object, object_to_js = false)]
pub struct BusyPoll {
    pub spin_microseconds: u32,
    pub budget: u32,
}

impl From<BusyPoll> for xsknet_xsk::BusyPoll {
    fn from(BusyPoll { spin_microseconds, budget }: BusyPoll) -> Self {
        Self { microseconds: spin_microseconds, budget }
    }
}

fn uplink_mac(wish: Option<&str>) -> Result<bool, Failure> {
    match wish {
        None | Some("own") => Ok(false),
        Some("uplink") => Ok(true),
        Some(wish) => {
            let message = format!("`{wish}` is not a choice for mac: own or uplink");
            Err(Failure::new("INTERNAL", message, json!({ "mac": wish })))
        }
    }
}

fn rings(wish: Option<&str>) -> Result<RingsWish, Failure> {
    let Some(wish) = wish else { return Ok(RingsWish::default()) };
    let unknown = || {
        let message = format!("`{wish}` is not a choice for rings: xsk, bpf or auto");
        Failure::new("INTERNAL", message, json!({ "rings": wish }))
    };
    RingsWish::named(wish).ok_or_else(unknown)
}

fn huge_pages(wish: Option<&str>) -> Result<HugePages, Failure> {
    let Some(wish) = wish else { return Ok(HugePages::default()) };
    let unknown = || {
        let message = format!("`{wish}` is not a choice for huge pages: require, prefer or never");
        Failure::new("INTERNAL", message, json!({ "hugePages": wish }))
    };
    HugePages::named(wish).ok_or_else(unknown)
}

fn bind_request(zero_copy: Option<&str>) -> Result<BindRequest, Failure> {
    let Some(wish) = zero_copy else { return Ok(BindRequest::default()) };
    let unknown = || {
        let message = format!("`{wish}` is not a choice for zero-copy: require, prefer or never");
        Failure::new("INTERNAL", message, json!({ "zeroCopy": wish }))
    };
    BindRequest::zero_copy(wish).ok_or_else(unknown)
}

#[napi(object, object_from_js = false, use_nullable = true)]
#[derive(Clone)]
pub struct Attempt {
    pub hook: String,
    pub step: String,
    pub code: Option<String>,
    pub why: String,
}

impl From<&xsknet_port::Attempt> for Attempt {
    fn from(xsknet_port::Attempt { hook, step, errno, why }: &xsknet_port::Attempt) -> Self {
        Self { hook: (*hook).into(), step: step.clone(), code: errno.map(errno_name), why: why.clone() }
    }
}

#[napi(object, object_from_js = false)]
pub struct UplinkInfo {
    pub uplink: String,
    pub index: u32,
    /// The NIC's name now.
    pub device: String,
    pub mac: String,
    pub mtu: u32,
    #[napi(ts_type = "'up' | 'no-carrier' | 'down'")]
    pub link: String,
    #[napi(ts_type = "'native' | 'skb' | 'hw'")]
    pub mode: String,
    pub attempts: Vec<Attempt>,
}

impl From<&xsknet_port::Uplink> for UplinkInfo {
    fn from(uplink: &xsknet_port::Uplink) -> Self {
        let info = uplink.info();
        let Nic { device, mac, mtu, link } = Nic::from(&uplink.nic());
        Self {
            uplink: info.device.to_string(),
            index: info.index.get(),
            device,
            mac,
            mtu,
            link,
            mode: info.mode.to_string(),
            attempts: info.attempts.iter().map(Into::into).collect(),
        }
    }
}

/// An open port.
#[napi(object, object_from_js = false)]
#[derive(Clone)]
pub struct PortInfo {
    pub port: u32,
    pub name: String,
    pub uplink: String,
    pub mac: String,
    /// Without prefix lengths.
    pub addresses: Vec<String>,
    pub vlan: Either<u32, Null>,
    pub mtu: u32,
    pub outer: String,
    pub inner: String,
    pub queue_pairs: Vec<QueuePair>,
    #[napi(ts_type = "'native' | 'skb' | 'hw'")]
    pub guard_mode: String,
    #[napi(ts_type = "'native' | 'skb' | 'hw'")]
    pub port_mode: String,
    #[napi(ts_type = "'xsk' | 'bpf'")]
    pub rings: String,
    pub groups: Vec<String>,
    /// Absent where its client makes its socket.
    #[napi(ts_type = "'copy' | 'zero-copy'")]
    pub bind_mode: Option<String>,
    pub attempts: Vec<Attempt>,
}

impl PortInfo {
    pub fn new(uplink: &str, info: &xsknet_port::PortInfo) -> Self {
        Self {
            port: info.key.number(),
            name: info.name.clone(),
            uplink: uplink.into(),
            mac: info.mac.to_string(),
            addresses: info.addresses.iter().map(ToString::to_string).collect(),
            vlan: info.vlan.map_or(Either::B(Null), |vlan| Either::A(vlan.into())),
            mtu: info.mtu,
            outer: info.outer.to_string(),
            inner: info.inner.to_string(),
            queue_pairs: info.queue_pairs.iter().map(Into::into).collect(),
            guard_mode: info.guard_mode.to_string(),
            port_mode: info.port_mode.to_string(),
            rings: info.rings.name().into(),
            groups: info.groups.iter().map(ToString::to_string).collect(),
            bind_mode: info.bind_mode.map(|mode| mode.name().into()),
            attempts: info.attempts.iter().map(Into::into).collect(),
        }
    }
}

/// The devices of one queue.
#[napi(object, object_from_js = false)]
#[derive(Clone)]
pub struct QueuePair {
    pub outer: String,
    pub inner: String,
}

impl From<&xsknet_port::QueuePair> for QueuePair {
    fn from(xsknet_port::QueuePair { outer, inner }: &xsknet_port::QueuePair) -> Self {
        Self { outer: outer.to_string(), inner: inner.to_string() }
    }
}

/// What a client needs for its own socket.
#[napi(object, object_from_js = false)]
#[derive(Clone)]
pub struct Pin {
    /// Path of the port's XSKMAP in bpffs.
    pub xsks: String,
    /// The device in the client's network namespace.
    pub device: String,
    /// The device's queue, and the map's key.
    pub queue: u32,
}

impl From<&xsknet_port::Pin> for Pin {
    fn from(xsknet_port::Pin { xsks, device, queue }: &xsknet_port::Pin) -> Self {
        Self { xsks: xsks.display().to_string(), device: device.to_string(), queue: *queue }
    }
}

/// What a socket's descriptors cannot tell.
#[napi(object, object_from_js = false)]
#[derive(Clone)]
pub struct SocketDescription {
    pub frame_size: u32,
    pub frames: u32,
    pub headroom: u32,
    pub rx: u32,
    pub tx: u32,
    pub fill: u32,
    pub completion: u32,
    pub fill_target: u32,
    /// Ranges of chunks.
    #[napi(ts_type = "[first: number, count: number][]")]
    pub in_fill: Vec<Vec<u32>>,
    pub multi_buffer: bool,
    pub huge_pages: bool,
    /// The port whose UMEM it is on.
    pub umem_of: Option<u32>,
    /// Of a queue that has BPF rings.
    pub rings: Option<RingsDescription>,
    #[napi(ts_type = "'copy' | 'zero-copy'")]
    pub bind_mode: String,
    pub counted: Counted,
}

/// What the descriptors of a queue's BPF rings cannot tell.
#[napi(object, object_from_js = false)]
#[derive(Clone)]
pub struct RingsDescription {
    pub rx_slots: u32,
    pub tx_slots: u32,
    /// Of the next slot that the program gives back.
    pub rx_position: u32,
    /// Of the next slot for a frame to be sent.
    pub tx_position: u32,
    /// Ranges of the chunks in reception, oldest first.
    #[napi(ts_type = "[first: number, count: number][]")]
    pub posted: Vec<Vec<u32>>,
}

impl From<&RingsDonation> for RingsDescription {
    fn from(rings: &RingsDonation) -> Self {
        let RingsDonation { rx_slots, tx_slots, rx_position, tx_position, ref posted, .. } = *rings;
        Self { rx_slots, tx_slots, rx_position, tx_position, posted: ranges(posted) }
    }
}

/// The frames of the self-test, and whatever else came for the port before it was handed out.
#[napi(object, object_from_js = false)]
#[derive(Clone)]
pub struct Counted {
    pub received: i64,
    pub sent: i64,
    pub completed: i64,
}

impl From<&Donation> for SocketDescription {
    fn from(Donation { layout, in_fill, bind, counters, .. }: &Donation) -> Self {
        Self::new(layout, in_fill, *bind, counters)
    }
}

impl From<&RingDonation> for SocketDescription {
    fn from(RingDonation { socket, rings }: &RingDonation) -> Self {
        Self { rings: Some(rings.into()), ..socket.into() }
    }
}

impl SocketDescription {
    /// Of a socket on the UMEM of another port.
    pub fn of_shared(socket: &SharedSocket, umem_of: u32) -> Self {
        let counters = SocketCounters { received: socket.turned_back(), ..SocketCounters::default() };
        let own = Self::new(&socket.layout, &socket.in_fill, socket.bind, &counters);
        Self { umem_of: Some(umem_of), ..own }
    }

    fn new(layout: &Layout, in_fill: &[u32], bind: BindMode, counters: &SocketCounters) -> Self {
        Self {
            frame_size: layout.frame_size(),
            frames: layout.frames(),
            headroom: layout.headroom(),
            rx: layout.ring(RingName::Rx),
            tx: layout.ring(RingName::Tx),
            fill: layout.ring(RingName::Fill),
            completion: layout.ring(RingName::Completion),
            fill_target: layout.fill_target(),
            in_fill: ranges(in_fill),
            multi_buffer: layout.multi_buffer(),
            huge_pages: layout.huge_pages(),
            umem_of: None,
            rings: None,
            bind_mode: bind.name().into(),
            counted: Counted {
                received: count(counters.received),
                sent: count(counters.sent),
                completed: count(counters.completed),
            },
        }
    }
}

/// In the order of the chunks.
fn ranges(chunks: &[u32]) -> Vec<Vec<u32>> {
    ranges_of(chunks).into_iter().map(|(first, count)| vec![first, count]).collect()
}

#[napi(object, object_from_js = false)]
pub struct Counters {
    pub seen: i64,
    pub passed: i64,
    pub to_port: i64,
    pub to_uplink: i64,
    pub to_socket: i64,
    /// By reason.
    pub dropped: BTreeMap<String, i64>,
}

impl From<xsknet_bpf::Counters> for Counters {
    fn from(counters: xsknet_bpf::Counters) -> Self {
        Self {
            seen: count(counters.seen()),
            passed: count(counters.passed()),
            to_port: count(counters.to_port()),
            to_uplink: count(counters.to_uplink()),
            to_socket: count(counters.to_socket()),
            dropped: counters.drops().map(|(reason, frames)| (reason.name().into(), count(frames))).collect(),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct KernelStatistics {
    pub rx_dropped: i64,
    pub rx_invalid_descs: i64,
    pub tx_invalid_descs: i64,
    pub rx_ring_full: i64,
    pub rx_fill_ring_empty_descs: i64,
    pub tx_ring_empty_descs: i64,
}

impl From<xsknet_xsk::KernelStatistics> for KernelStatistics {
    fn from(statistics: xsknet_xsk::KernelStatistics) -> Self {
        Self {
            rx_dropped: count(statistics.rx_dropped),
            rx_invalid_descs: count(statistics.rx_invalid_descs),
            tx_invalid_descs: count(statistics.tx_invalid_descs),
            rx_ring_full: count(statistics.rx_ring_full),
            rx_fill_ring_empty_descs: count(statistics.rx_fill_ring_empty_descs),
            tx_ring_empty_descs: count(statistics.tx_ring_empty_descs),
        }
    }
}

/// Of all queues' BPF rings together.
#[napi(object, object_from_js = false)]
pub struct RingStatistics {
    pub received: i64,
    pub no_chunk: i64,
    pub invalid_chunk: i64,
    pub sent: i64,
}

impl From<xsknet_bpf::RingCounters> for RingStatistics {
    fn from(counters: xsknet_bpf::RingCounters) -> Self {
        Self {
            received: count(counters.received),
            no_chunk: count(counters.no_chunk),
            invalid_chunk: count(counters.invalid_chunk),
            sent: count(counters.sent),
        }
    }
}

#[napi(object, object_from_js = false, use_nullable = true)]
pub struct PortStatistics {
    pub guard: Counters,
    pub copies: Counters,
    pub program: Counters,
    /// `null` for a pinned port whose socket has not been shared.
    pub socket: Option<KernelStatistics>,
    /// `null` for a port without BPF rings.
    pub rings: Option<RingStatistics>,
    pub inner_transmit_drops: i64,
    pub outer_transmit_drops: i64,
    pub outer_refused_redirects: i64,
}

impl From<xsknet_port::PortStatistics> for PortStatistics {
    fn from(statistics: xsknet_port::PortStatistics) -> Self {
        Self {
            guard: statistics.guard.into(),
            copies: statistics.copies.into(),
            program: statistics.program.into(),
            socket: statistics.socket.map(Into::into),
            rings: statistics.rings.map(Into::into),
            inner_transmit_drops: count(statistics.inner_transmit_drops),
            outer_transmit_drops: count(statistics.outer_transmit_drops),
            outer_refused_redirects: count(statistics.outer_refused_redirects),
        }
    }
}

#[napi(object, object_from_js = false, use_nullable = true)]
pub struct UplinkStatistics {
    pub program: Counters,
    pub unattributed: Counters,
    pub transmit_drops: Option<i64>,
    pub refused_redirects: Option<i64>,
    pub announced: i64,
    pub closed: PortStatistics,
}

impl From<xsknet_port::UplinkStatistics> for UplinkStatistics {
    fn from(statistics: xsknet_port::UplinkStatistics) -> Self {
        Self {
            program: statistics.program.into(),
            unattributed: statistics.unattributed.into(),
            transmit_drops: statistics.transmit_drops.map(count),
            refused_redirects: statistics.refused_redirects.map(count),
            announced: count(statistics.announced),
            closed: xsknet_port::PortStatistics {
                // A sum of none is 0, whether or not any was known.
                socket: Some(statistics.closed.socket.unwrap_or_default()),
                rings: Some(statistics.closed.rings.unwrap_or_default()),
                ..statistics.closed
            }
            .into(),
        }
    }
}

/// A loss that no call caused: of the port with this number, or without one of the NIC.
#[napi(object, object_from_js = false)]
pub struct Loss {
    pub uplink: String,
    pub port: Option<u32>,
    /// What the client of a pinned port did to its end, in words: `its MTU was changed from 1500 to 1400`.
    pub change: Option<String>,
}

/// What of a NIC others may change at any time.
#[napi(object, object_from_js = false)]
pub struct Nic {
    /// Its name now.
    pub device: String,
    pub mac: String,
    pub mtu: u32,
    #[napi(ts_type = "'up' | 'no-carrier' | 'down'")]
    pub link: String,
}

impl From<&xsknet_port::NicState> for Nic {
    fn from(nic: &xsknet_port::NicState) -> Self {
        Self { device: nic.name.to_string(), mac: nic.mac.to_string(), mtu: nic.mtu, link: nic.link().into() }
    }
}

/// A change by others that ends no port: the state of the NIC (`nic`) changed, the host has the port's `address`, a
/// `program` was attached to a device again (`why` says how it was lost), an `offload` was switched on and off again,
/// or a `vlan` was filtered out and accepted again, unless there is a `failure`.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct Change {
    pub uplink: String,
    pub port: Option<u32>,
    pub nic: Option<Nic>,
    pub address: Option<String>,
    pub program: Option<String>,
    pub device: Option<String>,
    pub why: Option<String>,
    pub offload: Option<String>,
    pub vlan: Option<u32>,
    pub failure: Option<String>,
}

impl From<xsknet_port::Loss> for Loss {
    fn from(loss: xsknet_port::Loss) -> Self {
        match loss {
            xsknet_port::Loss::Uplink { device } => Self { uplink: device.to_string(), port: None, change: None },
            xsknet_port::Loss::Port { uplink, key, change } => {
                Self { uplink: uplink.to_string(), port: Some(key.number()), change }
            }
        }
    }
}

impl Change {
    /// `None` for a loss, which is reported separately.
    pub fn of(notice: Notice) -> Option<Self> {
        let change = |uplink: DeviceName| Self { uplink: uplink.to_string(), ..Self::default() };
        let change = match notice {
            Notice::Lost(_) => return None,
            Notice::Changed { uplink, nic } => Self { nic: Some((&nic).into()), ..change(uplink) },
            Notice::Conflict { uplink, key, address } => {
                Self { port: Some(key.number()), address: Some(address.to_string()), ..change(uplink) }
            }
            Notice::Repaired { uplink, key, program, device, why, failure } => Self {
                port: key.map(PortKey::number),
                program: Some(program.into()),
                device: Some(device.to_string()),
                why: Some(why),
                failure,
                ..change(uplink)
            },
            Notice::Vlan { uplink, vlan, failure } => Self { vlan: Some(vlan.into()), failure, ..change(uplink) },
            Notice::Offload { uplink, offload, failure } => Self { offload: Some(offload), failure, ..change(uplink) },
        };
        Some(change)
    }
}

/// A count of frames has fewer than 63 bits.
fn count(frames: u64) -> i64 {
    i64::try_from(frames).unwrap_or(i64::MAX)
}

//! Taps: ports that get copies of what passes the uplink.

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use xsknet_filter::Flow;

use crate::contract::{
    Claim, FlowCommon, FlowKey4, FlowKey6, LinkKey, MAX_TAP_FLOWS, MAX_TAP_RULES, MAX_TAPS, PortId, RING_ROOM, TAP_IP4,
    TAP_IP6, TAP_LINK, TAP_READS_ADDRESSES, TAP_READS_NOTHING, TAP_READS_PROTOCOL, TapEntry, TapRule, TapState,
};
use crate::flow_kind::Entries;
use crate::load_error::LoadError;
use crate::object::take_map;
use crate::rings::RingRange;
use crate::table_error::TableError;

/// Which frames a tap gets, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// What the uplink receives, whatever becomes of it.
    pub received: bool,
    /// What leaves by the uplink.
    pub sent: bool,
    /// Only frames of one of these flows. None: all frames.
    pub flows: Vec<Flow>,
    /// One of so many frames, by chance. 0 is as 1.
    pub sample: u32,
    /// So many bytes of a frame, at most.
    pub snap: u32,
}

impl Tap {
    /// The longest part of a frame that a tap gets, in bytes.
    pub const MAX_SNAP: u32 = RING_ROOM;
    /// The shortest limit: what the longest headers without options need.
    pub const MIN_SNAP: u32 = 64;
}

/// How a tap is not started. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Copies are written into BPF rings, and the port has none.
    #[error("port {port} has no BPF rings, and a tap needs them")]
    NoRings {
        /// Its id.
        port: PortId,
    },
    /// There are as many as the programs look at.
    #[error("the uplink has {MAX_TAPS} taps already")]
    Full,
    /// A frame is compared with each of them.
    #[error("a tap takes {MAX_TAP_FLOWS} flows, not {flows}")]
    TooManyFlows {
        /// As given.
        flows: usize,
    },
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] TableError),
}

impl TapError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRings { .. } => Some("open it with BPF rings".into()),
            Self::Full => Some("close another tap of this uplink, or share one".into()),
            Self::TooManyFlows { .. } => Some("name prefixes or ranges in the place of single values".into()),
            Self::Refused(_) => None,
        }
    }
}

/// The tap of a place.
#[derive(Debug, Clone, Copy)]
struct Place {
    port: PortId,
    rings: RingRange,
}

pub(crate) struct Taps {
    taps: Array<MapData, TapEntry>,
    state: Array<MapData, TapState>,
    used: TapState,
    places: [Option<Place>; MAX_TAPS as usize],
}

impl Taps {
    pub(crate) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            taps: take_map(bpf, "taps")?,
            state: take_map(bpf, "tap_states")?,
            used: TapState::default(),
            places: [None; MAX_TAPS as usize],
        })
    }

    pub(crate) fn any_sent(&self) -> bool {
        self.used.sent != 0
    }

    pub(crate) fn start(&mut self, port: PortId, claim: Claim, rings: RingRange, tap: &Tap) -> Result<(), TapError> {
        if tap.flows.len() > MAX_TAP_FLOWS as usize {
            return Err(TapError::TooManyFlows { flows: tap.flows.len() });
        }
        let place = self.places.iter().position(Option::is_none).ok_or(TapError::Full)?;
        let entry = entry(claim, tap);
        self.taps.set(place as u32, entry, 0).map_err(|cause| refused("taps", cause))?;
        let bit = |is: bool| u32::from(is) << place;
        let used = TapState { received: self.used.received | bit(tap.received), sent: self.used.sent | bit(tap.sent) };
        self.set_state(used)?;
        self.places[place] = Some(Place { port, rings });
        Ok(())
    }

    /// Programs that are under way may still copy for it. Its place is free once its rings are
    /// [released](Self::release), which is when there are none of them.
    pub(crate) fn stop(&mut self, port: PortId) -> Result<(), TableError> {
        let is_its = |place: &Option<Place>| place.is_some_and(|place| place.port == port);
        let Some(place) = self.places.iter().position(is_its) else { return Ok(()) };
        let others = !(1 << place);
        self.set_state(TapState { received: self.used.received & others, sent: self.used.sent & others })
    }

    pub(crate) fn release(&mut self, rings: RingRange) {
        for place in &mut self.places {
            if place.is_some_and(|place| place.rings == rings) {
                *place = None;
            }
        }
    }

    fn set_state(&mut self, used: TapState) -> Result<(), TableError> {
        if used != self.used {
            self.state.set(0, used, 0).map_err(|cause| refused("tap_states", cause))?;
            self.used = used;
        }
        Ok(())
    }
}

fn entry(claim: Claim, tap: &Tap) -> TapEntry {
    let mut entry = TapEntry {
        claim,
        snap: tap.snap,
        sample: tap.sample,
        all: tap.flows.is_empty().into(),
        rules: 0,
        rule: [TapRule::default(); MAX_TAP_RULES as usize],
    };
    for (place, rule) in entry.rule.iter_mut().zip(tap.flows.iter().flat_map(rules)) {
        *place = rule;
        entry.rules += 1;
    }
    entry
}

/// A flow in each layer where it can match something.
fn rules(flow: &Flow) -> impl Iterator<Item = TapRule> + use<> {
    let Entries { four, six, link } = Entries::of(flow);
    let reads = match flow {
        Flow { protocol: Some(_), .. } => TAP_READS_PROTOCOL,
        Flow { source: None, destination: None, .. } => TAP_READS_NOTHING,
        _ => TAP_READS_ADDRESSES,
    };
    let rule = move |layer, kind, [value, mask]: [FlowKey6; 2]| TapRule { value, mask, kind, layer, reads };
    let four = four.map(|(shape, value)| rule(TAP_IP4, shape.kind, [value, shape.mask].map(from_ip4)));
    let six = six.map(|(shape, value)| rule(TAP_IP6, shape.kind, [value, shape.mask]));
    let link = link.map(|(shape, value)| rule(TAP_LINK, shape.kind, [value, shape.mask].map(from_link)));
    [four, six, link].into_iter().flatten()
}

fn from_ip4(key: FlowKey4) -> FlowKey6 {
    FlowKey6 { source: first(key.source), destination: first(key.destination), common: key.common }
}

fn from_link(key: LinkKey) -> FlowKey6 {
    let common = FlowCommon { vlan: key.vlan, mac: key.mac, ..FlowCommon::default() };
    FlowKey6 { source: first(key.ethertype), destination: [0; 16], common }
}

/// As the first bytes of a field.
fn first<const N: usize>(bytes: [u8; N]) -> [u8; 16] {
    let mut field = [0; 16];
    field[..N].copy_from_slice(&bytes);
    field
}

fn refused(table: &'static str, cause: MapError) -> TableError {
    TableError::Refused { table, cause }
}

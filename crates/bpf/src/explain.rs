//! What the programs decide about a frame, and why: asked of a second pair of them, which changes nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError};
use xsknet_filter::Flow;

use crate::contract::{
    Counter, FlowKey4, FlowKey6, LinkKey, Note, NoteKind, PortId, Rule, TRACE_NOTES, Target, Trace, Vlan,
    address_of_words,
};
use crate::flows::Flows;
use crate::load_error::LoadError;
use crate::object;
use crate::run::{self, RunError, Verdict};

/// What a program decides about a frame. No frame is sent, and nothing is counted, learned or taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The counter that the frame would move, beside [`Counter::Seen`].
    pub counter: Counter,
    /// What decided.
    pub rule: Rule,
    /// What the frame is for, if that is a port; also where it is dropped on its way there.
    pub to: Option<Destination>,
    /// What was looked at, in this order.
    pub steps: Vec<Step>,
}

/// What gets a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// The port.
    pub port: PortId,
    /// Which of its queue pairs, counted from 0. Not yet known of a frame that is dropped as `too_long`.
    pub queue_pair: u32,
    /// Whether it would be copied into a BPF ring.
    pub rings: bool,
}

/// The VLAN of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameVlan {
    /// The frame has no tag.
    Untagged,
    /// An outer 802.1Q tag has this id; 0 is a priority tag.
    Tagged(u16),
    /// The outer tag is of another kind (802.1ad): no port has it.
    Foreign,
}

impl FrameVlan {
    fn of(key: u16) -> Self {
        match key {
            0 => Self::Untagged,
            Vlan::TAGGED..=0x1fff => Self::Tagged(key & 0x0fff),
            _ => Self::Foreign,
        }
    }
}

/// How the VLAN tags of a frame were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagging {
    /// There is one, or none.
    AtMostOne,
    /// There are two.
    Two,
    /// The frame ends within them.
    Cut,
    /// There are more than two.
    TooMany,
}

/// A kind of frames that a port may be limited in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedKind {
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
    /// To one station.
    Unicast,
    /// All.
    Frames,
    /// The bits of all.
    Bits,
}

/// What a program looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The tags, and the EtherType behind them, as far as they are there.
    Tags {
        /// The outer one.
        vlan: FrameVlan,
        /// Behind those that were read.
        ethertype: u16,
        /// How many there are.
        tagging: Tagging,
    },
    /// As what the port sends.
    Sender {
        /// With a MAC other than its own: by its flows, if it is the uplink's.
        as_host: bool,
        /// The VLAN of the port.
        vlan: Vlan,
    },
    /// Whose MAC the destination is, in this VLAN.
    Mac {
        /// The destination.
        mac: [u8; 6],
        /// Of the frame.
        vlan: FrameVlan,
        /// `None`: no port's.
        port: Option<PortId>,
    },
    /// Whose address ARP or neighbour discovery ask for, or speak of.
    Target {
        /// The address.
        address: IpAddr,
        /// `None`: no port's.
        port: Option<PortId>,
    },
    /// Whose address a packet to the uplink's MAC is for, of the ports that have this MAC.
    Destination {
        /// The address.
        address: IpAddr,
        /// `None`: no such port's.
        port: Option<PortId>,
    },
    /// Whether the port may send from an address.
    Source {
        /// The address.
        address: IpAddr,
        /// Whether it is the port's.
        own: bool,
    },
    /// The first flow that matches.
    Flow {
        /// Whose it is; `None`: no flow matches.
        port: Option<PortId>,
        /// Which; `None` also where the port has just released it.
        flow: Option<Flow>,
    },
    /// It is an ICMP error: the next flow is that of the answers to the packet that it quotes.
    Quoted,
    /// Which port got the first fragment of the packet.
    Fragment {
        /// `None`: nothing is known of it.
        port: Option<PortId>,
    },
    /// The length of the frame.
    Length {
        /// Bytes.
        length: u32,
        /// What its target takes.
        most: u64,
    },
    /// How much of its kind the port may send.
    Rate {
        /// The kind.
        kind: LimitedKind,
        /// Whether the port is limited in it.
        limited: bool,
        /// Whether a port has heard of the station lately; of unicast that is limited.
        known: bool,
        /// Whether it may send this frame now.
        within: bool,
    },
}

/// The programs that explain, once they were needed: verifying them takes the kernel some 150 ms. They are attached to
/// nothing.
#[derive(Default)]
pub(crate) struct Explainer(Mutex<Option<Loaded>>);

struct Loaded {
    bpf: Ebpf,
    traces: Array<MapData, Trace>,
}

/// How a frame is not explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The programs were not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// They did not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What they wrote could not be read.
    #[error("could not read what the {program} program noted of a frame")]
    Trace {
        /// Which.
        program: &'static str,
        /// What aya says.
        #[source]
        cause: MapError,
    },
    /// The notes do not tell what became of the frame.
    #[error("the {program} program answered {verdict:?}, and its {count} notes say {counter:?} by {rule:?}")]
    Unclear {
        /// Which.
        program: &'static str,
        /// Its answer.
        verdict: Verdict,
        /// There is room for 64.
        count: u32,
        /// The counter that they name.
        counter: Option<Counter>,
        /// The rule that they name.
        rule: Option<Rule>,
    },
}

impl Explainer {
    /// Runs the program on a copy of `frame`, as if it came in on queue 0 of `ingress`.
    pub(crate) fn explain(
        &self,
        program: &'static str,
        (globals, shared): (&[(&str, u32)], &Path),
        (frame, ingress): (&[u8], u32),
        flows: &Flows,
    ) -> Result<Explanation, ExplainError> {
        // One at a time, because the notes are of one frame. A panic leaves nothing that the next run does not replace.
        let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.is_none() {
            let mut bpf = object::load_explain(globals, shared)?;
            let traces = object::take_map(&mut bpf, object::EXPLAINS)?;
            *loaded = Some(Loaded { bpf, traces });
        }
        let Loaded { bpf, traces } = loaded.as_mut().expect("it was just loaded");
        let unread = |cause| ExplainError::Trace { program, cause };
        let empty = Trace { count: 0, zero: 0, notes: [Note::default(); TRACE_NOTES] };
        traces.set(0, empty, 0).map_err(unread)?;
        let (verdict, _) = run::test(object::xdp(bpf, program), program, frame, ingress)?;
        let trace = traces.get(&0, 0).map_err(unread)?;
        read(program, verdict, &trace, flows)
    }
}

fn read(program: &'static str, verdict: Verdict, trace: &Trace, flows: &Flows) -> Result<Explanation, ExplainError> {
    let (mut counter, mut rule, mut to, mut steps) = (None, None, None, Vec::new());
    let count = trace.count;
    let notes = trace.notes.get(..count as usize).unwrap_or_default();
    for (at, note) in notes.iter().enumerate() {
        match NoteKind::from_number(note.kind) {
            Some(NoteKind::Rule) => rule = Rule::from_number(note.value),
            Some(NoteKind::Left) => counter = Counter::from_number(note.value),
            Some(NoteKind::To) => {
                to = PortId::new(note.value).map(|port| Destination {
                    port,
                    queue_pair: note.word[0] as u32,
                    rings: note.word[1] == Target::Rings as u64,
                });
            }
            Some(kind) => steps.extend(step(kind, note, notes.get(at + 1), flows)),
            None => {}
        }
    }
    match (counter, rule) {
        (Some(counter), Some(rule)) if counter.verdict() == verdict => Ok(Explanation { counter, rule, to, steps }),
        _ => Err(ExplainError::Unclear { program, verdict, count, counter, rule }),
    }
}

fn step(kind: NoteKind, note: &Note, next: Option<&Note>, flows: &Flows) -> Option<Step> {
    let Note { value, word: word @ [first, second, _], .. } = *note;
    let port = PortId::new(value);
    let four = || Ipv4Addr::from((first as u32).to_ne_bytes()).into();
    let six = || Ipv6Addr::from(address_of_words([first, second])).into();
    let flow = |flow: Option<Flow>| Some(Step::Flow { port, flow });
    match kind {
        // `Flow6Rest` was read with the note before it.
        NoteKind::Rule | NoteKind::Left | NoteKind::To | NoteKind::Flow6Rest => None,
        NoteKind::Tags => {
            Some(Step::Tags { vlan: FrameVlan::of(value as u16), ethertype: first as u16, tagging: tagging(second) })
        }
        NoteKind::Sender => Some(Step::Sender { as_host: first != 0, vlan: Vlan::from_key(second as u16)? }),
        NoteKind::Mac => {
            let [mac @ .., a, b] = first.to_ne_bytes();
            Some(Step::Mac { mac, vlan: FrameVlan::of(u16::from_ne_bytes([a, b])), port })
        }
        NoteKind::Target4 => Some(Step::Target { address: four(), port }),
        NoteKind::Target6 => Some(Step::Target { address: six(), port }),
        NoteKind::Destination4 => Some(Step::Destination { address: four(), port }),
        NoteKind::Destination6 => Some(Step::Destination { address: six(), port }),
        NoteKind::Source4 => Some(Step::Source { address: four(), own: value != 0 }),
        NoteKind::Source6 => Some(Step::Source { address: six(), own: value != 0 }),
        NoteKind::Flow4 => flow(port.and_then(|port| flows.with_key4(port, FlowKey4::from_words(word)))),
        NoteKind::Flow6 => {
            flow(port.zip(next).and_then(|(port, rest)| flows.with_key6(port, FlowKey6::from_words(word, rest.word))))
        }
        NoteKind::FlowLink => {
            flow(port.and_then(|port| flows.with_link_key(port, LinkKey::from_words([first, second]))))
        }
        NoteKind::Quoted => Some(Step::Quoted),
        NoteKind::Fragment => Some(Step::Fragment { port }),
        NoteKind::Length => Some(Step::Length { length: value, most: first }),
        NoteKind::Rate => {
            let kind = match value {
                0 => LimitedKind::Broadcast,
                1 => LimitedKind::Multicast,
                2 => LimitedKind::Unicast,
                4 => LimitedKind::Frames,
                5 => LimitedKind::Bits,
                _ => return None,
            };
            Some(Step::Rate { kind, limited: first != 0, known: second != 0, within: word[2] != 0 })
        }
    }
}

/// As enum tagging in parse.h.
fn tagging(number: u64) -> Tagging {
    match number {
        0 => Tagging::AtMostOne,
        1 => Tagging::Two,
        2 => Tagging::Cut,
        _ => Tagging::TooMany,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_vlan_of_its_outer_tag() {
        assert_eq!(FrameVlan::of(Vlan::UNTAGGED.key()), FrameVlan::Untagged);
        assert_eq!(FrameVlan::of(Vlan::TAGGED), FrameVlan::Tagged(0));
        assert_eq!(FrameVlan::of(Vlan::TAGGED | 4095), FrameVlan::Tagged(4095));
        assert_eq!(FrameVlan::of(Vlan::FOREIGN_TAG), FrameVlan::Foreign);
    }
}

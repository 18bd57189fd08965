//! The far end of a test: takes numbered datagrams and counts them.

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::TcAttachType;
use aya::programs::links::FdLink;

use super::tcx::{self, TcxError};
use crate::object::{self, Object, object};

static SINK: Object = object!("sink");

/// What a [`Sink`] has taken so far. `frames = distinct + repeated + late + corrupt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkReport {
    /// Datagrams to the sink's port.
    pub frames: u64,
    /// Numbers that came.
    pub distinct: u64,
    /// Datagrams whose number had come before, where each number is counted.
    pub repeated: u64,
    /// Datagrams behind a higher number of their flow, where flows are followed: repeated, or overtaken.
    pub late: u64,
    /// Datagrams without a number below the maximum, or with bytes behind it that do not follow from it.
    pub corrupt: u64,
}

/// A program on tc ingress that takes the UDP/IPv4 datagrams (untagged, without IP options) of some destination ports,
/// and counts the frames of every source MAC. Needs Linux 6.6 (tcx). Gone with its value.
pub struct Sink {
    /// One `struct report`: the fields of [`SinkReport`] in their order.
    reports: Array<MapData, [u64; 5]>,
    sources: HashMap<MapData, [u8; 6], u64>,
    _bpf: Ebpf,
    _link: FdLink,
}

impl Sink {
    /// Attaches a sink for `port` to the device. Datagrams carry their number at `number_offset`, counted from the
    /// start of the frame; numbers from `numbers` on are corrupt. A number costs 8 bytes of kernel memory.
    ///
    /// # Errors
    ///
    /// See [`TcxError`].
    pub fn attach(ifindex: u32, port: u16, number_offset: u32, numbers: u32) -> Result<Self, TcxError> {
        Self::load(ifindex, port, number_offset, [("numbers", numbers), ("flows", 0)])
    }

    /// Attaches a sink for `flows` ports from `port` on, at most 64: each is a flow, whose numbers begin at 0 and rise
    /// by one. Its memory does not grow with the numbers, so they need no limit.
    ///
    /// # Errors
    ///
    /// See [`TcxError`].
    pub fn following(ifindex: u32, port: u16, number_offset: u32, flows: u16) -> Result<Self, TcxError> {
        Self::load(ifindex, port, number_offset, [("numbers", 0), ("flows", u32::from(flows.max(1)))])
    }

    fn load(ifindex: u32, port: u16, number_offset: u32, kind: [(&'static str, u32); 2]) -> Result<Self, TcxError> {
        let [numbers, flows] = kind;
        let globals = [("sink_port", u32::from(port)), ("number_offset", number_offset), numbers, flows];
        let mut bpf = SINK.load(&globals, &[("seen", numbers.1.max(1))], None)?;
        let reports = object::take_map(&mut bpf, "reports")?;
        let sources = object::take_map(&mut bpf, "sources")?;

        let link = tcx::attach(&mut bpf, "sink", ifindex, TcAttachType::Ingress)?;
        Ok(Self { reports, sources, _bpf: bpf, _link: link })
    }

    /// What came so far.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn seen(&self) -> Result<SinkReport, MapError> {
        let [frames, distinct, repeated, late, corrupt] = self.reports.get(&0, 0)?;
        Ok(SinkReport { frames, distinct, repeated, late, corrupt })
    }

    /// Frames of any kind that came from this MAC. At most 1,024 sources are counted.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn frames_from(&self, mac: [u8; 6]) -> Result<u64, MapError> {
        match self.sources.get(&mac, 0) {
            Err(MapError::KeyNotFound) => Ok(0),
            answer => answer,
        }
    }
}

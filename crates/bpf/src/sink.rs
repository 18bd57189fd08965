//! The far end of a test: takes numbered datagrams and tells what became of them.

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::TcAttachType;
use aya::programs::links::FdLink;

use crate::object;
use crate::tcx::{self, TcxError};

/// What a [`Sink`] has taken so far. `frames = distinct + repeated + corrupt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SinkReport {
    /// Datagrams to the sink's port.
    pub frames: u64,
    /// Numbers that came.
    pub distinct: u64,
    /// Datagrams whose number had come before.
    pub repeated: u64,
    /// Datagrams without a number below the maximum, or with bytes behind it that do not follow from it.
    pub corrupt: u64,
}

/// A program on tc ingress that takes the UDP/IPv4 datagrams (untagged, without IP options) of one destination port, and
/// counts the frames of every source MAC. Needs Linux 6.6 (tcx). Gone with its value.
pub struct Sink {
    reports: Array<MapData, SinkReport>,
    sources: HashMap<MapData, [u8; 6], u64>,
    _bpf: Ebpf,
    _link: FdLink,
}

impl Sink {
    /// Attaches a sink for `port` to the device. Datagrams carry their number at `number_offset`, counted from the start of
    /// the frame; numbers from `numbers` on are corrupt. A number costs 8 bytes of kernel memory.
    ///
    /// # Errors
    ///
    /// See [`TcxError`].
    pub fn attach(ifindex: u32, port: u16, number_offset: u32, numbers: u32) -> Result<Self, TcxError> {
        let globals = [("sink_port", u32::from(port)), ("number_offset", number_offset), ("numbers", numbers)];
        let mut bpf = object::SINK.load(&globals, &[("seen", numbers.max(1))], None)?;
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
        self.reports.get(&0, 0)
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

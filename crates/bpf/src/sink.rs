//! The far end of a test: takes numbered datagrams and tells what became of them.

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use crate::object::{self, LoadError};

/// How setting up a sink fails.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Its program was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No such device in this network namespace.
    #[error("there is no device with ifindex {ifindex} for a sink")]
    DeviceMissing {
        /// As given.
        ifindex: u32,
    },
    /// The kernel refused.
    #[error("could not attach the sink to {device}")]
    Attach {
        /// The device's name.
        device: String,
        /// What aya says.
        #[source]
        cause: Box<ProgramError>,
    },
}

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
    /// See [`SinkError`].
    pub fn attach(ifindex: u32, port: u16, number_offset: u32, numbers: u32) -> Result<Self, SinkError> {
        let globals = [("sink_port", u32::from(port)), ("number_offset", number_offset), ("numbers", numbers)];
        let mut bpf = object::SINK.load(&globals, &[("seen", numbers.max(1))], None)?;
        let reports = object::take_map(&mut bpf, "reports")?;
        let sources = object::take_map(&mut bpf, "sources")?;

        let device = socket(AddressFamily::INET, SocketType::DGRAM, None)
            .and_then(|any| netdevice::index_to_name(&any, ifindex))
            .map_err(|_| SinkError::DeviceMissing { ifindex })?;
        let link = attach(&mut bpf, &device).map_err(|cause| SinkError::Attach { device, cause: Box::new(cause) })?;
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

fn attach(bpf: &mut Ebpf, device: &str) -> Result<FdLink, ProgramError> {
    let program: &mut SchedClassifier = bpf
        .program_mut("sink")
        .and_then(|program| program.try_into().ok())
        .expect("the sink program is in the sink object");
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = program.attach_with_options(device, TcAttachType::Ingress, options)?;
    Ok(program.take_link(id)?.try_into().expect("a tcx attachment is a link"))
}

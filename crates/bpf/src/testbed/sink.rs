//! The far end of a test: takes numbered datagrams and counts them.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::TcAttachType;
use aya::programs::links::FdLink;

use super::tcx::{self, TcxError};
use crate::attachment::{self, AttachError, Attachment, Device};
use crate::mode::Mode;
use crate::object::{self, Object, object};

const XDP: &str = "sink_xdp";

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
    _link: Link,
}

/// How it is held on its device.
enum Link {
    Tc(#[expect(dead_code, reason = "kept")] FdLink),
    Xdp(#[expect(dead_code, reason = "kept")] Attachment),
}

/// How attaching a sink fails.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// On tc ingress.
    #[error(transparent)]
    Tcx(#[from] TcxError),
    /// As an XDP program.
    #[error(transparent)]
    Xdp(#[from] AttachError),
}

impl Sink {
    /// Attaches a sink for `port` to the device. Datagrams carry their number at `number_offset`, counted from the
    /// start of the frame; numbers from `numbers` on are corrupt. A number costs 8 bytes of kernel memory.
    ///
    /// # Errors
    ///
    /// See [`SinkError`].
    pub fn attach(ifindex: u32, port: u16, number_offset: u32, numbers: u32) -> Result<Self, SinkError> {
        Self::load(port, number_offset, [("numbers", numbers), ("flows", 0)], |bpf| on_tc(bpf, ifindex))
    }

    /// Attaches a sink for `flows` ports from `port` on, at most 64: each is a flow, whose numbers begin at 0 and rise
    /// by one. Its memory does not grow with the numbers, so they need no limit.
    ///
    /// # Errors
    ///
    /// See [`SinkError`].
    pub fn following(ifindex: u32, port: u16, number_offset: u32, flows: u16) -> Result<Self, SinkError> {
        Self::load(port, number_offset, of_flows(flows), |bpf| on_tc(bpf, ifindex))
    }

    /// The same as a native XDP program: no skb is made of what it takes, which would cost more than all before it.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn following_native(device: &Device, port: u16, number_offset: u32, flows: u16) -> Result<Self, SinkError> {
        Self::load(port, number_offset, of_flows(flows), |bpf| {
            let program = object::xdp(bpf, XDP);
            let fd = program.fd().map_err(|cause| AttachError::NotLoaded { hook: XDP, cause })?;
            Ok(Link::Xdp(attachment::attach(fd.as_fd(), device, Mode::Native, XDP)?))
        })
    }

    fn load(
        port: u16,
        number_offset: u32,
        kind: [(&'static str, u32); 2],
        attach: impl FnOnce(&mut Ebpf) -> Result<Link, SinkError>,
    ) -> Result<Self, SinkError> {
        let [numbers, flows] = kind;
        let globals = [("sink_port", u32::from(port)), ("number_offset", number_offset), numbers, flows];
        let mut bpf = SINK.load(&globals, &[("seen", numbers.1.max(1))], None).map_err(TcxError::from)?;
        let reports = object::take_map(&mut bpf, "reports").map_err(TcxError::from)?;
        let sources = object::take_map(&mut bpf, "sources").map_err(TcxError::from)?;

        let link = attach(&mut bpf)?;
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

fn of_flows(flows: u16) -> [(&'static str, u32); 2] {
    [("numbers", 0), ("flows", u32::from(flows.max(1)))]
}

fn on_tc(bpf: &mut Ebpf, ifindex: u32) -> Result<Link, SinkError> {
    Ok(Link::Tc(tcx::attach(bpf, "sink", ifindex, TcAttachType::Ingress)?))
}

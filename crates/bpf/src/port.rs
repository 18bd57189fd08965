//! The program on the inner end of one of a port's queue pairs, which hands frames to its socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError, PerCpuArray, XskMap};

use crate::attachment::{self, AttachError, Attachment, Device};
use crate::contract::Identity;
use crate::counters::Counters;
use crate::load_error::LoadError;
use crate::mode::Mode;
use crate::object;
use crate::run::{self, RunError, TestResult};

const PORT: &str = "port";
/// Of a queue that has BPF rings.
pub(crate) const RING_PORT: &str = "ring_port";

/// The port program with its own XSKMAP and counters: one load per queue pair, so that no map reaches another port.
pub struct PortProgram {
    bpf: Ebpf,
    name: &'static str,
    xsks: XskMap<MapData>,
    xsks_id: u32,
    counters: PerCpuArray<MapData, Counters>,
}

impl PortProgram {
    /// Loads it. With `pins`, its maps and program are pinned in that folder's `maps/` and `programs/`; maps found
    /// there are re-used if they have the right shape.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; nothing stays behind then.
    pub fn load(pins: Option<&Path>) -> Result<Self, LoadError> {
        let bpf = match pins {
            Some(pins) => object::load_port(pins)?,
            None => object::PORT.load(&[], &[], None)?,
        };
        Self::of(bpf, PORT)
    }

    /// The one of a queue that has BPF rings, by which its client sends, too.
    pub(crate) fn load_ring(identity: Identity, pins: &Path, shared: &Path) -> Result<Self, LoadError> {
        let mut bpf = object::load_ring(pins, shared)?;
        let mut identities: Array<_, Identity> = object::take_map(&mut bpf, "identities")?;
        identities.set(0, identity, 0).map_err(|cause| LoadError::Map { map: "identities", cause })?;
        Self::of(bpf, RING_PORT)
    }

    fn of(mut bpf: Ebpf, name: &'static str) -> Result<Self, LoadError> {
        Ok(Self {
            name,
            xsks_id: object::map_id(&bpf, "xsks")?,
            xsks: object::take_map(&mut bpf, "xsks")?,
            counters: object::take_map(&mut bpf, "port_counters")?,
            bpf,
        })
    }

    /// Attaches it to the inner end of a queue pair.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach(&self, device: &Device, mode: Mode) -> Result<Attachment, AttachError> {
        let program = object::xdp(&self.bpf, self.name);
        let fd = program.fd().map_err(|cause| AttachError::NotLoaded { hook: PORT, cause })?;
        attachment::attach(fd.as_fd(), device, mode, PORT)
    }

    /// A descriptor of the program of a queue with BPF rings, for its client. Of another program nobody may have one:
    /// whoever has it can run it on any frame.
    ///
    /// # Errors
    ///
    /// The kernel's, for want of a descriptor.
    pub fn for_client(&self) -> io::Result<OwnedFd> {
        let program = object::xdp(&self.bpf, self.name);
        program.fd().map_err(io::Error::other)?.as_fd().try_clone_to_owned()
    }

    /// Puts a bound XSK in the slot: frames reach it from now on, in the place of any socket there before. Prime its
    /// FILL ring first, else the first frames are lost.
    ///
    /// # Errors
    ///
    /// The kernel's: EOPNOTSUPP for what is not an XSK.
    pub fn set_socket(&mut self, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        self.xsks.set(0, socket.as_raw_fd(), 0)
    }

    /// Empties the slot: frames are dropped as `no_socket` from now on. An empty slot is not an error.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn clear_socket(&mut self) -> Result<(), MapError> {
        match self.xsks.unset(0) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            answer => answer,
        }
    }

    /// The kernel's id of its XSKMAP, which a client that is given its pin may keep.
    pub fn socket_map_id(&self) -> u32 {
        self.xsks_id
    }

    /// What became of the frames so far.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn counters(&self) -> Result<Counters, MapError> {
        Ok(self.counters.get(&0, 0)?.iter().copied().sum())
    }

    /// Runs the program on a copy of `frame`, as if it came in on queue 0 of the device `ingress`.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn test(&self, frame: &[u8], ingress: u32) -> Result<TestResult, RunError> {
        let unread = |cause| RunError::Counters { program: PORT, cause };
        let before = self.counters().map_err(unread)?;
        let (verdict, frame) = run::test(object::xdp(&self.bpf, self.name), PORT, frame, ingress)?;
        Ok(TestResult { verdict, frame, moved: self.counters().map_err(unread)? - before })
    }
}

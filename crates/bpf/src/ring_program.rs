//! The program of a queue that has BPF rings, by which its client sends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::Ebpf;
use aya::maps::Array;

use crate::attachment::{self, AttachError, Attachment, Device};
use crate::contract::Identity;
use crate::load_error::LoadError;
use crate::mode::Mode;
use crate::object;

pub(crate) const RING_PORT: &str = "ring_port";

/// The program of one queue that has BPF rings. It sits on the inner end of the queue's pair, where nothing is steered
/// to.
pub struct RingProgram(Ebpf);

impl RingProgram {
    /// With the name that it speaks by. The data path's maps are pinned in the folder `shared`.
    pub(crate) fn load(identity: Identity, pins: &Path, shared: &Path) -> Result<Self, LoadError> {
        let mut bpf = object::load_ring(pins, shared)?;
        let mut identities: Array<_, Identity> = object::take_map(&mut bpf, "identities")?;
        identities.set(0, identity, 0).map_err(|cause| LoadError::Map { map: "identities", cause })?;
        Ok(Self(bpf))
    }

    /// Attaches it to the inner end of its queue's pair.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach(&self, device: &Device, mode: Mode) -> Result<Attachment, AttachError> {
        let hook = "port";
        let fd = object::xdp(&self.0, RING_PORT).fd().map_err(|cause| AttachError::NotLoaded { hook, cause })?;
        attachment::attach(fd.as_fd(), device, mode, hook)
    }

    /// A descriptor of it for its client. No client may have one of another program: its holder can run it on any
    /// frame.
    ///
    /// # Errors
    ///
    /// The kernel's, for want of a descriptor.
    pub fn for_client(&self) -> io::Result<OwnedFd> {
        object::xdp(&self.0, RING_PORT).fd().map_err(io::Error::other)?.as_fd().try_clone_to_owned()
    }

    /// Runs it on a copy of `frame`, as if it came in on queue 0 of the device `ingress`.
    #[cfg(test)]
    pub(crate) fn test(&self, frame: &[u8], ingress: u32) -> Result<(crate::Verdict, Vec<u8>), crate::RunError> {
        crate::run::test(object::xdp(&self.0, RING_PORT), RING_PORT, frame, ingress)
    }
}

//! The program on the inner end of a queue pair.

use std::os::fd::BorrowedFd;

use xsknet_bpf::{AttachError, Attachment, Counters, Device, InnerEnd, MapError, Mode, RingProgram};

/// What the inner end of a queue pair has.
#[derive(Debug)]
pub(crate) enum InnerProgram {
    /// Hands frames to the queue's socket.
    Socket(InnerEnd),
    /// The client sends by it, and nothing is steered to it.
    Rings(RingProgram),
}

impl InnerProgram {
    pub(crate) fn attach(&self, device: &Device, mode: Mode) -> Result<Attachment, AttachError> {
        match self {
            Self::Socket(end) => end.program().attach(device, mode),
            Self::Rings(program) => program.attach(device, mode),
        }
    }

    /// Has frames go to a bound socket from now on. No frames come where the queue has BPF rings.
    pub(crate) fn set_socket(&self, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        match self {
            Self::Socket(end) => end.set_socket(socket),
            Self::Rings(_) => Ok(()),
        }
    }

    /// What became of the frames that reached it.
    pub(crate) fn counters(&self) -> Result<Counters, MapError> {
        match self {
            Self::Socket(end) => end.counters(),
            Self::Rings(_) => Ok(Counters::default()),
        }
    }
}

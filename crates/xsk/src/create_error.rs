use std::io;

use rustix::io::Errno;

use crate::donation::{AdoptError, BindMode};
use crate::request::QueueId;
use crate::ring::RingBroken;

/// How making a socket can end.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The calling thread's network namespace has no device of this name.
    #[error("there is no device {device} in this network namespace")]
    NoSuchDevice {
        /// The name.
        device: String,
    },
    /// The kernel could not be asked about the device.
    #[error("looking up device {device} failed")]
    Lookup {
        /// The name.
        device: String,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The queue still had a socket after the time that the kernel may take to release one.
    #[error("queue {queue} of {device} already has a socket")]
    QueueTaken {
        /// The device.
        device: String,
        /// The queue.
        queue: QueueId,
    },
    /// The kernel refused the socket.
    #[error("{call} refused {mode} on queue {queue} of {device}")]
    Refused {
        /// The system call.
        call: &'static str,
        /// The mode asked for.
        mode: BindMode,
        /// Whether frames in several chunks were asked for.
        multi_buffer: bool,
        /// The device.
        device: String,
        /// The queue.
        queue: QueueId,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The UMEM's memory could not be allocated or registered.
    #[error("registering a UMEM of {bytes} bytes failed")]
    Umem {
        /// Bytes of the UMEM.
        bytes: u64,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// Huge pages are required, and this kernel has none.
    #[error("making a UMEM in huge pages: this kernel does not say how large they are")]
    HugePages {
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The socket whose UMEM was to be shared is not bound any more: its port is closed, or its device was deleted.
    #[error("binding to {device} on the UMEM of another socket: that one is not bound any more")]
    UmemGone {
        /// The device.
        device: String,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// More chunks were named for FILL than it has slots.
    #[error("{chunks} chunks were given for a FILL ring of {slots} slots")]
    FillTooSmall {
        /// Chunks named.
        chunks: usize,
        /// Slots of the ring.
        slots: u32,
    },
    /// The socket exists, but its descriptors could not be kept.
    #[error("making a socket: {what} failed")]
    Keep {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The socket exists, but could not be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// The FILL ring of the new socket is broken.
    #[error("making a socket: its FILL ring could not be filled")]
    Prime(#[from] RingBroken),
}

impl CreateError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchDevice { .. } => Some("`ip link` lists the devices; alternative names are not looked up"),
            Self::QueueTaken { .. } => {
                Some("close the other socket, or take another queue: `ethtool -l` says how many there are")
            }
            Self::Refused { mode: BindMode::ZeroCopy, cause, .. } if is(cause, Errno::OPNOTSUPP) => {
                Some("the driver has no zero-copy: ask for copy mode, or for zero-copy only where the driver has it")
            }
            Self::Refused { multi_buffer: true, cause, .. } if is(cause, Errno::INVAL) => Some(
                "frames in several chunks (multi-buffer) take Linux 6.6; `ethtool -l` says how many queues the device \
                 has",
            ),
            Self::Refused { cause, .. } if is(cause, Errno::INVAL) => {
                Some("`ethtool -l` says how many queues the device has")
            }
            Self::UmemGone { .. } => Some("share the UMEM of a port that is open"),
            Self::FillTooSmall { .. } => Some("give fewer chunks, or ask for a larger ring"),
            Self::HugePages { .. } => Some("this kernel has no huge pages (CONFIG_HUGETLBFS): ask for ordinary ones"),
            Self::Umem { cause, .. } if is(cause, Errno::NOMEM) => Some(
                "ask for fewer or smaller frames; of huge pages, `vm.nr_hugepages` reserves some, and 'prefer' does \
                 without them where there are too few",
            ),
            Self::Umem { cause, .. } | Self::Refused { cause, .. } if is(cause, Errno::MFILE) => {
                Some("this process has as many open files as it may: raise `LimitNOFILE=`, or `ulimit -n`")
            }
            Self::Umem { cause, .. } if is(cause, Errno::NOBUFS) => {
                Some("the UMEM exceeds RLIMIT_MEMLOCK: raise it, grant CAP_IPC_LOCK, or ask for fewer frames")
            }
            Self::Umem { cause, .. } | Self::Refused { cause, .. } if is(cause, Errno::PERM) => {
                Some("making a socket takes CAP_NET_RAW")
            }
            _ => None,
        }
    }
}

pub(crate) fn is(cause: &io::Error, errno: Errno) -> bool {
    cause.raw_os_error() == Some(errno.raw_os_error())
}

//! The other end of a pin: a port's map, opened by a process that makes its own socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapError, XskMap};
use aya_obj::generated::bpf_map_type;

use crate::bpffs;
use crate::map_shape::MapShape;
use crate::sys;

/// The XSKMAP of one port, opened by its pin. It takes rights on the file and no capability (since Linux 5.19).
pub struct PinnedSocketMap {
    sockets: XskMap<MapData>,
    path: PathBuf,
}

impl PinnedSocketMap {
    /// Opens what is pinned at `path`, and checks that it is an XSKMAP with a slot for `queue`.
    ///
    /// # Errors
    ///
    /// See [`PinnedMapError`].
    pub fn open(path: &Path, queue: u32) -> Result<Self, PinnedMapError> {
        let fd = sys::open_pin(path).map_err(|cause| match bpffs::is_mounted(path.parent().unwrap_or(path)) {
            // The kernel says EACCES of what lies on another file system.
            Ok(false) => PinnedMapError::NotThere { path: path.to_owned(), cause: io::ErrorKind::NotFound.into() },
            _ if cause.kind() == io::ErrorKind::NotFound => PinnedMapError::NotThere { path: path.to_owned(), cause },
            _ => PinnedMapError::Denied { path: path.to_owned(), cause },
        })?;
        // For a program or a link the kernel says EINVAL, or the shape is another.
        let mismatch = |found| PinnedMapError::NotASocketMap { path: path.to_owned(), queue, found };
        let data = MapData::from_fd(fd).map_err(|_| mismatch(None))?;
        let shape = MapShape::of(&data.info().map_err(|_| mismatch(None))?);
        let fits = shape.kind == bpf_map_type::BPF_MAP_TYPE_XSKMAP as u32
            && (shape.key_size, shape.value_size) == (4, 4)
            && shape.max_entries > queue;
        if !fits {
            return Err(mismatch(Some(shape)));
        }
        let sockets = Map::from_map_data(data).and_then(XskMap::try_from).map_err(|_| mismatch(Some(shape)))?;
        Ok(Self { sockets, path: path.to_owned() })
    }

    /// Puts a bound XSK in the slot of its queue: frames reach it from now on. Prime its FILL ring first.
    ///
    /// # Errors
    ///
    /// [`PinnedMapError::Insert`].
    pub fn insert(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), PinnedMapError> {
        self.sockets.set(queue, socket.as_raw_fd(), 0).map_err(|cause| {
            let cause = match cause {
                MapError::SyscallError(error) => error.io_error,
                other => io::Error::other(other),
            };
            PinnedMapError::Insert { path: self.path.clone(), queue, cause }
        })
    }
}

/// How a pinned map does not take a socket.
#[derive(Debug, thiserror::Error)]
pub enum PinnedMapError {
    /// Nothing is pinned there that this process can see.
    #[error("no map is pinned at {}", path.display())]
    NotThere {
        /// As given.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// This process may not have it.
    #[error("this process may not open the map pinned at {}", path.display())]
    Denied {
        /// As given.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// Something else is pinned there. It was left alone.
    #[error(
        "what is pinned at {} is not an XSKMAP with a slot for queue {queue}: {}",
        path.display(),
        found.map_or_else(|| "not a map".to_owned(), |found| found.to_string())
    )]
    NotASocketMap {
        /// As given.
        path: PathBuf,
        /// The slot asked for.
        queue: u32,
        /// The map that is there; `None` where it is none.
        found: Option<MapShape>,
    },
    /// The kernel did not take the socket.
    #[error("the map pinned at {} did not take the socket of queue {queue}", path.display())]
    Insert {
        /// As given.
        path: PathBuf,
        /// The slot.
        queue: u32,
        /// The kernel's answer: EOPNOTSUPP for what is not an XSK.
        #[source]
        cause: io::Error,
    },
}

impl PinnedMapError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotThere { .. } => Some(
                "the port may be closed already; else this process does not see the machine's bpffs in its mount \
                 namespace: bind-mount /sys/fs/bpf into the container"
                    .into(),
            ),
            Self::Denied { .. } => Some(
                "the daemon gives the pin to the user and group of the connection that asked for the port (mode 0600): \
                 open it as that user; before Linux 5.19, kernel.unprivileged_bpf_disabled has to be 0"
                    .into(),
            ),
            Self::NotASocketMap { .. } => Some("use the path that the daemon answered with".into()),
            Self::Insert { .. } => None,
        }
    }
}

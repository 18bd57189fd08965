//! The daemon's socket: who may come in.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, bind, listen};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use crate::aside::drop_aside;
use crate::connection::Connection;
use crate::limits::{Admission, Limits, Refusal};
use crate::seqpacket::{MAX_PATH, Seqpacket, Unfit, address, new_socket};
use crate::sys;

/// Connections that the kernel keeps until we take them.
const BACKLOG: i32 = 128;
/// Refused connections that may be closing at a time. They have no place, and their close can be made to take long.
const CLOSING: usize = 64;
/// How long to wait where the kernel gives no connection, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Who may connect. What somebody may do then is the policy's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everybody.
    Everybody,
    /// The user who made the socket, and root.
    Owner,
}

impl Reach {
    fn mode(self) -> u32 {
        match self {
            Self::Everybody => 0o666,
            Self::Owner => 0o600,
        }
    }
}

/// A listening socket in the file system. Dropping it removes the socket, unless another has taken its path.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    file: SocketFile,
    limits: Limits,
    refusal: Vec<u8>,
    admission: Arc<Mutex<Admission>>,
    closing: Arc<Semaphore>,
}

impl Listener {
    /// Makes the socket at `path` for those whom `reach` names, and listens. A socket that nobody listens to any more is replaced; that
    /// two start at the same moment is the caller's to prevent. Needs a tokio runtime with its IO and time drivers.
    ///
    /// Clients for whom there is no place get `refusal` before they are let go, unless it is empty.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(path: &Path, reach: Reach, limits: Limits, refusal: Vec<u8>) -> Result<Self, ListenError> {
        if !refusal.is_empty() {
            Unfit::check(refusal.len(), 0).map_err(|unfit| ListenError::Refusal { unfit })?;
        }
        let failed =
            |what| move |cause: Errno| ListenError::Failed { what, path: path.to_owned(), cause: cause.into() };
        let address = address(path).map_err(|cause| match cause {
            Errno::NAMETOOLONG => ListenError::PathTooLong { path: path.to_owned() },
            other => failed("use")(other),
        })?;
        let socket = new_socket().map_err(failed("make a socket for"))?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_dead(path)?;
                bind(&socket, &address)
            }
            bound => bound,
        }
        .map_err(failed("make the socket"))?;

        let failed = |what| move |cause| ListenError::Failed { what, path: path.to_owned(), cause };
        let file = SocketFile::at(path).map_err(failed("look at the socket"))?;
        // The umask took rights away. Nobody can connect before listen().
        fs::set_permissions(path, Permissions::from_mode(reach.mode())).map_err(failed("say who may connect to"))?;
        listen(&socket, BACKLOG).map_err(|errno| failed("listen at")(errno.into()))?;
        let socket = sys::watch(socket, Interest::READABLE).map_err(failed("watch"))?;
        Ok(Self {
            socket,
            file,
            limits,
            refusal,
            admission: Arc::new(Mutex::new(Admission::new(&limits))),
            closing: Arc::new(Semaphore::new(CLOSING)),
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The next client for whom there is a place. The future may be dropped at any time and loses nobody who was let in.
    ///
    /// Where the kernel gives no connection, for want of descriptors perhaps, clients wait in its queue until it does.
    pub async fn accept(&self) -> Connection {
        loop {
            let accepted = match self.socket.readable().await {
                Ok(mut ready) => {
                    ready.try_io(|socket| Ok(accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?))
                }
                Err(error) => Ok(Err(error)),
            };
            match accepted {
                // Nobody there.
                Err(_) => {}
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Ok(Ok(socket)) => {
                    if let Some(connection) = self.admit(socket).await {
                        return connection;
                    }
                }
            }
        }
    }

    /// Lets a client in, or sees it off. Only the latter waits.
    async fn admit(&self, socket: OwnedFd) -> Option<Connection> {
        let socket = Seqpacket::accepted(socket);
        // Without credentials, as without memory, nobody is let in.
        let credentials = socket.credentials().ok();
        let place = credentials.as_ref().and_then(|who| Place::take(&self.admission, who.uid).ok());
        match (credentials, place) {
            (Some(credentials), Some(place)) => Connection::new(socket, credentials, place, &self.limits).ok(),
            _ => {
                if !self.refusal.is_empty() {
                    // A client that has gone already needs no reason.
                    let _ = socket.send(&self.refusal, &[]);
                }
                let turn = Arc::clone(&self.closing).acquire_owned().await;
                drop_aside((socket, turn));
                None
            }
        }
    }
}

/// A place in the admission table, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Mutex<Admission>>,
    uid: u32,
}

impl Place {
    fn take(admission: &Arc<Mutex<Admission>>, uid: u32) -> Result<Self, Refusal> {
        locked(admission).admit(uid, Instant::now())?;
        Ok(Self { admission: Arc::clone(admission), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.admission).leave(self.uid);
    }
}

fn locked(admission: &Mutex<Admission>) -> MutexGuard<'_, Admission> {
    // It does nothing that could panic half way.
    admission.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The socket as others find it; removed when this is dropped, if it still is the one that was made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Nobody is left to tell; the next start replaces what stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes a socket that nobody listens to.
fn remove_dead(path: &Path) -> Result<(), ListenError> {
    let failed = |cause| ListenError::Failed { what: "replace what is at", path: path.to_owned(), cause };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match Seqpacket::connect(path) {
        // EAGAIN: somebody does, and has more clients waiting than fit. EPROTOTYPE: a socket of another kind.
        Ok(_) => Err(ListenError::Running { path: path.to_owned() }),
        Err(error) => match error.errno().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed),
            Some(Errno::NOENT) => Ok(()),
            _ => Err(ListenError::Running { path: path.to_owned() }),
        },
    }
}

/// How a daemon cannot begin to listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No socket can have this path.
    #[error("a UNIX socket's path has at most {MAX_PATH} bytes, this one has {}: {}", path.as_os_str().len(), path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// Another program listens there.
    #[error("another program listens at {}", path.display())]
    Running {
        /// The path.
        path: PathBuf,
    },
    /// Something that is no socket is there. It is left alone.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The refusal is no message.
    #[error("the message for clients that are refused is none: {unfit}")]
    Refusal {
        /// Why.
        unfit: Unfit,
    },
    /// The kernel said no.
    #[error("cannot {what} {}", path.display())]
    Failed {
        /// What was attempted.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl ListenError {
    /// The kernel's errno, positive, or that which says the same.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::PathTooLong { .. } => Some(Errno::NAMETOOLONG.raw_os_error()),
            Self::Running { .. } => Some(Errno::ADDRINUSE.raw_os_error()),
            Self::NotASocket { .. } => Some(Errno::EXIST.raw_os_error()),
            Self::Refusal { .. } => Some(Errno::INVAL.raw_os_error()),
            Self::Failed { cause, .. } => cause.raw_os_error(),
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PathTooLong { .. } => Some("put the socket where its path is shorter"),
            Self::Running { .. } => Some("stop that program, or choose another path"),
            Self::NotASocket { .. } => Some("look what it is; remove it, or choose another path"),
            Self::Refusal { .. } => None,
            Self::Failed { cause, .. } => match Errno::from_io_error(cause)? {
                Errno::NOENT => Some("the folder does not exist: make it"),
                Errno::ACCESS | Errno::PERM => Some("this user may not make a socket in that folder"),
                _ => None,
            },
        }
    }
}

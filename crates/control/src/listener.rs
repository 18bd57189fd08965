//! The daemon's socket: which clients are admitted.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketFlags, accept_with, bind, listen};
use rustix::process::umask;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::consume_budget;

use crate::aside::Closers;
use crate::connection::Connection;
use crate::limits::{Accounts, Limits, Payer, Standing, Trust};
use crate::place::Place;
use crate::seqpacket::{InvalidMessage, MAX_PATH, Seqpacket, address, new_socket};
use crate::sys;

/// Connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 128;
/// How long to wait when the kernel gives no connection because descriptors or memory are short.
const PAUSE: Duration = Duration::from_millis(100);

/// Who can connect. What a client may do after that is up to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All users.
    AllUsers,
    /// The user who made the socket, and root.
    Owner,
}

impl Reach {
    fn mode(self) -> Mode {
        Mode::from_raw_mode(match self {
            Self::AllUsers => 0o666,
            Self::Owner => 0o600,
        })
    }
}

/// Messages of the protocol above to clients that are not served; an empty one is not sent.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// There is no place for it.
    pub refusal: Vec<u8>,
    /// It sent nothing in time.
    pub silence: Vec<u8>,
}

/// A listening socket in the file system. Dropping it removes the socket, unless another has taken its path.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    file: SocketFile,
    limits: Limits,
    trust: Trust,
    words: Words,
    accounts: Arc<Mutex<Accounts>>,
    closers: Closers,
    /// Whether the kernel keeps clients from sending descriptors, unless they may.
    guarded: bool,
}

impl Listener {
    /// Makes the socket at `path` for the users that `reach` names, and listens. A socket that nobody listens to any
    /// more is replaced; the caller must prevent that two start at the same moment. Needs a tokio runtime with its IO
    /// and time drivers.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(path: &Path, reach: Reach, limits: Limits, trust: Trust, words: Words) -> Result<Self, ListenError> {
        for message in [&words.refusal, &words.silence] {
            if !message.is_empty() {
                InvalidMessage::check(message.len(), 0).map_err(|invalid| ListenError::Words { invalid })?;
            }
        }
        let failed =
            |what| move |cause: Errno| ListenError::Failed { what, path: path.to_owned(), cause: cause.into() };
        let address = address(path).map_err(|cause| match cause {
            Errno::NAMETOOLONG => ListenError::PathTooLong { path: path.to_owned() },
            other => failed("use")(other),
        })?;
        let socket = new_socket().map_err(failed("make a socket for"))?;
        let guarded = sys::take_descriptors(socket.as_fd(), false).is_ok();
        match bind_with_mode(&socket, &address, reach.mode()) {
            Err(Errno::ADDRINUSE) => {
                remove_dead(path)?;
                bind_with_mode(&socket, &address, reach.mode())
            }
            bound => bound,
        }
        .map_err(failed("make the socket"))?;

        let failed = |what| move |cause| ListenError::Failed { what, path: path.to_owned(), cause };
        let file = SocketFile::at(path).map_err(failed("look at the socket"))?;
        listen(&socket, BACKLOG).map_err(|errno| failed("listen at")(errno.into()))?;
        let socket = sys::watch(socket, Interest::READABLE).map_err(failed("watch"))?;
        let accounts = Arc::new(Mutex::new(Accounts::new(&limits, Instant::now())));
        Ok(Self { socket, file, limits, trust, words, accounts, closers: Closers::default(), guarded })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The next client that has a place. The future may be dropped at any time and loses no
    /// admitted client.
    ///
    /// Where the kernel gives no connection, perhaps because descriptors are short, clients wait in its queue until it
    /// does.
    pub async fn accept(&self) -> Connection {
        loop {
            // Clients that connect without end must not keep this thread.
            consume_budget().await;
            let accepted = match self.socket.readable().await {
                Ok(mut ready) => {
                    ready.try_io(|socket| Ok(accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?))
                }
                Err(error) => Ok(Err(error)),
            };
            match accepted {
                // The client is gone.
                Err(_) => {}
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Ok(Ok(socket)) => {
                    if let Some(connection) = self.admit(socket) {
                        return connection;
                    }
                }
            }
        }
    }

    /// Admits a client or turns it away. Does not block.
    fn admit(&self, socket: OwnedFd) -> Option<Connection> {
        let socket = Seqpacket::accepted(socket);
        // Without credentials, as without memory, no client is admitted.
        let Ok(credentials) = socket.credentials() else {
            self.see_off(socket, Payer { standing: Standing::Stranger, uid: u32::MAX });
            return None;
        };
        let payer = self.trust.payer(&credentials);
        let Ok(place) = Place::take(&self.accounts, &self.closers, payer) else {
            self.see_off(socket, payer);
            return None;
        };
        let sends_descriptors = self.trust.may_send_descriptors(&credentials);
        if self.guarded && sends_descriptors {
            // It fails only where the kernel lacks the option, and it has it.
            let _ = sys::take_descriptors(socket.as_fd(), true);
        }
        let may_block = sends_descriptors || !self.guarded;
        Connection::new(socket, credentials, place, may_block, sends_descriptors, &self.limits, &self.words.silence)
            .ok()
    }

    fn see_off(&self, socket: Seqpacket, payer: Payer) {
        if !self.words.refusal.is_empty() {
            // A client that has gone already needs no reason.
            let _ = socket.send(&self.words.refusal, &[]);
        }
        // It has no place to keep. Where nobody could send it descriptors, closing it takes no time.
        if !self.guarded {
            self.closers.close(payer, socket);
        }
    }
}

/// The mode is there from the first moment, whatever the umask of the process, so that no path needs to be changed
/// afterwards: another file may have taken it.
fn bind_with_mode(socket: &OwnedFd, address: &SocketAddrUnix, mode: Mode) -> rustix::io::Result<()> {
    let made = || -> io::Result<()> {
        sys::own_umask()?;
        umask(mode.complement() & Mode::from_raw_mode(0o777));
        Ok(bind(socket, address)?)
    };
    let done = thread::scope(|scope| {
        let maker = thread::Builder::new().name("binding".to_owned()).spawn_scoped(scope, made)?;
        maker.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    });
    done.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
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
            // There is nobody to report to; the next start replaces what is left.
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
        // EAGAIN: another program does, and has more clients waiting than fit. EPROTOTYPE: a socket of another kind.
        Ok(_) => Err(ListenError::Running { path: path.to_owned() }),
        Err(error) => match error.errno().map(Errno::from_raw_os_error) {
            Some(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed),
            Some(Errno::NOENT) => Ok(()),
            _ => Err(ListenError::Running { path: path.to_owned() }),
        },
    }
}

/// Why a daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// No socket can have this path.
    #[error(
        "a UNIX socket's path has at most {MAX_PATH} bytes, this one has {}: {}",
        path.as_os_str().len(),
        path.display()
    )]
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
    /// Something other than a socket is there. It is left alone.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// One of the messages to clients that are not served is not valid.
    #[error("the message to clients that are not served is not valid: {invalid}")]
    Words {
        /// Why.
        invalid: InvalidMessage,
    },
    /// The kernel refused.
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
    /// The kernel's errno, positive, or the one with the same meaning.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::PathTooLong { .. } => Some(Errno::NAMETOOLONG.raw_os_error()),
            Self::Running { .. } => Some(Errno::ADDRINUSE.raw_os_error()),
            Self::NotASocket { .. } => Some(Errno::EXIST.raw_os_error()),
            Self::Words { .. } => Some(Errno::INVAL.raw_os_error()),
            Self::Failed { cause, .. } => cause.raw_os_error(),
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PathTooLong { .. } => Some("put the socket where its path is shorter"),
            Self::Running { .. } => Some("stop that program, or choose another path"),
            Self::NotASocket { .. } => Some("check what it is; remove it, or choose another path"),
            Self::Words { .. } => None,
            Self::Failed { cause, .. } => match Errno::from_io_error(cause)? {
                Errno::NOENT => Some("the folder does not exist: make it"),
                Errno::ACCESS | Errno::PERM => Some("this user may not make a socket in that folder"),
                Errno::NOTDIR => Some("a part of that path is not a folder"),
                Errno::ROFS => Some("that file system is mounted read-only: choose a path on another one"),
                Errno::NOSPC => Some("that file system is full"),
                Errno::MFILE => {
                    Some("this process has as many open files as it may: raise `LimitNOFILE=`, or `ulimit -n`")
                }
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::num::NonZeroU32;
    use std::time::Duration;

    use rustix::net::sockopt;
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;
    use crate::limits::{Bounds, Rates, Shared};

    /// Every user has one place.
    fn limits() -> Limits {
        let many = NonZeroU32::new(1_000_000).unwrap();
        let rates = Rates { messages: many, messages_at_once: many, bytes: many, bytes_at_once: many };
        let bounds = Bounds { connections: NonZeroU32::MIN, longest: many, rates };
        let shared = Shared { connections: many, rates };
        Limits {
            root: bounds,
            holders: bounds,
            members: bounds,
            all_members: shared,
            strangers: bounds,
            all_strangers: shared,
            in_flight: many,
            queued_messages: many,
            queued_bytes: many,
            silence: Duration::from_secs(60),
        }
    }

    #[test]
    fn where_the_kernel_keeps_no_descriptors_away_those_of_the_refused_delay_nobody() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut lingering = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let _never_read = tcp.accept().unwrap();
        sockopt::set_socket_linger(&lingering, Some(Duration::from_secs(2))).unwrap();
        lingering.set_nonblocking(true).unwrap();
        while lingering.write(&[0; 65_536]).is_ok() {}
        lingering.set_nonblocking(false).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let words = Words { refusal: b"no place".to_vec(), silence: Vec::new() };
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut listener = Listener::bind(&path, Reach::AllUsers, limits(), Trust::default(), words).unwrap();
            listener.guarded = false;
            // As on an older kernel; where this is one, there is nothing to switch.
            let _ = sys::take_descriptors(listener.socket.get_ref().as_fd(), true);
            let _first = Seqpacket::connect(&path).unwrap();
            let admitted = listener.accept().await;
            let refused = Seqpacket::connect(&path).unwrap();
            refused.send(b"hello", &[lingering.as_fd()]).unwrap();
            drop(lingering);
            let begun = Instant::now();
            assert!(timeout(Duration::from_millis(100), listener.accept()).await.is_err(), "it has no place");
            assert!(begun.elapsed() < Duration::from_millis(500), "it was waited for: {:?}", begun.elapsed());
            let mut told = [0; 100];
            assert!(refused.receive(&mut told).is_ok_and(|received| received.arrival.length() == 8));
            drop(admitted);
        });
    }
}

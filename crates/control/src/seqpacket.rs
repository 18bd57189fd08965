//! One connected socket that never blocks.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};

use crate::credentials::Credentials;
use crate::message::{Arrival, MAX_DESCRIPTORS, MAX_MESSAGE, Packet};

/// The longest path of a UNIX socket, in bytes: `sun_path` without its NUL.
pub const MAX_PATH: usize = 107;
/// `SCM_MAX_FD`: no sender gets more past the kernel. There is room for all of them, so that each arrives as a
/// descriptor that is closed where the receiver chooses; the kernel would close the rest within `recvmsg`, and a close
/// can block.
const MOST_THAT_ARRIVE: usize = 253;

/// A connected SOCK_SEQPACKET socket in non-blocking mode. Wait for its descriptor in any event loop.
#[derive(Debug)]
pub struct Seqpacket {
    fd: OwnedFd,
}

/// What [`Seqpacket::receive`] got.
#[derive(Debug)]
pub struct Received {
    /// What it is.
    pub arrival: Arrival,
    /// Every descriptor that came with it, close-on-exec, whatever `arrival` is.
    pub descriptors: Vec<OwnedFd>,
}

impl Seqpacket {
    /// Connects to the socket at `path`. Does not wait: a listener whose queue of connections is full refuses (EAGAIN).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(path: &Path) -> Result<Self, ConnectError> {
        let refused = |errno: Errno| ConnectError::Refused { path: path.to_owned(), cause: errno.into() };
        let address = address(path).map_err(|cause| match cause {
            Errno::NAMETOOLONG => ConnectError::PathTooLong { path: path.to_owned() },
            other => refused(other),
        })?;
        let fd = new_socket().map_err(refused)?;
        rustix::net::connect(&fd, &address).map_err(refused)?;
        Ok(Self { fd })
    }

    /// Takes a connected SOCK_SEQPACKET socket, one end of a `socketpair` perhaps.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn from_connected(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd })
    }

    /// Takes one that is in non-blocking mode already.
    #[cfg(feature = "server")]
    pub(crate) fn accepted(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Who is at the other end. Enters the kernel.
    ///
    /// # Errors
    /// Those of `getsockopt(2)`.
    pub fn credentials(&self) -> io::Result<Credentials> {
        Credentials::of_peer(self.fd.as_fd())
    }

    /// The real length of the message that waits to be received; `None` where there is none. A peer that has gone is
    /// like an empty one.
    #[cfg(feature = "server")]
    pub(crate) fn unread(&self) -> Option<usize> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK | RecvFlags::TRUNC;
        // A socket that does not answer has failed; the next read from it reports that.
        rustix::net::recv(&self.fd, &mut [0; 0], flags).ok().map(|(_, length)| length)
    }

    /// Sends one message and copies of the descriptors, all or nothing.
    ///
    /// # Errors
    /// `WouldBlock`: the peer has not read enough yet; try again when the socket is writable. `InvalidInput`:
    /// [`InvalidMessage`]. Any other: nothing can be sent on the connection any more.
    pub fn send(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        InvalidMessage::check(message.len(), descriptors.len())
            .map_err(|invalid| io::Error::new(io::ErrorKind::InvalidInput, invalid))?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(fits, "the space is made for as many");
        }
        let message = [IoSlice::new(message)];
        // Without NOSIGNAL a peer that has gone would kill this process by SIGPIPE.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| sendmsg(&self.fd, &message, &mut control, flags))?;
        Ok(())
    }

    /// Takes the next packet into `buffer`, which should have [`MAX_MESSAGE`] bytes. After [`Arrival::End`] nothing
    /// comes.
    ///
    /// # Errors
    /// `WouldBlock`: nothing there; try again when the socket is readable. Any other: the connection is of no use.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        match self.receive_once(buffer) {
            // The peer has closed without reading all we sent. The kernel reports that once and before what the peer
            // itself had sent, its reason perhaps: what it sent still counts.
            Err(Errno::CONNRESET) => Ok(self.receive_once(buffer)?),
            received => Ok(received?),
        }
    }

    fn receive_once(&self, buffer: &mut [u8]) -> rustix::io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_THAT_ARRIVE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
        let told =
            rustix::io::retry_on_intr(|| recvmsg(&self.fd, &mut [IoSliceMut::new(buffer)], &mut control, flags))?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(installed) = message {
                descriptors.extend(installed);
            }
        }
        let packet = Packet {
            length: told.bytes,
            cut: told.flags.contains(ReturnFlags::TRUNC),
            descriptors: descriptors.len(),
            descriptors_lost: told.flags.contains(ReturnFlags::CTRUNC),
        };
        Ok(Received { arrival: packet.arrival(), descriptors })
    }
}

impl AsFd for Seqpacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Seqpacket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Seqpacket> for OwnedFd {
    fn from(socket: Seqpacket) -> Self {
        socket.fd
    }
}

/// What was to be sent is not a valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message has 1 to {MAX_MESSAGE} bytes and at most {MAX_DESCRIPTORS} descriptors; this one has {length} and \
     {descriptors}"
)]
pub struct InvalidMessage {
    /// Its bytes.
    pub length: usize,
    /// The descriptors beside it.
    pub descriptors: usize,
}

impl InvalidMessage {
    pub(crate) fn check(length: usize, descriptors: usize) -> Result<(), Self> {
        let fits = (1..=MAX_MESSAGE).contains(&length) && descriptors <= MAX_DESCRIPTORS;
        if fits { Ok(()) } else { Err(Self { length, descriptors }) }
    }
}

/// A non-blocking, close-on-exec socket that is not connected yet.
pub(crate) fn new_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The address of `path`; NAMETOOLONG beyond [`MAX_PATH`], INVAL for the empty path, which would mean something else.
pub(crate) fn address(path: &Path) -> rustix::io::Result<SocketAddrUnix> {
    match path.as_os_str().as_bytes().len() {
        0 => Err(Errno::INVAL),
        // The kernel would take one byte more, without a NUL: a path that many programs cannot read back.
        length if length > MAX_PATH => Err(Errno::NAMETOOLONG),
        _ => SocketAddrUnix::new(path),
    }
}

/// How connecting failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
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
    /// The kernel refused.
    #[error("cannot connect to {}", path.display())]
    Refused {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl ConnectError {
    /// The kernel's errno, positive.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::PathTooLong { .. } => Some(Errno::NAMETOOLONG.raw_os_error()),
            Self::Refused { cause, .. } => cause.raw_os_error(),
        }
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PathTooLong { .. } => Some("put the socket where its path is shorter"),
            Self::Refused { cause, .. } => match Errno::from_io_error(cause)? {
                Errno::NOENT => Some("no daemon has made this socket: start it, or check the path"),
                Errno::CONNREFUSED => Some("the daemon that made this socket is gone: start it again"),
                Errno::ACCESS => {
                    Some("this user may not reach the socket: check the permissions of the folders above it")
                }
                Errno::PROTOTYPE => Some("a socket of another kind is there, so another program's"),
                Errno::AGAIN => Some("too many clients are connecting: try again"),
                _ => None,
            },
        }
    }
}

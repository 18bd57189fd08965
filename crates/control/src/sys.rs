//! Socket options and requests that rustix lacks, or reads into a type that has no room for what the kernel may answer;
//! and the promise that tokio wants of a descriptor.

use std::ffi::c_void;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};
#[cfg(feature = "server")]
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

#[cfg(feature = "server")]
use tokio::io::{Interest, unix::AsyncFd};

/// `SO_PASSRIGHTS`, since Linux 6.16: whether descriptors may be sent to a socket.
#[cfg(feature = "server")]
const SO_PASSRIGHTS: i32 = 83;
/// `SO_PEERPIDFD`, since Linux 6.5.
#[cfg(feature = "server")]
const SO_PEERPIDFD: i32 = 77;
/// `PIDFD_GET_NET_NAMESPACE`, since Linux 6.11: `_IO(0xFF, 4)`.
#[cfg(feature = "server")]
const PIDFD_GET_NET_NAMESPACE: libc::c_ulong = 0xff04;

/// Reads an option of SOL_SOCKET that consists of 32-bit words. Returns how many bytes it has; with ERANGE, how many it
/// would need.
pub(crate) fn socket_option(fd: BorrowedFd<'_>, option: i32, words: &mut [u32]) -> (usize, io::Result<()>) {
    let mut bytes = libc::socklen_t::try_from(size_of_val(words)).unwrap_or(libc::socklen_t::MAX);
    let value = words.as_mut_ptr().cast::<c_void>();
    // SAFETY: `value` points to at least `bytes` writable bytes, any content of which is a valid u32, for the whole
    // call.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, value, &raw mut bytes) };
    (bytes as usize, if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) })
}

/// Lets others send descriptors to a socket, or keeps them from it: then their `sendmsg` fails with EPERM. Connections
/// that a listening socket gets begin as it is.
///
/// # Errors
/// ENOPROTOOPT where the kernel cannot.
#[cfg(feature = "server")]
pub(crate) fn take_descriptors(fd: BorrowedFd<'_>, takes: bool) -> io::Result<()> {
    let value = i32::from(takes);
    let bytes = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or(libc::socklen_t::MAX);
    let pointer = (&raw const value).cast::<c_void>();
    // SAFETY: `pointer` points to `bytes` readable bytes for the whole call.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, pointer, bytes) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A pidfd of the process at the other end of a socket.
#[cfg(feature = "server")]
pub(crate) fn peer_process(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut number = [0];
    socket_option(socket, SO_PEERPIDFD, &mut number).1?;
    let fd = RawFd::try_from(number[0]).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just opened this descriptor for this call, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor of the network namespace of the process that a pidfd stands for.
#[cfg(feature = "server")]
pub(crate) fn network_namespace_of(pidfd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument; it reads and writes no memory of this process.
    let fd = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_NET_NAMESPACE as _, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened this descriptor for this call, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives this thread a working directory and umask of its own, which begin as those of the process.
///
/// # Errors
/// Those of `unshare(2)`.
#[cfg(feature = "server")]
pub(crate) fn own_umask() -> io::Result<()> {
    // SAFETY: CLONE_FS alone concerns root, working directory and umask, on which no memory safety rests.
    let result = unsafe { libc::unshare(libc::CLONE_FS) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has tokio watch a socket, which stays readable and writable through it. Panics outside of a runtime.
#[cfg(feature = "server")]
pub(crate) fn watch<T: AsRawFd + Into<OwnedFd>>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: what can be turned into an OwnedFd holds it, open and the same one, until it is dropped; in this crate
    // that is the OwnedFd itself, or a Seqpacket around one that nothing exchanges.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

//! Two socket options that rustix lacks, or reads into a type that has no room for what the kernel may answer; and the
//! promise that tokio wants of a descriptor.

use std::ffi::c_void;
use std::io;
use std::mem::size_of_val;
#[cfg(feature = "server")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsRawFd, BorrowedFd};

#[cfg(feature = "server")]
use tokio::io::{Interest, unix::AsyncFd};

/// Reads an option of SOL_SOCKET that consists of 32-bit words. Returns how many bytes it has; with ERANGE, how many it
/// would need.
pub(crate) fn socket_option(fd: BorrowedFd<'_>, option: i32, words: &mut [u32]) -> (usize, io::Result<()>) {
    let mut bytes = libc::socklen_t::try_from(size_of_val(words)).unwrap_or(libc::socklen_t::MAX);
    let value = words.as_mut_ptr().cast::<c_void>();
    // SAFETY: `value` points to at least `bytes` writable bytes, any content of which is a valid u32, for the whole call.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, value, &raw mut bytes) };
    (bytes as usize, if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) })
}

/// Has tokio watch a socket, which stays readable and writable through it. Panics outside of a runtime.
#[cfg(feature = "server")]
pub(crate) fn watch<T: AsRawFd + Into<OwnedFd>>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: what can be turned into an OwnedFd holds it, open and the same one, until it is dropped; in this crate that
    // is the OwnedFd itself, or a Seqpacket around one that nothing exchanges.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

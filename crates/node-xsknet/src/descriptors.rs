use std::collections::HashSet;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use napi::bindgen_prelude::Env;
use napi_derive::napi;

use crate::system_error::system_error;

/// A descriptor that JavaScript knows by its number.
///
/// # Errors
/// `EBADF` where the number is not an open descriptor.
pub(crate) fn borrow<'fd>(fd: RawFd) -> io::Result<BorrowedFd<'fd>> {
    // SAFETY: whatever the number is, the call only looks it up.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was open just now, and it is used within the call of JavaScript that named it, where JavaScript closes
    // nothing.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// File descriptors that came with a message. They are closed with this object, unless they were taken over.
#[napi]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors)
    }

    /// Takes all of them.
    pub(crate) fn take_all(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.0)
    }
}

#[napi]
impl Descriptors {
    /// Takes over descriptors that JavaScript knows by their numbers, all or none. The previous owner must not
    /// close them. Throws `EBADF` where a number is not an open descriptor, or occurs twice.
    #[napi(factory)]
    pub fn own(env: &Env, fds: Vec<i32>) -> napi::Result<Self> {
        let mut seen = HashSet::new();
        let all_fit = fds.iter().all(|&fd| seen.insert(fd) && borrow(fd).is_ok());
        if !all_fit {
            return Err(system_error(env, "fcntl", libc::EBADF, None));
        }
        // SAFETY: each is open, stands here once, and its owner gives it away by this call.
        Ok(Self(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()))
    }

    /// How many there still are.
    #[napi(getter)]
    pub fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Closes them.
    #[napi]
    pub fn close(&mut self) {
        self.0.clear();
    }
}

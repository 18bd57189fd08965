use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use crate::sys::RingBuffer;

/// The ring buffer by which the program wakes a client: readable for as long as something in it has not been drained.
/// What is in it says nothing.
#[derive(Debug)]
pub struct Bell {
    buffer: RingBuffer,
    fd: OwnedFd,
}

impl Bell {
    /// Maps the positions of a ring buffer.
    ///
    /// # Errors
    /// What `mmap` answered.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { buffer: RingBuffer::map(fd.as_fd())?, fd })
    }

    /// Drops all that has rung. No system call.
    pub fn drain(&self) {
        let (consumed, produced) = self.buffer.positions();
        let produced = produced.load(Ordering::Acquire);
        if consumed.load(Ordering::Relaxed) != produced {
            consumed.store(produced, Ordering::Release);
        }
    }

    /// The ring buffer, for the next owner.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

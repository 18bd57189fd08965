//! Shared memory, mapped for as long as the value lives.

use std::ffi::c_void;
use std::io;
use std::mem::{align_of, size_of};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; what may be done with its bytes is decided by the types
// built on it.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference only hands out pointers.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` of a file, readable and writable, its pages present at once: no page fault on the hot path.
    pub(crate) fn of_fd(fd: BorrowedFd<'_>, bytes: usize, offset: u64) -> io::Result<Self> {
        // SAFETY: a null hint lets the kernel choose, so no mapping that exists is replaced.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                offset,
            )
        }?;
        Self::at(start, bytes)
    }

    /// Maps memory of no file.
    pub(crate) fn anonymous(bytes: usize) -> io::Result<Self> {
        // SAFETY: as above.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED) }?;
        Self::at(start, bytes)
    }

    fn at(start: *mut c_void, bytes: usize) -> io::Result<Self> {
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, bytes })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of `count` values of `T` at `offset`; `None` unless they lie inside and aligned.
    pub(crate) fn pointer_to<T>(&self, offset: u64, count: usize) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if end > self.bytes || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: `offset <= end <= bytes`, so the address stays inside the mapping, which starts on a page and so
        // aligned for any `T`.
        Some(unsafe { self.start.add(offset) }.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this value made the mapping and is the only one to end it; all that points into it borrows or owns
        // `self`.
        let result = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(result.is_ok(), "munmap of a whole mapping: {result:?}");
    }
}

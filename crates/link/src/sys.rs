//! The calls that no safe wrapper has.

use std::ffi::{c_int, c_void};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Updater};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::DeviceName;

/// Moves the calling thread into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: what makes `unshare` unsafe is CLONE_FILES; this flag leaves the descriptor table shared.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// The `CLONE_NEW…` flag of a namespace's descriptor. Only for descriptors on nsfs: elsewhere the number may mean
/// another ioctl.
pub(crate) fn namespace_type(namespace: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory of ours.
    Ok(unsafe { ioctl::ioctl(namespace, NsGetNsType) }?)
}

struct NsGetNsType;

// SAFETY: the opcode is `_IO(0xb7, 3)`, the argument is ignored, and the answer is the call's return value.
unsafe impl Ioctl for NsGetNsType {
    type Output = c_int;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        ioctl::opcode::none(0xb7, 3)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<c_int> {
        Ok(output)
    }
}

const SIOCETHTOOL: Opcode = 0x8946;

/// Runs the ethtool command at the head of `command`; the kernel writes its answer there too.
pub(crate) fn ethtool(socket: BorrowedFd<'_>, device: &DeviceName, command: &mut GuardedBuffer) -> io::Result<()> {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(device.as_str().bytes()) {
        *to = from.cast_signed();
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data: command.as_mut_ptr().cast() };
    let mut request = libc::ifreq { ifr_name, ifr_ifru };
    // SAFETY: SIOCETHTOOL reads and updates one `struct ifreq`.
    let update = unsafe { Updater::<SIOCETHTOOL, libc::ifreq>::new(&mut request) };
    // SAFETY: `ifr_data` points to memory borrowed exclusively for the call. How much of it is written follows from the
    // device and not from the length we ask for, but no more than the buffer: behind it lies a page the kernel faults on.
    Ok(unsafe { ioctl::ioctl(socket, update) }?)
}

/// Zeroed memory that ends before a page without access.
///
/// ETHTOOL_GSTRINGS and ETHTOOL_GSTATS write as many entries as the device has at that moment, which may be more than
/// it had when it was asked for the number. With the guard such a race ends as EFAULT.
pub(crate) struct GuardedBuffer {
    start: *mut c_void,
    /// What the caller asked for; what is mapped with access is this, rounded up.
    length: usize,
}

/// A multiple of every page size that Linux has, and larger than one.
const GUARD: usize = 64 * 1024;

impl GuardedBuffer {
    pub fn new(length: usize) -> io::Result<Self> {
        let accessible = length.max(1).next_multiple_of(GUARD);
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), accessible + GUARD, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        let buffer = Self { start, length };
        // SAFETY: the range is the head of our own new mapping, and nobody has a reference into it.
        unsafe { mprotect(start, accessible, MprotectFlags::READ | MprotectFlags::WRITE) }?;
        Ok(buffer)
    }
}

impl Deref for GuardedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is readable over `length`, zeroed by the kernel, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl DerefMut for GuardedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, writable too, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.length) }
    }
}

impl Drop for GuardedBuffer {
    fn drop(&mut self) {
        let mapped = self.length.max(1).next_multiple_of(GUARD) + GUARD;
        // SAFETY: exactly the mapping that `new` made; references into it cannot outlive `self`.
        let unmapped = unsafe { munmap(self.start, mapped) };
        debug_assert_eq!(unmapped, Ok(()), "a mapping of our own");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_beyond_the_buffer_faults_in_the_kernel() {
        let mut buffer = GuardedBuffer::new(10).unwrap();
        assert_eq!(*buffer, [0; 10]);
        buffer[9] = 7;
        let zero = std::fs::File::open("/dev/zero").unwrap();
        // SAFETY: the kernel writes at most into the buffer and then faults, which is what is tested.
        let read =
            unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&zero), buffer.as_mut_ptr().cast(), 10 * GUARD) };
        assert_eq!(read, isize::try_from(GUARD).unwrap());
        assert_eq!(buffer[9], 0);
    }
}

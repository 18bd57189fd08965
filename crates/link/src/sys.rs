//! The calls that no safe wrapper has.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{self, size_of, size_of_val};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Updater};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::DeviceName;

/// Moves the calling thread into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: what makes `unshare` unsafe is CLONE_FILES; this flag leaves the descriptor table shared.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// What distinguishes the network namespace of a socket from all others of this boot, those that are gone included:
/// unlike an inode number it is never given out again (SO_NETNS_COOKIE, Linux 5.14).
pub(crate) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let (mut cookie, mut length) = (0_u64, size_of::<u64>() as libc::socklen_t);
    // SAFETY: both pointers are to variables of the size that the kernel is told, and it keeps neither.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
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

/// The user namespace that owns a namespace. Only for descriptors on nsfs.
pub(crate) fn owning_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: NS_GET_USERNS takes no argument and touches no memory of ours.
    Ok(unsafe { ioctl::ioctl(namespace, NsGetUserns) }?)
}

struct NsGetUserns;

// SAFETY: the opcode is `_IO(0xb7, 1)`, the argument is ignored, and the answer is the call's return value.
unsafe impl Ioctl for NsGetUserns {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        ioctl::opcode::none(0xb7, 1)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the call has just made this descriptor, and nobody else knows of it.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}

/// `_IO(0xb7, 4)`: writes one `uid_t`.
const NS_GET_OWNER_UID: Opcode = ioctl::opcode::none(0xb7, 4);

/// The user who made a user namespace, as this process's own user namespace knows it.
pub(crate) fn owner_of_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: NS_GET_OWNER_UID writes one u32, and every bit pattern is one.
    let get = unsafe { ioctl::Getter::<NS_GET_OWNER_UID, u32>::new() };
    // SAFETY: the caller gives a descriptor on nsfs; of a namespace of another type the kernel answers EINVAL.
    Ok(unsafe { ioctl::ioctl(namespace, get) }?)
}

/// A socket that sends and receives whole frames of one device of the calling thread's namespace. Of what is received,
/// `filter` picks.
pub(crate) fn packet_socket(index: u32, filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    // Of no protocol: it receives nothing before it is bound, and the filter is there by then.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
    // SAFETY: zero is valid for every field.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is `length` bytes of a sockaddr_ll, which outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// Has a device receive all frames, as long as the socket exists. It takes CAP_NET_RAW for the socket.
pub(crate) fn promiscuous_socket(index: u32) -> io::Result<OwnedFd> {
    // Of no protocol, so no packet comes to it.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let wanted = libc::packet_mreq {
        mr_ifindex: index.cast_signed(),
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &wanted)?;
    Ok(socket)
}

fn set_option<T>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of the value, and what a filter points to is borrowed by the caller.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length) };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One frame of a [`packet_socket`], and its outer VLAN tag, which the kernel has taken out of it.
pub(crate) fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<u16>)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Aligned as a cmsghdr has to be.
    let mut control = [0_u64; 8];
    // SAFETY: zero is valid for every field.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: buffer and control are exclusively borrowed, with the lengths that are told.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut tag = None;
    // SAFETY: the header describes `control`, as the kernel has filled it.
    let mut head = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !head.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR answer with whole, aligned headers inside `control`, or null.
        let its = unsafe { *head };
        if (its.cmsg_level, its.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            // SAFETY: behind this header the kernel puts one tpacket_auxdata.
            let aside = unsafe { libc::CMSG_DATA(head) }.cast::<libc::tpacket_auxdata>();
            // SAFETY: as above; its alignment is not promised.
            let aside = unsafe { aside.read_unaligned() };
            tag = (aside.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(aside.tp_vlan_tci);
        }
        // SAFETY: as for the first one.
        head = unsafe { libc::CMSG_NXTHDR(&raw const message, head) };
    }
    Ok((length, tag))
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
    // device and not from the length we ask for, but no more than the buffer: behind it lies a page the kernel faults
    // on.
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

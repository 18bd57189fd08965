//! Making a socket without xsk-rs, for a process that has CAP_NET_RAW and nothing else.
//!
//! xsk-rs maps the UMEM as anonymous memory. The one that adopts a socket needs a file of that memory, and an anonymous
//! one's can be opened through /proc/self/map_files alone, which takes CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN. So
//! where that is refused, the memory is a memfd from the start, and the few calls that libxdp would make are made here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, OFlags, ftruncate, memfd_create, open};
use rustix::io::Errno;
use rustix::net::sockopt::set_xdp_umem_reg;
use rustix::net::xdp::{SocketAddrXdp, SocketAddrXdpFlags, XdpUmemReg, XdpUmemRegFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use crate::bind::{Opened, bind_modes, set_ring_sizes};
use crate::create_error::CreateError;
use crate::donation::BindMode;
use crate::mapping::Mapping;
use crate::request::{Attempt, Request};

/// Whether this process can open its own anonymous memory as a file.
pub(crate) fn is_needed() -> bool {
    let Ok(mappings) = std::fs::read_dir("/proc/self/map_files") else { return true };
    let Some(mapping) = mappings.flatten().next() else { return true };
    // Following the link is what takes the right; opened as a path, the file behind it is left alone.
    let opened = open(mapping.path(), OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    matches!(opened, Err(Errno::PERM | Errno::ACCESS))
}

pub(crate) fn open_socket(
    request: &Request<'_>,
    index: u32,
    attempts: &mut Vec<Attempt>,
) -> Result<Opened, CreateError> {
    let layout = &request.layout;
    let bytes = layout.umem_bytes();
    let refused = |cause: io::Error| CreateError::Umem { bytes, cause };
    let huge = if layout.huge_pages() { MemfdFlags::HUGETLB } else { MemfdFlags::empty() };
    let umem = memfd_create(c"xsknet-umem", MemfdFlags::CLOEXEC | huge).map_err(|errno| refused(errno.into()))?;
    ftruncate(&umem, bytes).map_err(|errno| refused(errno.into()))?;
    let (xsk, obtained) = open_on(request, umem.as_fd(), index, attempts)?;
    Ok((xsk, umem, obtained))
}

/// Makes a socket on memory that is there already.
pub(crate) fn open_on(
    request: &Request<'_>,
    umem: BorrowedFd<'_>,
    index: u32,
    attempts: &mut Vec<Attempt>,
) -> Result<(OwnedFd, BindMode), CreateError> {
    let layout = &request.layout;
    let bytes = layout.umem_bytes();
    let refused = |cause: io::Error| CreateError::Umem { bytes, cause };
    let xsk = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(|errno| refused(errno.into()))?;
    let length = usize::try_from(bytes).map_err(|_| refused(Errno::NOMEM.into()))?;
    // The kernel pins the pages themselves; the mapping is needed for this one call.
    let memory = Mapping::of_fd(umem, length, 0).map_err(refused)?;
    let registration = XdpUmemReg {
        addr: memory.start().addr().get() as u64,
        len: bytes,
        chunk_size: layout.frame_size(),
        headroom: layout.headroom(),
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    set_xdp_umem_reg(&xsk, registration).map_err(|errno| refused(errno.into()))?;
    drop(memory);

    set_ring_sizes(xsk.as_fd(), layout).map_err(refused)?;

    let ((), obtained) = bind_modes(request, attempts, |mode| {
        let mode = match mode {
            BindMode::Copy => SocketAddrXdpFlags::XDP_COPY,
            BindMode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
        };
        let several = if layout.multi_buffer() { SocketAddrXdpFlags::XDP_USE_SG } else { SocketAddrXdpFlags::empty() };
        let flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP | mode | several;
        let address = SocketAddrXdp::new(flags, index, request.queue.0);
        Ok(bind(&xsk, &address)?)
    })?;
    Ok((xsk, obtained))
}

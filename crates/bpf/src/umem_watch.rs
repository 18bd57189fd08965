//! Whether UMEMs still exist, even if other processes have sockets on them.
//!
//! The kernel does not report the end of a UMEM, and a UMEM may outlive the socket that it was registered with: a
//! process that has that socket can bind sockets of its own to it. But the kernel maps a UMEM's pages for itself as
//! long as it lives, and tracepoints report such mappings (`alloc_vmap_area` and `free_vmap_area_noflush`): see
//! `bpf/umem.bpf.c`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::RawTracePoint;
use rustix::fs::{major, minor};
use rustix::thread::gettid;

use crate::hint;
use crate::load_error::LoadError;
use crate::object;

/// A program, and the tracepoint that it listens to.
const LISTENERS: [(&str, &str); 2] = [("mapped", "alloc_vmap_area"), ("unmapped", "free_vmap_area_noflush")];

/// Watches the ends of UMEMs that this process registers. It keeps none of them alive.
pub struct UmemWatch {
    registrations: Mutex<HashMap<MapData, u32, Registration>>,
    umems: HashMap<MapData, u64, u64>,
    next: AtomicU64,
    _bpf: Ebpf,
}

/// A UMEM that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedUmem(u64);

/// The UMEM's name here, and the bytes that it has (`struct registration`).
type Registration = [u64; 2];
/// Device and inode (`struct pids`).
type Pids = [u64; 2];

impl UmemWatch {
    /// # Errors
    ///
    /// The kernel's, EPERM without CAP_BPF and CAP_PERFMON, ENOENT where it does not have the tracepoints; and where
    /// `/proc` is not mounted.
    pub fn new() -> io::Result<Self> {
        let pids = fs::metadata("/proc/self/ns/pid")?;
        // As the kernel has device numbers within itself.
        let device = u64::from((major(pids.dev()) << 20) | minor(pids.dev()));
        let mut bpf = object::load_umem().map_err(refused)?;
        let mut namespace: Array<MapData, Pids> = object::take_map(&mut bpf, "pid_namespace").map_err(refused)?;
        namespace.set(0, [device, pids.ino()], 0).map_err(io::Error::other)?;
        for (program, tracepoint) in LISTENERS {
            let program: &mut RawTracePoint =
                bpf.program_mut(program).and_then(|program| program.try_into().ok()).expect("it is in the object");
            program.attach(tracepoint).map_err(|cause| match hint::errno(&cause) {
                Some(errno) => io::Error::from_raw_os_error(errno),
                None => io::Error::other(cause),
            })?;
        }
        Ok(Self {
            registrations: Mutex::new(object::take_map(&mut bpf, "registrations").map_err(refused)?),
            umems: object::take_map(&mut bpf, "umems").map_err(refused)?,
            next: AtomicU64::new(1),
            _bpf: bpf,
        })
    }

    /// Has `work` register a UMEM of so many bytes, on this thread. `None`: it did not, or the UMEM cannot be watched.
    pub fn registered<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> (T, Option<WatchedUmem>) {
        let umem = self.next.fetch_add(1, Ordering::Relaxed);
        let thread = gettid().as_raw_nonzero().get().cast_unsigned();
        let registrations = || self.registrations.lock().unwrap_or_else(PoisonError::into_inner);
        let announced = registrations().insert(thread, [umem, bytes], 0).is_ok();
        let made = work();
        if announced {
            // An entry that stays does no harm: the thread's next one replaces it.
            let _ = registrations().remove(&thread);
        }
        let watched = WatchedUmem(umem);
        (made, self.exists(watched).then_some(watched))
    }

    /// Whether the UMEM has a socket still.
    pub fn exists(&self, umem: WatchedUmem) -> bool {
        !matches!(self.umems.get(&umem.0, 0), Err(MapError::KeyNotFound))
    }
}

fn refused(error: LoadError) -> io::Error {
    match hint::errno(&error) {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, OwnedFd};
    use std::time::{Duration, Instant};

    use rustix::net::sockopt::set_xdp_umem_reg;
    use rustix::net::xdp::{XdpUmemReg, XdpUmemRegFlags};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

    use super::*;

    const BYTES: usize = 4 << 20;

    #[derive(Clone)]
    #[repr(align(4096))]
    struct Page(#[expect(dead_code, reason = "the kernel's")] [u8; 4096]);

    /// A socket with a UMEM, whose memory this process does not have any more: the kernel has pinned it.
    fn xsk() -> OwnedFd {
        let socket = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap();
        let memory = vec![Page([0; 4096]); BYTES / 4096];
        let registration = XdpUmemReg {
            addr: memory.as_ptr() as u64,
            len: BYTES as u64,
            chunk_size: 2048,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        set_xdp_umem_reg(&socket, registration).unwrap();
        socket
    }

    fn wait_for_the_end(watch: &UmemWatch, umem: WatchedUmem) {
        let end = Instant::now() + Duration::from_secs(5);
        while watch.exists(umem) {
            assert!(Instant::now() < end, "it has no socket");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_umem_exists_until_the_last_socket_on_it_is_released() {
        let watch = UmemWatch::new().unwrap();
        let (socket, umem) = watch.registered(BYTES as u64, xsk);
        let umem = umem.unwrap();
        let other = watch.registered(BYTES as u64, xsk);
        assert_ne!(other.1.unwrap(), umem);
        let kept = socket.as_fd().try_clone_to_owned().unwrap();
        drop(socket);
        assert!(watch.exists(umem));
        drop(kept);
        wait_for_the_end(&watch, umem);
        assert!(watch.exists(other.1.unwrap()));
        drop(other.0);
        wait_for_the_end(&watch, other.1.unwrap());
    }

    #[test]
    fn what_registers_no_umem_and_what_other_threads_register_is_not_watched() {
        let watch = UmemWatch::new().unwrap();
        assert_eq!(watch.registered(BYTES as u64, || ()).1, None);
        let (socket, umem) = watch.registered(BYTES as u64, || std::thread::spawn(xsk).join().unwrap());
        assert_eq!(umem, None);
        drop(socket);
        let (_socket, umem) = watch.registered(2 * BYTES as u64, xsk);
        assert_eq!(umem, None, "it is smaller");
    }
}

//! Whether AF_XDP sockets and maps that other processes hold still exist.
//!
//! The kernel does not report the end of a socket, and its socket diagnosis is not built in everywhere. But an XSKMAP
//! does not keep its sockets alive: a slot is empty once its socket has been released (`xsk_release()` in
//! net/xdp/xsk.c). User space cannot read a slot. Putting another socket there on the condition that the slot is empty
//! shows whether it is.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::{MapData, MapError, XskMap};
use aya_obj::generated::{BPF_NOEXIST, bpf_cmd, bpf_map_type};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys;

/// Watches the ends of sockets. It keeps none of them alive.
pub struct SocketWatch {
    sockets: XskMap<MapData>,
    places: u32,
    free: BTreeSet<u32>,
    /// Never bound: it is only put into slots.
    probe: OwnedFd,
}

/// A socket that is watched.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its slot is free again once `is_gone` has said so"]
pub struct WatchedSocket(u32);

impl SocketWatch {
    /// Watches up to `sockets` of them.
    ///
    /// # Errors
    ///
    /// The kernel's, for a map or a socket.
    pub fn new(sockets: u32) -> io::Result<Self> {
        let map = aya_obj::Map::new_from_params(bpf_map_type::BPF_MAP_TYPE_XSKMAP as u32, 4, 4, sockets, 0);
        let map = MapData::create(map, "xsknet_ends", None).map_err(refused)?;
        let map = aya::maps::Map::from_map_data(map).and_then(XskMap::try_from).map_err(refused)?;
        let probe = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { sockets: map, places: sockets, free: (0..sockets).collect(), probe })
    }

    /// Begins to watch a socket; `None` where all places are taken.
    ///
    /// # Errors
    ///
    /// The kernel's: EOPNOTSUPP for what is not an AF_XDP socket.
    pub fn watch(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<WatchedSocket>> {
        let Some(slot) = self.free.pop_first() else { return Ok(None) };
        match self.sockets.set(slot, socket.as_raw_fd(), 0) {
            Ok(()) => Ok(Some(WatchedSocket(slot))),
            Err(error) => {
                self.free.insert(slot);
                Err(refused(error))
            }
        }
    }

    /// Whether the socket has been released. If so, its place is free.
    ///
    /// # Errors
    ///
    /// The socket, still watched, where the kernel does not answer.
    pub fn is_gone(&mut self, socket: WatchedSocket) -> Result<(), WatchedSocket> {
        // EEXIST: it is there.
        if self.sockets.set(socket.0, self.probe.as_fd().as_raw_fd(), u64::from(BPF_NOEXIST)).is_err() {
            return Err(socket);
        }
        // The probe goes out of the slot again; where it does not, the slot is not used any more.
        if self.sockets.unset(socket.0).is_ok() {
            self.free.insert(socket.0);
        }
        Ok(())
    }
}

/// Whether a map of this id exists: whether a process has it open, it is pinned, or a program or socket needs it. An id
/// is used again only after some two thousand million others.
///
/// # Errors
///
/// The kernel's, EPERM without `CAP_SYS_ADMIN`.
pub fn map_exists(id: u32) -> io::Result<bool> {
    match id.checked_sub(1).map(|before| sys::next_id(bpf_cmd::BPF_MAP_GET_NEXT_ID, before)) {
        Some(found) => Ok(found? == Some(id)),
        None => Ok(false),
    }
}

/// A map lives as long as a socket is in it, and others hold these sockets.
impl Drop for SocketWatch {
    fn drop(&mut self) {
        for slot in (0..self.places).filter(|slot| !self.free.contains(slot)) {
            // On failure an unused map stays until the socket ends.
            let _ = self.sockets.unset(slot);
        }
    }
}

fn refused(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xsk() -> OwnedFd {
        socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_socket_is_gone_once_its_last_descriptor_is_closed_and_its_place_is_free_then() {
        let mut watch = SocketWatch::new(1).unwrap();
        let socket = xsk();
        let kept = socket.try_clone().unwrap();
        let watched = watch.watch(socket.as_fd()).unwrap().unwrap();
        assert!(watch.watch(socket.as_fd()).unwrap().is_none(), "there is one place");
        drop(socket);
        let watched = watch.is_gone(watched).unwrap_err();
        let watched = watch.is_gone(watched).unwrap_err();
        drop(kept);
        assert_eq!(watch.is_gone(watched), Ok(()));
        assert!(watch.watch(xsk().as_fd()).unwrap().is_some());
    }

    #[test]
    fn a_watch_that_ends_leaves_no_map_in_the_sockets_that_it_watched() {
        let socket = xsk();
        let mut watch = SocketWatch::new(2).unwrap();
        let _watched = watch.watch(socket.as_fd()).unwrap().unwrap();
        let id = crate::leftovers::object_ids()
            .unwrap()
            .into_iter()
            .filter(|(kind, _)| *kind == "map")
            .map(|(_, id)| id)
            .max();
        drop(watch);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while map_exists(id.unwrap()).unwrap() {
            assert!(std::time::Instant::now() < end, "the socket keeps the map");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_not_an_af_xdp_socket_is_refused_and_takes_no_place() {
        let mut watch = SocketWatch::new(1).unwrap();
        let other = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        assert!(watch.watch(other.as_fd()).is_err());
        assert!(watch.watch(xsk().as_fd()).unwrap().is_some());
    }

    #[test]
    fn a_map_exists_as_long_as_somebody_has_it() {
        let map = aya_obj::Map::new_from_params(bpf_map_type::BPF_MAP_TYPE_ARRAY as u32, 4, 4, 1, 0);
        let map = MapData::create(map, "xsknet_test", None).unwrap();
        let id = map.info().unwrap().id();
        assert!(map_exists(id).unwrap());
        assert!(!map_exists(0).unwrap());
        drop(map);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while map_exists(id).unwrap() {
            assert!(std::time::Instant::now() < end, "nobody has it");
            std::thread::yield_now();
        }
    }
}

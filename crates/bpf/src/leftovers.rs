//! What other runs left in the kernel: their pins, and the ids of everything that is loaded.

use std::io;
use std::path::Path;

use aya::maps::{Map, MapData, MapError, XskMap};
use aya_obj::generated::bpf_cmd;

use crate::sys;

/// Takes the program of a pinned link off its device and removes the pin; both are done when this returns. A path where
/// nothing is, and a device that is gone, are not errors.
///
/// # Errors
///
/// The kernel's; EINVAL where something else than a link is pinned, which is left alone.
pub fn remove_link_pin(path: &Path) -> io::Result<()> {
    let link = match sys::open_pin(path) {
        Ok(link) => link,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
    };
    match sys::detach(&link) {
        Err(cause) if cause.raw_os_error() != Some(libc::ENOLINK) => return Err(cause),
        _ => {}
    }
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

/// Takes the socket out of the pinned map of a [`PortProgram`](crate::port::PortProgram): a map lives as long as a
/// socket is in it, pinned or not, and a client may hold on to its socket. A path where nothing is, or another kind of
/// map, is left alone.
///
/// # Errors
///
/// The kernel's.
pub fn empty_socket_map(path: &Path) -> io::Result<()> {
    let answer = |error| match error {
        MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        MapError::SyscallError(error) => Err(error.io_error),
        MapError::InvalidMapType { .. } => Ok(()),
        other => Err(io::Error::other(other)),
    };
    let map = MapData::from_pin(path).and_then(Map::from_map_data).and_then(XskMap::try_from);
    map.and_then(|mut sockets: XskMap<MapData>| sockets.unset(0)).or_else(answer)
}

/// The kernel's id of the program in the link that is pinned at `path`; `None` where nothing is.
///
/// # Errors
///
/// The kernel's.
pub fn pinned_program(path: &Path) -> io::Result<Option<u32>> {
    match sys::open_pin(path) {
        Ok(link) => sys::link_ids(&link).map(|(_, program)| Some(program)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// The kernel's ids of all programs, maps and links of the machine, for a look before and after.
///
/// # Errors
///
/// The kernel's, EPERM without `CAP_SYS_ADMIN`.
pub fn object_ids() -> io::Result<Vec<(&'static str, u32)>> {
    let kinds = [
        ("program", bpf_cmd::BPF_PROG_GET_NEXT_ID),
        ("map", bpf_cmd::BPF_MAP_GET_NEXT_ID),
        ("link", bpf_cmd::BPF_LINK_GET_NEXT_ID),
    ];
    let mut all = Vec::new();
    for (kind, next) in kinds {
        let mut id = 0;
        while let Some(found) = sys::next_id(next, id)? {
            all.push((kind, found));
            id = found;
        }
    }
    Ok(all)
}

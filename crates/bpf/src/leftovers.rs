//! What other runs left in the kernel: their pins, and the ids of everything that is loaded.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{Map, MapData, MapError, MapInfo, MapType, XskMap};
use aya::programs::loaded_programs;
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

/// Takes the sockets out of the pinned map of a [`PortProgram`](crate::port::PortProgram): a map lives as long as a
/// socket is in it, pinned or not, and clients may hold on to their sockets. A path where nothing is, or another kind
/// of map, is left alone.
///
/// # Errors
///
/// The kernel's.
pub fn empty_socket_map(path: &Path) -> io::Result<()> {
    let empty = || -> Result<(), MapError> {
        let map = MapData::from_pin(path)?;
        let slots = map.info()?.max_entries();
        let mut sockets = XskMap::try_from(Map::from_map_data(map)?)?;
        (0..slots).try_for_each(|slot| sockets.unset(slot).or_else(unless_missing))
    };
    match empty().or_else(unless_missing) {
        Err(MapError::SyscallError(error)) => Err(error.io_error),
        Err(MapError::InvalidMapType { .. }) | Ok(()) => Ok(()),
        Err(other) => Err(io::Error::other(other)),
    }
}

/// Nothing to remove is not an error.
pub(crate) fn unless_missing(error: MapError) -> Result<(), MapError> {
    match error {
        MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        error => Err(error),
    }
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

/// The kernel's ids of the maps that these programs and maps keep alive: those that the programs use, and those in
/// arrays of maps. What another process unloads meanwhile keeps nothing, and neither does what may not be looked at.
pub fn maps_reached_from(programs: &BTreeSet<u32>, mut maps: BTreeSet<u32>) -> BTreeSet<u32> {
    for program in loaded_programs().flatten().filter(|program| programs.contains(&program.id())) {
        maps.extend(program.map_ids().ok().flatten().unwrap_or_default());
    }
    for outer in maps.clone() {
        let Ok(info) = MapInfo::from_id(outer) else { continue };
        if let (Ok(MapType::ArrayOfMaps), Ok(map)) = (info.map_type(), info.fd()) {
            maps.extend(
                (0..info.max_entries()).filter_map(|index| sys::inner_map_id(map.as_fd(), index).ok().flatten()),
            );
        }
    }
    maps
}

//! What other runs left in the kernel: their pins, and the ids of everything that is loaded.

use std::io;
use std::path::Path;

use aya_obj::generated::bpf_cmd;

use crate::sys;

/// Takes the program of a pinned link off its device and removes the pin; both are done when this returns. A path where
/// nothing is, and a device that is gone, are no errors.
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

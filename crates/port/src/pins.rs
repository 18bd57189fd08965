//! What lies in bpffs below the folders of instances.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use xsknet_bpf::bpffs;

use crate::error::StepError;
use crate::lock::Lock;
use crate::paths::{Paths, PinPath};

/// What others need of a folder to reach what they know the name of.
const SEARCH: u32 = 0o011;
const MODE: u32 = 0o7777;

/// Where the map of a port's sockets is pinned in the port's folder.
pub(crate) const SOCKETS: &str = "maps/xsks";

/// Gives the map of a port's sockets to its client, which finds it by its path alone: the folders on the way can be
/// passed through and not be read, and all else in them stays root's.
pub(crate) fn give_away(paths: &Paths, port: &PinPath, uid: u32, gid: u32) -> Result<PathBuf, StepError> {
    let map = paths.pin(port).join(SOCKETS);
    let give = || -> io::Result<()> {
        fs::set_permissions(&map, Permissions::from_mode(0o600))?;
        chown(&map, Some(uid), Some(gid))?;
        let inside = map.ancestors().skip(1).take_while(|folder| *folder != paths.bpffs());
        for folder in inside {
            make_searchable(folder)?;
        }
        open_root(paths)
    };
    give().map_err(|cause| StepError::Io { attempt: "give a port's pin to its client", cause })?;
    Ok(map)
}

fn make_searchable(folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.mode() & MODE;
    if mode & SEARCH == SEARCH { Ok(()) } else { fs::set_permissions(folder, Permissions::from_mode(mode | SEARCH)) }
}

/// The bpffs itself is the machine's: its mode before is kept beside the locks, and comes back with the last instance
/// that leaves.
fn open_root(paths: &Paths) -> io::Result<()> {
    let _held = Lock::wait(&paths.bpffs_lock())?;
    let mode = fs::metadata(paths.bpffs())?.mode() & MODE;
    if mode & SEARCH != SEARCH {
        fs::write(paths.bpffs_mode(), format!("{mode:o}"))?;
    }
    make_searchable(paths.bpffs())
}

/// Takes [`give_away`]'s change to the bpffs itself back, unless another program has changed its mode since. The caller
/// holds the lock.
pub(crate) fn close_root(paths: &Paths) -> io::Result<()> {
    let before = match fs::read_to_string(paths.bpffs_mode()) {
        Ok(before) => before,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
    };
    // One that is cut short was written before anything was changed.
    if let Ok(before) = u32::from_str_radix(&before, 8)
        && bpffs::is_mounted(paths.bpffs())?
        && fs::metadata(paths.bpffs())?.mode() & MODE == before | SEARCH
    {
        fs::set_permissions(paths.bpffs(), Permissions::from_mode(before))?;
    }
    fs::remove_file(paths.bpffs_mode())
}

/// Removes a folder of pins. Only bpffs is below it, so following it down leads nowhere else.
///
/// Programs are taken off their devices first: the kernel ends a link some time after its last pin is gone (a work
/// queue), and a NIC has to be free when this returns. What stays on its device keeps its pin. Sockets are taken out of
/// their maps, or a client that still holds its own would keep the map alive; where a client has seen to it that this
/// is not possible (it may freeze its own map), it keeps the map.
pub(crate) fn remove(folder: &Path) -> Result<(), StepError> {
    let mut failed = None;
    for pin in below(folder) {
        if is_link(&pin) {
            let done = xsknet_bpf::remove_link_pin(&pin);
            failed = failed.or(done.err().map(|cause| StepError::Io { attempt: "detach a program by its pin", cause }));
        } else if pin.ends_with(SOCKETS)
            && let Err(cause) = xsknet_bpf::empty_socket_map(&pin)
        {
            eprintln!("xsknet: the socket in {} stays there as long as its owner has it: {cause}", pin.display());
        }
    }
    if let Some(cause) = failed {
        return Err(cause);
    }
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(StepError::Io { attempt: "remove pins", cause }),
        _ => Ok(()),
    }
}

/// The instance that keeps a program on a device, by the pins of all of them.
pub(crate) fn owner(all: &Path, program: u32) -> Option<String> {
    let instances = std::fs::read_dir(all).into_iter().flatten().flatten();
    let holds = |folder: &Path| {
        let mut links = below(folder).into_iter().filter(|pin| is_link(pin));
        links.any(|link| matches!(xsknet_bpf::pinned_program(&link), Ok(Some(its)) if its == program))
    };
    let found = instances.map(|entry| entry.path()).find(|folder| holds(folder))?;
    Some(found.file_name()?.to_string_lossy().into_owned())
}

fn is_link(pin: &Path) -> bool {
    pin.as_os_str().as_encoded_bytes().ends_with(b"-link")
}

/// All pins in a folder and in those below it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut pins = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pins.extend(below(&path));
        } else {
            pins.push(path);
        }
    }
    pins
}

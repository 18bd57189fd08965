//! The BPF file system: mounted by the first instance that needs it, and taken down again by the last one to leave.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use xsknet_bpf::{LinkGuardError, bpffs};

use crate::error::{OpenError, StepError};
use crate::lock::Lock;
use crate::observer::{Observer, passed};
use crate::paths::Paths;
use crate::pins;

/// Mounts bpffs where it is missing. A file beside the locks says that it was one of us, so that the last instance to
/// leave takes it down again.
pub(crate) fn mount_bpffs(paths: &Paths, observer: &Option<Observer>) -> Result<(), OpenError> {
    let refused = |cause| OpenError::Io { attempt: "mount the BPF file system at", path: paths.bpffs().into(), cause };
    let _held = Lock::wait(&paths.bpffs_lock()).map_err(refused)?;
    if !bpffs::is_mounted(paths.bpffs()).map_err(refused)? {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).open(paths.bpffs_marker()).map_err(refused)?;
        passed(observer, "bpffs is about to be mounted");
        bpffs::mount(paths.bpffs()).map_err(refused)?;
        passed(observer, "bpffs is mounted");
    }
    make_folder(&paths.all_pins(), 0o700)?;
    make_folder(&paths.instance_pins(), 0o700)?;
    make_folder(&paths.pins(), 0o700)
}

/// Keeps clients from attaching the programs that they are given. It holds until the last instance leaves, and until no
/// client has such a program any more.
pub(crate) fn guard_links(paths: &Paths) -> Result<(), LinkGuardError> {
    let locked = Lock::wait(&paths.bpffs_lock());
    let _held = locked.map_err(|cause| LinkGuardError::Refused { attempt: "wait for", cause })?;
    xsknet_bpf::guard_links(&paths.all_pins())
}

/// Leaves bpffs as it was found, unless others have pins there by now: then the last of them does.
pub(crate) fn leave_bpffs(paths: &Paths) -> Result<(), StepError> {
    let refused = |cause| StepError::Io { attempt: "leave the BPF file system", cause };
    let _held = Lock::wait(&paths.bpffs_lock()).map_err(refused)?;
    pins::remove(&paths.instance_pins())?;
    xsknet_bpf::unguard_links(&paths.all_pins()).map_err(refused)?;
    match std::fs::remove_dir(paths.all_pins()) {
        Ok(()) => {}
        // Mounting it had failed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Other instances, or clients that have programs of BPF rings still.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOTEMPTY.raw_os_error()) => return Ok(()),
        Err(error) => return Err(refused(error)),
    }
    pins::close_root(paths).map_err(refused)?;
    if !paths.bpffs_marker().exists() {
        return Ok(());
    }
    if bpffs::is_mounted(paths.bpffs()).map_err(refused)? {
        if holds_pins(paths.bpffs()).map_err(refused)? {
            return Ok(());
        }
        bpffs::unmount(paths.bpffs()).map_err(refused)?;
    }
    std::fs::remove_file(paths.bpffs_marker()).map_err(refused)
}

/// Whether anything is pinned below a folder of bpffs. Folders and links are nobody's loss: iproute2 makes some
/// wherever it finds a bpffs. Nor are the two iterators that the kernel itself puts into a new one
/// (kernel/bpf/preload).
fn holds_pins(folder: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let preloaded = ["maps.debug", "progs.debug"].iter().any(|name| entry.file_name() == *name);
        if kind.is_file() && !preloaded || kind.is_dir() && holds_pins(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn make_folder(path: &Path, mode: u32) -> Result<(), OpenError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(OpenError::Io { attempt: "make the folder", path: path.into(), cause })
        }
        _ => Ok(()),
    }
}

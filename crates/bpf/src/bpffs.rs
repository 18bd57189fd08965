//! The file system that pins live on.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// `BPF_FS_MAGIC` of `linux/magic.h`.
const MAGIC: u32 = 0xcafe_4a11;

/// No fork takes longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether `path` exists and lies on a bpffs, at its root or below.
///
/// # Errors
///
/// The kernel's, except for a path that does not exist.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    match rustix::fs::statfs(path) {
        Ok(statfs) => Ok(statfs.f_type as u32 == MAGIC),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Mounts a new bpffs at `path`, an existing folder, for root alone (mode 0700).
///
/// # Errors
///
/// The kernel's: EPERM without `CAP_SYS_ADMIN`, ENODEV from a kernel without it.
pub fn mount(path: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("bpf", path, "bpf", flags, c"mode=0700")?)
}

/// Unmounts what is mounted at `path`. It waits up to a second while it is busy: a process that is just being forked
/// elsewhere holds a copy of each descriptor until it executes.
///
/// # Errors
///
/// The kernel's: EBUSY while a process is inside, EINVAL where nothing is mounted.
pub fn unmount(path: &Path) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) if begun.elapsed() < PATIENCE => std::thread::sleep(PATIENCE / 100),
            result => return Ok(result?),
        }
    }
}

/// Makes `path`, a folder, for its owner alone. True if it was not there.
///
/// # Errors
///
/// The kernel's.
pub fn make_folder(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(cause) => Err(cause),
    }
}

//! Whether what is mounted here is there for the machine, or for this process alone.

use std::path::PathBuf;

use rustix::fs::{major, minor, stat};

use crate::paths::Paths;

/// The first mount of an instance that process 1 does not see. Without a look at its mounts, none: nothing is known
/// then.
pub(crate) fn hidden(paths: &Paths, ports: (u64, u64)) -> Option<PathBuf> {
    let seen = std::fs::read_to_string("/proc/1/mountinfo").ok()?;
    let (_, inode) = ports;
    // A namespace's mount has it for its root; a bpffs is one by its device number, wherever it is mounted.
    if !shows(&seen, 3, &format!("net:[{inode}]")) {
        return Some(paths.namespace());
    }
    let device = stat(paths.bpffs()).ok()?.st_dev;
    if !shows(&seen, 2, &format!("{}:{}", major(device), minor(device))) {
        return Some(paths.bpffs().into());
    }
    None
}

/// Whether any line has `wanted` for its field of this number, counted from 0.
fn shows(mountinfo: &str, field: usize, wanted: &str) -> bool {
    mountinfo.lines().any(|line| line.split(' ').nth(field) == Some(wanted))
}

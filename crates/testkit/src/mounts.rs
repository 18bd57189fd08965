//! The mounts of a machine that has just started: nothing in `/run`, and no bpffs.

use std::io;
use std::thread;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `work` on a thread with mounts of its own, as on a machine that has just started. Threads and programs started
/// inside see the same; whatever is mounted or written to `/run` there is gone with the last of them.
///
/// # Panics
/// Where the kernel refuses (CAP_SYS_ADMIN), and when `work` does.
pub fn on_fresh_mounts<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let fresh = || {
        own_mounts().expect("mounts of a thread's own");
        work()
    };
    // Under the caller's name, which a panic prints.
    let name = thread::current().name().unwrap_or("fresh mounts").to_owned();
    let joined = thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, fresh).expect("a thread");
        thread.join()
    });
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn own_mounts() -> io::Result<()> {
    // SAFETY: what makes `unshare` unsafe is CLONE_FILES; this flag leaves the descriptor table shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // A copy of another process's mount would keep alive what that process takes down. The latest first, for mounts
    // upon mounts.
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts")?;
    let points = mounts.lines().rev().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        ["bpf", "nsfs"].contains(&kind).then_some(point)
    });
    for point in points {
        rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    Ok(rustix::mount::mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")?)
}

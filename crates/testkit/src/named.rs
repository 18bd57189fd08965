//! A lab that outlives its builder: its machines have names in `/run/netns`, as `ip netns` gives them.
//!
//! The namespaces are set up before they get their names, so a builder that is killed in between leaves nothing, or a
//! lab of one machine, which the next start builds anew. Each has its lab's mark on its loopback device, which cannot
//! be deleted: a namespace without the mark is not ours.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount};
use xsknet_link::{Device, Links, Netns, NetnsId};

use crate::device::device;
use crate::lab::{CARD, FAR, HOST4, HOST6, REMOTE4, REMOTE6, Wire, lay};
use crate::lab_error::{Inhabitant, LabError};
use crate::machine::furnish;

/// Where `ip netns` has its names.
const NAMES: &str = "/run/netns";
/// Stands while [`NAMES`] is a mount because a lab made it one. Beside the files of instances, whose names have no dot.
const MARKER: &str = "/run/xsknet/.netns.mounted";
/// How long another process may take to build or remove a lab.
const PATIENCE: Duration = Duration::from_secs(20);

/// A name that tells labs apart: 1 to 32 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabName(String);

impl FromStr for LabName {
    type Err = LabError;

    fn from_str(name: &str) -> Result<Self, LabError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if (1..=32).contains(&name.len()) && name.bytes().all(fits) {
            Ok(Self(name.into()))
        } else {
            Err(LabError::NameInvalid { name: name.into() })
        }
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lab with a name, whether it stands or not.
#[derive(Debug, Clone)]
pub struct NamedLab {
    name: LabName,
    /// Where the machine with the interface has its name.
    pub host: PathBuf,
    /// Where the machine at the wire's far end has its name.
    pub remote: PathBuf,
}

/// What [`NamedLab::raise`] found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// There was nothing.
    Built,
    /// There were remains of one.
    Rebuilt,
    /// It stood.
    Stood,
}

/// What has the name of a machine.
enum Found {
    Nothing,
    /// The empty file on which a namespace was to be mounted, or was until the machine was started again.
    EmptyFile,
    Ours(Netns),
}

impl NamedLab {
    /// The lab of this name.
    pub fn new(name: LabName) -> Self {
        let path = |machine| PathBuf::from(format!("{NAMES}/xsknet-{name}-{machine}"));
        Self { host: path("host"), remote: path("remote"), name }
    }

    /// Its name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// Sees to it that the lab stands. A whole one is left as it is, remains of one are built anew.
    ///
    /// # Errors
    /// The kernel's; [`LabError::Foreign`], and [`LabError::Inhabited`] for remains. Nothing is left of what was begun
    /// then.
    pub fn raise(&self) -> Result<Raised, LabError> {
        let _turn = Turn::take()?;
        let found = self.find()?;
        if let (Found::Ours(host), Found::Ours(remote)) = &found
            && is_whole(host, remote)
        {
            return Ok(Raised::Stood);
        }
        let remains = self.clear(found)?;
        let built = self.build();
        if built.is_err() {
            // Why it could not be built is what there is to tell.
            let _ = self.find().and_then(|found| self.clear(found));
            leave_names();
        }
        built?;
        Ok(if remains.is_empty() { Raised::Built } else { Raised::Rebuilt })
    }

    /// Removes the lab: its names, and its machines with all that is in them. Returns the names that went: none where
    /// there was no lab.
    ///
    /// # Errors
    /// [`LabError::Inhabited`] and [`LabError::Foreign`], which have changed nothing; the kernel's.
    pub fn remove(&self) -> Result<Vec<PathBuf>, LabError> {
        let _turn = Turn::take()?;
        let removed = self.clear(self.find()?)?;
        leave_names();
        Ok(removed)
    }

    fn find(&self) -> Result<(Found, Found), LabError> {
        Ok((self.look(&self.host)?, self.look(&self.remote)?))
    }

    fn look(&self, path: &Path) -> Result<Found, LabError> {
        let foreign = |found: &str| Err(LabError::Foreign { path: path.into(), found: found.into() });
        let file = match fs::symlink_metadata(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            file => file.map_err(|cause| LabError::Io { attempt: "look at", path: path.into(), cause })?,
        };
        if !file.is_file() {
            return foreign("no network namespace");
        }
        let Ok(namespace) = Netns::open(path) else {
            return if file.len() == 0 { Ok(Found::EmptyFile) } else { foreign("no network namespace") };
        };
        let loopback = Links::in_namespace(&namespace)?.by_name(&device("lo"))?;
        if loopback.alias == Some(self.mark()) {
            Ok(Found::Ours(namespace))
        } else {
            foreign("a network namespace that is not a lab's")
        }
    }

    fn mark(&self) -> String {
        format!("xsknet-lab:{}", self.name)
    }

    fn build(&self) -> Result<(), LabError> {
        let (host, remote) = (Netns::create()?, Netns::create()?);
        for machine in [&host, &remote] {
            furnish(machine, Some(&self.mark()))?;
        }
        lay(&host, &remote, Wire::default())?;
        enter_names()?;
        for (machine, path) in [(&host, &self.host), (&remote, &self.remote)] {
            machine.bind_to(path)?;
            must_be_seen(path)?;
        }
        Ok(())
    }

    /// Removes what was found, unless a process runs in it.
    fn clear(&self, (host, remote): (Found, Found)) -> Result<Vec<PathBuf>, LabError> {
        let mut inhabitants = BTreeMap::new();
        for found in [&host, &remote] {
            if let Found::Ours(namespace) = found {
                inhabitants.extend(inhabitants_of(namespace)?.into_iter().map(|who| (who.pid, who)));
            }
        }
        if !inhabitants.is_empty() {
            let inhabitants = inhabitants.into_values().collect();
            return Err(LabError::Inhabited { lab: self.name.to_string(), inhabitants });
        }
        // A namespace goes some time after its last user, and a wire with it: this one goes now.
        for (found, name) in [(&host, CARD), (&remote, FAR)] {
            if let Found::Ours(namespace) = found {
                let links = Links::in_namespace(namespace)?;
                if let Ok(device) = links.by_name(&device(name)) {
                    links.delete(device.index)?;
                }
            }
        }
        let mut removed = Vec::new();
        for (found, path) in [(&host, &self.host), (&remote, &self.remote)] {
            if !matches!(found, Found::Nothing) {
                Netns::unbind(path)?;
                removed.push(path.clone());
            }
        }
        Ok(removed)
    }
}

/// Whether all is there that [`NamedLab::raise`] promises.
fn is_whole(host: &Netns, remote: &Netns) -> bool {
    let end = |namespace: &Netns, name: &str, addresses: [std::net::IpAddr; 2]| -> Option<Device> {
        let links = Links::in_namespace(namespace).ok()?;
        let end = links.by_name(&device(name)).ok()?;
        let has = links.addresses(end.index).ok()?;
        addresses.iter().all(|address| has.iter().any(|(one, _)| one == address)).then_some(end)
    };
    match (end(host, CARD, [HOST4.into(), HOST6.into()]), end(remote, FAR, [REMOTE4.into(), REMOTE6.into()])) {
        (Some(card), Some(far)) => card.peer_index == Some(far.index) && card.lower_up && far.lower_up,
        _ => false,
    }
}

/// Processes of which a thread is in the namespace, this one apart.
fn inhabitants_of(namespace: &Netns) -> Result<Vec<Inhabitant>, LabError> {
    let NetnsId { dev, ino } = namespace.identity().map_err(LabError::Enter)?;
    let is_inside =
        |thread: &Path| fs::metadata(thread.join("ns/net")).is_ok_and(|found| (found.dev(), found.ino()) == (dev, ino));
    let processes =
        fs::read_dir("/proc").map_err(|cause| LabError::Io { attempt: "list", path: "/proc".into(), cause })?;
    let inhabitant = |process: fs::DirEntry| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        // It may have ended since it was listed.
        let mut threads = fs::read_dir(process.path().join("task")).ok()?.flatten();
        let name = || fs::read_to_string(process.path().join("comm")).ok();
        (pid != std::process::id() && threads.any(|thread| is_inside(&thread.path())))
            .then(|| Inhabitant { pid, name: name().unwrap_or_default().trim_end().into() })
    };
    Ok(processes.flatten().filter_map(inhabitant).collect())
}

/// A process with mounts of its own, as under `ip netns exec`, would name what other processes cannot see.
fn must_be_seen(path: &Path) -> Result<(), LabError> {
    let same =
        |seen: &fs::Metadata| fs::metadata(path).is_ok_and(|ours| (ours.dev(), ours.ino()) == (seen.dev(), seen.ino()));
    match fs::metadata(format!("/proc/1/root{}", path.display())) {
        Ok(seen) if !same(&seen) => Err(LabError::Hidden { path: path.into() }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(LabError::Hidden { path: path.into() }),
        // Without a look at its mounts nothing is known.
        _ => Ok(()),
    }
}

/// Makes [`NAMES`] what `ip netns add` makes of it: a folder whose mounts reach every mount namespace below this one.
/// If it were not, the next `ip netns add` would mount it over ours, which could not be removed then.
fn enter_names() -> Result<(), LabError> {
    let failed = |attempt| move |cause| LabError::Io { attempt, path: NAMES.into(), cause };
    make_folder(Path::new(NAMES))?;
    let shared = || mount_change(NAMES, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    match shared() {
        // It is not a mount yet.
        Err(Errno::INVAL) => {}
        shared => return shared.map_err(|errno| failed("share the mounts in")(errno.into())),
    }
    make_folder(Path::new(MARKER).parent().unwrap_or(Path::new("/")))?;
    File::create(MARKER).map_err(|cause| LabError::Io { attempt: "make", path: MARKER.into(), cause })?;
    mount_bind_recursive(NAMES, NAMES).map_err(|errno| failed("mount")(errno.into()))?;
    shared().map_err(|errno| failed("share the mounts in")(errno.into()))
}

/// Undoes [`enter_names`] if it was a lab that did it, and there is no name left in there. What cannot be undone is as
/// `ip netns` would have left it, so it is not a failure.
fn leave_names() {
    let is_empty = || fs::read_dir(NAMES).is_ok_and(|mut names| names.next().is_none());
    if Path::new(MARKER).exists() && is_empty() {
        // Not mounted: the process that set the marker was killed before it mounted.
        let left = matches!(unmount(NAMES, UnmountFlags::NOFOLLOW), Ok(()) | Err(Errno::INVAL));
        if left {
            let _ = fs::remove_dir(NAMES);
            let _ = fs::remove_file(MARKER);
        }
    }
    // An instance may be in there.
    let _ = Path::new(MARKER).parent().map(fs::remove_dir);
}

fn make_folder(path: &Path) -> Result<(), LabError> {
    let failed = |cause| LabError::Io { attempt: "make the folder", path: path.into(), cause };
    match DirBuilder::new().mode(0o755).create(path) {
        // Whatever the umask is.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(failed),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(failed(cause)),
    }
}

/// One process at a time builds or removes labs. The kernel ends the turn with the process, and no file is left behind.
struct Turn {
    _folder: File,
}

impl Turn {
    fn take() -> Result<Self, LabError> {
        let failed = |cause| LabError::Io { attempt: "lock", path: "/run".into(), cause };
        let folder = File::open("/run").map_err(failed)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _folder: folder }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => return Err(LabError::Crowded { waited: PATIENCE }),
                Err(error) => return Err(failed(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_folder_or_spoil_a_mark_are_refused() {
        for good in ["lab", "a", "Test-7_x", &"x".repeat(32)] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "ä", "a\0", &"x".repeat(33)] {
            assert!(matches!(bad.parse::<LabName>(), Err(LabError::NameInvalid { name }) if name == bad), "{bad}");
        }
    }
}

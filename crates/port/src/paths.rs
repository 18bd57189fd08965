//! The names by which a start recognises what an earlier run left: folders, files, pins, aliases.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, fs, io};

use serde::{Deserialize, Serialize};
use xsknet_link::DeviceName;

use crate::mac::{Secret, SecretError};

/// Where an instance keeps what must outlive its process.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder of locks, journals, control sockets and bound namespaces; `/run/xsknet`.
    pub run: PathBuf,
    /// The BPF file system; `/sys/fs/bpf`.
    pub bpffs: PathBuf,
    /// Folder of the secret from which ports' MACs are made, which outlives everything else. `$STATE_DIRECTORY`, else
    /// `/var/lib/xsknet`. `None`: each instance draws one of its own, and a port of the same name gets another MAC from
    /// the next.
    pub state: Option<PathBuf>,
    /// Whether process 1 need not see what is mounted there. Only where a later run is sure to share the mounts of this
    /// one.
    pub may_be_hidden: bool,
}

impl Default for Places {
    fn default() -> Self {
        // systemd names several folders with colons between them.
        let named = std::env::var("STATE_DIRECTORY").ok();
        let named = named.as_deref().and_then(|all| all.split(':').next()).filter(|first| !first.is_empty());
        let state = Some(named.unwrap_or("/var/lib/xsknet").into());
        Self { run: "/run/xsknet".into(), bpffs: "/sys/fs/bpf".into(), state, may_be_hidden: false }
    }
}

impl Places {
    pub(crate) fn secret(&self) -> Result<Secret, SecretError> {
        self.state.as_deref().map_or_else(|| Ok(Secret::draw()), Secret::keep_in)
    }
}

/// The name of an instance: 1 to 32 letters, digits, `-` and `_`, so that it can stand in a path, an alias and a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceName(String);

/// A name that cannot be an instance's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot name an instance: it takes 1 to 32 letters, digits, `-` and `_`")]
pub struct InstanceNameError(String);

/// How the names of instances begin that were opened without one.
pub const PRIVATE_PREFIX: &str = "embedded-";

impl InstanceName {
    pub(crate) fn private(number: u32) -> Self {
        Self(format!("{PRIVATE_PREFIX}{}-{number}", std::process::id()))
    }
}

impl FromStr for InstanceName {
    type Err = InstanceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if (1..=32).contains(&text.len()) && text.chars().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(InstanceNameError(text.into()))
        }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Default for InstanceName {
    fn default() -> Self {
        Self("default".into())
    }
}

/// All paths of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    places: Places,
    instance: InstanceName,
}

impl Paths {
    pub(crate) fn new(places: Places, instance: InstanceName) -> Self {
        Self { places, instance }
    }

    pub(crate) fn run(&self) -> &Path {
        &self.places.run
    }

    pub(crate) fn bpffs(&self) -> &Path {
        &self.places.bpffs
    }

    pub(crate) fn may_be_hidden(&self) -> bool {
        self.places.may_be_hidden
    }

    pub(crate) fn instance(&self) -> &InstanceName {
        &self.instance
    }

    /// Held while bpffs is mounted or unmounted; shared by all instances. No instance has a name with a dot.
    pub(crate) fn bpffs_lock(&self) -> PathBuf {
        self.places.run.join(".bpffs.lock")
    }

    /// Stands while bpffs is mounted because an instance needed it.
    pub(crate) fn bpffs_marker(&self) -> PathBuf {
        self.places.run.join(".bpffs.mounted")
    }

    /// Stands while bpffs lets others pass because a client needed it: its mode before, in octal.
    pub(crate) fn bpffs_mode(&self) -> PathBuf {
        self.places.run.join(".bpffs.mode")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.places.run.join(format!("{}.lock", self.instance))
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.places.run.join(format!("{}.journal", self.instance))
    }

    /// Journals of earlier runs that could not be undone completely, in their order.
    pub(crate) fn set_aside(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = format!("{}.aside-", self.instance);
        let entries = match fs::read_dir(&self.places.run) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// Where another one can be set aside.
    pub(crate) fn free_aside(&self) -> PathBuf {
        let mut numbered = (1..).map(|number| self.places.run.join(format!("{}.aside-{number}", self.instance)));
        numbered.find(|path| !path.exists()).expect("there are fewer journals than numbers")
    }

    /// Where the instance's daemon listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.places.run.join(format!("{}.sock", self.instance))
    }

    /// The instance's own folder in `/run/xsknet`.
    pub(crate) fn folder(&self) -> PathBuf {
        self.places.run.join(&self.instance.0)
    }

    /// The bind mount that keeps the ports' namespace.
    pub(crate) fn namespace(&self) -> PathBuf {
        self.folder().join("netns")
    }

    /// The folder in bpffs that all instances share.
    pub(crate) fn all_pins(&self) -> PathBuf {
        self.places.bpffs.join("xsknet")
    }

    /// The instance's folder in bpffs.
    pub(crate) fn instance_pins(&self) -> PathBuf {
        self.all_pins().join(&self.instance.0)
    }

    /// The folder that pins of this shape stand in; a program with other maps takes another number.
    pub(crate) fn pins(&self) -> PathBuf {
        self.instance_pins().join("v1")
    }

    pub(crate) fn pin(&self, pin: &PinPath) -> PathBuf {
        self.pins().join(&pin.0)
    }

    /// Says on a port's device whose it is.
    pub(crate) fn alias(&self, port: &str) -> String {
        format!("{}{port}", self.alias_prefix())
    }

    pub(crate) fn alias_prefix(&self) -> String {
        format!("xsknet:{}:", self.instance)
    }
}

/// A path below the instance's folder of pins. It never leaves that folder, whatever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PinPath(String);

impl PinPath {
    /// The folder of an uplink's programs and maps.
    pub(crate) fn uplink(device: &DeviceName) -> Self {
        Self(on_bpffs(device))
    }

    /// The folder of one port of an uplink: of its first queue.
    pub(crate) fn port(device: &DeviceName, port: u32) -> Self {
        Self(format!("{}/port-{port}", on_bpffs(device)))
    }

    /// The folder of one of a port's queues, counted from 0.
    pub(crate) fn queue(device: &DeviceName, port: u32, queue: usize) -> Self {
        match queue {
            0 => Self::port(device, port),
            queue => Self(format!("{}/port-{port}-{queue}", on_bpffs(device))),
        }
    }

    /// A pin in this folder.
    pub(crate) fn file(&self, name: &str) -> Self {
        Self(format!("{}/{name}", self.0))
    }
}

/// A device's name as bpffs takes it, which has no dots (`bpf_lookup()` in kernel/bpf/inode.c); those of VLAN devices
/// have one.
fn on_bpffs(device: &DeviceName) -> String {
    device.as_str().replace('%', "%25").replace('.', "%2e")
}

impl TryFrom<String> for PinPath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        let fits = |part: &str| !part.is_empty() && part != "." && part != "..";
        if path.split('/').all(fits) && !path.contains('\0') {
            Ok(Self(path))
        } else {
            Err(format!("`{path}` leaves the folder of pins"))
        }
    }
}

impl From<PinPath> for String {
    fn from(path: PinPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_names_that_would_leave_their_folder_or_spoil_an_alias_are_refused() {
        for good in ["default", "a", "lab-7_x", &"x".repeat(32)] {
            assert!(good.parse::<InstanceName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "é", "a\n", &"x".repeat(33)] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_device_has_a_folder_of_its_own_without_a_dot() {
        let of = |name: &str| PinPath::port(&name.parse().unwrap(), 1).0;
        assert_eq!(of("eth0"), "eth0/port-1");
        assert_eq!(of("eth0.100"), "eth0%2e100/port-1");
        assert_eq!(of("eth0%2e100"), "eth0%252e100/port-1");
        assert_eq!(PinPath::queue(&"a.b".parse().unwrap(), 2, 3).0, "a%2eb/port-2-3");
        assert_eq!(PinPath::uplink(&"..a".parse().unwrap()).0, "%2e%2ea");
    }

    #[test]
    fn pin_paths_from_a_journal_cannot_leave_the_folder_of_pins() {
        for good in ["eth0", "eth0/port-1/guard"] {
            assert!(PinPath::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "/", "/etc", "..", "a/../..", "a//b", "a/", "./a", "a\0"] {
            assert!(PinPath::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}

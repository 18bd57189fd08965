//! What a machine looks like, to be compared with what it looks like later.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use xsknet_link::{Ethtool, Netns};

/// All that an instance may change of a machine, as lines that can be compared and shown.
#[derive(Debug, Clone)]
pub struct Snapshot {
    lines: BTreeSet<String>,
    /// Ids of BPF objects. Others of the machine come and go too, and nobody can make them go: only what stays behind
    /// counts.
    objects: BTreeSet<(&'static str, u32)>,
}

impl Snapshot {
    /// Looks at the namespace (devices, addresses, offloads, filters), at what lies and is mounted in `folders`, and at the ids
    /// of all BPF objects of the machine.
    ///
    /// # Panics
    /// Where the kernel does not tell.
    pub fn take(namespace: &Netns, folders: &[&Path]) -> Self {
        let mut lines = BTreeSet::new();
        add_devices(namespace, &mut lines);
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").expect("/proc is mounted");
        let inside = |line: &&str| {
            let point = line.split(' ').nth(1).map(Path::new);
            point.is_some_and(|point| folders.iter().any(|folder| point.starts_with(folder)))
        };
        lines.extend(mounts.lines().filter(inside).map(str::to_owned));
        for folder in folders {
            add_files(folder, &mut lines);
        }
        let objects = xsknet_bpf::object_ids().expect("root may list BPF objects").into_iter().collect();
        Self { lines, objects }
    }

    /// Waits until the machine looks like this again; BPF objects vanish a grace period after their last user. Those that
    /// others make meanwhile do not count.
    ///
    /// # Errors
    /// What came (`+`) and what went (`-`), where it does not within `deadline`.
    pub fn wait_for(&self, deadline: Duration, mut take: impl FnMut() -> Self) -> Result<(), String> {
        let end = Instant::now() + deadline;
        let mut strangers: Option<BTreeSet<(&str, u32)>> = None;
        loop {
            let now = take();
            let left: BTreeSet<_> = match strangers {
                None => now.objects.difference(&self.objects).copied().collect(),
                Some(seen) => seen.intersection(&now.objects).copied().collect(),
            };
            let came = now.lines.difference(&self.lines).map(|line| format!("+ {line}\n"));
            let stayed = left.iter().map(|(kind, id)| format!("+ BPF {kind} {id}\n"));
            let went = self.lines.difference(&now.lines).map(|line| format!("- {line}\n"));
            let difference: String = came.chain(stayed).chain(went).collect();
            if difference.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(difference);
            }
            strangers = Some(left);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn add_devices(namespace: &Netns, lines: &mut BTreeSet<String>) {
    let links = xsknet_link::Links::in_namespace(namespace).expect("a netlink socket");
    let ethtool = Ethtool::in_namespace(namespace).expect("an ethtool socket");
    for device in links.list().expect("a list of devices") {
        let name = &device.name;
        lines.insert(format!(
            "{name}: index {} mac {:?} mtu {} up {} alias {:?} promiscuity {} xdp {:?}",
            device.index, device.mac, device.mtu, device.up, device.alias, device.promiscuity, device.xdp
        ));
        for (address, prefix) in links.addresses(device.index).expect("a list of addresses") {
            lines.insert(format!("{name}: address {address}/{prefix}"));
        }
        for mac in links.filters(device.index).expect("a list of filters") {
            lines.insert(format!("{name}: filter {mac}"));
        }
        // Not every device speaks ethtool.
        if let Ok(features) = ethtool.features(name) {
            lines.extend(features.iter().map(|feature| format!("{name}: {} {}", feature.name, feature.active)));
        }
    }
}

fn add_files(folder: &Path, lines: &mut BTreeSet<String>) {
    lines.extend(folder.exists().then(|| folder.display().to_string()));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        lines.insert(path.display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_files(&path, lines);
        }
    }
}

//! What a machine looks like, to be compared with what it looks like later.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use xsknet_link::{Ethtool, Netns};

use crate::lane::{DETACHED, Lane};

/// All that an instance may change of a machine, as lines that can be compared and shown.
#[derive(Debug, Clone)]
pub struct Snapshot {
    devices: BTreeSet<String>,
    /// Mounts and paths.
    files: BTreeSet<String>,
    /// Ids of BPF objects. Others of the machine come and go too: only what stays behind
    /// counts.
    objects: BTreeSet<(&'static str, u32)>,
    /// Instances of others are there too.
    crowded: bool,
    /// Whose objects do not count are the other lanes of this one's run.
    lane: Option<Lane>,
}

impl Snapshot {
    /// Looks at the namespace (devices, addresses, offloads, filters), at what lies and is mounted in `folders`, and at
    /// the ids of all BPF objects of the machine.
    ///
    /// # Panics
    /// Where the kernel does not tell.
    pub fn take(namespace: &Netns, folders: &[&Path]) -> Self {
        let mut devices = BTreeSet::new();
        add_devices(namespace, &mut devices);
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").expect("/proc is mounted");
        let inside = |line: &&str| {
            let point = line.split(' ').nth(1).map(Path::new);
            point.is_some_and(|point| folders.iter().any(|folder| point.starts_with(folder)))
        };
        let mut files: BTreeSet<_> = mounts.lines().filter(inside).map(str::to_owned).collect();
        for folder in folders {
            add_files(folder, &mut files);
        }
        let objects = xsknet_bpf::object_ids().expect("root may list BPF objects").into_iter().collect();
        Self { devices, files, objects, crowded: false, lane: Lane::own() }
    }

    /// The same on a shared machine: what has the name of another instance does not count. While there is another
    /// instance, neither does what belongs to all instances, nor do BPF objects, whose owner is unknown unless it is a
    /// lane.
    #[must_use]
    pub fn beside_others(mut self, own: &str) -> Self {
        let is_others = |line: &String| instance_in(line).is_some_and(|name| !name.starts_with(own));
        self.crowded = self.files.iter().any(is_others);
        self.files.retain(|line| !is_others(line));
        self
    }

    /// Waits until the machine looks like this again; BPF objects vanish a grace period after their last user. Those
    /// that others make meanwhile do not count, nor do those of other lanes.
    ///
    /// # Errors
    /// What came (`+`) and what went (`-`), where it does not within `deadline`; in a lane, BPF objects alone may be
    /// there for as long as another lane can have them without a descriptor.
    pub fn wait_for(&self, deadline: Duration, mut take: impl FnMut() -> Self) -> Result<(), String> {
        let end = Instant::now() + deadline;
        let end_of_objects = self.lane.as_ref().map_or(end, |_| end + DETACHED);
        let ignores_objects = |crowded| crowded && self.lane.is_none();
        let mut strangers: Option<BTreeSet<(&str, u32)>> = None;
        loop {
            let now = take();
            let crowded = self.crowded || now.crowded;
            let mut left: BTreeSet<_> = match strangers {
                None => now.objects.difference(&self.objects).copied().collect(),
                Some(seen) => seen.intersection(&now.objects).copied().collect(),
            };
            if let Some(lane) = self.lane.as_ref().filter(|_| !left.is_empty()) {
                left = &left - &lane.objects_of_others();
            }
            let lines = |of: &Self| -> BTreeSet<String> {
                let files = of.files.iter().filter(|line| !crowded || instance_in(line).is_some());
                of.devices.iter().chain(files).cloned().collect()
            };
            let (before, after) = (lines(self), lines(&now));
            let came = after.difference(&before).map(|line| format!("+ {line}\n"));
            let went = before.difference(&after).map(|line| format!("- {line}\n"));
            let changed: String = came.chain(went).collect();
            let stayed = left.iter().filter(|_| !ignores_objects(crowded));
            let stayed: String = stayed.map(|(kind, id)| format!("+ BPF {kind} {id}\n")).collect();
            if changed.is_empty() && stayed.is_empty() {
                return Ok(());
            }
            if Instant::now() >= if changed.is_empty() { end_of_objects } else { end } {
                return Err(changed + &stayed);
            }
            strangers = Some(left);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The instance that a path in `/run/xsknet` or in bpffs is named after. Names that begin with a dot are not of
/// instances.
fn instance_in(line: &str) -> Option<&str> {
    let (_, path) = line.split_once("/xsknet/")?;
    path.split(['/', ' ']).next().filter(|name| !name.starts_with('.'))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(files: &[&str], objects: &[u32]) -> Snapshot {
        Snapshot {
            devices: BTreeSet::from(["card0: promiscuity 0".into()]),
            files: files.iter().map(|&line| line.into()).collect(),
            objects: objects.iter().map(|id| ("program", *id)).collect(),
            crowded: false,
            lane: None,
        }
    }

    fn difference(before: Snapshot, after: Snapshot) -> Option<String> {
        let [before, after] = [before, after].map(|snapshot| snapshot.beside_others("lab-1-"));
        before.wait_for(Duration::ZERO, || after.clone()).err()
    }

    #[test]
    fn what_stays_behind_is_told() {
        let after = snapshot(&["/run/xsknet", "/run/xsknet/lab-1-a.journal"], &[7]);
        let told = difference(snapshot(&[], &[]), after);
        assert_eq!(told.as_deref(), Some("+ /run/xsknet\n+ /run/xsknet/lab-1-a.journal\n+ BPF program 7\n"));
    }

    #[test]
    fn instances_of_others_do_not_count_but_ours_do() {
        let others =
            ["/run/xsknet", "/run/xsknet/.bpffs.lock", "/run/xsknet/lab-12-a.lock", "bpf /sys/fs/bpf bpf rw 0 0"];
        assert_eq!(difference(snapshot(&[], &[]), snapshot(&others, &[7])), None);
        assert_eq!(difference(snapshot(&others, &[7]), snapshot(&[], &[])), None);

        let ours = [&others[..], &["/sys/fs/bpf/xsknet/lab-1-a/v1"]].concat();
        let told = difference(snapshot(&others, &[]), snapshot(&ours, &[]));
        assert_eq!(told.as_deref(), Some("+ /sys/fs/bpf/xsknet/lab-1-a/v1\n"));
    }
}

//! The journal: every change to the host is written here before it is made, and crossed out once it is undone.
//!
//! One file an instance, one record a line: eight hex digits of CRC-32, a space, the record as JSON. It is written with
//! plain `write(2)`: what has to be undone lives in the kernel and ends with it, so the journal has to survive a killed
//! process, not a power cut, and the boot's id in its first line tells the two apart.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xsknet_link::{DeviceName, FeatureChange, IfIndex, MacAddr};

use crate::paths::PinPath;

const VERSION: u32 = 1;
/// Crossed-out records are dropped from the file once it has this many lines.
const COMPACT_AT: usize = 4096;

/// One change to the host, with all that is needed to take it back, and to see that it is still ours to take back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the variants tell; the fields are their nouns")]
pub enum Change {
    /// The ports' network namespace, bound to a file beside the journal.
    Namespace,
    /// A folder of pins below the instance's folder in bpffs.
    Pins { folder: PinPath },
    /// An XDP program on a device, by the pin of its link.
    Attachment { pin: PinPath },
    /// A veth pair. Both ends carry the alias before the outer one moves to the host's devices.
    Pair { outer: DeviceName, inner: DeviceName, alias: String },
    /// An offload of a device of the host.
    Offload { device: DeviceName, index: IfIndex, feature: String, was: bool },
    /// What attaching a program may switch, or has switched, of a NIC's offloads, each as it was wanted before.
    Offloads { device: DeviceName, index: IfIndex, were: Vec<FeatureChange> },
    /// An address in a NIC's filter.
    Filter { device: DeviceName, index: IfIndex, mac: MacAddr },
    /// A VLAN device of a NIC, among the ports' devices, so that the NIC's filter lets the VLAN in.
    Vlan { device: DeviceName, id: u16 },
    /// A NIC put into promiscuous mode because it refused a filter.
    Promiscuous { device: DeviceName, index: IfIndex },
}

impl Change {
    /// The NIC that keeps it wherever it is moved, by its name and number when it became an uplink.
    pub(crate) fn nic(&self) -> Option<(&DeviceName, IfIndex)> {
        match self {
            Self::Offload { device, index, .. }
            | Self::Offloads { device, index, .. }
            | Self::Promiscuous { device, index } => Some((device, *index)),
            _ => None,
        }
    }
}

/// What a change was made for. Closing a scope undoes its changes, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// The instance itself.
    Instance,
    /// One uplink.
    Uplink { device: DeviceName },
    /// One port of an uplink.
    Port { device: DeviceName, port: u32 },
}

impl Scope {
    /// Whether closing `self` also closes `other`.
    fn covers(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::Instance, _) => true,
            (Scope::Uplink { device }, Scope::Port { device: its, .. }) => device == its,
            _ => self == other,
        }
    }
}

/// Names one change in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId(u64);

/// The first line: whose journal this is, and in which world its names mean something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    version: u32,
    pub(crate) instance: String,
    /// `/proc/sys/kernel/random/boot_id`: after a reboot nothing of what follows exists any more.
    pub(crate) boot: String,
    /// Device and inode of the network namespace whose devices are meant: where to look for it.
    pub(crate) namespace: (u64, u64),
    /// By which it is known for sure.
    pub(crate) cookie: u64,
}

impl Header {
    pub(crate) fn new(instance: &str, boot: &str, namespace: (u64, u64), cookie: u64) -> Self {
        Self { version: VERSION, instance: instance.into(), boot: boot.into(), namespace, cookie }
    }

    /// Whether its devices are those of the namespace with this cookie.
    pub(crate) fn is_of(&self, cookie: u64) -> bool {
        self.cookie == cookie
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case", deny_unknown_fields)]
enum Record {
    Header(Header),
    Made { id: EntryId, scope: Scope, change: Change },
    Undone { id: EntryId },
}

/// Why a journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A line that this program did not write as it stands.
    #[error("line {line} of the journal {} is damaged: {why}", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What does not fit.
        why: String,
    },
    /// The file system refused.
    #[error("cannot {attempt} the journal {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The journal.
        path: PathBuf,
        /// The kernel's word.
        #[source]
        cause: io::Error,
    },
}

/// The open journal of a running instance, or of one that ended without closing.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    header: Header,
    pending: BTreeMap<EntryId, (Scope, Change)>,
    next: u64,
    lines: usize,
}

impl Journal {
    /// Begins a journal where there is none.
    pub(crate) fn create(path: &Path, header: Header) -> Result<Self, JournalError> {
        let io = |cause| JournalError::Io { attempt: "create", path: path.into(), cause };
        let file = open_new(path).map_err(io)?;
        let mut journal = Self { path: path.into(), file, header, pending: BTreeMap::new(), next: 1, lines: 0 };
        journal.append(&Record::Header(journal.header.clone()))?;
        Ok(journal)
    }

    /// Reads what an earlier run left; `None` where it left nothing.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, JournalError> {
        let io = |attempt| move |cause| JournalError::Io { attempt, path: path.into(), cause };
        let mut file = match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open")(error)),
        };
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io("read"))?;
        let damaged = |line, why: String| JournalError::Damaged { path: path.into(), line, why };
        let mut header = None;
        let mut pending = BTreeMap::new();
        let mut next = 1;
        let (records, whole) = parse(&text).map_err(|(line, why)| damaged(line, why))?;
        let lines = records.len();
        for (at, record) in records.into_iter().enumerate() {
            match record {
                Record::Header(first) if at == 0 && first.version == VERSION => header = Some(first),
                Record::Header(other) if at == 0 => {
                    return Err(damaged(1, format!("version {} instead of {VERSION}", other.version)));
                }
                Record::Header(_) => return Err(damaged(at + 1, "a second header".into())),
                _ if at == 0 => return Err(damaged(1, "no header".into())),
                Record::Made { id, scope, change } => {
                    if id.0 < next {
                        return Err(damaged(at + 1, format!("change {} after change {}", id.0, next - 1)));
                    }
                    next = id.0 + 1;
                    pending.insert(id, (scope, change));
                }
                Record::Undone { id } => {
                    if pending.remove(&id).is_none() {
                        return Err(damaged(at + 1, format!("change {} is undone but was not made", id.0)));
                    }
                }
            }
        }
        // A torn last line announced a change that was not made yet: nothing follows from it, and it must not end up
        // in the middle of the file.
        file.set_len(whole as u64).map_err(io("mend the end of"))?;
        match std::fs::remove_file(fresh(path)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove the unfinished copy of")(cause));
            }
            _ => {}
        }
        match header {
            Some(header) => Ok(Some(Self { path: path.into(), file, header, pending, next, lines })),
            None => {
                std::fs::remove_file(path).map_err(io("remove"))?;
                Ok(None)
            }
        }
    }

    /// Whose journal a file is, without changing anything; `None` where there is none, or it is not begun.
    pub(crate) fn header_at(path: &Path) -> Result<Option<Header>, JournalError> {
        let io = |cause| JournalError::Io { attempt: "read", path: path.into(), cause };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let first = text.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let damaged = |line, why| JournalError::Damaged { path: path.into(), line, why };
        let (records, _) = parse(first).map_err(|(line, why)| damaged(line, why))?;
        match records.into_iter().next() {
            Some(Record::Header(header)) => Ok(Some(header)),
            Some(_) => Err(damaged(1, "no header".into())),
            None => Ok(None),
        }
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Writes a change down; only then may it be made.
    pub(crate) fn announce(&mut self, scope: Scope, change: Change) -> Result<EntryId, JournalError> {
        let id = EntryId(self.next);
        self.append(&Record::Made { id, scope: scope.clone(), change: change.clone() })?;
        self.next += 1;
        self.pending.insert(id, (scope, change));
        Ok(id)
    }

    /// Crosses a change out, after it was undone or when it could not be made.
    pub(crate) fn cross_out(&mut self, id: EntryId) -> Result<(), JournalError> {
        self.append(&Record::Undone { id })?;
        self.pending.remove(&id);
        if self.lines >= COMPACT_AT && self.pending.len() * 2 < self.lines {
            self.compact()?;
        }
        Ok(())
    }

    /// What is still to be undone when `scope` ends, the newest first.
    pub(crate) fn pending(&self, scope: &Scope) -> Vec<(EntryId, Scope, Change)> {
        let of_scope = self.pending.iter().rev().filter(|(_, (its, _))| scope.covers(its));
        of_scope.map(|(id, (its, change))| (*id, its.clone(), change.clone())).collect()
    }

    /// The oldest pending change that `wanted` picks.
    pub(crate) fn find(&self, wanted: impl Fn(&Change) -> bool) -> Option<(EntryId, Change)> {
        self.pending.iter().find(|(_, (_, change))| wanted(change)).map(|(id, (_, change))| (*id, change.clone()))
    }

    /// Ends the journal, when everything in it was undone or ended with the boot that it was written in.
    pub(crate) fn remove(self) -> Result<(), JournalError> {
        std::fs::remove_file(&self.path).map_err(|cause| JournalError::Io { attempt: "remove", path: self.path, cause })
    }

    fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let io = |cause| JournalError::Io { attempt: "write", path: self.path.clone(), cause };
        self.file.write_all(line(record).as_bytes()).map_err(io)?;
        self.lines += 1;
        Ok(())
    }

    /// Rewrites the file without what was crossed out; the old one stands until the new one is whole.
    fn compact(&mut self) -> Result<(), JournalError> {
        let io = |cause| JournalError::Io { attempt: "compact", path: self.path.clone(), cause };
        let fresh = fresh(&self.path);
        let mut text = line(&Record::Header(self.header.clone()));
        for (id, (scope, change)) in &self.pending {
            text += &line(&Record::Made { id: *id, scope: scope.clone(), change: change.clone() });
        }
        match std::fs::remove_file(&fresh) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(io(cause)),
            _ => {}
        }
        let mut file = open_new(&fresh).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        std::fs::rename(&fresh, &self.path).map_err(io)?;
        self.file = file;
        self.lines = 1 + self.pending.len();
        Ok(())
    }
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// Where a journal is written anew.
fn fresh(journal: &Path) -> PathBuf {
    journal.with_extension("journal.new")
}

fn line(record: &Record) -> String {
    let json = serde_json::to_string(record).expect("records hold nothing that JSON cannot");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// The records of a journal's text, and how many bytes of it are whole lines. `Err` names the damaged line.
fn parse(text: &[u8]) -> Result<(Vec<Record>, usize), (usize, String)> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut records = Vec::new();
    for (at, line) in text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let fail = |why: &str| (at + 1, why.to_owned());
        let line = std::str::from_utf8(line).map_err(|_| fail("not text"))?.trim_end_matches('\n');
        let (sum, json) = line.split_once(' ').ok_or_else(|| fail("no checksum"))?;
        let sum = u32::from_str_radix(sum, 16).map_err(|_| fail("no checksum"))?;
        if sum != crc32fast::hash(json.as_bytes()) {
            return Err(fail("its checksum is wrong"));
        }
        records.push(serde_json::from_str(json).map_err(|error| fail(&error.to_string()))?);
    }
    Ok((records, whole))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// Without what each was made for.
    fn only(pending: Vec<(EntryId, Scope, Change)>) -> Vec<(EntryId, Change)> {
        pending.into_iter().map(|(id, _, change)| (id, change)).collect()
    }

    fn header() -> Header {
        Header { version: VERSION, instance: "test".into(), boot: "boot".into(), namespace: (4, 7), cookie: 1 }
    }

    fn eth(n: u32) -> DeviceName {
        format!("eth{n}").parse().unwrap()
    }

    fn offload(n: u32) -> Change {
        let index = IfIndex::new(n + 1).unwrap();
        Change::Offload { device: eth(n), index, feature: "rx-vlan-hw-parse".into(), was: true }
    }

    #[test]
    fn a_reader_finds_what_was_made_and_not_undone_newest_first() {
        let folder = folder();
        let path = folder.path().join("journal");
        let mut journal = Journal::create(&path, header()).unwrap();
        let first = journal.announce(Scope::Instance, Change::Namespace).unwrap();
        let second = journal.announce(Scope::Uplink { device: eth(0) }, offload(0)).unwrap();
        let port = Scope::Port { device: eth(0), port: 3 };
        let third = journal.announce(port.clone(), offload(1)).unwrap();
        journal.cross_out(second).unwrap();
        drop(journal);

        let found = Journal::load(&path).unwrap().unwrap();
        assert_eq!(found.header(), &header());
        assert_eq!(only(found.pending(&Scope::Instance)), [(third, offload(1)), (first, Change::Namespace)]);
        assert_eq!(only(found.pending(&Scope::Uplink { device: eth(0) })), [(third, offload(1))]);
        assert_eq!(only(found.pending(&Scope::Uplink { device: eth(1) })), []);
        assert_eq!(only(found.pending(&port)), [(third, offload(1))]);
    }

    #[test]
    fn whose_a_journal_is_can_be_read_while_another_writes_it() {
        let folder = folder();
        let path = folder.path().join("journal");
        assert!(Journal::header_at(&path).unwrap().is_none());
        std::fs::write(&path, "").unwrap();
        assert!(Journal::header_at(&path).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        let mut journal = Journal::create(&path, header()).unwrap();
        journal.announce(Scope::Instance, Change::Namespace).unwrap();
        let torn = [std::fs::read(&path).unwrap(), b"0123".into()].concat();
        std::fs::write(&path, &torn).unwrap();
        assert_eq!(Journal::header_at(&path).unwrap(), Some(header()));
        assert_eq!(std::fs::read(&path).unwrap(), torn);
        std::fs::write(&path, "00000000 {}\n").unwrap();
        assert!(matches!(Journal::header_at(&path), Err(JournalError::Damaged { line: 1, .. })));
    }

    #[test]
    fn a_torn_last_line_is_as_if_it_had_not_been_written() {
        let folder = folder();
        let path = folder.path().join("journal");
        let mut journal = Journal::create(&path, header()).unwrap();
        journal.announce(Scope::Instance, Change::Namespace).unwrap();
        journal.announce(Scope::Instance, offload(0)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in last..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut found = Journal::load(&path).unwrap().unwrap();
            assert_eq!(found.pending(&Scope::Instance).len(), 1, "cut at {cut}");
            found.announce(Scope::Instance, offload(2)).unwrap();
            assert_eq!(Journal::load(&path).unwrap().unwrap().pending(&Scope::Instance).len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn a_crash_before_the_header_was_whole_leaves_no_journal() {
        let folder = folder();
        let path = folder.path().join("journal");
        let text = line(&Record::Header(header()));
        for cut in 0..text.len() {
            std::fs::write(&path, &text.as_bytes()[..cut]).unwrap();
            assert!(Journal::load(&path).unwrap().is_none(), "cut at {cut}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn every_flipped_bit_before_the_last_line_is_damage_with_its_line() {
        let folder = folder();
        let path = folder.path().join("journal");
        let mut journal = Journal::create(&path, header()).unwrap();
        journal.announce(Scope::Instance, Change::Namespace).unwrap();
        journal.announce(Scope::Instance, offload(0)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let second_ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0;
        for at in 0..second_ends {
            let mut bent = whole.clone();
            bent[at] ^= 0x10;
            std::fs::write(&path, &bent).unwrap();
            let error = Journal::load(&path).unwrap_err();
            assert!(matches!(error, JournalError::Damaged { line: 1..=3, .. }), "byte {at}: {error}");
        }
    }

    #[test]
    fn records_that_contradict_each_other_are_damage() {
        let folder = folder();
        let path = folder.path().join("journal");
        let head = line(&Record::Header(header()));
        let made = line(&Record::Made { id: EntryId(1), scope: Scope::Instance, change: Change::Namespace });
        let undone = line(&Record::Undone { id: EntryId(1) });
        let cases = [
            ("no header", made.clone(), 1),
            ("two headers", format!("{head}{head}"), 2),
            ("undone before made", format!("{head}{undone}{made}"), 2),
            ("undone twice", format!("{head}{made}{undone}{undone}"), 4),
            ("made twice", format!("{head}{made}{made}"), 3),
            ("another version", line(&Record::Header(Header { version: 9, ..header() })), 1),
        ];
        for (name, text, at) in cases {
            std::fs::write(&path, text).unwrap();
            match Journal::load(&path) {
                Err(JournalError::Damaged { line, .. }) => assert_eq!(line, at, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_long_life_does_not_grow_the_file_without_bound() {
        let folder = folder();
        let path = folder.path().join("journal");
        let mut journal = Journal::create(&path, header()).unwrap();
        journal.announce(Scope::Instance, Change::Namespace).unwrap();
        for n in 0..10_000 {
            let id = journal.announce(Scope::Instance, offload(n)).unwrap();
            journal.cross_out(id).unwrap();
        }
        assert!(journal.lines <= COMPACT_AT);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let found = Journal::load(&path).unwrap().unwrap();
        assert_eq!(only(found.pending(&Scope::Instance)), [(EntryId(1), Change::Namespace)]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

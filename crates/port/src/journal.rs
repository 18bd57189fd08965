//! The journal: every change to the host is written here before it is made, and crossed out once it is undone.
//!
//! One file an instance, one record a line: eight hex digits of CRC-32, a space, the record as JSON. It is written with
//! plain `write(2)`: what has to be undone lives in the kernel and ends with it, so the journal has to survive a killed
//! process, not a power cut, and the boot's id in its first line distinguishes the two.
//!
//! An uplink and a port have a record of their own, written before the first change for them and crossed out after the
//! last; its number is the key of their scope. A release reads its own version and the one before, which it rewrites;
//! what a newer release of the same version wrote and this one does not know stays in the file as it is.

mod line;
mod records;
mod v1;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use xsknet_link::DeviceName;

pub use line::Change;
pub(crate) use line::{EntryId, Header, PortClaim, PortRecord, Scope};

use line::{Line, NoHeader, Record, VERSION, json, read_header, sealed, unsealed};
use records::Records;

/// Crossed-out records are dropped from the file once it has this many lines.
const COMPACT_AT: usize = 4096;

/// Why a journal could not be read or written, or not be followed.
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
    /// A newer release wrote it.
    #[error("the journal {} has version {found}; this release reads up to version {known}", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest that this release reads.
        known: u32,
    },
    /// A newer release made a change that this one cannot undo.
    #[error("this release does not know the record `{name}` of the journal")]
    Unknown {
        /// The word for it.
        name: String,
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
    records: Records,
    lines: usize,
}

impl Journal {
    /// Begins a journal where there is none.
    pub(crate) fn create(path: &Path, header: Header) -> Result<Self, JournalError> {
        let io = |cause| JournalError::Io { attempt: "create", path: path.into(), cause };
        let file = open_new(path).map_err(io)?;
        let mut journal = Self { path: path.into(), file, header, records: Records::default(), lines: 0 };
        journal.append(&Record::Header(journal.header.clone()))?;
        Ok(journal)
    }

    /// Reads what an earlier run left; `None` where it left nothing. What the release before wrote is rewritten.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, JournalError> {
        let io = |attempt| move |cause| JournalError::Io { attempt, path: path.into(), cause };
        let mut file = match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("open")(error)),
        };
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io("read"))?;
        let whole = whole(&text);
        let read = match whole.split_inclusive(|byte| *byte == b'\n').next() {
            Some(first) => {
                let header = header(path, first)?;
                Some((read(path, whole, header.version)?, header))
            }
            None => None,
        };
        // A torn last line announced a change that was not made yet: nothing follows from it, and it must not end up
        // in the middle of the file.
        file.set_len(whole.len() as u64).map_err(io("mend the end of"))?;
        match std::fs::remove_file(fresh(path)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove the unfinished copy of")(cause));
            }
            _ => {}
        }
        let Some(((records, lines), header)) = read else {
            std::fs::remove_file(path).map_err(io("remove"))?;
            return Ok(None);
        };
        let is_old = header.version < VERSION;
        let header = Header { version: VERSION, ..header };
        let mut journal = Self { path: path.into(), file, header, records, lines };
        if is_old {
            journal.rewrite()?;
        }
        Ok(Some(journal))
    }

    /// Whose journal a file is, without changing anything; `None` where there is none, or it is not begun.
    pub(crate) fn header_at(path: &Path) -> Result<Option<Header>, JournalError> {
        let io = |cause| JournalError::Io { attempt: "read", path: path.into(), cause };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let first = whole(&text).split_inclusive(|byte| *byte == b'\n').next();
        first.map(|first| header(path, first)).transpose()
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Writes an uplink down, for which changes can be made from now on.
    pub(crate) fn open_uplink(&mut self, device: DeviceName) -> Result<Scope, JournalError> {
        let id = self.records.next();
        self.write(Record::Uplink { id, device })?;
        Ok(Scope::Uplink { key: id })
    }

    /// Writes a port of an open uplink down, for which changes can be made from now on.
    pub(crate) fn open_port(&mut self, uplink: EntryId, port: PortRecord) -> Result<Scope, JournalError> {
        let id = self.records.next();
        self.write(Record::Port { id, uplink, port })?;
        Ok(Scope::Port { uplink, key: id })
    }

    /// Whether changes can be made for it.
    pub(crate) fn is_open(&self, scope: Scope) -> bool {
        self.records.is_open(scope)
    }

    /// Writes a change down; only then may it be made. Its scope is open.
    pub(crate) fn announce(&mut self, scope: Scope, change: Change) -> Result<EntryId, JournalError> {
        let id = self.records.next();
        self.write(Record::Made { id, scope, change })?;
        Ok(id)
    }

    /// Crosses a change out, after it was undone or when it could not be made.
    pub(crate) fn cross_out(&mut self, id: EntryId) -> Result<(), JournalError> {
        self.write(Record::Undone { id })?;
        if self.lines >= COMPACT_AT && self.records.len() * 2 < self.lines {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Crosses out the records of uplinks and ports that `scope` covers and that are undone completely. Returns which.
    pub(crate) fn close_ended(&mut self, scope: Scope) -> Result<Vec<String>, JournalError> {
        let mut closed = Vec::new();
        while let Some((id, what)) = self.records.ended(scope) {
            self.cross_out(id)?;
            closed.push(what);
        }
        Ok(closed)
    }

    /// What is still to be undone when `scope` ends, the newest first.
    pub(crate) fn pending(&self, scope: Scope) -> Vec<(EntryId, Scope, Change)> {
        self.records.pending(scope)
    }

    /// What a newer release did and this one cannot undo of `scope`: what each was done for, and the word for it.
    pub(crate) fn unknown(&self, scope: Scope) -> Vec<(Scope, String)> {
        self.records.unknown(scope)
    }

    /// The oldest pending change that `wanted` picks.
    pub(crate) fn find(&self, wanted: impl Fn(&Change) -> bool) -> Option<(EntryId, Change)> {
        self.records.find(wanted)
    }

    /// The ports that have a record.
    pub(crate) fn ports(&self) -> Vec<PortRecord> {
        self.records.ports().cloned().collect()
    }

    /// A scope in words.
    pub(crate) fn describe(&self, scope: Scope) -> String {
        self.records.describe(scope)
    }

    /// Ends the journal, when everything in it was undone or ended with the boot that it was written in.
    pub(crate) fn remove(self) -> Result<(), JournalError> {
        std::fs::remove_file(&self.path).map_err(|cause| JournalError::Io { attempt: "remove", path: self.path, cause })
    }

    fn write(&mut self, record: Record) -> Result<(), JournalError> {
        self.append(&record)?;
        self.records.add(record).expect("the next number, for a scope that is open");
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let io = |cause| JournalError::Io { attempt: "write", path: self.path.clone(), cause };
        self.file.write_all(sealed(&json(record)).as_bytes()).map_err(io)?;
        self.lines += 1;
        Ok(())
    }

    /// Rewrites the file without what was crossed out; the old one stands until the new one is whole.
    fn rewrite(&mut self) -> Result<(), JournalError> {
        let io = |cause| JournalError::Io { attempt: "rewrite", path: self.path.clone(), cause };
        let fresh = fresh(&self.path);
        let lines = [vec![json(&Record::Header(self.header.clone()))], self.records.lines()].concat();
        let text: String = lines.iter().map(|json| sealed(json)).collect();
        match std::fs::remove_file(&fresh) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(io(cause)),
            _ => {}
        }
        let mut file = open_new(&fresh).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        std::fs::rename(&fresh, &self.path).map_err(io)?;
        self.file = file;
        self.lines = lines.len();
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

/// A journal's text up to its last whole line.
fn whole(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)]
}

/// What the first line says.
fn header(path: &Path, first: &[u8]) -> Result<Header, JournalError> {
    let found = unsealed(first).map_err(NoHeader::Damaged).and_then(read_header);
    found.map_err(|error| match error {
        NoHeader::Damaged(why) => JournalError::Damaged { path: path.into(), line: 1, why },
        NoHeader::Version(found) => JournalError::Version { path: path.into(), found, known: VERSION },
    })
}

/// What the whole lines amount to, and how many they are.
fn read(path: &Path, whole: &[u8], version: u32) -> Result<(Records, usize), JournalError> {
    let (mut records, mut old, mut lines) = (Records::default(), v1::Pending::default(), 1);
    for (at, line) in whole.split_inclusive(|byte| *byte == b'\n').enumerate().skip(1) {
        let followed = unsealed(line).and_then(|json| match version {
            VERSION => Line::read(json).and_then(|line| records.follow(line)),
            _ => old.follow(json),
        });
        followed.map_err(|why| JournalError::Damaged { path: path.into(), line: at + 1, why })?;
        lines += 1;
    }
    if version < VERSION {
        records = old.converted();
    }
    Ok((records, lines))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::{Strategy, any, prop_oneof};
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use xsknet_link::{FeatureChange, IfIndex};

    use super::*;

    /// As the release before this one wrote it.
    const VERSION_1: &str = include_str!("../tests/fixtures/journal-v1");

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

    fn claimed(device: u32, number: u32, name: &str) -> PortRecord {
        let claim = PortClaim {
            name: name.into(),
            owner: 1000,
            mac: "02:00:00:00:00:01".parse().unwrap(),
            vlan: Some(42),
            addresses: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            queues: 2,
        };
        PortRecord { device: eth(device), number, claim: Some(claim) }
    }

    /// The number of the record that opened it.
    fn key(scope: Scope) -> EntryId {
        scope.key().unwrap()
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
        let uplink = journal.open_uplink(eth(0)).unwrap();
        let second = journal.announce(uplink, offload(0)).unwrap();
        let port = journal.open_port(key(uplink), claimed(0, 3, "web")).unwrap();
        let third = journal.announce(port, offload(1)).unwrap();
        let other = journal.open_uplink(eth(1)).unwrap();
        journal.cross_out(second).unwrap();
        drop(journal);

        let found = Journal::load(&path).unwrap().unwrap();
        assert_eq!(found.header(), &header());
        assert_eq!(only(found.pending(Scope::Instance)), [(third, offload(1)), (first, Change::Namespace)]);
        assert_eq!(only(found.pending(uplink)), [(third, offload(1))]);
        assert_eq!(only(found.pending(other)), []);
        assert_eq!(only(found.pending(port)), [(third, offload(1))]);
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
            assert_eq!(found.pending(Scope::Instance).len(), 1, "cut at {cut}");
            found.announce(Scope::Instance, offload(2)).unwrap();
            assert_eq!(Journal::load(&path).unwrap().unwrap().pending(Scope::Instance).len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn a_crash_before_the_header_was_whole_leaves_no_journal() {
        let folder = folder();
        let path = folder.path().join("journal");
        let text = sealed(&json(&Record::Header(header())));
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
        let line = |record: &Record| sealed(&json(record));
        let head = line(&Record::Header(header()));
        let made = line(&Record::Made { id: EntryId(1), scope: Scope::Instance, change: Change::Namespace });
        let undone = line(&Record::Undone { id: EntryId(1) });
        let made_for = |scope| line(&Record::Made { id: EntryId(7), scope, change: Change::Namespace });
        let port_of = |uplink, key| Scope::Port { uplink: EntryId(uplink), key: EntryId(key) };
        let uplink = line(&Record::Uplink { id: EntryId(1), device: eth(0) });
        let port = Record::Port { id: EntryId(2), uplink: EntryId(1), port: claimed(0, 1, "web") };
        let opened = format!("{head}{uplink}{}", line(&port));
        let cases = [
            ("no header", made.clone(), 1),
            ("two headers", format!("{head}{head}"), 2),
            ("undone before made", format!("{head}{undone}{made}"), 2),
            ("undone twice", format!("{head}{made}{undone}{undone}"), 4),
            ("made twice", format!("{head}{made}{made}"), 3),
            ("no version", line(&Record::Header(Header { version: 0, ..header() })), 1),
            ("a change for nobody", head.clone() + &made_for(Scope::Uplink { key: EntryId(1) }), 2),
            ("a change for a change", format!("{head}{made}") + &made_for(Scope::Uplink { key: EntryId(1) }), 3),
            ("a port as an uplink", opened.clone() + &made_for(Scope::Uplink { key: EntryId(2) }), 4),
            ("a port of another uplink", opened.clone() + &made_for(port_of(1, 1)), 4),
            ("an uplink undone before its port", format!("{opened}{undone}"), 4),
            ("a number from nowhere", head.clone() + &line(&Record::Next { id: EntryId(u64::MAX) }), 2),
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
        assert_eq!(only(found.pending(Scope::Instance)), [(EntryId(1), Change::Namespace)]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_port_is_on_record_from_its_claim_until_all_of_it_is_undone() {
        let folder = folder();
        let path = folder.path().join("journal");
        let mut journal = Journal::create(&path, header()).unwrap();
        let uplink = journal.open_uplink(eth(0)).unwrap();
        let port = journal.open_port(key(uplink), claimed(0, 1, "web")).unwrap();
        let on_record = || Journal::load(&path).unwrap().unwrap().ports();
        assert_eq!(on_record(), [claimed(0, 1, "web")]);
        let changes = [journal.announce(port, offload(1)).unwrap(), journal.announce(port, offload(2)).unwrap()];
        for change in changes {
            assert_eq!(journal.close_ended(Scope::Instance).unwrap(), [""; 0]);
            assert_eq!(on_record(), [claimed(0, 1, "web")]);
            journal.cross_out(change).unwrap();
        }
        assert_eq!(on_record(), [claimed(0, 1, "web")]);
        assert_eq!(journal.close_ended(port).unwrap(), ["port `web` of user 1000 on `eth0`"]);
        assert_eq!(on_record(), []);
        assert!(!journal.is_open(port) && journal.is_open(uplink));

        let again = journal.open_port(key(uplink), claimed(0, 1, "web")).unwrap();
        assert_ne!(again, port);
        let closed = journal.close_ended(uplink).unwrap();
        assert_eq!(closed, ["port `web` of user 1000 on `eth0`", "uplink `eth0`"]);
        assert_ne!(journal.open_uplink(eth(0)).unwrap(), uplink);
    }

    #[test]
    fn a_journal_of_the_version_before_is_read_and_rewritten() {
        let folder = folder();
        let path = folder.path().join("journal");
        std::fs::write(&path, VERSION_1).unwrap();
        std::fs::write(fresh(&path), "as of a start that was killed while it rewrote it").unwrap();
        assert_eq!(Journal::header_at(&path).unwrap().unwrap().cookie, 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), VERSION_1);

        let journal = Journal::load(&path).unwrap().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""record":"header","version":2,"instance":"test""#), "{text}");
        let told = |journal: &Journal, scope| {
            let pending = journal.pending(scope).into_iter().rev();
            pending.map(|(_, scope, change)| (journal.describe(scope), format!("{change:?}"))).collect::<Vec<_>>()
        };
        let expected = [
            ("the instance", "Namespace"),
            ("uplink `eth0`", "Pins { folder: PinPath(\"v1/eth0\") }"),
            (
                "uplink `eth0`",
                "Offload { device: DeviceName(\"eth0\"), index: IfIndex(2), \
                 feature: \"rx-vlan-hw-parse\", was: true }",
            ),
            ("uplink `eth0`", "Attachment { pin: PinPath(\"v1/eth0/uplink-link\") }"),
            (
                "uplink `eth0`",
                "Filter { device: DeviceName(\"eth0\"), index: IfIndex(2), mac: MacAddr([2, 0, 0, 0, 0, 7]) }",
            ),
            (
                "port 2 on `eth0`",
                "Pair { outer: DeviceName(\"xsko2-2\"), inner: DeviceName(\"xski2-2\"), \
                 alias: \"xsknet:test:dns\" }",
            ),
            ("port 2 on `eth0`", "Attachment { pin: PinPath(\"v1/eth0/port-2/guard-link\") }"),
            ("uplink `eth0`", "Vlan { device: DeviceName(\"xsvk2-2a\"), id: 42 }"),
            ("uplink `eth0`", "Promiscuous { device: DeviceName(\"eth0\"), index: IfIndex(2) }"),
        ];
        let expected: Vec<_> = expected.iter().map(|(whose, what)| (whose.to_string(), what.to_string())).collect();
        assert_eq!(told(&journal, Scope::Instance), expected);
        let port = PortRecord { device: eth(0), number: 2, claim: None };
        assert_eq!(journal.ports(), [port]);
        let uplink = journal.pending(Scope::Instance)[0].1;
        assert_eq!(told(&journal, uplink), expected[1..]);

        let mut again = Journal::load(&path).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(told(&again, Scope::Instance), expected);
        for (id, ..) in again.pending(Scope::Instance) {
            again.cross_out(id).unwrap();
        }
        assert_eq!(again.close_ended(Scope::Instance).unwrap(), ["port 2 on `eth0`", "uplink `eth0`"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_or_damaged_journal_of_the_version_before_is_what_it_was() {
        let folder = folder();
        let path = folder.path().join("journal");
        std::fs::write(&path, &VERSION_1[..VERSION_1.len() - 9]).unwrap();
        let found = Journal::load(&path).unwrap().unwrap();
        assert_eq!(found.pending(Scope::Instance).len(), 8, "but the last");

        let ends = [
            ("00000000 {}\n".to_owned(), "its checksum is wrong"),
            (sealed(r#"{"record":"undone","id":99}"#), "change 99 is undone but was not made"),
            (sealed(r#"{"record":"undone","id":12,"more":1}"#), "unknown field"),
            (
                sealed(r#"{"record":"made","id":3,"scope":{"scope":"instance"},"change":{"change":"namespace"}}"#),
                "change 3 after change 12",
            ),
            (
                sealed(r#"{"record":"made","id":13,"scope":{"scope":"instance"},"change":{"change":"new"}}"#),
                "unknown variant `new`",
            ),
            (
                sealed(
                    r#"{"record":"made","id":13,"scope":{"scope":"instance"},"change":{"change":"namespace","x":1}}"#,
                ),
                "more fields",
            ),
        ];
        for (end, told) in ends {
            let text = format!("{VERSION_1}{end}");
            std::fs::write(&path, &text).unwrap();
            match Journal::load(&path) {
                Err(JournalError::Damaged { line, why, .. }) => {
                    assert_eq!(line, VERSION_1.lines().count() + 1);
                    assert!(why.contains(told), "{why}");
                }
                other => panic!("{end}: {other:?}"),
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_journal_of_a_version_to_come_is_refused_by_its_version_whatever_follows() {
        let folder = folder();
        let path = folder.path().join("journal");
        let line = |record: &Record| sealed(&json(record));
        let as_today = line(&Record::Header(Header { version: 9, ..header() }));
        let another = sealed(r#"{"record":"header","version":9,"worlds":["boot"]}"#);
        for text in [as_today.clone(), as_today + "another kind of line\n", another + "00000000 {}\n"] {
            std::fs::write(&path, &text).unwrap();
            for error in [Journal::load(&path).map(drop).unwrap_err(), Journal::header_at(&path).unwrap_err()] {
                assert!(matches!(error, JournalError::Version { found: 9, known: 2, .. }), "{error:?}");
                let hint = error.hint().unwrap();
                assert!(hint.contains("newer release") && hint.contains("reboot"), "{hint}");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    /// Each line of a newer release of this version, with the scope that it keeps from being given out, and its word.
    const NEWER: [(&str, &str, &str); 8] = [
        (
            r#"{"record":"made","id":20,"scope":{"scope":"port","uplink":2,"key":4},"change":{"change":"ring","n":9}}"#,
            "port `web` of user 1000 on `eth0`",
            "ring",
        ),
        (
            r#"{"record":"made","id":21,"scope":{"scope":"uplink","key":2},"change":{"change":"namespace","x":[1.0]}}"#,
            "uplink `eth0`",
            "namespace",
        ),
        (
            r#"{"record":"made","id":22,"scope":{"scope":"group","key":2},"change":{"change":"namespace"}}"#,
            "the instance",
            "namespace",
        ),
        (r#"{"record":"group","id":23,"scope":{"scope":"uplink","key":2}}"#, "uplink `eth0`", "group"),
        (
            r#"{"record":"made","id":24,"scope":{"scope":"port","uplink":2,"key":23},"change":{"change":"ring"}}"#,
            "record 23",
            "ring",
        ),
        (r#"{"record":"note","id":3}"#, "the instance", "note"),
        (r#"{"record":"note","of": [18446744073709551616, "\u00e9"]}"#, "the instance", "note"),
        (
            r#"{"record":"port","id":26,"uplink":2,"port":{"device":"eth0","number":9,"claim":null,"tap":"tap0"}}"#,
            "port 9 on `eth0`",
            "port",
        ),
    ];

    /// What follows stays as it is, too: of an uplink and a port that this release knows.
    fn with_newer(path: &Path) -> Journal {
        let mut journal = Journal::create(path, header()).unwrap();
        journal.announce(Scope::Instance, Change::Namespace).unwrap();
        let uplink = journal.open_uplink(eth(0)).unwrap();
        journal.announce(uplink, offload(0)).unwrap();
        let port = journal.open_port(key(uplink), claimed(0, 1, "web")).unwrap();
        let other = journal.open_port(key(uplink), claimed(0, 2, "dns")).unwrap();
        for scope in [port, other] {
            journal.announce(scope, offload(1)).unwrap();
        }
        let newer: String = NEWER.iter().map(|(json, ..)| sealed(json)).collect();
        let text = std::fs::read_to_string(path).unwrap() + &newer;
        std::fs::write(path, text).unwrap();
        Journal::load(path).unwrap().unwrap()
    }

    /// The unknown ones: what each is of, and its word.
    fn unknown(journal: &Journal) -> Vec<(String, String)> {
        let unknown = journal.unknown(Scope::Instance).into_iter();
        let mut unknown: Vec<_> = unknown.map(|(scope, name)| (journal.describe(scope), name)).collect();
        unknown.sort();
        unknown
    }

    #[test]
    fn what_a_newer_release_did_is_kept_and_is_in_the_way_of_its_own_scope_alone() {
        let folder = folder();
        let path = folder.path().join("journal");
        let mut journal = with_newer(&path);
        let mut expected: Vec<_> = NEWER.iter().map(|(_, whose, name)| (whose.to_string(), name.to_string())).collect();
        expected.sort();
        assert_eq!(unknown(&journal), expected);
        let changes = journal.pending(Scope::Instance);
        assert_eq!(changes.len(), 4, "those that are known");
        for (id, ..) in changes {
            journal.cross_out(id).unwrap();
        }
        // The uplink and `web` have something that is not undone; so has the port that is not wholly known.
        assert_eq!(journal.close_ended(Scope::Instance).unwrap(), ["port `dns` of user 1000 on `eth0`"]);
        let left = [claimed(0, 1, "web"), PortRecord { device: eth(0), number: 9, claim: None }];
        assert_eq!(journal.ports(), left);
        let found = Journal::load(&path).unwrap().unwrap();
        assert_eq!(found.ports(), left);
        assert_eq!(unknown(&found), expected);
        assert_eq!(found.records.next(), EntryId(27), "their numbers are used up");
    }

    #[test]
    fn what_a_newer_release_did_survives_compaction_word_for_word() {
        let folder = folder();
        let path = folder.path().join("journal");
        let mut journal = with_newer(&path);
        let expected = unknown(&journal);
        for round in 0..2 {
            for n in 0..10_000 {
                let id = journal.announce(Scope::Instance, offload(n)).unwrap();
                journal.cross_out(id).unwrap();
            }
            assert!(journal.lines <= COMPACT_AT);
            journal.rewrite().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            for (json, ..) in NEWER {
                assert_eq!(text.matches(&sealed(json)).count(), 1, "{json} in round {round}:\n{text}");
            }
            assert_eq!(text.lines().count(), journal.lines);
            journal = Journal::load(&path).unwrap().unwrap();
            assert_eq!(unknown(&journal), expected);
            assert_eq!(journal.records.next(), EntryId(27 + 10_000 * (round + 1)));
        }
    }

    /// The newer release comes back and undoes what it did.
    #[test]
    fn a_record_that_is_not_known_can_be_crossed_out() {
        let folder = folder();
        let path = folder.path().join("journal");
        drop(with_newer(&path));
        let undone: String =
            [20, 24, 23].iter().map(|id| sealed(&format!(r#"{{"record":"undone","id":{id}}}"#))).collect();
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + &undone).unwrap();
        let names: Vec<_> =
            unknown(&Journal::load(&path).unwrap().unwrap()).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["port", "namespace", "note", "note", "namespace"].map(String::from), "{names:?}");
    }

    /// Words that are known and mean nothing are no newer release's.
    #[test]
    fn a_line_of_known_words_that_means_nothing_is_damage() {
        let folder = folder();
        let path = folder.path().join("journal");
        let head = sealed(&json(&Record::Header(header())));
        for (json, told) in [
            (
                r#"{"record":"made","id":1,"scope":{"scope":"instance"},"change":{"change":"pins","folder":"../x"}}"#,
                "leaves the folder of pins",
            ),
            (r#"{"record":"made","id":1,"scope":{"scope":"instance"},"change":{"change":"pins"}}"#, "missing field"),
            (r#"{"record":"made","id":1,"scope":{"scope":"port"},"change":{"change":"namespace"}}"#, "missing field"),
            (r#"{"record":"undone","id":"one"}"#, "invalid type"),
            (r#"{"record":1}"#, "invalid type"),
            (r#"{}"#, "missing field `record`"),
            ("[]", "not a record"),
            (r#"["undone",1]"#, "not a record"),
            ("nonsense", "expected ident"),
        ] {
            std::fs::write(&path, format!("{head}{}", sealed(json))).unwrap();
            match Journal::load(&path) {
                Err(JournalError::Damaged { line: 2, why, .. }) => assert!(why.contains(told), "{json}: {why}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_word_that_this_release_writes_is_known_to_it() {
        let (device, index, pin) = (eth(0), IfIndex::new(2).unwrap(), serde_json::from_str(r#""v1/eth0""#));
        let pin: crate::paths::PinPath = pin.unwrap();
        let changes = [
            Change::Namespace,
            Change::Pins { folder: pin.clone() },
            Change::Attachment { pin },
            Change::Pair { outer: eth(1), inner: eth(2), alias: "xsknet:test:web".into() },
            offload(1),
            Change::Offloads { device: eth(1), index, were: vec![FeatureChange { name: "a".into(), was: true }] },
            Change::Filter { device: eth(1), index, mac: "02:00:00:00:00:01".parse().unwrap() },
            Change::Vlan { device: eth(1), id: 42 },
            Change::Promiscuous { device: eth(1), index },
        ];
        let (id, uplink) = (EntryId(1), EntryId(1));
        let scopes = [Scope::Instance, Scope::Uplink { key: uplink }, Scope::Port { uplink, key: id }];
        let made = changes
            .iter()
            .flat_map(|change| scopes.iter().map(|scope| Record::Made { id, scope: *scope, change: change.clone() }));
        let others = [
            Record::Header(header()),
            Record::Next { id },
            Record::Uplink { id, device },
            Record::Port { id, uplink, port: claimed(0, 1, "web") },
            Record::Port { id, uplink, port: PortRecord { claim: None, ..claimed(0, 1, "web") } },
            Record::Undone { id },
        ];
        for record in made.chain(others) {
            let text = json(&record);
            assert_eq!(Line::read(&text), Ok(Line::Known(record)), "{text}");
            // Each of its words is in the lists: with a value that does not fit it is damaged, not new.
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            for (of, words) in [("record", &line::RECORDS[..]), ("scope", &line::SCOPES), ("change", &line::CHANGES)] {
                let word = if of == "record" { &value[of] } else { &value[of][of] };
                assert!(word.is_null() || words.contains(&word.as_str().unwrap()), "{word}");
            }
        }
    }

    /// What can happen to a journal; numbers pick one of those that are open.
    #[derive(Debug, Clone)]
    enum Event {
        OpenUplink,
        OpenPort(usize),
        Make(usize),
        Undo(usize),
        /// All of a scope is undone.
        Close(usize),
        Compact,
        /// The process ends in the middle of writing a record, so much of which is in the file.
        Crash(usize),
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            1 => any::<bool>().prop_map(|_| Event::OpenUplink),
            3 => any::<usize>().prop_map(Event::OpenPort),
            4 => any::<usize>().prop_map(Event::Make),
            3 => any::<usize>().prop_map(Event::Undo),
            3 => any::<usize>().prop_map(Event::Close),
            1 => any::<bool>().prop_map(|_| Event::Compact),
            2 => (0..90_usize).prop_map(Event::Crash),
        ]
    }

    fn pick<T: Copy>(from: &[T], n: usize) -> Option<T> {
        from.get(n.checked_rem(from.len())?).copied()
    }

    proptest! {
        #[test]
        fn no_number_is_given_twice_whatever_happens(events in proptest::collection::vec(events(), 1..120)) {
            let folder = folder();
            let path = folder.path().join("journal");
            let mut journal = Journal::create(&path, header()).unwrap();
            let mut given = HashSet::new();
            let mut scopes: Vec<Scope> = Vec::new();
            let mut made: BTreeMap<EntryId, Scope> = BTreeMap::new();
            for event in events {
                let uplinks: Vec<_> = scopes.iter().copied().filter(|it| matches!(it, Scope::Uplink { .. })).collect();
                let changes: Vec<_> = made.keys().copied().collect();
                match event {
                    Event::OpenUplink => {
                        let scope = journal.open_uplink(eth(0)).unwrap();
                        prop_assert!(given.insert(key(scope)));
                        scopes.push(scope);
                    }
                    Event::OpenPort(n) => {
                        if let Some(uplink) = pick(&uplinks, n) {
                            let scope = journal.open_port(key(uplink), claimed(0, 1, "web")).unwrap();
                            prop_assert!(given.insert(key(scope)));
                            scopes.push(scope);
                        }
                    }
                    Event::Make(n) => {
                        let scope = pick(&scopes, n).unwrap_or(Scope::Instance);
                        let id = journal.announce(scope, offload(1)).unwrap();
                        prop_assert!(given.insert(id));
                        made.insert(id, scope);
                    }
                    Event::Undo(n) => {
                        if let Some(id) = pick(&changes, n) {
                            journal.cross_out(id).unwrap();
                            made.remove(&id);
                        }
                    }
                    Event::Close(n) => {
                        if let Some(scope) = pick(&scopes, n) {
                            for (id, ..) in journal.pending(scope) {
                                journal.cross_out(id).unwrap();
                                made.remove(&id);
                            }
                            journal.close_ended(scope).unwrap();
                            scopes.retain(|it| !scope.covers(*it));
                        }
                    }
                    Event::Compact => journal.rewrite().unwrap(),
                    Event::Crash(written) => {
                        drop(journal);
                        let torn = sealed(r#"{"record":"uplink","id":18446744073709551615,"device":"eth0"}"#);
                        let torn = &torn.as_bytes()[..written.min(torn.len() - 1)];
                        std::fs::write(&path, [&std::fs::read(&path).unwrap(), torn].concat()).unwrap();
                        journal = Journal::load(&path).unwrap().unwrap();
                    }
                }
                prop_assert_eq!(journal.pending(Scope::Instance).len(), made.len());
                let ports = scopes.iter().filter(|it| matches!(it, Scope::Port { .. })).count();
                prop_assert_eq!(journal.ports().len(), ports);
                prop_assert!(scopes.iter().all(|scope| journal.is_open(*scope)));
                for (id, scope) in &made {
                    prop_assert!(journal.pending(*scope).iter().any(|(its, ..)| its == id));
                }
            }
        }
    }
}

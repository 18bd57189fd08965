//! The state that the lines of a journal describe: what is still to be undone, for which instance, uplink or port, and
//! what this release cannot undo.

use std::collections::BTreeMap;

use xsknet_link::DeviceName;

use super::line::{Change, EntryId, Line, PortRecord, Record, Scope, Unknown, json};

/// No journal counts that far: one that does, is not ours.
const LAST: u64 = u64::MAX / 2;

/// What was written and not crossed out.
#[derive(Debug)]
pub(super) struct Records {
    entries: BTreeMap<EntryId, Entry>,
    /// Lines of newer releases that have no number of their own, each with the first number after it.
    unnumbered: Vec<(EntryId, Entry)>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    scope: Scope,
    body: Body,
    /// The line of a newer release, which stays as it is.
    verbatim: Option<String>,
}

#[derive(Debug)]
enum Body {
    Uplink(DeviceName),
    Port(PortRecord),
    Change(Change),
    /// The word for it.
    Unknown(String),
}

impl Default for Records {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), unnumbered: Vec::new(), next: 1 }
    }
}

impl Records {
    /// Follows one more line; `Err` where it contradicts those before.
    pub(super) fn follow(&mut self, line: Line) -> Result<(), String> {
        match line {
            Line::Known(record) => self.add(record),
            Line::Unknown(Unknown { record: Some(record), id: Some(id), json, .. }) => {
                self.add(record)?;
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.verbatim = Some(json);
                }
                Ok(())
            }
            Line::Unknown(Unknown { id, scope, name, json, .. }) => {
                // Of a scope that is not known, too: the instance's waits for all.
                let scope = if self.is_open(scope) { scope } else { Scope::Instance };
                let entry = Entry { scope, body: Body::Unknown(name), verbatim: Some(json) };
                match id {
                    Some(id) if id.0 >= self.next => self.insert(id, entry),
                    _ => {
                        self.unnumbered.push((EntryId(self.next), entry));
                        Ok(())
                    }
                }
            }
        }
    }

    /// Follows a record that this release knows.
    pub(super) fn add(&mut self, record: Record) -> Result<(), String> {
        let entry = |scope, body| Entry { scope, body, verbatim: None };
        match record {
            Record::Header(_) => Err("a second header".into()),
            Record::Next { id } if id.0 > LAST => Err(format!("no journal has {id} records")),
            Record::Next { id } => {
                self.next = self.next.max(id.0);
                Ok(())
            }
            Record::Uplink { id, device } => self.insert(id, entry(Scope::Uplink { key: id }, Body::Uplink(device))),
            Record::Port { id, uplink, port } => {
                if !self.is_open(Scope::Uplink { key: uplink }) {
                    return Err(format!("{port} has no uplink {uplink}"));
                }
                self.insert(id, entry(Scope::Port { uplink, key: id }, Body::Port(port)))
            }
            Record::Made { id, scope, change } => {
                if !self.is_open(scope) {
                    return Err(format!("change {id} is made for {scope:?}, which is not open"));
                }
                self.insert(id, entry(scope, Body::Change(change)))
            }
            Record::Undone { id } => {
                let Some(entry) = self.entries.get(&id) else {
                    return Err(format!("change {id} is undone but was not made"));
                };
                if entry.scope.key() == Some(id) && !self.is_empty(entry.scope) {
                    return Err(format!("{} is undone but not all of it", self.describe(entry.scope)));
                }
                self.entries.remove(&id);
                Ok(())
            }
        }
    }

    fn insert(&mut self, id: EntryId, entry: Entry) -> Result<(), String> {
        if id.0 < self.next {
            return Err(format!("change {id} after change {}", self.next - 1));
        }
        if id.0 > LAST {
            return Err(format!("no journal has {id} records"));
        }
        self.next = id.0 + 1;
        self.entries.insert(id, entry);
        Ok(())
    }

    /// The number of the next record.
    pub(super) fn next(&self) -> EntryId {
        EntryId(self.next)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.unnumbered.len()
    }

    /// Whether changes can be made for it.
    pub(super) fn is_open(&self, scope: Scope) -> bool {
        let Some(key) = scope.key() else { return true };
        self.entries.get(&key).is_some_and(|entry| match entry.body {
            Body::Uplink(_) | Body::Port(_) => entry.scope == scope,
            Body::Change(_) => false,
            Body::Unknown(_) => true,
        })
    }

    fn all(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        let unnumbered = self.unnumbered.iter().map(|(id, entry)| (*id, entry));
        self.entries.iter().map(|(id, entry)| (*id, entry)).chain(unnumbered)
    }

    /// Whether nothing but its own record is left of a scope.
    fn is_empty(&self, scope: Scope) -> bool {
        let is_own = |id, entry: &Entry| scope.key() == Some(id) && entry.verbatim.is_none();
        !self.all().any(|(id, entry)| scope.covers(entry.scope) && !is_own(id, entry))
    }

    /// The changes of a scope, the newest first.
    pub(super) fn pending(&self, scope: Scope) -> Vec<(EntryId, Scope, Change)> {
        let changes = self.entries.iter().rev().filter_map(|(id, entry)| match &entry.body {
            Body::Change(change) if scope.covers(entry.scope) => Some((*id, entry.scope, change.clone())),
            _ => None,
        });
        changes.collect()
    }

    /// What this release cannot undo of a scope: each with the word for it.
    pub(super) fn unknown(&self, scope: Scope) -> Vec<(Scope, String)> {
        let kept = self.all().filter(|(_, entry)| entry.verbatim.is_some() && scope.covers(entry.scope));
        let word = |body: &Body| match body {
            Body::Uplink(_) => "uplink".to_owned(),
            Body::Port(_) => "port".to_owned(),
            Body::Change(change) => format!("{change:?}"),
            Body::Unknown(name) => name.clone(),
        };
        kept.map(|(_, entry)| (entry.scope, word(&entry.body))).collect()
    }

    pub(super) fn find(&self, wanted: impl Fn(&Change) -> bool) -> Option<(EntryId, Change)> {
        self.entries.iter().find_map(|(id, entry)| match &entry.body {
            Body::Change(change) if wanted(change) => Some((*id, change.clone())),
            _ => None,
        })
    }

    /// The innermost scope that `scope` covers and that has nothing left but its own record.
    pub(super) fn ended(&self, scope: Scope) -> Option<(EntryId, String)> {
        let mut newest = self.entries.iter().rev();
        let ended = |(id, entry): &(&EntryId, &Entry)| {
            entry.scope.key() == Some(**id) && scope.covers(entry.scope) && self.is_empty(entry.scope)
        };
        newest.find(ended).map(|(id, entry)| (*id, self.describe(entry.scope)))
    }

    /// The ports that have a record.
    pub(super) fn ports(&self) -> impl Iterator<Item = &PortRecord> {
        self.entries.values().filter_map(|entry| match &entry.body {
            Body::Port(port) => Some(port),
            _ => None,
        })
    }

    /// A scope in words.
    pub(super) fn describe(&self, scope: Scope) -> String {
        match scope.key().map(|key| (key, self.entries.get(&key))) {
            None => "the instance".into(),
            Some((_, Some(Entry { body: Body::Uplink(device), .. }))) => format!("uplink `{device}`"),
            Some((_, Some(Entry { body: Body::Port(port), .. }))) => port.to_string(),
            Some((key, _)) => format!("record {key}"),
        }
    }

    /// The lines that amount to the same, without what was crossed out.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.unnumbered.iter().map(|(id, entry)| (*id, line(*id, entry))).collect();
        lines.extend(self.entries.iter().map(|(id, entry)| (*id, line(*id, entry))));
        // Stable: one without a number stays before the first number after it.
        lines.sort_by_key(|(id, _)| *id);
        let next = json(&Record::Next { id: EntryId(self.next) });
        lines.into_iter().map(|(_, line)| line).chain([next]).collect()
    }
}

fn line(id: EntryId, entry: &Entry) -> String {
    if let Some(verbatim) = &entry.verbatim {
        return verbatim.clone();
    }
    json(&match (&entry.body, entry.scope) {
        (Body::Uplink(device), _) => Record::Uplink { id, device: device.clone() },
        (Body::Port(port), Scope::Port { uplink, .. }) => Record::Port { id, uplink, port: port.clone() },
        (Body::Change(change), scope) => Record::Made { id, scope, change: change.clone() },
        (Body::Port(_) | Body::Unknown(_), _) => unreachable!("a port has its own scope, and the unknown its line"),
    })
}

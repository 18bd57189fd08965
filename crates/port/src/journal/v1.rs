//! Reads version 1, in which a port was known by a number that another one got after it, and nothing else of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xsknet_link::DeviceName;

use super::line::{self, Change, PortRecord};
use super::records::Records;

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case", deny_unknown_fields)]
enum Record {
    Made { id: u64, scope: Scope, change: Change },
    Undone { id: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case", deny_unknown_fields)]
enum Scope {
    Instance,
    Uplink { device: DeviceName },
    Port { device: DeviceName, port: u32 },
}

/// The changes of a journal of version 1 that are pending.
#[derive(Default)]
pub(super) struct Pending {
    changes: BTreeMap<u64, (Scope, Change)>,
    last: u64,
}

impl Pending {
    /// Follows one more line behind the header. No release writes version 1 any more, so that nothing in it is unknown.
    pub(super) fn follow(&mut self, json: &str) -> Result<(), String> {
        let damaged = |error: serde_json::Error| error.to_string();
        let value: Value = serde_json::from_str(json).map_err(damaged)?;
        if value["record"] == "header" {
            return Err("a second header".into());
        }
        let record: Record = serde_json::from_value(value.clone()).map_err(damaged)?;
        if !serde_json::to_value(&record).is_ok_and(|known| known == value) {
            return Err("it has more fields than version 1 knows".into());
        }
        match record {
            Record::Made { id, .. } if id <= self.last => Err(format!("change {id} after change {}", self.last)),
            Record::Made { id, scope, change } => {
                self.last = id;
                self.changes.insert(id, (scope, change));
                Ok(())
            }
            Record::Undone { id } => match self.changes.remove(&id) {
                Some(_) => Ok(()),
                None => Err(format!("change {id} is undone but was not made")),
            },
        }
    }

    /// The same in today's records, in the same order, with a record for each uplink and port that they were made for.
    pub(super) fn converted(self) -> Records {
        let mut today = Conversion::default();
        for (scope, change) in self.changes.into_values() {
            let scope = today.open(scope);
            today.add(line::Record::Made { id: today.records.next(), scope, change });
        }
        today.records
    }
}

#[derive(Default)]
struct Conversion {
    records: Records,
    keys: BTreeMap<Scope, line::Scope>,
}

impl Conversion {
    fn add(&mut self, record: line::Record) {
        self.records.add(record).expect("the next number, for a scope that is open");
    }

    /// The scope of today that stands for an old one.
    fn open(&mut self, scope: Scope) -> line::Scope {
        if let Some(known) = self.keys.get(&scope) {
            return *known;
        }
        let opened = match &scope {
            Scope::Instance => line::Scope::Instance,
            Scope::Uplink { device } => {
                let id = self.records.next();
                self.add(line::Record::Uplink { id, device: device.clone() });
                line::Scope::Uplink { key: id }
            }
            Scope::Port { device, port } => {
                let line::Scope::Uplink { key: uplink } = self.open(Scope::Uplink { device: device.clone() }) else {
                    unreachable!("an uplink's scope stands for an uplink's")
                };
                let id = self.records.next();
                let port = PortRecord { device: device.clone(), number: *port, claim: None };
                self.add(line::Record::Port { id, uplink, port });
                line::Scope::Port { uplink, key: id }
            }
        };
        self.keys.insert(scope, opened);
        opened
    }
}

//! What the lines of a journal say: their types, their text, and which of them this release does not know.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xsknet_link::{DeviceName, FeatureChange, IfIndex, MacAddr};

use crate::paths::PinPath;

/// Of what this release writes. It reads the version before, too.
pub(super) const VERSION: u32 = 2;

/// One change to the host, with all that is needed to take it back, and to see that it is still ours to take back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
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
///
/// An uplink and a port are known by the number of the record that opened them: another uplink of the same NIC, and
/// another port of the same number, have other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "snake_case")]
pub enum Scope {
    /// The instance itself.
    Instance,
    /// One uplink.
    Uplink { key: EntryId },
    /// One port of an uplink.
    Port { uplink: EntryId, key: EntryId },
}

impl Scope {
    /// Whether closing `self` also closes `other`.
    pub(super) fn covers(self, other: Scope) -> bool {
        match (self, other) {
            (Scope::Instance, _) => true,
            (Scope::Uplink { key }, Scope::Port { uplink, .. }) => key == uplink,
            _ => self == other,
        }
    }

    /// The record that opened it; an instance's is the journal itself.
    pub(crate) fn key(self) -> Option<EntryId> {
        match self {
            Scope::Instance => None,
            Scope::Uplink { key } | Scope::Port { key, .. } => Some(key),
        }
    }
}

/// Numbers a record of the journal. No number is used twice while there is a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId(pub(super) u64);

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first line: whose journal this is, and in which world its names mean something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub(super) version: u32,
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

/// A port, from the moment that it is claimed until all of it is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortRecord {
    /// The NIC of its uplink.
    pub(crate) device: DeviceName,
    /// Its number among the uplink's ports: devices and pins go by it.
    pub(crate) number: u32,
    /// What it has; `None` where the version of the journal that recorded it did not record that.
    pub(crate) claim: Option<PortClaim>,
}

/// What a port has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PortClaim {
    pub(crate) name: String,
    /// Its user.
    pub(crate) owner: u32,
    pub(crate) mac: MacAddr,
    pub(crate) vlan: Option<u16>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) queues: u32,
}

impl fmt::Display for PortRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.claim {
            Some(PortClaim { name, owner, .. }) => write!(f, "port `{name}` of user {owner} on `{}`", self.device),
            None => write!(f, "port {} on `{}`", self.number, self.device),
        }
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    Header(Header),
    /// All lower numbers are used up, also where no record of theirs is left.
    Next {
        id: EntryId,
    },
    /// Opens the scope of an uplink.
    Uplink {
        id: EntryId,
        device: DeviceName,
    },
    /// Opens the scope of a port.
    Port {
        id: EntryId,
        uplink: EntryId,
        port: PortRecord,
    },
    Made {
        id: EntryId,
        scope: Scope,
        change: Change,
    },
    /// Crosses out any of the three above.
    Undone {
        id: EntryId,
    },
}

/// The words that tell what a record, a scope and a change are.
pub(super) const RECORDS: [&str; 6] = ["header", "next", "uplink", "port", "made", "undone"];
pub(super) const SCOPES: [&str; 3] = ["instance", "uplink", "port"];
pub(super) const CHANGES: [&str; 9] =
    ["namespace", "pins", "attachment", "pair", "offload", "offloads", "filter", "vlan", "promiscuous"];

/// A line, as far as this release knows what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Known(Record),
    /// Of a newer release of the same version.
    Unknown(Unknown),
}

/// A line that this release cannot follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// The uplink's or port's record, where it is one with fields that are not known.
    pub(super) record: Option<Record>,
    /// Its own number, or another record's that it is about.
    pub(super) id: Option<EntryId>,
    pub(super) scope: Scope,
    /// The word for what was done.
    pub(super) name: String,
    pub(super) json: String,
}

impl Line {
    /// `Err`: it has words that are known and means nothing by them.
    pub(super) fn read(json: &str) -> Result<Self, String> {
        let damaged = |error: serde_json::Error| error.to_string();
        let value: Value = serde_json::from_str(json).map_err(damaged)?;
        if !value.is_object() {
            return Err("not a record".into());
        }
        let name = value["change"]["change"].as_str().or(value["record"].as_str()).unwrap_or("?").to_owned();
        let unknown = |record, id, scope| Self::Unknown(Unknown { record, id, scope, name, json: json.to_owned() });
        match serde_json::from_value::<Record>(value.clone()) {
            Ok(record) => {
                // What this release would not write, it has not understood: there are more fields.
                let is_whole = serde_json::to_value(&record).is_ok_and(|known| known == value);
                Ok(match &record {
                    _ if is_whole => Self::Known(record),
                    Record::Header(_) | Record::Next { .. } | Record::Undone { .. } => Self::Known(record),
                    Record::Made { id, scope, .. } => unknown(None, Some(*id), *scope),
                    Record::Uplink { id, .. } => unknown(Some(record.clone()), Some(*id), Scope::Uplink { key: *id }),
                    Record::Port { id, uplink, .. } => {
                        unknown(Some(record.clone()), Some(*id), Scope::Port { uplink: *uplink, key: *id })
                    }
                })
            }
            Err(error) => {
                let is_new = |word: &Value, known: &[&str]| word.as_str().is_some_and(|word| !known.contains(&word));
                let any_new = is_new(&value["record"], &RECORDS)
                    || is_new(&value["scope"]["scope"], &SCOPES)
                    || is_new(&value["change"]["change"], &CHANGES);
                if !any_new {
                    return Err(damaged(error));
                }
                let scope = serde_json::from_value(value["scope"].clone()).unwrap_or(Scope::Instance);
                Ok(unknown(None, value["id"].as_u64().map(EntryId), scope))
            }
        }
    }
}

/// How a first line can be none that this release reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    Damaged(String),
    /// Of a newer release.
    Version(u64),
}

/// Of this version or of an older one.
pub(super) fn read_header(json: &str) -> Result<Header, NoHeader> {
    let damaged = |error: serde_json::Error| NoHeader::Damaged(error.to_string());
    let value: Value = serde_json::from_str(json).map_err(damaged)?;
    if value["record"] != "header" {
        return Err(NoHeader::Damaged("no header".into()));
    }
    match value["version"].as_u64() {
        Some(version) if version > u64::from(VERSION) => return Err(NoHeader::Version(version)),
        Some(0) => return Err(NoHeader::Damaged("no release wrote version 0".into())),
        _ => {}
    }
    match serde_json::from_value(value).map_err(damaged)? {
        Record::Header(header) => Ok(header),
        _ => Err(NoHeader::Damaged("no header".into())),
    }
}

/// A line of the file.
pub(super) fn sealed(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

pub(super) fn json(record: &Record) -> String {
    serde_json::to_string(record).expect("records hold nothing that JSON cannot")
}

/// What a line of the file says, if it is as it was written.
pub(super) fn unsealed(line: &[u8]) -> Result<&str, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not text")?.trim_end_matches('\n');
    let (sum, json) = line.split_once(' ').ok_or("no checksum")?;
    let sum = u32::from_str_radix(sum, 16).map_err(|_| "no checksum")?;
    if sum != crc32fast::hash(json.as_bytes()) {
        return Err("its checksum is wrong".into());
    }
    Ok(json)
}

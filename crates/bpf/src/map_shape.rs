//! What makes one map stand for another.

use std::fmt;
use std::path::Path;

use aya::maps::{MapError, MapInfo, MapType};
use aya_obj::generated::{BPF_F_RDONLY_PROG, bpf_map_type};

/// What two maps must have in common to stand for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapShape {
    /// The kernel's number of the map's type.
    pub kind: u32,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    /// As created.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
}

impl fmt::Display for MapShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key_size, value_size, max_entries, flags } = self;
        write!(f, "type {kind}, key {key_size} B, value {value_size} B, {max_entries} entries, flags {flags:#x}")
    }
}

impl MapShape {
    /// Of a map that the object asks for.
    pub(crate) fn wanted(map: &aya_obj::Map) -> Self {
        // The kernel adds this one to device maps by itself (dev_map_init_map() in kernel/bpf/devmap.c).
        let added = match bpf_map_type::try_from(map.map_type()) {
            Ok(bpf_map_type::BPF_MAP_TYPE_DEVMAP | bpf_map_type::BPF_MAP_TYPE_DEVMAP_HASH) => BPF_F_RDONLY_PROG,
            _ => 0,
        };
        Self {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags() | added,
        }
    }

    /// Of the map that is pinned at `path`; `None` where nothing is.
    pub(crate) fn found(path: &Path) -> Result<Option<Self>, MapError> {
        let info = match MapInfo::from_pin(path) {
            Ok(info) => info,
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Self::of(&info)))
    }

    /// Of a map that is open.
    pub(crate) fn of(info: &MapInfo) -> Self {
        Self {
            kind: info.map_type().unwrap_or(MapType::Unspecified) as u32,
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
            flags: info.map_flags(),
        }
    }
}

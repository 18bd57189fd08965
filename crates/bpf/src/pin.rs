//! Pins of maps and programs. The loader re-uses a pin that it finds without a look at it, so the look is taken here.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{MapError, MapInfo, MapType};
use aya::programs::ProgramFd;
use aya_obj::generated::{BPF_F_RDONLY_PROG, bpf_map_type};

use crate::bpffs;
use crate::object::LoadError;
use crate::sys;

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

/// Where the maps and programs of one load are pinned. What was made for a load that then fails is removed.
pub(crate) struct Pins {
    folder: PathBuf,
    /// Removed from the last to the first by Drop.
    made: Vec<PathBuf>,
}

impl Pins {
    pub(crate) fn open(folder: &Path) -> Result<Self, LoadError> {
        let parent = folder.parent().unwrap_or(folder);
        match bpffs::is_mounted(parent) {
            Ok(true) => {}
            Ok(false) => return Err(LoadError::NotBpffs { path: folder.to_owned() }),
            Err(cause) => return Err(LoadError::Folder { path: parent.to_owned(), cause }),
        }
        let mut pins = Self { folder: folder.to_owned(), made: Vec::new() };
        for path in [folder.to_owned(), pins.folder.join("maps"), pins.folder.join("programs")] {
            match bpffs::make_folder(&path) {
                Ok(true) => pins.made.push(path),
                Ok(false) => {}
                Err(cause) => return Err(LoadError::Folder { path, cause }),
            }
        }
        Ok(pins)
    }

    /// Where the map is or will be. What is there already must have the wanted shape.
    pub(crate) fn map(&mut self, name: &str, wanted: MapShape) -> Result<PathBuf, LoadError> {
        let path = self.folder.join("maps").join(name);
        match MapShape::found(&path) {
            Ok(None) => self.made.push(path.clone()),
            Ok(Some(found)) if found == wanted => {}
            Ok(Some(found)) => return Err(LoadError::PinShape { path, wanted, found }),
            Err(cause) => return Err(LoadError::PinUnreadable { path, cause }),
        }
        Ok(path)
    }

    /// Pins a program, in the place of an earlier load's: that one stays where it is attached, pin or no pin.
    pub(crate) fn program(&mut self, name: &str, program: &ProgramFd) -> Result<(), LoadError> {
        let path = self.folder.join("programs").join(name);
        let refused = |cause| LoadError::Pin { path: path.clone(), cause };
        if !path.exists() {
            sys::pin(program, &path).map_err(refused)?;
            self.made.push(path);
            return Ok(());
        }
        let beside = self.folder.join("programs").join(format!("{name}_new"));
        match fs::remove_file(&beside) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(refused(cause)),
            _ => sys::pin(program, &beside).map_err(refused)?,
        }
        fs::rename(&beside, &path).map_err(refused)
    }

    /// The load worked: all stays.
    pub(crate) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // What cannot be removed is found again by the next start, which looks through this folder.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

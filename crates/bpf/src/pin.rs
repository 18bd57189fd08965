//! Pins of maps and programs. The loader re-uses a pin that it finds without checking it, so it is checked here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use aya::programs::ProgramFd;

use crate::bpffs;
use crate::load_error::LoadError;
use crate::map_shape::MapShape;
use crate::sys;

/// Where a map is that an earlier load has pinned in this folder.
pub(crate) fn existing_map(folder: &Path, name: &str, wanted: MapShape) -> Result<PathBuf, LoadError> {
    let path = folder.join("maps").join(name);
    match MapShape::found(&path) {
        Ok(Some(found)) if found == wanted => Ok(path),
        Ok(Some(found)) => Err(LoadError::PinShape { path, wanted, found }),
        Ok(None) => {
            let cause = MapError::IoError(io::ErrorKind::NotFound.into());
            Err(LoadError::PinUnreadable { path, cause })
        }
        Err(cause) => Err(LoadError::PinUnreadable { path, cause }),
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

    /// The load succeeded: everything stays.
    pub(crate) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // The next start looks through this folder and finds what could not be removed.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

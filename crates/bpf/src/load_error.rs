//! How loading an object fails.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::hint;
use crate::map_shape::MapShape;

/// How loading programs and maps fails. What the load had pinned is removed again.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder for pins is not on a bpffs.
    #[error("{} does not lie on a bpffs, so nothing can be pinned there", path.display())]
    NotBpffs {
        /// As asked for.
        path: PathBuf,
    },
    /// A folder for pins could not be made.
    #[error("could not make the folder {} for pins", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// A map that is pinned there already is not the one that this version uses. It is left alone.
    #[error("the map pinned at {} is another one: {found}, wanted {wanted}", path.display())]
    PinShape {
        /// Where.
        path: PathBuf,
        /// What the object asks for.
        wanted: MapShape,
        /// What is there.
        found: MapShape,
    },
    /// What is there is not a map, or cannot be opened.
    #[error("could not open the map pinned at {}", path.display())]
    PinUnreadable {
        /// Where.
        path: PathBuf,
        /// What aya says.
        #[source]
        cause: MapError,
    },
    /// A program could not be pinned.
    #[error("could not pin a program at {}", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        cause: io::Error,
    },
    /// The object's maps could not be made.
    #[error("could not load the {object} object")]
    Object {
        /// The name of its source file in `bpf/`, without extensions.
        object: &'static str,
        /// What aya says; the kernel's errno is in its source.
        #[source]
        cause: Box<EbpfError>,
    },
    /// A program was refused.
    #[error("the kernel did not accept the {program} program")]
    Program {
        /// Its name.
        program: String,
        /// With the verifier's log.
        #[source]
        cause: Box<ProgramError>,
    },
    /// A map is missing, or could not be filled.
    #[error("could not prepare the map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What aya says.
        #[source]
        cause: MapError,
    },
}

impl LoadError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PinShape { path, .. } | Self::PinUnreadable { path, .. } => {
                Some(format!("it was left by another version or program: remove {} if nothing uses it", path.display()))
            }
            Self::NotBpffs { .. } => Some("mount one: mount -t bpf bpf /sys/fs/bpf".into()),
            Self::Folder { path, .. } | Self::Pin { path, .. } => match hint::remedy(self) {
                Some(remedy) => Some(remedy.into()),
                // bpf_mkdir() and bpf_obj_do_pin() refuse such names with EPERM.
                None if path.to_string_lossy().contains('.') => Some("names on a bpffs have no dots".into()),
                None => Some("making folders and pins on a bpffs needs root".into()),
            },
            Self::Object { .. } | Self::Program { .. } => Some(match (hint::remedy(self), hint::errno(self)) {
                (Some(remedy), _) => remedy.into(),
                (None, Some(libc::EPERM | libc::EACCES)) => {
                    "loading needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, where the kernel allows it at all".into()
                }
                (None, _) => "loading needs Linux 5.18 or later; the cause has the verifier's words".into(),
            }),
            Self::Map { .. } => hint::remedy(self).map(Into::into),
        }
    }
}

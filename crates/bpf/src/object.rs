//! Loading an object: its maps, pinned or not, and its programs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use aya::maps::{Map, MapError};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_obj::EbpfSectionKind;

use crate::hint;
use crate::pin::{MapShape, Pins};

/// A compiled `bpf/<name>.bpf.c`.
pub(crate) struct Object {
    pub name: &'static str,
    bytes: &'static [u8],
}

pub(crate) static DATAPATH: Object =
    Object { name: "datapath", bytes: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/datapath.bpf.o")) };
pub(crate) static PORT: Object =
    Object { name: "port", bytes: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/port.bpf.o")) };
pub(crate) static UMEM: Object =
    Object { name: "umem", bytes: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/umem.bpf.o")) };
pub(crate) static INJECT: Object =
    Object { name: "inject", bytes: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/inject.bpf.o")) };
pub(crate) static SINK: Object =
    Object { name: "sink", bytes: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sink.bpf.o")) };
pub(crate) static VLAN: Object =
    Object { name: "vlan", bytes: aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/vlan.bpf.o")) };

/// The objects that a daemon loads, by name and as they were compiled: with these bytes it is known which programs it runs.
/// Those of test beds are not among them.
pub fn daemon_objects() -> [(&'static str, &'static [u8]); 4] {
    [&DATAPATH, &PORT, &UMEM, &INJECT].map(|object| (object.name, object.bytes))
}

/// How loading programs and maps ends without them. What was pinned on the way is removed again.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Pins were wanted where there is no bpffs.
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
    /// What is there is no map, or cannot be opened.
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
        /// `"datapath"`, `"port"`, `"umem"`, `"inject"`, `"sink"` or `"vlan"`.
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
                    "loading needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, where the kernel lets anybody do it".into()
                }
                (None, _) => "loading needs Linux 5.18 or later; the cause has the verifier's words".into(),
            }),
            Self::Map { .. } => hint::remedy(self).map(Into::into),
        }
    }
}

impl Object {
    /// Makes the maps and loads the programs. With `pins`, both are pinned there, and maps found there are re-used.
    pub(crate) fn load(
        &self,
        globals: &[(&str, u32)],
        max_entries: &[(&str, u32)],
        pins: Option<&Path>,
    ) -> Result<Ebpf, LoadError> {
        let mut loader = EbpfLoader::new();
        for (name, value) in globals {
            loader.override_global(name, value, true);
        }
        for (name, entries) in max_entries {
            loader.map_max_entries(name, *entries);
        }

        let parsed = self.parse()?;
        self.load_with(&mut loader, &parsed, pins)
    }

    fn parse(&self) -> Result<aya_obj::Object, LoadError> {
        aya_obj::Object::parse(self.bytes)
            .map_err(|cause| LoadError::Object { object: self.name, cause: Box::new(cause.into()) })
    }

    /// `parsed` is this object, whose maps lend their names to the loader.
    fn load_with<'a>(
        &self,
        loader: &mut EbpfLoader<'a>,
        parsed: &'a aya_obj::Object,
        pins: Option<&Path>,
    ) -> Result<Ebpf, LoadError> {
        let refused = |cause: EbpfError| LoadError::Object { object: self.name, cause: Box::new(cause) };
        let mut pins = pins.map(Pins::open).transpose()?;
        if let Some(pins) = &mut pins {
            for (name, map) in &parsed.maps {
                if map.section_kind() == EbpfSectionKind::Maps || map.section_kind() == EbpfSectionKind::BtfMaps {
                    loader.map_pin_path(name.as_str(), pins.map(name, MapShape::wanted(map))?);
                }
            }
        }

        let mut bpf = loader.load(self.bytes).map_err(refused)?;
        for (name, program) in bpf.programs_mut() {
            let loaded = match program {
                Program::Xdp(xdp) => xdp.load(),
                Program::SchedClassifier(classifier) => classifier.load(),
                Program::RawTracePoint(listener) => listener.load(),
                _ => unreachable!("bpf/ holds XDP, tc and raw tracepoint programs only"),
            };
            loaded.map_err(|cause| LoadError::Program { program: name.to_owned(), cause: Box::new(cause) })?;
        }
        if let Some(mut pins) = pins {
            for (name, program) in bpf.programs() {
                let fd = program
                    .fd()
                    .map_err(|cause| LoadError::Program { program: name.to_owned(), cause: Box::new(cause) })?;
                pins.program(name, fd)?;
            }
            pins.keep();
        }
        Ok(bpf)
    }
}

static LOADER: LazyLock<Mutex<EbpfLoader<'static>>> = LazyLock::new(|| {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    Mutex::new(loader)
});

/// Makes the loader now, so that the first port does not have to wait for it.
pub(crate) fn prepare_for_ports() {
    LazyLock::force(&LOADER);
}

/// The port's object is loaded once a queue, so that its loader is kept: aya reads the kernel's BTF whenever it makes one, which takes
/// longer than all else of a load, and nothing here is relocated by it.
pub(crate) fn load_port(pins: &Path) -> Result<Ebpf, LoadError> {
    static PARSED: LazyLock<Result<aya_obj::Object, LoadError>> = LazyLock::new(|| PORT.parse());
    let Ok(parsed) = &*PARSED else { return PORT.load(&[], &[], Some(pins)) };
    // What a panic left in it is replaced: each load names all pins.
    let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    PORT.load_with(&mut loader, parsed, Some(pins))
}

/// What watches UMEMs, by the same loader for the same reasons.
pub(crate) fn load_umem() -> Result<Ebpf, LoadError> {
    static PARSED: LazyLock<Result<aya_obj::Object, LoadError>> = LazyLock::new(|| UMEM.parse());
    let Ok(parsed) = &*PARSED else { return UMEM.load(&[], &[], None) };
    let mut loader = LOADER.lock().unwrap_or_else(PoisonError::into_inner);
    UMEM.load_with(&mut loader, parsed, None)
}

/// Takes a map out of the object, typed.
pub(crate) fn take_map<M: TryFrom<Map, Error = MapError>>(bpf: &mut Ebpf, map: &'static str) -> Result<M, LoadError> {
    M::try_from(bpf.take_map(map).expect("every map named in this crate is in its object"))
        .map_err(|cause| LoadError::Map { map, cause })
}

/// The kernel's id of an XSKMAP that has not been taken yet.
pub(crate) fn map_id(bpf: &Ebpf, map: &'static str) -> Result<u32, LoadError> {
    match bpf.map(map) {
        Some(Map::XskMap(data)) => Ok(data.info().map_err(|cause| LoadError::Map { map, cause })?.id()),
        _ => unreachable!("every map named in this crate is in its object"),
    }
}

/// The XDP program of that name.
pub(crate) fn xdp<'a>(bpf: &'a Ebpf, name: &str) -> &'a Xdp {
    bpf.program(name).and_then(|program| program.try_into().ok()).expect("every program named here is in its object")
}

/// The tc program of that name.
pub(crate) fn classifier<'a>(bpf: &'a Ebpf, name: &str) -> &'a SchedClassifier {
    bpf.program(name).and_then(|program| program.try_into().ok()).expect("every program named here is in its object")
}

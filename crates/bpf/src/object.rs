//! Loading an object: its maps, pinned or not, and its programs.

use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use aya::maps::{Map, MapError};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_obj::EbpfSectionKind;

use crate::contract::MAX_QUEUE_PAIRS;
use crate::load_error::LoadError;
use crate::map_shape::MapShape;
use crate::pin::{self, Pins};

/// A compiled BPF object.
pub(crate) struct Object {
    name: &'static str,
    bytes: &'static [u8],
}

/// The object that the build script compiled from `<name>.bpf.c`.
macro_rules! object {
    ($name:literal) => {
        $crate::object::Object::new($name, aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o")))
    };
}
pub(crate) use object;

pub(crate) static DATAPATH: Object = object!("datapath");
pub(crate) static EXPLAIN: Object = object!("explain");
pub(crate) static PORT: Object = object!("port");
pub(crate) static RING: Object = object!("ring");
pub(crate) static UMEM: Object = object!("umem");
pub(crate) static INJECT: Object = object!("inject");
pub(crate) static LINK_GUARD: Object = object!("link_guard");

/// The objects that a daemon loads, by name and as they were compiled: these bytes identify the programs that it runs.
/// Those for test beds are not among them.
pub fn daemon_objects() -> [(&'static str, &'static [u8]); 7] {
    [&DATAPATH, &EXPLAIN, &PORT, &RING, &UMEM, &INJECT, &LINK_GUARD].map(|object| (object.name, object.bytes))
}

impl Object {
    pub(crate) const fn new(name: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, bytes }
    }

    /// Makes the maps and loads the programs. With `pins`, both are pinned there, and maps found there are re-used.
    pub(crate) fn load(
        &self,
        globals: &[(&str, u32)],
        max_entries: &[(&'static str, u32)],
        pins: Option<&Path>,
    ) -> Result<Ebpf, LoadError> {
        pinned(pins, |pins| self.load_alone(globals, max_entries, pins))
    }

    fn load_alone(
        &self,
        globals: &[(&str, u32)],
        max_entries: &[(&'static str, u32)],
        pins: Option<&mut Pins>,
    ) -> Result<Ebpf, LoadError> {
        let mut loader = EbpfLoader::new();
        for (name, value) in globals {
            loader.override_global(name, value, true);
        }
        let parsed = self.parse()?;
        self.load_with(&mut loader, &parsed, max_entries, pins, None)
    }

    pub(crate) fn parse(&self) -> Result<aya_obj::Object, LoadError> {
        aya_obj::Object::parse(self.bytes)
            .map_err(|cause| LoadError::Object { object: self.name, cause: Box::new(cause.into()) })
    }

    /// `parsed` is this object, whose maps lend their names to the loader. Those of [`SHARED`] are the ones that are
    /// pinned in the folder `shared`, where one is given. The caller keeps the pins.
    fn load_with<'a>(
        &self,
        loader: &mut EbpfLoader<'a>,
        parsed: &'a aya_obj::Object,
        max_entries: &[(&'static str, u32)],
        mut pins: Option<&mut Pins>,
        shared: Option<&Path>,
    ) -> Result<Ebpf, LoadError> {
        let refused = |cause: EbpfError| LoadError::Object { object: self.name, cause: Box::new(cause) };
        for (name, entries) in max_entries {
            loader.map_max_entries(name, *entries);
        }
        if let Some(pins) = &mut pins {
            for (name, map) in &parsed.maps {
                if let Some(shared) = shared.filter(|_| SHARED.contains(&name.as_str())) {
                    loader.map_pin_path(name.as_str(), pin::existing_map(shared, name, MapShape::wanted(map))?);
                } else if map.section_kind() == EbpfSectionKind::Maps || map.section_kind() == EbpfSectionKind::BtfMaps
                {
                    let mut wanted = MapShape::wanted(map);
                    if let Some((_, entries)) = max_entries.iter().find(|(of, _)| of == name) {
                        wanted.max_entries = *entries;
                    }
                    loader.map_pin_path(name.as_str(), pins.map(name, wanted)?);
                }
            }
        }

        let mut bpf = loader.load(self.bytes).map_err(refused)?;
        let names: Vec<String> = bpf.programs().map(|(name, _)| name.to_owned()).collect();
        let at_once = || names.iter().filter(|name| !LATER.contains(&name.as_str()));
        for name in at_once() {
            load_program(&mut bpf, name)?;
        }
        if let Some(pins) = pins {
            for name in at_once() {
                let program = bpf.program(name).expect("it has this name");
                pins.program(name, program.fd().map_err(|cause| not_loaded(name, cause))?)?;
            }
        }
        Ok(bpf)
    }
}

/// Maps that the programs of rings share with the data path.
const SHARED: [&str; 7] =
    ["guard_counters", "ring_controls", "ring_guards", "ring_memories", "ring_states", "ring_turns", "ring_wakes"];

/// The map of notes, which those that explain alone have.
pub(crate) const EXPLAINS: &str = "traces";

/// Programs that are loaded when they are needed.
pub(crate) const LATER: [&str; 3] = ["copy", "ring_guard", "tap"];

pub(crate) fn load_program(bpf: &mut Ebpf, name: &str) -> Result<(), LoadError> {
    let loaded = match bpf.program_mut(name) {
        Some(Program::Xdp(xdp)) => xdp.load(),
        Some(Program::SchedClassifier(classifier)) => classifier.load(),
        Some(Program::RawTracePoint(listener)) => listener.load(),
        _ => unreachable!("bpf/ holds XDP, tc and raw tracepoint programs only"),
    };
    loaded.map_err(|cause| not_loaded(name, cause))
}

pub(crate) fn not_loaded(program: &str, cause: ProgramError) -> LoadError {
    LoadError::Program { program: program.to_owned(), cause: Box::new(cause) }
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

/// Loads what is to be pinned in one folder: all of it, or no pin stays behind.
fn pinned<T>(
    folder: Option<&Path>,
    load: impl FnOnce(Option<&mut Pins>) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let mut pins = folder.map(Pins::open).transpose()?;
    let loaded = load(pins.as_mut())?;
    if let Some(pins) = pins {
        pins.keep();
    }
    Ok(loaded)
}

/// The programs of an uplink: those that share the tables, and the one on the inner ends of its ports' pairs.
pub(crate) fn load_datapath(globals: &[(&str, u32)], pins: Option<&Path>) -> Result<(Ebpf, Ebpf), LoadError> {
    pinned(pins, |mut pins| {
        let datapath = DATAPATH.load_alone(globals, &[], pins.as_deref_mut())?;
        Ok((datapath, load_port_for(MAX_QUEUE_PAIRS, pins)?))
    })
}

/// The port's program for one queue pair.
pub(crate) fn load_port(pins: Option<&Path>) -> Result<Ebpf, LoadError> {
    pinned(pins, |pins| load_port_for(1, pins))
}

/// One loader is kept for all: aya reads the kernel's BTF whenever it makes one, which takes longer than the rest of a
/// load, and nothing here is relocated by it.
fn load_port_for(slots: u32, pins: Option<&mut Pins>) -> Result<Ebpf, LoadError> {
    static PARSED: LazyLock<Result<aya_obj::Object, LoadError>> = LazyLock::new(|| PORT.parse());
    let max_entries = ["inner_ends", "xsks", "port_counters"].map(|map| (map, slots));
    match (&*PARSED, pins) {
        // What another load left in it is replaced: each names all its maps and pins.
        (Ok(parsed), pins @ Some(_)) => PORT.load_with(&mut loader(), parsed, &max_entries, pins, None),
        (_, pins) => PORT.load_alone(&[], &max_entries, pins),
    }
}

/// The program of a queue that has rings, by the same loader for the same reasons. The maps of the data path are pinned
/// in the folder `shared`.
pub(crate) fn load_ring(pins: &Path, shared: &Path) -> Result<Ebpf, LoadError> {
    static PARSED: LazyLock<Result<aya_obj::Object, LoadError>> = LazyLock::new(|| RING.parse());
    let Ok(parsed) = &*PARSED else { return RING.load(&[], &[], Some(pins)) };
    pinned(Some(pins), |pins| RING.load_with(&mut loader(), parsed, &[], pins, Some(shared)))
}

/// The programs that explain what those of the data path decide. Its maps are pinned in the folder `shared`; only that
/// of the notes is made anew.
pub(crate) fn load_explain(globals: &[(&str, u32)], shared: &Path) -> Result<Ebpf, LoadError> {
    let parsed = EXPLAIN.parse()?;
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    for (name, value) in globals {
        loader.override_global(name, value, true);
    }
    for (name, map) in parsed
        .maps
        .iter()
        .filter(|(name, map)| map.section_kind() == EbpfSectionKind::BtfMaps && name.as_str() != EXPLAINS)
    {
        loader.map_pin_path(name.as_str(), pin::existing_map(shared, name, MapShape::wanted(map))?);
    }
    EXPLAIN.load_with(&mut loader, &parsed, &[], None, None)
}

/// The programs that watch UMEMs, by the same loader for the same reasons.
pub(crate) fn load_umem() -> Result<Ebpf, LoadError> {
    static PARSED: LazyLock<Result<aya_obj::Object, LoadError>> = LazyLock::new(|| UMEM.parse());
    let Ok(parsed) = &*PARSED else { return UMEM.load(&[], &[], None) };
    UMEM.load_with(&mut loader(), parsed, &[], None, None)
}

/// What a panic left in it is replaced by the next load.
fn loader() -> MutexGuard<'static, EbpfLoader<'static>> {
    LOADER.lock().unwrap_or_else(PoisonError::into_inner)
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

//! Who may attach an XDP program to a device: `bpf/link_guard.bpf.c` says why, and by which rule.
//!
//! The rule holds for the whole machine, from the first port with BPF rings on, and for as long as there may be a
//! client with the descriptor of its program, whatever becomes of the daemon: its link is pinned.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::loaded_programs;
use aya_obj::btf::{Btf, BtfKind};

use crate::object::LINK_GUARD;
use crate::ring_program::RING_PORT;
use crate::sys;

/// No instance has such a name, whose folders are beside it.
const PIN: &str = "@link_guard";
/// What answers for the kernel where it asks whether a `bpf()` call is allowed.
const FUNCTION: &str = "security_bpf";
/// A client that has just closed its descriptors is waited for, one that keeps them is not.
const PATIENCE: Duration = Duration::from_millis(200);

/// How attaching is not guarded.
#[derive(Debug, thiserror::Error)]
pub enum LinkGuardError {
    /// The kernel does not describe its types, or not these.
    #[error("the kernel does not describe `{FUNCTION}` and the types that it is called with (BTF)")]
    Types(#[source] Box<dyn Error + Send + Sync>),
    /// The kernel refused a call.
    #[error("the kernel refused to {attempt} what keeps clients from attaching their programs to devices")]
    Refused {
        /// What was tried.
        attempt: &'static str,
        /// Its answer.
        #[source]
        cause: io::Error,
    },
}

/// Has the rule hold from now on. Its link is pinned in `folder`; what is pinned there already stays. The caller keeps
/// others from doing the same meanwhile.
///
/// # Errors
///
/// [`LinkGuardError`]; clients can attach the programs that they are given then.
pub fn guard_links(folder: &Path) -> Result<(), LinkGuardError> {
    let path = folder.join(PIN);
    if path.exists() {
        return Ok(());
    }
    let unknown = |cause: Box<dyn Error + Send + Sync>| LinkGuardError::Types(cause);
    let types = Btf::from_sys_fs().map_err(|cause| unknown(cause.into()))?;
    let function = types.id_by_type_name_kind(FUNCTION, BtfKind::Func).map_err(|cause| unknown(cause.into()))?;
    let mut object = LINK_GUARD.parse().map_err(|cause| unknown(cause.into()))?;
    object.relocate_btf(&types).map_err(|cause| unknown(cause.into()))?;
    let program = object.functions.values().next().expect("the object has one program");
    let refused = |attempt| move |cause| LinkGuardError::Refused { attempt, cause };
    let loaded = sys::load_modify_return(&program.instructions, function).map_err(refused("load"))?;
    let link = sys::attach_tracing(&loaded).map_err(refused("attach"))?;
    sys::pin(&link, &path).map_err(refused("pin"))
}

/// Ends the rule if it is all that is left in `folder`, and if there is no program that it has to hold for. Otherwise
/// it stays, for the next caller. The caller keeps others from the folder meanwhile.
///
/// # Errors
///
/// The kernel's.
pub fn unguard_links(folder: &Path) -> io::Result<()> {
    let mut entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let (Some(first), None) = (entries.next().transpose()?, entries.next()) else { return Ok(()) };
    if first.file_name() != PIN || is_needed() {
        return Ok(());
    }
    // It ends with its last descriptor, at once; without one, a work queue would end it some time later.
    let link = sys::open_pin(&first.path())?;
    fs::remove_file(first.path())?;
    drop(link);
    Ok(())
}

/// Whether any process has the program of a queue with BPF rings.
fn is_needed() -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut programs = loaded_programs().filter_map(Result::ok);
        if !programs.any(|program| program.name_as_str() == Some(RING_PORT)) {
            return false;
        }
        if Instant::now() > until {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

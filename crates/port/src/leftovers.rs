//! Undoes what earlier runs left that did not get to it: of the name that is being opened, or of any that nobody runs.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;

use xsknet_bpf::bpffs;
use xsknet_link::{Netns, NetnsId};

use crate::bpffs_mount::leave_bpffs;
use crate::context::{Context, delete_strays, unbind};
use crate::error::{CloseError, OpenError, StepError};
use crate::journal::{Header, Journal, PortRecord, Scope};
use crate::lock::Lock;
use crate::mac::Secret;
use crate::namespace::Namespace;
use crate::observer::Observer;
use crate::paths::{InstanceName, Paths, Places};
use crate::pins;

/// Undoes what killed runs left whose name begins with `prefix`, that no process runs any more, and whose NICs are
/// those of the calling thread's network namespace; and what is left from before a reboot. Those of other namespaces
/// are not touched: their devices are out of reach, and a start in that namespace undoes all of it. Returns the result
/// of each.
pub fn sweep_dead_here(places: &Places, prefix: &str) -> Vec<(InstanceName, Result<(), OpenError>)> {
    let swept = |name: InstanceName| match sweep_if_dead_here(&Paths::new(places.clone(), name.clone())) {
        Ok(false) => None,
        done => Some((name, done.map(drop))),
    };
    names(places, prefix).into_iter().filter_map(swept).collect()
}

/// Whether there is anything, of the living or of the dead, of an instance whose name begins with `prefix` and whose
/// NICs are those of the calling thread's network namespace.
///
/// # Errors
/// A journal that cannot be read.
pub fn any_here(places: &Places, prefix: &str) -> Result<bool, OpenError> {
    for name in names(places, prefix) {
        if is_of_here(&Paths::new(places.clone(), name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// False: it runs, or it is not of here.
fn sweep_if_dead_here(paths: &Paths) -> Result<bool, OpenError> {
    // Before the lock, whose file another instance would lose, and again once no process can be in there.
    if !is_of_here(paths)? {
        return Ok(false);
    }
    let refused = |cause| OpenError::Io { attempt: "lock", path: paths.lock(), cause };
    let Some(lock) = Lock::attempt(&paths.lock()).map_err(refused)? else { return Ok(false) };
    if !is_of_here(paths)? {
        return Ok(false);
    }
    sweep(paths, None)?;
    leave_bpffs(paths)?;
    drop(lock);
    // Another instance may still be in there.
    let _ = std::fs::remove_dir(paths.run());
    Ok(true)
}

/// Whether an instance's NICs are among the calling thread's devices, or nowhere: before its journal is begun, and
/// after it is finished, an instance has none.
fn is_of_here(paths: &Paths) -> Result<bool, OpenError> {
    let Some(header) = Journal::header_at(&paths.journal())? else { return Ok(true) };
    let here = Namespace::new(Netns::current().map_err(StepError::from)?)?;
    Ok(header.boot != boot_id() || header.is_of(here.cookie))
}

/// Undoes what runs of this name left, and forgets it. What cannot be undone is reported and set aside for the next
/// start. It blocks nothing but itself; the ports among it are returned. The caller holds the lock.
pub(crate) fn sweep(paths: &Paths, observer: Option<Observer>) -> Result<Vec<PortRecord>, OpenError> {
    let failed = |cause| OpenError::Sweep(CloseError { left: 1, what: "what was found by its name".into(), cause });
    let (mut left, mut is_anything_left) = (Vec::new(), false);
    let earlier = paths.set_aside().map_err(|cause| failed(StepError::Io { attempt: "look for journals", cause }))?;
    for path in earlier.into_iter().chain([paths.journal()]) {
        let journal = match Journal::load(&path)? {
            // After a reboot nothing of it exists any more.
            Some(stale) if stale.header().boot != boot_id() => {
                stale.remove()?;
                continue;
            }
            Some(journal) => journal,
            None => continue,
        };
        let host = meant(journal.header(), paths)?;
        // Without its bind mount the ports' namespace is gone, or out of reach; an empty one stands in for it.
        let bound = Netns::open(&paths.namespace()).or_else(|_| Netns::create());
        let ports = Namespace::new(bound.map_err(StepError::from)?)?;
        let context = Context::new(paths.clone(), host, ports, journal, Secret::draw(), observer.clone());
        match context.undo(Scope::Instance) {
            Ok(()) => {
                context.finish().map_err(failed)?;
                context.passed("the earlier run's journal is gone");
            }
            Err(error) => {
                is_anything_left = true;
                eprintln!("xsknet: an earlier run of instance `{}`: {error}: {}", paths.instance(), error.cause);
                for port in context.ports_on_record() {
                    eprintln!(
                        "xsknet: an earlier run of instance `{}`: {port} is not undone; its number, {}, stays taken",
                        paths.instance(),
                        port.number
                    );
                    left.push(port);
                }
                if path == paths.journal() {
                    let aside = paths.free_aside();
                    std::fs::rename(&path, &aside)
                        .map_err(|cause| failed(StepError::Io { attempt: "set a journal aside", cause }))?;
                }
            }
        }
    }
    let host = Namespace::new(Netns::current().map_err(StepError::from)?)?;
    // By name: what a removed journal does not tell.
    delete_strays(&host.links, &paths.alias_prefix())?;
    unbind(paths).map_err(failed)?;
    remove_socket(paths).map_err(failed)?;
    // A pin of a journal that could not be removed was reported already.
    if bpffs::is_mounted(paths.bpffs()).unwrap_or(false)
        && let Err(cause) = pins::remove(&paths.instance_pins())
        && !is_anything_left
    {
        return Err(failed(cause));
    }
    Ok(left)
}

/// The namespace of a journal's devices, wherever it is; where it cannot be found, this one, none of whose devices is
/// meant.
fn meant(header: &Header, paths: &Paths) -> Result<Namespace, StepError> {
    let here = Namespace::new(Netns::current()?)?;
    if header.is_of(here.cookie) {
        return Ok(here);
    }
    let (dev, ino) = header.namespace;
    match Netns::find(NetnsId { dev, ino }, header.cookie) {
        Some(there) => Namespace::new(there),
        None => {
            let instance = paths.instance();
            eprintln!(
                "xsknet: an earlier run of instance `{instance}` was in another network namespace, which is gone or \
                 out of reach: what it changed about devices there is not undone"
            );
            Ok(here)
        }
    }
}

/// Removes the control socket of a daemon that did not get to it. Nobody listens there: the caller holds the lock.
pub(crate) fn remove_socket(paths: &Paths) -> Result<(), StepError> {
    let path = paths.socket();
    if !std::fs::symlink_metadata(&path).is_ok_and(|there| there.file_type().is_socket()) {
        return Ok(());
    }
    std::fs::remove_file(path).map_err(|cause| StepError::Io { attempt: "remove the control socket", cause })
}

/// The names of instances that have left anything.
pub(crate) fn names(places: &Places, prefix: &str) -> BTreeSet<InstanceName> {
    let entries = std::fs::read_dir(&places.run).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let file = entry.file_name();
            // A name has no dot: behind it stands what a file is for.
            let name = file.to_str()?.split('.').next()?;
            if name.starts_with(prefix) { name.parse().ok() } else { None }
        })
        .collect()
}

/// By which a boot is known.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_end().into()
}

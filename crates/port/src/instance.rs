//! An instance: one process's hold on the host, from the lock to the last undone change.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};

use xsknet_bpf::bpffs;
use xsknet_link::{Netns, NetnsId};

use crate::ability::Ability;
use crate::context::{Context, Observer, Step, delete_strays, unbind};
use crate::error::{CloseError, ManageError, OpenError, StepError};
use crate::ids::PortKey;
use crate::journal::{Change, Header, Journal, Scope};
use crate::lock::Lock;
use crate::mac::Secret;
use crate::mounts;
use crate::namespace::Namespace;
use crate::paths::{InstanceName, Paths, Places};
use crate::pins;
use crate::uplink::{Uplink, UplinkOptions};
use crate::watch::{Notice, Uplinks, Watch};

/// How an instance is to be opened. `Default` is the host's one daemon.
pub struct InstanceOptions {
    /// Its name; several instances with different names run side by side.
    pub name: InstanceName,
    /// Where it keeps what outlives its process.
    pub places: Places,
    /// Asks the kernel for an ability; `Ability::probe` unless a test wants another answer.
    pub probe: fn(Ability) -> io::Result<()>,
    /// Is notified of every change to the host, before and after it.
    pub observer: Option<Observer>,
}

impl Default for InstanceOptions {
    fn default() -> Self {
        Self { name: InstanceName::default(), places: Places::default(), probe: Ability::probe, observer: None }
    }
}

/// Counted in the process, whatever thread asks.
static PRIVATE: AtomicU32 = AtomicU32::new(0);

/// A running instance. Dropping it closes it; `close` also says what could not be undone.
#[derive(Debug)]
pub struct Instance {
    context: Arc<Context>,
    uplinks: Arc<Uplinks>,
    lock: Option<Lock>,
}

impl Instance {
    /// Opens an instance whose NICs are those of the calling thread's network namespace. What an earlier run of the
    /// same name left behind is undone first.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing of the instance is left, but what an earlier run left may be.
    pub fn open(options: InstanceOptions) -> Result<Self, OpenError> {
        let InstanceOptions { name, places, probe, observer } = options;
        for ability in Ability::NEEDED {
            probe(ability).map_err(|cause| OpenError::AbilityMissing { ability, cause })?;
        }
        let secret = places.secret().map_err(OpenError::Secret)?;
        let paths = Paths::new(places, name);
        Self::begin(&paths, secret, observer).inspect_err(|_| {
            // Another instance may be in there.
            let _ = std::fs::remove_dir(paths.run());
        })
    }

    /// Opens an instance under a name that nobody has, [`PRIVATE_PREFIX`] and then the process and a number: see
    /// [`open`](Self::open). A name that something was left of, by a process of the same number, is passed over.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_private(places: &Places) -> Result<Self, OpenError> {
        loop {
            let name = InstanceName::private(PRIVATE.fetch_add(1, Ordering::Relaxed));
            if Paths::new(places.clone(), name.clone()).journal().exists() {
                continue;
            }
            // Nobody ever asks for a port of this name again, so nothing has to be remembered for it.
            let places = Places { state: None, ..places.clone() };
            match Self::open(InstanceOptions { name, places, ..InstanceOptions::default() }) {
                // Of another namespace of processes.
                Err(OpenError::AlreadyRunning { .. }) => {}
                opened => return opened,
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &InstanceName {
        self.context.paths.instance()
    }

    fn begin(paths: &Paths, secret: Secret, observer: Option<Observer>) -> Result<Self, OpenError> {
        let lock = Lock::attempt(&paths.lock())
            .map_err(|cause| OpenError::Io { attempt: "lock", path: paths.lock(), cause })?
            .ok_or_else(|| OpenError::AlreadyRunning { instance: paths.instance().to_string() })?;
        passed(&observer, "the lock is held");
        let left = sweep(paths, observer.clone())?;
        passed(&observer, "what an earlier run left is gone");
        let context = mount_bpffs(paths, &observer)
            .and_then(|()| begin_context(paths, secret, left, observer))
            .inspect_err(|_| drop(leave_bpffs(paths)))?;
        context.passed("the journal is begun");
        // From here on a failure undoes what was done, by dropping the instance.
        let instance = Self { context: Arc::new(context), uplinks: Arc::default(), lock: Some(lock) };
        let context = &instance.context;
        context.umem_ends.begin();
        context.change(&Scope::Instance, Change::Namespace, || -> Result<(), StepError> {
            let folder = DirBuilder::new().mode(0o700).create(context.paths.folder());
            folder.map_err(|cause| StepError::Io { attempt: "make the instance's folder", cause })?;
            Ok(context.ports.netns.bind_to(&context.paths.namespace())?)
        })?;
        if !paths.may_be_hidden()
            && let Some(path) = mounts::hidden(paths, context.ports.identity)
        {
            return Err(OpenError::MountsHidden { path });
        }
        Ok(instance)
    }

    /// Makes a NIC an uplink of this instance.
    ///
    /// # Errors
    /// See [`ManageError`]; the NIC is then as it was.
    pub fn manage(&self, options: &UplinkOptions) -> Result<Uplink, ManageError> {
        let mut uplinks = self.uplinks.lock().unwrap_or_else(PoisonError::into_inner);
        uplinks.retain(|_, uplink| uplink.upgrade().is_some_and(|uplink| uplink.is_open()));
        if uplinks.contains_key(&options.device) {
            let instance = self.context.paths.instance().to_string();
            return Err(ManageError::AlreadyManaged { device: options.device.clone(), instance });
        }
        let uplink = Uplink::open(Arc::clone(&self.context), options)?;
        uplinks.insert(options.device.clone(), uplink.downgrade());
        Ok(uplink)
    }

    /// Tells when others delete a NIC that is managed or a port's pair, do to the inner end of a pinned port what it
    /// does not survive, or change a NIC; what is gone already is told, too. Programs that somebody takes off are put
    /// back, and offloads that VLANs are not kept apart with are switched off again. `hear` runs on a thread of its
    /// own.
    ///
    /// # Errors
    /// The kernel's, for a netlink socket or a thread.
    pub fn watch(&self, hear: impl FnMut(Notice) + Send + 'static) -> Result<Watch, StepError> {
        Watch::begin(&self.context, Arc::clone(&self.uplinks), hear)
    }

    /// Tells of each closed port, by its key, once nothing of it is left: its owner may keep descriptors, and with them
    /// rings and frames that count against nobody's limit. It tells of ports that were handed over or pinned, on a
    /// thread that `hear` must not keep; it may never tell. A second listener takes the place of the first.
    pub fn on_freed(&self, hear: impl FnMut(PortKey) + Send + 'static) {
        self.context.lingering.listen(Box::new(hear));
    }

    /// Closes all uplinks and ports, and leaves the host as it was found. Sockets of ports that are still held stay
    /// usable as memory, but nothing reaches them any more.
    ///
    /// # Errors
    /// What could not be undone stays in the journal, and the next start tries again.
    pub fn close(mut self) -> Result<(), CloseError> {
        let ended = self.end();
        // Dropping it must not try, and complain, a second time.
        self.lock.take();
        ended
    }

    fn end(&mut self) -> Result<(), CloseError> {
        if self.lock.is_none() {
            return Ok(());
        }
        let uplinks = std::mem::take(&mut *self.uplinks.lock().unwrap_or_else(PoisonError::into_inner));
        for uplink in uplinks.into_values().filter_map(|uplink| uplink.upgrade()) {
            uplink.let_go();
        }
        self.context.lingering.end();
        self.context.umem_ends.end();
        self.context.undo(&Scope::Instance)?;
        let own_files = |cause| CloseError { left: 1, what: "the instance's own files".into(), cause };
        self.context.finish().map_err(own_files)?;
        self.context.passed("the journal is gone");
        remove_socket(&self.context.paths).map_err(own_files)?;
        leave_bpffs(&self.context.paths).map_err(own_files)?;
        self.context.passed("bpffs is left");
        self.lock.take();
        self.context.passed("the lock is free");
        // Another instance may still be in there.
        let _ = std::fs::remove_dir(self.context.paths.run());
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            // Nobody is left to return it to, and it must not be silent.
            eprintln!("xsknet: {error}: {}", error.cause);
        }
    }
}

fn passed(observer: &Option<Observer>, step: &'static str) {
    if let Some(observer) = observer {
        observer(&Step::Passed(step));
    }
}

/// The namespaces and the journal of a new instance.
fn begin_context(
    paths: &Paths,
    secret: Secret,
    left: Vec<Scope>,
    observer: Option<Observer>,
) -> Result<Context, OpenError> {
    let host = Namespace::new(Netns::current().map_err(StepError::from)?)?;
    let ports = Namespace::new(Netns::create().map_err(StepError::from)?)?;
    let header = Header::new(&paths.instance().to_string(), &boot_id(), host.identity, host.cookie);
    let journal = Journal::create(&paths.journal(), header)?;
    let mut context = Context::new(paths.clone(), host, ports, journal, secret, observer);
    context.left = left;
    Ok(context)
}

/// Undoes what runs of this name left, and forgets it. What cannot be undone is told and set aside for the next start:
/// it is in the way of nothing but what it is about, of which the scopes are returned. The caller holds the lock.
fn sweep(paths: &Paths, observer: Option<Observer>) -> Result<Vec<Scope>, OpenError> {
    let failed = |cause| OpenError::Sweep(CloseError { left: 1, what: "what was found by its name".into(), cause });
    let mut left = Vec::new();
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
        match context.undo(&Scope::Instance) {
            Ok(()) => {
                context.finish().map_err(failed)?;
                context.passed("the earlier run's journal is gone");
            }
            Err(error) => {
                eprintln!("xsknet: an earlier run of instance `{}`: {error}: {}", paths.instance(), error.cause);
                left.extend(context.scopes());
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
    // A pin that a journal tells of, and that could not be removed, has been told of.
    if bpffs::is_mounted(paths.bpffs()).unwrap_or(false)
        && let Err(cause) = pins::remove(&paths.instance_pins())
        && left.is_empty()
    {
        return Err(failed(cause));
    }
    Ok(left)
}

/// The namespace whose devices a journal tells of, wherever it is; where it cannot be found, this one, of whose devices
/// none is meant.
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
fn remove_socket(paths: &Paths) -> Result<(), StepError> {
    let path = paths.socket();
    if !std::fs::symlink_metadata(&path).is_ok_and(|there| there.file_type().is_socket()) {
        return Ok(());
    }
    std::fs::remove_file(path).map_err(|cause| StepError::Io { attempt: "remove the control socket", cause })
}

/// Undoes what killed runs left whose name begins with `prefix` and that nobody runs any more.
///
/// # Errors
/// The first instance that could not be swept; the others are tried all the same.
pub fn sweep_dead(places: &Places, prefix: &str) -> Result<usize, OpenError> {
    let mut swept = 0;
    let mut first = None;
    for name in names(places, prefix) {
        // No port is going to be opened.
        let places = Places { state: None, ..places.clone() };
        let options = InstanceOptions { name, places, ..InstanceOptions::default() };
        match Instance::open(options).map(Instance::close) {
            Ok(Ok(())) => swept += 1,
            Err(OpenError::AlreadyRunning { .. }) => {}
            Ok(Err(error)) => first = first.or(Some(OpenError::Sweep(error))),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(swept), Err)
}

/// Undoes what killed runs left whose name begins with `prefix`, that nobody runs any more, and whose NICs are those of
/// the calling thread's network namespace; and what is left from before a reboot. Those of other namespaces are not
/// touched: their devices are out of reach, and a start over there puts back all of it. Tells what became of each.
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
    // Before the lock, whose file somebody else's would lose, and again once nobody can be in there.
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

/// The names of instances of which there is anything.
fn names(places: &Places, prefix: &str) -> BTreeSet<InstanceName> {
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

/// Mounts bpffs where it is missing. A file beside the locks says that it was one of us, so that the last instance to
/// leave takes it down again.
fn mount_bpffs(paths: &Paths, observer: &Option<Observer>) -> Result<(), OpenError> {
    let refused = |cause| OpenError::Io { attempt: "mount the BPF file system at", path: paths.bpffs().into(), cause };
    let _held = Lock::wait(&paths.bpffs_lock()).map_err(refused)?;
    if !bpffs::is_mounted(paths.bpffs()).map_err(refused)? {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).open(paths.bpffs_marker()).map_err(refused)?;
        passed(observer, "bpffs is about to be mounted");
        bpffs::mount(paths.bpffs()).map_err(refused)?;
        passed(observer, "bpffs is mounted");
    }
    make_folder(&paths.all_pins(), 0o700)?;
    make_folder(&paths.instance_pins(), 0o700)?;
    make_folder(&paths.pins(), 0o700)
}

/// Leaves bpffs as it was found, unless others have pins there by now: then the last of them does.
fn leave_bpffs(paths: &Paths) -> Result<(), StepError> {
    let refused = |cause| StepError::Io { attempt: "leave the BPF file system", cause };
    let _held = Lock::wait(&paths.bpffs_lock()).map_err(refused)?;
    pins::remove(&paths.instance_pins())?;
    match std::fs::remove_dir(paths.all_pins()) {
        Ok(()) => {}
        // Mounting it had failed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Other instances.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOTEMPTY.raw_os_error()) => return Ok(()),
        Err(error) => return Err(refused(error)),
    }
    pins::close_root(paths).map_err(refused)?;
    if !paths.bpffs_marker().exists() {
        return Ok(());
    }
    if bpffs::is_mounted(paths.bpffs()).map_err(refused)? {
        if holds_pins(paths.bpffs()).map_err(refused)? {
            return Ok(());
        }
        bpffs::unmount(paths.bpffs()).map_err(refused)?;
    }
    std::fs::remove_file(paths.bpffs_marker()).map_err(refused)
}

/// Whether anything is pinned below a folder of bpffs. Folders and links are nobody's loss: iproute2 makes some
/// wherever it finds a bpffs. Nor are the two iterators that the kernel itself puts into a new one
/// (kernel/bpf/preload).
fn holds_pins(folder: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let preloaded = ["maps.debug", "progs.debug"].iter().any(|name| entry.file_name() == *name);
        if kind.is_file() && !preloaded || kind.is_dir() && holds_pins(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn make_folder(path: &Path, mode: u32) -> Result<(), OpenError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(OpenError::Io { attempt: "make the folder", path: path.into(), cause })
        }
        _ => Ok(()),
    }
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim_end().into()
}

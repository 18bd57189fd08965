//! An instance: one process's hold on the host, from the lock to the last undone change.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};

use xsknet_link::Netns;

use crate::ability::Ability;
use crate::bpffs_mount::{leave_bpffs, mount_bpffs};
use crate::context::Context;
use crate::error::{CloseError, ManageError, OpenError, StepError};
use crate::ids::PortKey;
use crate::journal::{Change, Header, Journal, PortRecord, Scope};
use crate::leftovers::{boot_id, names, remove_socket, sweep};
use crate::lock::Lock;
use crate::mac::Secret;
use crate::mounts;
use crate::namespace::Namespace;
use crate::observer::{Observer, passed};
use crate::paths::{InstanceName, Paths, Places};
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
        context.change(Scope::Instance, Change::Namespace, || -> Result<(), StepError> {
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

    /// Reports when others delete a managed NIC or a port's pair, change the inner end of a pinned port so that it is
    /// lost, or change a NIC; what is gone already is reported too. Programs that others detach are attached again,
    /// and offloads that break the isolation of VLANs are switched off again. `hear` runs on a thread of its own.
    ///
    /// # Errors
    /// The kernel's, for a netlink socket or a thread.
    pub fn watch(&self, hear: impl FnMut(Notice) + Send + 'static) -> Result<Watch, StepError> {
        Watch::begin(&self.context, Arc::clone(&self.uplinks), hear)
    }

    /// Reports each closed port, by its key, once nothing of it is left: its owner may keep descriptors, and with them
    /// rings and frames that no limit of the kernel counts. It reports ports that were handed over or pinned, on a
    /// thread that `hear` must not keep; a port may never be reported. A second listener replaces the first.
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
        self.context.undo(Scope::Instance)?;
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

/// The namespaces and the journal of a new instance.
fn begin_context(
    paths: &Paths,
    secret: Secret,
    left: Vec<PortRecord>,
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

//! What all uplinks and ports of an instance share: its namespaces, its journal, and the one way to change the host.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xsknet_link::{Device, DeviceName, FeatureChange, IfIndex, LinkError, Links, Netns};

use crate::admission::Admission;
use crate::client_end::ClientEnds;
use crate::error::{CloseError, StepError};
use crate::ids::PortKey;
use crate::journal::{Change, EntryId, Journal, JournalError, PortRecord, Scope};
use crate::lingering::{Lingering, UmemEnds};
use crate::mac::Secret;
use crate::namespace::Namespace;
use crate::observer::{Observer, Step};
use crate::paths::{Paths, PinPath};
use crate::pins;
use crate::placeholders::Placeholders;

/// The pin of a NIC's program, in the folder of its uplink.
pub(crate) const UPLINK_LINK: &str = "uplink-link";

/// The pin of the program that copies behind it, in the same folder.
pub(crate) const COPY_LINK: &str = "copy-link";
/// Likewise of the one that copies what the host sends.
pub(crate) const TAP_LINK: &str = "tap-link";

/// See the module.
pub(crate) struct Context {
    pub(crate) paths: Paths,
    /// Where the NICs are: the namespace of the thread that opened the instance.
    pub(crate) host: Arc<Namespace>,
    /// Where the ports' inner ends are.
    pub(crate) ports: Namespace,
    journal: Mutex<Option<Journal>>,
    /// False where the journal was written in another network namespace that cannot be found: its devices are gone or
    /// out of reach, and those of the same number here are not ours.
    host_is_meant: bool,
    ports_opened: AtomicU32,
    /// Inner ends that are not among `ports`.
    pub(crate) client_ends: Arc<ClientEnds>,
    /// What owners keep of ports that are closed.
    pub(crate) lingering: Arc<Lingering>,
    pub(crate) umem_ends: UmemEnds,
    /// Which MACs ports get.
    pub(crate) secret: Secret,
    pub(crate) admission: Admission,
    /// NICs that were found elsewhere, by the number that they had here.
    moved: Mutex<HashMap<IfIndex, Arc<(Namespace, IfIndex)>>>,
    /// The ports of earlier runs that could not be undone: their numbers are taken.
    pub(crate) left: Vec<PortRecord>,
    observer: Option<Observer>,
    /// What of the host is kept from its programs for flows. Held for a change of flows.
    placeholders: Mutex<Placeholders>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(
        paths: Paths,
        host: Namespace,
        ports: Namespace,
        journal: Journal,
        secret: Secret,
        observer: Option<Observer>,
    ) -> Self {
        let host_is_meant = journal.header().is_of(host.cookie);
        let (journal, ports_opened) = (Mutex::new(Some(journal)), AtomicU32::new(0));
        let (client_ends, lingering) = (Arc::default(), Arc::default());
        let (admission, left) = (Admission::default(), Vec::new());
        Self {
            paths,
            host: Arc::new(host),
            ports,
            journal,
            host_is_meant,
            ports_opened,
            client_ends,
            lingering,
            umem_ends: UmemEnds::default(),
            secret,
            admission,
            moved: Mutex::default(),
            left,
            observer,
            placeholders: Mutex::default(),
        }
    }

    pub(crate) fn placeholders(&self) -> MutexGuard<'_, Placeholders> {
        self.placeholders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports that the journal has.
    pub(crate) fn ports_on_record(&self) -> Vec<PortRecord> {
        self.journal().as_ref().map_or_else(Vec::new, Journal::ports)
    }

    /// Writes an uplink into the journal: what is changed for it, is changed for this scope.
    pub(crate) fn open_uplink(&self, device: &DeviceName) -> Result<Scope, StepError> {
        let scope = self.journal().as_mut().ok_or_else(closed)?.open_uplink(device.clone())?;
        self.opened(scope);
        Ok(scope)
    }

    /// Writes a port of an uplink into the journal. The caller notifies the observer by
    /// [`opened`](Self::opened), once it holds no lock.
    pub(crate) fn open_port(&self, uplink: Scope, port: PortRecord) -> Result<Scope, StepError> {
        let mut journal = self.journal();
        let open = journal.as_mut().filter(|journal| journal.is_open(uplink));
        let (open, key) = open.zip(uplink.key()).ok_or_else(closed)?;
        Ok(open.open_port(key, port)?)
    }

    /// Notifies the observer of a record.
    pub(crate) fn opened(&self, scope: Scope) {
        let what = self.journal().as_ref().map(|journal| journal.describe(scope));
        if let Some(what) = what {
            self.observe(&Step::Recorded(what));
        }
    }

    pub(crate) fn next_port(&self) -> PortKey {
        PortKey::new(self.ports_opened.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The name that the host's device of this number has now: a record has the one that it had.
    pub(crate) fn name_of(&self, index: IfIndex) -> Result<Option<DeviceName>, LinkError> {
        if !self.host_is_meant {
            return Ok(None);
        }
        match self.host.links.by_index(index) {
            Ok(device) => Ok(Some(device.name)),
            Err(LinkError::DeviceMissing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Does something with a NIC, or nothing where it is gone.
    fn at_nic(
        &self,
        (device, index): (&DeviceName, IfIndex),
        work: impl FnOnce(&Namespace, IfIndex, &DeviceName) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        if let Some(name) = self.name_of(index)? {
            return work(&self.host, index, &name);
        }
        let Some(moved) = self.look_elsewhere(device, index) else { return Ok(()) };
        let (site, index) = &*moved;
        match site.links.by_index(*index) {
            Ok(device) => work(site, *index, &device.name),
            Err(LinkError::DeviceMissing { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Where a NIC is that left the host's devices. It takes its program along, and nothing else has that; offloads and
    /// promiscuous mode go along as well.
    fn look_elsewhere(&self, device: &DeviceName, index: IfIndex) -> Option<Arc<(Namespace, IfIndex)>> {
        if !self.host_is_meant || !matches!(self.name_of(index), Ok(None)) {
            return None;
        }
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = moved.get(&index) {
            return Some(Arc::clone(known));
        }
        let pin = self.paths.pin(&PinPath::uplink(device).file(UPLINK_LINK));
        let program = xsknet_bpf::pinned_program(&pin).ok()??;
        let found = Netns::all().find_map(|namespace| {
            let devices = Links::in_namespace(&namespace).and_then(|links| links.list()).ok()?;
            let runs = |device: &Device| device.xdp.iter().any(|attached| attached.program_id == program);
            let nic = devices.into_iter().find(runs)?;
            Some(Arc::new((Namespace::new(namespace).ok()?, nic.index)))
        })?;
        moved.insert(index, Arc::clone(&found));
        Some(found)
    }

    /// A poisoned journal is still the truth about the host: a panic elsewhere must not keep it from being undone.
    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn passed(&self, step: &'static str) {
        self.observe(&Step::Passed(step));
    }

    fn observe(&self, step: &Step) {
        if let Some(observer) = &self.observer {
            observer(step);
        }
    }

    /// Makes one change: journaled before, taken back where making it fails half-way.
    pub(crate) fn change<T, E: From<StepError>>(
        &self,
        scope: Scope,
        change: Change,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let id = self.announce(scope, &change)?;
        match make() {
            Ok(made) => {
                self.observe(&Step::Made(change));
                Ok(made)
            }
            Err(error) => {
                // What it was refused for is the better story; what cannot be taken back stays in the journal.
                let _ = self.undo_entry(id, &change);
                Err(error)
            }
        }
    }

    fn announce(&self, scope: Scope, change: &Change) -> Result<EntryId, StepError> {
        let mut journal = self.journal();
        let open = journal.as_mut().filter(|journal| journal.is_open(scope)).ok_or_else(closed)?;
        let id = open.announce(scope, change.clone())?;
        drop(journal);
        self.observe(&Step::Announced(change.clone()));
        Ok(id)
    }

    /// Undoes everything that was done for `scope`, pairs first, then programs, which may hold offloads off, then the
    /// newest first. What fails does not keep the rest from being undone, but for a pair: while it is there without its
    /// guard, its owner would send into the host's own stack. What is not known may be one.
    pub(crate) fn undo(&self, scope: Scope) -> Result<(), CloseError> {
        let (mut pending, unknown) = match self.journal().as_ref() {
            Some(journal) => (journal.pending(scope), journal.unknown(scope)),
            None => return Ok(()),
        };
        // While their programs are attached, by which they are known elsewhere.
        for (_, _, change) in &pending {
            if let Some((device, index)) = change.nic() {
                self.look_elsewhere(device, index);
            }
        }
        pending.sort_by_key(|(_, _, change)| match change {
            Change::Pair { .. } => 0,
            Change::Attachment { .. } => 1,
            _ => 2,
        });
        let (mut failed, mut unguarded) = (Vec::new(), Vec::new());
        for (its, name) in unknown {
            if matches!(its, Scope::Port { .. }) {
                unguarded.push(its);
            }
            failed.push((its, format!("`{name}`"), JournalError::Unknown { name }.into()));
        }
        for (id, its, change) in pending {
            let guards = matches!(change, Change::Attachment { .. } | Change::Pins { .. });
            if guards && unguarded.contains(&its) {
                continue;
            }
            if let Err(cause) = self.undo_entry(id, &change) {
                if matches!(change, Change::Pair { .. }) {
                    unguarded.push(its);
                }
                failed.push((its, format!("{change:?}"), cause));
            }
        }
        let left = failed.len();
        let first =
            failed.into_iter().next().map(|(its, what, cause)| (format!("{what} of {}", self.describe(its)), cause));
        let closed = self.close_ended(scope).map_err(|cause| ("a record of the journal".to_owned(), cause));
        match first.map_or(closed, Err) {
            Ok(()) => Ok(()),
            Err((what, cause)) => Err(CloseError { left: left.max(1), what, cause }),
        }
    }

    fn describe(&self, scope: Scope) -> String {
        self.journal().as_ref().map_or_else(String::new, |journal| journal.describe(scope))
    }

    /// Crosses out what ended with `scope`.
    fn close_ended(&self, scope: Scope) -> Result<(), StepError> {
        let closed = match self.journal().as_mut() {
            Some(journal) => journal.close_ended(scope)?,
            None => Vec::new(),
        };
        for what in closed {
            self.observe(&Step::CrossedOut(what));
        }
        Ok(())
    }

    /// Undoes the one pending change that `wanted` picks, if there is one.
    pub(crate) fn undo_one(&self, wanted: impl Fn(&Change) -> bool) -> Result<(), StepError> {
        let found = self.journal().as_ref().and_then(|journal| journal.find(wanted));
        match found {
            Some((id, change)) => self.undo_entry(id, &change),
            None => Ok(()),
        }
    }

    /// Crosses out a change that turned out not to have been made.
    pub(crate) fn forget(&self, change: &Change) -> Result<(), StepError> {
        if let Some(journal) = self.journal().as_mut()
            && let Some((id, _)) = journal.find(|pending| pending == change)
        {
            journal.cross_out(id)?;
        }
        Ok(())
    }

    fn undo_entry(&self, id: EntryId, change: &Change) -> Result<(), StepError> {
        self.observe(&Step::Undoing(change.clone()));
        self.take_back(change)?;
        if let Some(journal) = self.journal().as_mut() {
            journal.cross_out(id)?;
        }
        self.observe(&Step::Undone(change.clone()));
        Ok(())
    }

    /// Takes one change back, where it is still there and still ours. Doing it twice is doing it once: a crash may come
    /// between a change and its record.
    fn take_back(&self, change: &Change) -> Result<(), StepError> {
        match change {
            Change::Namespace => unbind(&self.paths),
            Change::Pins { folder } => pins::remove(&self.paths.pin(folder)),
            Change::Attachment { pin } => xsknet_bpf::remove_link_pin(&self.paths.pin(pin))
                .map_err(|cause| StepError::Io { attempt: "detach a program", cause }),
            Change::Pair { outer, inner, alias } => {
                let _turn = self.admission.delete();
                // In this namespace all devices are ours, the one included that was not marked yet.
                delete_if(&self.ports.links, inner, |found| found.is_none_or(|found| found == alias))?;
                if self.host_is_meant {
                    delete_if(&self.host.links, outer, |found| found.is_some_and(|found| found == alias))?;
                }
                Ok(())
            }
            Change::Offload { device, index, feature, was } => self.at_nic((device, *index), |site, _, name| {
                let change = FeatureChange { name: feature.clone(), was: *was };
                Ok(site.ethtool.restore_features(name, &[change])?)
            }),
            Change::Offloads { device, index, were } => {
                self.at_nic((device, *index), |site, _, name| Ok(site.ethtool.restore_features(name, were)?))
            }
            // A NIC that is moved loses them (`dev_uc_flush()`), and promiscuous mode that stands for them once it is
            // up again.
            Change::Filter { index, mac, .. } => {
                if self.name_of(*index)?.is_some() {
                    self.host.links.remove_filter(*index, *mac)?;
                }
                Ok(())
            }
            Change::Vlan { device, .. } => match self.ports.links.by_name(device) {
                Ok(there) if there.kind.as_deref() == Some("vlan") => match self.ports.links.delete(there.index) {
                    Err(LinkError::DeviceMissing { .. }) => Ok(()),
                    other => Ok(other?),
                },
                Ok(_) | Err(LinkError::DeviceMissing { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Change::Promiscuous { device, index } => {
                self.at_nic((device, *index), |site, index, _| Ok(site.links.set_promiscuous(index, false)?))
            }
        }
    }

    /// Ends the journal once nothing is pending.
    pub(crate) fn finish(&self) -> Result<(), StepError> {
        match self.journal().take() {
            Some(journal) => Ok(journal.remove()?),
            None => Ok(()),
        }
    }
}

/// Deletes a device of this name if its alias says that it is ours. Its peer goes with it.
fn delete_if(links: &Links, name: &DeviceName, is_ours: impl Fn(Option<&str>) -> bool) -> Result<(), LinkError> {
    match links.by_name(name) {
        Ok(device) if is_ours(device.alias.as_deref()) => match links.delete(device.index) {
            Err(LinkError::DeviceMissing { .. }) => Ok(()),
            other => other,
        },
        Ok(_) | Err(LinkError::DeviceMissing { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What an instance, an uplink or a port is that others have closed meanwhile.
fn closed() -> StepError {
    let attempt = "change the host for an instance, an uplink or a port that is closed";
    StepError::Io { attempt, cause: io::ErrorKind::NotConnected.into() }
}

pub(crate) fn unbind(paths: &Paths) -> Result<(), StepError> {
    Netns::unbind(&paths.namespace())?;
    match std::fs::remove_dir(paths.folder()) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(StepError::Io { attempt: "remove the instance's folder", cause })
        }
        _ => Ok(()),
    }
}

/// Devices whose alias says that they are this instance's, although no journal has them.
pub(crate) fn delete_strays(links: &Links, prefix: &str) -> Result<(), LinkError> {
    let ours = |alias: &Option<String>| alias.as_deref().is_some_and(|alias| alias.starts_with(prefix));
    let strays: HashSet<IfIndex> =
        links.list()?.into_iter().filter(|device| ours(&device.alias)).map(|device| device.index).collect();
    for index in strays {
        match links.delete(index) {
            Ok(()) | Err(LinkError::DeviceMissing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

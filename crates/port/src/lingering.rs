//! What a client keeps of a port that is closed: its sockets' rings and frames are the kernel's memory, which nobody's
//! limit shows, for as long as it holds on to a descriptor, or has a socket of its own on the same UMEM. Here it is
//! watched until it is gone.

use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::fstat;
use xsknet_bpf::{SocketWatch, UmemWatch, WatchedSocket, WatchedUmem, map_exists};

use crate::error::StepError;
use crate::ids::PortKey;

/// Sockets that are watched at once. Whose socket finds no place counts as kept for as long as the instance runs.
const PLACES: u32 = 16_384;
/// Most clients close their descriptors at once; the others are asked ever less often.
const SOON: Duration = Duration::from_millis(1);
const LATE: Duration = Duration::from_millis(250);

/// Is notified of each port once nothing of it is left.
type Listener = Box<dyn FnMut(PortKey) + Send>;

/// The memory of a UMEM that was handed over. Its owner can keep it when no socket is left.
#[derive(Debug)]
pub(crate) struct UmemFile {
    /// `None` where it is a BPF map's: that is watched by its number, and goes with its last descriptor and mapping.
    file: Option<OwnedFd>,
    /// `None`: it cannot be watched, and is taken to end with the port's sockets.
    umem: Option<Umem>,
}

/// A UMEM whose end can be told: its owner may have bound other sockets to it, which nobody else knows of.
#[derive(Clone)]
pub(crate) struct Umem {
    watch: Arc<UmemWatch>,
    watched: WatchedUmem,
}

impl Umem {
    fn exists(&self) -> bool {
        self.watch.exists(self.watched)
    }
}

impl std::fmt::Debug for Umem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.watched.fmt(f)
    }
}

/// Watches the UMEMs that are registered here, from the beginning of an instance to its end.
#[derive(Default)]
pub(crate) struct UmemEnds(Mutex<Option<Arc<UmemWatch>>>);

impl UmemEnds {
    pub(crate) fn begin(&self) {
        let watch = UmemWatch::new().inspect_err(|cause| {
            eprintln!(
                "xsknet: memory that clients keep by sockets of their own on a port's UMEM does not count: {cause}"
            );
        });
        *self.lock() = watch.ok().map(Arc::new);
    }

    pub(crate) fn end(&self) {
        self.lock().take();
    }

    /// Has `work` register a UMEM of so many bytes, on this thread.
    pub(crate) fn registered<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> (T, Option<Umem>) {
        let Some(watch) = self.lock().clone() else { return (work(), None) };
        let (made, watched) = watch.registered(bytes, work);
        (made, watched.map(|watched| Umem { watch, watched }))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<UmemWatch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UmemFile {
    pub(crate) fn new(file: &OwnedFd, umem: Option<Umem>) -> Result<Arc<Self>, StepError> {
        let file = file.try_clone().map_err(|cause| StepError::Io { attempt: "keep the file of a UMEM", cause })?;
        Ok(Arc::new(Self { file: Some(file), umem }))
    }

    /// Of memory that is a BPF map's.
    pub(crate) fn of_map(umem: Option<Umem>) -> Arc<Self> {
        Arc::new(Self { file: None, umem })
    }

    fn has_sockets(&self) -> bool {
        self.umem.as_ref().is_some_and(Umem::exists)
    }
}

/// Where util-linux has it.
const FALLOCATE: [&str; 2] = ["/usr/bin/fallocate", "/bin/fallocate"];

impl UmemFile {
    /// Gives the pages back to the machine. A process that maps the file later reads zeros, and what it writes then is
    /// the writer's own memory.
    ///
    /// By another process, and nothing here waits for it: a process that has the file can hold its lock indefinitely (a
    /// `write` from a page whose fault a FUSE server does not answer), and a thread of ours that waits for it could not
    /// even be killed.
    fn give_back(self) -> Option<Child> {
        let file = self.file?;
        let size = fstat(&file).map_or(0, |stat| stat.st_size);
        // Truncated by its owner, it has nothing to give back.
        if size <= 0 {
            return None;
        }
        let words =
            ["--punch-hole", "--offset", "0", "--length", &size.to_string(), "/proc/self/fd/0"].map(str::to_owned);
        let started = FALLOCATE.into_iter().find_map(|program| {
            let file = file.try_clone().ok()?;
            let command = &mut Command::new(program);
            command.args(&words).env_clear().stdin(file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        });
        if started.is_none() {
            eprintln!("xsknet: the memory of a closed port is not freed: {} is missing", FALLOCATE[0]);
        }
        started
    }
}

/// What the owner of a port may hold on to.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    /// Shared with other ports of the same owner, whose frames they are, too.
    pub(crate) umems: Vec<Arc<UmemFile>>,
    /// The kernel's ids of maps that were given away.
    pub(crate) maps: Vec<u32>,
    /// Its sockets are its owner's: a map in which they are stands for them.
    pub(crate) owns_sockets: bool,
}

/// A closed port, parts of which may be left.
struct Closed {
    key: PortKey,
    sockets: Vec<WatchedSocket>,
    /// Sockets that nobody can watch.
    lost: bool,
    kept: Retained,
    /// Processes that give memory back.
    giving: Vec<Child>,
}

#[derive(Default)]
struct State {
    watch: Option<SocketWatch>,
    closed: Vec<Closed>,
    listener: Option<Listener>,
    /// A thread looks after them.
    attended: bool,
    over: bool,
}

/// Of all closed ports of an instance.
#[derive(Default)]
pub(crate) struct Lingering {
    state: Mutex<State>,
    changed: Condvar,
}

impl Lingering {
    /// From now on `listener` is notified of each port once nothing of it is left, on a thread that it must not keep.
    pub(crate) fn listen(&self, listener: Listener) {
        self.lock().listener = Some(listener);
    }

    /// Watches what the owner of a port may keep, while the port's sockets are still open here.
    pub(crate) fn watch<'a>(
        self: &Arc<Self>,
        key: PortKey,
        sockets: impl Iterator<Item = &'a Mutex<Option<OwnedFd>>>,
        kept: Retained,
    ) {
        let mut state = self.lock();
        let mut closed = Closed { key, sockets: Vec::new(), lost: false, kept, giving: Vec::new() };
        for socket in sockets {
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(socket) = socket.as_ref() else { continue };
            if closed.kept.owns_sockets {
                continue;
            }
            match state.watch(socket) {
                Some(watched) => closed.sockets.push(watched),
                None => closed.lost = true,
            }
        }
        state.closed.push(closed);
        self.attend(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing of this port could be kept, or it cannot be told.
    pub(crate) fn report_gone(&self, key: PortKey) {
        if let Some(listener) = &mut self.lock().listener {
            listener(key);
        }
    }

    /// Ends the watch.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        state.listener = None;
        state.closed.clear();
        state.watch = None;
        drop(state);
        self.changed.notify_all();
    }

    fn attend(self: &Arc<Self>, state: &mut State) {
        if state.attended || state.over {
            return;
        }
        let own = Arc::clone(self);
        let spawned = thread::Builder::new().name("xsknet closed".into()).spawn(move || own.look_after());
        match spawned {
            Ok(_) => state.attended = true,
            // The next port that is closed tries again.
            Err(cause) => eprintln!("xsknet: what is left of closed ports is not watched: {cause}"),
        }
    }

    /// Looks ever less often, and soon again when a port is closed; until nothing is left.
    fn look_after(&self) {
        let mut pause = SOON;
        let mut state = self.lock();
        loop {
            let before = state.closed.len();
            state.look();
            if state.over || state.closed.is_empty() {
                state.watch = None;
                state.attended = false;
                return;
            }
            pause = if state.closed.len() < before { SOON } else { (pause * 2).min(LATE) };
            let (next, waited) = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
            state = next;
            if !waited.timed_out() {
                pause = SOON;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn watch(&mut self, socket: &OwnedFd) -> Option<WatchedSocket> {
        if self.watch.is_none() {
            self.watch = SocketWatch::new(PLACES)
                .inspect_err(|cause| eprintln!("xsknet: no socket can be watched: {cause}"))
                .ok();
        }
        self.watch.as_mut()?.watch(socket.as_fd()).ok().flatten()
    }

    fn look(&mut self) {
        let Self { watch, closed, listener, .. } = self;
        closed.retain_mut(|port| {
            let sockets = std::mem::take(&mut port.sockets);
            port.sockets = match watch {
                Some(watch) => sockets.into_iter().filter_map(|socket| watch.is_gone(socket).err()).collect(),
                None => sockets,
            };
            // What cannot be determined counts as kept.
            port.kept.maps.retain(|id| map_exists(*id).unwrap_or(true));
            if port.lost || !port.sockets.is_empty() || !port.kept.maps.is_empty() {
                return true;
            }
            // Of those that no other port is on. Not before: while a port is taken away, its owner may still read
            // frames in them.
            for file in std::mem::take(&mut port.kept.umems).into_iter().filter_map(Arc::into_inner) {
                if file.has_sockets() {
                    port.kept.umems.push(Arc::new(file));
                } else {
                    port.giving.extend(file.give_back());
                }
            }
            port.giving.retain_mut(|process| match process.try_wait() {
                Ok(None) => true,
                Ok(Some(status)) if status.success() => false,
                // An older or smaller `fallocate` than util-linux's, for one.
                Ok(Some(status)) => {
                    eprintln!("xsknet: the memory of a closed port is not freed: fallocate ended with {status}");
                    false
                }
                Err(_) => false,
            });
            if !port.giving.is_empty() || !port.kept.umems.is_empty() {
                return true;
            }
            if let Some(listener) = listener {
                listener(port.key);
            }
            false
        });
    }
}

impl std::fmt::Debug for Lingering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lingering").finish_non_exhaustive()
    }
}

//! Tells when others take away, or spoil, the devices that uplinks and ports are made of.
//!
//! One thread waits for the events of all namespaces. The owner of a namespace can make as many as it likes, so that no namespace
//! gets more than a small share of the thread: it reads some of the events, looks once, and reads no more there for a while.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use xsknet_link::{DeviceName, IfIndex, LinkError, LinkEvent, Monitor};

use crate::client_end::{ClientEnd, ClientEnds};
use crate::error::StepError;
use crate::ground::Ground;
use crate::port::PortKey;
use crate::uplink::UplinkState;

/// Something that is gone although nobody closed it here. What is left of it goes by closing it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A card was deleted, or moved to another network namespace. All its ports are cut off; they are not told one by one.
    Uplink {
        /// The card.
        device: DeviceName,
    },
    /// A port's pair was deleted, or the client of a pinned port did something else to its end.
    Port {
        /// The card it belongs to.
        uplink: DeviceName,
        /// The port.
        key: PortKey,
        /// What became of the inner end of a pinned port, in words: `its MTU was changed from 1500 to 1400`. `None` for other ports.
        change: Option<String>,
    },
}

/// Events of one namespace that are read before others have their turn.
const EVENTS_A_TURN: usize = 64;
/// How long a client's namespace that had a turn waits for the next.
const REST: Duration = Duration::from_millis(10);

/// Losses that are remembered before those of ports that are closed by now are forgotten.
const FEW_TOLD: usize = 64;

/// The uplinks of an instance, each as long as somebody holds it.
pub(crate) type Uplinks = Mutex<BTreeMap<DeviceName, Weak<UplinkState>>>;

/// Watches the devices of an instance until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn begin(
        ground: &Ground,
        uplinks: Arc<Uplinks>,
        hear: impl FnMut(Loss) + Send + 'static,
    ) -> Result<Self, StepError> {
        let refused = |cause: io::Error| StepError::Io { attempt: "watch the devices", cause };
        let host = Monitor::in_namespace(&ground.host.namespace)?;
        let counter = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let end = Arc::new(counter().map_err(|errno| refused(errno.into()))?);
        let bell = Arc::new(counter().map_err(|errno| refused(errno.into()))?);
        ground.client_ends.tell(&bell);
        let (ends, clients, told) = (Arc::clone(&ground.client_ends), BTreeMap::new(), HashSet::new());
        let mut watcher = Watcher { ends, uplinks, host, bell, clients, told, hear };
        let ended = Arc::clone(&end);
        let work = move || {
            if let Err(error) = watcher.watch(&ended) {
                // Nobody waits for it, and it must not be silent.
                eprintln!("xsknet: devices are no longer watched: {error}");
            }
        };
        let thread = thread::Builder::new().name("xsknet watch".into()).spawn(work).map_err(refused)?;
        Ok(Self { end, thread: Some(thread) })
    }
}

/// Whoever hears of a loss may drop the watch; it ends a moment later then.
impl Drop for Watch {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        debug_assert_eq!(told, Ok(8), "a counter of our own has room for one");
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the listener has been printed.
            let _ = thread.join();
        }
    }
}

struct Watcher<H> {
    ends: Arc<ClientEnds>,
    uplinks: Arc<Uplinks>,
    host: Monitor,
    /// Rings when an inner end in a client's namespace comes or goes.
    bell: Arc<OwnedFd>,
    clients: BTreeMap<PortKey, Watched>,
    told: HashSet<Subject>,
    hear: H,
}

/// An inner end in a client's namespace.
struct Watched {
    end: Weak<ClientEnd>,
    index: IfIndex,
    monitor: Monitor,
    rests_until: Option<Instant>,
}

/// What is lost once.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Subject {
    Card(IfIndex),
    Port(PortKey),
}

/// Who has something to tell.
enum Ready {
    Host,
    Bell,
    Client(PortKey),
}

impl<H: FnMut(Loss)> Watcher<H> {
    fn watch(&mut self, end: &OwnedFd) -> Result<(), LinkError> {
        // What went before the first event.
        self.look(&|_| true);
        self.meet_clients();
        loop {
            let Some(ready) = self.wait(end)? else { return Ok(()) };
            for ready in ready {
                match ready {
                    Ready::Host => self.read_host()?,
                    Ready::Bell => {
                        // Read, it is silent; nothing else can become of it.
                        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
                        self.meet_clients();
                    }
                    Ready::Client(key) => self.read_client(key),
                }
            }
        }
    }

    /// Waits until somebody has something to tell; `None` once the watch is to end.
    fn wait(&mut self, end: &OwnedFd) -> Result<Option<Vec<Ready>>, LinkError> {
        let now = Instant::now();
        for client in self.clients.values_mut() {
            client.rests_until = client.rests_until.filter(|until| *until > now);
        }
        let timeout = self.clients.values().filter_map(|client| client.rests_until).min();
        let timeout = timeout.and_then(|until| Timespec::try_from(until - now).ok());
        let awake: Vec<_> = self.clients.iter().filter(|(_, client)| client.rests_until.is_none()).collect();
        let own = [
            PollFd::new(end, PollFlags::IN),
            PollFd::new(&self.host, PollFlags::IN),
            PollFd::new(&*self.bell, PollFlags::IN),
        ];
        let monitors = awake.iter().map(|(_, client)| PollFd::new(&client.monitor, PollFlags::IN));
        let mut polled: Vec<_> = own.into_iter().chain(monitors).collect();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(LinkError::Unreachable { what: "wait for events", cause: errno.into() }),
        }
        let mut tells = polled.iter().map(|polled| !polled.revents().is_empty());
        if tells.next() == Some(true) {
            return Ok(None);
        }
        let all = [Ready::Host, Ready::Bell].into_iter().chain(awake.iter().map(|(key, _)| Ready::Client(**key)));
        Ok(Some(all.zip(tells).filter_map(|(who, tells)| tells.then_some(who)).collect()))
    }

    fn read_host(&mut self) -> Result<(), LinkError> {
        for _ in 0..EVENTS_A_TURN {
            match self.host.next(Duration::ZERO)? {
                Some(LinkEvent::Deleted(index)) => self.look(&|its| its == index),
                Some(LinkEvent::Overrun) => self.look(&|_| true),
                Some(LinkEvent::Changed { .. }) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Begins to watch the ends that came, and forgets those that went.
    fn meet_clients(&mut self) {
        let ends = self.ends.all();
        self.clients.retain(|key, _| ends.contains_key(key));
        for (key, weak) in ends {
            if self.clients.contains_key(&key) || self.told.contains(&Subject::Port(key)) {
                continue;
            }
            let Some(end) = weak.upgrade() else { continue };
            match Monitor::in_namespace(&end.site.namespace) {
                Ok(monitor) => {
                    self.clients.insert(key, Watched { end: weak, index: end.index, monitor, rests_until: None });
                    drop(end);
                    // What went before the first event.
                    self.look_at(key);
                }
                Err(error) => {
                    drop(end);
                    self.lose(&weak, Some(format!("its network namespace cannot be watched: {error}")));
                }
            }
        }
    }

    fn read_client(&mut self, key: PortKey) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.rests_until = Some(Instant::now() + REST);
        let mut suspect = false;
        for _ in 0..EVENTS_A_TURN {
            match client.monitor.next(Duration::ZERO) {
                Ok(Some(LinkEvent::Deleted(index) | LinkEvent::Changed { index, .. })) => {
                    suspect |= index == client.index
                }
                Ok(Some(LinkEvent::Overrun)) => suspect = true,
                Ok(None) => break,
                Err(error) => {
                    let end = client.end.clone();
                    return self.lose(&end, Some(format!("its network namespace can no longer be watched: {error}")));
                }
            }
        }
        if suspect {
            self.look_at(key);
        }
    }

    /// Looks at the end of one client.
    fn look_at(&mut self, key: PortKey) {
        let Some(client) = self.clients.get(&key) else { return };
        let end = client.end.clone();
        let change = end.upgrade().and_then(|end| end.change());
        if change.is_some() {
            self.lose(&end, change);
        }
    }

    /// Tells that the end of a client is of no use any more, unless its port was closed meanwhile: then it had to go.
    fn lose(&mut self, end: &Weak<ClientEnd>, change: Option<String>) {
        if let Some((index, uplink, key)) = end.upgrade().map(|end| (end.index, end.uplink.clone(), end.key)) {
            self.tell(index, Loss::Port { uplink, key, change });
        }
    }

    /// Looks at the devices among the host's that `suspect` picks.
    fn look(&mut self, suspect: &dyn Fn(IfIndex) -> bool) {
        for (index, loss) in losses(&self.uplinks, suspect) {
            self.tell(index, loss);
        }
    }

    /// Once each.
    fn tell(&mut self, index: IfIndex, loss: Loss) {
        let subject = match &loss {
            Loss::Uplink { .. } => Subject::Card(index),
            Loss::Port { key, .. } => {
                self.clients.remove(key);
                Subject::Port(*key)
            }
        };
        if self.told.insert(subject) {
            // A port that is closed is lost no more, and nobody gets its key again.
            if self.told.len() > FEW_TOLD {
                let open = open_ports(&self.uplinks);
                self.told.retain(|told| {
                    matches!(told, Subject::Card(_)) || matches!(told, Subject::Port(key) if open.contains(key))
                });
            }
            (self.hear)(loss);
        }
    }
}

fn open_ports(uplinks: &Uplinks) -> HashSet<PortKey> {
    let uplinks = uplinks.lock().unwrap_or_else(PoisonError::into_inner);
    let uplinks: Vec<_> = uplinks.values().filter_map(Weak::upgrade).collect();
    uplinks.iter().flat_map(|uplink| uplink.keys()).collect()
}

fn losses(uplinks: &Uplinks, suspect: &dyn Fn(IfIndex) -> bool) -> Vec<(IfIndex, Loss)> {
    let uplinks = uplinks.lock().unwrap_or_else(PoisonError::into_inner);
    let uplinks: Vec<_> = uplinks.values().filter_map(Weak::upgrade).collect();
    uplinks.iter().flat_map(|uplink| uplink.losses_among(suspect)).collect()
}

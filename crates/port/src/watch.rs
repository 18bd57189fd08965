//! Reports when others delete, break or change the devices of uplinks and ports, and repairs what can be repaired.
//!
//! One thread waits for the events of all namespaces. The owner of a namespace can make as many as it likes, so that no
//! namespace gets more than a small share of the thread: it reads some of the events, looks once, and reads no more
//! there for a while.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use xsknet_link::{DeviceName, IfIndex, LinkError, LinkEvent, Links, Monitor};

use crate::client_end::{ClientEnd, ClientEnds};
use crate::context::Context;
use crate::error::StepError;
use crate::ids::PortKey;
use crate::info::NicState;
use crate::loss::Loss;
use crate::repair::{Part, Repair};
use crate::uplink_state::UplinkState;

/// What others did to the devices of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something is gone.
    Lost(Loss),
    /// A NIC is not what it was. Guards and the MACs of outer ends have followed.
    Changed {
        /// The NIC, by the name that it had when it became an uplink.
        uplink: DeviceName,
        /// What it is now.
        nic: NicState,
    },
    /// The host has got an address that a port has, too: both answer for it.
    Conflict {
        /// The NIC of the port.
        uplink: DeviceName,
        /// The port.
        key: PortKey,
        /// The address.
        address: IpAddr,
    },
    /// A program was detached from its device by others, or a driver had stopped running a NIC's, and it was attached
    /// again; frames in between went to the host. Where that fails, a port is [`Lost`](Self::Lost), and a NIC is tried
    /// again.
    Repaired {
        /// The NIC.
        uplink: DeviceName,
        /// The port whose pair it is; `None` for the NIC's own program.
        key: Option<PortKey>,
        /// `"uplink"`, `"copy"`, `"guard"` or `"port"`.
        program: &'static str,
        /// The device.
        device: DeviceName,
        /// What had become of it: `another program detached it`.
        why: String,
        /// Why it is not back.
        failure: Option<String>,
    },
    /// A NIC filtered out a VLAN of ports, for example because the host's device of it was deleted, and it is let in
    /// again. Where that fails, it is tried again.
    Vlan {
        /// The NIC.
        uplink: DeviceName,
        /// The VLAN.
        vlan: u16,
        /// Why nothing of it comes in.
        failure: Option<String>,
    },
    /// An offload of a NIC was switched on that isolates VLANs only while it is off, and it was switched off again. In
    /// between, frames of any VLAN looked untagged. Where that fails, it is tried again.
    Offload {
        /// The NIC.
        uplink: DeviceName,
        /// The kernel's name of it.
        offload: String,
        /// Why it is still on.
        failure: Option<String>,
    },
}

/// Events of one namespace that are read before others have their turn.
const EVENTS_A_TURN: usize = 64;
/// How long a client's namespace that had a turn waits for the next.
const REST: Duration = Duration::from_millis(10);

/// How often programs are checked to be still on their devices: the kernel reports no change of that.
const ROUND: Duration = Duration::from_secs(1);

/// Losses that are remembered before those of ports that are closed by now are forgotten.
const FEW_TOLD: usize = 64;

/// The uplinks of an instance, each as long as there is a reference to it.
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
        context: &Context,
        uplinks: Arc<Uplinks>,
        hear: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, StepError> {
        let refused = |cause: io::Error| StepError::Io { attempt: "watch the devices", cause };
        let host = Monitor::with_addresses(&context.host.netns)?;
        let counter = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let end = Arc::new(counter().map_err(|errno| refused(errno.into()))?);
        let bell = Arc::new(counter().map_err(|errno| refused(errno.into()))?);
        context.client_ends.tell(&bell);
        let (ends, clients, told) = (Arc::clone(&context.client_ends), BTreeMap::new(), HashSet::new());
        let (links, round) = (Links::in_namespace(&context.host.netns)?, Instant::now() + ROUND);
        let (nics, failing) = (BTreeMap::new(), HashSet::new());
        let mut watcher = Watcher { ends, uplinks, host, links, bell, clients, nics, failing, told, round, hear };
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

/// A listener may drop the watch; it ends a moment later then.
impl Drop for Watch {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        debug_assert_eq!(told, Ok(8), "a counter of our own has port for one");
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
    links: Links,
    /// Rings when an inner end in a client's namespace comes or goes.
    bell: Arc<OwnedFd>,
    clients: BTreeMap<PortKey, Watched>,
    /// The NICs as they were reported last.
    nics: BTreeMap<IfIndex, NicState>,
    /// The parts of each NIC that cannot be repaired.
    failing: HashSet<(IfIndex, Part)>,
    told: HashSet<Subject>,
    /// When to look at the programs next.
    round: Instant,
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
    Nic(IfIndex),
    Port(PortKey),
    Address(PortKey, IpAddr),
}

/// Where there is something to read.
enum Ready {
    Host,
    Bell,
    Client(PortKey),
}

impl<H: FnMut(Notice)> Watcher<H> {
    fn watch(&mut self, end: &OwnedFd) -> Result<(), LinkError> {
        // What went before the first event.
        self.look(&|_| true);
        self.compare(&|_| true);
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
            if Instant::now() >= self.round {
                self.repair();
                self.round = Instant::now() + ROUND;
            }
        }
    }

    /// Waits until a source has an event; `None` once the watch is to end.
    fn wait(&mut self, end: &OwnedFd) -> Result<Option<Vec<Ready>>, LinkError> {
        let now = Instant::now();
        for client in self.clients.values_mut() {
            client.rests_until = client.rests_until.filter(|until| *until > now);
        }
        let rests = self.clients.values().filter_map(|client| client.rests_until);
        let until = rests.min().map_or(self.round, |until| until.min(self.round));
        let timeout = Timespec::try_from(until.saturating_duration_since(now)).ok();
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
                Some(LinkEvent::Changed { index, .. }) => self.compare(&|its| its == index),
                Some(LinkEvent::Address(address)) => self.compare_address(address),
                Some(LinkEvent::Overrun) => {
                    self.look(&|_| true);
                    self.compare(&|_| true);
                    for address in self.links.all_addresses().unwrap_or_default() {
                        self.compare_address(address);
                    }
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Looks what has changed about the NICs that `suspect` picks.
    fn compare(&mut self, suspect: &dyn Fn(IfIndex) -> bool) {
        for uplink in open_uplinks(&self.uplinks) {
            let index = uplink.nic.info.index;
            if !suspect(index) {
                continue;
            }
            let nic = uplink.refresh();
            // How it was at first is known from managing it.
            let before = self.nics.insert(index, nic.clone());
            if before.is_some_and(|before| before != nic) {
                (self.hear)(Notice::Changed { uplink: uplink.nic.info.device.clone(), nic });
            }
            // At once: until then VLANs are not kept apart.
            for repair in uplink.hold_offloads() {
                self.tell_repair(&uplink, repair);
            }
        }
    }

    /// Looks whether a port has what the host has got.
    fn compare_address(&mut self, address: IpAddr) {
        for uplink in open_uplinks(&self.uplinks) {
            for key in uplink.ports_with(address) {
                if self.told.insert(Subject::Address(key, address)) {
                    (self.hear)(Notice::Conflict { uplink: uplink.nic.info.device.clone(), key, address });
                }
            }
        }
    }

    /// Does again what others have undone.
    fn repair(&mut self) {
        for uplink in open_uplinks(&self.uplinks) {
            let index = uplink.nic.info.index;
            let repairs = uplink.repair();
            self.failing.retain(|(its, part)| *its != index || repairs.iter().any(|repair| repair.part == *part));
            for repair in repairs {
                self.tell_repair(&uplink, repair);
            }
        }
    }

    fn tell_repair(&mut self, uplink: &UplinkState, Repair { part, outcome }: Repair) {
        let (index, uplink) = (uplink.nic.info.index, uplink.nic.info.device.clone());
        let failure = outcome.err().map(|error| error.to_string());
        let notice = match (&part, &failure) {
            (Part::Program { key: Some(key), program, device, .. }, Some(failure)) => {
                let what =
                    format!("its {program} program was detached from {device} and cannot be attached again: {failure}");
                return self.tell(index, Loss::Port { uplink, key: *key, change: Some(what) });
            }
            // Once: it is tried again in each round.
            (_, Some(_)) if !self.failing.insert((index, part.clone())) => return,
            (Part::Program { key, program, device, why }, _) => {
                Notice::Repaired { uplink, key: *key, program, device: device.clone(), why: why.clone(), failure }
            }
            (Part::Vlan { id }, _) => Notice::Vlan { uplink, vlan: *id, failure },
            (Part::Offload { name }, _) => Notice::Offload { uplink, offload: name.clone(), failure },
        };
        (self.hear)(notice);
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
            match Monitor::in_namespace(&end.namespace.netns) {
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
                Ok(Some(LinkEvent::Address(_))) => {}
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

    /// Reports that the end of a client is lost, unless its port was closed in between: then it had to go.
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
            Loss::Uplink { .. } => Subject::Nic(index),
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
                    matches!(told, Subject::Nic(_))
                        || matches!(told, Subject::Port(key) | Subject::Address(key, _) if open.contains(key))
                });
            }
            (self.hear)(Notice::Lost(loss));
        }
    }
}

fn open_uplinks(uplinks: &Uplinks) -> Vec<Arc<UplinkState>> {
    uplinks.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect()
}

fn open_ports(uplinks: &Uplinks) -> HashSet<PortKey> {
    open_uplinks(uplinks).iter().flat_map(|uplink| uplink.keys()).collect()
}

fn losses(uplinks: &Uplinks, suspect: &dyn Fn(IfIndex) -> bool) -> Vec<(IfIndex, Loss)> {
    open_uplinks(uplinks).iter().flat_map(|uplink| uplink.losses_among(suspect)).collect()
}

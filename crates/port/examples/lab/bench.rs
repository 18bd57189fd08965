//! What orders work with: the lab, and what stands at its far end until the lab ends.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use xsknet_bpf::testbed::Sink;
use xsknet_link::MacAddr;
use xsknet_testkit::{FAR, Lab, NUMBER_OFFSET, Snapshot, device, far_socket};
use xsknet_xsk::Socket;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Numbers that a sink tells apart unless told otherwise; 8 bytes each.
pub const NUMBERS: u32 = 4_000_000;

pub struct Bench {
    pub lab: Lab,
    /// How the names of its instances begin.
    pub instances: String,
    /// The far end has room for one, so all traffic shares it, a burst at a time.
    far: OnceLock<Mutex<Socket>>,
    /// Takes nothing. It was attached first, so it sees, and counts, what the other sinks take.
    counter: Sink,
    sinks: Mutex<BTreeMap<u16, Arc<Sink>>>,
    /// There is one of XDP, which sees all frames before any other.
    is_native: AtomicBool,
    runs: Mutex<BTreeMap<u64, Arc<Run>>>,
    before: Mutex<Option<Snapshot>>,
    next_port: AtomicU16,
}

/// Traffic that others may watch and stop.
#[derive(Default)]
pub struct Run {
    pub stopped: AtomicBool,
    pub sent: AtomicU64,
    pub answered: AtomicU64,
}

impl Bench {
    pub fn new(lab: Lab, instances: String) -> Result<Self> {
        Ok(Self {
            instances,
            counter: attach(&lab, 0, 1, 0)?,
            far: OnceLock::new(),
            sinks: Mutex::default(),
            is_native: AtomicBool::new(false),
            runs: Mutex::default(),
            before: Mutex::default(),
            next_port: AtomicU16::new(20_000),
            lab,
        })
    }

    pub fn far(&self) -> MutexGuard<'_, Socket> {
        held(self.far.get_or_init(|| Mutex::new(far_socket(&self.lab))))
    }

    /// The first of `count` UDP ports of the remote host, one at least, that no other traffic uses.
    pub fn fresh_ports(&self, count: u16) -> u16 {
        self.next_port.fetch_add(count.max(1), Ordering::Relaxed)
    }

    /// The lasting sink of this port, attached at the first call.
    pub fn sink(&self, port: u16, numbers: u32, flows: u16) -> Result<Arc<Sink>> {
        Ok(match held(&self.sinks).entry(port) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => Arc::clone(entry.insert(Arc::new(attach(&self.lab, port, numbers, flows)?))),
        })
    }

    /// Has flows to this port end in an XDP program, which no lab has two of, in the place of a lasting sink.
    pub fn sink_natively(&self, port: u16, flows: u16) -> Result<()> {
        let far = self.lab.remote.links().by_name(&device(FAR))?;
        let target = xsknet_bpf::Device { name: far.name.to_string(), index: far.index.get() };
        let attach = || Sink::following_native(&target, port, NUMBER_OFFSET, flows);
        held(&self.sinks).insert(port, Arc::new(self.lab.remote.enter(attach)?));
        self.is_native.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Frames that came from this MAC since the lab was built.
    pub fn frames_from(&self, mac: MacAddr) -> Result<u64> {
        let mut frames = self.counter.frames_from(mac.octets())?;
        // It passes what it does not take, which is counted behind it once more.
        if self.is_native.load(Ordering::Relaxed) {
            for sink in held(&self.sinks).values() {
                frames = frames.max(sink.frames_from(mac.octets())?);
            }
        }
        Ok(frames)
    }

    pub fn begin(&self, id: u64) -> Arc<Run> {
        let run = Arc::new(Run::default());
        held(&self.runs).insert(id, Arc::clone(&run));
        run
    }

    /// A run stays known after its end.
    pub fn run(&self, id: u64) -> Result<Arc<Run>> {
        let run = held(&self.runs).get(&id).cloned();
        run.ok_or_else(|| format!("no traffic was ordered under id {id}").into())
    }

    pub fn look(&self) -> Snapshot {
        let folders = [Path::new("/run/xsknet"), Path::new("/sys/fs/bpf")];
        Snapshot::take(self.lab.host.namespace(), &folders).beside_others(&self.instances)
    }

    pub fn remember(&self, snapshot: Snapshot) {
        *held(&self.before) = Some(snapshot);
    }

    pub fn before(&self) -> Result<Snapshot> {
        held(&self.before).clone().ok_or_else(|| "no snapshot was taken to compare with".into())
    }
}

/// A sink at the far end, gone with what this returns: it follows flows, or tells numbers apart where there are none.
pub fn attach(lab: &Lab, port: u16, numbers: u32, flows: u16) -> Result<Sink> {
    let far = lab.remote.links().by_name(&device(FAR))?.index.get();
    Ok(lab.remote.enter(|| match flows {
        0 => Sink::attach(far, port, NUMBER_OFFSET, numbers),
        _ => Sink::following(far, port, NUMBER_OFFSET, flows),
    })?)
}

/// An order that panicked has told so; the others go on.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The two programs of an uplink, and the tables they read.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::{MapData, MapError, ProgramArray};
use rustix::time::ClockId;
use xsknet_filter::Flow;

use crate::attachment::{self, AttachError, Attachment, Device};
use crate::contract::{Identity, NO_PORT_ID, PortId, Vlan};
use crate::counters::Counters;
use crate::explain::{ExplainError, Explainer, Explanation};
use crate::flows::FlowsError;
use crate::groups::{Group, GroupsError};
use crate::load_error::LoadError;
use crate::mode::{Mode, TcSide};
use crate::object;
use crate::port::{InnerEnd, PortProgram};
use crate::queue;
use crate::refusals::Refusal;
use crate::ring_program::RingProgram;
use crate::rings::{RingCounters, RingMaps, RingRange};
use crate::run::{self, RunError, TestResult};
use crate::table_error::TableError;
use crate::tables::{LastCounters, PortEntry, Tables};
use crate::taps::{Tap, TapError};

const UPLINK: &str = "uplink";
const GUARD: &str = "guard";
const RING_GUARD: &str = "ring_guard";
const COPY: &str = "copy";
const TAP: &str = "tap";

/// What a [`Datapath`] is loaded with.
#[derive(Debug, Clone, Copy)]
pub struct DatapathOptions<'a> {
    /// MTU of the uplink: what is longer does not leave through the guard. See [`Datapath::set_uplink_mtu`].
    pub uplink_mtu: u32,
    /// Decides, with a packet's addresses and ports, which of a port's queue pairs gets it. Senders must not know it.
    pub queue_seed: u32,
    /// A folder on a bpffs, made with mode 0700 if missing (its parent must exist). Maps and programs are pinned in its
    /// `maps/` and `programs/`; maps found there are re-used, with what is in them, if they have the right shape.
    pub pins: Option<&'a Path>,
}

/// How a port does not get places for its rings.
#[derive(Debug, thiserror::Error)]
pub enum RingsError {
    /// Their guard was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no place left.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// How a program that copies is not attached.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It was not loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It was not attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// How the data path counts time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// As the programs take it to be.
    pub(crate) jiffies_per_second: u32,
    /// How long a station is known after its last frame, in jiffies.
    pub(crate) station_age: u32,
    /// How long the first fragment of a packet steers the others, in jiffies.
    pub(crate) fragment_age: u32,
    /// The second of the rates, in nanoseconds.
    pub(crate) second: u64,
}

impl Pace {
    const STATION_SECONDS: u32 = 300;
    /// Fragments of a packet follow each other on the wire. The id of another packet may be the same soon.
    const FRAGMENT_SECONDS: u32 = 2;

    /// The kernel's.
    pub(crate) fn real() -> Self {
        // The coarse clock's resolution is one jiffy (KTIME_LOW_RES in the kernel), rounded to a nanosecond.
        let jiffy = rustix::time::clock_getres(ClockId::MonotonicCoarse).tv_nsec;
        let jiffies_per_second = (1_000_000_000 + jiffy / 2).checked_div(jiffy).and_then(|hz| hz.try_into().ok());
        let jiffies_per_second = jiffies_per_second.expect("a jiffy is 1 to 10 milliseconds long");
        Self {
            jiffies_per_second,
            station_age: Self::STATION_SECONDS * jiffies_per_second,
            fragment_age: Self::FRAGMENT_SECONDS * jiffies_per_second,
            second: 1_000_000_000,
        }
    }

    /// With a second of the rates that does not pass while a test runs: three days.
    #[cfg(test)]
    pub(crate) fn standstill() -> Self {
        let real = Self::real();
        Self { second: real.second << 18, ..real }
    }
}

/// Of the kernel.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled, Ok(bytes.len()), "getrandom answers up to 256 bytes at once");
    u32::from_ne_bytes(bytes)
}

/// The uplink program, the guard and the program of the ports' inner ends, loaded once an uplink.
///
/// Device indices are looked up in the network namespace of the thread that calls.
pub struct Datapath {
    bpf: Ebpf,
    /// What it was loaded with.
    globals: [(&'static str, u32); 5],
    explainer: Explainer,
    tables: Tables,
    inner_ends: Arc<PortProgram>,
    queue_seed: u32,
    pins: Option<PathBuf>,
    /// Holds the guard of all rings, once it is there.
    ring_guards: ProgramArray<MapData>,
    has_rings: bool,
    has_copy: bool,
    has_tap: bool,
}

impl Datapath {
    /// Loads the programs and makes their maps.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; nothing stays behind then.
    pub fn load(options: DatapathOptions<'_>) -> Result<Self, LoadError> {
        object::prepare_for_ports();
        Self::load_paced(options, Pace::real())
    }

    pub(crate) fn load_paced(options: DatapathOptions<'_>, pace: Pace) -> Result<Self, LoadError> {
        let globals = [
            ("queue_seed", options.queue_seed),
            ("station_seed", random()),
            ("station_age", pace.station_age),
            ("fragment_age", pace.fragment_age),
            ("jiffies_per_second", pace.jiffies_per_second),
        ];
        let (mut bpf, port) = object::load_datapath(&globals, options.pins)?;
        let inner_ends = PortProgram::shared(port)?;
        let mut tables = Tables::take(&mut bpf, pace.second)?;
        tables.set_uplink_mtu(options.uplink_mtu).map_err(|cause| LoadError::Map { map: "uplink_mtus", cause })?;
        let ring_guards = object::take_map(&mut bpf, "ring_guards")?;
        let pins = options.pins.map(Path::to_owned);
        Ok(Self {
            bpf,
            globals,
            explainer: Explainer::default(),
            tables,
            inner_ends,
            queue_seed: options.queue_seed,
            pins,
            ring_guards,
            has_rings: false,
            has_copy: false,
            has_tap: false,
        })
    }

    /// Attaches the uplink program to the NIC.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach_uplink(&self, device: &Device, mode: Mode) -> Result<Attachment, AttachError> {
        self.attach(UPLINK, device, mode)
    }

    /// Attaches the guard to the outer end of a queue pair.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach_guard(&self, device: &Device, mode: Mode) -> Result<Attachment, AttachError> {
        self.attach(GUARD, device, mode)
    }

    fn attach(&self, hook: &'static str, device: &Device, mode: Mode) -> Result<Attachment, AttachError> {
        let program = object::xdp(&self.bpf, hook);
        let fd = program.fd().map_err(|cause| AttachError::NotLoaded { hook, cause })?;
        attachment::attach(fd.as_fd(), device, mode, hook)
    }

    /// Gives the inner end of a queue pair a place at the program of the uplink's ports, with no socket yet. Its device
    /// has to be in the namespace of all the others.
    ///
    /// # Errors
    ///
    /// [`TableError::Full`], or the kernel's.
    pub fn inner_end(&self, ifindex: u32) -> Result<InnerEnd, TableError> {
        self.inner_ends.inner_end(ifindex)
    }

    /// Names the device that ports' frames leave by.
    ///
    /// # Errors
    ///
    /// [`TableError::DeviceMissing`], or the kernel's.
    pub fn set_uplink(&mut self, ifindex: u32) -> Result<(), TableError> {
        self.tables.set_uplink(ifindex)
    }

    /// Has the guard let out frames of this many bytes behind the Ethernet header and one VLAN tag, and none that are
    /// longer.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_uplink_mtu(&mut self, mtu: u32) -> Result<(), MapError> {
        self.tables.set_uplink_mtu(mtu)
    }

    /// Tells the programs the uplink's MAC: what ports have to send from where they send by their flows, and what ports
    /// with [`PortEntry::uplink_mac`] have on the wire. Until then these neither send nor receive.
    ///
    /// # Errors
    ///
    /// [`TableError::Taken`] where it is the MAC of a port, or the kernel's.
    pub fn set_uplink_mac(&mut self, mac: [u8; 6]) -> Result<(), TableError> {
        self.tables.set_uplink_mac(mac)
    }

    /// Closes the uplink to ports: their frames for it are dropped as `no_uplink` from now on.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn clear_uplink(&mut self) -> Result<(), TableError> {
        self.tables.clear_uplink()
    }

    /// Takes places for the rings of a port's queues. The first time, it loads the guard of all rings, whose rules take
    /// the kernel some 60 ms to verify.
    ///
    /// # Errors
    ///
    /// [`RingsError`].
    pub fn claim_rings(&mut self, queues: u32) -> Result<RingRange, RingsError> {
        if !self.has_rings {
            object::load_program(&mut self.bpf, RING_GUARD)?;
            let guard = object::xdp(&self.bpf, RING_GUARD);
            let fd = guard.fd().map_err(|cause| object::not_loaded(RING_GUARD, cause))?;
            self.ring_guards.set(0, fd, 0).map_err(|cause| LoadError::Map { map: "ring_guards", cause })?;
            self.has_rings = true;
        }
        Ok(self.tables.claim_rings(queues, random())?)
    }

    /// Has the programs find the memory of a client, one of `maps` for each queue. It waits for all CPUs.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn install_rings(&self, range: RingRange, maps: &[RingMaps]) -> Result<(), TableError> {
        self.tables.install_rings(range, maps)
    }

    /// Nothing of a client's memory is read or written once this returns. What was counted stays. It waits for all
    /// CPUs.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn uninstall_rings(&self, range: RingRange) -> Result<(), TableError> {
        self.tables.uninstall_rings(range)
    }

    /// Gives places back, once their port is removed, their memory is uninstalled and what they counted has been read.
    ///
    /// # Errors
    ///
    /// The kernel's; the places stay taken.
    pub fn release_rings(&mut self, range: RingRange) -> Result<(), TableError> {
        self.tables.release_rings(range)
    }

    /// What has been counted at rings that are claimed.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn ring_counters(&self, range: RingRange) -> Result<RingCounters, TableError> {
        self.tables.ring_counters(range)
    }

    /// Loads the program of a queue that has rings, for the inner end of its pair with this ifindex. Its own maps and
    /// the program are pinned in `pins`.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; nothing stays behind then.
    pub fn load_ring_program(
        &self,
        range: RingRange,
        queue: u32,
        inner: u32,
        pins: &Path,
    ) -> Result<RingProgram, LoadError> {
        let Some(shared) = &self.pins else { return Err(LoadError::NotBpffs { path: pins.to_owned() }) };
        let (ring, key) = range.of_queue(queue);
        let identity = Identity { ring, key, inner, dry_runs: cfg!(test).into() };
        RingProgram::load(identity, pins, shared)
    }

    /// Enters a port: first where it is, then what it may send, last what is steered to it, so that no frame is steered
    /// to a port that is not there yet. All or nothing.
    ///
    /// # Errors
    ///
    /// [`TableError::Taken`] for a MAC or address that another port has; what was entered before it is taken back.
    pub fn add_port(&mut self, port: &PortEntry<'_>) -> Result<(), TableError> {
        self.tables.add_port(port)
    }

    /// Removes a port in the opposite order, and returns what was counted for it. What is not there, or another
    /// port's, is left alone; so it may be called again after an error.
    ///
    /// # Errors
    ///
    /// The kernel's, after all that could be removed is.
    pub fn remove_port(&mut self, port: &PortEntry<'_>) -> Result<LastCounters, TableError> {
        self.tables.remove_port(port)
    }

    /// Steers what comes to the MAC of a port that has the uplink's on the wire to it, until [`Datapath::end_trial`] or
    /// the port's removal: so that a frame can be sent through it that no flow of anybody's and no address has to
    /// match.
    ///
    /// # Errors
    ///
    /// [`TableError::Taken`] for a MAC that another port has.
    pub fn begin_trial(&mut self, port: &PortEntry<'_>) -> Result<(), TableError> {
        self.tables.steer_mac(port)
    }

    /// Steers nothing to the MAC of a port any more that has the uplink's on the wire.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn end_trial(&mut self, port: &PortEntry<'_>) -> Result<(), TableError> {
        self.tables.leave_mac(port)
    }

    /// Has packets of these flows go to a port, beside those for its MAC and addresses, and lets it send what they
    /// match, reversed, with the uplink's MAC; see `docs/verdicts.md`. All or nothing. A few flows become valid one
    /// after the other, and cost a map operation each; more than 64 all at once, and cost as much as all flows of the
    /// uplink.
    ///
    /// # Errors
    ///
    /// [`FlowsError::Taken`] for a flow that is in conflict with another one, or is one of the port's already.
    pub fn claim_flows(&mut self, port: PortId, flows: &[Flow]) -> Result<(), FlowsError> {
        self.tables.flows.claim(port, flows)
    }

    /// Takes flows of a port back. What it does not have is left alone. Fragments of packets that had begun to arrive
    /// still go to the port, for two seconds at most.
    ///
    /// # Errors
    ///
    /// [`FlowsError::NoPort`], or the kernel's.
    pub fn release_flows(&mut self, port: PortId, flows: &[Flow]) -> Result<(), FlowsError> {
        self.tables.flows.release(port, flows)
    }

    /// Gives a port these flows in the place of all that it has. Each packet meets the old ones or the new ones. Where
    /// more than one flow changes, it costs as much as all flows of the uplink, and waits for all CPUs.
    ///
    /// # Errors
    ///
    /// As [`claim_flows`](Self::claim_flows); the port has its old flows then.
    pub fn replace_flows(&mut self, port: PortId, flows: &[Flow]) -> Result<(), FlowsError> {
        self.tables.flows.replace(port, flows)
    }

    /// The flows of a port, sorted.
    pub fn flows(&self, port: PortId) -> impl Iterator<Item = &Flow> {
        self.tables.flows.of_port(port)
    }

    /// Puts a port into these groups, and takes it out of all others: of what is left to the host and goes to one of
    /// them, in the VLAN of the port, the port gets a copy. All or nothing. A port with BPF rings gets it from the
    /// uplink program; others need [`attach_copy`](Self::attach_copy).
    ///
    /// # Errors
    ///
    /// [`GroupsError`].
    pub fn set_groups(&mut self, port: PortId, groups: &BTreeSet<Group>) -> Result<(), GroupsError> {
        self.tables.groups.set(port, groups)
    }

    /// The groups of a port, sorted.
    pub fn groups(&self, port: PortId) -> impl Iterator<Item = Group> {
        self.tables.groups.of_port(port)
    }

    /// Whether some port is in a group that gets no copies by the uplink program alone.
    pub fn needs_copy(&self) -> bool {
        self.tables.groups.need_clones()
    }

    /// Attaches the program that makes copies for ports without BPF rings, behind the uplink program. The first time,
    /// it is loaded.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    pub fn attach_copy(&mut self, device: &Device) -> Result<Attachment, CopyError> {
        if !self.has_copy {
            object::load_program(&mut self.bpf, COPY)?;
            self.has_copy = true;
        }
        let fd = object::classifier(&self.bpf, COPY).fd().map_err(|cause| object::not_loaded(COPY, cause))?;
        Ok(attachment::attach_tc(fd.as_fd(), device, TcSide::Ingress, COPY)?)
    }

    /// Has a port with BPF rings, which is a tap, get copies from now on. They count as
    /// [`copy_counters`](Self::copy_counters). What the host sends needs [`attach_tap`](Self::attach_tap), too. It ends
    /// with the port.
    ///
    /// # Errors
    ///
    /// [`TapError`]; nothing has changed then.
    pub fn start_tap(&mut self, port: &PortEntry<'_>, tap: &Tap) -> Result<(), TapError> {
        self.tables.start_tap(port, tap)
    }

    /// Whether some tap gets what is sent.
    pub fn needs_tap(&self) -> bool {
        self.tables.taps.any_sent()
    }

    /// Attaches the program that copies what the host sends, for taps. The first time, it is loaded.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    pub fn attach_tap(&mut self, device: &Device) -> Result<Attachment, CopyError> {
        if !self.has_tap {
            object::load_program(&mut self.bpf, TAP)?;
            self.has_tap = true;
        }
        let fd = object::classifier(&self.bpf, TAP).fd().map_err(|cause| object::not_loaded(TAP, cause))?;
        Ok(attachment::attach_tc(fd.as_fd(), device, TcSide::Egress, TAP)?)
    }

    /// What became of the copies for a port; zeros where it was in no group yet, and is not a tap.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn copy_counters(&self, port: PortId) -> Result<Counters, TableError> {
        self.tables.groups.counters(port)
    }

    /// The queue pair, counted from 0, of a port with so many that gets IPv4 packets between two addresses, in either
    /// direction, of a protocol other than TCP, UDP and SCTP.
    pub fn queue_pair_of(&self, ends: [Ipv4Addr; 2], protocol: u8, queue_pairs: u32) -> u32 {
        queue::queue_pair_of(self.queue_seed, ends, protocol, queue_pairs)
    }

    /// Whether a frame from this MAC came for a port. It may have been forgotten: of many stations only the latest are
    /// kept.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn has_heard(&self, mac: [u8; 6], vlan: Vlan) -> Result<bool, MapError> {
        self.tables.has_heard(mac, vlan)
    }

    /// What became of the frames that came in on the uplink.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn uplink_counters(&self) -> Result<Counters, MapError> {
        self.tables.uplink_counters()
    }

    /// What became of the frames that a port sent.
    ///
    /// # Errors
    ///
    /// The kernel's; [`MapError::KeyNotFound`] if there is no such port.
    pub fn guard_counters(&self, port: PortId) -> Result<Counters, MapError> {
        self.tables.guard_counters(port.number())
    }

    /// Frames that came from an outer end which no port has: all are `no_guard`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn unattributed_counters(&self) -> Result<Counters, MapError> {
        self.tables.guard_counters(NO_PORT_ID)
    }

    /// Runs the uplink program on a copy of `frame`, as if it came in on queue 0 of the device `ingress`.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn test_uplink(&self, frame: &[u8], ingress: u32) -> Result<TestResult, RunError> {
        self.test(UPLINK, frame, ingress, || self.uplink_counters())
    }

    /// Runs the guard on a copy of `frame`, as if it came in on queue 0 of the outer end `ingress`. The counters are
    /// those of all ports, and of none, together.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn test_guard(&self, frame: &[u8], ingress: u32) -> Result<TestResult, RunError> {
        self.test(GUARD, frame, ingress, || self.tables.all_guard_counters())
    }

    fn test(
        &self,
        program: &'static str,
        frame: &[u8],
        ingress: u32,
        counters: impl Fn() -> Result<Counters, MapError>,
    ) -> Result<TestResult, RunError> {
        let unread = |cause| RunError::Counters { program, cause };
        let before = counters().map_err(unread)?;
        let (verdict, frame) = run::test(object::xdp(&self.bpf, program), program, frame, ingress)?;
        Ok(TestResult { verdict, frame, moved: counters().map_err(unread)? - before })
    }

    /// What the uplink program decides about `frame` as if it came in on queue 0 of the device `ingress`, and why.
    /// Nothing is sent, counted or learned. The first time, it loads programs, which takes the kernel some 150 ms.
    ///
    /// # Errors
    ///
    /// See [`ExplainError`]. A data path without pins cannot be explained.
    pub fn explain_uplink(&self, frame: &[u8], ingress: u32) -> Result<Explanation, ExplainError> {
        self.explain(UPLINK, frame, ingress)
    }

    /// Likewise of the guard, on the outer end `ingress`.
    ///
    /// # Errors
    ///
    /// As [`explain_uplink`](Self::explain_uplink).
    pub fn explain_guard(&self, frame: &[u8], ingress: u32) -> Result<Explanation, ExplainError> {
        self.explain(GUARD, frame, ingress)
    }

    fn explain(&self, program: &'static str, frame: &[u8], ingress: u32) -> Result<Explanation, ExplainError> {
        let Some(pins) = &self.pins else {
            return Err(LoadError::NotBpffs { path: PathBuf::new() }.into());
        };
        self.explainer.explain(program, (&self.globals, pins), (frame, ingress), &self.tables.flows)
    }

    /// Samples of the frames that the guard of a port refused since the last call, at most about a hundred. `None`
    /// before [`Datapath::start_sampling`].
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn refusals(&self, port: PortId) -> Result<Option<Vec<Refusal>>, TableError> {
        self.tables.refusals(port)
    }

    /// Makes room for samples of what the guard of a port refuses, before [`Datapath::start_sampling`]. The first time
    /// for an id it waits for all CPUs, some 10 ms.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn prepare_sampling(&self, port: PortId) -> Result<(), TableError> {
        self.tables.prepare_sampling(port)
    }

    /// Has what the guard of a port refuses be sampled from now on, until the port is removed: 100 frames per second.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn start_sampling(&mut self, port: PortId) -> Result<(), TableError> {
        self.tables.start_sampling(port)
    }

    /// Runs `count` live frames through the uplink program, as if they came in on queue 0 of the device `ingress` in
    /// native mode: what it redirects is transmitted, what it passes enters the host's stack. They count like any other
    /// frame.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn inject_at_uplink(&self, frame: &[u8], ingress: u32, count: u32) -> Result<(), RunError> {
        run::live(object::xdp(&self.bpf, UPLINK), UPLINK, frame, ingress, count)
    }

    #[cfg(test)]
    pub(crate) fn all_guard_counters(&self) -> Result<Counters, MapError> {
        self.tables.all_guard_counters()
    }

    /// Runs the program that copies on a packet, and returns that as it left it.
    #[cfg(test)]
    pub(crate) fn test_copy(&self, frame: &[u8]) -> Result<Vec<u8>, RunError> {
        run::test_classifier(object::classifier(&self.bpf, COPY), COPY, frame)
    }

    /// Runs the program that copies what the host sends on a packet, and returns that as it left it.
    #[cfg(test)]
    pub(crate) fn test_tap(&self, frame: &[u8]) -> Result<Vec<u8>, RunError> {
        run::test_classifier(object::classifier(&self.bpf, TAP), TAP, frame)
    }

    #[cfg(all(test, feature = "measure"))]
    pub(crate) fn uplink_program(&self) -> &aya::programs::Xdp {
        object::xdp(&self.bpf, UPLINK)
    }

    #[cfg(all(test, feature = "measure"))]
    pub(crate) fn guard_program(&self) -> &aya::programs::Xdp {
        object::xdp(&self.bpf, GUARD)
    }

    #[cfg(all(test, feature = "measure"))]
    pub(crate) fn copy_program(&self) -> &aya::programs::SchedClassifier {
        object::classifier(&self.bpf, COPY)
    }

    #[cfg(test)]
    pub(crate) fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }
}

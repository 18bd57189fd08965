//! The program on the inner ends of queue pairs, which hands frames to their sockets.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::Ebpf;
use aya::maps::{HashMap, MapData, MapError, PerCpuArray, PerCpuValues, XskMap};

use crate::attachment::{self, AttachError, Attachment, Device};
use crate::contract::{MAX_QUEUE_PAIRS, PortCounters};
use crate::counters::Counters;
use crate::leftovers::unless_missing;
use crate::load_error::LoadError;
use crate::mode::Mode;
use crate::object;
use crate::run::{self, RunError, TestResult};
use crate::table_error::TableError;

const PORT: &str = "port";

/// The port program with its XSKMAP and counters. [`Datapath::inner_end`](crate::Datapath::inner_end) is of the load
/// that all ports of an uplink share; a port whose client has the XSKMAP has a load for itself.
pub struct PortProgram {
    bpf: Ebpf,
    xsks_id: u32,
    tables: Mutex<Tables>,
}

struct Tables {
    inner_ends: HashMap<MapData, u32, u32>,
    xsks: XskMap<MapData>,
    counters: PerCpuArray<MapData, PortCounters>,
    /// By the slot.
    used: Vec<bool>,
}

/// The inner end of a queue pair, with its slot at the program. It must outlive the device: without it, the program
/// drops frames and does not count them.
pub struct InnerEnd {
    program: Arc<PortProgram>,
    slot: u32,
    ifindex: u32,
}

impl PortProgram {
    /// Loads it for one queue pair. With `pins`, its maps and program are pinned in that folder's `maps/` and
    /// `programs/`; maps found there are re-used if they have the right shape.
    ///
    /// # Errors
    ///
    /// See [`LoadError`]; nothing stays behind then.
    pub fn load(pins: Option<&Path>) -> Result<Arc<Self>, LoadError> {
        object::load_port(pins).and_then(|bpf| Self::of(bpf, 1))
    }

    /// The load of all ports of an uplink.
    pub(crate) fn shared(bpf: Ebpf) -> Result<Arc<Self>, LoadError> {
        Self::of(bpf, MAX_QUEUE_PAIRS)
    }

    fn of(mut bpf: Ebpf, slots: u32) -> Result<Arc<Self>, LoadError> {
        let xsks_id = object::map_id(&bpf, "xsks")?;
        let tables = Mutex::new(Tables {
            inner_ends: object::take_map(&mut bpf, "inner_ends")?,
            xsks: object::take_map(&mut bpf, "xsks")?,
            counters: object::take_map(&mut bpf, "port_counters")?,
            used: vec![false; slots as usize],
        });
        Ok(Arc::new(Self { bpf, xsks_id, tables }))
    }

    /// Attaches it to a device.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn attach(&self, device: &Device, mode: Mode) -> Result<Attachment, AttachError> {
        let program = object::xdp(&self.bpf, PORT);
        let fd = program.fd().map_err(|cause| AttachError::NotLoaded { hook: PORT, cause })?;
        attachment::attach(fd.as_fd(), device, mode, PORT)
    }

    /// Gives the inner end of a queue pair a slot of its own, without a socket. Attach the program afterwards.
    ///
    /// # Errors
    ///
    /// [`TableError::Full`], or the kernel's.
    pub fn inner_end(self: &Arc<Self>, ifindex: u32) -> Result<InnerEnd, TableError> {
        let mut tables = self.tables();
        let slot = tables.used.iter().position(|used| !used).ok_or(TableError::Full { table: "inner_ends" })?;
        // Another port may have counted there.
        tables.zero(slot as u32)?;
        tables.enter(slot as u32, ifindex)?;
        tables.used[slot] = true;
        Ok(InnerEnd { program: Arc::clone(self), slot: slot as u32, ifindex })
    }

    /// The kernel's id of its XSKMAP, which a client that is given its pin may keep.
    pub fn socket_map_id(&self) -> u32 {
        self.xsks_id
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn zero(&mut self, slot: u32) -> Result<(), TableError> {
        let cpus = aya::util::nr_cpus().map_err(|(_, cause)| MapError::IoError(cause));
        let zeros = cpus
            .and_then(|cpus| PerCpuValues::try_from(vec![PortCounters::default(); cpus]).map_err(MapError::IoError));
        let zeroed = zeros.and_then(|zeros| self.counters.set(slot, zeros, 0));
        zeroed.map_err(|cause| TableError::Refused { table: "port_counters", cause })
    }

    fn enter(&mut self, slot: u32, ifindex: u32) -> Result<(), TableError> {
        self.inner_ends.insert(ifindex, slot, 0).map_err(|cause| TableError::Refused { table: "inner_ends", cause })
    }

    fn leave(&mut self, slot: u32, ifindex: u32) {
        // Another device may have the number by now.
        if self.inner_ends.get(&ifindex, 0).is_ok_and(|found| found == slot) {
            // The kernel does not refuse it. An entry of a deleted device would do no harm.
            let _ = self.inner_ends.remove(&ifindex);
        }
    }
}

impl InnerEnd {
    /// The program to attach to it.
    pub fn program(&self) -> &PortProgram {
        &self.program
    }

    /// Says that its device has another ifindex, as after a move to another network namespace.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn renumber(&mut self, ifindex: u32) -> Result<(), TableError> {
        if ifindex != self.ifindex {
            let mut tables = self.program.tables();
            // First: a load for one port has room for one.
            tables.leave(self.slot, self.ifindex);
            tables.enter(self.slot, ifindex)?;
            self.ifindex = ifindex;
        }
        Ok(())
    }

    /// Puts a bound XSK in the slot: frames reach it from now on, in the place of any socket there before. Prime its
    /// FILL ring first, else the first frames are lost.
    ///
    /// # Errors
    ///
    /// The kernel's: EOPNOTSUPP for what is not an XSK.
    pub fn set_socket(&self, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        self.program.tables().xsks.set(self.slot, socket.as_raw_fd(), 0)
    }

    /// Empties the slot: frames are dropped as `no_socket` from now on. An empty slot is not an error.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn clear_socket(&self) -> Result<(), MapError> {
        self.program.tables().xsks.unset(self.slot).or_else(unless_missing)
    }

    /// What became of the frames so far.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn counters(&self) -> Result<Counters, MapError> {
        Ok(self.program.tables().counters.get(&self.slot, 0)?.iter().copied().map(Counters::from).sum())
    }

    /// Runs the program on a copy of `frame`, as if it came in on queue 0 of this device.
    ///
    /// # Errors
    ///
    /// See [`RunError`].
    pub fn test(&self, frame: &[u8]) -> Result<TestResult, RunError> {
        let unread = |cause| RunError::Counters { program: PORT, cause };
        let before = self.counters().map_err(unread)?;
        let (verdict, frame) = run::test(object::xdp(&self.program.bpf, PORT), PORT, frame, self.ifindex)?;
        Ok(TestResult { verdict, frame, moved: self.counters().map_err(unread)? - before })
    }
}

impl Drop for InnerEnd {
    fn drop(&mut self) {
        // A socket that is still there keeps the map, no more.
        let _ = self.clear_socket();
        let mut tables = self.program.tables();
        tables.leave(self.slot, self.ifindex);
        tables.used[self.slot as usize] = false;
    }
}

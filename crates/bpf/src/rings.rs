//! The maps of BPF rings: a client's memory, which programs read and write.

use std::io;
use std::ops::AddAssign;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use aya_obj::generated::bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_RINGBUF};
use aya_obj::generated::{BPF_F_INNER_MAP, BPF_F_LOCK, BPF_F_MMAPABLE};

use crate::contract::{Guard, MAX_RINGS, RING_CHUNK, RING_SLOTS, RING_WAKE_BYTES, RingControl, RingState};
use crate::load_error::LoadError;
use crate::object::take_map;
use crate::sys;
use crate::table_error::TableError;

/// The memory of one queue's rings. Each descriptor can be mapped, and the client has all three; none says or reaches
/// anything beyond this queue.
#[derive(Debug)]
pub struct RingMaps {
    /// The chunks: what a UMEM is registered on, too.
    pub memory: OwnedFd,
    /// Both rings.
    pub control: OwnedFd,
    /// What becomes readable when the client is to wake up.
    pub wake: OwnedFd,
    ids: [u32; 3],
}

impl RingMaps {
    /// Makes them. The kernel counts their memory for the cgroup of this process.
    ///
    /// # Errors
    /// The kernel's: ENOMEM, EPERM.
    pub fn new(chunks: u32) -> io::Result<Self> {
        const KEY: u32 = size_of::<u32>() as u32;
        let memory = sys::create_map(
            BPF_MAP_TYPE_ARRAY,
            KEY,
            RING_CHUNK,
            chunks,
            BPF_F_MMAPABLE | BPF_F_INNER_MAP,
            c"xsknet_mem",
        )?;
        let bytes = size_of::<RingControl>() as u32;
        let control = sys::create_map(BPF_MAP_TYPE_ARRAY, KEY, bytes, 1, BPF_F_MMAPABLE, c"xsknet_ctl")?;
        let wake = sys::create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, RING_WAKE_BYTES, 0, c"xsknet_wake")?;
        let ids = [&memory, &control, &wake].map(|map| sys::map_id(map.as_fd()));
        let [memory_id, control_id, wake_id] = ids;
        Ok(Self { memory, control, wake, ids: [memory_id?, control_id?, wake_id?] })
    }

    /// The kernel's ids: none exists any more once its last descriptor and mapping are gone.
    pub fn ids(&self) -> [u32; 3] {
        self.ids
    }

    /// Bytes that the kernel has made for rings of so many chunks.
    pub fn bytes(chunks: u32) -> u64 {
        u64::from(chunks) * u64::from(RING_CHUNK) + size_of::<RingControl>() as u64 + u64::from(RING_WAKE_BYTES)
    }
}

/// Places for the rings of a port's queues, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingRange {
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Drawn, so that a program of an earlier port that had these places does not send for this one.
    pub(crate) key: u32,
}

impl RingRange {
    /// The ring of a queue, and the key that its program has to have.
    pub(crate) fn of_queue(self, queue: u32) -> (u32, u32) {
        debug_assert!(queue < self.count);
        (self.first + queue, self.key)
    }

    pub(crate) fn rings(self) -> impl Iterator<Item = u32> {
        self.first..self.first + self.count
    }
}

/// The BPF rings of a port, as the programs know them. Their maps are installed.
#[derive(Debug, Clone, Copy)]
pub struct RingsEntry {
    /// Where they are.
    pub range: RingRange,
    /// Slots for reception, a power of two.
    pub rx_slots: u32,
    /// Slots for sending, a power of two.
    pub tx_slots: u32,
    /// Where received frames begin in their chunks, in bytes.
    pub offset: u32,
}

/// What has been counted at the rings of a port's queues, all together. At the guard, what is sent counts as ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Frames that came for it and found a slot.
    pub received: u64,
    /// Frames for which the client had given no chunk.
    pub no_chunk: u64,
    /// Of those received: the client had given a chunk that it does not have, and the frame is lost.
    pub invalid_chunk: u64,
    /// Entries that were taken from the client, to be sent.
    pub sent: u64,
}

impl AddAssign for RingCounters {
    fn add_assign(&mut self, Self { received, no_chunk, invalid_chunk, sent }: Self) {
        self.received += received;
        self.no_chunk += no_chunk;
        self.invalid_chunk += invalid_chunk;
        self.sent += sent;
    }
}

pub(crate) struct Rings {
    states: Array<MapData, RingState>,
    controls: MapData,
    memories: MapData,
    wakes: MapData,
    used: Vec<bool>,
}

impl Rings {
    pub(crate) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        let mut outer = |map| match bpf.take_map(map) {
            Some(Map::ArrayOfMaps(data)) => data,
            _ => unreachable!("every map named in this crate is in its object"),
        };
        let (controls, memories, wakes) = (outer("ring_controls"), outer("ring_memories"), outer("ring_wakes"));
        let states = take_map(bpf, "ring_states")?;
        Ok(Self { states, controls, memories, wakes, used: vec![false; MAX_RINGS as usize] })
    }

    pub(crate) fn claim(&mut self, count: u32, key: u32) -> Option<RingRange> {
        let wanted = count as usize;
        let first = self.used.windows(wanted.max(1)).position(|places| places.iter().all(|used| !used))?;
        self.used[first..first + wanted].fill(true);
        Some(RingRange { first: first as u32, count, key: key.max(1) })
    }

    /// Has programs find the client's memory. The kernel waits after each change of an inner map until no program is
    /// in an old one: so all are changed side by side, and without a lock that others need.
    pub(crate) fn install(&self, range: RingRange, maps: &[RingMaps]) -> Result<(), TableError> {
        side_by_side(range.rings().zip(maps).flat_map(|(ring, maps)| {
            let inner = [&maps.control, &maps.memory, &maps.wake];
            self.outers()
                .into_iter()
                .zip(inner)
                .map(move |((table, outer), inner)| (table, outer, ring, Some(inner.as_fd())))
        }))
    }

    /// Nothing of a client's memory is read or written once this returns. What was counted stays.
    pub(crate) fn uninstall(&self, range: RingRange) -> Result<(), TableError> {
        let outers = self.outers();
        side_by_side(range.rings().flat_map(move |ring| outers.map(|(table, outer)| (table, outer, ring, None))))
    }

    fn outers(&self) -> [(&'static str, &MapData); 3] {
        [("ring_controls", &self.controls), ("ring_memories", &self.memories), ("ring_wakes", &self.wakes)]
    }

    /// What the rings' client sends, is sent as `guard` from now on.
    pub(crate) fn enter(&mut self, entry: &RingsEntry, guard: Guard) -> Result<(), TableError> {
        let RingsEntry { range, rx_slots, tx_slots, offset } = *entry;
        for slots in [rx_slots, tx_slots] {
            assert!(slots.is_power_of_two() && slots <= RING_SLOTS, "{slots} slots");
        }
        let state = RingState {
            key: range.key,
            rx_mask: rx_slots - 1,
            tx_mask: tx_slots - 1,
            offset,
            guard,
            ..RingState::default()
        };
        range.rings().try_for_each(|ring| self.set_state(ring, state))
    }

    /// Gives the places back. The client's memory is not installed any more.
    pub(crate) fn release(&mut self, range: RingRange) -> Result<(), TableError> {
        for ring in range.rings() {
            self.set_state(ring, RingState::default())?;
            self.used[ring as usize] = false;
        }
        Ok(())
    }

    pub(crate) fn counters(&self, range: RingRange) -> Result<RingCounters, TableError> {
        let mut sum = RingCounters::default();
        for ring in range.rings() {
            let RingState { received, no_chunk, invalid_chunk, sent, .. } = self.state(ring)?;
            sum += RingCounters { received, no_chunk, invalid_chunk, sent };
        }
        Ok(sum)
    }

    fn state(&self, ring: u32) -> Result<RingState, TableError> {
        self.states.get(&ring, u64::from(BPF_F_LOCK)).map_err(|cause| refused("ring_states", cause))
    }

    fn set_state(&mut self, ring: u32, state: RingState) -> Result<(), TableError> {
        self.states.set(ring, state, u64::from(BPF_F_LOCK)).map_err(|cause| refused("ring_states", cause))
    }
}

pub(crate) type Change<'a> = (&'static str, &'a MapData, u32, Option<BorrowedFd<'a>>);

/// Changes arrays of maps. Each change waits until no program is in what was there before.
pub(crate) fn side_by_side<'a>(changes: impl Iterator<Item = Change<'a>>) -> Result<(), TableError> {
    thread::scope(|scope| {
        let running: Vec<_> = changes
            .map(|(table, outer, ring, inner)| {
                let change = move || match inner {
                    Some(inner) => sys::set_inner_map(outer.fd().as_fd(), ring, inner),
                    None => sys::remove_element(outer.fd().as_fd(), ring),
                };
                (table, scope.spawn(change))
            })
            .collect();
        let mut done = Ok(());
        for (table, change) in running {
            let changed = change.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done = done.and(changed.map_err(|cause| refused(table, MapError::IoError(cause))));
        }
        done
    })
}

fn refused(table: &'static str, cause: MapError) -> TableError {
    TableError::Refused { table, cause }
}

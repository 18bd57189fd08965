//! Samples of the frames that ports' guards refuse, for those who ask.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aya::Ebpf;
use aya::maps::{Map, MapData, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;

use crate::contract::{Counter, PortId, REFUSALS_BYTES, RefusalRecord};
use crate::load_error::LoadError;
use crate::rights::Rate;
use crate::sys;
use crate::table_error::TableError;

const TABLE: &str = "refusal_rings";

/// Of one port. A reader that comes once a second gets all of them.
pub(crate) const SAMPLES: Rate = Rate { per_second: 100, burst: 100 };

/// A frame that a port's guard refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When.
    pub time: SystemTime,
    /// Why.
    pub reason: Counter,
    /// Bytes of the frame.
    pub length: u32,
    /// The first of them, at most [`REFUSAL_BYTES`](crate::contract::REFUSAL_BYTES).
    pub bytes: Vec<u8>,
}

/// The ring buffers of ports that were asked for. That of a closed port stays in the array until a port of its id is
/// asked for: an array of maps is changed by waiting for all CPUs, which closing a port should not do.
pub(crate) struct Refusals {
    outer: MapData,
    rings: Mutex<BTreeMap<PortId, RingBuf<MapData>>>,
}

impl Refusals {
    pub(crate) fn take(bpf: &mut Ebpf) -> Result<Self, LoadError> {
        match bpf.take_map(TABLE) {
            Some(Map::ArrayOfMaps(outer)) => Ok(Self { outer, rings: Mutex::default() }),
            _ => unreachable!("every map named in this crate is in its object"),
        }
    }

    /// Has the programs find a ring for the samples of the port.
    pub(crate) fn prepare(&self, port: PortId) -> Result<(), TableError> {
        let mut rings = self.rings();
        if rings.contains_key(&port) {
            return Ok(());
        }
        let refused = |cause| TableError::Refused { table: TABLE, cause };
        let ring = sys::create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, REFUSALS_BYTES, 0, c"xsknet_refused")
            .map_err(|cause| refused(cause.into()))?;
        sys::set_inner_map(self.outer.fd().as_fd(), port.number(), ring.as_fd())
            .map_err(|cause| refused(cause.into()))?;
        let ring = MapData::from_fd(ring).and_then(|data| RingBuf::try_from(Map::RingBuf(data)));
        rings.insert(port, ring.map_err(refused)?);
        Ok(())
    }

    /// Of a port that is closed. The next one of its id gets a ring of its own.
    pub(crate) fn forget(&self, port: PortId) {
        self.rings().remove(&port);
    }

    /// What was sampled since the last call.
    pub(crate) fn drain(&self, port: PortId) -> Vec<Refusal> {
        let mut rings = self.rings();
        let Some(ring) = rings.get_mut(&port) else { return Vec::new() };
        let (wall, now) = (SystemTime::now(), sys::programs_time());
        let time = |then: u64| wall.checked_sub(Duration::from_nanos(now.saturating_sub(then))).unwrap_or(wall);
        let mut refusals = Vec::new();
        // No more than it holds: the programs may write as fast as it is read.
        let most = REFUSALS_BYTES as usize / size_of::<RefusalRecord>();
        while refusals.len() < most
            && let Some(record) = ring.next()
        {
            refusals.extend(read(&record, time));
        }
        refusals
    }

    /// A panic leaves nothing behind that is not a ring.
    fn rings(&self) -> MutexGuard<'_, BTreeMap<PortId, RingBuf<MapData>>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` of what the programs do not write.
fn read(record: &[u8], time: impl Fn(u64) -> SystemTime) -> Option<Refusal> {
    let word = |at: usize| record.get(at..at + 4).and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    let then = record.get(..8).and_then(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)))?;
    let length = word(offset_of!(RefusalRecord, length))?;
    let reason = Counter::from_number(word(offset_of!(RefusalRecord, reason))?)?;
    let kept = record.get(offset_of!(RefusalRecord, bytes)..)?;
    let bytes = kept[..kept.len().min(length as usize)].to_vec();
    Some(Refusal { time: time(then), reason, length, bytes })
}

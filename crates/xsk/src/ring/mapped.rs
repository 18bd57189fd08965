use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::{io, slice};

use rustix::net::xdp::XdpRingOffset;
use rustix::param::page_size;

use super::{Entry, RingMemory};
use crate::mapping::Mapping;

/// A ring in the memory that the kernel shares with the owner of an XSK.
#[derive(Debug)]
pub struct MappedRing<E> {
    /// Keeps the pointers below valid.
    mapping: Mapping,
    producer: NonNull<u32>,
    consumer: NonNull<u32>,
    flags: NonNull<u32>,
    words: NonNull<u64>,
    size: u32,
    entry: PhantomData<E>,
}

// SAFETY: the pointers lead into the mapping, which this value owns and which no thread is tied to; all access is
// atomic.
unsafe impl<E> Send for MappedRing<E> {}

/// A ring could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum MapRingError {
    /// `mmap` refused: for one, the ring has fewer slots than asked for.
    #[error("mapping the {bytes} bytes of a ring of {size} slots failed")]
    Mmap {
        /// Length of the mapping.
        bytes: usize,
        /// Slots that the layout promises.
        size: u32,
        /// What the kernel answered.
        #[source]
        cause: io::Error,
    },
    /// The ring has more slots than the layout says, so the index masks would differ.
    #[error("the ring has more than the {size} slots of the layout")]
    Larger {
        /// Slots that the layout promises.
        size: u32,
    },
    /// The offsets that the kernel gave do not describe a ring: only a broken kernel gives such offsets.
    #[error("the ring's offsets do not fit a ring of {size} slots")]
    Offsets {
        /// Slots that the layout promises.
        size: u32,
    },
}

impl<E: Entry> MappedRing<E> {
    /// Maps the ring of `size` slots that starts at `page_offset` of an XSK.
    pub(crate) fn map(
        xsk: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> Result<Self, MapRingError> {
        let ring = Self::map_unchecked(xsk, page_offset, offsets, size)?;
        // The kernel refuses a mapping longer than the ring (xsk_mmap), so a longer one that succeeds betrays a larger
        // ring. Rings whose double still fits one page cannot be told apart.
        let bytes = ring.mapping.bytes();
        if let Some(double) = size.checked_mul(2).and_then(|size| mapped_bytes::<E>(offsets, size))
            && double.div_ceil(page_size()) > bytes.div_ceil(page_size())
            && Mapping::of_fd(xsk, double, page_offset).is_ok()
        {
            return Err(MapRingError::Larger { size });
        }
        Ok(ring)
    }

    /// Maps `size` slots of a ring, which may have more.
    pub(crate) fn map_unchecked(
        xsk: BorrowedFd<'_>,
        page_offset: u64,
        offsets: &XdpRingOffset,
        size: u32,
    ) -> Result<Self, MapRingError> {
        let impossible = MapRingError::Offsets { size };
        let (Some(flags), Some(bytes)) = (offsets.flags, mapped_bytes::<E>(offsets, size)) else {
            return Err(impossible);
        };
        let refused = |cause| MapRingError::Mmap { bytes, size, cause };
        let mapping = Mapping::of_fd(xsk, bytes, page_offset).map_err(refused)?;
        let word = |offset| mapping.pointer_to::<u32>(offset, 1);
        let (Some(producer), Some(consumer), Some(flags)) =
            (word(offsets.producer), word(offsets.consumer), word(flags))
        else {
            return Err(impossible);
        };
        let Some(words) = slot_words::<E>(size).and_then(|count| mapping.pointer_to::<u64>(offsets.desc, count)) else {
            return Err(impossible);
        };
        Ok(Self { mapping, producer, consumer, flags, words, size, entry: PhantomData })
    }

    fn slot(&self, slot: u32) -> &[AtomicU64] {
        let count = (self.size as usize).wrapping_mul(E::WORDS);
        // SAFETY: `map` found `count` aligned words inside the mapping that `self` keeps, and nobody touches them but
        // atomically.
        let words = unsafe { slice::from_raw_parts(self.words.cast::<AtomicU64>().as_ptr(), count) };
        let first = (slot as usize).wrapping_mul(E::WORDS);
        &words[first..first.wrapping_add(E::WORDS)]
    }
}

fn slot_words<E: Entry>(size: u32) -> Option<usize> {
    usize::try_from(size).ok()?.checked_mul(E::WORDS)
}

fn mapped_bytes<E: Entry>(offsets: &XdpRingOffset, size: u32) -> Option<usize> {
    let slots = slot_words::<E>(size)?.checked_mul(size_of::<u64>())?;
    usize::try_from(offsets.desc).ok()?.checked_add(slots)
}

impl<E: Entry> RingMemory for MappedRing<E> {
    type Word = AtomicU32;
    type Entry = E;

    fn size(&self) -> u32 {
        self.size
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: an aligned word inside the mapping that `self` keeps, touched by atomics alone.
        unsafe { AtomicU32::from_ptr(self.producer.as_ptr()) }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for the producer.
        unsafe { AtomicU32::from_ptr(self.consumer.as_ptr()) }
    }

    fn flags(&self) -> u32 {
        // SAFETY: as for the producer.
        let flags = unsafe { AtomicU32::from_ptr(self.flags.as_ptr()) };
        flags.load(Ordering::Relaxed)
    }

    fn read(&self, slot: u32) -> E {
        E::load(self.slot(slot))
    }

    fn write(&self, slot: u32, entry: E) {
        entry.store(self.slot(slot));
    }
}

use std::sync::atomic::Ordering;

use super::{Position, RingBroken, RingLevel, RingMemory, RingName, Word, published};

/// `XDP_RING_NEED_WAKEUP` of `linux/if_xdp.h`.
const NEED_WAKEUP: u32 = 1;

/// The writing side of a ring: ours of TX and FILL.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    name: RingName,
    /// Ours; the shared word is only ever written after [`Producer::open`].
    produced: Position,
    /// The peer's, as last seen and found possible.
    consumed: Position,
    /// Whether entries were published since the flags were last looked at.
    published: bool,
}

impl<M: RingMemory> Producer<M> {
    /// Takes over the writing side of a ring at the position that its words hold.
    ///
    /// # Errors
    /// [`RingBroken`] if the words cannot belong to one ring.
    pub fn open(name: RingName, memory: M) -> Result<Self, RingBroken> {
        // Relaxed: an earlier owner of this side wrote it, and whatever handed the ring over came after that.
        let produced = Position::from_word(memory.producer().load(Ordering::Relaxed));
        let mut ring = Self { memory, name, produced, consumed: produced, published: false };
        ring.refresh()?;
        Ok(ring)
    }

    /// Reserves up to `wanted` slots, as many as are free. The ring stays borrowed until the reservation is committed
    /// or dropped.
    ///
    /// # Errors
    /// [`RingBroken`] if the consumer's index is impossible; nothing was touched.
    pub fn reserve(&mut self, wanted: u32) -> Result<Reservation<'_, M>, RingBroken> {
        if self.free() < wanted {
            self.refresh()?;
        }
        let slots = self.free().min(wanted);
        Ok(Reservation { ring: self, slots, written: 0 })
    }

    /// Entries that the consumer has not yet given back.
    ///
    /// # Errors
    /// [`RingBroken`] if the consumer's index is impossible.
    pub fn entries(&mut self) -> Result<u32, RingBroken> {
        self.refresh()?;
        Ok(self.occupied())
    }

    /// How full the ring is now.
    pub fn level(&self) -> RingLevel {
        let consumed = Position::from_word(self.memory.consumer().load(Ordering::Acquire));
        RingLevel { entries: published(self.produced, consumed, self.memory.size()), size: self.memory.size() }
    }

    /// Whether the kernel sleeps and wants a system call before it looks at this ring (`XDP_USE_NEED_WAKEUP`).
    #[doc(alias = "xsk_ring_prod__needs_wakeup")]
    pub fn needs_wakeup(&mut self) -> bool {
        if std::mem::take(&mut self.published) {
            // (E): our index is out before the flags are read.
            self.memory.fence();
        }
        self.memory.flags() & NEED_WAKEUP != 0
    }

    /// The entries not yet given back, oldest first: what a new owner finds.
    pub(crate) fn pending(&self) -> impl Iterator<Item = M::Entry> + '_ {
        let size = self.memory.size();
        (0..self.occupied()).map(move |n| self.memory.read(self.consumed.advanced(n).slot(size)))
    }

    fn occupied(&self) -> u32 {
        self.produced.word().wrapping_sub(self.consumed.word())
    }

    /// Slots that were free when the peer's index was last read: a lower bound.
    pub fn free(&self) -> u32 {
        self.memory.size().saturating_sub(self.occupied())
    }

    fn refresh(&mut self) -> Result<(), RingBroken> {
        let size = self.memory.size();
        // (A): slots that the consumer gave back in (D) may be overwritten.
        let consumed = Position::from_word(self.memory.consumer().load(Ordering::Acquire));
        if published(self.produced, consumed, size).is_none() {
            return Err(RingBroken {
                ring: self.name,
                produced: self.produced.word(),
                consumed: consumed.word(),
                size,
            });
        }
        self.consumed = consumed;
        Ok(())
    }
}

/// Slots of a ring that nobody sees yet. [`Reservation::commit`] publishes what was written; dropping it instead
/// publishes nothing.
#[must_use = "entries are published by `commit` alone"]
#[derive(Debug)]
pub struct Reservation<'ring, M: RingMemory> {
    ring: &'ring mut Producer<M>,
    slots: u32,
    written: u32,
}

impl<M: RingMemory> Reservation<'_, M> {
    /// Slots not yet written.
    pub fn slots(&self) -> u32 {
        self.slots.saturating_sub(self.written)
    }

    /// Writes the next slot; `false`, and nothing written, when none is left.
    #[must_use]
    pub fn write(&mut self, entry: M::Entry) -> bool {
        if self.slots() == 0 {
            return false;
        }
        let memory = &self.ring.memory;
        memory.write(self.ring.produced.advanced(self.written).slot(memory.size()), entry);
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Takes back what was written beyond the first `entries`.
    pub fn truncate(&mut self, entries: u32) {
        self.written = self.written.min(entries);
    }

    /// Publishes all that was written, at once, and says how many entries that were.
    pub fn commit(self) -> u32 {
        if self.written > 0 {
            self.ring.produced = self.ring.produced.advanced(self.written);
            // (B): a consumer that sees the index in (C) sees the entries.
            self.ring.memory.producer().store(self.ring.produced.word(), Ordering::Release);
            self.ring.published = true;
        }
        self.written
    }
}

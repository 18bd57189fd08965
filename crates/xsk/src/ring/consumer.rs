use std::sync::atomic::Ordering;

use super::{Position, RingBroken, RingLevel, RingMemory, RingName, Word, published};

/// The reading side of a ring: ours of RX and COMPLETION.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    name: RingName,
    /// Ours; the shared word is only ever written after [`Consumer::open`].
    consumed: Position,
    /// The peer's, as last seen and found possible.
    produced: Position,
}

impl<M: RingMemory> Consumer<M> {
    /// Takes over the reading side of a ring at the position that its words hold.
    ///
    /// # Errors
    /// [`RingBroken`] if the words cannot belong to one ring.
    pub fn open(name: RingName, memory: M) -> Result<Self, RingBroken> {
        // Relaxed: an earlier owner of this side wrote it, and whatever handed the ring over came after that.
        let consumed = Position::from_word(memory.consumer().load(Ordering::Relaxed));
        let mut ring = Self { memory, name, consumed, produced: consumed };
        ring.refresh()?;
        Ok(ring)
    }

    /// Takes up to `max` entries, as many as there are. The ring stays borrowed until the entries are dropped; those
    /// that were looked at are given back then, the others stay for the next call.
    ///
    /// # Errors
    /// [`RingBroken`] if the producer's index is impossible; nothing was touched.
    pub fn take(&mut self, max: u32) -> Result<Taking<'_, M>, RingBroken> {
        if self.ready() < max {
            self.refresh()?;
        }
        let entries = self.ready().min(max);
        Ok(Taking { ring: self, entries, read: 0 })
    }

    /// Entries that wait to be taken.
    ///
    /// # Errors
    /// [`RingBroken`] if the producer's index is impossible.
    pub fn entries(&mut self) -> Result<u32, RingBroken> {
        self.refresh()?;
        Ok(self.ready())
    }

    /// Whether no entry waits. It looks at the peer's index only when all entries seen so far have been taken.
    ///
    /// # Errors
    /// [`RingBroken`] if the producer's index is impossible.
    pub fn is_empty(&mut self) -> Result<bool, RingBroken> {
        if self.ready() == 0 {
            self.refresh()?;
        }
        Ok(self.ready() == 0)
    }

    /// How full the ring is now.
    pub fn level(&self) -> RingLevel {
        let produced = Position::from_word(self.memory.producer().load(Ordering::Acquire));
        RingLevel { entries: published(produced, self.consumed, self.memory.size()), size: self.memory.size() }
    }

    fn ready(&self) -> u32 {
        self.produced.word().wrapping_sub(self.consumed.word())
    }

    fn refresh(&mut self) -> Result<(), RingBroken> {
        let size = self.memory.size();
        // (C): the entries that the producer published in (B) may be read.
        let produced = Position::from_word(self.memory.producer().load(Ordering::Acquire));
        if published(produced, self.consumed, size).is_none() {
            return Err(RingBroken {
                ring: self.name,
                produced: produced.word(),
                consumed: self.consumed.word(),
                size,
            });
        }
        self.produced = produced;
        Ok(())
    }
}

/// Entries that are being taken out of a ring.
#[derive(Debug)]
pub struct Taking<'ring, M: RingMemory> {
    ring: &'ring mut Consumer<M>,
    entries: u32,
    read: u32,
}

impl<M: RingMemory> Taking<'_, M> {
    /// Puts back the last `entries` that were looked at: they come again.
    pub fn put_back(&mut self, entries: u32) {
        self.read = self.read.saturating_sub(entries);
    }
}

impl<M: RingMemory> Iterator for Taking<'_, M> {
    type Item = M::Entry;

    #[inline]
    fn next(&mut self) -> Option<M::Entry> {
        if self.read == self.entries {
            return None;
        }
        let memory = &self.ring.memory;
        let entry = memory.read(self.ring.consumed.advanced(self.read).slot(memory.size()));
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }
}

impl<M: RingMemory> Drop for Taking<'_, M> {
    fn drop(&mut self) {
        if self.read > 0 {
            self.ring.consumed = self.ring.consumed.advanced(self.read);
            // (D): a producer that sees the index in (A) may overwrite the slots, which have been read.
            self.ring.memory.consumer().store(self.ring.consumed.word(), Ordering::Release);
        }
    }
}

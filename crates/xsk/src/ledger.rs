/// Who owns a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Free, to be allocated or lent to FILL.
    Home,
    /// A [`Frame`](crate::Frame) of the user.
    Held,
    /// Reception: in FILL, in the driver, or unread in RX.
    Fill,
    /// Sending: in TX, in the driver, or unread in COMPLETION.
    Tx,
}

/// How many chunks each owner has. The parts always add up to the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Free chunks.
    pub home: u32,
    /// Chunks that the user holds as frames.
    pub held: u32,
    /// Chunks lent to reception: in FILL, in the driver, or unread in RX.
    pub fill: u32,
    /// Chunks lent to sending: in TX, in the driver, or unread in COMPLETION.
    pub tx: u32,
    /// Chunks of the UMEM.
    pub total: u32,
}

impl Census {
    /// Chunks that the user holds as frames.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.held
    }
}

/// Who owns each chunk of a UMEM, and the free ones in the order to use them: last in, first out, because the last one is still in a
/// cache.
#[derive(Debug)]
pub(crate) struct Ledger {
    owners: Vec<Owner>,
    home: Vec<u32>,
    counts: [u32; 4],
}

impl Ledger {
    pub(crate) fn new(chunks: u32) -> Self {
        Self {
            owners: vec![Owner::Home; chunks as usize],
            home: (0..chunks).rev().collect(),
            counts: [chunks, 0, 0, 0],
        }
    }

    /// Gives a free chunk to an owner.
    pub(crate) fn lend(&mut self, to: Owner) -> Option<u32> {
        debug_assert_ne!(to, Owner::Home);
        let chunk = self.home.pop()?;
        self.record(chunk, Owner::Home, to);
        Some(chunk)
    }

    /// Passes a chunk on, if `from` owns it; otherwise nothing changes and the answer is who does, or `None` for no chunk of this UMEM.
    pub(crate) fn pass(&mut self, chunk: u32, from: Owner, to: Owner) -> Result<(), Option<Owner>> {
        let owner = self.owners.get(chunk as usize).copied();
        if owner != Some(from) {
            return Err(owner);
        }
        self.record(chunk, from, to);
        if to == Owner::Home {
            self.home.push(chunk);
        }
        Ok(())
    }

    /// Takes the chunks out of the free ones for reception: what a donor left in FILL. On an error nothing has changed.
    pub(crate) fn start_in_fill(&mut self, chunks: &[u32]) -> Result<(), u32> {
        let mut owners = self.owners.clone();
        for &chunk in chunks {
            match owners.get_mut(chunk as usize) {
                Some(owner @ Owner::Home) => *owner = Owner::Fill,
                _ => return Err(chunk),
            }
        }
        self.home.retain(|&chunk| owners[chunk as usize] == Owner::Home);
        for &chunk in chunks {
            self.record(chunk, Owner::Home, Owner::Fill);
        }
        Ok(())
    }

    /// The kernel has let go of everything: what it had is free again.
    pub(crate) fn reclaim(&mut self) {
        for chunk in 0..self.total() {
            for from in [Owner::Fill, Owner::Tx] {
                if self.owners[chunk as usize] == from {
                    self.record(chunk, from, Owner::Home);
                    self.home.push(chunk);
                }
            }
        }
    }

    pub(crate) fn owned_by(&self, owner: Owner) -> impl Iterator<Item = u32> + '_ {
        (0..self.total()).zip(&self.owners).filter(move |(_, of)| **of == owner).map(|(chunk, _)| chunk)
    }

    pub(crate) fn count(&self, owner: Owner) -> u32 {
        self.counts[owner as usize]
    }

    pub(crate) fn census(&self) -> Census {
        let [home, held, fill, tx] = self.counts;
        Census { home, held, fill, tx, total: self.total() }
    }

    fn total(&self) -> u32 {
        self.counts.iter().sum()
    }

    fn record(&mut self, chunk: u32, from: Owner, to: Owner) {
        self.owners[chunk as usize] = to;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }
}

/// Which of the sockets that share a UMEM: its number in the UMEM's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointId(u8);

/// The most sockets that can share a UMEM.
pub const MAX_ENDPOINTS: usize = 64;

/// Who owns a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Free, to be allocated or lent to FILL.
    Free,
    /// A [`Frame`](crate::Frame) of the user.
    Held,
    /// Lent to the user by its address.
    Lent,
    /// Reception of a socket: in FILL, in the driver, or unread in RX.
    Fill(EndpointId),
    /// Sending of a socket: in TX, in the driver, or unread in COMPLETION.
    Tx(EndpointId),
}

/// How many chunks each owner has. The parts add up to the total, unless several sockets share a UMEM: then what
/// the others have for reception and sending is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkCounts {
    /// Free chunks.
    pub free: u32,
    /// Chunks that the user has, as frames or by address.
    pub held: u32,
    /// Chunks lent to reception: in FILL, in the driver, or unread in RX.
    pub fill: u32,
    /// Chunks lent to sending: in TX, in the driver, or unread in COMPLETION.
    pub tx: u32,
    /// Chunks of the UMEM.
    pub total: u32,
}

impl ChunkCounts {
    /// Chunks that the user has.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.held
    }

    /// Chunks lent to reception and sending of other sockets of the UMEM.
    #[must_use]
    pub fn elsewhere(&self) -> u32 {
        self.total.saturating_sub(self.free + self.held + self.fill + self.tx)
    }
}

/// An [`Owner`] in a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u8);

impl Tag {
    pub(crate) const FREE: Self = Self(0);
    pub(crate) const HELD: Self = Self(1);
    pub(crate) const LENT: Self = Self(2);
    const FILL: u8 = 0x40;
    const TX: u8 = 0x80;

    pub(crate) fn fill(of: EndpointId) -> Self {
        Self(Self::FILL | of.0)
    }

    pub(crate) fn tx(of: EndpointId) -> Self {
        Self(Self::TX | of.0)
    }

    fn owner(self) -> Owner {
        let endpoint = EndpointId(self.0 & (Self::FILL - 1));
        match self {
            Self::FREE => Owner::Free,
            Self::HELD => Owner::Held,
            Self::LENT => Owner::Lent,
            Self(tag) if tag & Self::FILL != 0 => Owner::Fill(endpoint),
            Self(_) => Owner::Tx(endpoint),
        }
    }
}

/// Who owns each chunk of a UMEM, and the free ones in the order to use them: last in, first out, because the last one
/// is still in a cache.
///
/// A batch calls [`Ledger::hand`] for each chunk and [`Ledger::counted`] once; in between, only the counts are behind.
#[derive(Debug)]
pub(crate) struct Ledger {
    owners: Vec<Tag>,
    free: Vec<u32>,
    counts: [u32; 256],
    /// The numbers of sockets in use, a bit each.
    endpoints: u64,
}

impl Ledger {
    pub(crate) fn new(chunks: u32) -> Self {
        let mut counts = [0; 256];
        counts[usize::from(Tag::FREE.0)] = chunks;
        Self { owners: vec![Tag::FREE; chunks as usize], free: (0..chunks).rev().collect(), counts, endpoints: 0 }
    }

    /// A number for another socket; `None` while there are too many.
    pub(crate) fn enlist(&mut self) -> Option<EndpointId> {
        let free = u8::try_from(self.endpoints.trailing_ones()).ok().filter(|id| usize::from(*id) < MAX_ENDPOINTS)?;
        self.endpoints |= 1 << free;
        Some(EndpointId(free))
    }

    /// The socket is not taken over after all: its chunks for reception return to `back`.
    pub(crate) fn undo_fill(&mut self, back: Tag, endpoint: EndpointId) {
        let chunks: Vec<u32> = self.owned_by(Tag::fill(endpoint)).collect();
        for chunk in chunks {
            let undone = self.pass(chunk, Tag::fill(endpoint), back);
            debug_assert_eq!(undone, Ok(()), "it was found there");
        }
        self.endpoints &= !(1 << endpoint.0);
    }

    /// The socket is gone for the kernel, too: what it had is free again, and so is its number.
    pub(crate) fn strike(&mut self, endpoint: EndpointId) {
        self.reclaim(Tag::tx(endpoint));
        self.undo_fill(Tag::FREE, endpoint);
    }

    /// Gives a free chunk to an owner.
    pub(crate) fn lend(&mut self, to: Tag) -> Option<u32> {
        let mut lent = None;
        self.lend_many(1, to, |chunk| lent = Some(chunk));
        lent
    }

    /// Passes a chunk on, if `from` owns it; otherwise nothing changes and the error is its owner, or `None` if it
    /// is not a chunk of this UMEM.
    pub(crate) fn pass(&mut self, chunk: u32, from: Tag, to: Tag) -> Result<(), Option<Owner>> {
        self.hand(chunk, from, to)?;
        self.counted(1, from, to);
        Ok(())
    }

    /// Gives up to `max` free chunks to an owner, calls `each` with every one, and counts them.
    #[inline]
    pub(crate) fn lend_many(&mut self, max: u32, to: Tag, mut each: impl FnMut(u32)) -> u32 {
        let left = self.free.len().saturating_sub(max as usize);
        for &chunk in self.free[left..].iter().rev() {
            self.owners[chunk as usize] = to;
            each(chunk);
        }
        let lent = saturated(self.free.len() - left);
        self.free.truncate(left);
        self.counted(lent, Tag::FREE, to);
        lent
    }

    /// [`Ledger::pass`] without the counts.
    #[inline]
    pub(crate) fn hand(&mut self, chunk: u32, from: Tag, to: Tag) -> Result<(), Option<Owner>> {
        match self.owners.get_mut(chunk as usize) {
            Some(owner) if *owner == from => *owner = to,
            other => return Err(other.map(|owner| owner.owner())),
        }
        if to == Tag::FREE {
            self.free.push(chunk);
        }
        Ok(())
    }

    /// This number of chunks went from one owner to another.
    #[inline]
    pub(crate) fn counted(&mut self, chunks: u32, from: Tag, to: Tag) {
        self.counts[usize::from(from.0)] -= chunks;
        self.counts[usize::from(to.0)] += chunks;
    }

    /// Makes chunks an endpoint's for reception: what a donor left in FILL. `from` has them. On an error nothing has
    /// changed.
    pub(crate) fn start_in_fill(&mut self, chunks: &[u32], from: Tag, of: EndpointId) -> Result<(), u32> {
        let to = Tag::fill(of);
        for (n, &chunk) in chunks.iter().enumerate() {
            if self.hand(chunk, from, to).is_err() {
                for &chunk in &chunks[..n] {
                    self.owners[chunk as usize] = from;
                }
                return Err(chunk);
            }
        }
        if from == Tag::FREE {
            self.free.retain(|&chunk| self.owners[chunk as usize] == Tag::FREE);
        }
        self.counted(saturated(chunks.len()), from, to);
        Ok(())
    }

    /// Frees all chunks of an owner.
    pub(crate) fn reclaim(&mut self, from: Tag) {
        let chunks: Vec<u32> = self.owned_by(from).collect();
        for chunk in chunks {
            let freed = self.pass(chunk, from, Tag::FREE);
            debug_assert_eq!(freed, Ok(()), "it was found there");
        }
    }

    pub(crate) fn owned_by(&self, tag: Tag) -> impl Iterator<Item = u32> + '_ {
        (0..self.total()).zip(&self.owners).filter(move |(_, of)| **of == tag).map(|(chunk, _)| chunk)
    }

    #[inline]
    pub(crate) fn count(&self, tag: Tag) -> u32 {
        self.counts[usize::from(tag.0)]
    }

    /// As one of the sockets sees it; `None` as the UMEM does.
    pub(crate) fn chunks(&self, of: Option<EndpointId>) -> ChunkCounts {
        let sum = |of_each: fn(EndpointId) -> Tag| match of {
            Some(one) => self.count(of_each(one)),
            None => {
                (0..64).filter(|id| self.endpoints >> id & 1 == 1).map(|id| self.count(of_each(EndpointId(id)))).sum()
            }
        };
        ChunkCounts {
            free: self.count(Tag::FREE),
            held: self.count(Tag::HELD) + self.count(Tag::LENT),
            fill: sum(Tag::fill),
            tx: sum(Tag::tx),
            total: self.total(),
        }
    }

    fn total(&self) -> u32 {
        saturated(self.owners.len())
    }
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

//! What a data path needs of the rings below it.

use std::time::Duration;

use crate::kick::KICK_AFTER_FRAMES;
use xsknet_xsk::{FlushError, Layout, LentDescriptor, Readiness, RingBroken, Transmitted, WaitError, Woken};

/// Chunks of memory that rings carry, and the record of who owns each. Several [`Rings`] can have one pool.
///
/// A chunk is free, held as a [`Pool::Frame`], lent to the other language by its address, or with one of the rings. The
/// pool alone knows which: an address that comes from the other language moves a chunk only if that very chunk was
/// lent.
pub trait Pool {
    /// The right to one chunk.
    type Frame;

    /// Free chunks.
    fn free(&self) -> u32;

    /// Lends free chunks by address, as many as `table` has room for, each as an empty frame. Says how many.
    fn lend(&mut self, table: &[LentDescriptor]) -> usize;

    /// Takes back all that is lent: the other language cannot reach the memory any more.
    fn take_all_back(&mut self);

    /// Takes a free chunk, if there is one.
    fn allocate(&mut self) -> Option<Self::Frame>;

    /// Makes a frame `length` bytes long, whose packet ends with it or goes on in the next one, and lends its bytes.
    ///
    /// # Panics
    /// If the frame has no room for them.
    fn bytes_mut<'a>(&'a self, frame: &'a mut Self::Frame, length: usize, continues: bool) -> &'a mut [u8];

    /// Frees the chunk of a frame.
    fn release(&mut self, frame: Self::Frame);
}

/// The rings of one socket or queue: a batch in, a batch out. Their pool is passed to each call, because others can
/// share it.
///
/// An implementation checks whatever it reads: the words of a ring, which the other side can write at any time, and the
/// descriptors in `table`, which the other language can. What is wrong there is refused and counted, and no chunk is
/// lost.
///
/// Only [`flush`](Self::flush) and [`wait`](Self::wait) enter the kernel, and a call that refills where the driver
/// sleeps for want of chunks. None does so for each packet, and none allocates for each batch.
pub trait Rings {
    /// What the frames lie in.
    type Pool: Pool;
    /// What the pool's memory comes from, kept for the next owner of rings and pool: the file of a UMEM.
    type Backing;
    /// What is left of closed rings: the chunks that the kernel may still use.
    type Closed;

    /// The shape of the pool and of these rings.
    fn layout(&self) -> &Layout;

    /// Whether a packet may take several frames.
    fn multi_buffer(&self) -> bool;

    /// Has [`transmit`](Self::transmit) refuse what is not a packet of this MTU.
    fn set_mtu(&mut self, mtu: u32);

    /// Lends received frames by address, whole packets only and as many as `table` has room for, and gives reception
    /// free chunks in their stead. Says how many.
    ///
    /// # Errors
    /// [`RingBroken`] where the ring's words cannot be true; no frame is in `table` then.
    fn receive(&mut self, pool: &mut Self::Pool, table: &[LentDescriptor]) -> Result<usize, RingBroken>;

    /// Gives reception free chunks up to its share. [`receive`](Self::receive) does, too. Says how many.
    ///
    /// # Errors
    /// [`RingBroken`].
    fn refill(&mut self, pool: &mut Self::Pool) -> Result<usize, RingBroken>;

    /// Whether no received frame waits. It decides on a kick, and may rely on what was last seen of the ring.
    ///
    /// # Errors
    /// [`RingBroken`].
    fn is_idle(&mut self) -> Result<bool, RingBroken>;

    /// Whether [`receive`](Self::receive) has something to return or to report.
    fn is_readable(&self) -> bool;

    /// Queues lent frames, from the front of `table` and in their order, whole packets only and as many as there are
    /// slots; the others move to the front. What cannot be sent is counted, and what of it was lent is freed.
    ///
    /// # Errors
    /// [`RingBroken`]; nothing was touched.
    fn transmit(&mut self, pool: &mut Self::Pool, table: &[LentDescriptor]) -> Result<Transmitted, RingBroken>;

    /// Queues frames, from the front of `frames` and in their order, whole packets only; what finds no slot stays. Says
    /// how many. Each has at least one byte, and no packet has more frames than [`DataPath`](crate::DataPath) may send.
    ///
    /// # Errors
    /// [`RingBroken`]; `frames` is as before.
    fn transmit_frames(
        &mut self,
        pool: &mut Self::Pool,
        frames: &mut Vec<<Self::Pool as Pool>::Frame>,
    ) -> Result<usize, RingBroken>;

    /// Takes back lent frames, wherever in its chunk an address points, and says how many. What was not lent is
    /// counted.
    fn recycle(&mut self, pool: &mut Self::Pool, table: &[LentDescriptor]) -> usize;

    /// Frees the chunks of frames that have left, and says how many.
    ///
    /// # Errors
    /// [`RingBroken`].
    fn complete(&mut self, pool: &mut Self::Pool) -> Result<usize, RingBroken>;

    /// Has the kernel take what is queued, if it has to be notified, and says how many frames it has not taken.
    ///
    /// # Errors
    /// [`FlushError`]; the frames stay queued.
    #[doc(alias = "kick")]
    fn flush(&mut self, pool: &mut Self::Pool) -> Result<u32, FlushError>;

    /// Frames queued from which on [`flush`](Self::flush) is no longer put off while there is something to receive.
    fn kick_after(&self) -> usize {
        KICK_AFTER_FRAMES
    }

    /// Sleeps until a frame has arrived or the time is over.
    ///
    /// # Errors
    /// [`WaitError`].
    fn wait(&mut self, pool: &mut Self::Pool, timeout: Duration) -> Result<Readiness, WaitError>;

    /// Prepares for a sleep in an event loop, which watches the descriptor of these rings: until a frame has arrived,
    /// and with `sending` until a slot is free. A socket needs none.
    fn prepare_to_sleep(&mut self, _pool: &mut Self::Pool, _sending: bool) {}

    /// The event loop was woken, and watches on: says for what, unless its events tell. The next sleep is prepared
    /// anew.
    fn woken(&mut self) -> Option<Woken> {
        None
    }

    /// Slots for sending that were free when the ring was last read: a lower bound.
    fn tx_slots(&self) -> u32;

    /// Chunks that sending has.
    fn in_tx(&self, pool: &Self::Pool) -> u32;

    /// Times that reception had no chunk, or was found without one.
    fn starved(&self) -> u64;

    /// How many chunks each owner has. [`ChunkCounts::kept`] is 0: the pool does not know it.
    fn chunks(&self, pool: &Self::Pool) -> ChunkCounts;

    /// Closes the rings. Their chunks are free only after [`reclaim`](Self::reclaim).
    fn close(self, pool: &Self::Pool) -> Self::Closed;

    /// Frees the chunks of closed rings, which nobody has open any more.
    fn reclaim(pool: &mut Self::Pool, closed: Self::Closed);
}

/// How many chunks of a pool each owner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkCounts {
    /// Free chunks.
    pub free: u32,
    /// Chunks that the other language has until its lease ends or its batch is given back.
    pub held: u32,
    /// Chunks of frames that it keeps beyond their lease, by its own count.
    pub kept: u32,
    /// Chunks lent to reception.
    pub fill: u32,
    /// Chunks lent to sending.
    pub tx: u32,
    /// Chunks lent to reception and sending of other rings of the pool.
    pub elsewhere: u32,
    /// All chunks.
    pub total: u32,
}

impl ChunkCounts {
    /// Moves what the other language says that it keeps from `held` to `kept`: no more than there is.
    #[must_use]
    pub(crate) fn keeping(self, kept: u32) -> Self {
        let kept = kept.min(self.held);
        Self { held: self.held - kept, kept, ..self }
    }
}

//! Rings with what another language has of their frames: by address, in tables that both sides read and write.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use xsknet_xsk::ring::RingName;
use xsknet_xsk::{FlushError, FrameTooLong, LentDescriptor, MAX_PARTS_RECEIVED, MAX_PARTS_SENT, Readiness, Woken};

use crate::kick::{Due, Kicks};
use crate::path_error::PathError;
use crate::rings::{ChunkCounts, Pool, Rings};
use crate::slate::{Slate, Word};
use crate::tables::{NoTable, Tables};
use crate::words::Words;

/// The data path of one socket. It belongs to one thread, as do all that share its pool.
pub struct DataPath<R: Rings> {
    rings: R,
    shared: Rc<RefCell<Shared<R>>>,
    slate: Slate,
    /// Places of the lease in use.
    leased: usize,
    kicks: Kicks,
    /// Frames on their way into TX; kept for its memory.
    outgoing: Vec<<R::Pool as Pool>::Frame>,
    /// The tables that were made here.
    tables: Vec<usize>,
}

/// What the paths of one pool have in common. Each call borrows it once.
struct Shared<R: Rings> {
    pool: R::Pool,
    backing: R::Backing,
    tables: Tables,
}

impl<R: Rings> Shared<R> {
    #[inline]
    fn with_table(&mut self, number: usize) -> Result<(&mut R::Pool, &Words), NoTable> {
        Ok((&mut self.pool, self.tables.get(number)?))
    }
}

/// A path that was closed, and whose chunks the kernel may still use.
#[must_use = "the chunks are lost to others until `reclaim`"]
pub struct Closing<R: Rings> {
    shared: Rc<RefCell<Shared<R>>>,
    closed: R::Closed,
}

impl<R: Rings> Closing<R> {
    /// Whether other paths have the same pool.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Rc::strong_count(&self.shared) > 1
    }

    /// Frees the chunks: nobody has the rings open any more.
    pub fn reclaim(self) {
        R::reclaim(&mut self.shared.borrow_mut().pool, self.closed);
    }
}

impl<R: Rings> DataPath<R> {
    /// A path on rings that have the pool for themselves.
    pub fn new(rings: R, pool: R::Pool, backing: R::Backing) -> Self {
        Self::with(rings, Rc::new(RefCell::new(Shared { pool, backing, tables: Tables::default() })))
    }

    /// A path that shares the pool of this one: `join` makes its rings.
    ///
    /// # Errors
    /// What `join` returns.
    pub fn share<E>(&self, join: impl FnOnce(&mut R::Pool) -> Result<R, E>) -> Result<Self, E> {
        let rings = join(&mut self.shared.borrow_mut().pool)?;
        Ok(Self::with(rings, Rc::clone(&self.shared)))
    }

    fn with(rings: R, shared: Rc<RefCell<Shared<R>>>) -> Self {
        let ring = |name| rings.layout().ring(name) as usize;
        let (rx, tx, frames) = (ring(RingName::Rx), ring(RingName::Tx), rings.layout().frames() as usize);
        // One lease takes at most all that RX holds, and has no use for more empty frames than TX takes.
        let path = Self {
            slate: Slate::new((rx + tx).min(frames), tx),
            kicks: Kicks::after(rings.kick_after()),
            rings,
            shared,
            leased: 0,
            outgoing: Vec::new(),
            tables: Vec::new(),
        };
        path.publish();
        path
    }

    // The lease

    /// Ends the lease and begins the next with up to `max` received frames, and with multi-buffer with the longest
    /// packet at least. Kicks at once if none is there, else when it is worth it.
    ///
    /// # Errors
    /// [`PathError`] where a ring is broken or the kernel refuses to send.
    pub fn receive(&mut self, max: u32) -> Result<usize, PathError> {
        let shared = Rc::clone(&self.shared);
        let pool = &mut shared.borrow_mut().pool;
        self.transmit_outbox(pool)?;
        self.end_lease(pool);
        self.kick_when_due(pool)?;
        let least = if max > 0 && self.rings.multi_buffer() { MAX_PARTS_RECEIVED } else { 0 };
        let lease = self.slate.lease();
        let max = (max as usize).max(least).min(lease.len());
        self.leased = self.rings.receive(pool, &lease[..max])?;
        self.publish();
        Ok(self.leased)
    }

    /// Ends the lease: what was queued leaves, reception gets the rest.
    ///
    /// # Errors
    /// As [`receive`](Self::receive); the lease has ended all the same.
    pub fn finish(&mut self) -> Result<(), PathError> {
        let shared = Rc::clone(&self.shared);
        let pool = &mut shared.borrow_mut().pool;
        let sent = self.transmit_outbox(pool);
        self.end_lease(pool);
        sent?;
        self.kick(pool)?;
        self.rings.refill(pool)?;
        Ok(())
    }

    /// Hands the kernel all that is queued; the lease goes on.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn flush(&mut self) -> Result<(), PathError> {
        let shared = Rc::clone(&self.shared);
        let pool = &mut shared.borrow_mut().pool;
        self.transmit_outbox(pool)?;
        self.kick(pool)
    }

    /// Adds up to `count` empty frames to the lease, and says how many.
    ///
    /// # Errors
    /// [`PathError::Ring`].
    pub fn allocate(&mut self, count: u32) -> Result<usize, PathError> {
        let shared = Rc::clone(&self.shared);
        let pool = &mut shared.borrow_mut().pool;
        self.take_returned(pool);
        let room = self.slate.lease().get(self.leased..).unwrap_or_default();
        let lent = lend(&mut self.rings, pool, &room[..room.len().min(count as usize)])?;
        self.leased += lent;
        Ok(lent)
    }

    /// Puts a packet of `length` bytes behind all that is queued; `write` gets the offset in the packet at which it
    /// writes. `false`: no chunk or no slot is free.
    ///
    /// # Errors
    /// [`PathError::TooLong`], or [`PathError::Ring`].
    pub fn try_send(&mut self, length: usize, mut write: impl FnMut(usize, &mut [u8])) -> Result<bool, PathError> {
        let shared = Rc::clone(&self.shared);
        let pool = &mut shared.borrow_mut().pool;
        self.transmit_outbox(pool)?;
        self.rings.complete(pool)?;
        let capacity = self.packet_capacity();
        if length > capacity {
            return Err(FrameTooLong { len: length, capacity }.into());
        }
        let most = self.rings.layout().frame_capacity() as usize;
        let mut at = 0;
        while at < length {
            let Some(mut frame) = pool.allocate() else { break };
            let part = (length - at).min(most);
            write(at, pool.bytes_mut(&mut frame, part, at + part < length));
            self.outgoing.push(frame);
            at += part;
        }
        let sent = if at < length { Ok(0) } else { self.rings.transmit_frames(pool, &mut self.outgoing) };
        for frame in self.outgoing.drain(..) {
            pool.release(frame);
        }
        let sent = sent?;
        self.kicks.queued(sent);
        self.publish();
        Ok(sent > 0)
    }

    /// The longest packet that can be sent, in bytes.
    #[must_use]
    pub fn packet_capacity(&self) -> usize {
        let layout = self.rings.layout();
        let slots = layout.ring(RingName::Tx) as usize;
        let parts = if self.rings.multi_buffer() { MAX_PARTS_SENT.min(slots) } else { 1 };
        parts * layout.frame_capacity() as usize
    }

    // Tables

    /// Makes a table of descriptors, and says its number, which all paths of the pool know.
    pub fn make_table(&mut self, capacity: u32) -> (usize, Words) {
        let (number, words) = self.shared.borrow_mut().tables.make(capacity);
        self.tables.push(number);
        (number, words)
    }

    /// Received frames into a table, behind the first `length`. Says how many. Kicks at once if there is none, else
    /// when it is worth it.
    ///
    /// # Errors
    /// [`PathError::NoTable`], or as [`receive`](Self::receive).
    pub fn receive_into(&mut self, table: usize, length: usize) -> Result<usize, PathError> {
        let shared = Rc::clone(&self.shared);
        let shared = &mut *shared.borrow_mut();
        let (pool, table) = shared.with_table(table)?;
        self.settle_queued(pool)?;
        self.kick_when_due(pool)?;
        let received = self.rings.receive(pool, table.descriptors(first_word(length), usize::MAX))?;
        self.publish();
        Ok(received)
    }

    /// As [`receive_into`](Self::receive_into), and where there is none, sleeps until one comes or the time is over.
    ///
    /// # Errors
    /// The same, [`PathError::Wait`], and [`PathError::DeviceGone`].
    pub fn receive_into_or_sleep(&mut self, table: usize, length: usize, time: Duration) -> Result<usize, PathError> {
        let received = self.receive_into(table, length)?;
        if received > 0 || time.is_zero() {
            return Ok(received);
        }
        let ready = self.rings.wait(&mut self.shared.borrow_mut().pool, time);
        match ready.map_err(PathError::Wait)? {
            Readiness::Frames => self.receive_into(table, length),
            Readiness::TimedOut => Ok(0),
            Readiness::DeviceGone => Err(PathError::DeviceGone),
            // Its socket is in error, and ends every sleep at once.
            Readiness::DeviceDown => {
                thread::sleep(time);
                Ok(0)
            }
        }
    }

    /// Takes the first `length` frames of a table back, then receives into it from its front on, as
    /// [`receive_into_or_sleep`](Self::receive_into_or_sleep).
    ///
    /// # Errors
    /// As that.
    pub fn recycle_and_receive_into(
        &mut self,
        table: usize,
        length: usize,
        time: Duration,
    ) -> Result<usize, PathError> {
        self.recycle_from(table, length)?;
        self.receive_into_or_sleep(table, 0, time)
    }

    /// Empty frames into a table, from the first `length` on to `end`. Says how many.
    ///
    /// # Errors
    /// [`PathError::NoTable`], or [`PathError::Ring`].
    pub fn allocate_into(&mut self, table: usize, length: usize, end: usize) -> Result<usize, PathError> {
        let shared = Rc::clone(&self.shared);
        let shared = &mut *shared.borrow_mut();
        let (pool, table) = shared.with_table(table)?;
        self.settle_queued(pool)?;
        lend(&mut self.rings, pool, table.descriptors(first_word(length), end.saturating_sub(length)))
    }

    /// The first `length` frames of a table into TX, as far as there are slots; the others are at its front then. Says
    /// how many were sent, and how many are left. Kicks when it is worth it, and to get slots.
    ///
    /// # Errors
    /// [`PathError::NoTable`], or as [`receive`](Self::receive).
    pub fn transmit_from(&mut self, table: usize, length: usize) -> Result<(usize, usize), PathError> {
        let shared = Rc::clone(&self.shared);
        let shared = &mut *shared.borrow_mut();
        let (pool, table) = shared.with_table(table)?;
        self.settle_queued(pool)?;
        let mut done = self.rings.transmit(pool, table.descriptors(0, length))?;
        self.kicks.queued(done.sent);
        if done.left > 0 {
            self.kick(pool)?;
            let more = self.rings.transmit(pool, table.descriptors(0, done.left))?;
            self.kicks.queued(more.sent);
            done.sent += more.sent;
            done.left = more.left;
        }
        if self.kicks.is_due() {
            self.kick(pool)?;
        }
        self.publish();
        Ok((done.sent, done.left))
    }

    /// Takes the first `length` frames of a table back. Says how many had been lent.
    ///
    /// # Errors
    /// [`PathError::NoTable`].
    pub fn recycle_from(&mut self, table: usize, length: usize) -> Result<usize, PathError> {
        let shared = Rc::clone(&self.shared);
        let shared = &mut *shared.borrow_mut();
        let (pool, table) = shared.with_table(table)?;
        Ok(self.rings.recycle(pool, table.descriptors(0, length)))
    }

    /// Whether a call that receives has something to return or to report.
    #[inline]
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.rings.is_readable()
    }

    // The sleep of an event loop

    /// Prepares for a sleep until there is something to receive, and with `sending` until there is a slot. Call it each
    /// time that the event loop is asked to watch.
    pub fn prepare_to_sleep(&mut self, sending: bool) {
        self.rings.prepare_to_sleep(&mut self.shared.borrow_mut().pool, sending);
    }

    /// The event loop has found the descriptor ready: says for what, unless the events of the loop do.
    pub fn woken(&mut self) -> Option<Woken> {
        self.rings.woken()
    }

    // What is asked seldom

    /// Frees what has left, so that counters and chunks of a path at rest are at rest, too.
    ///
    /// # Errors
    /// [`PathError::Ring`].
    pub fn settle(&mut self) -> Result<(), PathError> {
        let shared = Rc::clone(&self.shared);
        let pool = &mut shared.borrow_mut().pool;
        self.take_returned(pool);
        self.rings.complete(pool)?;
        Ok(())
    }

    /// How many chunks each owner has.
    #[must_use]
    pub fn chunks(&self) -> ChunkCounts {
        self.rings.chunks(&self.shared.borrow().pool).keeping(self.slate.get(Word::Kept))
    }

    /// Has all that sends by address refuse what is not a packet of this MTU.
    pub fn set_mtu(&mut self, mtu: u32) {
        self.rings.set_mtu(mtu);
    }

    /// What is shared with the other language beside tables.
    #[inline]
    #[must_use]
    pub fn slate(&self) -> &Slate {
        &self.slate
    }

    /// The rings.
    #[inline]
    #[must_use]
    pub fn rings(&self) -> &R {
        &self.rings
    }

    /// The pool.
    pub fn with_pool<T>(&self, body: impl FnOnce(&mut R::Pool) -> T) -> T {
        body(&mut self.shared.borrow_mut().pool)
    }

    /// Whether other paths have the same pool.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Rc::strong_count(&self.shared) > 1
    }

    /// Closes the rings. The pool's memory stays for as long as anybody has it.
    pub fn close(mut self) -> Closing<R> {
        self.end();
        let closed = self.rings.close(&self.shared.borrow().pool);
        Closing { shared: self.shared, closed }
    }

    /// The rings with their pool, for another thread, with all chunks but those that the kernel has: the other language
    /// must have no view of the memory any more.
    ///
    /// # Errors
    /// The path, as it was, where others share its pool.
    pub fn dismantle(mut self) -> Result<(R, R::Pool, R::Backing), Self> {
        if self.is_shared() {
            return Err(self);
        }
        self.end();
        let Ok(shared) = Rc::try_unwrap(self.shared) else { unreachable!("nobody else has a share") };
        let Shared { mut pool, backing, .. } = shared.into_inner();
        pool.take_all_back();
        Ok((self.rings, pool, backing))
    }

    /// Takes back what the other language has by lease and outbox, and forgets the tables.
    fn end(&mut self) {
        let shared = Rc::clone(&self.shared);
        let shared = &mut *shared.borrow_mut();
        // The kernel has no use for the outbox any more.
        self.rings.recycle(&mut shared.pool, self.slate.take_queued());
        self.end_lease(&mut shared.pool);
        for &number in &self.tables {
            shared.tables.forget(number);
        }
    }

    // Steps

    /// What other calls have queued comes first; what was given back is free.
    fn settle_queued(&mut self, pool: &mut R::Pool) -> Result<(), PathError> {
        self.transmit_outbox(pool)?;
        self.take_returned(pool);
        Ok(())
    }

    fn transmit_outbox(&mut self, pool: &mut R::Pool) -> Result<(), PathError> {
        let queued = self.slate.take_queued();
        if queued.is_empty() {
            return Ok(());
        }
        let done = self.rings.transmit(pool, queued)?;
        // No more is queued than there are slots, so nothing is left; but what the other language says is not believed.
        self.rings.recycle(pool, &queued[..done.left]);
        self.kicks.queued(done.sent);
        self.publish();
        Ok(())
    }

    fn end_lease(&mut self, pool: &mut R::Pool) {
        self.rings.recycle(pool, &self.slate.lease()[..self.leased]);
        self.leased = 0;
        self.take_returned(pool);
    }

    fn take_returned(&mut self, pool: &mut R::Pool) {
        let returned = self.slate.take_returned();
        if !returned.is_empty() {
            self.rings.recycle(pool, returned);
        }
    }

    /// Kicks if it is due, which frees what has left; otherwise frees it without a kick.
    fn kick_when_due(&mut self, pool: &mut R::Pool) -> Result<(), PathError> {
        match self.kicks.before_receiving() {
            Due::Now => return self.kick(pool),
            Due::WhenIdle if self.rings.is_idle()? => return self.kick(pool),
            Due::WhenIdle | Due::No => {}
        }
        if self.rings.in_tx(pool) > 0 {
            self.rings.complete(pool)?;
        }
        Ok(())
    }

    fn kick(&mut self, pool: &mut R::Pool) -> Result<(), PathError> {
        let waiting = match self.rings.flush(pool) {
            // A device that is down may come up again: the frames wait in TX.
            Ok(waiting) | Err(FlushError::DeviceDown { waiting, .. }) => waiting,
            Err(error) => return Err(PathError::Flush(error)),
        };
        self.kicks.kicked(waiting);
        self.slate.set(Word::Waiting, waiting);
        self.rings.complete(pool)?;
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        self.slate.set(Word::Slots, self.rings.tx_slots());
        #[expect(clippy::cast_possible_truncation, reason = "the word wraps")]
        self.slate.set(Word::Starved, self.rings.starved() as u32);
    }
}

/// Lends free chunks by address, as many as the table has room for; those that have left are free, too.
fn lend<R: Rings>(rings: &mut R, pool: &mut R::Pool, table: &[LentDescriptor]) -> Result<usize, PathError> {
    if (pool.free() as usize) < table.len() {
        rings.complete(pool)?;
    }
    Ok(pool.lend(table))
}

/// The first word of a descriptor.
fn first_word(descriptor: usize) -> usize {
    descriptor.saturating_mul(2)
}

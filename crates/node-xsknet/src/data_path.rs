//! A socket with what JavaScript has of its frames: by address, on tables that both sides read and write. It knows nothing of JavaScript
//! but these.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use xsknet_xsk::ring::RingName;
use xsknet_xsk::{
    ChunkCounts, Closed, DeviceState, Endpoint, FlushError, Frame, FrameTooLong, KernelStatistics, LentDescriptor,
    MAX_PARTS_RECEIVED, MAX_PARTS_SENT, Readiness, RingBroken, Socket, SocketCounters, TransmitError, Umem, UmemMemory,
    WaitError,
};

use crate::slate::{Slate, Word, Words};

/// Frames in TX from which on a kick is no longer put off, although more frames wait to be received.
const KICK_AT_LEAST_EVERY: usize = 128;
/// Calls from which on it is not, however few frames there are.
const KICK_PUT_OFF_AT_MOST: u32 = 64;

pub(crate) struct DataPath {
    endpoint: Endpoint,
    commons: Rc<RefCell<Commons>>,
    slate: Slate,
    /// Places of the lease in use.
    leased: usize,
    /// Frames in TX since the last kick.
    unkicked: usize,
    /// Frames in TX that the kernel had not taken after it.
    waiting: u32,
    /// Calls since there is something to kick for.
    put_off: u32,
    /// Frames on their way into TX; kept for its memory.
    outgoing: Vec<Frame>,
    /// The tables that this socket made.
    tables: Vec<usize>,
}

/// What the sockets of one UMEM have in common. They are of one thread, and each call borrows it once.
struct Commons {
    umem: Umem,
    /// The file behind the UMEM, for who takes the socket over.
    file: OwnedFd,
    /// Tables of descriptors by their number; `None` when the socket that made one is closed. A number is not used twice.
    tables: Vec<Option<Words>>,
}

impl Commons {
    fn with_table(&mut self, number: usize) -> Result<(&mut Umem, &Words), PathError> {
        match self.tables.get(number) {
            Some(Some(table)) => Ok((&mut self.umem, table)),
            _ => Err(PathError::NoTable(number)),
        }
    }
}

/// A socket that was closed, and whose chunks the kernel may still use.
pub(crate) struct Closing {
    commons: Rc<RefCell<Commons>>,
    closed: Closed,
}

impl Closing {
    /// Whether other sockets have the same UMEM.
    pub(crate) fn is_shared(&self) -> bool {
        Rc::strong_count(&self.commons) > 1
    }

    /// Frees them: the daemon has closed its descriptor, too.
    pub(crate) fn reclaim(self) {
        self.commons.borrow_mut().umem.reclaim(self.closed);
    }
}

/// Why a frame could not be moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathError {
    #[error(transparent)]
    Ring(#[from] RingBroken),
    #[error(transparent)]
    Flush(FlushError),
    #[error(transparent)]
    Wait(WaitError),
    #[error("the device is gone")]
    DeviceGone,
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
    #[error("batch {0} is none of this UMEM, or the queue that made it has been closed")]
    NoTable(usize),
}

impl DataPath {
    pub(crate) fn new(socket: Socket) -> Self {
        let (endpoint, umem, file) = socket.into_parts();
        Self::with(endpoint, Rc::new(RefCell::new(Commons { umem, file, tables: Vec::new() })))
    }

    /// A socket that shares the UMEM of this one: `join` makes it of the UMEM.
    pub(crate) fn sharing<E>(&self, join: impl FnOnce(&mut Umem) -> Result<Endpoint, E>) -> Result<Self, E> {
        let endpoint = join(&mut self.commons.borrow_mut().umem)?;
        Ok(Self::with(endpoint, Rc::clone(&self.commons)))
    }

    /// The UMEM, for what is done seldom.
    pub(crate) fn with_umem<T>(&self, body: impl FnOnce(&mut Umem) -> T) -> T {
        body(&mut self.commons.borrow_mut().umem)
    }

    fn with(endpoint: Endpoint, commons: Rc<RefCell<Commons>>) -> Self {
        let ring = |name| endpoint.layout().ring(name) as usize;
        let (rx, tx, frames) = (ring(RingName::Rx), ring(RingName::Tx), endpoint.layout().frames() as usize);
        // One lease takes at most all that RX holds, and has no use for more fresh frames than TX takes.
        let path = Self {
            slate: Slate::new((rx + tx).min(frames), tx),
            endpoint,
            commons,
            leased: 0,
            unkicked: 0,
            waiting: 0,
            put_off: 0,
            outgoing: Vec::new(),
            tables: Vec::new(),
        };
        path.publish();
        path
    }

    /// Ends the lease and begins the next with up to `max` received frames, and with multi-buffer with the longest packet at least. Kicks
    /// at once if none is there, else when it is worth it.
    pub(crate) fn receive(&mut self, max: u32) -> Result<usize, PathError> {
        let commons = Rc::clone(&self.commons);
        let umem = &mut commons.borrow_mut().umem;
        self.transmit_outbox(umem)?;
        self.end_lease(umem);
        self.kick_when_due(umem)?;
        let least = if max > 0 && self.endpoint.multi_buffer() { MAX_PARTS_RECEIVED } else { 0 };
        let lease = self.slate.lease();
        let max = (max as usize).max(least).min(lease.len());
        self.leased = self.endpoint.receive_lent(umem, &lease[..max])?;
        self.publish();
        Ok(self.leased)
    }

    /// Ends the lease: what was queued leaves, the rest goes back to the kernel.
    pub(crate) fn finish(&mut self) -> Result<(), PathError> {
        let commons = Rc::clone(&self.commons);
        let umem = &mut commons.borrow_mut().umem;
        let sent = self.transmit_outbox(umem);
        self.end_lease(umem);
        sent?;
        self.kick(umem)?;
        self.endpoint.refill(umem)?;
        Ok(())
    }

    /// Hands the kernel all that is queued; the lease goes on.
    pub(crate) fn flush(&mut self) -> Result<(), PathError> {
        let commons = Rc::clone(&self.commons);
        let umem = &mut commons.borrow_mut().umem;
        self.transmit_outbox(umem)?;
        self.kick(umem)
    }

    /// Adds up to `count` empty frames to the lease, and says how many.
    pub(crate) fn allocate(&mut self, count: u32) -> Result<usize, PathError> {
        let commons = Rc::clone(&self.commons);
        let umem = &mut commons.borrow_mut().umem;
        self.take_returned(umem);
        let room = self.slate.lease().get(self.leased..).unwrap_or_default();
        let lent = lend(&mut self.endpoint, umem, &room[..room.len().min(count as usize)])?;
        self.leased += lent;
        Ok(lent)
    }

    /// Puts a packet of `length` bytes behind all that is queued; `write` is told where in the packet it writes. `false`: no chunk or no
    /// slot is free.
    pub(crate) fn try_send(
        &mut self,
        length: usize,
        mut write: impl FnMut(usize, &mut [u8]),
    ) -> Result<bool, PathError> {
        let commons = Rc::clone(&self.commons);
        let umem = &mut commons.borrow_mut().umem;
        self.transmit_outbox(umem)?;
        self.endpoint.complete(umem)?;
        let capacity = self.packet_capacity();
        if length > capacity {
            return Err(FrameTooLong { len: length, capacity }.into());
        }
        let mut at = 0;
        while at < length {
            let Some(mut frame) = umem.allocate() else { break };
            let part = (length - at).min(frame.capacity());
            frame.set_len(part)?;
            frame.set_continues(at + part < length);
            write(at, umem.bytes_mut(&mut frame));
            self.outgoing.push(frame);
            at += part;
        }
        let sent = if at < length { Ok(0) } else { self.endpoint.transmit(umem, &mut self.outgoing) };
        for frame in self.outgoing.drain(..) {
            umem.release(frame);
        }
        let sent = sent.map_err(|error| match error {
            TransmitError::Ring(broken) => broken,
            TransmitError::Frame(refused) => unreachable!("frames of this UMEM with bytes, not too many: {refused}"),
        })?;
        self.unkicked += sent;
        self.publish();
        Ok(sent > 0)
    }

    /// Has [`transmit_from`](Self::transmit_from) and what is queued refuse what is no packet of this MTU.
    pub(crate) fn set_mtu(&mut self, mtu: u32) {
        self.endpoint.set_mtu(mtu);
    }

    /// The longest packet that can be sent, in bytes.
    pub(crate) fn packet_capacity(&self) -> usize {
        let layout = self.endpoint.layout();
        let slots = layout.ring(RingName::Tx) as usize;
        let parts = if self.endpoint.multi_buffer() { MAX_PARTS_SENT.min(slots) } else { 1 };
        parts * layout.frame_capacity() as usize
    }

    /// Makes a table of descriptors, and says its number.
    pub(crate) fn make_table(&mut self, capacity: u32) -> (usize, Words) {
        let words = Words::zeroed(2 * capacity as usize);
        let mut commons = self.commons.borrow_mut();
        let number = commons.tables.len();
        commons.tables.push(Some(words.clone()));
        self.tables.push(number);
        (number, words)
    }

    /// Received frames into a table, behind the first `length`. Says how many. Kicks at once if there is none, else when it is worth it.
    pub(crate) fn receive_into(&mut self, table: usize, length: usize) -> Result<usize, PathError> {
        let commons = Rc::clone(&self.commons);
        let commons = &mut *commons.borrow_mut();
        let (umem, table) = commons.with_table(table)?;
        self.settle_queued(umem)?;
        self.kick_when_due(umem)?;
        let received = self.endpoint.receive_lent(umem, table.descriptors(2 * length, usize::MAX))?;
        self.publish();
        Ok(received)
    }

    /// As [`receive_into`](Self::receive_into), and where there is none, sleeps until one comes or the time is over.
    pub(crate) fn receive_into_or_sleep(
        &mut self,
        table: usize,
        length: usize,
        time: Duration,
    ) -> Result<usize, PathError> {
        let received = self.receive_into(table, length)?;
        if received > 0 || time.is_zero() {
            return Ok(received);
        }
        let ready = self.endpoint.wait(&mut self.commons.borrow_mut().umem, time);
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

    /// Empty frames into a table, from the first `length` on to `end`. Says how many.
    pub(crate) fn allocate_into(&mut self, table: usize, length: usize, end: usize) -> Result<usize, PathError> {
        let commons = Rc::clone(&self.commons);
        let commons = &mut *commons.borrow_mut();
        let (umem, table) = commons.with_table(table)?;
        self.settle_queued(umem)?;
        lend(&mut self.endpoint, umem, table.descriptors(2 * length, end.saturating_sub(length)))
    }

    /// The first `length` frames of a table into TX, as far as there are slots; the others are at its front then. Says how many were sent,
    /// and how many are left. Kicks when it is worth it, and to get slots.
    pub(crate) fn transmit_from(&mut self, table: usize, length: usize) -> Result<(usize, usize), PathError> {
        let commons = Rc::clone(&self.commons);
        let commons = &mut *commons.borrow_mut();
        let (umem, table) = commons.with_table(table)?;
        self.settle_queued(umem)?;
        let mut done = self.endpoint.transmit_lent(umem, table.descriptors(0, length))?;
        self.unkicked += done.sent;
        if done.left > 0 {
            self.kick(umem)?;
            let more = self.endpoint.transmit_lent(umem, table.descriptors(0, done.left))?;
            self.unkicked += more.sent;
            done.sent += more.sent;
            done.left = more.left;
        }
        if self.unkicked >= KICK_AT_LEAST_EVERY {
            self.kick(umem)?;
        }
        self.publish();
        Ok((done.sent, done.left))
    }

    /// Takes the first `length` frames of a table back. Says how many had been lent.
    pub(crate) fn recycle_from(&mut self, table: usize, length: usize) -> Result<usize, PathError> {
        let commons = Rc::clone(&self.commons);
        let commons = &mut *commons.borrow_mut();
        let (umem, table) = commons.with_table(table)?;
        Ok(self.endpoint.recycle(umem, table.descriptors(0, length)))
    }

    pub(crate) fn device(&self) -> DeviceState {
        self.endpoint.device()
    }

    /// Takes back what has left, so that counters and census of a port at rest are at rest, too.
    pub(crate) fn settle(&mut self) -> Result<(), PathError> {
        let commons = Rc::clone(&self.commons);
        let umem = &mut commons.borrow_mut().umem;
        self.take_returned(umem);
        self.endpoint.complete(umem)?;
        Ok(())
    }

    pub(crate) fn counters(&self) -> SocketCounters {
        self.endpoint.counters()
    }

    pub(crate) fn census(&self) -> ChunkCounts {
        self.endpoint.chunks(&self.commons.borrow().umem)
    }

    pub(crate) fn statistics(&self) -> std::io::Result<KernelStatistics> {
        self.endpoint.statistics()
    }

    pub(crate) fn slate(&self) -> &Slate {
        &self.slate
    }

    pub(crate) fn memory(&self) -> UmemMemory {
        self.commons.borrow().umem.memory()
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A number that this and all other sockets of its UMEM have, and no other.
    pub(crate) fn umem_number(&self) -> u32 {
        self.commons.borrow().umem.number()
    }

    /// Whether other sockets have the same UMEM.
    pub(crate) fn is_shared(&self) -> bool {
        Rc::strong_count(&self.commons) > 1
    }

    /// Closes the socket. Its memory stays for those who have it.
    pub(crate) fn close(mut self) -> Closing {
        let commons = self.end();
        let closed = self.endpoint.close(&commons.borrow().umem);
        Closing { commons, closed }
    }

    /// The socket, for another thread, with all its chunks but those that the kernel has: JavaScript must have no view of the memory any
    /// more. It fails where other sockets share the UMEM.
    #[expect(clippy::result_large_err, reason = "once in a socket's life")]
    pub(crate) fn dismantle(mut self) -> Result<Socket, Self> {
        if self.is_shared() {
            return Err(self);
        }
        let commons = self.end();
        let Self { endpoint, commons: ours, .. } = self;
        drop(ours);
        let Ok(commons) = Rc::try_unwrap(commons) else { unreachable!("nobody else has a share") };
        let Commons { mut umem, file, .. } = commons.into_inner();
        umem.take_all_back();
        Ok(Socket::of_parts(endpoint, umem, file))
    }

    /// Takes back what JavaScript has by lease and outbox, and forgets the tables.
    fn end(&mut self) -> Rc<RefCell<Commons>> {
        let commons = Rc::clone(&self.commons);
        {
            let commons = &mut *commons.borrow_mut();
            // The kernel has no use for the outbox any more.
            self.endpoint.recycle(&mut commons.umem, self.slate.take_queued());
            self.end_lease(&mut commons.umem);
            for &number in &self.tables {
                commons.tables[number] = None;
            }
        }
        commons
    }

    /// What other calls have queued comes first; what was given back is free.
    fn settle_queued(&mut self, umem: &mut Umem) -> Result<(), PathError> {
        self.transmit_outbox(umem)?;
        self.take_returned(umem);
        Ok(())
    }

    fn transmit_outbox(&mut self, umem: &mut Umem) -> Result<(), PathError> {
        let queued = self.slate.take_queued();
        if queued.is_empty() {
            return Ok(());
        }
        let done = self.endpoint.transmit_lent(umem, queued)?;
        // JavaScript queues no more than there are slots, so nothing is left; but what it says is not believed.
        self.endpoint.recycle(umem, &queued[..done.left]);
        self.unkicked += done.sent;
        self.publish();
        Ok(())
    }

    fn end_lease(&mut self, umem: &mut Umem) {
        self.endpoint.recycle(umem, &self.slate.lease()[..self.leased]);
        self.leased = 0;
        self.take_returned(umem);
    }

    fn take_returned(&mut self, umem: &mut Umem) {
        let returned = self.slate.take_returned();
        if !returned.is_empty() {
            self.endpoint.recycle(umem, returned);
        }
    }

    /// Kicks if something waits for it and nothing else is to be done, or it has waited long enough; and takes back what has left.
    fn kick_when_due(&mut self, umem: &mut Umem) -> Result<(), PathError> {
        if self.unkicked > 0 || self.waiting > 0 {
            self.put_off += 1;
            let enough = self.unkicked >= KICK_AT_LEAST_EVERY || self.put_off >= KICK_PUT_OFF_AT_MOST;
            if enough || self.endpoint.is_idle()? {
                return self.kick(umem);
            }
        }
        if self.endpoint.in_tx(umem) > 0 {
            self.endpoint.complete(umem)?;
        }
        Ok(())
    }

    fn kick(&mut self, umem: &mut Umem) -> Result<(), PathError> {
        self.waiting = match self.endpoint.flush(umem) {
            // A device that is down may come up again: the frames wait in TX.
            Ok(waiting) | Err(FlushError::DeviceDown { waiting, .. }) => waiting,
            Err(error) => return Err(PathError::Flush(error)),
        };
        self.unkicked = 0;
        self.put_off = 0;
        self.slate.set(Word::Waiting, self.waiting);
        self.endpoint.complete(umem)?;
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        self.slate.set(Word::Slots, self.endpoint.tx_slots());
        let SocketCounters { fill_starved, fill_found_empty, .. } = self.endpoint.counters();
        let starved = fill_starved.wrapping_add(fill_found_empty);
        self.slate.set(Word::Starved, u32::try_from(starved & u64::from(u32::MAX)).unwrap_or(0));
    }
}

/// Lends free chunks by address, as many as the table has room for; those that have left are free, too.
fn lend(endpoint: &mut Endpoint, umem: &mut Umem, table: &[LentDescriptor]) -> Result<usize, PathError> {
    if (umem.free() as usize) < table.len() {
        endpoint.complete(umem)?;
    }
    Ok(umem.lend(table))
}

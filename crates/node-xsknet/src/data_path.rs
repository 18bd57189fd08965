//! A socket with the lease that JavaScript has on some of its frames. It knows nothing of JavaScript but the slate.

use std::sync::atomic::Ordering;

use xsknet_xsk::ring::RingName;
use xsknet_xsk::{
    Census, DeviceState, FlushError, Frame, FrameTooLong, KernelStatistics, RingBroken, Socket, SocketCounters,
    TransmitError, UmemMemory,
};

use crate::slate::{Slate, Table, Word};

/// Queued frames from which on a kick is no longer put off, although more frames wait to be received.
const KICK_AT_LEAST_EVERY: usize = 128;

pub(crate) struct DataPath {
    socket: Socket,
    slate: Slate,
    /// The frames that JavaScript has, at the places by which it names them; `None` once sent.
    lease: Vec<Option<Frame>>,
    /// Frames in TX since the last kick.
    unkicked: usize,
    /// Entries of the outbox that named no frame of the lease, or one of no bytes or of more than it holds: the package's own checks
    /// make that impossible.
    refused: u64,
    /// On their way from RX into the lease, and from the outbox into TX; kept for their memory.
    incoming: Vec<Frame>,
    outgoing: Vec<Frame>,
}

/// Why a frame could not be moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathError {
    #[error(transparent)]
    Ring(#[from] RingBroken),
    #[error(transparent)]
    Flush(FlushError),
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
}

impl DataPath {
    pub(crate) fn new(socket: Socket) -> Self {
        let ring = |name| socket.layout().ring(name) as usize;
        let (rx, tx, frames) = (ring(RingName::Rx), ring(RingName::Tx), socket.layout().frames() as usize);
        // One lease takes at most all that RX holds, and has no use for more fresh frames than TX takes.
        let slate = Slate::new((rx + tx).min(frames));
        let path = Self {
            lease: Vec::with_capacity(slate.places()),
            incoming: Vec::with_capacity(rx),
            outgoing: Vec::with_capacity(tx),
            socket,
            slate,
            unkicked: 0,
            refused: 0,
        };
        path.publish();
        path
    }

    /// Ends the lease and begins the next with up to `max` received frames. Kicks at once if none is there, else when it is worth it.
    pub(crate) fn receive(&mut self, max: u32) -> Result<usize, PathError> {
        self.transmit_outbox()?;
        self.release_lease();
        let put_off = self.unkicked < KICK_AT_LEAST_EVERY && self.socket.rings().rx.entries != Some(0);
        if self.slate.get(Word::Waiting) > 0 || (self.unkicked > 0 && !put_off) {
            self.kick()?;
        }
        if self.socket.census().tx > 0 {
            self.socket.complete()?;
        }
        let max = (max as usize).min(self.slate.places());
        self.socket.receive(max, &mut self.incoming)?;
        let received = self.incoming.len();
        for frame in self.incoming.drain(..) {
            lend(&self.socket, &self.slate, &mut self.lease, frame);
        }
        self.publish();
        Ok(received)
    }

    /// Ends the lease: what was queued leaves, the rest goes back to the kernel.
    pub(crate) fn finish(&mut self) -> Result<(), PathError> {
        let sent = self.transmit_outbox();
        self.release_lease();
        sent?;
        self.kick()?;
        self.socket.refill()?;
        Ok(())
    }

    /// Hands the kernel all that is queued; the lease goes on.
    pub(crate) fn flush(&mut self) -> Result<(), PathError> {
        self.transmit_outbox()?;
        self.kick()
    }

    /// Adds up to `count` empty frames to the lease, and says how many.
    pub(crate) fn allocate(&mut self, count: u32) -> Result<usize, PathError> {
        let before = self.lease.len();
        let room = (count as usize).min(self.slate.places().saturating_sub(before));
        if (self.socket.census().home as usize) < room {
            self.socket.complete()?;
        }
        for _ in 0..room {
            let Some(frame) = self.socket.allocate() else { break };
            lend(&self.socket, &self.slate, &mut self.lease, frame);
        }
        Ok(self.lease.len() - before)
    }

    /// Puts a frame of `length` bytes, which `write` writes, behind all that is queued. `false`: no chunk or no slot is free.
    pub(crate) fn try_send(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> Result<bool, PathError> {
        self.transmit_outbox()?;
        self.socket.complete()?;
        let Some(mut frame) = self.socket.allocate() else { return Ok(false) };
        if let Err(too_long) = frame.set_len(length) {
            self.socket.release(frame);
            return Err(too_long.into());
        }
        write(self.socket.bytes_mut(&mut frame));
        self.outgoing.push(frame);
        let sent = self.transmit()?;
        Ok(sent == 1)
    }

    pub(crate) fn device(&self) -> DeviceState {
        self.socket.device()
    }

    /// Takes back what has left, so that counters and census of a port at rest are at rest, too.
    pub(crate) fn settle(&mut self) -> Result<(), PathError> {
        self.socket.complete()?;
        Ok(())
    }

    pub(crate) fn counters(&self) -> SocketCounters {
        self.socket.counters()
    }

    /// Entries of the outbox that could not be sent.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) fn census(&self) -> Census {
        self.socket.census()
    }

    pub(crate) fn statistics(&self) -> std::io::Result<KernelStatistics> {
        self.socket.statistics()
    }

    pub(crate) fn slate(&self) -> &Slate {
        &self.slate
    }

    pub(crate) fn memory(&self) -> UmemMemory {
        self.socket.memory()
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket, for another path. What was lent of it is taken back: nobody may have a view of it any more.
    #[expect(clippy::result_large_err, reason = "once in a socket's life")]
    pub(crate) fn dismantle(mut self) -> Result<Socket, Self> {
        self.release_lease();
        Ok(self.socket)
    }

    /// Closes the socket. Its memory stays for those who have it.
    pub(crate) fn close(mut self) {
        self.release_lease();
        self.socket.close();
    }

    fn transmit_outbox(&mut self) -> Result<(), PathError> {
        let queued = self.slate.get(Word::Queued) as usize;
        if queued == 0 {
            return Ok(());
        }
        self.slate.set(Word::Queued, 0);
        for n in 0..queued.min(self.slate.places()) {
            match self.take_queued(n) {
                Some(frame) => self.outgoing.push(frame),
                None => self.refused += 1,
            }
        }
        let queued = self.outgoing.len();
        let sent = self.transmit()?;
        self.refused += (queued - sent) as u64;
        Ok(())
    }

    /// The frame that the outbox names at `n`, at the length that JavaScript gave it. What cannot be sent stays in the lease.
    fn take_queued(&mut self, n: usize) -> Option<Frame> {
        let place = self.slate.entry(Table::Outbox, n)?.load(Ordering::Relaxed) as usize;
        let length = self.slate.entry(Table::Lengths, place)?.load(Ordering::Relaxed) as usize;
        let slot = self.lease.get_mut(place)?;
        slot.as_mut()?.set_len(length).ok()?;
        slot.take_if(|frame| !frame.is_empty())
    }

    /// Puts what is in `outgoing` into TX, and releases what finds no slot. Says how many frames found one.
    fn transmit(&mut self) -> Result<usize, PathError> {
        let sent = self.socket.transmit(&mut self.outgoing);
        for frame in self.outgoing.drain(..) {
            self.socket.release(frame);
        }
        let sent = sent.map_err(|error| match error {
            TransmitError::Ring(broken) => broken,
            TransmitError::Frame(refused) => {
                unreachable!("only frames of this socket with bytes are queued: {refused}")
            }
        })?;
        self.unkicked += sent;
        self.publish();
        Ok(sent)
    }

    fn release_lease(&mut self) {
        for frame in self.lease.drain(..).flatten() {
            self.socket.release(frame);
        }
    }

    fn kick(&mut self) -> Result<(), PathError> {
        let waiting = match self.socket.flush() {
            // A device that is down may come up again: the frames wait in TX.
            Ok(waiting) | Err(FlushError::DeviceDown { waiting, .. }) => waiting,
            Err(error) => return Err(PathError::Flush(error)),
        };
        self.unkicked = 0;
        self.slate.set(Word::Waiting, waiting);
        self.socket.complete()?;
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let tx = self.socket.rings().tx;
        self.slate.set(Word::Slots, tx.size - tx.entries.unwrap_or(tx.size));
        let SocketCounters { fill_starved, fill_found_empty, .. } = self.socket.counters();
        let [low, _] = words(fill_starved.wrapping_add(fill_found_empty));
        self.slate.set(Word::Starved, low);
    }
}

/// Adds a frame to the lease and says on the slate where it is.
fn lend(socket: &Socket, slate: &Slate, lease: &mut Vec<Option<Frame>>, frame: Frame) {
    let place = lease.len();
    let [offset, _] = words(socket.address(&frame)); // a UMEM has at most 4 GiB
    let [length, _] = words(frame.len() as u64);
    if let (Some(offsets), Some(lengths)) = (slate.entry(Table::Offsets, place), slate.entry(Table::Lengths, place)) {
        offsets.store(offset, Ordering::Relaxed);
        lengths.store(length, Ordering::Relaxed);
    }
    lease.push(Some(frame));
}

/// The low and the high half.
fn words(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

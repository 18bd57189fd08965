//! The four rings of a socket and the UMEM whose chunks they carry: everything of the hot path that needs no system call.

use crate::counters::SocketCounters;
use crate::frame::Frame;
use crate::ledger::Owner;
use crate::refusal::DescriptorRefused;
use crate::ring::{Address, Consumer, Descriptor, Producer, Reservation, RingBroken, RingMemory};
use crate::umem::Umem;

/// `A` is where FILL and COMPLETION live, `D` where RX and TX do.
#[derive(Debug)]
pub(crate) struct Rings<A, D> {
    pub(crate) umem: Umem,
    pub(crate) rx: Consumer<D>,
    pub(crate) tx: Producer<D>,
    pub(crate) fill: Producer<A>,
    pub(crate) completion: Consumer<A>,
    pub(crate) counters: SocketCounters,
    pub(crate) last_refusal: Option<DescriptorRefused>,
    /// Chunks of the batch being written; kept for its memory. The slots themselves cannot tell: others may write them.
    batch: Vec<u32>,
}

impl<A, D> Rings<A, D>
where
    A: RingMemory<Entry = Address>,
    D: RingMemory<Entry = Descriptor>,
{
    pub(crate) fn new(
        umem: Umem,
        rx: Consumer<D>,
        tx: Producer<D>,
        fill: Producer<A>,
        completion: Consumer<A>,
    ) -> Self {
        let batch = Vec::with_capacity(tx.level().size as usize);
        let counters = SocketCounters::default();
        Self { umem, rx, tx, fill, completion, counters, last_refusal: None, batch }
    }

    pub(crate) fn receive(&mut self, max: usize, into: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        let before = into.len();
        for descriptor in self.rx.take(saturated(max))? {
            match self.umem.received(descriptor) {
                Ok(frame) => into.push(frame),
                Err(refused) => {
                    self.counters.refused_rx.count(&refused);
                    self.last_refusal = Some(refused);
                }
            }
        }
        let received = into.len() - before;
        self.counters.received += received as u64;
        match self.refill() {
            Err(broken) if received == 0 => Err(broken),
            _ => Ok(received),
        }
    }

    /// Lends free chunks to FILL until reception has its share.
    pub(crate) fn refill(&mut self) -> Result<usize, RingBroken> {
        let missing = self.umem.layout().fill_target().saturating_sub(self.umem.ledger().count(Owner::Fill));
        if missing == 0 {
            return Ok(0);
        }
        let found_empty = self.fill.entries()? == 0;
        let mut slots = self.fill.reserve(missing)?;
        while slots.slots() > 0 {
            let Some(address) = self.umem.lend_to_fill() else { break };
            let written = slots.write(address);
            debug_assert!(written, "a slot was left");
        }
        let filled = slots.commit();
        self.counters.fill_found_empty += u64::from(found_empty);
        self.counters.fill_starved += u64::from(found_empty && filled == 0);
        Ok(filled as usize)
    }

    pub(crate) fn complete(&mut self) -> Result<usize, RingBroken> {
        let before = self.counters.completed;
        for address in self.completion.take(u32::MAX)? {
            match self.umem.completed(address) {
                Ok(()) => self.counters.completed += 1,
                Err(refused) => {
                    self.counters.refused_completions.count(&refused);
                    self.last_refusal = Some(refused);
                }
            }
        }
        Ok((self.counters.completed - before) as usize)
    }

    pub(crate) fn reserve(&mut self, frames: usize) -> Result<TxBatch<'_, D>, RingBroken> {
        self.complete()?;
        let slots = self.tx.reserve(saturated(frames))?;
        self.batch.clear();
        Ok(TxBatch { slots: Some(slots), umem: &mut self.umem, chunks: &mut self.batch, sent: &mut self.counters.sent })
    }

    pub(crate) fn transmit(&mut self, frames: &mut Vec<Frame>) -> Result<usize, TransmitError> {
        let mut batch = self.reserve(frames.len())?;
        let slots = batch.slots();
        let refusal = frames.iter().take(slots).enumerate().find_map(|(n, frame)| Some((n, batch.refuses(frame)?)));
        let sendable = match refusal {
            Some((0, refused)) => return Err(refused.into()),
            Some((n, _)) => n,
            None => slots,
        };
        for frame in frames.drain(..sendable) {
            batch.put(frame);
        }
        Ok(batch.commit())
    }
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Slots of TX, to be filled with frames. [`TxBatch::commit`] shows them to the kernel, all at once; dropping the batch instead sends its
/// frames home.
#[must_use = "frames are sent by `commit` alone; a batch that is dropped releases them"]
#[derive(Debug)]
pub struct TxBatch<'socket, D: RingMemory<Entry = Descriptor> = crate::ring::MappedRing<Descriptor>> {
    /// `None` once committed.
    slots: Option<Reservation<'socket, D>>,
    umem: &'socket mut Umem,
    chunks: &'socket mut Vec<u32>,
    sent: &'socket mut u64,
}

impl<D: RingMemory<Entry = Descriptor>> TxBatch<'_, D> {
    /// Slots not yet written.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.as_ref().map_or(0, |slots| slots.slots() as usize)
    }

    /// Puts a frame into the next slot.
    ///
    /// # Errors
    /// The frame, and why it stays with the caller: no slot is left, it has no byte, or it is of another UMEM.
    pub fn write(&mut self, frame: Frame) -> Result<(), (Frame, FrameRefused)> {
        let refused = if self.slots() == 0 { Some(FrameRefused::Full) } else { self.refuses(&frame) };
        match refused {
            Some(why) => Err((frame, why)),
            None => {
                self.put(frame);
                Ok(())
            }
        }
    }

    /// Shows the kernel all frames of the batch, in the order written, and says how many they are.
    pub fn commit(mut self) -> usize {
        let sent = self.slots.take().map_or(0, Reservation::commit);
        *self.sent += u64::from(sent);
        sent as usize
    }

    fn refuses(&self, frame: &Frame) -> Option<FrameRefused> {
        if !self.umem.minted(frame) {
            return Some(FrameRefused::Foreign);
        }
        // xp_validate_desc refuses such a descriptor, and COMPLETION never returns its chunk.
        frame.is_empty().then_some(FrameRefused::Empty)
    }

    /// `refuses` has passed the frame, and a slot is left.
    fn put(&mut self, frame: Frame) {
        let chunk = frame.chunk();
        let descriptor = self.umem.lend_to_tx(frame);
        let written = self.slots.as_mut().is_some_and(|slots| slots.write(descriptor));
        debug_assert!(written, "a slot was left");
        self.chunks.push(chunk);
    }
}

impl<D: RingMemory<Entry = Descriptor>> Drop for TxBatch<'_, D> {
    fn drop(&mut self) {
        if self.slots.is_some() {
            for chunk in self.chunks.drain(..) {
                let home = self.umem.ledger_mut().pass(chunk, Owner::Tx, Owner::Home);
                debug_assert_eq!(home, Ok(()), "the batch lent it");
            }
        }
    }
}

/// Why a frame cannot be sent; it stays with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefused {
    /// The batch has no slot left.
    #[error("the TX ring has no slot left for the frame")]
    Full,
    /// The frame has no byte: the kernel would count it as invalid and keep its chunk.
    #[error("the frame to send is empty; set_len() makes it longer")]
    Empty,
    /// The frame was minted by another UMEM.
    #[error("the frame to send is of another UMEM; send it through the socket that it came from")]
    Foreign,
}

/// Sending ended before the first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransmitError {
    /// TX or COMPLETION is broken.
    #[error(transparent)]
    Ring(#[from] RingBroken),
    /// The first frame cannot be sent.
    #[error(transparent)]
    Frame(#[from] FrameRefused),
}

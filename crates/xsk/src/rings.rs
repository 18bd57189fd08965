//! The four rings of a socket: everything of the hot path that needs no system call. The UMEM whose chunks they carry
//! comes with each call.

use crate::counters::SocketCounters;
use crate::frame::Frame;
use crate::ledger::{EndpointId, Tag};
use crate::lent::{CONTINUES, LentDescriptor, MAX_PARTS_RECEIVED, MAX_PARTS_SENT, NOWHERE, load, move_to_front};
use crate::refusal::DescriptorRefused;
use crate::ring::{
    Address, Consumer, Descriptor, Producer, Reservation, RingBroken, RingMemory, RingName, Taking, XDP_PKT_CONTD,
};
use crate::umem::{Arrived, Umem};

/// `A` is where FILL and COMPLETION live, `D` where RX and TX do.
#[derive(Debug)]
pub(crate) struct Rings<A, D> {
    pub(crate) id: EndpointId,
    pub(crate) rx: Consumer<D>,
    pub(crate) tx: Producer<D>,
    pub(crate) fill: Producer<A>,
    pub(crate) completion: Consumer<A>,
    /// The most chunks that reception may hold.
    pub(crate) fill_target: u32,
    /// Whether a packet may take several descriptors (`XDP_USE_SG`).
    pub(crate) multi_buffer: bool,
    /// What the device takes of what was lent by address.
    pub(crate) lengths: Lengths,
    pub(crate) counters: SocketCounters,
    pub(crate) last_refusal: Option<DescriptorRefused>,
    /// Descriptors of a packet that is too long are skipped, up to its last one.
    skipping: bool,
    /// Chunks of the batch being written; kept for its memory. The slots themselves cannot tell: others may write them.
    batch: Vec<u32>,
}

/// How long packets are that an Ethernet device takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// The most bytes behind the header.
    behind: u32,
}

/// Bytes of an Ethernet header, and of a VLAN tag.
const HEADER: u32 = 14;
const TAG: u32 = 4;

impl Lengths {
    /// As long as the chunks allow, on an unknown device.
    pub(crate) const ANY: Self = Self { behind: u32::MAX };

    /// A tag is free whether or not the packet has one, as it is for the kernel (`__is_skb_forwardable()`).
    pub(crate) fn of_mtu(mtu: u32) -> Self {
        Self { behind: mtu.saturating_add(TAG) }
    }

    /// The same for what also takes no frame longer than so many bytes.
    pub(crate) fn up_to(self, most: u32) -> Self {
        Self { behind: self.behind.min(most - HEADER) }
    }

    /// Neither shorter than the header nor longer than the device takes: one comparison, since less than a header
    /// wraps.
    #[inline]
    pub(crate) fn fit(self, len: u32) -> bool {
        len.wrapping_sub(HEADER) <= self.behind
    }
}

/// What became of descriptors that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transmitted {
    /// Descriptors put into TX.
    pub sent: usize,
    /// Descriptors that found no slot: they have moved to the front of the table.
    pub left: usize,
}

impl<A, D> Rings<A, D>
where
    A: RingMemory<Entry = Address>,
    D: RingMemory<Entry = Descriptor>,
{
    pub(crate) fn new(
        id: EndpointId,
        fill_target: u32,
        rx: Consumer<D>,
        tx: Producer<D>,
        fill: Producer<A>,
        completion: Consumer<A>,
    ) -> Self {
        let batch = Vec::with_capacity(tx.level().size as usize);
        Self {
            id,
            rx,
            tx,
            fill,
            completion,
            fill_target,
            multi_buffer: false,
            lengths: Lengths::ANY,
            counters: SocketCounters::default(),
            last_refusal: None,
            skipping: false,
            batch,
        }
    }

    pub(crate) fn receive(&mut self, umem: &mut Umem, max: usize, into: &mut Vec<Frame>) -> Result<usize, RingBroken> {
        let id = umem.id();
        self.receive_each(umem, saturated(max), Tag::HELD, |arrived| into.push(Umem::mint(id, arrived)))
    }

    pub(crate) fn receive_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Result<usize, RingBroken> {
        let shift = umem.chunk_shift();
        let mut places = table.iter();
        self.receive_each(umem, saturated(table.len()), Tag::LENT, |arrived| {
            if let Some(place) = places.next() {
                Umem::note(shift, place, arrived);
            }
        })
    }

    /// Passes the chunks of up to `max` descriptors of RX to an owner, whole packets only, and lends free chunks to
    /// FILL in their stead.
    #[inline]
    fn receive_each(
        &mut self,
        umem: &mut Umem,
        max: u32,
        to: Tag,
        mut each: impl FnMut(Arrived),
    ) -> Result<usize, RingBroken> {
        let from = Tag::fill(self.id);
        let (mut received, mut continued, mut freed) = (0, 0, 0);
        let mut taking = self.rx.take(max)?;
        while let Some(first) = taking.next() {
            let refused = if first.options == 0 && !self.skipping {
                match umem.arrived(first, from, to) {
                    Ok(arrived) => {
                        each(arrived);
                        received += 1;
                        continue;
                    }
                    Err(refused) => refused,
                }
            } else if !self.multi_buffer || first.options & !XDP_PKT_CONTD != 0 {
                umem.refusal_of_options(first)
            } else if self.skipping {
                self.skipping = first.options != 0;
                freed += u32::from(umem.arrived(first, from, Tag::FREE).is_ok());
                continue;
            } else {
                let mut parts = [Descriptor::default(); MAX_PARTS_RECEIVED];
                let (taken, end) = gather(&mut taking, first, &mut parts);
                let parts = &parts[..taken];
                let refused = match end {
                    End::Missing => {
                        taking.put_back(saturated(taken));
                        break;
                    }
                    End::TooFar => {
                        self.skipping = true;
                        Some(DescriptorRefused::TooManyParts { ring: RingName::Rx, most: MAX_PARTS_RECEIVED })
                    }
                    End::Found => None,
                };
                match packet_arrived(umem, parts, from, to, refused, &mut each) {
                    Ok(()) => {
                        received += saturated(taken);
                        continued += saturated(taken) - 1;
                        continue;
                    }
                    Err((refused, chunks)) => {
                        freed += chunks;
                        refused
                    }
                }
            };
            self.counters.refused_rx.count(&refused);
            self.last_refusal = Some(refused);
        }
        drop(taking);
        umem.ledger_mut().counted(received, from, to);
        umem.ledger_mut().counted(freed, from, Tag::FREE);
        self.counters.received += u64::from(received);
        self.counters.received_continued += u64::from(continued);
        match self.refill(umem) {
            Err(broken) if received == 0 => Err(broken),
            _ => Ok(received as usize),
        }
    }

    /// Lends free chunks to FILL until reception has its share.
    pub(crate) fn refill(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        let ours = Tag::fill(self.id);
        let missing = self.fill_target.saturating_sub(umem.ledger().count(ours));
        if missing == 0 {
            return Ok(0);
        }
        let found_empty = self.fill.entries()? == 0;
        let shift = umem.chunk_shift();
        let mut slots = self.fill.reserve(missing)?;
        umem.ledger_mut().lend_many(slots.slots(), ours, |chunk| {
            let written = slots.write(Address(u64::from(chunk) << shift));
            debug_assert!(written, "a slot was left");
        });
        let filled = slots.commit();
        self.counters.fill_found_empty += u64::from(found_empty);
        self.counters.fill_starved += u64::from(found_empty && filled == 0);
        Ok(filled as usize)
    }

    pub(crate) fn complete(&mut self, umem: &mut Umem) -> Result<usize, RingBroken> {
        let from = Tag::tx(self.id);
        let mut completed = 0;
        for address in self.completion.take(u32::MAX)? {
            match umem.completed(address, from) {
                Ok(()) => completed += 1,
                Err(refused) => {
                    self.counters.refused_completions.count(&refused);
                    self.last_refusal = Some(refused);
                }
            }
        }
        umem.ledger_mut().counted(completed, from, Tag::FREE);
        self.counters.completed += u64::from(completed);
        Ok(completed as usize)
    }

    pub(crate) fn reserve<'a>(&'a mut self, umem: &'a mut Umem, frames: usize) -> Result<TxBatch<'a, D>, RingBroken> {
        self.complete(umem)?;
        let slots = self.tx.reserve(saturated(frames))?;
        self.batch.clear();
        Ok(TxBatch {
            slots: Some(slots),
            umem,
            id: self.id,
            multi_buffer: self.multi_buffer,
            chunks: &mut self.batch,
            whole: 0,
            continued: 0,
            open: 0,
            counters: &mut self.counters,
        })
    }

    pub(crate) fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, TransmitError> {
        let mut batch = self.reserve(umem, frames.len())?;
        // Whole packets only, and none behind a frame that cannot be sent.
        let (mut sendable, mut parts) = (0, 0);
        for (n, frame) in frames.iter().take(batch.slots()).enumerate() {
            match batch.refuses(frame, parts) {
                Some(refused) if sendable == 0 => return Err(refused.into()),
                Some(_) => break,
                None if frame.continues() => parts += 1,
                None => (sendable, parts) = (n + 1, 0),
            }
        }
        for frame in frames.drain(..sendable) {
            batch.put(frame);
        }
        Ok(batch.commit())
    }

    /// Puts frames lent by address into TX, from the front of the table, whole packets only and as many as there are
    /// slots. A packet that cannot be sent is counted, and what of it was lent is freed.
    pub(crate) fn transmit_lent(
        &mut self,
        umem: &mut Umem,
        table: &[LentDescriptor],
    ) -> Result<Transmitted, RingBroken> {
        let to = Tag::tx(self.id);
        let (mut sent, mut freed, mut refused, mut misfits, mut continued) = (0, 0, 0, 0, 0);
        let most = if self.multi_buffer { MAX_PARTS_SENT.min(self.tx.level().size as usize) } else { 1 };
        let mut slots = self.tx.reserve(saturated(table.len()))?;
        let mut rest = table;
        while let [first, others @ ..] = rest {
            if slots.slots() == 0 {
                break;
            }
            let (address, len) = load(first);
            if len & CONTINUES == 0 || address == NOWHERE {
                if umem.departs(address, len, to) {
                    if !self.lengths.fit(len) {
                        misfits += 1;
                        freed += umem.free_from(address, to);
                        rest = others;
                        continue;
                    }
                    let written = slots.write(Descriptor { address: address.into(), len, options: 0 });
                    debug_assert!(written, "a slot was left");
                    sent += 1;
                } else if address != NOWHERE {
                    refused += 1;
                    freed += umem.give_up(address);
                }
                rest = others;
                continue;
            }
            let mut parts = [(0, 0); MAX_PARTS_SENT];
            let (whole, behind) = whole_packet(rest, &mut parts);
            let parts = parts.get(..rest.len() - behind.len()).filter(|parts| whole && parts.len() <= most);
            let Some(parts) = parts else {
                // Too many parts, or the last is missing.
                refused += 1;
                let (given_up, behind) = pass_over(umem, rest);
                freed += given_up;
                rest = behind;
                continue;
            };
            if (slots.slots() as usize) < parts.len() {
                break;
            }
            let whole = parts.iter().fold(0_u32, |sum, (_, len)| sum.saturating_add(len & !CONTINUES));
            match packet_departs(umem, parts, to) {
                Ok(()) if !self.lengths.fit(whole) => {
                    misfits += 1;
                    freed += parts.iter().map(|(address, _)| umem.free_from(*address, to)).sum::<u32>();
                }
                Ok(()) => {
                    for &(address, len) in parts {
                        let options = if len & CONTINUES == 0 { 0 } else { XDP_PKT_CONTD };
                        let written =
                            slots.write(Descriptor { address: address.into(), len: len & !CONTINUES, options });
                        debug_assert!(written, "as many slots were left");
                    }
                    sent += saturated(parts.len());
                    continued += saturated(parts.len() - 1);
                }
                Err(given_up) => {
                    refused += 1;
                    freed += given_up;
                }
            }
            rest = behind;
        }
        let left = move_to_front(table, rest);
        let committed = slots.commit();
        debug_assert_eq!(committed, sent, "what was written is what was lent");
        umem.ledger_mut().counted(sent, Tag::LENT, to);
        umem.ledger_mut().counted(freed, Tag::LENT, Tag::FREE);
        self.counters.sent += u64::from(sent);
        self.counters.sent_continued += u64::from(continued);
        self.counters.refused_tx += refused;
        self.counters.refused_lengths += misfits;
        Ok(Transmitted { sent: sent as usize, left })
    }

    /// Takes back chunks that were lent by address, and says how many.
    pub(crate) fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        let (taken, refused) = umem.take_back(table);
        self.counters.refused_recycled += refused as u64;
        taken
    }
}

/// Where the descriptors of a packet end.
enum End {
    Found,
    /// The ring ends before the packet.
    Missing,
    /// There are more than any packet has.
    TooFar,
}

/// The descriptors of a packet that begins with `first`, and how many they are.
fn gather<D: RingMemory<Entry = Descriptor>>(
    taking: &mut Taking<'_, D>,
    first: Descriptor,
    parts: &mut [Descriptor; MAX_PARTS_RECEIVED],
) -> (usize, End) {
    let mut next = Some(first);
    for (n, part) in parts.iter_mut().enumerate() {
        let Some(descriptor) = next else { return (n, End::Missing) };
        *part = descriptor;
        if descriptor.options == 0 {
            return (n + 1, End::Found);
        }
        if n + 1 < MAX_PARTS_RECEIVED {
            next = taking.next();
        }
    }
    (MAX_PARTS_RECEIVED, End::TooFar)
}

/// Passes all chunks of a received packet on, or frees those that were lent and says why and how many they are.
fn packet_arrived(
    umem: &mut Umem,
    parts: &[Descriptor],
    from: Tag,
    to: Tag,
    mut refused: Option<DescriptorRefused>,
    each: &mut impl FnMut(Arrived),
) -> Result<(), (DescriptorRefused, u32)> {
    let mut arrived = [Arrived::default(); MAX_PARTS_RECEIVED];
    let (mut passed, mut freed) = (0, 0);
    for &part in parts {
        let to = if refused.is_some() { Tag::FREE } else { to };
        match umem.arrived(part, from, to) {
            Ok(_) if refused.is_some() => freed += 1,
            Ok(one) => {
                arrived[passed] = one;
                passed += 1;
            }
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    let Some(why) = refused else {
        arrived[..passed].iter().copied().for_each(each);
        return Ok(());
    };
    for one in &arrived[..passed] {
        let back = umem.ledger_mut().hand(one.chunk, to, Tag::FREE);
        debug_assert_eq!(back, Ok(()), "it was passed on just now");
        freed += 1;
    }
    Err((why, freed))
}

/// Copies the descriptors of the packet at the front of a table, once: every holder of the table can write it at any
/// time. Says whether the last was among them, and what follows.
fn whole_packet<'a>(
    table: &'a [LentDescriptor],
    parts: &mut [(u32, u32); MAX_PARTS_SENT],
) -> (bool, &'a [LentDescriptor]) {
    let mut rest = table;
    for part in parts {
        let [first, others @ ..] = rest else { return (false, rest) };
        *part = load(first);
        rest = others;
        if part.1 & CONTINUES == 0 {
            return (true, rest);
        }
    }
    (false, rest)
}

/// Frees what was lent of the packet at the front of a table, and says how many chunks and what comes behind.
pub(crate) fn pass_over<'a>(umem: &mut Umem, table: &'a [LentDescriptor]) -> (u32, &'a [LentDescriptor]) {
    let (mut freed, mut rest) = (0, table);
    while let [first, others @ ..] = rest {
        let (address, len) = load(first);
        freed += umem.give_up(address);
        rest = others;
        if len & CONTINUES == 0 {
            break;
        }
    }
    (freed, rest)
}

/// Passes all chunks of a packet to TX, or frees those that were lent and says how many they are.
fn packet_departs(umem: &mut Umem, parts: &[(u32, u32)], to: Tag) -> Result<(), u32> {
    let refused = parts.iter().position(|&(address, len)| !umem.departs(address, len & !CONTINUES, to));
    let Some(refused) = refused else { return Ok(()) };
    let mut freed = 0;
    for (n, &(address, _)) in parts.iter().enumerate() {
        freed += if n < refused { umem.free_from(address, to) } else { umem.give_up(address) };
    }
    Err(freed)
}

pub(crate) fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Slots of TX, to be filled with frames. [`TxBatch::commit`] shows them to the kernel, all at once; dropping the batch
/// instead frees its frames.
#[must_use = "frames are sent by `commit` alone; a batch that is dropped releases them"]
#[derive(Debug)]
pub struct TxBatch<'socket, D: RingMemory<Entry = Descriptor> = crate::ring::MappedRing<Descriptor>> {
    /// `None` once committed.
    slots: Option<Reservation<'socket, D>>,
    umem: &'socket mut Umem,
    id: EndpointId,
    multi_buffer: bool,
    chunks: &'socket mut Vec<u32>,
    /// Frames of whole packets.
    whole: u32,
    /// Those of them after which the packet goes on.
    continued: u32,
    /// Frames of the packet whose last is still to come.
    open: u32,
    counters: &'socket mut SocketCounters,
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
    /// The frame, and why it stays with the caller: no slot is left, it has no byte, it is of another UMEM, or its
    /// packet goes on further than the socket can send.
    pub fn write(&mut self, frame: Frame) -> Result<(), (Frame, FrameRefused)> {
        let refused = if self.slots() == 0 { Some(FrameRefused::Full) } else { self.refuses(&frame, self.open) };
        match refused {
            Some(why) => Err((frame, why)),
            None => {
                self.put(frame);
                Ok(())
            }
        }
    }

    /// Shows the kernel all frames of the batch, in the order written, and says how many they are. Those of a packet
    /// whose last frame has not been written are freed.
    pub fn commit(mut self) -> usize {
        let sent = self.slots.take().map_or(0, |mut slots| {
            slots.truncate(self.whole);
            slots.commit()
        });
        self.free_unsent(sent as usize);
        self.counters.sent += u64::from(sent);
        self.counters.sent_continued += u64::from(self.continued);
        sent as usize
    }

    /// `before`: frames of the same packet that come before this one.
    fn refuses(&self, frame: &Frame, before: u32) -> Option<FrameRefused> {
        if !self.umem.minted(frame) {
            return Some(FrameRefused::Foreign);
        }
        if frame.continues() && !(self.multi_buffer && (before as usize) + 1 < MAX_PARTS_SENT) {
            return Some(FrameRefused::Continues);
        }
        // xp_validate_desc refuses such a descriptor, and COMPLETION never returns its chunk.
        frame.is_empty().then_some(FrameRefused::Empty)
    }

    /// `refuses` has passed the frame, and a slot is left.
    fn put(&mut self, frame: Frame) {
        let (chunk, continues) = (frame.chunk(), frame.continues());
        let descriptor = self.umem.lend_to_tx(frame, self.id);
        let written = self.slots.as_mut().is_some_and(|slots| slots.write(descriptor));
        debug_assert!(written, "a slot was left");
        self.chunks.push(chunk);
        self.open += 1;
        if !continues {
            self.whole += self.open;
            self.continued += self.open - 1;
            self.open = 0;
        }
    }

    /// All chunks but the first `sent`.
    fn free_unsent(&mut self, sent: usize) {
        for &chunk in self.chunks.iter().skip(sent) {
            let freed = self.umem.ledger_mut().pass(chunk, Tag::tx(self.id), Tag::FREE);
            debug_assert_eq!(freed, Ok(()), "the batch lent it");
        }
        self.chunks.clear();
    }
}

impl<D: RingMemory<Entry = Descriptor>> Drop for TxBatch<'_, D> {
    fn drop(&mut self) {
        if self.slots.is_some() {
            self.free_unsent(0);
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
    /// The packet goes on in another frame, and the socket has no multi-buffer, or the packet would have more frames
    /// than the kernel takes.
    #[error(
        "the packet goes on in another frame: the socket sends at most {MAX_PARTS_SENT} with multi-buffer, one without"
    )]
    Continues,
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

//! BPF rings with chunks of a UMEM: what [`Rings`](crate::rings::Rings) is for the rings of a socket. Everything here
//! needs no system call, and nothing is ever broken: a slot that does not say that it came back has not.

use xsknet_ring::{Control, InvalidRing, RxRing, TxRing};

use crate::counters::SocketCounters;
use crate::frame::Frame;
use crate::layout::Layout;
use crate::ledger::{EndpointId, Tag};
use crate::lent::{CONTINUES, LentDescriptor, NOWHERE, load, move_to_front};
use crate::refusal::DescriptorRefused;
use crate::ring::{Descriptor, RingName};
use crate::rings::{FrameRefused, Lengths, Transmitted, pass_over, saturated};
use crate::umem::{Arrived, Umem};

#[derive(Debug)]
pub(crate) struct BpfRings {
    pub(crate) id: EndpointId,
    pub(crate) rx: RxRing,
    pub(crate) tx: TxRing,
    pub(crate) lengths: Lengths,
    pub(crate) counters: SocketCounters,
    pub(crate) last_refusal: Option<DescriptorRefused>,
    layout: Layout,
    /// Before the next look, in steps.
    pause: u32,
}

/// A look that finds little is followed by a pause, and each look in a row that finds nothing by a longer one, up to
/// some microseconds.
const PAUSE_STEP: u32 = 64;
const LONGEST_PAUSE: u32 = 8;
/// Fewer frames than this are little: the reader is as fast as the program.
const LITTLE: u32 = 16;

/// Where rings stand that change their owner.
pub(crate) struct Positions<'a> {
    pub(crate) rx: u32,
    pub(crate) tx: u32,
    /// Chunks of reception, oldest first, which the ledger has as such.
    pub(crate) posted: &'a [u32],
}

impl BpfRings {
    /// `layout` has the slots of both rings.
    pub(crate) fn new(
        id: EndpointId,
        layout: Layout,
        memory: Control,
        at: &Positions<'_>,
    ) -> Result<Self, InvalidRing> {
        let rx = RxRing::new(memory.clone(), layout.ring(RingName::Rx), at.rx, at.posted)?;
        let tx = TxRing::new(memory, layout.ring(RingName::Tx), at.tx)?;
        let counters = SocketCounters::default();
        Ok(Self { id, rx, tx, lengths: Lengths::ANY, counters, last_refusal: None, layout, pause: 0 })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn receive(&mut self, umem: &mut Umem, max: usize, into: &mut Vec<Frame>) -> usize {
        let id = umem.id();
        self.receive_each(umem, saturated(max), Tag::HELD, |arrived| into.push(Umem::mint(id, arrived)))
    }

    pub(crate) fn receive_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        let shift = umem.chunk_shift();
        let mut places = table.iter();
        self.receive_each(umem, saturated(table.len()), Tag::LENT, |arrived| {
            if let Some(place) = places.next() {
                Umem::note(shift, place, arrived);
            }
        })
    }

    #[inline]
    fn receive_each(&mut self, umem: &mut Umem, max: u32, to: Tag, mut each: impl FnMut(Arrived)) -> usize {
        self.wait_a_little();
        let from = Tag::fill(self.id);
        let (mut received, mut freed) = (0, 0);
        while received < max
            && let Some((chunk, len)) = self.rx.take()
        {
            let address = chunk << umem.chunk_shift() | self.layout.frame_offset();
            let arrived = if len == 0 {
                Err(DescriptorRefused::Empty { ring: RingName::Rx, chunk })
            } else {
                umem.arrived(Descriptor { address: address.into(), len, options: 0 }, from, to)
            };
            match arrived {
                Ok(arrived) => {
                    each(arrived);
                    received += 1;
                }
                // The length alone can be wrong: the chunk is the one that was posted here.
                Err(refused) => {
                    freed += umem.free_from(address, from);
                    self.counters.refused_rx.count(&refused);
                    self.last_refusal = Some(refused);
                }
            }
        }
        umem.ledger_mut().counted(received, from, to);
        umem.ledger_mut().counted(freed, from, Tag::FREE);
        self.counters.received += u64::from(received);
        self.refill(umem);
        self.pause = match received {
            0 => (self.pause + 1).min(LONGEST_PAUSE),
            1..LITTLE if received < max => 1,
            _ => 0,
        };
        received as usize
    }

    /// A sleep has ended: the program has got ahead.
    pub(crate) fn rested(&mut self) {
        self.pause = 0;
    }

    /// Lets the program get ahead where looks find little: each takes the cache line of the next slot away from the CPU
    /// that is about to write it. Before the look and not behind it, so that no frame waits that was found.
    fn wait_a_little(&self) {
        (0..self.pause * PAUSE_STEP).for_each(|_| std::hint::spin_loop());
    }

    /// Posts free chunks until reception has its share.
    pub(crate) fn refill(&mut self, umem: &mut Umem) -> usize {
        let missing = self.layout.fill_target().min(self.rx.slots()).saturating_sub(self.rx.posted());
        if missing == 0 {
            return 0;
        }
        let found_empty = self.rx.is_starved();
        let rx = &mut self.rx;
        let filled = umem.ledger_mut().lend_many(missing, Tag::fill(self.id), |chunk| {
            let posted = rx.post(chunk);
            debug_assert!(posted, "a slot was left");
        });
        self.counters.fill_found_empty += u64::from(found_empty);
        self.counters.fill_starved += u64::from(found_empty && filled == 0);
        filled as usize
    }

    pub(crate) fn complete(&mut self, umem: &mut Umem) -> usize {
        let from = Tag::tx(self.id);
        let mut completed = 0;
        while let Some(address) = self.tx.complete() {
            completed += umem.free_from(address, from);
        }
        umem.ledger_mut().counted(completed, from, Tag::FREE);
        self.counters.completed += u64::from(completed);
        completed as usize
    }

    /// Puts frames into TX, from the front and in their order, as many as there are slots.
    pub(crate) fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> Result<usize, FrameRefused> {
        self.complete(umem);
        let slots = (self.tx.free() as usize).min(frames.len());
        let refused = frames[..slots].iter().enumerate().find_map(|(n, frame)| Some((n, refusal_of(umem, frame)?)));
        let sendable = match refused {
            Some((0, refused)) => return Err(refused),
            Some((n, _)) => n,
            None => slots,
        };
        for frame in frames.drain(..sendable) {
            let Descriptor { address, len, .. } = umem.lend_to_tx(frame, self.id);
            #[expect(clippy::cast_possible_truncation, reason = "chunks of 2048 bytes, at most 2^20 of them")]
            let written = self.tx.put(address as u32, len);
            debug_assert!(written, "a slot was left");
        }
        self.counters.sent += sendable as u64;
        Ok(sendable)
    }

    /// Puts frames lent by address into TX. What cannot be sent is counted, and what of it was lent is freed.
    pub(crate) fn transmit_lent(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> Transmitted {
        let to = Tag::tx(self.id);
        let (mut sent, mut freed, mut refused, mut misfits) = (0, 0, 0, 0);
        if (self.tx.free() as usize) < table.len() {
            self.complete(umem);
        }
        let mut rest = table;
        while let [first, others @ ..] = rest {
            if self.tx.free() == 0 {
                break;
            }
            let (address, len) = load(first);
            if address != NOWHERE && len & CONTINUES != 0 {
                // No packet takes several frames here.
                let (given_up, behind) = pass_over(umem, rest);
                refused += 1;
                freed += given_up;
                rest = behind;
                continue;
            }
            if umem.departs(address, len, to) {
                // Most frames fit, and those that do not were passed to TX for the moment.
                if self.lengths.fit(len) {
                    let written = self.tx.put(address, len);
                    debug_assert!(written, "a slot was left");
                    sent += 1;
                } else {
                    misfits += 1;
                    freed += umem.free_from(address, to);
                }
            } else if address != NOWHERE {
                refused += 1;
                freed += umem.give_up(address);
            }
            rest = others;
        }
        let left = move_to_front(table, rest);
        umem.ledger_mut().counted(sent, Tag::LENT, to);
        umem.ledger_mut().counted(freed, Tag::LENT, Tag::FREE);
        self.counters.sent += u64::from(sent);
        self.counters.refused_tx += refused;
        self.counters.refused_lengths += misfits;
        Transmitted { sent: sent as usize, left }
    }

    /// Takes back chunks that were lent by address, and says how many.
    pub(crate) fn recycle(&mut self, umem: &mut Umem, table: &[LentDescriptor]) -> usize {
        let (taken, refused) = umem.take_back(table);
        self.counters.refused_recycled += refused as u64;
        taken
    }
}

fn refusal_of(umem: &Umem, frame: &Frame) -> Option<FrameRefused> {
    if !umem.minted(frame) {
        Some(FrameRefused::Foreign)
    } else if frame.continues() {
        Some(FrameRefused::Continues)
    } else {
        frame.is_empty().then_some(FrameRefused::Empty)
    }
}

//! Who owns which chunk, whatever the other side of the rings does: on heap rings, with a kernel that the test plays.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use crate::frame::Frame;
use crate::layout::Layout;
use crate::ledger::{ChunkCounts, Owner, Tag};
use crate::refusal::DescriptorRefused;
use crate::ring::heap::HeapRing;
use crate::ring::{Address, Consumer, Descriptor, Producer, RingMemory, RingName};
use crate::rings::{FrameRefused, Rings, TransmitError};
use crate::umem::Umem;

const FRAMES: u32 = 16;
const SLOTS: u32 = 8;

/// Both sides of a socket's rings. Their indices start close to the wrap.
struct Pair {
    umem: Umem,
    ours: Rings<HeapRing<Address>, HeapRing<Descriptor>>,
    rx: Producer<HeapRing<Descriptor>>,
    tx: Consumer<HeapRing<Descriptor>>,
    fill: Consumer<HeapRing<Address>>,
    completion: Producer<HeapRing<Address>>,
    words: Words,
}

/// The shared words, for a forger.
#[derive(Clone)]
struct Words {
    rx: HeapRing<Descriptor>,
    tx: HeapRing<Descriptor>,
    fill: HeapRing<Address>,
    completion: HeapRing<Address>,
}

impl Words {
    /// The index that the kernel writes.
    fn peer(&self, ring: RingName) -> &AtomicU32 {
        match ring {
            RingName::Rx => self.rx.producer(),
            RingName::Tx => self.tx.consumer(),
            RingName::Fill => self.fill.consumer(),
            RingName::Completion => self.completion.producer(),
        }
    }
}

impl Pair {
    fn new() -> Self {
        let layout = Layout::builder().frames(FRAMES).rings(SLOTS).build().unwrap();
        let start = u32::MAX - 5;
        let (rx, tx) = (HeapRing::starting_at(start, SLOTS), HeapRing::starting_at(start, SLOTS));
        let (fill, completion) = (HeapRing::starting_at(start, SLOTS), HeapRing::starting_at(start, SLOTS));
        let mut umem = Umem::anonymous(layout).unwrap();
        let id = umem.ledger_mut().enlist().unwrap();
        let ours = Rings::new(
            id,
            layout.fill_target(),
            Consumer::open(RingName::Rx, rx.clone()).unwrap(),
            Producer::open(RingName::Tx, tx.clone()).unwrap(),
            Producer::open(RingName::Fill, fill.clone()).unwrap(),
            Consumer::open(RingName::Completion, completion.clone()).unwrap(),
        );
        Self {
            umem,
            ours,
            rx: Producer::open(RingName::Rx, rx.clone()).unwrap(),
            tx: Consumer::open(RingName::Tx, tx.clone()).unwrap(),
            fill: Consumer::open(RingName::Fill, fill.clone()).unwrap(),
            completion: Producer::open(RingName::Completion, completion.clone()).unwrap(),
            words: Words { rx, tx, fill, completion },
        }
    }

    /// The kernel receives up to `count` frames into chunks of FILL.
    fn deliver(&mut self, count: u32, len: u32) -> u32 {
        let mut slots = self.rx.reserve(count).unwrap();
        for Address(chunk) in self.fill.take(slots.slots()).unwrap() {
            assert!(slots.write(Descriptor { address: chunk + 256, len, options: 0 }));
        }
        slots.commit()
    }

    /// The kernel sends up to `count` frames of TX.
    fn send(&mut self, count: u32) -> u32 {
        let mut slots = self.completion.reserve(count).unwrap();
        for descriptor in self.tx.take(slots.slots()).unwrap() {
            assert!(slots.write(Address(descriptor.address)));
        }
        slots.commit()
    }

    /// Another process writes into RX what the kernel never would.
    fn forge_rx(&mut self, descriptor: Descriptor) {
        let mut slots = self.rx.reserve(1).unwrap();
        let _ = slots.write(descriptor);
        slots.commit();
    }

    fn forge_completion(&mut self, address: u64) {
        let mut slots = self.completion.reserve(1).unwrap();
        let _ = slots.write(Address(address));
        slots.commit();
    }

    fn receive(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        self.ours.receive(&mut self.umem, 64, &mut frames).unwrap();
        frames
    }

    fn sendable(&mut self, count: usize) -> Vec<Frame> {
        let frames = std::iter::from_fn(|| self.umem.allocate()).take(count);
        frames
            .map(|mut frame| {
                frame.set_len(60).unwrap();
                frame
            })
            .collect()
    }

    fn refusal(&mut self) -> DescriptorRefused {
        self.ours.last_refusal.take().expect("an entry was refused")
    }
}

#[test]
fn a_frame_goes_round_through_every_ring() {
    let mut pair = Pair::new();
    assert_eq!(pair.ours.refill(&mut pair.umem), Ok(8));
    assert_eq!(pair.deliver(3, 100), 3);
    let mut frames = pair.receive();
    let shape: Vec<_> = frames.iter().map(|frame| (frame.len(), frame.offset(), frame.capacity())).collect();
    assert_eq!(shape, [(100, 256, 1792); 3]);
    assert_eq!(pair.umem.chunks(), ChunkCounts { free: 5, held: 3, fill: 8, tx: 0, total: 16 });
    assert_eq!(pair.ours.transmit(&mut pair.umem, &mut frames), Ok(3));
    assert_eq!(pair.send(8), 3);
    assert_eq!(pair.ours.complete(&mut pair.umem), Ok(3));
    assert_eq!(pair.umem.chunks(), ChunkCounts { free: 8, held: 0, fill: 8, tx: 0, total: 16 });
}

#[test]
fn a_full_tx_ring_takes_the_front_and_keeps_the_order() {
    let mut pair = Pair::new();
    let mut frames = pair.sendable(10);
    let chunks: Vec<_> = frames.iter().map(Frame::chunk).collect();
    assert_eq!(pair.ours.transmit(&mut pair.umem, &mut frames), Ok(8));
    assert_eq!(frames.iter().map(Frame::chunk).collect::<Vec<_>>(), chunks[8..]);
    assert_eq!(pair.ours.transmit(&mut pair.umem, &mut frames), Ok(0));
    let sent: Vec<_> = pair.tx.take(8).unwrap().map(|descriptor| descriptor.address).collect();
    let expected: Vec<_> = chunks[..8].iter().map(|chunk| u64::from(*chunk) * 2048 + 256).collect();
    assert_eq!(sent, expected);
    frames.into_iter().for_each(|frame| pair.umem.release(frame));
}

#[test]
fn a_batch_dropped_half_way_frees_its_frames() {
    let mut pair = Pair::new();
    let mut frames = pair.sendable(3);
    let mut batch = pair.ours.reserve(&mut pair.umem, 3).unwrap();
    assert_eq!(batch.slots(), 3);
    batch.write(frames.pop().unwrap()).unwrap();
    batch.write(frames.pop().unwrap()).unwrap();
    drop(batch);
    assert_eq!(pair.umem.chunks(), ChunkCounts { free: 15, held: 1, fill: 0, tx: 0, total: 16 });
    assert_eq!((pair.send(8), pair.ours.counters.sent), (0, 0));
    // The slots are free again, and the next batch is not mixed up with the dropped one.
    assert_eq!(pair.ours.transmit(&mut pair.umem, &mut frames), Ok(1));
    assert_eq!(pair.send(8), 1);
    assert_eq!(pair.ours.complete(&mut pair.umem), Ok(1));
    assert_eq!(pair.umem.chunks(), ChunkCounts { free: 16, held: 0, fill: 0, tx: 0, total: 16 });
}

#[test]
fn a_batch_gives_back_what_it_cannot_take() {
    let (mut pair, mut other) = (Pair::new(), Pair::new());
    let (mut frames, empty) = (pair.sendable(2), pair.umem.allocate().unwrap());
    let foreign = other.sendable(1).pop().unwrap();
    let mut batch = pair.ours.reserve(&mut pair.umem, 1).unwrap();
    let (empty, why) = batch.write(empty).unwrap_err();
    assert_eq!(why, FrameRefused::Empty);
    let (foreign, why) = batch.write(foreign).unwrap_err();
    assert_eq!(why, FrameRefused::Foreign);
    batch.write(frames.pop().unwrap()).unwrap();
    let (spare, why) = batch.write(frames.pop().unwrap()).unwrap_err();
    assert_eq!(why, FrameRefused::Full);
    assert_eq!(batch.commit(), 1);
    other.umem.release(foreign);
    pair.umem.release(empty);
    pair.umem.release(spare);
    assert_eq!(pair.umem.outstanding(), 0);
}

#[test]
fn what_rx_returns_is_a_frame_only_if_it_was_lent() {
    let mut pair = Pair::new();
    pair.ours.refill(&mut pair.umem).unwrap();
    let before = pair.umem.chunks();
    let lent = pair.umem.ledger().owned_by(Tag::fill(pair.ours.id)).next().unwrap();
    let free = pair.umem.ledger().owned_by(Tag::FREE).next().unwrap();
    let (ring, lent_at, free_at) = (RingName::Rx, u64::from(lent) * 2048, u64::from(free) * 2048);
    let umem_bytes = 16 * 2048;
    let whole = |address, len| Descriptor { address, len, options: 0 };
    let refused = [
        (whole(umem_bytes, 60), DescriptorRefused::OutsideUmem { ring, address: umem_bytes, umem_bytes }),
        (whole(u64::MAX, 60), DescriptorRefused::OutsideUmem { ring, address: u64::MAX, umem_bytes }),
        (
            whole(lent_at + 256, 1793),
            DescriptorRefused::TooLong { ring, address: lent_at + 256, len: 1793, room: 1792 },
        ),
        (whole(lent_at, u32::MAX), DescriptorRefused::TooLong { ring, address: lent_at, len: u32::MAX, room: 2048 }),
        (whole(free_at + 256, 60), DescriptorRefused::NotLent { ring, chunk: free, owner: Owner::Free }),
        (
            Descriptor { address: lent_at + 256, len: 60, options: 1 },
            DescriptorRefused::Options { ring, chunk: lent, options: 1 },
        ),
    ];
    for (forged, refusal) in refused {
        pair.forge_rx(forged);
        assert_eq!(pair.receive().len(), 0, "{forged:?}");
        assert_eq!(pair.refusal(), refusal);
    }
    let counted = pair.ours.counters.refused_rx;
    assert_eq!((counted.outside_umem, counted.too_long, counted.not_lent, counted.options), (2, 2, 1, 1));
    assert_eq!(pair.umem.chunks(), before);
}

#[test]
fn a_chunk_returned_twice_is_one_frame() {
    let mut pair = Pair::new();
    pair.ours.refill(&mut pair.umem).unwrap();
    pair.deliver(1, 60);
    let frame = pair.receive().pop().unwrap();
    let chunk = frame.chunk();
    pair.forge_rx(Descriptor { address: u64::from(chunk) * 2048 + 256, len: 60, options: 0 });
    assert_eq!(pair.receive().len(), 0);
    assert_eq!(pair.refusal(), DescriptorRefused::NotLent { ring: RingName::Rx, chunk, owner: Owner::Held });
    pair.forge_completion(u64::from(chunk) * 2048 + 256);
    assert_eq!(pair.ours.complete(&mut pair.umem), Ok(0));
    assert_eq!(pair.refusal(), DescriptorRefused::NotLent { ring: RingName::Completion, chunk, owner: Owner::Held });
    pair.umem.release(frame);
}

#[test]
fn a_broken_ring_is_reported_and_nothing_is_touched() {
    let mut pair = Pair::new();
    pair.ours.refill(&mut pair.umem).unwrap();
    let before = pair.umem.chunks();
    let honest = pair.words.rx.producer().load(Ordering::Relaxed);
    for forged in [honest.wrapping_add(SLOTS + 1), honest.wrapping_sub(1), honest ^ 0x8000_0000] {
        pair.words.rx.producer().store(forged, Ordering::Relaxed);
        let broken = pair.ours.receive(&mut pair.umem, 64, &mut Vec::new()).unwrap_err();
        assert_eq!((broken.ring, broken.produced, broken.consumed), (RingName::Rx, forged, honest));
        assert_eq!(pair.words.rx.consumer().load(Ordering::Relaxed), honest);
    }
    assert_eq!(pair.umem.chunks(), before);
}

#[test]
fn a_tx_ring_that_claims_to_have_sent_what_it_was_not_given_is_broken() {
    let mut pair = Pair::new();
    let mut frames = pair.sendable(9);
    assert_eq!(pair.ours.transmit(&mut pair.umem, &mut frames), Ok(8));
    let before = pair.umem.chunks();
    let word = pair.words.clone();
    let honest = word.peer(RingName::Tx).load(Ordering::Relaxed);
    word.peer(RingName::Tx).store(honest.wrapping_add(9), Ordering::Relaxed);
    let Err(TransmitError::Ring(broken)) = pair.ours.transmit(&mut pair.umem, &mut frames) else {
        panic!("9 of 8 frames were taken")
    };
    assert_eq!(broken.to_string(), "the TX ring of 8 slots is broken: 2 produced and 3 consumed cannot both be true");
    assert_eq!((frames.len(), pair.umem.chunks()), (1, before));
    frames.into_iter().for_each(|frame| pair.umem.release(frame));
}

#[test]
fn an_empty_fill_ring_that_cannot_be_refilled_is_counted() {
    let mut pair = Pair::new();
    let held = pair.sendable(16);
    assert_eq!((pair.ours.refill(&mut pair.umem), pair.ours.counters.fill_starved), (Ok(0), 1));
    held.into_iter().for_each(|frame| pair.umem.release(frame));
    assert_eq!((pair.ours.refill(&mut pair.umem), pair.ours.counters.fill_starved), (Ok(8), 1));
    assert_eq!((pair.ours.refill(&mut pair.umem), pair.ours.counters.fill_found_empty), (Ok(0), 2));
}

#[derive(Clone, Debug)]
enum Step {
    Allocate,
    Release(usize),
    Receive(usize),
    Transmit,
    DropBatch(usize),
    Complete,
    Deliver(u32),
    Send(u32),
    ForgeRx { address: u64, len: u32, options: u32 },
    ForgeCompletion(u64),
    ForgeIndex { ring: RingName, index: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    // Mostly inside the UMEM: what lies far outside is refused at the first glance.
    let address = prop_oneof![8 => 0..u64::from(FRAMES) * 2048, 1 => any::<u64>()];
    let ring = prop_oneof![Just(RingName::Rx), Just(RingName::Tx), Just(RingName::Fill), Just(RingName::Completion)];
    prop_oneof![
        4 => Just(Step::Allocate),
        3 => (0..64_usize).prop_map(Step::Release),
        5 => (0..12_usize).prop_map(Step::Receive),
        5 => Just(Step::Transmit),
        1 => (0..12_usize).prop_map(Step::DropBatch),
        3 => Just(Step::Complete),
        5 => (0..12_u32).prop_map(Step::Deliver),
        5 => (0..12_u32).prop_map(Step::Send),
        2 => (address.clone(), 0..3000_u32, 0..2_u32)
            .prop_map(|(address, len, options)| Step::ForgeRx { address, len, options }),
        2 => address.prop_map(Step::ForgeCompletion),
        1 => (ring, any::<u32>()).prop_map(|(ring, index)| Step::ForgeIndex { ring, index }),
    ]
}

/// The peer's index of a ring, set to nonsense for one operation. A possible index does not count as nonsense: the
/// kernel may publish any such.
fn with_forged_index(pair: &mut Pair, ring: RingName, index: u32, operation: impl FnOnce(&mut Pair)) {
    let words = pair.words.clone();
    let word = words.peer(ring);
    let honest = word.load(Ordering::Relaxed);
    if index.wrapping_sub(honest.wrapping_sub(SLOTS)) > 2 * SLOTS {
        word.store(index, Ordering::Relaxed);
        operation(pair);
        word.store(honest, Ordering::Relaxed);
    }
}

proptest! {
    /// No chunk is lost, and none has two owners, after any steps of user, kernel and forger.
    #[test]
    fn every_chunk_has_one_owner(steps in proptest::collection::vec(step(), 1..200)) {
        let mut pair = Pair::new();
        let mut held: Vec<Frame> = Vec::new();
        for step in steps {
            match step {
                Step::Allocate => held.extend(pair.sendable(1)),
                Step::Release(n) if !held.is_empty() => {
                    let frame = held.swap_remove(n % held.len());
                    pair.umem.release(frame);
                }
                Step::Release(_) => {}
                Step::Receive(max) => {
                    pair.ours.receive(&mut pair.umem, max, &mut held).unwrap();
                }
                Step::Transmit => {
                    // An empty frame, which a forger can have delivered, stays in front.
                    let _ = pair.ours.transmit(&mut pair.umem, &mut held);
                }
                Step::DropBatch(n) => {
                    let mut batch = pair.ours.reserve(&mut pair.umem, n).unwrap();
                    while batch.slots() > 0 && let Some(frame) = held.pop() {
                        if let Err((frame, _)) = batch.write(frame) {
                            held.push(frame);
                            break;
                        }
                    }
                }
                Step::Complete => {
                    pair.ours.complete(&mut pair.umem).unwrap();
                }
                Step::Deliver(count) => {
                    pair.deliver(count, 60);
                }
                Step::Send(count) => {
                    pair.send(count);
                }
                Step::ForgeRx { address, len, options } => pair.forge_rx(Descriptor { address, len, options }),
                Step::ForgeCompletion(address) => pair.forge_completion(address),
                Step::ForgeIndex { ring, index } => with_forged_index(&mut pair, ring, index, |pair| {
                    let before = pair.umem.chunks();
                    let received = pair.ours.receive(&mut pair.umem, 12, &mut held);
                    if received.is_err() {
                        assert_eq!(pair.umem.chunks(), before);
                    }
                    let _ = pair.ours.transmit(&mut pair.umem, &mut held);
                }),
            }
            let ChunkCounts { free, held: outstanding, fill, tx, total } = pair.umem.chunks();
            prop_assert_eq!(free + outstanding + fill + tx, total);
            prop_assert_eq!(total, FRAMES);
            prop_assert_eq!(outstanding as usize, held.len());
            let mut chunks: Vec<_> = held.iter().map(Frame::chunk).collect();
            chunks.sort_unstable();
            chunks.dedup();
            prop_assert_eq!(chunks.len(), held.len(), "a chunk is in two frames");
            for frame in &held {
                prop_assert!(frame.offset() + frame.capacity() <= 2048 && frame.len() <= frame.capacity());
            }
        }
        held.into_iter().for_each(|frame| pair.umem.release(frame));
        prop_assert_eq!(pair.umem.outstanding(), 0);
        let id = pair.ours.id;
        pair.umem.ledger_mut().strike(id);
        prop_assert_eq!(pair.umem.chunks(), ChunkCounts { free: FRAMES, held: 0, fill: 0, tx: 0, total: FRAMES });
    }
}

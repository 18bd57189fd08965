//! Who owns which chunk where frames are known by address alone, packets take several of them, and sockets share a
//! UMEM: whatever is written into tables and rings. On heap rings, with a kernel that the test plays.

use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use crate::layout::Layout;
use crate::ledger::{ChunkCounts, Owner, Tag};
use crate::lent::{CONTINUES, LentDescriptor, MAX_PARTS_RECEIVED, MAX_PARTS_SENT, NOWHERE, load, store};
use crate::refusal::DescriptorRefused;
use crate::ring::heap::HeapRing;
use crate::ring::{Address, Consumer, Descriptor, Producer, RingName};
use crate::rings::{FrameRefused, Lengths, Rings, TransmitError, Transmitted};
use crate::umem::Umem;

const FRAMES: u32 = 256;
const SLOTS: u32 = 64;
const CAPACITY: u32 = 1792;

/// A socket on heap rings, both sides of them.
struct Socket {
    ours: Rings<HeapRing<Address>, HeapRing<Descriptor>>,
    rx: Producer<HeapRing<Descriptor>>,
    tx: Consumer<HeapRing<Descriptor>>,
    fill: Consumer<HeapRing<Address>>,
    completion: Producer<HeapRing<Address>>,
}

impl Socket {
    fn on(umem: &mut Umem, slots: u32, fill_target: u32) -> Self {
        let start = u32::MAX - 5;
        let (rx, tx) = (HeapRing::starting_at(start, slots), HeapRing::starting_at(start, slots));
        let (fill, completion) = (HeapRing::starting_at(start, slots), HeapRing::starting_at(start, slots));
        let mut ours = Rings::new(
            umem.ledger_mut().enlist().unwrap(),
            fill_target,
            Consumer::open(RingName::Rx, rx.clone()).unwrap(),
            Producer::open(RingName::Tx, tx.clone()).unwrap(),
            Producer::open(RingName::Fill, fill.clone()).unwrap(),
            Consumer::open(RingName::Completion, completion.clone()).unwrap(),
        );
        ours.multi_buffer = true;
        Self {
            ours,
            rx: Producer::open(RingName::Rx, rx).unwrap(),
            tx: Consumer::open(RingName::Tx, tx).unwrap(),
            fill: Consumer::open(RingName::Fill, fill).unwrap(),
            completion: Producer::open(RingName::Completion, completion).unwrap(),
        }
    }

    /// The kernel receives a packet of this many bytes, if there are chunks for all of it.
    fn deliver(&mut self, bytes: u32) -> bool {
        let parts = bytes.div_ceil(CAPACITY);
        let mut slots = self.rx.reserve(parts).unwrap();
        let mut chunks = self.fill.take(parts).unwrap();
        let chunks: Vec<_> = chunks.by_ref().collect();
        if slots.slots() < parts || chunks.len() < parts as usize {
            return false; // and the chunks it had are lost to this test's kernel
        }
        for (n, Address(chunk)) in (0..).zip(chunks) {
            let (len, options) = if n + 1 < parts { (CAPACITY, 1) } else { (bytes - n * CAPACITY, 0) };
            assert!(slots.write(Descriptor { address: chunk + 256, len, options }));
        }
        slots.commit() == parts
    }

    /// What waits in TX, as lengths of packets; completes it. Half a packet fails the test.
    fn send_all(&mut self) -> Vec<u32> {
        let mut slots = self.completion.reserve(SLOTS).unwrap();
        let (mut packets, mut open) = (Vec::new(), None);
        for Descriptor { address, len, options } in self.tx.take(slots.slots()).unwrap() {
            let so_far = open.take().unwrap_or(0) + len;
            if options == 0 {
                packets.push(so_far)
            } else {
                open = Some(so_far)
            }
            assert!(slots.write(Address(address)));
        }
        assert_eq!(open, None, "half a packet is in TX");
        slots.commit();
        packets
    }

    fn forge_rx(&mut self, descriptors: &[Descriptor]) {
        let mut slots = self.rx.reserve(SLOTS).unwrap();
        for &descriptor in descriptors {
            let _ = slots.write(descriptor);
        }
        slots.commit();
    }
}

fn umem() -> Umem {
    Umem::anonymous(Layout::builder().frames(FRAMES).rings(SLOTS).build().unwrap()).unwrap()
}

fn table(places: usize) -> Vec<LentDescriptor> {
    (0..places).map(|_| [AtomicU32::new(NOWHERE), AtomicU32::new(0)]).collect()
}

fn lengths(table: &[LentDescriptor]) -> Vec<u32> {
    table.iter().map(|place| load(place).1).collect()
}

#[test]
fn a_frame_goes_round_by_its_address() {
    let (mut umem, table) = (umem(), table(8));
    let mut socket = Socket::on(&mut umem, SLOTS, 64);
    socket.ours.refill(&mut umem).unwrap();
    assert!(socket.deliver(100) && socket.deliver(60));
    assert_eq!(socket.ours.receive_lent(&mut umem, &table), Ok(2));
    assert_eq!(lengths(&table[..2]), [100, 60]);
    assert_eq!(umem.chunks(), ChunkCounts { free: FRAMES - 66, held: 2, fill: 64, tx: 0, total: FRAMES });
    assert_eq!(socket.ours.transmit_lent(&mut umem, &table[..2]), Ok(Transmitted { sent: 2, left: 0 }));
    assert_eq!((umem.outstanding(), socket.send_all()), (0, vec![100, 60]));
    assert_eq!(socket.ours.complete(&mut umem), Ok(2));
    assert_eq!(umem.lend(&table), 8);
    assert_eq!(lengths(&table), [0; 8]);
    assert_eq!(socket.ours.recycle(&mut umem, &table), 8);
    assert_eq!(umem.chunks(), ChunkCounts { free: FRAMES - 64, held: 0, fill: 64, tx: 0, total: FRAMES });
}

#[test]
fn what_is_not_lent_is_neither_sent_nor_taken_back() {
    let (mut umem, table) = (umem(), table(4));
    let mut socket = Socket::on(&mut umem, SLOTS, 8);
    socket.ours.refill(&mut umem).unwrap();
    let in_fill = umem.ledger().owned_by(Tag::fill(socket.ours.id)).next().unwrap() * 2048;
    assert_eq!(umem.lend(&table[..1]), 1);
    let (lent, _) = load(&table[0]);
    let before = umem.chunks();
    for (address, len) in [(in_fill, 60), (FRAMES * 2048, 60), (u32::MAX - 1, 60)] {
        store(&table[1], address, len);
        assert_eq!(socket.ours.transmit_lent(&mut umem, &table[1..2]), Ok(Transmitted::default()));
        assert_eq!(socket.ours.recycle(&mut umem, &table[1..2]), 0);
    }
    assert_eq!((umem.chunks(), socket.send_all().len()), (before, 0));
    assert_eq!((socket.ours.counters.refused_tx, socket.ours.counters.refused_recycled), (3, 3));
    // The same frame twice is one; wherever in its chunk the address points.
    store(&table[0], lent, 60);
    store(&table[1], lent + 2, 60);
    assert_eq!(socket.ours.transmit_lent(&mut umem, &table[..2]), Ok(Transmitted { sent: 1, left: 0 }));
    assert_eq!((socket.send_all(), socket.ours.counters.refused_tx), (vec![60], 4));
    // `NOWHERE` is neither a frame nor a mistake.
    store(&table[0], NOWHERE, NOWHERE);
    assert_eq!(socket.ours.transmit_lent(&mut umem, &table[..1]), Ok(Transmitted::default()));
    assert_eq!((socket.ours.recycle(&mut umem, &table[..1]), socket.ours.counters.refused_recycled), (0, 3));
}

#[test]
fn an_impossible_length_frees_the_chunk() {
    let (mut umem, table) = (umem(), table(1));
    let mut socket = Socket::on(&mut umem, SLOTS, 8);
    for len in [0, 1793, 2049, CONTINUES - 1, CONTINUES | 60] {
        assert_eq!(umem.lend(&table), 1);
        let (address, _) = load(&table[0]);
        store(&table[0], address, len);
        assert_eq!(socket.ours.transmit_lent(&mut umem, &table), Ok(Transmitted::default()), "{len:#x}");
        assert_eq!((umem.outstanding(), umem.free()), (0, FRAMES), "{len:#x}");
    }
    assert_eq!(socket.ours.counters.refused_tx, 5);
}

#[test]
fn what_the_device_does_not_take_is_freed_and_has_a_reason_of_its_own() {
    let (mut umem, table) = (umem(), table(3));
    let mut socket = Socket::on(&mut umem, SLOTS, 8);
    socket.ours.lengths = Lengths::of_mtu(1500);
    let send = |socket: &mut Socket, umem: &mut Umem, lengths: &[u32]| {
        assert_eq!(umem.lend(&table[..lengths.len()]), lengths.len());
        for (n, (place, len)) in table.iter().zip(lengths).enumerate() {
            store(place, load(place).0, if n + 1 < lengths.len() { CONTINUES | len } else { *len });
        }
        let sent = socket.ours.transmit_lent(umem, &table[..lengths.len()]).unwrap().sent;
        assert_eq!(sent == 0, umem.free() == FRAMES, "what is refused is freed");
        let packets = socket.send_all();
        socket.ours.complete(umem).unwrap();
        packets
    };
    for (len, goes) in [(1, false), (13, false), (14, true), (1518, true), (1519, false), (1792, false)] {
        let before = socket.ours.counters.refused_lengths;
        assert_eq!(!send(&mut socket, &mut umem, &[len]).is_empty(), goes, "{len}");
        assert_eq!(socket.ours.counters.refused_lengths - before, u64::from(!goes), "{len}");
    }
    // A packet is as long as its parts are together.
    assert_eq!(send(&mut socket, &mut umem, &[10, 1000, 508]), [1518]);
    assert_eq!(send(&mut socket, &mut umem, &[1000, 10, 509]), []);
    assert_eq!(send(&mut socket, &mut umem, &[6, 6, 1]), []);
    assert_eq!(send(&mut socket, &mut umem, &[6, 6, 2]), [14]);
    assert_eq!((socket.ours.counters.refused_lengths, socket.ours.counters.refused_tx), (6, 0));
    assert_eq!((umem.free(), umem.outstanding()), (FRAMES, 0));
}

#[test]
fn what_finds_no_slot_moves_to_the_front_and_packets_stay_whole() {
    let (mut umem, table) = (umem(), table(12));
    let mut socket = Socket::on(&mut umem, 8, 8);
    assert_eq!(umem.lend(&table), 12);
    // Packets of 1, 3, 3, 3 and 2 frames: the first three take 7 of 8 slots.
    for (n, place) in table.iter().enumerate() {
        let more = [1, 2, 4, 5, 7, 8, 10].contains(&n);
        let (address, _) = load(place);
        let len = 100 + u32::try_from(n).unwrap();
        store(place, address, if more { CONTINUES | len } else { len });
    }
    assert_eq!(socket.ours.transmit_lent(&mut umem, &table), Ok(Transmitted { sent: 7, left: 5 }));
    assert_eq!(lengths(&table[..5]), [CONTINUES | 107, CONTINUES | 108, 109, CONTINUES | 110, 111]);
    assert_eq!(socket.send_all(), [100, 101 + 102 + 103, 104 + 105 + 106]);
    assert_eq!(socket.ours.complete(&mut umem), Ok(7));
    assert_eq!(socket.ours.transmit_lent(&mut umem, &table[..5]), Ok(Transmitted { sent: 5, left: 0 }));
    assert_eq!(socket.send_all(), [107 + 108 + 109, 110 + 111]);
    assert_eq!((socket.ours.counters.sent, socket.ours.counters.sent_continued), (12, 7));
    assert_eq!(umem.outstanding(), 0);
}

#[test]
fn a_packet_with_one_bad_part_too_many_or_no_last_is_not_sent_and_all_of_it_is_freed() {
    let (mut umem, table) = (umem(), table(40));
    let mut socket = Socket::on(&mut umem, SLOTS, 8);
    let refuse = |socket: &mut Socket, umem: &mut Umem, parts: usize, spoil: &dyn Fn(&[LentDescriptor])| {
        assert_eq!(umem.lend(&table[..parts]), parts);
        for (n, place) in table[..parts].iter().enumerate() {
            store(place, load(place).0, if n + 1 < parts { CONTINUES | 60 } else { 60 });
        }
        spoil(&table);
        let done = socket.ours.transmit_lent(umem, &table[..parts]);
        assert_eq!((done, umem.free(), socket.send_all().len()), (Ok(Transmitted::default()), FRAMES, 0));
    };
    for spoilt in 0..3 {
        refuse(&mut socket, &mut umem, 3, &|table| store(&table[spoilt], load(&table[spoilt]).0, CONTINUES & !60));
    }
    refuse(&mut socket, &mut umem, MAX_PARTS_SENT + 1, &|_| {});
    refuse(&mut socket, &mut umem, 30, &|_| {});
    refuse(&mut socket, &mut umem, 3, &|table| store(&table[2], load(&table[2]).0, CONTINUES | 60));
    assert_eq!(socket.ours.counters.refused_tx, 6);
    socket.ours.multi_buffer = false;
    refuse(&mut socket, &mut umem, 2, &|_| {});
    socket.ours.multi_buffer = true;
    assert_eq!(umem.lend(&table[..MAX_PARTS_SENT]), MAX_PARTS_SENT);
    for (n, place) in table[..MAX_PARTS_SENT].iter().enumerate() {
        store(place, load(place).0, if n + 1 < MAX_PARTS_SENT { CONTINUES | 60 } else { 60 });
    }
    let done = socket.ours.transmit_lent(&mut umem, &table[..MAX_PARTS_SENT]);
    assert_eq!((done.unwrap().sent, socket.send_all()), (MAX_PARTS_SENT, vec![18 * 60]));
}

#[test]
fn a_long_packet_is_received_whole_or_waits() {
    let (mut umem, table) = (umem(), table(16));
    let mut socket = Socket::on(&mut umem, SLOTS, 64);
    socket.ours.refill(&mut umem).unwrap();
    assert!(socket.deliver(60) && socket.deliver(9014) && socket.deliver(61));
    assert_eq!(socket.ours.receive_lent(&mut umem, &table[..4]), Ok(1), "6 parts do not fit behind the first packet");
    assert_eq!(socket.ours.receive_lent(&mut umem, &table[1..8]), Ok(7));
    let more = CONTINUES | CAPACITY;
    assert_eq!(lengths(&table[..8]), [60, more, more, more, more, more, 9014 - 5 * CAPACITY, 61]);
    assert_eq!((socket.ours.counters.received, socket.ours.counters.received_continued), (8, 5));
    // As frames, and back out.
    assert_eq!(socket.ours.recycle(&mut umem, &table[..8]), 8);
    assert!(socket.deliver(3600));
    let mut frames = Vec::new();
    assert_eq!(socket.ours.receive(&mut umem, 64, &mut frames), Ok(3));
    let shape: Vec<_> = frames.iter().map(|frame| (frame.len(), frame.continues())).collect();
    assert_eq!(shape, [(1792, true), (1792, true), (16, false)]);
    let last = frames.pop().unwrap();
    assert_eq!(socket.ours.transmit(&mut umem, &mut frames), Ok(0), "the last frame is missing");
    frames.push(last);
    assert_eq!(socket.ours.transmit(&mut umem, &mut frames), Ok(3));
    assert_eq!((socket.send_all(), umem.outstanding()), (vec![3600], 0));
    socket.ours.multi_buffer = false;
    let mut frame = umem.allocate().unwrap();
    frame.set_len(60).unwrap();
    frame.set_continues(true);
    let mut frames = vec![frame];
    let refused = socket.ours.transmit(&mut umem, &mut frames);
    assert_eq!(refused, Err(TransmitError::Frame(FrameRefused::Continues)));
    frames.into_iter().for_each(|frame| umem.release(frame));
}

#[test]
fn half_a_packet_of_a_batch_is_freed() {
    let mut umem = umem();
    let mut socket = Socket::on(&mut umem, SLOTS, 8);
    let mut frame = |continues| {
        let mut frame = umem.allocate().unwrap();
        frame.set_len(60).unwrap();
        frame.set_continues(continues);
        frame
    };
    let frames = [frame(false), frame(true), frame(false), frame(true), frame(true)];
    let mut batch = socket.ours.reserve(&mut umem, 8).unwrap();
    frames.into_iter().for_each(|frame| batch.write(frame).unwrap());
    assert_eq!(batch.commit(), 3);
    assert_eq!((socket.send_all(), umem.chunks().tx, umem.free()), (vec![60, 120], 3, FRAMES - 3));
}

#[test]
fn a_forged_packet_in_rx_brings_no_frame_and_loses_none() {
    let (mut umem, table) = (umem(), table(64));
    let mut socket = Socket::on(&mut umem, SLOTS, 64);
    socket.ours.refill(&mut umem).unwrap();
    let free = umem.ledger().owned_by(Tag::FREE).next().unwrap();
    let chunks: Vec<_> = socket.fill.take(SLOTS).unwrap().map(|Address(chunk)| chunk).collect();
    let part = |chunk: u64, options| Descriptor { address: chunk + 256, len: 60, options };
    // The second part is not reception's: the other two are freed.
    socket.forge_rx(&[part(chunks[0], 1), part(u64::from(free) * 2048, 1), part(chunks[1], 0), part(chunks[2], 0)]);
    assert_eq!(socket.ours.receive_lent(&mut umem, &table), Ok(1));
    let refused = socket.ours.last_refusal.take().unwrap();
    assert_eq!(refused, DescriptorRefused::NotLent { ring: RingName::Rx, chunk: free, owner: Owner::Free });
    // Options that nobody asked for.
    socket.forge_rx(&[part(chunks[3], 2)]);
    assert_eq!(socket.ours.receive_lent(&mut umem, &table[1..]), Ok(0));
    // A packet without end: refused once, passed over until its last, and the next is whole again.
    assert!(chunks[4..].len() < MAX_PARTS_RECEIVED, "its end comes from elsewhere");
    let endless: Vec<_> = chunks[4..].iter().map(|chunk| part(*chunk, 1)).collect();
    let (first, rest) = endless.split_at(40);
    socket.forge_rx(first);
    assert_eq!(socket.ours.receive_lent(&mut umem, &table[1..]), Ok(0), "it may still become whole");
    socket.forge_rx(rest);
    let again: Vec<_> = endless.iter().take(4).copied().collect();
    socket.forge_rx(&again);
    assert_eq!(socket.ours.counters.refused_rx.too_many_parts, 0);
    assert_eq!(socket.ours.receive_lent(&mut umem, &table[..]), Ok(0));
    assert_eq!(socket.ours.counters.refused_rx.too_many_parts, 1);
    let chunk = socket.fill.take(2).unwrap().map(|Address(chunk)| chunk).collect::<Vec<_>>();
    socket.forge_rx(&[part(chunk[0], 0), part(chunk[1], 0)]);
    assert_eq!(socket.ours.receive_lent(&mut umem, &table), Ok(1), "the first ends the packet that is passed over");
    let ChunkCounts { free, held, fill, .. } = umem.chunks();
    assert_eq!((free + held + fill, held), (FRAMES, 2));
}

#[test]
fn a_socket_that_leaves_takes_its_own_chunks_along_and_no_others() {
    let (mut umem, table) = (umem(), table(8));
    let mut first = Socket::on(&mut umem, SLOTS, 32);
    let mut second = Socket::on(&mut umem, SLOTS, 32);
    first.ours.refill(&mut umem).unwrap();
    second.ours.refill(&mut umem).unwrap();
    assert!(first.deliver(60) && first.deliver(61) && second.deliver(62));
    assert_eq!(first.ours.receive_lent(&mut umem, &table), Ok(2));
    // What one received the other sends; the first cannot complete it.
    assert_eq!(second.ours.transmit_lent(&mut umem, &table[..1]), Ok(Transmitted { sent: 1, left: 0 }));
    let chunks = umem.ledger().chunks(Some(first.ours.id));
    assert_eq!((chunks.fill, chunks.tx, chunks.elsewhere()), (32, 0, 33));
    let mut forged = first.completion.reserve(1).unwrap();
    assert!(forged.write(Address(load(&table[0]).0.into())));
    forged.commit();
    assert_eq!((first.ours.complete(&mut umem), first.ours.counters.refused_completions.not_lent), (Ok(0), 1));
    umem.ledger_mut().strike(second.ours.id);
    assert_eq!(umem.chunks(), ChunkCounts { free: FRAMES - 33, held: 1, fill: 32, tx: 0, total: FRAMES });
    // Its number is free again.
    let third = Socket::on(&mut umem, SLOTS, 32);
    assert_eq!(third.ours.id, second.ours.id);
}

#[test]
fn sixty_four_sockets_share_a_umem_and_no_more() {
    let mut umem = umem();
    let ids: Vec<_> = std::iter::from_fn(|| umem.ledger_mut().enlist()).collect();
    assert_eq!(ids.len(), 64);
    umem.ledger_mut().strike(ids[17]);
    assert_eq!(umem.ledger_mut().enlist(), Some(ids[17]));
}

#[test]
fn reserved_chunks_become_a_sockets_or_come_back() {
    let mut umem = umem();
    let reserved = umem.reserve_chunks(5);
    assert_eq!((reserved.chunks(), umem.outstanding()), (&[0, 1, 2, 3, 4][..], 5));
    let id = umem.ledger_mut().enlist().unwrap();
    assert_eq!(umem.ledger_mut().start_in_fill(&[0, 1, 200], Tag::HELD, id), Err(200));
    assert_eq!(umem.ledger_mut().start_in_fill(&[0, 1, 1], Tag::HELD, id), Err(1));
    assert_eq!(umem.outstanding(), 5);
    umem.release_chunks(reserved);
    assert_eq!(umem.free(), FRAMES);
}

#[derive(Clone, Debug)]
enum Step {
    Deliver { socket: usize, bytes: u32 },
    Receive { socket: usize, room: usize },
    Lend(usize),
    Transmit { socket: usize, count: usize },
    Recycle { socket: usize, count: usize },
    Send { socket: usize },
    Complete { socket: usize },
    ScribbleTable { place: usize, address: u32, len: u32 },
    ForgeRx { socket: usize, address: u64, len: u32, options: u32 },
    ForgeCompletion { socket: usize, address: u64 },
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    let socket = || 0..2_usize;
    let address = || prop_oneof![8 => 0..u64::from(FRAMES) * 2048, 1 => any::<u64>()];
    let len = prop_oneof![4 => 0..3000_u32, 2 => (0..3000_u32).prop_map(|len| len | CONTINUES), 1 => any::<u32>()];
    prop_oneof![
        6 => (socket(), 1..12_000_u32).prop_map(|(socket, bytes)| Step::Deliver { socket, bytes }),
        6 => (socket(), 0..40_usize).prop_map(|(socket, room)| Step::Receive { socket, room }),
        3 => (0..20_usize).prop_map(Step::Lend),
        6 => (socket(), 0..40_usize).prop_map(|(socket, count)| Step::Transmit { socket, count }),
        3 => (socket(), 0..40_usize).prop_map(|(socket, count)| Step::Recycle { socket, count }),
        4 => socket().prop_map(|socket| Step::Send { socket }),
        4 => socket().prop_map(|socket| Step::Complete { socket }),
        3 => (0..64_usize, any::<u32>(), len).prop_map(|(place, address, len)| {
            Step::ScribbleTable { place, address: address % (FRAMES * 2048), len }
        }),
        2 => (socket(), address(), 0..3000_u32, 0..3_u32)
            .prop_map(|(socket, address, len, options)| Step::ForgeRx { socket, address, len, options }),
        2 => (socket(), address()).prop_map(|(socket, address)| Step::ForgeCompletion { socket, address }),
        1 => Just(Step::Leave),
    ]
}

proptest! {
    /// Two sockets share a UMEM. After any steps of a user who writes anything into the tables, and a kernel and a
    /// forger who write anything into the rings, the counts are those of the chunks, and what the kernel is given it is
    /// given once.
    #[test]
    fn every_chunk_has_one_owner_and_the_counts_are_exact(steps in proptest::collection::vec(step(), 1..200)) {
        let (mut umem, table) = (umem(), table(64));
        let mut sockets = [Socket::on(&mut umem, 32, 64), Socket::on(&mut umem, 32, 64)];
        for step in steps {
            match step {
                Step::Deliver { socket, bytes } => { sockets[socket].deliver(bytes); }
                Step::Receive { socket, room } => {
                    let received = sockets[socket].ours.receive_lent(&mut umem, &table[..room]).unwrap();
                    prop_assert!(received <= room);
                    if let Some(last) = received.checked_sub(1) {
                        prop_assert_eq!(load(&table[last]).1 & CONTINUES, 0, "half a packet was received");
                    }
                }
                Step::Lend(count) => { umem.lend(&table[..count]); }
                Step::Transmit { socket, count } => {
                    let before = sockets[socket].ours.counters.sent;
                    let done = sockets[socket].ours.transmit_lent(&mut umem, &table[..count]).unwrap();
                    prop_assert!(done.sent + done.left <= count);
                    prop_assert_eq!(sockets[socket].ours.counters.sent - before, done.sent as u64);
                }
                Step::Recycle { socket, count } => { sockets[socket].ours.recycle(&mut umem, &table[..count]); }
                Step::Send { socket } => {
                    let Socket { tx, completion, .. } = &mut sockets[socket];
                    let mut slots = completion.reserve(SLOTS).unwrap();
                    let room = slots.slots();
                    let (mut taken, mut open) = (0, false);
                    for Descriptor { address, len, options } in tx.take(room).unwrap() {
                        prop_assert!(address < u64::from(FRAMES) * 2048);
                        prop_assert!(address % 2048 + u64::from(len) <= 2048 && len > 0);
                        prop_assert!(options <= 1);
                        (taken, open) = (taken + 1, options == 1);
                        prop_assert!(slots.write(Address(address)));
                    }
                    prop_assert!(!open || taken == room, "half a packet is in TX");
                    slots.commit();
                }
                Step::Complete { socket } => { sockets[socket].ours.complete(&mut umem).unwrap(); }
                Step::ScribbleTable { place, address, len } => store(&table[place], address, len),
                Step::ForgeRx { socket, address, len, options } => {
                    sockets[socket].forge_rx(&[Descriptor { address, len, options }]);
                }
                Step::ForgeCompletion { socket, address } => {
                    let mut slots = sockets[socket].completion.reserve(1).unwrap();
                    let _ = slots.write(Address(address));
                    slots.commit();
                }
                Step::Leave => {
                    umem.ledger_mut().strike(sockets[1].ours.id);
                    sockets[1] = Socket::on(&mut umem, 32, 64);
                }
            }
            let ids = sockets.each_ref().map(|socket| socket.ours.id);
            let of_sockets = ids.iter().flat_map(|id| [Tag::fill(*id), Tag::tx(*id)]);
            let tags: Vec<Tag> = [Tag::FREE, Tag::HELD, Tag::LENT].into_iter().chain(of_sockets).collect();
            let mut total = 0;
            for tag in tags {
                let chunks = umem.ledger().owned_by(tag).count();
                prop_assert_eq!(chunks, umem.ledger().count(tag) as usize, "{:?}", tag);
                total += chunks;
            }
            prop_assert_eq!(total, FRAMES as usize);
        }
        for socket in sockets {
            umem.ledger_mut().strike(socket.ours.id);
        }
        umem.take_all_back();
        prop_assert_eq!(umem.chunks(), ChunkCounts { free: FRAMES, held: 0, fill: 0, tx: 0, total: FRAMES });
    }
}

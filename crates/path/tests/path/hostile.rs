//! Whatever the other language writes into shared words: it is refused and counted, and no chunk is lost or has two
//! owners.

use xsknet_path::Word;
use xsknet_xsk::{CONTINUES, NOWHERE};

use super::plain::{CHUNK, Device, FRAMES, Port, SLOTS, pair, set_pair};

/// Addresses that are not lent: in FILL, free, behind the UMEM, at the end of what a word can say.
fn not_lent(port: &mut Port) -> Vec<u32> {
    let in_fill = port.kernel().rings.take_fill(1)[0];
    let outside = FRAMES * CHUNK;
    vec![u32::try_from(in_fill).unwrap(), outside, outside + 256, u32::MAX - 1, 0x8000_0000]
}

#[test]
fn an_address_that_is_not_lent_is_not_sent() {
    let mut port = Port::new();
    let addresses = not_lent(&mut port);
    let before = port.counts();
    for &address in &addresses {
        port.queue(address, 60);
    }
    port.path.flush().unwrap();
    assert_eq!((port.sent().len(), port.kicks(), port.counts()), (0, 0, before));
    assert_eq!(port.counters().refused_tx, addresses.len() as u64);
    let (table, words) = port.path.make_table(8);
    for (place, &address) in addresses.iter().enumerate() {
        set_pair(&words, 2 * place, address, 60);
    }
    assert_eq!(port.path.transmit_from(table, addresses.len()).unwrap(), (0, 0));
    assert_eq!((port.counts(), port.counters().refused_tx), (before, 2 * addresses.len() as u64));
}

#[test]
fn an_address_that_is_not_lent_is_not_taken_back() {
    let mut port = Port::new();
    let addresses = not_lent(&mut port);
    let before = port.counts();
    for &address in &addresses {
        port.give_back(address, 60);
    }
    port.path.receive(8).unwrap();
    assert_eq!((port.counts(), port.counters().refused_recycled), (before, addresses.len() as u64));
}

#[test]
fn a_frame_that_is_given_back_twice_is_one_frame() {
    let mut port = Port::new();
    port.path.allocate(2).unwrap();
    let (address, _) = port.place(0);
    port.give_back(address, 0);
    port.give_back(address + 7, 0); // elsewhere in its chunk, which is the same chunk
    port.path.settle().unwrap();
    assert_eq!((port.counts(), port.counters().refused_recycled), ([47, 1, 16, 0], 1));
    // The lease still names it: a third time.
    port.path.finish().unwrap();
    assert_eq!((port.counts(), port.counters().refused_recycled), ([48, 0, 16, 0], 2));
    let (table, words) = port.path.make_table(3);
    port.path.allocate_into(table, 0, 1).unwrap();
    (1..3).for_each(|place| set_pair(&words, 2 * place, pair(&words, 0).0, 60));
    assert_eq!(port.path.recycle_from(table, 3).unwrap(), 1);
    assert_eq!(port.path.recycle_from(table, 3).unwrap(), 0);
    assert_eq!((port.counts(), port.counters().refused_recycled), ([48, 0, 16, 0], 7));
    port.close();
}

#[test]
fn a_frame_that_is_sent_twice_or_sent_and_given_back_leaves_once() {
    let mut port = Port::new();
    port.path.allocate(1).unwrap();
    let (address, _) = port.place(0);
    port.queue(address, 60);
    port.queue(address, 61);
    port.give_back(address, 60);
    port.path.finish().unwrap();
    assert_eq!((port.sent(), port.counts()), (vec![60], [48, 0, 16, 0]));
    let counters = port.counters();
    // Given back, and left in its place in the lease.
    assert_eq!((counters.refused_tx, counters.refused_recycled), (1, 2));
    port.close();
}

#[test]
fn what_is_queued_beyond_the_free_slots_is_not_kept() {
    let mut port = Port::new();
    port.kernel().device = Device::Sends(0);
    for _ in 0..13 {
        assert!(port.path.try_send(60, |_, _| {}).unwrap());
    }
    port.path.allocate(8).unwrap();
    for place in 0..8 {
        port.queue(port.place(place).0, 61);
        port.leave(place);
    }
    port.path.flush().unwrap();
    assert_eq!(
        (port.word(Word::Slots), port.counts()),
        (0, [32, 0, 16, 16]),
        "five of eight found no slot, and are free"
    );
    port.close();
}

#[test]
fn counts_beyond_the_tables_are_the_tables() {
    let mut port = Port::new();
    port.path.allocate(3).unwrap();
    for (word, address) in [(Word::Queued, port.place(0).0), (Word::Returned, port.place(1).0)] {
        match word {
            Word::Queued => port.queue(address, 60),
            _ => port.give_back(address, 60),
        }
        port.path.slate().set(word, u32::MAX);
    }
    port.path.finish().unwrap();
    // All else in the two tables is zero: a frame at address 0, in chunk 0, which is not lent or has no byte.
    assert_eq!((port.sent(), port.counts()), (vec![60], [48, 0, 16, 0]));
    assert_eq!((port.word(Word::Queued), port.word(Word::Returned)), (0, 0));
    port.close();
}

#[test]
fn lengths_that_cannot_be_free_the_chunk() {
    let mut port = Port::new();
    let impossible = [0, 1793, 2049, CONTINUES - 1, CONTINUES | 60, CONTINUES, u32::MAX];
    for length in impossible {
        port.path.allocate(1).unwrap();
        port.queue(port.place(0).0, length);
        port.leave(0);
        port.path.finish().unwrap();
        assert_eq!((port.sent().len(), port.counts()), (0, [48, 0, 16, 0]), "{length:#x}");
    }
    assert_eq!(port.counters().refused_tx, impossible.len() as u64);
    port.close();
}

#[test]
fn nowhere_is_no_frame_and_no_mistake() {
    let mut port = Port::new();
    port.queue(NOWHERE, NOWHERE);
    port.give_back(NOWHERE, NOWHERE);
    let (table, words) = port.path.make_table(2);
    set_pair(&words, 0, NOWHERE, NOWHERE);
    set_pair(&words, 2, NOWHERE, 60);
    assert_eq!(port.path.transmit_from(table, 2).unwrap(), (0, 0));
    assert_eq!(port.path.recycle_from(table, 2).unwrap(), 0);
    port.path.finish().unwrap();
    let counters = port.counters();
    assert_eq!((counters.refused_tx, counters.refused_recycled, port.kicks()), (0, 0, 0));
}

#[test]
fn the_other_words_decide_nothing() {
    let mut port = Port::new();
    for word in [Word::Slots, Word::Waiting, Word::Starved, Word::Second, Word::Result] {
        port.path.slate().set(word, u32::MAX);
    }
    assert!(port.path.try_send(60, |_, _| {}).unwrap());
    port.path.finish().unwrap();
    assert_eq!((port.sent(), port.word(Word::Waiting)), (vec![60], 0));
    assert_eq!(port.word(Word::Slots), SLOTS);
    port.close();
}

#[test]
fn arguments_beyond_all_tables_move_nothing() {
    let mut port = Port::new();
    let (table, _) = port.path.make_table(4);
    port.kernel().deliver(&[60]);
    for length in [5, u32::MAX as usize, usize::MAX, usize::MAX / 2 + 1] {
        assert_eq!(port.path.receive_into(table, length).unwrap(), 0, "{length}");
        assert_eq!(port.path.allocate_into(table, length, usize::MAX).unwrap(), 0, "{length}");
    }
    assert_eq!(port.counts(), [48, 0, 16, 0]);
    // A count beyond the table is the table: four descriptors of zeros.
    assert_eq!(port.path.recycle_from(table, usize::MAX).unwrap(), 0);
    assert_eq!(port.path.transmit_from(table, usize::MAX).unwrap(), (0, 0));
    assert_eq!((port.counters().refused_recycled, port.counters().refused_tx), (4, 4));
    assert_eq!(port.path.receive(8).unwrap(), 1, "the frame is still there");
}

//! One lease after another: what was received, what is queued, what is kept, what goes back.

use xsknet_path::{ChunkCounts, PathError, Word};

use super::plain::{CHUNK, FRAMES, HEAD, Port, SLOTS};

#[test]
fn a_lease_has_what_arrived_and_ends_with_the_next() {
    let mut port = Port::new();
    assert_eq!(port.counts(), [48, 0, 16, 0]);
    assert_eq!(port.kernel().deliver(&[60, 61, 62]), 3);
    assert_eq!(port.path.receive(64).unwrap(), 3);
    let lengths: Vec<_> = port.lease(3).iter().map(|(_, length)| *length).collect();
    assert_eq!(lengths, [60, 61, 62]);
    assert!(port.lease(3).iter().all(|(address, _)| address % CHUNK == 256));
    assert_eq!(port.counts(), [45, 3, 16, 0], "reception has other chunks in their stead");
    assert_eq!(port.path.receive(64).unwrap(), 0);
    assert_eq!(port.counts(), [48, 0, 16, 0]);
    assert_eq!(port.kicks(), 0, "nothing was to be sent");
    port.close();
}

#[test]
fn no_more_is_received_than_was_asked_for_or_has_a_place() {
    let mut port = Port::new();
    assert_eq!(port.path.slate().places(), 2 * SLOTS as usize);
    assert_eq!(port.kernel().deliver(&[60; 20]), 16);
    assert_eq!([port.path.receive(0).unwrap(), port.path.receive(5).unwrap()], [0, 5]);
    assert_eq!(port.path.receive(u32::MAX).unwrap(), 11);
    let small = Port::of(|layout| layout.frames(FRAMES).rx(64).tx(64));
    assert_eq!(small.path.slate().places(), FRAMES as usize, "no more places than chunks");
}

#[test]
fn what_is_queued_leaves_with_the_next_call_in_its_order() {
    let mut port = Port::new();
    port.kernel().deliver(&[60, 61, 62]);
    port.path.receive(64).unwrap();
    for place in [2, 0] {
        let (address, length) = port.place(place);
        port.queue(address, length);
        port.leave(place);
    }
    port.path.flush().unwrap();
    assert_eq!(port.word(Word::Queued), 0);
    assert_eq!((port.sent(), port.kicks()), (vec![62, 60], 1));
    assert_eq!(port.counts(), [47, 1, 16, 0], "the lease goes on");
    port.path.finish().unwrap();
    assert_eq!(port.counts(), [48, 0, 16, 0]);
    let counters = port.counters();
    assert_eq!((counters.sent, counters.completed, counters.refused_recycled), (2, 2, 0));
    port.close();
}

#[test]
fn the_end_of_a_lease_gives_reception_the_chunks_that_it_lacked() {
    let mut port = Port::new();
    let (table, _) = port.path.make_table(48);
    port.path.allocate_into(table, 0, 48).unwrap();
    port.kernel().deliver(&[60; 16]);
    assert_eq!(port.path.receive(64).unwrap(), 16);
    assert_eq!(port.counts(), [0, 64, 0, 0]);
    port.path.finish().unwrap();
    assert_eq!(port.counts(), [0, 48, 16, 0]);
    assert_eq!(port.kernel().deliver(&[61]), 1);
}

#[test]
fn a_kept_frame_outlives_its_lease_and_goes_back_when_it_is_given_back() {
    let mut port = Port::new();
    port.kernel().deliver(&[60, 61]);
    port.path.receive(64).unwrap();
    let (address, length) = port.place(1);
    port.leave(1);
    port.path.slate().set(Word::Kept, 1);
    for _ in 0..3 {
        port.path.receive(64).unwrap();
        assert_eq!(port.counts(), [47, 1, 16, 0]);
        assert_eq!((port.path.chunks().held, port.path.chunks().kept), (0, 1));
    }
    port.path.slate().set(Word::Kept, 0);
    port.give_back(address, length);
    port.path.receive(64).unwrap();
    assert_eq!((port.counts(), port.word(Word::Returned)), ([48, 0, 16, 0], 0));
    port.close();
}

#[test]
fn what_is_said_to_be_kept_is_no_more_than_is_held() {
    let mut port = Port::new();
    port.kernel().deliver(&[60, 61]);
    port.path.receive(64).unwrap();
    port.path.slate().set(Word::Kept, u32::MAX);
    let ChunkCounts { held, kept, .. } = port.path.chunks();
    assert_eq!((held, kept), (0, 2));
}

#[test]
fn empty_frames_join_the_lease_behind_what_was_received() {
    let mut port = Port::new();
    port.kernel().deliver(&[60]);
    port.path.receive(64).unwrap();
    assert_eq!(port.path.allocate(2).unwrap(), 2);
    assert_eq!((port.place(1).1, port.place(2).1), (0, 0));
    port.queue(port.place(2).0, 99);
    port.leave(2);
    port.path.finish().unwrap();
    assert_eq!((port.sent(), port.counts()), (vec![99], [48, 0, 16, 0]));
    // No more than there are places, and then none.
    assert_eq!(port.path.allocate(u32::MAX).unwrap(), 32);
    assert_eq!(port.path.allocate(1).unwrap(), 0);
    port.close();
}

#[test]
fn a_failing_end_of_a_lease_ends_it_all_the_same() {
    let mut port = Port::new();
    port.kernel().deliver(&[60, 61]);
    port.path.receive(64).unwrap();
    port.queue(port.place(0).0, 60);
    port.leave(0);
    port.kernel().device = super::plain::Device::Gone;
    assert!(matches!(port.path.finish(), Err(PathError::Flush(_))));
    assert_eq!(port.counts(), [47, 0, 16, 1]);
    port.close();
}

#[test]
fn a_copy_goes_behind_what_is_queued_and_finds_its_chunks_and_slots_or_goes_not_at_all() {
    let mut port = Port::new();
    port.path.allocate(1).unwrap();
    port.queue(port.place(0).0, 70);
    port.leave(0);
    let mut written = Vec::new();
    assert!(port.path.try_send(60, |at, bytes| written.push((at, bytes.len()))).unwrap());
    assert_eq!((written, port.counts()[3]), (vec![(0, 60)], 2));
    port.path.flush().unwrap();
    assert_eq!(port.sent(), [70, 60]);
    port.kernel().device = super::plain::Device::Sends(0);
    for _ in 0..SLOTS {
        assert!(port.path.try_send(60, |_, _| {}).unwrap());
    }
    assert!(!port.path.try_send(60, |_, _| {}).unwrap(), "no slot is left");
    assert_eq!((port.word(Word::Slots), port.counts()), (0, [32, 0, 16, 16]));
    let error = port.path.try_send(1793, |_, _| panic!("it is not written")).unwrap_err();
    assert!(matches!(&error, PathError::TooLong(too_long) if (too_long.len, too_long.capacity) == (1793, 1792)));
    port.close();
}

#[test]
fn what_is_not_a_packet_of_the_mtu_is_refused_and_its_chunk_is_free() {
    let mut port = Port::new();
    port.path.set_mtu(1500);
    for (length, goes) in [(13, false), (14, true), (1518, true), (1519, false)] {
        port.path.allocate(1).unwrap();
        port.queue(port.place(0).0, length);
        port.leave(0);
        port.path.finish().unwrap();
        assert_eq!(port.kernel().sent.pop(), goes.then_some(length));
        assert_eq!(port.counts(), [48, 0, 16, 0]);
    }
    assert_eq!(port.counters().refused_lengths, 2);
    port.close();
}

#[test]
fn reception_without_a_chunk_is_counted_in_a_word() {
    let mut port = Port::new();
    let before = port.word(Word::Starved);
    port.kernel().deliver(&[60; 16]);
    port.path.receive(64).unwrap();
    assert_eq!(port.word(Word::Starved), before.wrapping_add(1), "FILL was found empty");
    port.path.receive(64).unwrap();
    assert_eq!(port.word(Word::Starved), before.wrapping_add(1));
    assert_eq!(HEAD, 16);
    port.close();
}

//! Packets that take several frames.

use xsknet_xsk::{CONTINUES, MAX_PARTS_SENT};

use super::plain::{CAPACITY, Device, Port, SLOTS, pair, set_pair};

#[test]
fn a_copy_that_finds_too_few_chunks_leaves_all_free() {
    let mut port = Port::with_multi_buffer();
    port.path.make_table(60);
    assert_eq!(port.path.allocate_into(0, 0, 46).unwrap(), 46);
    let mut written = Vec::new();
    assert!(!port.path.try_send(2 * CAPACITY as usize + 1, |at, bytes| written.push((at, bytes.len()))).unwrap());
    assert_eq!(written, [(0, 1792), (1792, 1792)]);
    assert_eq!(port.counts(), [2, 46, 16, 0]);
    assert!(port.path.try_send(2 * CAPACITY as usize, |_, _| {}).unwrap());
    port.path.flush().unwrap();
    assert_eq!(port.sent(), [2 * CAPACITY]);
}

#[test]
fn a_packet_is_as_long_as_the_frames_that_it_may_take() {
    assert_eq!(Port::new().path.packet_capacity(), 1792);
    assert_eq!(Port::with_multi_buffer().path.packet_capacity(), 1792 * SLOTS as usize);
    let large = Port::of(|layout| layout.multi_buffer(true).rings(64));
    assert_eq!(large.path.packet_capacity(), 1792 * MAX_PARTS_SENT);
}

#[test]
fn a_long_packet_is_received_whole_although_less_was_asked_for() {
    let mut port = Port::with_multi_buffer();
    port.kernel().deliver(&[3 * CAPACITY, 60]);
    assert_eq!(port.path.receive(1).unwrap(), 4);
    let lengths: Vec<_> = port.lease(4).iter().map(|(_, length)| *length).collect();
    assert_eq!(lengths, [CONTINUES | CAPACITY, CONTINUES | CAPACITY, CAPACITY, 60]);
    for place in 0..3 {
        let (address, length) = port.place(place);
        port.queue(address, length);
        port.leave(place);
    }
    port.path.finish().unwrap();
    assert_eq!((port.sent(), port.counts()), (vec![3 * CAPACITY], [48, 0, 16, 0]));
    assert_eq!(port.path.receive(0).unwrap(), 0);
    port.close();
}

#[test]
fn a_packet_in_several_frames_is_never_sent_in_part() {
    let mut port = Port::with_multi_buffer();
    let (table, words) = port.path.make_table(32);
    port.path.allocate_into(table, 0, 20).unwrap();
    for place in 0..20 {
        let more = if place % 4 == 3 { 0 } else { CONTINUES };
        set_pair(&words, 2 * place, pair(&words, 2 * place).0, more | CAPACITY);
    }
    port.kernel().device = Device::Sends(0);
    assert_eq!(port.path.transmit_from(table, 19).unwrap(), (16, 3), "the last packet finds no slot");
    port.kernel().device = Device::Sends(16);
    assert_eq!(port.path.transmit_from(table, 3).unwrap(), (0, 0), "and lacks its last frame, which is a mistake");
    port.path.flush().unwrap();
    assert_eq!((port.sent(), port.counters().refused_tx), (vec![4 * CAPACITY; 4], 1));
    port.path.settle().unwrap();
    assert_eq!(port.counts(), [47, 1, 16, 0]);
    port.close();
}

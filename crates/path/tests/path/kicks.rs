//! When the kernel is notified of frames in TX.

use xsknet_path::{KICK_AFTER_CALLS, KICK_AFTER_FRAMES, KICK_AFTER_FRAMES_IN_BPF_RINGS, PathError, Rings as _, Word};
use xsknet_xsk::FlushError;

use super::plain::{Device, Port, pair, set_pair};

/// Queues a received frame as an answer, as often as one is there.
fn answer_one(port: &mut Port) {
    if port.path.receive(1).unwrap() == 1 {
        let (address, length) = port.place(0);
        port.queue(address, length);
        port.leave(0);
    }
}

#[test]
fn an_answer_leaves_as_soon_as_nothing_more_has_arrived() {
    let mut port = Port::new();
    port.kernel().deliver(&[60, 61, 62]);
    for _ in 0..3 {
        answer_one(&mut port);
        assert_eq!(port.kicks(), 0);
    }
    answer_one(&mut port);
    assert_eq!((port.kicks(), port.sent()), (1, vec![60, 61, 62]));
    for _ in 0..100 {
        answer_one(&mut port);
    }
    assert_eq!(port.kicks(), 1, "nothing in TX, no system call");
    assert_eq!(port.counts(), [48, 0, 16, 0]);
    port.close();
}

#[test]
fn one_answer_in_a_flood_waits_for_so_many_calls_at_most() {
    let mut port = Port::new();
    assert!(port.path.try_send(60, |_, _| {}).unwrap());
    for call in 1..=KICK_AFTER_CALLS {
        assert_eq!(port.kicks(), 0, "before call {call}");
        port.kernel().deliver(&[60, 60]);
        port.path.receive(1).unwrap();
    }
    assert_eq!((port.kicks(), port.sent()), (1, vec![60]));
}

#[test]
fn many_frames_are_not_put_off_although_more_wait_to_be_received() {
    let mut port = Port::of(|layout| layout.frames(64).tx(256).completion(256));
    let (table, words) = port.path.make_table(16);
    // The kernel sends what it is not kicked for, as it does without need_wakeup: so TX never fills.
    let kick_after = port.path.rings().kick_after();
    assert!([KICK_AFTER_FRAMES, KICK_AFTER_FRAMES_IN_BPF_RINGS].contains(&kick_after), "{kick_after}");
    let batches = kick_after / 16;
    for batch in 1..=batches {
        port.path.allocate_into(table, 0, 16).unwrap();
        (0..16).for_each(|place| set_pair(&words, 2 * place, pair(&words, 2 * place).0, 60));
        port.kernel().deliver(&[60]);
        assert_eq!(port.path.transmit_from(table, 16).unwrap(), (16, 0));
        assert_eq!(port.kicks(), u32::from(batch == batches), "batch {batch}");
        port.kernel().send(256);
        port.path.settle().unwrap();
    }
    assert_eq!(port.sent().len(), kick_after);
}

#[test]
fn what_the_kernel_left_in_tx_is_kicked_for_again() {
    let mut port = Port::new();
    for _ in 0..4 {
        port.path.try_send(60, |_, _| {}).unwrap();
    }
    port.kernel().device = Device::Sends(1);
    port.path.flush().unwrap();
    assert_eq!((port.word(Word::Waiting), port.kicks()), (3, 1));
    port.path.receive(8).unwrap();
    assert_eq!((port.word(Word::Waiting), port.kicks()), (2, 2));
    port.kernel().device = Device::Sends(16);
    port.path.receive(8).unwrap();
    assert_eq!((port.word(Word::Waiting), port.sent().len()), (0, 4));
    port.path.receive(8).unwrap();
    assert_eq!(port.kicks(), 3);
    port.close();
}

#[test]
fn frames_wait_for_a_device_that_is_down_and_are_lost_with_one_that_is_gone() {
    let mut port = Port::new();
    port.path.try_send(60, |_, _| {}).unwrap();
    port.kernel().device = Device::Down;
    port.path.flush().unwrap();
    assert_eq!((port.word(Word::Waiting), port.counts()), (1, [47, 0, 16, 1]));
    port.kernel().device = Device::Gone;
    let gone = port.path.flush().unwrap_err();
    assert!(matches!(gone, PathError::Flush(FlushError::DeviceGone { waiting: 1, .. })), "{gone}");
    port.kernel().device = Device::Sends(16);
    port.path.flush().unwrap();
    assert_eq!((port.word(Word::Waiting), port.sent()), (0, vec![60]));
    port.close();
}

#[test]
fn slots_that_are_free_again_are_seen_without_a_kick() {
    let mut port = Port::new();
    for _ in 0..16 {
        port.path.try_send(60, |_, _| {}).unwrap();
    }
    port.kernel().send(16);
    port.kernel().deliver(&[60, 60]);
    let (table, _) = port.path.make_table(1);
    assert_eq!(port.path.receive_into(table, 0).unwrap(), 1);
    assert_eq!((port.counts(), port.kicks()), ([47, 1, 16, 0], 0), "what has left is free");
    assert!(port.path.try_send(60, |_, _| {}).unwrap());
    assert_eq!(port.word(Word::Slots), 15);
}

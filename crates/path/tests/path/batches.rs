//! Batches in tables that the other language has made.

use std::time::{Duration, Instant};

use xsknet_path::{NoTable, PathError, Word};
use xsknet_xsk::NOWHERE;

use super::plain::{Device, Port, lengths, pair, set_pair};

const NOT_AT_ALL: Duration = Duration::ZERO;

#[test]
fn a_batch_is_received_behind_what_it_has_and_sent_from_its_front() {
    let mut port = Port::new();
    let (table, words) = port.path.make_table(8);
    assert_eq!((table, words.len()), (0, 16));
    port.kernel().deliver(&[60, 61]);
    assert_eq!(port.path.receive_into(table, 0).unwrap(), 2);
    port.kernel().deliver(&[62; 8]);
    assert_eq!(port.path.receive_into(table, 2).unwrap(), 6, "as many as the table has room for");
    assert_eq!(lengths(&words, 8), [60, 61, 62, 62, 62, 62, 62, 62]);
    assert_eq!(port.path.receive_into(table, 8).unwrap(), 0);
    assert_eq!(port.path.transmit_from(table, 3).unwrap(), (3, 0));
    assert_eq!(port.path.recycle_from(table, 8).unwrap(), 5, "the first three are in TX");
    assert_eq!(port.counts(), [45, 0, 16, 3]);
    port.path.flush().unwrap();
    assert_eq!((port.sent(), port.counts()), (vec![60, 61, 62], [48, 0, 16, 0]));
    port.close();
}

#[test]
fn a_batch_is_renewed_in_one_call() {
    let mut port = Port::new();
    let (table, words) = port.path.make_table(8);
    port.kernel().deliver(&[60, 61, 62]);
    assert_eq!(port.path.recycle_and_receive_into(table, 0, NOT_AT_ALL).unwrap(), 3);
    port.kernel().deliver(&[70]);
    assert_eq!(port.path.recycle_and_receive_into(table, 3, NOT_AT_ALL).unwrap(), 1);
    assert_eq!((lengths(&words, 1), port.counts()), (vec![70], [47, 1, 16, 0]));
    assert_eq!(port.path.recycle_and_receive_into(table, 1, NOT_AT_ALL).unwrap(), 0);
    assert_eq!((port.counts(), port.kernel().sleeps), ([48, 0, 16, 0], 0));
    port.close();
}

#[test]
fn a_reader_with_nothing_to_read_sleeps_until_a_frame_comes() {
    let mut port = Port::new();
    let (table, _) = port.path.make_table(8);
    let moment = Duration::from_millis(1);
    port.kernel().arrives = vec![60, 61];
    assert_eq!(port.path.receive_into_or_sleep(table, 0, moment).unwrap(), 2);
    assert_eq!(port.path.recycle_and_receive_into(table, 2, moment).unwrap(), 0, "the time is over");
    port.kernel().deliver(&[62]);
    assert_eq!(port.path.receive_into_or_sleep(table, 0, moment).unwrap(), 1);
    assert_eq!(port.kernel().sleeps, 2, "what is there already needs no sleep");
    port.path.recycle_from(table, 1).unwrap();

    port.kernel().device = Device::Gone;
    assert!(matches!(port.path.receive_into_or_sleep(table, 0, moment), Err(PathError::DeviceGone)));
    port.kernel().device = Device::Down;
    let begun = Instant::now();
    assert_eq!(port.path.receive_into_or_sleep(table, 0, Duration::from_millis(20)).unwrap(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(20), "a socket in error ends no sleep early");
    port.close();
}

#[test]
fn what_finds_no_slot_is_kicked_for_once_and_stays_at_the_front() {
    let mut port = Port::new();
    let (table, words) = port.path.make_table(24);
    assert_eq!(port.path.allocate_into(table, 0, 24).unwrap(), 24);
    for place in 0..24 {
        set_pair(&words, 2 * place, pair(&words, 2 * place).0, 100 + u32::try_from(place).unwrap());
    }
    port.kernel().device = Device::Sends(5);
    assert_eq!(port.path.transmit_from(table, 24).unwrap(), (21, 3));
    assert_eq!(lengths(&words, 3), [121, 122, 123]);
    assert_eq!((port.kicks(), port.word(Word::Waiting), port.word(Word::Slots)), (1, 11, 0));
    port.kernel().device = Device::Sends(16);
    assert_eq!(port.path.transmit_from(table, 3).unwrap(), (3, 0));
    port.path.flush().unwrap();
    let sent: Vec<_> = (100..124).collect();
    assert_eq!(port.sent(), sent);
    port.path.settle().unwrap();
    assert_eq!(port.counts(), [48, 0, 16, 0]);
    port.close();
}

#[test]
fn empty_frames_fill_a_table_from_a_place_to_an_end() {
    let mut port = Port::new();
    let (table, words) = port.path.make_table(8);
    set_pair(&words, 2, 7, 7);
    assert_eq!(port.path.allocate_into(table, 2, 5).unwrap(), 3);
    assert_eq!((pair(&words, 2), pair(&words, 10)), ((7, 7), (0, 0)));
    for (from, to) in [(5, 5), (6, 2), (8, 9), (usize::MAX, usize::MAX), (9, usize::MAX)] {
        assert_eq!(port.path.allocate_into(table, from, to).unwrap(), 0, "{from} to {to}");
    }
    assert_eq!(port.path.allocate_into(table, 5, usize::MAX).unwrap(), 3);
    // Not more than are free, after those that have left.
    let (other, _) = port.path.make_table(60);
    assert_eq!(port.path.allocate_into(other, 0, 60).unwrap(), 42);
    assert_eq!(port.path.allocate_into(other, 42, 60).unwrap(), 0);
    set_pair(&words, 4, pair(&words, 4).0, 60);
    set_pair(&words, 0, NOWHERE, 0);
    set_pair(&words, 2, NOWHERE, 0);
    assert_eq!(port.path.transmit_from(table, 3).unwrap(), (1, 0));
    port.path.flush().unwrap();
    assert_eq!(port.path.allocate_into(other, 42, 60).unwrap(), 1);
    port.close();
}

#[test]
fn chunks_that_have_left_are_taken_back_when_none_is_free() {
    let mut port = Port::new();
    let (table, words) = port.path.make_table(48);
    assert_eq!(port.path.allocate_into(table, 0, 60).unwrap(), 48);
    set_pair(&words, 0, pair(&words, 0).0, 60);
    assert_eq!(port.path.transmit_from(table, 1).unwrap(), (1, 0));
    assert_eq!(port.path.allocate_into(table, 0, 1).unwrap(), 0, "it is in TX");
    port.kernel().send(1); // without a kick, as where the driver polls
    assert_eq!(port.path.allocate_into(table, 0, 1).unwrap(), 1);
    assert_eq!(port.counts(), [0, 48, 16, 0]);
}

#[test]
fn a_batch_that_nobody_made_is_refused_and_nothing_moves() {
    let mut port = Port::new();
    let (table, _) = port.path.make_table(8);
    for number in [table + 1, u32::MAX as usize, usize::MAX] {
        let missing = |error: PathError| matches!(error, PathError::NoTable(NoTable(none)) if none == number);
        assert!(missing(port.path.receive_into(number, 0).unwrap_err()));
        assert!(missing(port.path.recycle_and_receive_into(number, 1, NOT_AT_ALL).unwrap_err()));
        assert!(missing(port.path.allocate_into(number, 0, 1).unwrap_err()));
        assert!(missing(port.path.transmit_from(number, 1).unwrap_err()));
        assert!(missing(port.path.recycle_from(number, 1).unwrap_err()));
    }
    assert_eq!(port.counts(), [48, 0, 16, 0]);
}

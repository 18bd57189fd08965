//! Several paths on one pool, and the end of a path.

use xsknet_path::{NoTable, PathError, Pool, Word};

use super::plain::{FRAMES, Port, pair, set_pair};

#[test]
fn what_one_path_received_another_sends() {
    let mut left = Port::new();
    let mut right = left.beside();
    assert!(left.path.is_shared() && right.path.is_shared());
    left.kernel().deliver(&[60, 61]);
    left.path.receive(8).unwrap();
    let (address, length) = left.place(1);
    left.leave(1);
    right.queue(address, length);
    right.path.flush().unwrap();
    assert_eq!((right.sent(), left.sent().len()), (vec![61], 0));
    left.path.finish().unwrap();
    assert_eq!((left.counts(), right.counts()), ([32, 0, 16, 0], [32, 0, 16, 0]));
    assert_eq!((left.path.chunks().elsewhere, left.counters().refused_recycled), (16, 0));
}

#[test]
fn a_batch_is_known_to_all_paths_of_its_pool_until_its_maker_is_closed() {
    let mut left = Port::new();
    let mut right = left.beside();
    let (table, words) = left.path.make_table(4);
    let (other, _) = right.path.make_table(4);
    assert_ne!(table, other);
    right.kernel().deliver(&[60]);
    assert_eq!(right.path.receive_into(table, 0).unwrap(), 1);
    assert_eq!(left.path.transmit_from(table, 1).unwrap(), (1, 0));
    left.path.flush().unwrap();
    assert_eq!(left.sent(), [60]);
    left.path.settle().unwrap();
    let closing = left.path.close();
    assert!(closing.is_shared());
    let gone = right.path.receive_into(table, 0).unwrap_err();
    assert!(matches!(gone, PathError::NoTable(NoTable(number)) if number == table));
    set_pair(&words, 0, 0, 60); // its memory is still there
    assert_eq!(pair(&words, 0), (0, 60));
    closing.reclaim();
    assert!(!right.path.is_shared());
    assert_eq!(right.counts(), [48, 0, 16, 0]);
}

#[test]
fn chunks_of_a_closed_path_are_free_only_when_nobody_can_write_into_them() {
    let mut left = Port::new();
    let right = left.beside();
    left.kernel().deliver(&[60, 61]);
    left.path.receive(8).unwrap();
    left.queue(left.place(0).0, 60);
    assert!(left.path.try_send(70, |_, _| {}).unwrap());
    left.path.allocate(2).unwrap();
    let closing = left.path.close();
    // The lease ended; what is in FILL and TX is not ours yet.
    assert_eq!((right.counts(), right.path.chunks().elsewhere), ([30, 0, 16, 0], 18));
    closing.reclaim();
    assert_eq!((right.counts(), right.path.chunks().elsewhere), ([48, 0, 16, 0], 0));
    right.close();
}

#[test]
fn a_closed_path_takes_back_its_lease_and_what_it_did_not_send() {
    let mut left = Port::new();
    let right = left.beside();
    left.path.allocate(3).unwrap();
    left.queue(left.place(0).0, 60);
    left.leave(0);
    left.give_back(left.place(1).0, 0);
    left.leave(1);
    assert_eq!(right.counts(), [29, 3, 16, 0]);
    left.path.close().reclaim();
    assert_eq!(right.counts(), [48, 0, 16, 0]);
}

#[test]
fn paths_that_share_a_pool_stay_in_their_thread() {
    let left = Port::new();
    let right = left.beside();
    let Err(path) = left.path.dismantle() else { panic!("a path was taken from those that share its pool") };
    right.path.close().reclaim();
    assert!(!path.is_shared());
    let Ok((_, pool, backing)) = path.dismantle() else { panic!("nobody shares it any more") };
    assert_eq!((pool.free(), backing), (FRAMES - 16, "the file of a UMEM"));
}

#[test]
fn a_path_that_is_taken_apart_has_no_frame_left_with_the_other_language() {
    let mut port = Port::new();
    port.kernel().deliver(&[60, 61, 62]);
    port.path.receive(2).unwrap();
    let (table, _) = port.path.make_table(8);
    port.path.receive_into(table, 0).unwrap();
    port.path.allocate_into(table, 1, 4).unwrap();
    port.leave(0); // kept beyond its lease
    port.path.slate().set(Word::Kept, 1);
    assert!(port.path.try_send(60, |_, _| {}).unwrap());
    let Ok((rings, pool, _)) = port.path.dismantle() else { panic!("nobody shares it") };
    assert_eq!((pool.free(), pool.0.outstanding()), (FRAMES - 16 - 1, 0));
    // And goes on elsewhere, with what was in TX.
    let path = xsknet_path::DataPath::new(rings, pool, "the same file");
    assert_eq!((path.chunks().tx, path.chunks().held, path.slate().get(Word::Slots)), (1, 0, 15));
}

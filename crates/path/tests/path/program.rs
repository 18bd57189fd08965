//! What programs and others who have the memory can do to BPF rings.

use std::sync::atomic::Ordering;

use xsknet_path::Word;
use xsknet_xsk::CONTINUES;
use xsknet_xsk::ring::Descriptor;

use super::plain::{CAPACITY, CHUNK, Port, SLOTS, lengths, pair, set_pair};

#[test]
fn a_length_that_cannot_be_is_no_frame_and_its_chunk_is_free() {
    let mut port = Port::new();
    let forged =
        [0, CAPACITY + 1, CHUNK, CONTINUES | 60, u32::MAX, 60].map(|len| Descriptor { address: 0, len, options: 0 });
    assert_eq!(port.kernel().rings.forge_rx(&forged), 6);
    assert_eq!(port.path.receive(8).unwrap(), 1);
    let refused = port.counters().refused_rx;
    assert_eq!((refused.empty, refused.too_long, refused.total(), port.counters().received), (1, 4, 5, 1));
    assert_eq!(port.counts(), [47, 1, 16, 0], "what was refused is free or posted again");
    port.path.finish().unwrap();
    port.close();
}

#[test]
fn frames_come_in_the_order_of_the_ring_whichever_processor_is_first() {
    let mut port = Port::new();
    let (table, words) = port.path.make_table(8);
    let taken: Vec<_> = std::iter::from_fn(|| port.kernel().rings.program.take_rx()).collect();
    assert_eq!(taken.len(), SLOTS as usize);
    let give = |port: &Port, n: usize| port.kernel().rings.program.give_rx(taken[n].0, 60 + u32::try_from(n).unwrap());
    give(&port, 1);
    give(&port, 2);
    assert!(!port.path.is_readable());
    assert_eq!(port.path.receive_into(table, 0).unwrap(), 0);
    give(&port, 0);
    assert!(port.path.is_readable());
    assert_eq!(port.path.receive_into(table, 0).unwrap(), 3);
    assert_eq!(lengths(&words, 3), [60, 61, 62]);
    let chunks: Vec<_> = (0..3).map(|n| pair(&words, 2 * n).0 / CHUNK).collect();
    assert_eq!(chunks, taken[..3].iter().map(|(_, chunk)| *chunk).collect::<Vec<_>>());
}

#[test]
fn a_slot_that_says_anything_else_has_not_come_back() {
    let mut port = Port::new();
    let control = |port: &Port| port.kernel().rings.program.rx_sequence().load(Ordering::Relaxed);
    let honest = control(&port);
    for forged in [0, honest.wrapping_sub(1), honest.wrapping_add(2), honest.wrapping_add(1 + 2 * SLOTS), u32::MAX] {
        port.kernel().rings.program.rx_sequence().store(forged, Ordering::Relaxed);
        assert_eq!((port.path.receive(8).unwrap(), port.counts()), (0, [48, 0, 16, 0]), "{forged:#x}");
    }
    port.kernel().rings.program.rx_sequence().store(honest, Ordering::Relaxed);
    port.kernel().deliver(&[60]);
    assert_eq!(port.path.receive(8).unwrap(), 1);
    port.path.finish().unwrap();
    port.close();
}

#[test]
fn a_frame_that_is_never_given_back_holds_its_slot_and_those_behind_it() {
    let mut port = Port::new();
    for _ in 0..SLOTS {
        assert!(port.path.try_send(60, |_, _| {}).unwrap());
    }
    let taken: Vec<_> = std::iter::from_fn(|| port.kernel().rings.program.take_tx()).collect();
    taken[1..].iter().for_each(|(position, ..)| port.kernel().rings.program.give_tx(*position));
    assert!(!port.path.try_send(60, |_, _| {}).unwrap());
    assert_eq!((port.word(Word::Slots), port.counts()), (0, [32, 0, 16, 16]));
    port.kernel().rings.program.give_tx(taken[0].0);
    assert!(port.path.try_send(60, |_, _| {}).unwrap());
    assert_eq!((port.word(Word::Slots), port.counts()), (15, [47, 0, 16, 1]));
    port.close();
}

#[test]
fn a_packet_in_several_frames_is_refused_as_a_whole() {
    let mut port = Port::new();
    let (table, words) = port.path.make_table(4);
    port.path.allocate_into(table, 0, 4).unwrap();
    for (place, length) in [CONTINUES | 60, CONTINUES | 61, 62, 63].into_iter().enumerate() {
        set_pair(&words, 2 * place, pair(&words, 2 * place).0, length);
    }
    assert_eq!(port.path.transmit_from(table, 4).unwrap(), (1, 0));
    port.path.flush().unwrap();
    assert_eq!((port.sent(), port.counters().refused_tx, port.counts()), (vec![63], 1, [48, 0, 16, 0]));
    port.close();
}

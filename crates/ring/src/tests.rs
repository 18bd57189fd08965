use std::sync::atomic::Ordering;

use crate::memory::Memory;
use crate::{Control, InvalidRing, Program, RxRing, TxRing};

/// A few steps before the positions wrap, and at where twice a position does.
const STARTS: [u32; 3] = [0, u32::MAX - 5, (u32::MAX >> 1) - 5];

fn rings(slots: u32, start: u32) -> (RxRing, TxRing, Program, Control) {
    let control = Control::anonymous().unwrap();
    let rx = RxRing::new(control.clone(), slots, start, &[]).unwrap();
    let tx = TxRing::new(control.clone(), slots, start).unwrap();
    (rx, tx, Program::new(control.clone(), slots, slots, start), control)
}

#[test]
fn chunks_go_and_come_back_in_their_order_across_the_wrap() {
    for start in STARTS {
        let (mut rx, _, mut program, _) = rings(4, start);
        assert_eq!((rx.take(), rx.is_empty(), rx.is_starved()), (None, true, true));
        assert_eq!(program.deliver(60), None, "zeroed memory gives nothing away");
        for round in 0..8 {
            let chunks = [round * 4, round * 4 + 1, round * 4 + 2, round * 4 + 3];
            assert!(chunks.iter().all(|chunk| rx.post(*chunk)) && !rx.post(99), "four slots");
            assert_eq!((rx.posted(), rx.take(), rx.is_empty(), rx.is_starved()), (4, None, true, false));
            for (n, chunk) in chunks.iter().enumerate() {
                assert_eq!(program.deliver(60 + u32::try_from(n).unwrap()), Some(*chunk));
            }
            assert_eq!(program.deliver(60), None);
            assert!(!rx.is_empty() && rx.is_starved());
            for (n, chunk) in chunks.iter().enumerate() {
                assert_eq!(rx.take(), Some((*chunk, 60 + u32::try_from(n).unwrap())));
            }
            assert_eq!((rx.take(), rx.posted()), (None, 0));
        }
    }
}

#[test]
fn what_several_processors_give_back_comes_in_the_order_of_the_ring() {
    for start in STARTS {
        let (mut rx, mut tx, mut program, _) = rings(8, start);
        (0..3).for_each(|chunk| assert!(rx.post(chunk)));
        let taken: Vec<_> = std::iter::from_fn(|| program.take_rx()).collect();
        assert_eq!(taken.len(), 3);
        program.give_rx(taken[2].0, 62);
        assert!(rx.is_starved() && rx.is_empty() && rx.take().is_none());
        program.give_rx(taken[0].0, 60);
        assert_eq!((rx.take(), rx.take()), (Some((0, 60)), None));
        program.give_rx(taken[1].0, 61);
        assert_eq!((rx.take(), rx.take(), rx.take()), (Some((1, 61)), Some((2, 62)), None));

        (0..3).for_each(|n| assert!(tx.put(n * 2048, 60 + n)));
        let taken: Vec<_> = std::iter::from_fn(|| program.take_tx()).collect();
        assert_eq!(
            taken.iter().map(|(_, address, length)| (*address, *length)).collect::<Vec<_>>(),
            [(0, 60), (2048, 61), (4096, 62)]
        );
        program.give_tx(taken[1].0);
        assert_eq!((tx.complete(), tx.waiting(), tx.first_length()), (None, 3, Some(60)));
        program.give_tx(taken[0].0);
        assert_eq!((tx.complete(), tx.complete(), tx.complete()), (Some(0), Some(2048), None));
        assert_eq!((tx.waiting(), tx.free(), tx.first_length()), (1, 7, Some(62)));
        program.give_tx(taken[2].0);
        assert_eq!((tx.complete(), tx.waiting(), tx.first_length()), (Some(4096), 0, None));
    }
}

#[test]
fn a_full_ring_takes_no_frame_until_one_is_completed() {
    for start in STARTS {
        let (_, mut tx, mut program, _) = rings(4, start);
        for round in 0..5 {
            (0..4).for_each(|n| assert!(tx.put(n, 60)));
            assert!(!tx.put(4, 60) && !tx.is_writable() && tx.free() == 0, "round {round}");
            let (position, ..) = program.take_tx().unwrap();
            assert!(!tx.is_writable(), "taken is not given back");
            program.give_tx(position);
            assert!(tx.is_writable() && !tx.put(4, 60));
            assert_eq!(tx.complete(), Some(0));
            assert!(tx.put(4, 60));
            while let Some((position, ..)) = program.take_tx() {
                program.give_tx(position);
            }
            let rest: Vec<_> = std::iter::from_fn(|| tx.complete()).collect();
            assert_eq!((rest, tx.free()), (vec![1, 2, 3, 4], 4));
        }
    }
}

#[test]
fn hostile_words_give_nothing_back_and_name_no_chunk() {
    for start in STARTS {
        let (mut rx, mut tx, mut program, control) = rings(4, start);
        assert!(rx.post(7) && rx.post(8) && tx.put(4096, 60));
        let slot = start & 3;
        let ([rx_sequence, rx_value], [tx_sequence, tx_address, tx_length]) = (control.rx(slot), control.tx(slot));
        let back = start.wrapping_mul(2).wrapping_add(2);
        let honest = back.wrapping_sub(1);
        for forged in [0, 1, honest, back.wrapping_add(8), back.wrapping_sub(8), back ^ 0x8000_0000, u32::MAX] {
            if forged == back {
                continue;
            }
            rx_sequence.store(forged, Ordering::Relaxed);
            tx_sequence.store(forged, Ordering::Relaxed);
            assert_eq!((rx.take(), rx.posted(), tx.complete(), tx.waiting()), (None, 2, None, 1), "{forged:#x}");
        }
        rx_sequence.store(honest, Ordering::Relaxed);
        rx_value.store(u32::MAX, Ordering::Relaxed);
        tx_address.store(u32::MAX, Ordering::Relaxed);
        tx_length.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(program.deliver(u32::MAX), Some(u32::MAX), "what the program reads there is its own to judge");
        tx_sequence.store(back, Ordering::Relaxed);
        assert_eq!((rx.take(), tx.complete()), (Some((7, u32::MAX)), Some(4096)));
        // A slot of the past that is given back once more.
        rx_sequence.store(back, Ordering::Relaxed);
        assert_eq!((rx.take(), rx.posted()), (None, 1));
    }
}

#[test]
fn what_a_donor_posted_comes_to_the_adopter() {
    for start in STARTS {
        let (mut rx, _, mut program, control) = rings(4, start);
        (10..14).for_each(|chunk| assert!(rx.post(chunk)));
        program.deliver(60);
        program.deliver(61);
        assert_eq!(rx.take(), Some((10, 60)));
        let (posted, position): (Vec<_>, _) = (rx.chunks().collect(), rx.position());
        assert_eq!((posted.as_slice(), position), ([11, 12, 13].as_slice(), start.wrapping_add(1)));
        drop(rx);
        let mut rx = RxRing::new(control, 4, position, &posted).unwrap();
        assert_eq!((rx.take(), rx.take(), rx.posted()), (Some((11, 61)), None, 2));
        assert!(rx.post(14));
        assert_eq!([62, 63, 64].map(|length| program.deliver(length)), [Some(12), Some(13), Some(14)]);
        let rest: Vec<_> = std::iter::from_fn(|| rx.take()).collect();
        assert_eq!(rest, [(12, 62), (13, 63), (14, 64)]);
    }
}

#[test]
fn shapes_that_no_ring_has_are_refused() {
    let control = Control::anonymous().unwrap();
    for slots in [0, 3, 8192, u32::MAX] {
        assert_eq!(RxRing::new(control.clone(), slots, 0, &[]).unwrap_err(), InvalidRing::Slots { slots });
        assert_eq!(TxRing::new(control.clone(), slots, 0).unwrap_err(), InvalidRing::Slots { slots });
    }
    let refused = RxRing::new(control.clone(), 2, 0, &[1, 2, 3]).unwrap_err();
    assert_eq!(refused, InvalidRing::Posted { posted: 3, slots: 2 });
    assert!(RxRing::new(control.clone(), 4096, 0, &[]).is_ok() && TxRing::new(control, 1, 0).is_ok());
}

#[test]
fn one_frame_wakes_a_sleeper_and_the_next_does_not() {
    let (mut rx, _, mut program, _) = rings(4, 0);
    (0..4).for_each(|chunk| assert!(rx.post(chunk)));
    program.deliver(60);
    assert!(!program.wake(), "nobody sleeps");
    rx.arm();
    assert!(!rx.is_empty(), "the look after arming");
    program.deliver(61);
    assert!(program.wake());
    program.deliver(62);
    assert!(!program.wake());
    rx.arm();
    rx.disarm();
    program.deliver(63);
    assert!(!program.wake());
}

#[test]
fn a_thread_that_plays_the_program_gives_back_all_in_order() {
    let (mut rx, mut tx, mut program, _) = rings(8, u32::MAX - 5);
    let frames = 20_000;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut delivered, mut sent) = (0, 0);
            while delivered < frames || sent < frames {
                if delivered < frames && program.deliver(delivered).is_some() {
                    delivered += 1;
                } else if let Some((position, address, length)) = program.take_tx() {
                    assert_eq!((address, length), (sent, sent ^ 1));
                    program.give_tx(position);
                    sent += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let (mut posted, mut received, mut put, mut completed) = (0, 0, 0, 0);
        while received < frames || completed < frames {
            posted += u32::from(posted < frames && rx.post(posted));
            put += u32::from(put < frames && tx.put(put, put ^ 1));
            let (before, done) = (received, completed);
            while let Some(frame) = rx.take() {
                assert_eq!(frame, (received, received));
                received += 1;
            }
            while let Some(address) = tx.complete() {
                assert_eq!(address, completed);
                completed += 1;
            }
            if (before, done) == (received, completed) {
                std::thread::yield_now();
            }
        }
    });
}

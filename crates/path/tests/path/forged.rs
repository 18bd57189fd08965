//! Whatever stands in the rings of the kernel: it is refused and counted, and no chunk is lost or has two owners.

use xsknet_path::PathError;
use xsknet_xsk::ring::{Descriptor, RingName};

use super::plain::{CHUNK, FRAMES, Port, impossible};

const RINGS: [RingName; 4] = [RingName::Rx, RingName::Tx, RingName::Fill, RingName::Completion];

#[test]
fn what_rx_holds_and_was_not_lent_is_no_frame() {
    let mut port = Port::new();
    let chunks = port.kernel().rings.take_fill(2);
    let entry = |address: u64, len| Descriptor { address, len, options: 0 };
    let forged = [
        entry(chunks[0] + 256, 60),
        entry(chunks[0] + 256, 60),                             // twice
        entry(u64::from(FRAMES * CHUNK), 60),                   // behind the UMEM
        entry(u64::MAX, 60),                                    // far behind it
        entry(chunks[1] + 256, CHUNK - 255),                    // longer than its chunk
        Descriptor { address: chunks[1], len: 60, options: 1 }, // goes on, which no packet here does
    ];
    assert_eq!(port.kernel().rings.forge_rx(&forged), 6);
    assert_eq!(port.path.receive(8).unwrap(), 1);
    assert_eq!((port.counters().refused_rx.total(), port.counters().received), (5, 1));
    port.path.finish().unwrap();
    assert_eq!(port.counts()[1], 0);
}

#[test]
fn what_completion_holds_and_was_not_sent_frees_nothing() {
    let mut port = Port::new();
    port.path.allocate(1).unwrap();
    let lent = u64::from(port.place(0).0);
    let before = port.counts();
    assert_eq!(port.kernel().rings.forge_completion(&[lent, lent, u64::MAX, u64::from(FRAMES * CHUNK), 1 << 32]), 5);
    port.path.settle().unwrap();
    assert_eq!((port.counts(), port.counters().refused_completions.total()), (before, 5));
}

#[test]
fn indices_that_cannot_be_are_reported_and_nothing_moves() {
    for ring in RINGS {
        let mut port = Port::new();
        port.kernel().deliver(&[60, 61]);
        assert!(port.path.try_send(60, |_, _| {}).unwrap());
        let before = port.counts();
        let honest = port.kernel().rings.forge_index(ring, 0);
        for forged in impossible(honest) {
            port.kernel().rings.forge_index(ring, forged);
            let broken = match ring {
                RingName::Rx => port.path.receive(u32::MAX).unwrap_err(),
                RingName::Completion => port.path.settle().unwrap_err(),
                RingName::Tx => match port.path.flush() {
                    Err(error) => error,
                    Ok(()) => panic!("{forged} went unnoticed"),
                },
                RingName::Fill => match port.path.finish() {
                    // FILL is looked at only where reception lacks a chunk.
                    Ok(()) => {
                        port.kernel().rings.forge_index(ring, honest);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            let PathError::Ring(broken) = broken else {
                assert!(broken.to_string().contains(&format!("{ring} ring")), "{ring}: {broken}");
                assert_eq!(port.counts(), before);
                continue;
            };
            assert_eq!((broken.ring, port.counts()), (ring, before));
        }
        port.kernel().rings.forge_index(ring, honest);
        assert!(port.path.is_readable());
        port.path.finish().unwrap();
        port.path.receive(8).unwrap();
        port.close();
    }
}

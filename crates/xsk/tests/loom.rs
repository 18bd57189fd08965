//! Every interleaving of a producer and a consumer on a small ring, under a model of the memory's weak ordering. The entries are plain
//! cells: the model fails if an entry is read while it may still be written, which is what the letters (A) to (D) forbid.

use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;
use xsknet_xsk::RingName;
use xsknet_xsk::ring::{Address, Consumer, Descriptor, Producer, RingMemory, Word};

struct LoomWord(AtomicU32);

impl Word for LoomWord {
    fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.0.store(value, order);
    }
}

struct LoomRing<E> {
    producer: LoomWord,
    consumer: LoomWord,
    slots: Vec<UnsafeCell<E>>,
}

/// One end of a ring.
struct End<E>(Arc<LoomRing<E>>);

// SAFETY: the cells are what the model watches; it fails on an access that the ring's protocol does not order.
unsafe impl<E> Send for LoomRing<E> {}
// SAFETY: as above.
unsafe impl<E> Sync for LoomRing<E> {}

impl<E: Copy> RingMemory for End<E> {
    type Word = LoomWord;
    type Entry = E;

    fn size(&self) -> u32 {
        u32::try_from(self.0.slots.len()).unwrap()
    }

    fn producer(&self) -> &LoomWord {
        &self.0.producer
    }

    fn consumer(&self) -> &LoomWord {
        &self.0.consumer
    }

    fn flags(&self) -> u32 {
        0
    }

    fn read(&self, slot: u32) -> E {
        // SAFETY: the model has the pointer checked for the length of the call.
        self.0.slots[slot as usize].with(|entry| unsafe { *entry })
    }

    fn write(&self, slot: u32, entry: E) {
        // SAFETY: as above.
        self.0.slots[slot as usize].with_mut(|place| unsafe { *place = entry });
    }
}

/// Sends three entries through two slots, across the wrap of the indices, and expects them complete and in order.
fn three_through_two<E>(name: RingName, entry: fn(u32) -> E)
where
    E: Copy + PartialEq + std::fmt::Debug + 'static,
{
    loom::model(move || {
        let start = u32::MAX - 1;
        let ring = Arc::new(LoomRing {
            producer: LoomWord(AtomicU32::new(start)),
            consumer: LoomWord(AtomicU32::new(start)),
            slots: (0..2).map(|_| UnsafeCell::new(entry(0))).collect(),
        });
        let mut producer = Producer::open(name, End(ring.clone())).unwrap();
        let mut consumer = Consumer::open(name, End(ring)).unwrap();

        let writer = thread::spawn(move || {
            let mut sent = 0;
            while sent < 3 {
                let mut slots = producer.reserve(3 - sent).unwrap();
                let mut next = sent;
                while slots.slots() > 0 {
                    next += 1;
                    assert!(slots.write(entry(next)));
                }
                sent += slots.commit();
                if sent < 3 {
                    thread::yield_now();
                }
            }
        });
        let mut seen = 0;
        while seen < 3 {
            for got in consumer.take(3).unwrap() {
                seen += 1;
                assert_eq!(got, entry(seen));
            }
            if seen < 3 {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn addresses_pass_in_order() {
    three_through_two(RingName::Fill, |n| Address(u64::from(n)));
}

#[test]
fn descriptors_pass_in_order() {
    three_through_two(RingName::Tx, |n| Descriptor { address: u64::from(n), len: n, options: !n });
}

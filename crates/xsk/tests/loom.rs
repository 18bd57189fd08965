//! Every interleaving of a producer and a consumer on a small ring, under a model of the memory's weak ordering. The
//! entries are plain cells: the model fails if an entry is read while it may still be written, which is what the
//! letters (A) to (D) forbid. And each letter is needed: without it, the model does fail.

use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, fence};
use loom::thread;
use xsknet_xsk::RingName;
use xsknet_xsk::ring::{Address, Consumer, Descriptor, Producer, RingMemory, Word};

/// What is left out of a model, to see that it fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The producer's acquire of the consumer's index.
    A,
    /// The producer's release of its own.
    B,
    /// The consumer's acquire of the producer's index.
    C,
    /// The consumer's release of its own.
    D,
    /// The producer's fence before it looks whether the kernel sleeps.
    E,
}

struct LoomWord {
    word: AtomicU32,
    load_relaxed: bool,
    store_relaxed: bool,
}

impl Word for LoomWord {
    fn load(&self, order: Ordering) -> u32 {
        self.word.load(if self.load_relaxed { Ordering::Relaxed } else { order })
    }

    fn store(&self, value: u32, order: Ordering) {
        self.word.store(value, if self.store_relaxed { Ordering::Relaxed } else { order });
    }
}

struct LoomRing<E> {
    producer: LoomWord,
    consumer: LoomWord,
    flags: AtomicU32,
    slots: Vec<UnsafeCell<E>>,
    without: Without,
}

/// One end of a ring.
struct End<E>(Arc<LoomRing<E>>);

// SAFETY: the cells are what the model watches; it fails on an access that the ring's protocol does not order.
unsafe impl<E> Send for LoomRing<E> {}
// SAFETY: as above.
unsafe impl<E> Sync for LoomRing<E> {}

impl<E: Copy> LoomRing<E> {
    /// Two slots, with the indices just before their wrap.
    fn of_two(entry: E, without: Without) -> Arc<Self> {
        let word = |load, store| LoomWord {
            word: AtomicU32::new(u32::MAX - 1),
            load_relaxed: without == load,
            store_relaxed: without == store,
        };
        Arc::new(Self {
            producer: word(Without::C, Without::B),
            consumer: word(Without::A, Without::D),
            flags: AtomicU32::new(0),
            slots: (0..2).map(|_| UnsafeCell::new(entry)).collect(),
            without,
        })
    }
}

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
        self.0.flags.load(Ordering::Relaxed)
    }

    fn fence(&self) {
        if self.0.without != Without::E {
            fence(Ordering::SeqCst);
        }
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

trait Numbered: Copy + PartialEq + std::fmt::Debug + 'static {
    fn number(n: u32) -> Self;
}

impl Numbered for Address {
    fn number(n: u32) -> Self {
        Self(u64::from(n))
    }
}

impl Numbered for Descriptor {
    fn number(n: u32) -> Self {
        Self { address: u64::from(n), len: n, options: !n }
    }
}

/// Sends three entries through two slots, across the wrap of the indices, in batches as large as fit, and expects them
/// complete and in order. Which end is ours and which the kernel's makes no difference: both keep the letters.
fn three_through_two<E: Numbered>(name: RingName, without: Without) {
    loom::model(move || {
        let ring = LoomRing::of_two(E::number(0), without);
        let mut producer = Producer::open(name, End(ring.clone())).unwrap();
        let mut consumer = Consumer::open(name, End(ring)).unwrap();
        let writer = thread::spawn(move || {
            let mut sent = 0;
            while sent < 3 {
                let mut slots = producer.reserve(3 - sent).unwrap();
                let mut next = sent;
                while slots.slots() > 0 {
                    next += 1;
                    assert!(slots.write(E::number(next)));
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
                assert_eq!(got, E::number(seen));
            }
            if seen < 3 {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
    });
}

#[test]
fn fill_passes_in_order() {
    three_through_two::<Address>(RingName::Fill, Without::Nothing);
}

#[test]
fn completion_passes_in_order() {
    three_through_two::<Address>(RingName::Completion, Without::Nothing);
}

#[test]
fn tx_passes_in_order() {
    three_through_two::<Descriptor>(RingName::Tx, Without::Nothing);
}

#[test]
fn rx_passes_in_order() {
    three_through_two::<Descriptor>(RingName::Rx, Without::Nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_a_the_producer_overwrites_what_is_being_read() {
    three_through_two::<Descriptor>(RingName::Tx, Without::A);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_b_the_consumer_reads_what_is_being_written() {
    three_through_two::<Descriptor>(RingName::Tx, Without::B);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_c_the_consumer_reads_what_is_being_written() {
    three_through_two::<Descriptor>(RingName::Rx, Without::C);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_d_the_producer_overwrites_what_is_being_read() {
    three_through_two::<Descriptor>(RingName::Rx, Without::D);
}

/// A reservation that is dropped, and what is truncated, was never there; a committed one comes whole.
#[test]
fn what_is_not_committed_is_never_seen() {
    loom::model(|| {
        let ring = LoomRing::of_two(Address::number(0), Without::Nothing);
        let mut producer = Producer::open(RingName::Fill, End(ring.clone())).unwrap();
        let mut consumer = Consumer::open(RingName::Fill, End(ring)).unwrap();
        let writer = thread::spawn(move || {
            let mut cancelled = producer.reserve(2).unwrap();
            assert!(cancelled.write(Address::number(77)) && cancelled.write(Address::number(78)));
            drop(cancelled);
            let mut batch = producer.reserve(2).unwrap();
            assert!(batch.write(Address::number(1)) && batch.write(Address::number(79)));
            batch.truncate(1);
            assert!(batch.write(Address::number(2)));
            assert!(!batch.write(Address::number(80)), "two slots");
            assert_eq!(batch.commit(), 2);
        });
        loop {
            let seen: Vec<_> = consumer.take(2).unwrap().collect();
            match seen.as_slice() {
                [] => thread::yield_now(),
                both => {
                    break assert_eq!(both, [Address::number(1), Address::number(2)], "all of a batch or none of it");
                }
            }
        }
        writer.join().unwrap();
    });
}

/// What a consumer puts back is not given back: it comes again, and nobody has overwritten it.
#[test]
fn what_is_put_back_comes_again_unchanged() {
    loom::model(|| {
        let ring = LoomRing::of_two(Descriptor::number(0), Without::Nothing);
        let mut producer = Producer::open(RingName::Rx, End(ring.clone())).unwrap();
        let mut consumer = Consumer::open(RingName::Rx, End(ring)).unwrap();
        let writer = thread::spawn(move || {
            let mut sent = 0;
            while sent < 3 {
                let mut slots = producer.reserve(3 - sent).unwrap();
                let mut next = sent;
                while slots.slots() > 0 {
                    next += 1;
                    assert!(slots.write(Descriptor::number(next)));
                }
                sent += slots.commit();
                if sent < 3 {
                    thread::yield_now();
                }
            }
        });
        let mut seen = 0;
        while seen < 3 {
            let mut taking = consumer.take(2).unwrap();
            let first = taking.next();
            if first.is_some() {
                // One that is not understood without the next, as of a packet in several frames.
                taking.put_back(1);
            }
            drop(taking);
            let again = consumer.take(1).unwrap().next();
            match first {
                Some(first) => {
                    seen += 1;
                    assert_eq!((first, again), (Descriptor::number(seen), Some(Descriptor::number(seen))));
                }
                None => {
                    if let Some(again) = again {
                        seen += 1;
                        assert_eq!(again, Descriptor::number(seen));
                    }
                    thread::yield_now();
                }
            }
        }
        writer.join().unwrap();
    });
}

const NEED_WAKEUP: u32 = 1;

/// One entry, and a kernel that goes to sleep: as a driver does, it says so, then looks at the ring once more. The
/// entry is seen by it, or the producer sees that a system call is due.
fn an_entry_meets_a_kernel_going_to_sleep(without: Without) {
    loom::model(move || {
        let ring = LoomRing::of_two(Descriptor::number(0), without);
        let mut producer = Producer::open(RingName::Tx, End(ring.clone())).unwrap();
        let kernel = thread::spawn(move || {
            let mut consumer = Consumer::open(RingName::Tx, End(ring.clone())).unwrap();
            ring.flags.store(NEED_WAKEUP, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            consumer.take(1).unwrap().count()
        });
        let mut slots = producer.reserve(1).unwrap();
        assert!(slots.write(Descriptor::number(1)));
        assert_eq!(slots.commit(), 1);
        let kicks = producer.needs_wakeup();
        let taken = kernel.join().unwrap();
        assert!(taken == 1 || kicks, "the entry waits, and nobody wakes the kernel");
    });
}

#[test]
fn no_wake_up_is_lost() {
    an_entry_meets_a_kernel_going_to_sleep(Without::Nothing);
}

#[test]
#[should_panic(expected = "nobody wakes the kernel")]
fn without_e_a_wake_up_is_lost() {
    an_entry_meets_a_kernel_going_to_sleep(Without::E);
}

//! Every interleaving of a client and a program on small rings, under a model of the memory's weak ordering. The bytes
//! of a chunk are a plain cell: the model fails if one side has them while the other may still write. And each letter
//! of the protocol is needed: without it, the model does fail.

use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, fence};
use loom::thread;
use xsknet_ring::{Memory, RxRing, TxRing, Word};

/// What is left out of a model, to see that it fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// The client's release of a slot.
    A,
    /// The program's.
    B,
    /// The client's acquire.
    C,
    /// The client's fence before it looks once more.
    D,
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

struct Shared {
    asleep: LoomWord,
    /// Two slots of three words, for either ring.
    slots: [[LoomWord; 3]; 2],
    chunks: [UnsafeCell<u32>; 2],
    without: Without,
}

// SAFETY: the cells are what the model watches; it fails on an access that the protocol does not order.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Where the positions begin: they wrap, and so do the sequences.
const START: u32 = u32::MAX - 1;

impl Shared {
    fn new(without: Without) -> Arc<Self> {
        let word = || LoomWord {
            word: AtomicU32::new(77), // no sequence of these positions
            load_relaxed: without == Without::C,
            store_relaxed: without == Without::A,
        };
        let asleep = LoomWord { word: AtomicU32::new(0), load_relaxed: false, store_relaxed: false };
        let slots = [[word(), word(), word()], [word(), word(), word()]];
        Arc::new(Self { asleep, slots, chunks: [UnsafeCell::new(0), UnsafeCell::new(0)], without })
    }

    fn read(&self, chunk: u32) -> u32 {
        // SAFETY: the model has the pointer checked for the length of the call.
        self.chunks[chunk as usize].with(|bytes| unsafe { *bytes })
    }

    fn write(&self, chunk: u32, value: u32) {
        // SAFETY: as above.
        self.chunks[chunk as usize].with_mut(|bytes| unsafe { *bytes = value });
    }

    // The program

    /// The words of the slot of a position, once the client has given it away.
    fn taken(&self, position: u32) -> Option<[u32; 2]> {
        let [sequence, first, second] = &self.slots[(position & 1) as usize];
        let given = sequence.word.load(Ordering::Acquire) == position.wrapping_mul(2).wrapping_add(1);
        given.then(|| [first, second].map(|word| word.word.load(Ordering::Relaxed)))
    }

    fn give_back(&self, position: u32) {
        let order = if self.without == Without::B { Ordering::Relaxed } else { Ordering::AcqRel };
        self.slots[(position & 1) as usize][0].word.swap(position.wrapping_mul(2).wrapping_add(2), order);
    }
}

struct End(Arc<Shared>);

impl Memory for End {
    type Word = LoomWord;

    fn asleep(&self) -> &LoomWord {
        &self.0.asleep
    }

    fn rx(&self, slot: u32) -> [&LoomWord; 2] {
        let [sequence, value, _] = &self.0.slots[slot as usize];
        [sequence, value]
    }

    fn tx(&self, slot: u32) -> [&LoomWord; 3] {
        let [sequence, address, length] = &self.0.slots[slot as usize];
        [sequence, address, length]
    }

    fn fence(&self) {
        if self.0.without != Without::D {
            fence(Ordering::SeqCst);
        }
    }
}

/// Three frames through two chunks, across the wrap: complete and in order.
fn three_frames_are_received(without: Without) {
    loom::model(move || {
        let shared = Shared::new(without);
        let mut ring = RxRing::new(End(shared.clone()), 2, START, &[]).unwrap();
        shared.write(0, 70);
        assert!(ring.post(0) && ring.post(1) && !ring.post(0));
        let program = thread::spawn({
            let shared = shared.clone();
            move || {
                for n in 0..3 {
                    let position = START.wrapping_add(n);
                    let [chunk, _] = loop {
                        match shared.taken(position) {
                            Some(words) => break words,
                            None => thread::yield_now(),
                        }
                    };
                    shared.write(chunk, 100 + n);
                    shared.slots[(position & 1) as usize][1].word.store(60 + n, Ordering::Relaxed);
                    shared.give_back(position);
                }
            }
        });
        let mut received = 0;
        while received < 3 {
            let Some((chunk, length)) = ring.take() else {
                thread::yield_now();
                continue;
            };
            assert_eq!((length, shared.read(chunk)), (60 + received, 100 + received));
            received += 1;
            if received == 1 {
                shared.write(chunk, 0); // the client's own, until it is posted again
                assert!(ring.post(chunk));
            }
        }
        program.join().unwrap();
    });
}

#[test]
fn every_frame_is_received_whole() {
    three_frames_are_received(Without::Nothing);
}

#[test]
#[should_panic]
fn receiving_needs_the_release_of_what_is_posted() {
    three_frames_are_received(Without::A);
}

#[test]
#[should_panic]
fn receiving_needs_the_release_of_what_is_given_back() {
    three_frames_are_received(Without::B);
}

#[test]
#[should_panic]
fn receiving_needs_the_acquire_of_what_is_given_back() {
    three_frames_are_received(Without::C);
}

/// Three frames are sent out of two chunks: each as it was written, and overwritten only after that.
fn three_frames_are_sent(without: Without) {
    loom::model(move || {
        let shared = Shared::new(without);
        let mut ring = TxRing::new(End(shared.clone()), 2, START).unwrap();
        let program = thread::spawn({
            let shared = shared.clone();
            move || {
                for n in 0..3 {
                    let position = START.wrapping_add(n);
                    let [address, length] = loop {
                        match shared.taken(position) {
                            Some(words) => break words,
                            None => thread::yield_now(),
                        }
                    };
                    assert_eq!((length, shared.read(address)), (60 + n, 100 + n));
                    shared.give_back(position);
                }
            }
        });
        let (mut free, mut sent, mut completed) = (vec![0, 1], 0, 0);
        while completed < 3 {
            if sent < 3
                && let Some(chunk) = free.pop()
            {
                shared.write(chunk, 100 + sent);
                assert!(ring.put(chunk, 60 + sent));
                sent += 1;
            } else if let Some(chunk) = ring.complete() {
                free.push(chunk);
                completed += 1;
            } else {
                thread::yield_now();
            }
        }
        program.join().unwrap();
    });
}

#[test]
fn every_frame_is_sent_whole() {
    three_frames_are_sent(Without::Nothing);
}

#[test]
#[should_panic]
fn sending_needs_the_release_of_what_is_put() {
    three_frames_are_sent(Without::A);
}

#[test]
#[should_panic]
fn sending_needs_the_release_of_what_is_given_back() {
    three_frames_are_sent(Without::B);
}

#[test]
#[should_panic]
fn sending_needs_the_acquire_of_what_is_given_back() {
    three_frames_are_sent(Without::C);
}

/// A frame that arrives while the client goes to sleep: the client sees it, or the program rings.
fn a_frame_meets_a_client_going_to_sleep(without: Without) {
    loom::model(move || {
        let shared = Shared::new(without);
        let mut ring = RxRing::new(End(shared.clone()), 2, START, &[]).unwrap();
        assert!(ring.post(0));
        let program = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.give_back(START);
                fence(Ordering::SeqCst); // the kernel's exchange orders like one
                shared.asleep.word.load(Ordering::Relaxed) == 1 && shared.asleep.word.swap(0, Ordering::AcqRel) == 1
            }
        });
        ring.arm();
        let seen = !ring.is_empty();
        let rang = program.join().unwrap();
        assert!(seen || rang, "the client sleeps, and nobody wakes it");
    });
}

#[test]
fn no_frame_meets_a_sleeping_client() {
    a_frame_meets_a_client_going_to_sleep(Without::Nothing);
}

#[test]
#[should_panic(expected = "nobody wakes it")]
fn going_to_sleep_needs_the_fence() {
    a_frame_meets_a_client_going_to_sleep(Without::D);
}

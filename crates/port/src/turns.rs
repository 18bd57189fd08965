//! Who may keep the kernel's lock of all network devices (RTNL) busy.
//!
//! Deleting a pair holds that lock for some 40 ms, waits for all CPUs included. A client that dies with many ports would have
//! everybody wait who opens one meanwhile. What is to be deleted can wait: nothing is steered to it and its guard lets nothing out. So
//! pairs go one by one, and openings go first.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A deletion waits no longer for openings, of which there may always be some.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    openings: usize,
    deleting: bool,
}

/// A port is being opened.
#[derive(Debug)]
pub(crate) struct Opening<'a>(&'a Turns);

/// A pair is being deleted.
#[derive(Debug)]
pub(crate) struct Deletion<'a>(&'a Turns);

impl Turns {
    /// Waits for the pair that is just being deleted, if there is one.
    pub(crate) fn open(&self) -> Opening<'_> {
        let mut state = self.lock();
        state.openings += 1;
        drop(self.changed.wait_while(state, |state| state.deleting).unwrap_or_else(PoisonError::into_inner));
        Opening(self)
    }

    /// Waits for the ports that are being opened, for a while, and for the pair that is being deleted.
    pub(crate) fn delete(&self) -> Deletion<'_> {
        let end = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while state.deleting || state.openings > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() && !state.deleting {
                break;
            }
            let wait = if left.is_zero() { PATIENCE } else { left };
            (state, _) = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
        }
        state.deleting = true;
        Deletion(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.lock().openings -= 1;
        self.0.changed.notify_all();
    }
}

impl Drop for Deletion<'_> {
    fn drop(&mut self) {
        self.0.lock().deleting = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_pair_is_deleted_at_a_time_and_after_those_who_open() {
        let (turns, deleted) = (Turns::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let opening = turns.open();
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = turns.delete();
                    deleted.fetch_add(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
            // Nobody who opens waits for another one who does.
            drop(turns.open());
            assert_eq!(deleted.load(Ordering::SeqCst), 0);
            drop(opening);
        });
        assert_eq!(deleted.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn openings_without_an_end_keep_nothing_from_being_deleted() {
        let turns = Turns::default();
        let opening = turns.open();
        let began = Instant::now();
        drop(turns.delete());
        assert!(began.elapsed() >= PATIENCE);
        drop(opening);
    }
}

//! Limits how much opening and closing ports keeps the kernel's lock of all network devices (RTNL) busy.
//!
//! Opening a port holds that lock for 15 to 30 ms (attaching a program waits for all CPUs), and deleting a pair for
//! some 40; side by side they take as long as one after the other. A user that opens or closes many ports at once
//! would make everybody wait. So the ports of one user are opened one by one, but for root's, and pairs are deleted one
//! by one, when nobody opens a port: what is to be deleted can wait, since nothing is steered to it and its guard lets
//! nothing out.
//!
//! Users take turns: during the opening of another user's port, a user opens at most one. Otherwise each step of that
//! opening would wait for a step of a user who opens port after port, and it would take as long as all of theirs
//! together.
//!
//! Each opening asks the neighbours and tells them, in frames of the NIC's own that no guard sees. A user that
//! opens and closes ports without end would send many more broadcasts than its ports may. So openings of a user wait
//! once they have sent too much.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::ids::ROOT;

/// A deletion waits no longer for openings, of which there may always be some.
const PATIENCE: Duration = Duration::from_millis(250);

/// Frames a second that openings of a user may send at least, whatever its ports may: else none could be opened.
const LEAST_A_SECOND: u32 = 100;
/// What a user's openings may send at once.
const AT_ONCE: u32 = 256;
/// Users that are remembered before those that owe nothing are forgotten.
const FEW_USERS: usize = 64;

/// What an opening says to the neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NeighbourTraffic {
    /// Frames, questions and announcements.
    pub(crate) frames: u32,
    /// The broadcasts a second that the port may send; `None`: as many as it likes.
    pub(crate) rate: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Admission {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Those that wait for others or for a deletion included.
    openings: usize,
    /// Users other than root that open a port.
    users: BTreeSet<u32>,
    /// What is being opened, by the order of admission, and whose it is.
    admitted: BTreeMap<u64, u32>,
    next: u64,
    /// The openings before this one were admitted before the end of the user's last opening: those of them that are
    /// still under way have had this user beside them.
    ended: BTreeMap<u32, u64>,
    deleting: bool,
    /// Until when what a user's openings have said is paid for.
    said: BTreeMap<u32, Instant>,
}

impl State {
    /// Counts what an opening says, and returns how long it has to wait before.
    fn say(&mut self, owner: u32, NeighbourTraffic { frames, rate }: NeighbourTraffic, now: Instant) -> Duration {
        let Some(rate) = rate.map(|rate| rate.max(LEAST_A_SECOND)) else { return Duration::ZERO };
        if self.said.len() >= FEW_USERS {
            self.said.retain(|_, until| *until > now);
        }
        let frame = Duration::from_secs(1) / rate;
        let until = self.said.entry(owner).or_insert(now);
        let wait = until.saturating_duration_since(now).saturating_sub(frame * AT_ONCE);
        *until = (*until).max(now) + frame * frames;
        wait
    }

    /// Whether another user's opening is under way that has had one of this user beside it.
    fn has_had_its_turn(&self, owner: u32) -> bool {
        let ended = self.ended.get(&owner).copied().unwrap_or(0);
        self.admitted.range(..ended).any(|(_, other)| *other != owner)
    }

    fn admit(&mut self, owner: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        self.admitted.insert(number, owner);
        number
    }

    fn end(&mut self, number: u64) {
        let Some(owner) = self.admitted.remove(&number) else { return };
        self.openings -= 1;
        self.users.remove(&owner);
        self.ended.insert(owner, self.next);
        // Only an opening that is under way gives a reason to wait.
        let oldest = self.admitted.first_key_value().map_or(u64::MAX, |(number, _)| *number);
        self.ended.retain(|_, ended| *ended > oldest);
    }
}

/// A port is being opened.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    admission: &'a Admission,
    number: u64,
}

/// A pair is being deleted.
#[derive(Debug)]
pub(crate) struct Deletion<'a>(&'a Admission);

impl Admission {
    /// Waits for another port of the same user that is being opened, until what its openings said before is paid for,
    /// for those of other users that have had one of this user beside them, and for the pair that is being deleted.
    pub(crate) fn open(&self, owner: u32, said: NeighbourTraffic) -> Opening<'_> {
        let wait = |state, until: &dyn Fn(&State) -> bool| {
            self.changed.wait_while(state, |state| !until(state)).unwrap_or_else(PoisonError::into_inner)
        };
        let mut state = self.lock();
        if owner != ROOT {
            state = wait(state, &|state| !state.users.contains(&owner));
            state.users.insert(owner);
            let pause = state.say(owner, said, Instant::now());
            if !pause.is_zero() {
                drop(state);
                thread::sleep(pause);
                state = self.lock();
            }
        }
        state.openings += 1;
        let mut state = wait(state, &|state| !state.deleting && (owner == ROOT || !state.has_had_its_turn(owner)));
        let number = state.admit(owner);
        Opening { admission: self, number }
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
        self.admission.lock().end(self.number);
        self.admission.changed.notify_all();
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

    const NOTHING: NeighbourTraffic = NeighbourTraffic { frames: 0, rate: Some(0) };

    #[test]
    fn one_pair_is_deleted_at_a_time_and_after_those_who_open() {
        let (admission, deleted) = (Admission::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let opening = admission.open(1000, NOTHING);
            for _ in 0..4 {
                scope.spawn(|| {
                    let turn = admission.delete();
                    deleted.fetch_add(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
            // Nobody waits for another user who opens one.
            drop(admission.open(1001, NOTHING));
            assert_eq!(deleted.load(Ordering::SeqCst), 0);
            drop(opening);
        });
        assert_eq!(deleted.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn the_ports_of_a_user_are_opened_one_by_one_and_roots_side_by_side() {
        let (admission, open, most) = (Admission::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let turn = admission.open(1000, NOTHING);
                        most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        open.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        let roots = [admission.open(ROOT, NOTHING), admission.open(ROOT, NOTHING)];
        drop(roots);
    }

    #[test]
    fn during_the_opening_of_another_user_a_user_opens_one_port() {
        let admission = Admission::default();
        let other = admission.open(1001, NOTHING);
        let beside = admission.open(1000, NOTHING);
        drop(beside);
        let waits = |owner: u32| admission.lock().has_had_its_turn(owner);
        assert!(waits(1000));
        assert!(!waits(1002), "it has had none yet");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| drop(admission.open(1000, NOTHING)));
            // Root waits for nobody.
            drop(admission.open(ROOT, NOTHING));
            drop(admission.open(ROOT, NOTHING));
            assert!(!second.is_finished());
            drop(other);
            second.join().unwrap();
        });
        // One that began later has had nobody beside it.
        let later = admission.open(1001, NOTHING);
        assert!(!waits(1000));
        drop(later);
        let state = admission.lock();
        assert_eq!((state.openings, state.admitted.len(), state.ended.len()), (0, 0, 0));
    }

    #[test]
    fn who_has_said_too_much_waits_and_nobody_else_does() {
        let (mut state, now) = (State::default(), Instant::now());
        let many = |rate| NeighbourTraffic { frames: 124, rate };
        let waits = [(); 4].map(|()| state.say(1000, many(Some(1)), now));
        assert_eq!(waits[..2], [Duration::ZERO; 2]);
        let hundredths = |frames: u32| Duration::from_millis(10) * frames;
        assert_eq!(waits[2..], [Duration::ZERO, hundredths(3 * 124 - 256)], "a hundred a second");
        assert_eq!(state.say(1001, many(Some(1)), now), Duration::ZERO);
        assert_eq!(state.say(1002, many(Some(1000)), now), Duration::ZERO);
        assert_eq!(state.say(1000, many(None), now), Duration::ZERO, "one who may send what it likes");
        assert_eq!(state.say(1000, many(Some(1)), now + Duration::from_secs(10)), Duration::ZERO);
    }

    #[test]
    fn users_who_owe_nothing_are_forgotten() {
        let (mut state, mut now) = (State::default(), Instant::now());
        for user in 1..10_000 {
            now += Duration::from_secs(1);
            state.say(user, NeighbourTraffic { frames: 1, rate: Some(1000) }, now);
        }
        assert!(state.said.len() <= FEW_USERS, "{}", state.said.len());
    }

    #[test]
    fn openings_without_an_end_keep_nothing_from_being_deleted() {
        let admission = Admission::default();
        let opening = admission.open(0, NOTHING);
        let began = Instant::now();
        drop(admission.delete());
        assert!(began.elapsed() >= PATIENCE);
        drop(opening);
    }
}

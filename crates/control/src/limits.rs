//! What a client may cost. Time comes in as an argument, so that nothing here waits.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Connections that one user may make: so many a second, after as many at once. Each costs the daemon a message or two, and
/// no other limit would count those of a client that connects and leaves again.
const CONNECTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(500).unwrap();
const ROOT: u32 = 0;

/// The bounds that a [`Listener`](crate::Listener) keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all users together. Root may always connect, else others could lock the administrator out.
    pub connections: NonZeroU32,
    /// Connections of one user.
    pub connections_per_user: NonZeroU32,
    /// Messages a second that are read from one connection in the long run; more wait in its socket.
    pub messages_per_second: NonZeroU32,
    /// Messages that are read at once from a connection that was quiet before.
    pub burst: NonZeroU32,
    /// Messages of one connection that were delivered and are not yet done with; no more are read until one is.
    pub in_flight: NonZeroU32,
    /// Messages that wait for a peer to read them; one more and the connection is cut off.
    pub queued_messages: NonZeroU32,
    /// Bytes of these messages, likewise.
    pub queued_bytes: NonZeroU32,
}

/// A bucket of tokens that fills at a steady rate: each taker takes one.
///
/// Kept as the one instant until which the tokens taken would have to be waited for, were there no burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    refill: Duration,
    slack: Duration,
    paid_until: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32, now: Instant) -> Self {
        let refill = Duration::from_secs(1) / per_second.get();
        Self { refill, slack: refill * (burst.get() - 1), paid_until: now }
    }

    /// When there is a token: `now`, or later.
    pub fn due(&self, now: Instant) -> Instant {
        now + self.paid_until.saturating_duration_since(now).saturating_sub(self.slack)
    }

    /// Takes a token, owing it if there is none.
    pub fn take(&mut self, now: Instant) {
        self.paid_until = self.paid_until.max(now) + self.refill;
    }

    fn is_full(&self, now: Instant) -> bool {
        self.paid_until <= now
    }
}

/// Counts up to a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    used: u32,
    most: u32,
}

impl Quota {
    pub fn new(most: NonZeroU32) -> Self {
        Self { used: 0, most: most.get() }
    }

    pub fn has(&self, amount: usize) -> bool {
        usize::try_from(self.most - self.used).is_ok_and(|left| amount <= left)
    }

    /// Takes `amount`, which it must have.
    pub fn take(&mut self, amount: usize) {
        debug_assert!(self.has(amount), "asked for first");
        self.used += u32::try_from(amount).unwrap_or(u32::MAX).min(self.most - self.used);
    }

    /// Takes back at most what was taken.
    pub fn give_back(&mut self, amount: usize) {
        self.used -= u32::try_from(amount).unwrap_or(u32::MAX).min(self.used);
    }
}

/// Who is connected: the bounds on connections, without the connections.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: NonZeroU32,
    per_user: NonZeroU32,
    total: u32,
    users: HashMap<u32, User>,
}

#[derive(Debug)]
struct User {
    connections: u32,
    connects: Bucket,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All places are taken.
    Full,
    /// All places of this user are taken.
    UserFull,
    /// The user connects too often.
    TooOften,
}

impl Admission {
    /// Nobody is connected.
    pub fn new(limits: &Limits) -> Self {
        let Limits { connections, connections_per_user: per_user, .. } = *limits;
        Self { connections, per_user, total: 0, users: HashMap::new() }
    }

    /// Gives a place to a user's connection, or says why not. Each place is given back by [`leave`](Self::leave).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(&mut self, uid: u32, now: Instant) -> Result<(), Refusal> {
        // Those who left and whose bucket is full again are as strangers.
        self.users.retain(|_, user| user.connections > 0 || !user.connects.is_full(now));

        let bucket = || Bucket::new(CONNECTS_PER_SECOND, CONNECTS_PER_SECOND, now);
        let user = self.users.entry(uid).or_insert_with(|| User { connections: 0, connects: bucket() });
        if user.connects.due(now) > now {
            return Err(Refusal::TooOften);
        }
        user.connects.take(now);
        if user.connections >= self.per_user.get() {
            return Err(Refusal::UserFull);
        }
        if self.total >= self.connections.get() && uid != ROOT {
            return Err(Refusal::Full);
        }
        user.connections += 1;
        self.total += 1;
        Ok(())
    }

    /// Takes back a place that was given to this user.
    pub fn leave(&mut self, uid: u32) {
        if let Some(user) = self.users.get_mut(&uid).filter(|user| user.connections > 0) {
            user.connections -= 1;
            self.total -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn some(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn admission(connections: u32, per_user: u32) -> Admission {
        Admission { connections: some(connections), per_user: some(per_user), total: 0, users: HashMap::new() }
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_keeps_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(some(10), some(3), start);
        for _ in 0..3 {
            assert_eq!(bucket.due(start), start);
            bucket.take(start);
        }
        assert_eq!(bucket.due(start), start + Duration::from_millis(100));
        bucket.take(start + Duration::from_millis(100));
        assert_eq!(bucket.due(start + Duration::from_millis(100)), start + Duration::from_millis(200));

        let later = start + Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(bucket.due(later), later, "an hour of quiet is worth no more than the burst");
            bucket.take(later);
        }
        assert!(bucket.due(later) > later);
    }

    #[test]
    fn root_gets_in_when_all_places_are_taken_and_is_bound_by_its_own() {
        let now = Instant::now();
        let mut admission = admission(2, 1);
        assert_eq!(admission.admit(1000, now), Ok(()));
        assert_eq!(admission.admit(1000, now), Err(Refusal::UserFull));
        assert_eq!(admission.admit(1001, now), Ok(()));
        assert_eq!(admission.admit(1002, now), Err(Refusal::Full));
        assert_eq!(admission.admit(ROOT, now), Ok(()));
        assert_eq!(admission.admit(ROOT, now), Err(Refusal::UserFull));
        admission.leave(1000);
        assert_eq!(admission.admit(1002, now), Err(Refusal::Full), "root's place counts");
        admission.leave(ROOT);
        assert_eq!(admission.admit(1002, now), Ok(()));
    }

    #[test]
    fn a_user_who_comes_and_goes_all_the_time_is_slowed_down_and_others_are_not() {
        let now = Instant::now();
        let mut admission = admission(10, 10);
        for _ in 0..CONNECTS_PER_SECOND.get() {
            assert_eq!(admission.admit(1000, now), Ok(()));
            admission.leave(1000);
        }
        assert_eq!(admission.admit(1000, now), Err(Refusal::TooOften));
        assert_eq!(admission.admit(1001, now), Ok(()));
        assert_eq!(admission.admit(1000, now + Duration::from_millis(2)), Ok(()));
    }

    #[test]
    fn users_who_left_are_forgotten() {
        let now = Instant::now();
        let mut admission = admission(10, 10);
        for uid in 1000..2000 {
            admission.admit(uid, now).unwrap();
            admission.leave(uid);
        }
        admission.admit(1, now + Duration::from_secs(1)).unwrap();
        assert_eq!(admission.users.len(), 1);
    }

    proptest! {
        #[test]
        fn a_bucket_never_gives_more_than_its_burst_and_its_rate(
            rate in 1..10_000_u32, burst in 1..100_u32, waits in vec(0..20_000_u64, 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(some(rate), some(burst), start);
            let mut now = start;
            let mut taken = 0_u64;
            for wait in waits {
                now += Duration::from_micros(wait);
                while bucket.due(now) <= now && taken < 10_000 {
                    bucket.take(now);
                    taken += 1;
                }
                let filled = (now - start).as_secs_f64() * f64::from(rate);
                prop_assert!(taken as f64 <= f64::from(burst) + filled * 1.000_1, "{taken} of {burst} + {filled}");
                if taken < 10_000 {
                    let due = bucket.due(now);
                    prop_assert!(due > now && due <= now + Duration::from_secs(1), "the next one is at most a second away");
                }
            }
        }

        #[test]
        fn the_counts_of_connections_are_those_of_a_simple_model(
            steps in vec((any::<bool>(), 0..4_u32), 0..200),
        ) {
            let now = Instant::now();
            let mut admission = admission(5, 3);
            let mut model: Vec<u32> = Vec::new();
            for (comes, uid) in steps {
                let own = model.iter().filter(|&&other| other == uid).count();
                if comes {
                    let fits = own < 3 && (model.len() < 5 || uid == ROOT);
                    prop_assert_eq!(admission.admit(uid, now).is_ok(), fits);
                    if fits {
                        model.push(uid);
                    }
                } else {
                    admission.leave(uid);
                    if let Some(place) = model.iter().position(|&other| other == uid) {
                        model.remove(place);
                    }
                }
                prop_assert_eq!(admission.total as usize, model.len());
            }
        }

        #[test]
        fn a_quota_never_holds_more_than_its_bound(most in 1..50_u32, steps in vec((any::<bool>(), 0..60_usize), 0..100)) {
            let mut quota = Quota::new(some(most));
            let mut used = 0;
            for (takes, amount) in steps {
                if !takes {
                    quota.give_back(amount);
                    used -= amount.min(used);
                } else if quota.has(amount) {
                    quota.take(amount);
                    used += amount;
                }
                prop_assert!(used <= most as usize && quota.used as usize == used);
                prop_assert!(quota.has(most as usize - used) && !quota.has(most as usize - used + 1));
            }
        }
    }
}

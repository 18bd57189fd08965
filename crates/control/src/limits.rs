//! What a client may use. Time is an argument, so that nothing here waits.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::credentials::Credentials;

const ROOT: u32 = 0;
/// Number of accounts from which on empty ones are looked for.
const FEW_ACCOUNTS: usize = 64;

/// The bounds that a [`Listener`](crate::Listener) keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of root, shared with no other user: else others could lock the administrator out.
    pub root: Bounds,
    /// Of each user that the policy names; none of it is shared.
    pub holders: Bounds,
    /// Of each user that the policy knows only by a group.
    pub members: Bounds,
    /// What all members have together. One user may bring thousands of user ids (subordinate ones) into a group.
    pub all_members: Shared,
    /// Of each user that the policy does not know.
    pub strangers: Bounds,
    /// What all strangers have together.
    pub all_strangers: Shared,
    /// Messages of one connection that were delivered and are not yet done with; no more are read until one is.
    pub in_flight: NonZeroU32,
    /// Messages that wait for a peer to read them; one more and the connection is cut off.
    pub queued_messages: NonZeroU32,
    /// Bytes of these messages, likewise.
    pub queued_bytes: NonZeroU32,
    /// How long a client may take until its first message.
    pub silence: Duration,
}

/// What one user may use, over all its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections.
    pub connections: NonZeroU32,
    /// The longest message, in bytes.
    pub longest: NonZeroU32,
    /// What is read.
    pub rates: Rates,
}

/// What all users of one kind may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Connections.
    pub connections: NonZeroU32,
    /// What is read.
    pub rates: Rates,
}

/// What is read, in the long run and at once after a quiet time. What is beyond it waits in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Messages a second. A new connection counts as one.
    pub messages: NonZeroU32,
    /// Messages at once.
    pub messages_at_once: NonZeroU32,
    /// Bytes a second.
    pub bytes: NonZeroU32,
    /// Bytes at once. A message is begun while one of them is left, and its rest is owed.
    pub bytes_at_once: NonZeroU32,
}

/// Users, by their ids and by groups that they are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// User ids.
    pub uids: HashSet<u32>,
    /// Group ids.
    pub gids: HashSet<u32>,
}

/// The users that the policy knows. Root need not be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The users that may request anything.
    pub trusted: Party,
    /// The users whose requests may carry descriptors.
    pub descriptors: Party,
}

/// How the policy classifies a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    Root,
    /// Named by its user id.
    Holder,
    /// Known by a group alone.
    Member,
    Stranger,
}

/// What is counted together: a user, by each standing that its connections have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Payer {
    pub standing: Standing,
    pub uid: u32,
}

impl Party {
    fn has_member(&self, Credentials { gid, groups, .. }: &Credentials) -> bool {
        !self.gids.is_empty() && (self.gids.contains(gid) || groups.iter().any(|group| self.gids.contains(group)))
    }
}

impl Trust {
    pub(crate) fn payer(&self, who: &Credentials) -> Payer {
        let standing = match who.uid {
            ROOT => Standing::Root,
            uid if self.trusted.uids.contains(&uid) => Standing::Holder,
            _ if self.trusted.has_member(who) => Standing::Member,
            _ => Standing::Stranger,
        };
        Payer { standing, uid: who.uid }
    }

    pub(crate) fn may_send_descriptors(&self, who: &Credentials) -> bool {
        who.uid == ROOT || self.descriptors.uids.contains(&who.uid) || self.descriptors.has_member(who)
    }
}

impl Limits {
    pub(crate) fn of(&self, standing: Standing) -> &Bounds {
        match standing {
            Standing::Root => &self.root,
            Standing::Holder => &self.holders,
            Standing::Member => &self.members,
            Standing::Stranger => &self.strangers,
        }
    }
}

/// A bucket of tokens that fills at a steady rate.
///
/// Kept as the one instant until which the tokens taken would have to be waited for, were there no burst. Tokens that
/// are not there yet may be taken: callers that do so in turn are due in turn, so that no waiting one is overtaken.
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

    /// Takes tokens, owing those that are not there.
    pub fn take(&mut self, amount: u32, now: Instant) {
        self.paid_until = self.paid_until.max(now) + self.refill * amount;
    }

    fn is_full(&self, now: Instant) -> bool {
        self.paid_until <= now
    }
}

/// The two buckets of [`Rates`].
#[derive(Clone, Copy, Debug)]
struct Budget {
    messages: Bucket,
    bytes: Bucket,
}

impl Budget {
    fn new(rates: &Rates, now: Instant) -> Self {
        let Rates { messages, messages_at_once, bytes, bytes_at_once } = *rates;
        Self { messages: Bucket::new(messages, messages_at_once, now), bytes: Bucket::new(bytes, bytes_at_once, now) }
    }

    fn due(&self, now: Instant) -> Instant {
        self.messages.due(now).max(self.bytes.due(now))
    }

    fn charge(&mut self, bytes: usize, now: Instant) {
        self.messages.take(1, now);
        self.bytes.take(u32::try_from(bytes).unwrap_or(u32::MAX), now);
    }

    fn is_full(&self, now: Instant) -> bool {
        self.messages.is_full(now) && self.bytes.is_full(now)
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

/// Who is connected, and what they cost: the bounds, without the connections.
#[derive(Debug)]
pub(crate) struct Accounts {
    limits: Limits,
    users: HashMap<Payer, Account>,
    /// How many users there are when the next look for those to be forgotten is due.
    next_look: usize,
    members: Account,
    strangers: Account,
}

#[derive(Debug)]
struct Account {
    places: Quota,
    budget: Budget,
}

impl Account {
    fn new(connections: NonZeroU32, rates: &Rates, now: Instant) -> Self {
        Self { places: Quota::new(connections), budget: Budget::new(rates, now) }
    }

    fn is_untouched(&self, now: Instant) -> bool {
        self.places.used == 0 && self.budget.is_full(now)
    }
}

/// Why a client was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// All places of this kind of users are taken.
    Full,
    /// All places of this user are taken.
    UserFull,
    /// The user, or its kind, does too much.
    TooOften,
}

impl Accounts {
    /// No client is connected.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        let shared = |Shared { connections, rates }: &Shared| Account::new(*connections, rates, now);
        Self {
            limits: *limits,
            users: HashMap::new(),
            next_look: FEW_ACCOUNTS,
            members: shared(&limits.all_members),
            strangers: shared(&limits.all_strangers),
        }
    }

    /// Admits a connection of a user, or returns why not. Each place is given back by [`leave`](Self::leave).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(&mut self, payer: Payer, now: Instant) -> Result<(), Refusal> {
        self.forget(now);
        if self.due(payer, now) > now {
            return Err(Refusal::TooOften);
        }
        let shared = self.shared(payer);
        if shared.is_some_and(|shared| !shared.places.has(1)) {
            return Err(Refusal::Full);
        }
        let Bounds { connections, rates, .. } = *self.limits.of(payer.standing);
        let own = self.users.entry(payer).or_insert_with(|| Account::new(connections, &rates, now));
        if !own.places.has(1) {
            return Err(Refusal::UserFull);
        }
        own.places.take(1);
        if let Some(shared) = self.shared(payer) {
            shared.places.take(1);
        }
        self.charge(payer, 0, now);
        Ok(())
    }

    /// Takes back a place that was given to this user.
    pub fn leave(&mut self, payer: Payer) {
        let Some(own) = self.users.get_mut(&payer).filter(|own| own.places.used > 0) else { return };
        own.places.give_back(1);
        if let Some(shared) = self.shared(payer) {
            shared.places.give_back(1);
        }
    }

    /// When a message of this user may be read: `now`, or later.
    pub fn due(&mut self, payer: Payer, now: Instant) -> Instant {
        let own = self.users.get(&payer).map_or(now, |own| own.budget.due(now));
        self.shared(payer).map_or(own, |shared| own.max(shared.budget.due(now)))
    }

    /// A message of this user was read, or will be when it is due.
    pub fn charge(&mut self, payer: Payer, bytes: usize, now: Instant) {
        if let Some(own) = self.users.get_mut(&payer) {
            own.budget.charge(bytes, now);
        }
        if let Some(shared) = self.shared(payer) {
            shared.budget.charge(bytes, now);
        }
    }

    fn shared(&mut self, payer: Payer) -> Option<&mut Account> {
        match payer.standing {
            Standing::Root | Standing::Holder => None,
            Standing::Member => Some(&mut self.members),
            Standing::Stranger => Some(&mut self.strangers),
        }
    }

    /// Forgets users that left and whose budget is full again. It runs when the table has grown, so that its cost per
    /// new user is constant.
    fn forget(&mut self, now: Instant) {
        if self.users.len() >= self.next_look {
            self.users.retain(|_, account| !account.is_untouched(now));
            self.next_look = FEW_ACCOUNTS.max(2 * self.users.len());
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

    fn rates(messages: u32, messages_at_once: u32, bytes: u32, bytes_at_once: u32) -> Rates {
        Rates {
            messages: some(messages),
            messages_at_once: some(messages_at_once),
            bytes: some(bytes),
            bytes_at_once: some(bytes_at_once),
        }
    }

    fn limits() -> Limits {
        let wide = rates(1_000_000, 1_000_000, 1 << 30, 1 << 30);
        let bounds = |connections| Bounds { connections: some(connections), longest: some(65_536), rates: wide };
        let shared = |connections| Shared { connections: some(connections), rates: wide };
        Limits {
            root: bounds(3),
            holders: bounds(3),
            members: bounds(3),
            all_members: shared(6),
            strangers: bounds(2),
            all_strangers: shared(5),
            in_flight: some(1),
            queued_messages: some(1),
            queued_bytes: some(1),
            silence: Duration::from_secs(1),
        }
    }

    fn payer(standing: Standing, uid: u32) -> Payer {
        Payer { standing, uid }
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const KINDS: [Standing; 4] = [Standing::Root, Standing::Holder, Standing::Member, Standing::Stranger];

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_keeps_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(some(10), some(3), start);
        for _ in 0..3 {
            assert_eq!(bucket.due(start), start);
            bucket.take(1, start);
        }
        assert_eq!(bucket.due(start), start + Duration::from_millis(100));
        bucket.take(1, start + Duration::from_millis(100));
        assert_eq!(bucket.due(start + Duration::from_millis(100)), start + Duration::from_millis(200));

        let later = start + Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(bucket.due(later), later, "an hour of quiet is worth no more than the burst");
            bucket.take(1, later);
        }
        assert!(bucket.due(later) > later);
    }

    #[test]
    fn those_who_take_tokens_before_they_are_there_are_due_in_turn() {
        let now = Instant::now();
        let mut bucket = Bucket::new(some(10), some(1), now);
        let dues = [(); 4].map(|()| {
            let due = bucket.due(now);
            bucket.take(1, now);
            due
        });
        assert_eq!(dues, [0, 100, 200, 300].map(|ms| now + Duration::from_millis(ms)));
    }

    #[test]
    fn a_client_is_what_the_policy_says_of_its_user_and_its_groups() {
        let party = |uids: &[u32], gids: &[u32]| Party {
            uids: uids.iter().copied().collect(),
            gids: gids.iter().copied().collect(),
        };
        let trust = Trust { trusted: party(&[1001, 1002], &[50, 60]), descriptors: party(&[1002], &[60]) };
        for (uid, gid, groups, standing, descriptors) in [
            (0, 0, &[][..], Standing::Root, true),
            (1001, 1, &[], Standing::Holder, false),
            (1001, 60, &[], Standing::Holder, true),
            (1002, 1, &[], Standing::Holder, true),
            (1003, 50, &[], Standing::Member, false),
            (1003, 1, &[2, 50], Standing::Member, false),
            (1003, 1, &[60], Standing::Member, true),
            (1003, 1001, &[1002], Standing::Stranger, false),
            (50, 0, &[0], Standing::Stranger, false),
        ] {
            let who = Credentials { pid: 1, uid, gid, groups: groups.to_vec() };
            assert_eq!(trust.payer(&who), payer(standing, uid), "{who:?}");
            assert_eq!(trust.may_send_descriptors(&who), descriptors, "{who:?}");
        }
    }

    #[test]
    fn whatever_places_others_take_root_and_every_named_user_have_theirs() {
        let now = Instant::now();
        let mut accounts = Accounts::new(&limits(), now);
        for uid in 1..1000 {
            let _ = accounts.admit(payer(Standing::Stranger, uid), now);
            let _ = accounts.admit(payer(Standing::Stranger, uid), now);
            let _ = accounts.admit(payer(Standing::Member, uid), now);
        }
        assert_eq!(accounts.admit(payer(Standing::Stranger, 1), now), Err(Refusal::Full));
        assert_eq!(accounts.admit(payer(Standing::Member, 1), now), Err(Refusal::Full));
        for who in [payer(Standing::Root, 0), payer(Standing::Holder, 5000), payer(Standing::Holder, 5001)] {
            for _ in 0..3 {
                assert_eq!(accounts.admit(who, now), Ok(()));
            }
            assert_eq!(accounts.admit(who, now), Err(Refusal::UserFull));
        }
        accounts.leave(payer(Standing::Stranger, 1));
        assert_eq!(accounts.admit(payer(Standing::Stranger, 1), now), Ok(()));
    }

    #[test]
    fn a_user_who_comes_and_goes_all_the_time_is_slowed_down_and_others_are_not() {
        let now = Instant::now();
        let strangers = Bounds { rates: rates(10, 4, 100, 100), ..limits().strangers };
        let mut accounts = Accounts::new(&Limits { strangers, ..limits() }, now);
        let [one, other] = [1000, 1001].map(|uid| payer(Standing::Stranger, uid));
        for _ in 0..4 {
            assert_eq!(accounts.admit(one, now), Ok(()));
            accounts.leave(one);
        }
        assert_eq!(accounts.admit(one, now), Err(Refusal::TooOften));
        assert_eq!(accounts.admit(other, now), Ok(()));
        assert_eq!(accounts.admit(one, now + Duration::from_millis(101)), Ok(()));
    }

    #[test]
    fn a_budget_is_the_users_and_not_the_connections() {
        let now = Instant::now();
        let strangers = Bounds { rates: rates(1000, 1000, 1000, 100), ..limits().strangers };
        let mut accounts = Accounts::new(&Limits { strangers, ..limits() }, now);
        let [one, other] = [1000, 1001].map(|uid| payer(Standing::Stranger, uid));
        accounts.admit(one, now).unwrap();
        accounts.admit(one, now).unwrap();
        accounts.admit(other, now).unwrap();
        accounts.charge(one, 4100, now);
        assert_eq!(accounts.due(one, now), now + Duration::from_millis(4001), "its debt less what is given at once");
        assert_eq!(accounts.due(other, now), now);
        accounts.leave(one);
        accounts.leave(one);
        let later = now + Duration::from_secs(1);
        assert_eq!(accounts.admit(one, later), Err(Refusal::TooOften), "a new connection owes what the old one did");
    }

    #[test]
    fn all_strangers_together_have_a_budget_and_nobody_else_pays_for_it() {
        let now = Instant::now();
        let all_strangers = Shared { rates: rates(10, 2, 1000, 1000), ..limits().all_strangers };
        let mut accounts = Accounts::new(&Limits { all_strangers, ..limits() }, now);
        accounts.admit(payer(Standing::Stranger, 1), now).unwrap();
        accounts.admit(payer(Standing::Stranger, 2), now).unwrap();
        assert_eq!(accounts.admit(payer(Standing::Stranger, 3), now), Err(Refusal::TooOften));
        for who in [payer(Standing::Root, 0), payer(Standing::Holder, 1), payer(Standing::Member, 1)] {
            accounts.admit(who, now).unwrap();
            assert_eq!(accounts.due(who, now), now);
        }
    }

    #[test]
    fn users_who_left_are_forgotten() {
        let start = Instant::now();
        let mut accounts = Accounts::new(&limits(), start);
        for uid in 1..100_000 {
            let now = start + Duration::from_millis(u64::from(uid));
            let who = payer(Standing::Stranger, uid);
            accounts.admit(who, now).unwrap();
            accounts.leave(who);
            assert!(accounts.users.len() <= 2 * FEW_ACCOUNTS, "{} after {uid}", accounts.users.len());
        }
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
                    bucket.take(1, now);
                    taken += 1;
                }
                let filled = (now - start).as_secs_f64() * f64::from(rate);
                prop_assert!(taken as f64 <= f64::from(burst) + filled * 1.000_1, "{taken} of {burst} + {filled}");
                if taken < 10_000 {
                    let due = bucket.due(now);
                    let latest = now + Duration::from_secs(1);
                    prop_assert!(due > now && due <= latest, "the next one is at most a second away");
                }
            }
        }

        #[test]
        fn whatever_is_sent_over_however_many_connections_each_user_and_all_strangers_keep_their_rates(
            steps in vec((1..6_u32, 0..50_000_u64, 1..5_000_usize), 1..300),
        ) {
            let (each, all) = (rates(20, 5, 8_000, 4_000), rates(50, 8, 20_000, 9_000));
            let strangers = Bounds { connections: some(100), longest: some(4096), rates: each };
            let all_strangers = Shared { connections: some(1000), rates: all };
            let start = Instant::now();
            let mut accounts = Accounts::new(&Limits { strangers, all_strangers, ..limits() }, start);
            let mut now = start;
            let mut read: Vec<(u32, usize)> = Vec::new();
            for (uid, wait, bytes) in steps {
                now += Duration::from_micros(wait);
                let who = payer(Standing::Stranger, uid);
                // A connection now and then, which may be refused; it counts as a message.
                if bytes % 7 == 0 && accounts.admit(who, now).is_ok() {
                    read.push((uid, 0));
                }
                if accounts.users.contains_key(&who) && accounts.due(who, now) <= now {
                    accounts.charge(who, bytes, now);
                    read.push((uid, bytes));
                }
            }
            let seconds = (now - start).as_secs_f64() * 1.000_1;
            let held = |count: usize, bytes: usize, rates: &Rates| {
                let most = |rate: NonZeroU32, burst: NonZeroU32| {
                    f64::from(burst.get()) + seconds * f64::from(rate.get())
                };
                count as f64 <= most(rates.messages, rates.messages_at_once)
                    // The message that takes the last byte owes the rest of its own.
                    && bytes as f64 <= most(rates.bytes, rates.bytes_at_once) + 5_000.0
            };
            for uid in 1..6 {
                let own = || read.iter().filter(|(other, _)| *other == uid);
                prop_assert!(held(own().count(), own().map(|(_, bytes)| bytes).sum(), &each), "user {uid}");
            }
            prop_assert!(held(read.len(), read.iter().map(|(_, bytes)| bytes).sum(), &all));
            for uid in 1..6 {
                let due = accounts.due(payer(Standing::Stranger, uid), now);
                let latest = now + Duration::from_secs(2);
                prop_assert!(due <= latest, "nobody is kept waiting longer than its own debt takes");
            }
        }

        #[test]
        fn the_counts_of_connections_are_those_of_a_simple_model(
            steps in vec((any::<bool>(), 0..4_usize, 0..4_u32), 0..300),
        ) {
            let now = Instant::now();
            let limits = limits();
            let mut accounts = Accounts::new(&limits, now);
            let mut model: Vec<Payer> = Vec::new();
            for (comes, kind, uid) in steps {
                let who = payer(KINDS[kind], uid);
                let own = model.iter().filter(|&&other| other == who).count();
                let alike = model.iter().filter(|other| other.standing == who.standing).count();
                if comes {
                    let most = match who.standing {
                        Standing::Member => 6,
                        Standing::Stranger => 5,
                        Standing::Root | Standing::Holder => usize::MAX,
                    };
                    let fits = own < limits.of(who.standing).connections.get() as usize && alike < most;
                    prop_assert_eq!(accounts.admit(who, now).is_ok(), fits);
                    if fits {
                        model.push(who);
                    }
                } else {
                    accounts.leave(who);
                    if let Some(place) = model.iter().position(|&other| other == who) {
                        model.remove(place);
                    }
                }
            }
            for who in model.clone() {
                accounts.leave(who);
            }
            prop_assert!(accounts.users.values().all(|account| account.places.used == 0));
            prop_assert_eq!((accounts.members.places.used, accounts.strangers.places.used), (0, 0));
            accounts.next_look = 0;
            accounts.forget(now + HOUR);
            prop_assert!(accounts.users.is_empty());
        }

        #[test]
        fn a_quota_never_holds_more_than_its_bound(
            most in 1..50_u32,
            steps in vec((any::<bool>(), 0..60_usize), 0..100),
        ) {
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

//! Closing what came from a peer, on threads of its own.
//!
//! A close can block for as long as the maker of the file likes: the flush of a FUSE file waits for its server, a TCP
//! socket lingers, and what lies unread in a socket is closed with it. Only the user whose files they are may have to
//! wait for that.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::limits::{Payer, Standing};

/// Threads that close at a time what strangers sent. Only a kernel without `SO_PASSRIGHTS` lets them send anything.
const FOR_STRANGERS: usize = 8;
/// The same for users that the policy knows by a group. One of them may bring thousands of user ids.
const FOR_MEMBERS: usize = 16;

/// Closes things, those of each user one after the other on a thread of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closers(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    /// What waits, by user. An entry stands as long as something waits or is being closed.
    waiting: HashMap<Payer, VecDeque<Box<dyn Send>>>,
    /// Threads at work, and users that have no thread.
    strangers: Pool,
    members: Pool,
    /// Of root and of users that the policy names: one thread each, which bounds them.
    named: Pool,
}

#[derive(Default)]
struct Pool {
    threads: usize,
    queue: VecDeque<Payer>,
}

impl Closers {
    /// Drops `what` elsewhere and soon, behind all that is being dropped for the same user.
    pub fn close(&self, payer: Payer, what: impl Send + 'static) {
        let mut table = self.lock();
        let queued = table.waiting.get_mut(&payer);
        let is_served = queued.is_some();
        match queued {
            Some(queue) => queue.push_back(Box::new(what)),
            None => _ = table.waiting.insert(payer, VecDeque::from([Box::new(what) as Box<dyn Send>])),
        }
        let (pool, most) = table.pool(payer.standing);
        if !is_served {
            pool.queue.push_back(payer);
        }
        // Those who wait are taken up by the threads that there are. There is none where the system had none before.
        let is_due = !is_served || (pool.threads == 0 && !pool.queue.is_empty());
        if is_due && pool.threads < most {
            let (closers, standing) = (self.clone(), payer.standing);
            let work = move || closers.work(standing);
            if thread::Builder::new().name("closing".to_owned()).spawn(work).is_ok() {
                pool.threads += 1;
            }
        }
    }

    /// Closes one thing of one user after the other, those of several users in turn, until nothing waits.
    fn work(&self, standing: Standing) {
        let mut last = None;
        while let Some((payer, what)) = self.next(standing, last) {
            drop(what);
            last = Some(payer);
        }
    }

    fn next(&self, standing: Standing, last: Option<Payer>) -> Option<(Payer, Box<dyn Send>)> {
        let mut table = self.lock();
        if let Some(last) = last {
            if table.waiting.get(&last).is_some_and(|queue| !queue.is_empty()) {
                table.pool(standing).0.queue.push_back(last);
            } else {
                table.waiting.remove(&last);
            }
        }
        let (pool, _) = table.pool(standing);
        let payer = pool.queue.pop_front();
        let what = payer.and_then(|payer| Some((payer, table.waiting.get_mut(&payer)?.pop_front()?)));
        if what.is_none() {
            table.pool(standing).0.threads -= 1;
        }
        what
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Dropped without the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The pool, and how many threads it may have.
    fn pool(&mut self, standing: Standing) -> (&mut Pool, usize) {
        match standing {
            Standing::Root | Standing::Holder => (&mut self.named, usize::MAX),
            Standing::Member => (&mut self.members, FOR_MEMBERS),
            Standing::Stranger => (&mut self.strangers, FOR_STRANGERS),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting: usize = self.waiting.values().map(VecDeque::len).sum();
        f.debug_struct("Table").field("users", &self.waiting.len()).field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// Says when its close begins, and then takes as long as the test likes.
    struct Slow {
        name: u32,
        begun: mpsc::Sender<u32>,
        may_end: Arc<Mutex<mpsc::Receiver<()>>>,
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.begun.send(self.name);
            let _ = self.may_end.lock().unwrap().recv();
        }
    }

    struct Bench {
        closers: Closers,
        begun: mpsc::Receiver<u32>,
        tell: mpsc::Sender<u32>,
    }

    impl Bench {
        fn new() -> Self {
            let (tell, begun) = mpsc::channel();
            Self { closers: Closers::default(), begun, tell }
        }

        /// Closes something that ends once the result is dropped, or told to.
        fn close(&self, standing: Standing, uid: u32) -> mpsc::Sender<()> {
            let (end, may_end) = mpsc::channel();
            let slow = Slow { name: uid, begun: self.tell.clone(), may_end: Arc::new(Mutex::new(may_end)) };
            self.closers.close(Payer { standing, uid }, slow);
            end
        }

        fn next(&self) -> u32 {
            self.begun.recv_timeout(DEADLINE).expect("a close that begins")
        }

        fn nothing_begins(&self) -> bool {
            self.begun.recv_timeout(Duration::from_millis(30)).is_err()
        }

        fn idle(&self) -> bool {
            let table = self.closers.lock();
            table.waiting.is_empty()
                && [&table.strangers, &table.members, &table.named].iter().all(|pool| pool.threads == 0)
        }
    }

    #[test]
    fn the_things_of_one_user_are_closed_one_after_the_other() {
        let bench = Bench::new();
        let mut held: VecDeque<_> = (0..5).map(|_| bench.close(Standing::Holder, 7)).collect();
        for _ in 0..5 {
            assert_eq!(bench.next(), 7);
            assert!(bench.nothing_begins(), "a second one at the same time");
            held.pop_front();
        }
    }

    #[test]
    fn root_and_named_users_wait_for_nobody_and_strangers_have_few_threads_in_all() {
        let bench = Bench::new();
        let mut held: VecDeque<_> = (1..=100).map(|uid| bench.close(Standing::Stranger, uid)).collect();
        let mut begun: Vec<_> = (0..FOR_STRANGERS).map(|_| bench.next()).collect();
        begun.sort_unstable();
        assert_eq!(begun, (1..=8).collect::<Vec<_>>());
        assert!(bench.nothing_begins());
        let other = [(Standing::Root, 0), (Standing::Holder, 500), (Standing::Holder, 501), (Standing::Member, 502)];
        let others: Vec<_> = other
            .map(|(standing, uid)| {
                let held = bench.close(standing, uid);
                assert_eq!(bench.next(), uid);
                held
            })
            .into();
        held.pop_front();
        assert_eq!(bench.next(), 9, "the next in the queue");
        drop((held, others));
        let deadline = std::time::Instant::now() + DEADLINE;
        while !bench.idle() {
            assert!(std::time::Instant::now() < deadline, "{:?}", bench.closers);
            thread::yield_now();
        }
    }

    #[test]
    fn those_who_share_threads_take_turns() {
        let bench = Bench::new();
        let _blocked: Vec<_> = (0..7).map(|uid| bench.close(Standing::Stranger, uid)).collect();
        for _ in 0..7 {
            bench.next();
        }
        let mut greedy: VecDeque<_> = (0..3).map(|_| bench.close(Standing::Stranger, 100)).collect();
        let _modest = bench.close(Standing::Stranger, 200);
        assert_eq!(bench.next(), 100);
        greedy.pop_front();
        assert_eq!(bench.next(), 200, "before the second of the one who has more");
    }
}

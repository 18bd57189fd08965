//! The open ports of a daemon, by their keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::PortKey;

/// Ports, each with a lock of its own: waiting for one does not block the others. A port that is being closed is not
/// found any more, and closing it waits until nobody uses it.
#[derive(Debug)]
pub(crate) struct PortTable<P>(Mutex<HashMap<PortKey, Arc<Slot<P>>>>);

/// Empty once the port is closed.
type Slot<P> = Mutex<Option<P>>;

impl<P> Default for PortTable<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P> PortTable<P> {
    pub(crate) fn insert(&self, key: PortKey, port: P) {
        lock(&self.0).insert(key, Arc::new(Mutex::new(Some(port))));
    }

    /// Does something with an open port; `None` where there is none of this key.
    pub(crate) fn with<R>(&self, key: PortKey, work: impl FnOnce(&P) -> R) -> Option<R> {
        let slot = lock(&self.0).get(&key).cloned()?;
        let port = lock(&slot);
        port.as_ref().map(work)
    }

    /// Takes a port out, and waits until nobody uses it.
    pub(crate) fn take(&self, key: PortKey) -> Option<P> {
        let slot = lock(&self.0).remove(&key)?;
        let mut port = lock(&slot);
        port.take()
    }

    /// Drops all ports.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        drop(all);
    }
}

/// A panic elsewhere must not keep ports from being closed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn key(number: u32) -> PortKey {
        PortKey::new(number)
    }

    #[test]
    fn a_port_is_found_until_it_is_taken() {
        let table = PortTable::default();
        table.insert(key(1), "one");
        table.insert(key(2), "two");
        assert_eq!(table.with(key(1), |port| port.len()), Some(3));
        assert_eq!(table.take(key(1)), Some("one"));
        assert_eq!(table.take(key(1)), None);
        assert_eq!(table.with(key(1), |_| ()), None);
        assert_eq!(table.with(key(2), |port| *port), Some("two"));
        table.clear();
        assert_eq!(table.with(key(2), |_| ()), None);
    }

    #[test]
    fn who_uses_a_port_delays_its_closing_and_no_other_port() {
        let table = PortTable::default();
        table.insert(key(1), 1);
        table.insert(key(2), 2);
        let ((using, used), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
        thread::scope(|scope| {
            let table = &table;
            scope.spawn(move || {
                table.with(key(1), |_| {
                    using.send(()).unwrap();
                    ended.recv().unwrap();
                })
            });
            used.recv().unwrap();
            let closing = scope.spawn(move || table.take(key(1)));
            while table.0.lock().unwrap().contains_key(&key(1)) {
                thread::yield_now();
            }
            assert_eq!(table.with(key(1), |_| ()), None, "it is being closed");
            assert_eq!(table.with(key(2), |port| *port), Some(2));
            assert!(!closing.is_finished());
            end.send(()).unwrap();
            assert_eq!(closing.join().unwrap(), Some(1));
        });
    }
}

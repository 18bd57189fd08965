//! A connection's place among those that its user may have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::aside::Closers;
use crate::limits::{Accounts, Payer, Refusal};

/// One of the connections that a user may have, given back when it is dropped; and the user's account.
#[derive(Debug)]
pub(crate) struct Place {
    accounts: Arc<Mutex<Accounts>>,
    closers: Closers,
    payer: Payer,
}

impl Place {
    pub fn take(accounts: &Arc<Mutex<Accounts>>, closers: &Closers, payer: Payer) -> Result<Self, Refusal> {
        locked(accounts).admit(payer, Instant::now())?;
        Ok(Self { accounts: Arc::clone(accounts), closers: closers.clone(), payer })
    }

    pub fn payer(&self) -> Payer {
        self.payer
    }

    pub fn closers(&self) -> &Closers {
        &self.closers
    }

    /// Whether a message may be read at once.
    pub fn may_read(&self, now: Instant) -> bool {
        locked(&self.accounts).due(self.payer, now) <= now
    }

    /// A message was read.
    pub fn charge(&self, bytes: usize, now: Instant) {
        locked(&self.accounts).charge(self.payer, bytes, now);
    }

    /// Charges for a message that waits to be read, and returns when it may be.
    pub fn book(&self, bytes: usize, now: Instant) -> Instant {
        let mut accounts = locked(&self.accounts);
        let due = accounts.due(self.payer, now);
        accounts.charge(self.payer, bytes, now);
        due
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.accounts).leave(self.payer);
    }
}

fn locked(accounts: &Mutex<Accounts>) -> MutexGuard<'_, Accounts> {
    // Nothing panics while the lock is held.
    accounts.lock().unwrap_or_else(PoisonError::into_inner)
}

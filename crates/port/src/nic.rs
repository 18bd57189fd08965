//! The NIC of an uplink, by itself: where it is, what it is now, and what it lets in.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xsknet_link::{FilterAnswer, MacAddr};

use crate::context::Context;
use crate::error::{OpenPortError, StepError};
use crate::info::{NicState, UplinkInfo};
use crate::journal::{Change, Scope};
use crate::mtu::MtuLimit;

/// A NIC that is managed.
pub(crate) struct Nic {
    pub(crate) context: Arc<Context>,
    pub(crate) info: UplinkInfo,
    /// What is changed for the uplink itself, is changed for this.
    pub(crate) scope: Scope,
    /// As it was last seen.
    state: Mutex<NicState>,
    /// Frames that announced ports.
    announced: AtomicU64,
    /// Frames of self-tests that ended in a ring, and so by `XDP_DROP`, without having come through the driver.
    injected_into_rings: AtomicU64,
}

impl Nic {
    pub(crate) fn new(context: Arc<Context>, info: UplinkInfo, scope: Scope, state: NicState) -> Self {
        let (announced, injected_into_rings) = Default::default();
        Self { context, info, scope, state: Mutex::new(state), announced, injected_into_rings }
    }

    /// As it was last seen.
    pub(crate) fn state(&self) -> NicState {
        self.seen().clone()
    }

    pub(crate) fn set_state(&self, now: NicState) {
        *self.seen() = now;
    }

    fn seen(&self) -> MutexGuard<'_, NicState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The MTU that it had when it was last seen.
    pub(crate) fn mtu_limit(&self) -> MtuLimit {
        MtuLimit { uplink: self.info.device.clone(), mtu: self.seen().mtu }
    }

    /// A step of opening one of its ports that did not work out.
    pub(crate) fn step(&self, cause: impl Into<StepError>) -> OpenPortError {
        OpenPortError::Step { uplink: self.info.device.clone(), cause: cause.into() }
    }

    /// One frame more of a self-test that goes into a ring.
    pub(crate) fn count_injected_into_ring(&self) {
        self.injected_into_rings.fetch_add(1, Ordering::Relaxed);
    }

    /// Of so many frames that its program has ended by `XDP_DROP`, those that its driver has seen.
    pub(crate) fn seen_by_the_driver(&self, dropped: u64) -> u64 {
        dropped.saturating_sub(self.injected_into_rings.load(Ordering::Relaxed))
    }

    /// One frame more that announced a port.
    pub(crate) fn count_announcement(&self) {
        self.announced.fetch_add(1, Ordering::Relaxed);
    }

    /// Frames that announced ports.
    pub(crate) fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// The addresses that it lets in.
    pub(crate) fn filters(&self) -> Result<Vec<MacAddr>, StepError> {
        Ok(self.context.host.links.filters(self.info.index)?)
    }

    /// Lets `mac` in, which its filters did not: by a filter, or in promiscuous mode where it takes none. An entry that
    /// was there is not ours to remove. So they are asked before the journal is written: a crash between the two would
    /// make it ours.
    pub(crate) fn add_filter(&self, mac: MacAddr) -> Result<(), StepError> {
        let (device, index) = (self.info.device.clone(), self.info.index);
        let links = &self.context.host.links;
        let change = Change::Filter { device, index, mac };
        let add = || Ok::<_, StepError>(links.add_filter(index, mac)?);
        let answer = self.context.change(self.scope, change.clone(), add)?;
        match answer {
            FilterAnswer::Added => Ok(()),
            FilterAnswer::AlreadyThere => self.context.forget(&change),
            FilterAnswer::Refused(_) => {
                self.context.forget(&change)?;
                self.make_promiscuous()
            }
        }
    }

    /// Takes a filter back that [`add_filter`](Self::add_filter) has added.
    pub(crate) fn remove_filter(&self, mac: MacAddr) -> Result<(), StepError> {
        let ours = self.info.index;
        self.context.undo_one(
            |change| matches!(change, Change::Filter { index, mac: its, .. } if *its == mac && *index == ours),
        )
    }

    /// Unless it was requested already.
    pub(crate) fn make_promiscuous(&self) -> Result<(), StepError> {
        let (device, index) = (self.info.device.clone(), self.info.index);
        let links = &self.context.host.links;
        if links.by_index(index)?.promiscuous {
            return Ok(());
        }
        let change = Change::Promiscuous { device, index };
        self.context.change(self.scope, change, || Ok(links.set_promiscuous(index, true)?))
    }
}

impl fmt::Debug for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nic").field("info", &self.info).finish_non_exhaustive()
    }
}

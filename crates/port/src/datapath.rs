//! The programs and tables of an uplink, read side by side, and written for moments.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use xsknet_bpf::Datapath;

/// Shared by an uplink and all that makes or unmakes its ports.
pub(crate) type SharedDatapath = Arc<RwLock<Datapath>>;

/// A panic while it was written to leaves tables that the kernel holds all the same.
pub(crate) fn read(datapath: &RwLock<Datapath>) -> RwLockReadGuard<'_, Datapath> {
    datapath.read().unwrap_or_else(PoisonError::into_inner)
}

/// The same for a change.
pub(crate) fn write(datapath: &RwLock<Datapath>) -> RwLockWriteGuard<'_, Datapath> {
    datapath.write().unwrap_or_else(PoisonError::into_inner)
}

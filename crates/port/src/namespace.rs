//! A network namespace, and the handles by which its devices are changed.

use xsknet_link::{DropReader, Ethtool, Links, Netns, NetnsId};

use crate::error::StepError;

/// A network namespace and the handles into it.
pub(crate) struct Namespace {
    pub(crate) netns: Netns,
    /// Device and inode of the namespace.
    pub(crate) identity: (u64, u64),
    /// What nothing else has that was ever a network namespace since boot.
    pub(crate) cookie: u64,
    pub(crate) links: Links,
    pub(crate) ethtool: Ethtool,
    pub(crate) drops: DropReader,
}

impl Namespace {
    pub(crate) fn new(netns: Netns) -> Result<Self, StepError> {
        let cause = |cause| StepError::Io { attempt: "look at a network namespace", cause };
        let NetnsId { dev, ino } = netns.identity().map_err(cause)?;
        let cookie = netns.cookie().map_err(cause)?;
        let links = Links::in_namespace(&netns)?;
        let ethtool = Ethtool::in_namespace(&netns)?;
        let drops = DropReader::in_namespace(&netns)?;
        Ok(Self { netns, identity: (dev, ino), cookie, links, ethtool, drops })
    }

    /// Runs a closure on a thread inside, for what resolves device numbers in the caller's namespace.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, StepError> {
        self.netns.run(work).map_err(|cause| StepError::Io { attempt: "enter a network namespace", cause })
    }
}

//! The numbers by which ports and their users are known.

use std::fmt;

/// Root, which may know of all users' ports.
pub(crate) const ROOT: u32 = 0;

/// Identifies a port among all that its instance ever opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey(u32);

impl PortKey {
    /// The key with this number, as a daemon sends it to clients.
    pub fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! Is notified of each step that changes the host.

use std::sync::Arc;

use crate::journal::Change;

/// What an instance is about to do or has done; for logs, and for tests that end the process at each of them.
#[derive(Debug, Clone)]
pub enum Step {
    /// Written to the journal, not made yet.
    Announced(Change),
    /// An uplink or a port, in words: it is in the journal, and nothing was changed for it yet.
    Recorded(String),
    /// An uplink or a port, in words: all of it is undone, and it is crossed out in the journal.
    CrossedOut(String),
    /// Made.
    Made(Change),
    /// About to be undone.
    Undoing(Change),
    /// Undone, and crossed out in the journal.
    Undone(Change),
    /// A step that leaves nothing on the host once the process has ended.
    Passed(&'static str),
}

/// Is notified of every step.
pub type Observer = Arc<dyn Fn(&Step) + Send + Sync>;

/// A step that leaves nothing on the host once the process has ended.
pub(crate) fn passed(observer: &Option<Observer>, step: &'static str) {
    if let Some(observer) = observer {
        observer(&Step::Passed(step));
    }
}

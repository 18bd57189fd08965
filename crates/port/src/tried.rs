//! What was tried on the way to a working port, and what came of it.

use std::fmt;

use xsknet_bpf::Attempt;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Where: `uplink`, `guard`, `port` (programs), `bind` (the socket).
    pub hook: &'static str,
    /// What: `native`, `skb`, `zero-copy`, …
    pub step: String,
    /// The kernel's refusal, or `None` where it went well or was not even worth asking.
    pub errno: Option<i32>,
    /// In plain words.
    pub why: String,
}

impl Tried {
    /// The steps of attaching a program.
    pub(crate) fn programs(hook: &'static str, attempts: &[Attempt]) -> Vec<Self> {
        let told = attempts.iter().map(|Attempt { mode, errno, why }| Self {
            hook,
            step: mode.to_string(),
            errno: *errno,
            why: why.clone(),
        });
        told.collect()
    }

    /// A step of binding a socket.
    pub fn bind(attempt: xsknet_xsk::Attempt) -> Self {
        Self { hook: "bind", step: attempt.step.to_owned(), errno: attempt.errno, why: attempt.why }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.hook, self.step, self.why)?;
        match self.errno {
            Some(errno) => write!(f, " (errno {errno})"),
            None => Ok(()),
        }
    }
}

//! What was attempted on the way to a working port, and what came of it.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use xsknet_bpf::Group;
use xsknet_link::LinkError;

/// One thing that was attempted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Where: `uplink`, `guard`, `port` (programs), `bind` (the socket).
    pub hook: &'static str,
    /// What: `native`, `skb`, `zero-copy`, …
    pub step: String,
    /// The kernel's refusal, or `None` where it went well or the kernel was not asked.
    pub errno: Option<i32>,
    /// In plain words.
    pub why: String,
}

impl Attempt {
    /// The steps of attaching a program.
    pub(crate) fn programs(hook: &'static str, attempts: &[xsknet_bpf::Attempt]) -> Vec<Self> {
        let told = attempts.iter().map(|xsknet_bpf::Attempt { mode, errno, why }| Self {
            hook,
            step: mode.to_string(),
            errno: *errno,
            why: why.clone(),
        });
        told.collect()
    }

    /// Letting frames gather at a port's inner end: at how many NAPI instances, or why not.
    pub(crate) fn coalescing(time: Duration, outcome: Result<usize, LinkError>) -> Self {
        let errno = outcome.as_ref().err().and_then(LinkError::errno);
        let why = match outcome {
            Ok(0) => "not done: without a native program the device has no NAPI instance to set".to_owned(),
            Ok(_) => format!("frames are collected for up to {} us", time.as_micros()),
            Err(error) => match error.source() {
                Some(cause) => format!("{error}: {cause}; it requires Linux 6.13"),
                None => error.to_string(),
            },
        };
        Self { hook: "port", step: "coalesce".to_owned(), errno, why }
    }

    /// Having the switches send a group here, which was not done.
    pub(crate) fn membership(group: Group, why: String) -> Self {
        Self { hook: "uplink", step: format!("membership of {group}"), errno: None, why }
    }

    /// The same, which the kernel has refused.
    pub(crate) fn membership_refused(group: Group, cause: &io::Error) -> Self {
        let why = format!("the host did not join it, so switches may keep it away: {cause}");
        Self { errno: cause.raw_os_error(), ..Self::membership(group, why) }
    }

    /// A step of binding a socket.
    pub fn bind(attempt: xsknet_xsk::Attempt) -> Self {
        Self { hook: "bind", step: attempt.step.to_owned(), errno: attempt.errno, why: attempt.why }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.hook, self.step, self.why)?;
        match self.errno {
            Some(errno) => write!(f, " (errno {errno})"),
            None => Ok(()),
        }
    }
}

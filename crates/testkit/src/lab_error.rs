//! How a lab cannot be built, or removed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use xsknet_link::{LinkError, NetnsError, OffloadError};

/// How an operation on a lab failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// It is not a valid name for a lab.
    #[error("`{name}` is not a valid name for a lab: 1 to 32 letters, digits, `-` and `_`")]
    NameInvalid {
        /// What was given.
        name: String,
    },
    /// Something else has the name of one of the lab's machines. Nothing was touched.
    #[error("{} is {found}", path.display())]
    Foreign {
        /// Its path.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// Processes run in the lab. Nothing was touched.
    #[error("{} in the lab `{lab}`: {}", counted(inhabitants), listed(inhabitants))]
    Inhabited {
        /// The lab's name.
        lab: String,
        /// Who.
        inhabitants: Vec<Inhabitant>,
    },
    /// The lab's names would be seen by this process alone.
    #[error("process 1 does not see the mount at {}: the mounts of this process are its own", path.display())]
    Hidden {
        /// The first such name.
        path: PathBuf,
    },
    /// Another process builds or removes a lab, and does not come to an end.
    #[error("another `xsknetd lab` has been at work for {waited:?}")]
    Crowded {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The kernel does by itself what was waited for, and did not.
    #[error("no {what} within {deadline:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        deadline: Duration,
    },
    /// A namespace could not be made, kept or removed.
    #[error(transparent)]
    Namespace(#[from] NetnsError),
    /// A namespace could not be entered.
    #[error("cannot enter a network namespace of the lab")]
    Enter(#[source] io::Error),
    /// The kernel refused a device or an address.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kernel refused an offload.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// A file or a mount.
    #[error("cannot {attempt} {}", path.display())]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

/// A process that runs in a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inhabitant {
    /// Its number.
    pub pid: u32,
    /// What the kernel calls it.
    pub name: String,
}

impl fmt::Display for Inhabitant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

/// More names than these make a sentence unreadable.
const TOLD: usize = 8;

fn counted(inhabitants: &[Inhabitant]) -> String {
    match inhabitants.len() {
        1 => "a process runs".into(),
        many => format!("{many} processes run"),
    }
}

fn listed(inhabitants: &[Inhabitant]) -> String {
    let told: Vec<String> = inhabitants.iter().take(TOLD).map(ToString::to_string).collect();
    let more = inhabitants.len().saturating_sub(TOLD);
    if more == 0 { told.join(", ") } else { format!("{} and {more} more", told.join(", ")) }
}

impl LabError {
    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Foreign { .. } => Some("choose another name with `--name`, or look whose it is: `ip netns`".into()),
            Self::Inhabited { inhabitants, .. } => {
                let pids: Vec<String> = inhabitants.iter().take(TOLD).map(|who| who.pid.to_string()).collect();
                Some(format!(
                    "end them first, for example with `kill {}`; a daemon then puts back what it changed",
                    pids.join(" ")
                ))
            }
            Self::Hidden { .. } => Some(
                "run it outside of `ip netns exec`, containers and sandboxes, or with `nsenter --target 1 --mount` in \
                 front"
                    .into(),
            ),
            Self::Crowded { .. } => Some("wait for it, or end it".into()),
            Self::Namespace(cause) => cause.hint().map(str::to_owned),
            Self::Link(cause) => cause.hint().map(str::to_owned),
            Self::Offload(cause) => cause.hint().map(str::to_owned),
            Self::NameInvalid { .. } | Self::Late { .. } | Self::Enter(_) | Self::Io { .. } => None,
        }
    }
}

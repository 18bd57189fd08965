use std::fmt;

use crate::layout::Layout;

/// A receive queue of a device, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId(pub u32);

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The mode to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindRequest {
    /// Copy mode.
    Copy,
    /// Zero-copy or nothing.
    ZeroCopy,
    /// Zero-copy, and copy mode where that is refused.
    #[default]
    Automatic,
}

impl BindRequest {
    /// What is asked for where zero-copy is to be `require`, `prefer` or `never`.
    #[must_use]
    pub fn zero_copy(wish: &str) -> Option<Self> {
        match wish {
            "require" => Some(Self::ZeroCopy),
            "prefer" => Some(Self::Automatic),
            "never" => Some(Self::Copy),
            _ => None,
        }
    }
}

/// The pages to take for a UMEM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// Huge pages or nothing.
    Require,
    /// Huge pages, and ordinary ones where too few are reserved.
    Prefer,
    /// Ordinary pages.
    #[default]
    Never,
}

impl HugePages {
    /// What is asked for where huge pages are to be `require`, `prefer` or `never`.
    #[must_use]
    pub fn named(wish: &str) -> Option<Self> {
        match wish {
            "require" => Some(Self::Require),
            "prefer" => Some(Self::Prefer),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The device's name in the network namespace of the calling thread. Alternative names are not looked up.
    pub device: &'a str,
    /// The queue to bind to.
    pub queue: QueueId,
    /// The shape of UMEM and rings. The UMEM counts against RLIMIT_MEMLOCK, unless the caller has CAP_IPC_LOCK.
    pub layout: Layout,
    /// Where the UMEM lies. In huge pages it gets as many more chunks as fill the last one; what the layout says of
    /// pages is not asked.
    pub huge_pages: HugePages,
    /// The mode.
    pub bind: BindRequest,
    /// Whether to fill FILL before anything can arrive.
    pub prime: bool,
}

/// A step in making a socket, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// `huge-pages`, `zero-copy`, `copy`, `shared-umem`, `XDP_MAX_TX_SKB_BUDGET` or `busy-poll`.
    pub step: &'static str,
    /// The kernel's refusal; `None` if it granted the step.
    pub errno: Option<i32>,
    /// The outcome in words.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_known_by_three_words() {
        let words = ["require", "prefer", "never", "always"];
        let modes = [Some(BindRequest::ZeroCopy), Some(BindRequest::Automatic), Some(BindRequest::Copy), None];
        assert_eq!(words.map(BindRequest::zero_copy), modes);
        let pages = [Some(HugePages::Require), Some(HugePages::Prefer), Some(HugePages::Never), None];
        assert_eq!(words.map(HugePages::named), pages);
    }
}

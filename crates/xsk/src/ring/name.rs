use std::fmt;

/// Which of a socket's four rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RingName {
    /// Received frames, from the kernel.
    Rx,
    /// Frames to send, to the kernel.
    Tx,
    /// Empty chunks to receive into, to the kernel.
    Fill,
    /// Chunks whose frame has left, from the kernel.
    Completion,
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rx => "RX",
            Self::Tx => "TX",
            Self::Fill => "FILL",
            Self::Completion => "COMPLETION",
        })
    }
}

/// The indices of a ring cannot belong to one ring: the other side, or another process that shares the mapping, wrote
/// nonsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {ring} ring of {size} slots is broken: {produced} produced and {consumed} consumed cannot both be true")]
pub struct RingBroken {
    /// The ring.
    pub ring: RingName,
    /// The producer's index.
    pub produced: u32,
    /// The consumer's index.
    pub consumed: u32,
    /// Slots of the ring.
    pub size: u32,
}

/// How full a ring is at a moment that has passed by the time it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLevel {
    /// Entries published and not yet given back; `None` if the indices cannot belong to one ring.
    pub entries: Option<u32>,
    /// Slots of the ring.
    pub size: u32,
}

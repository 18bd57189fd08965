use xsknet_xsk::{FlushError, FrameTooLong, RingBroken, WaitError};

use crate::tables::NoTable;

/// Why frames could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// A ring is broken.
    #[error(transparent)]
    Ring(#[from] RingBroken),
    /// The kernel did not send.
    #[error(transparent)]
    Flush(FlushError),
    /// Sleeping failed.
    #[error(transparent)]
    Wait(WaitError),
    /// The device was deleted.
    #[error("the device is gone")]
    DeviceGone,
    /// A packet is longer than all frames that it may take.
    #[error(transparent)]
    TooLong(#[from] FrameTooLong),
    /// A call named a table that there is not.
    #[error(transparent)]
    NoTable(#[from] NoTable),
}

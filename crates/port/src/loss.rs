//! What is gone although nobody closed it here.

use xsknet_link::DeviceName;

use crate::ids::PortKey;

/// Something that others took away. What is left of it goes by closing it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A NIC was deleted, or moved to another network namespace. All its ports are cut off; they are not told one by one.
    Uplink {
        /// The NIC.
        device: DeviceName,
    },
    /// A port's pair was deleted, or the client of a pinned port did something else to its end.
    Port {
        /// The NIC it belongs to.
        uplink: DeviceName,
        /// The port.
        key: PortKey,
        /// What became of the inner end of a pinned port, in words: `its MTU was changed from 1500 to 1400`. `None` for
        /// other ports.
        change: Option<String>,
    },
}

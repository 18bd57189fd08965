//! What the programs decide about a frame, with the keys of the ports that it names.

use std::collections::BTreeMap;

use xsknet_bpf::{Explanation, PortId};
use xsknet_link::DeviceName;

use crate::ids::PortKey;

/// What becomes of a frame, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// As the programs tell it.
    pub explanation: Explanation,
    /// Whose programs they are.
    pub uplink: DeviceName,
    pub(crate) ports: BTreeMap<PortId, PortKey>,
}

impl Explained {
    /// The key of a port that the explanation names; `None` for one that is just being opened or closed.
    pub fn key(&self, port: PortId) -> Option<PortKey> {
        self.ports.get(&port).copied()
    }
}

//! What an uplink has for its taps, beside the tables of its programs: the program that copies what the host sends, and
//! that the NIC receives what is for other stations.

use std::collections::BTreeMap;

use xsknet_bpf::{Attachment, PortId};
use xsknet_link::Promiscuity;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct TapState {
    /// The program that copies what the host sends, while a tap needs it. Dropped, not detached: the journal has its
    /// pin.
    pub(crate) copy: Option<Attachment>,
    /// Of the taps that asked for it. The kernel ends each with its socket, also where the daemon is killed.
    pub(crate) promiscuous: BTreeMap<PortId, Promiscuity>,
}
